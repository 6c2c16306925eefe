"""Witnesses: others who remember what the log was, and cosign that it only grows (https://c2sp.org/tlog-witness).

| module | what |
|---|---|
| `settings` | the witnesses of a configuration |
| `client` | `add-checkpoint`, and verified cosignatures |
| `store` | what they said, durably |
| `part` | all of them together: pushed to, asked at the start; the service `audit.witnesses` |
"""

from .part import Witnesses, Witnessing

__all__ = ["Witnesses", "Witnessing"]
