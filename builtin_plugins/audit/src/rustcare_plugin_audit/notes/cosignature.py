"""Cosignatures of checkpoints, Ed25519 (`cosignature/v1`) and ML-DSA-44 (`subtree/v1`): https://c2sp.org/tlog-cosignature.

A cosignature's data is its time (POSIX seconds, 8 bytes, big-endian) and the bare signature.
"""

from __future__ import annotations

from rustcare_plugin_audit.errors import NoteInvalid

from .keys import COSIGNATURE, MLDSA44, VerifierKey, signature_line, unbase64

__all__ = ["cosignature_line", "cosignature_message", "message_of", "subtree_message"]

MAX_TIME = (1 << 63) - 1


def cosignature_message(body: str, time: int) -> bytes:
    """What an Ed25519 cosigner signs: a header, the time, and the whole body of the checkpoint."""
    return f"cosignature/v1\ntime {_checked(time)}\n{body}".encode()


def subtree_message(cosigner: str, time: int, origin: str, start: int, end: int, root: bytes) -> bytes:
    """What an ML-DSA-44 cosigner signs: `cosigned_message`. It says nothing about extension lines.

    Raises:
        NoteInvalid: a name is empty or longer than 255 bytes, or a subtree that does not begin at 0 has a time.
    """
    if start and time:
        raise NoteInvalid(f"expected time 0 for the subtree from {start} on, got {time}")
    names = []
    for text in (cosigner, origin):
        raw = text.encode()
        if not 1 <= len(raw) <= 255:
            raise NoteInvalid(f"expected a name of 1 to 255 bytes, got {len(raw)}")
        names.append(bytes([len(raw)]) + raw)
    place = start.to_bytes(8, "big") + end.to_bytes(8, "big")
    return b"subtree/v1\n\0" + names[0] + _checked(time).to_bytes(8, "big") + names[1] + place + root


def message_of(body: str, key: VerifierKey, time: int) -> bytes:
    """What `key` signs when it cosigns the checkpoint with this body at this time.

    Raises:
        NoteInvalid: the body is no checkpoint, or the key is no cosigner's.
    """
    if key.kind not in (COSIGNATURE, MLDSA44):
        raise NoteInvalid(f"expected a key of type 0x04 or 0x06, got type 0x{key.kind:02x}", address=key.name)
    lines = body.split("\n")
    if len(lines) < 4 or not lines[1].isdecimal():
        raise NoteInvalid("expected a checkpoint: the lines origin, size and root, each ended by a newline")
    if key.kind == COSIGNATURE:
        return cosignature_message(body, time)
    return subtree_message(key.name, time, lines[0], 0, int(lines[1]), unbase64(lines[2], 32))


def cosignature_line(key: VerifierKey, time: int, signature: bytes) -> bytes:
    """The signature line of a cosigner."""
    return signature_line(key, _checked(time).to_bytes(8, "big") + signature)


def _checked(time: int) -> int:
    if not 0 <= time <= MAX_TIME:
        raise NoteInvalid(f"expected a time of 0 to 2^63 - 1 seconds, got {time}")
    return time
