-- The key that everything else here is wrapped under, itself wrapped by the root. One row; `id` counts renewals.
CREATE TABLE keyring (
    id BIGINT PRIMARY KEY,
    root TEXT NOT NULL,
    wrapped BLOB NOT NULL,
    since TEXT NOT NULL
);

-- Each key's settings and versions as JSON, with a code over it under the keyring, so that a changed row is noticed.
CREATE TABLE keys (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    record TEXT NOT NULL,
    mac BLOB NOT NULL,
    PRIMARY KEY (tenant, name)
);

-- The secret parts, wrapped; a destroyed version has no row.
CREATE TABLE versions (
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    version BIGINT NOT NULL,
    wrapped BLOB NOT NULL,
    PRIMARY KEY (tenant, name, version)
);

-- The keys of subjects. `lookup` is a keyed hash of tenant and name; names are nowhere. A destroyed key leaves its
-- `lookup` with the day (no `id`, no `wrapped`), so that it is never made anew.
CREATE TABLE subjects (
    lookup BLOB PRIMARY KEY,
    id BLOB,
    tenant TEXT NOT NULL,
    wrapped BLOB,
    created TEXT NOT NULL
);
CREATE UNIQUE INDEX subjects_id ON subjects (id);

-- The ids of destroyed keys, which ciphertexts name: apart from `subjects`, so that neither leads to the other.
CREATE TABLE shredded (
    id BLOB PRIMARY KEY
);

-- Rewrap campaigns: where each stands, as JSON.
CREATE TABLE campaigns (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    state TEXT NOT NULL
);
-- Certificates of destroyed subject keys: written in the commit that destroys the key, so that neither is without the other.
CREATE TABLE certificates (
    pseudonym TEXT PRIMARY KEY,
    destroyed TEXT NOT NULL,
    envelope TEXT NOT NULL,
    told INTEGER NOT NULL
);

-- Under which ids changes are on record, written in the commit that is the change.
CREATE TABLE effects (
    attempt TEXT PRIMARY KEY,
    stored TEXT NOT NULL
);
