"""Elevations: emergency access ("break-glass") and delegation.

| module | one idea |
|---|---|
| `bounds` | what a tenant allows of them |
| `elevations` | elevations as they are stored |
| `services` | begun, taken up, ended and reviewed on the bus |
"""
