"""Texts that other tools read, as the C2SP specifications say.

| module | what |
|---|---|
| `keys` | verifier keys (vkey), signature lines |
| `signed` | signed notes |
| `checkpoint` | tree heads, with the extension line of the disclosure map |
| `cosignature` | witnesses' and ML-DSA-44 cosignatures |
| `proof` | tlog-proof: an inclusion proof in one file |
| `tiles` | paths of tiles, bundles of entries |
"""

from .checkpoint import SUBJECTS, Checkpoint, checkpoint_body
from .cosignature import cosignature_line, cosignature_message, message_of, subtree_message
from .keys import COSIGNATURE, ED25519, MLDSA44, VerifierKey, signature_line
from .proof import TlogProof
from .signed import Signature, SignedNote
from .tiles import MAX_ENTRY, WIDTH, bundle, bundle_path, parse_path, tile_path, unbundle

__all__ = [
    "COSIGNATURE",
    "ED25519",
    "MAX_ENTRY",
    "MLDSA44",
    "SUBJECTS",
    "WIDTH",
    "Checkpoint",
    "Signature",
    "SignedNote",
    "TlogProof",
    "VerifierKey",
    "bundle",
    "bundle_path",
    "checkpoint_body",
    "cosignature_line",
    "cosignature_message",
    "message_of",
    "parse_path",
    "signature_line",
    "subtree_message",
    "tile_path",
    "unbundle",
]
