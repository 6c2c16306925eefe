"""Hash trees, without storage: bytes in, bytes out.

| module | what |
|---|---|
| `merkle` | RFC 6962 trees: hashes, inclusion, consistency and subtree proofs, made and verified |
| `frontier` | the growing edge of a tree: append, full tiles, root |
| `subjects` | the map of disclosure counters |
"""

from .frontier import Frontier, Tile
from .merkle import (
    EMPTY_ROOT,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)
from .subjects import MapProof, verify_map

__all__ = [
    "EMPTY_ROOT",
    "Frontier",
    "MapProof",
    "Tile",
    "leaf_hash",
    "node_hash",
    "root_of",
    "verify_consistency",
    "verify_inclusion",
    "verify_map",
    "verify_subtree_consistency",
    "verify_subtree_inclusion",
]
