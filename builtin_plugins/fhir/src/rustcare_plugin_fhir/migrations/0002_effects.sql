-- Under which ids writes are on record, noted in the very transaction: after a crash it is certain what took effect.
CREATE TABLE effects (
    attempt TEXT PRIMARY KEY,
    stored TEXT NOT NULL
);
CREATE INDEX effects_stored ON effects (stored);
