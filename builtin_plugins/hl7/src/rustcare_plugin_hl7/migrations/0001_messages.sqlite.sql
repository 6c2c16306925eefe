-- Everything that was acknowledged, raw. `variant` is 0 for the first message of a key (sender and control id); a control
-- id that was used again for another content gives a further variant.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    base_key TEXT NOT NULL,
    variant TEXT NOT NULL,
    digest TEXT NOT NULL,
    type TEXT NOT NULL,
    event TEXT NOT NULL,
    control_id TEXT NOT NULL,
    sending_facility TEXT NOT NULL,
    version TEXT NOT NULL,
    codec TEXT NOT NULL,
    received TEXT NOT NULL,
    size INTEGER NOT NULL,
    content BLOB NOT NULL,
    status TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    renewed INTEGER NOT NULL,
    error TEXT NOT NULL,
    finished TEXT NOT NULL
);
CREATE UNIQUE INDEX messages_key ON messages (base_key, variant);
CREATE INDEX messages_pending ON messages (id) WHERE status = 'received';
CREATE INDEX messages_stuck ON messages (status, id) WHERE status IN ('failed', 'unhandled');

-- What was refused with AE or AR: why, and a digest to recognise it by. The content only if the operator wants it.
CREATE TABLE rejected (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    received TEXT NOT NULL,
    code TEXT NOT NULL,
    error INTEGER NOT NULL,
    reason TEXT NOT NULL,
    sending_facility TEXT NOT NULL,
    control_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    content BLOB
);

-- Which process publishes (one at a time keeps the order), and small values that must survive a restart.
CREATE TABLE lease (name TEXT PRIMARY KEY, owner TEXT NOT NULL, expires DOUBLE PRECISION NOT NULL);
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE counters (name TEXT PRIMARY KEY, value BIGINT NOT NULL);
