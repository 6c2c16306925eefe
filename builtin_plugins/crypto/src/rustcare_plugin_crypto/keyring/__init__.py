"""Named keys with versions. Every secret is wrapped under the keyring key, the keyring key under the root.

`model` says how versions may change → `key` is one in memory → `store` holds the SQL → `unsealing` opens all of it with a
root → `keyring` finds and changes keys, for those who may (`caller`).
"""

from .caller import Caller
from .effects import Effect, effects_among, forget_effects
from .key import Key
from .keyring import INTERNAL, Keyring, timestamp
from .model import KeyRecord, VersionRecord

__all__ = [
    "INTERNAL",
    "Caller",
    "Effect",
    "Key",
    "KeyRecord",
    "Keyring",
    "VersionRecord",
    "effects_among",
    "forget_effects",
    "timestamp",
]
