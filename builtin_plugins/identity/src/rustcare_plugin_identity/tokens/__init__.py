"""Tokens: for those who must not ask the store each time, and for what was ended.

| module | one idea |
|---|---|
| `vault` | the keyring as tokens need it |
| `jose` | compact serialization, thumbprints, the forms of signatures |
| `signing_keys` | keys that are turned over with overlap |
| `access` | access tokens (RFC 9068) |
| `lifetimes` | how long tokens last |
| `refresh` | families of refresh tokens |
| `revocations` | what was ended, in rows that last as long as they matter |
| `services`, `routes` | tokens on the bus and over HTTP |
"""
