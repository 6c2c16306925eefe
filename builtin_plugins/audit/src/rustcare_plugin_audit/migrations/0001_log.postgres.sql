-- The log itself, an ordered map of blobs: `place` says what a row is (see log/rows.py). One statement writes a whole commit.
CREATE TABLE audit_log (
    place BIGINT PRIMARY KEY,
    data BLOB NOT NULL
);
-- Hashes and ciphertexts do not get smaller by compression; trying costs more than writing them.
ALTER TABLE audit_log ALTER COLUMN data SET STORAGE EXTERNAL;
-- Which entries are disclosures, counted for each subject (32 bytes): n = 1, 2, 3, … in the order of the log.
CREATE TABLE audit_disclosures (
    pseudonym BLOB NOT NULL,
    n BIGINT NOT NULL,
    place BIGINT NOT NULL,
    PRIMARY KEY (pseudonym, n)
);
CREATE UNIQUE INDEX audit_disclosures_place ON audit_disclosures (place);
