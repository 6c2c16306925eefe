"""The tamper-evident audit log: a Merkle tree of canonical entries that an outsider can verify."""
