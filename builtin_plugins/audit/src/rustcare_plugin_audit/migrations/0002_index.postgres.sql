-- The search index: everything in it comes from the log and can be made again from it.
CREATE TABLE audit_index (
    idx BIGINT PRIMARY KEY,
    id TEXT NOT NULL,
    time BIGINT NOT NULL,
    kind TEXT NOT NULL,
    tenant TEXT NOT NULL,
    principal TEXT NOT NULL,
    plugin TEXT NOT NULL,
    action TEXT NOT NULL,
    capability TEXT NOT NULL,
    type TEXT NOT NULL,
    trace TEXT NOT NULL,
    disclosure BIGINT NOT NULL,
    head BIGINT NOT NULL,         -- of a disclosure that belongs to an attempt: the place of the attempt
    outcome TEXT NOT NULL,         -- '' while an attempt has none, '-' for what needs none
    code TEXT NOT NULL,
    effect TEXT NOT NULL,
    outcome_idx BIGINT NOT NULL
);
CREATE INDEX audit_index_id ON audit_index (id);
CREATE INDEX audit_index_time ON audit_index (time);
CREATE INDEX audit_index_principal ON audit_index (principal) WHERE principal <> '';
CREATE INDEX audit_index_trace ON audit_index (trace) WHERE trace <> '';
CREATE INDEX audit_index_action ON audit_index (action);
CREATE INDEX audit_index_open ON audit_index (idx) WHERE outcome = '';
CREATE TABLE audit_subjects (
    pseudonym TEXT NOT NULL,
    idx BIGINT NOT NULL,
    PRIMARY KEY (pseudonym, idx)
);
CREATE TABLE audit_resources (
    token TEXT NOT NULL,
    idx BIGINT NOT NULL,
    subject TEXT NOT NULL,         -- whose key seals the name: the token goes when that key is destroyed
    PRIMARY KEY (token, idx)
);
CREATE INDEX audit_resources_subject ON audit_resources (subject);
CREATE TABLE audit_types (
    type TEXT NOT NULL,
    idx BIGINT NOT NULL,
    PRIMARY KEY (type, idx)
);
CREATE TABLE audit_index_cursor (
    name TEXT PRIMARY KEY,
    place BIGINT NOT NULL
);
