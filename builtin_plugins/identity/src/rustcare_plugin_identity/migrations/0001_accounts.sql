-- Tenants. `hosts` (a JSON list) also stand in `tenant_hosts`, so that no two tenants have one. `settings` is JSON.
CREATE TABLE tenants (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    hosts TEXT NOT NULL,
    settings TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    version BIGINT NOT NULL
);
CREATE TABLE tenant_hosts (
    host TEXT PRIMARY KEY,
    tenant TEXT NOT NULL
);

-- Numbers that only grow, such as the revision of the tenants.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);

-- Accounts of people and machines. `name_key` and `email_key` are what is compared (see accounts/names.py); `password` is a
-- PHC string or a foreign hash, or empty; tokens made before `not_before` are not valid; `attributes` is JSON.
CREATE TABLE accounts (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    email TEXT NOT NULL,
    email_key TEXT NOT NULL,
    display_name TEXT NOT NULL,
    state TEXT NOT NULL,
    email_verified INTEGER NOT NULL,
    roles TEXT NOT NULL,
    password TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    updated DOUBLE PRECISION NOT NULL,
    last_login DOUBLE PRECISION NOT NULL,
    version BIGINT NOT NULL,
    not_before DOUBLE PRECISION NOT NULL,
    external_id TEXT NOT NULL,
    attributes TEXT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX accounts_id ON accounts (id);
CREATE UNIQUE INDEX accounts_name ON accounts (tenant, name_key);
CREATE INDEX accounts_email ON accounts (tenant, email_key);

-- What an account is found by: the keys of its name and its e-mail address. None leads to two accounts of a tenant.
CREATE TABLE identifiers (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    account TEXT NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX identifiers_account ON identifiers (tenant, account);

CREATE TABLE groups (
    tenant TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL,
    roles TEXT NOT NULL,
    external_id TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    updated DOUBLE PRECISION NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (tenant, id)
);
CREATE UNIQUE INDEX groups_name ON groups (tenant, name_key);

CREATE TABLE memberships (
    tenant TEXT NOT NULL,
    group_id TEXT NOT NULL,
    account TEXT NOT NULL,
    PRIMARY KEY (tenant, account, group_id)
);
CREATE INDEX memberships_group ON memberships (tenant, group_id, account);

-- Links that work once: `purpose` is `setup`, `invite`, `register`, `recover` or `verify-email`; `hash` the SHA-256 of the secret.
CREATE TABLE links (
    hash TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    purpose TEXT NOT NULL,
    account TEXT NOT NULL,
    email TEXT NOT NULL,
    data TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    expires DOUBLE PRECISION NOT NULL
);
CREATE INDEX links_account ON links (tenant, account, purpose);
CREATE INDEX links_expires ON links (expires);

-- Logins that wait for their second factor: `hash` is the SHA-256 of the ticket; `attempts` the wrong answers so far.
CREATE TABLE tickets (
    hash TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    account TEXT NOT NULL,
    data TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    expires DOUBLE PRECISION NOT NULL
);
CREATE INDEX tickets_expires ON tickets (expires);

-- Logins that failed, by what was given as the name (a keyed hash), whether there is such an account or not: both cost the
-- same. `account` is empty when there is none.
CREATE TABLE failures (
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    account TEXT NOT NULL,
    count BIGINT NOT NULL,
    locks BIGINT NOT NULL,
    last DOUBLE PRECISION NOT NULL,
    wait_until DOUBLE PRECISION NOT NULL,
    locked_until DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX failures_account ON failures (tenant, account);
CREATE INDEX failures_last ON failures (last);

-- Devices that an account has signed in from; `hash` is the SHA-256 of the device's cookie.
CREATE TABLE devices (
    hash TEXT NOT NULL,
    tenant TEXT NOT NULL,
    account TEXT NOT NULL,
    name TEXT NOT NULL,
    created DOUBLE PRECISION NOT NULL,
    seen DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (tenant, account, hash)
);
CREATE INDEX devices_hash ON devices (tenant, hash);

-- Mail that is still to be sent. `text` is the whole message; the row goes when the server has taken it.
CREATE TABLE mails (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    due DOUBLE PRECISION NOT NULL,
    created DOUBLE PRECISION NOT NULL
);
CREATE INDEX mails_due ON mails (due);
