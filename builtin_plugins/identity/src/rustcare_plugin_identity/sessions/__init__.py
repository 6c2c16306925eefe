"""Sessions: what somebody holds after they proved who they are.

| module | one idea |
|---|---|
| `limits` | how long a session lasts, by assurance level |
| `model` | a session as it is stored |
| `sessions` | sessions begun, found, raised, ended |
| `scopes` | what of one's scopes is left when others are asked for |
| `devices` | a name for a device |
| `rights` | what somebody may do at this moment, elevations included |
| `services` | whose credential something is; sessions listed, named, ended |
"""
