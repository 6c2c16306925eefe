-- What somebody holds after they proved who they are. `kind`: `browser` (a cookie) or `token` (a family of refresh tokens,
-- or tokens under an elevation). `credential`: the SHA-256 (hex) of a browser session's secret, which is nowhere.
-- Times are Unix seconds, 0 for never. `expires` is the latest end there can be; settings of the tenant may be tighter.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    credential TEXT,
    aal BIGINT NOT NULL,
    amr TEXT NOT NULL,
    device TEXT NOT NULL,
    address TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    authenticated DOUBLE PRECISION NOT NULL,
    seen DOUBLE PRECISION NOT NULL,
    expires DOUBLE PRECISION NOT NULL,
    parent TEXT NOT NULL,
    elevation TEXT NOT NULL,
    ended DOUBLE PRECISION NOT NULL,
    reason TEXT NOT NULL
);
CREATE UNIQUE INDEX sessions_credential ON sessions (credential);
CREATE INDEX sessions_account ON sessions (tenant, account, created);
CREATE INDEX sessions_parent ON sessions (parent);
CREATE INDEX sessions_elevation ON sessions (elevation);
CREATE INDEX sessions_expires ON sessions (expires);

-- Families of refresh tokens; `id` is that of their session. `generation` counts rotations: only the token of this number
-- is good, and for a moment the one before. The tokens are computed, with version `version` of a key of the keyring.
CREATE TABLE families (
    id TEXT PRIMARY KEY,
    generation BIGINT NOT NULL,
    rotated DOUBLE PRECISION NOT NULL,
    expires DOUBLE PRECISION NOT NULL,
    ended DOUBLE PRECISION NOT NULL,
    version BIGINT NOT NULL,
    audience TEXT NOT NULL,
    scopes TEXT NOT NULL
);

-- What was ended, until nothing that it ended could be valid any more. `revision` never comes down, not even when rows go.
CREATE TABLE revocations (
    revision BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    id TEXT NOT NULL,
    tenant TEXT NOT NULL,
    before DOUBLE PRECISION NOT NULL,
    until DOUBLE PRECISION NOT NULL
);
CREATE INDEX revocations_until ON revocations (until);
CREATE TABLE revocation_counter (
    id BIGINT PRIMARY KEY,
    revision BIGINT NOT NULL
);
INSERT INTO revocation_counter (id, revision) VALUES (1, 0);

-- Public keys that tokens are signed with, and from when each signs. The secret parts are in the keyring.
CREATE TABLE signing_keys (
    kid TEXT PRIMARY KEY,
    algorithm TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    jwk TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    signs DOUBLE PRECISION NOT NULL
);

-- API keys and client certificates of accounts. `digest`: SHA-256 (hex) of the key, or the certificate's fingerprint.
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    account TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    digest TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    expires DOUBLE PRECISION NOT NULL,
    used DOUBLE PRECISION NOT NULL,
    revoked DOUBLE PRECISION NOT NULL
);
CREATE UNIQUE INDEX api_keys_digest ON api_keys (digest);
CREATE INDEX api_keys_account ON api_keys (tenant, account);

-- Break-glass accesses (of `account` itself) and delegations (`account` acts on behalf of account `on_behalf`).
CREATE TABLE elevations (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    on_behalf TEXT NOT NULL,
    session TEXT NOT NULL,
    role TEXT NOT NULL,
    scopes TEXT NOT NULL,
    purpose TEXT NOT NULL,
    patient TEXT NOT NULL,
    reason TEXT NOT NULL,
    begun DOUBLE PRECISION NOT NULL,
    ends DOUBLE PRECISION NOT NULL,
    ended DOUBLE PRECISION NOT NULL,
    reviewed_by TEXT NOT NULL,
    reviewed DOUBLE PRECISION NOT NULL,
    verdict TEXT NOT NULL,
    note TEXT NOT NULL
);
CREATE INDEX elevations_account ON elevations (tenant, account, begun);
CREATE INDEX elevations_reviewed ON elevations (tenant, reviewed, begun);

-- Device authorizations under way (RFC 8628). `digest`: SHA-256 (hex) of the device code. The last four columns are those of
-- the session that approved it.
CREATE TABLE device_codes (
    digest TEXT PRIMARY KEY,
    user_code TEXT NOT NULL,
    tenant TEXT NOT NULL,
    client TEXT NOT NULL,
    address TEXT NOT NULL,
    scopes TEXT NOT NULL,
    audience TEXT NOT NULL,
    state TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    expires DOUBLE PRECISION NOT NULL,
    polled DOUBLE PRECISION NOT NULL,
    interval_s BIGINT NOT NULL,
    account TEXT NOT NULL,
    aal BIGINT NOT NULL,
    amr TEXT NOT NULL,
    authenticated DOUBLE PRECISION NOT NULL
);
CREATE UNIQUE INDEX device_codes_user ON device_codes (user_code);
