"""Signing in a device that has no browser (RFC 8628), such as the command line.

| module | one idea |
|---|---|
| `codes` | pairs of codes that work once |
| `guesses` | how many wrong codes somebody may type |
| `services`, `routes` | devices on the bus and over HTTP |
"""
