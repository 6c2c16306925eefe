-- Where each sink is: the place of the entry to read next, and the row in an entry of outcomes.
CREATE TABLE sink_cursors (
    name TEXT PRIMARY KEY,
    place BIGINT NOT NULL,
    part BIGINT NOT NULL,
    sent BIGINT NOT NULL,
    missed BIGINT NOT NULL
);

-- What each witness was last known to have cosigned.
CREATE TABLE witnesses (
    name TEXT PRIMARY KEY,
    size BIGINT NOT NULL,
    time BIGINT NOT NULL
);

-- Cosignatures of checkpoints, as lines of signed notes.
CREATE TABLE cosignatures (
    size BIGINT NOT NULL,
    witness TEXT NOT NULL,
    time BIGINT NOT NULL,
    line TEXT NOT NULL,
    PRIMARY KEY (size, witness)
);
