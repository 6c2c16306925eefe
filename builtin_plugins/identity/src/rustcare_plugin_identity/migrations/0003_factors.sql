-- Authenticator apps (RFC 6238). `secret` is encrypted, bound to the account; `step` is the last time step whose code was
-- taken, so that no code counts twice. An enrolment is not `confirmed` before its first code, and ends at `expires`.
CREATE TABLE totps (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    secret BLOB NOT NULL,
    step BIGINT NOT NULL,
    confirmed INTEGER NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    used DOUBLE PRECISION NOT NULL,
    expires DOUBLE PRECISION NOT NULL
);
CREATE INDEX totps_account ON totps (account);

-- Passkeys (WebAuthn). `credential` is base64url, `rp` the relying party's id that it was made for.
CREATE TABLE passkeys (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    credential TEXT NOT NULL,
    public_key BLOB NOT NULL,
    rp TEXT NOT NULL,
    sign_count BIGINT NOT NULL,
    transports TEXT NOT NULL,
    aaguid TEXT NOT NULL,
    synced INTEGER NOT NULL,
    backed_up INTEGER NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    used DOUBLE PRECISION NOT NULL
);
CREATE UNIQUE INDEX passkeys_credential ON passkeys (credential);
CREATE INDEX passkeys_account ON passkeys (account);

-- Challenges that were answered well: none is answered twice. Challenges that nobody answers leave nothing here.
CREATE TABLE passkey_challenges (
    nonce TEXT PRIMARY KEY,
    expires DOUBLE PRECISION NOT NULL
);
CREATE INDEX passkey_challenges_expires ON passkey_challenges (expires);

-- Recovery codes under a keyed hash. `used` is 0 until the code was taken.
CREATE TABLE recovery_codes (
    account TEXT NOT NULL,
    code TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    used DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (account, code)
);

-- Codes that were tried and wrong, since the last that was right, and until when no other is looked at.
CREATE TABLE factor_failures (
    account TEXT PRIMARY KEY,
    failures BIGINT NOT NULL,
    until DOUBLE PRECISION NOT NULL
);

-- What happened with an account, for its owner to look at. The audit log has it all; this is the last of it.
CREATE TABLE activity (
    id TEXT PRIMARY KEY,
    account TEXT NOT NULL,
    action TEXT NOT NULL,
    outcome TEXT NOT NULL,
    address TEXT NOT NULL,
    at DOUBLE PRECISION NOT NULL
);
CREATE INDEX activity_account ON activity (account, at);
