-- The log itself, an ordered map of blobs: `place` says what a row is (see log/rows.py). One statement writes a whole commit.
CREATE TABLE audit_log (
    place INTEGER PRIMARY KEY,
    data BLOB NOT NULL
);
-- Which entries are disclosures, counted for each subject (32 bytes): n = 1, 2, 3, … in the order of the log.
CREATE TABLE audit_disclosures (
    pseudonym BLOB NOT NULL,
    n INTEGER NOT NULL,
    place INTEGER NOT NULL,
    PRIMARY KEY (pseudonym, n)
) WITHOUT ROWID;
CREATE UNIQUE INDEX audit_disclosures_place ON audit_disclosures (place);
