-- What is asked for often and is rare: disclosures, and entries by their kind (signatures, holds, operations).
CREATE INDEX audit_index_disclosures ON audit_index (idx) WHERE disclosure = 1;
CREATE INDEX audit_index_kind ON audit_index (kind) WHERE kind <> 'use';
