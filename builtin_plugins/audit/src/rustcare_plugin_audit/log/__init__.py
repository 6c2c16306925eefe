"""The log: entries, tree and signed checkpoints in a database, one commit at a time.

| module | what |
|---|---|
| `leaf` | what is appended |
| `batch` | what one commit makes of what appenders hand in |
| `audit_log` | `AuditLog`: open, append, check, prune |
| `reader` | what can be asked: entries, tiles, checkpoints, proofs |
| `rows` | how it is stored |
| `tiles` | hashes out of tiles, for proofs |
| `subjects` | the map of disclosure counters, over its rows |
| `recovery` | opening, with a check of the head and the tail |
| `verification` | the check of everything |
| `upkeep` | pruning, and which checkpoints stay |
"""

from .audit_log import AuditLog, Sign
from .leaf import Leaf
from .verification import Verified

__all__ = ["AuditLog", "Leaf", "Sign", "Verified"]
