"""Which patients a message is about, as opaque keys: messages that share a key are handled in order of arrival.

The keys travel in the header `partitionkey`, which logs and brokers may show, so they are keyed hashes: without this
installation's salt nobody can try identifiers against them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

__all__ = ["NOBODY", "partition_keys"]

#: The key of messages that name no patient: they are kept in order among themselves.
NOBODY = "none"


def partition_keys(segments: Sequence[str], salt: bytes) -> tuple[str, ...]:
    """The keys of a message, that of its first patient first. A merge has several: it must wait for all of them."""
    separator, component, repetition = segments[0][3], segments[0][4], segments[0][5]
    found: dict[str, None] = {}

    def add(value: str) -> None:
        parts = value.split(repetition, 1)[0].split(component)
        number = parts[0].strip()
        if number:
            authority = parts[3].strip() if len(parts) > 3 else ""
            digest = hashlib.blake2b(f"{number}\0{authority}".encode(), key=salt, digest_size=8)
            found.setdefault(digest.hexdigest())

    for segment in segments:
        name = segment[:3]
        if name == "PID":
            fields = segment.split(separator, 5)
            add(fields[3] if len(fields) > 3 and fields[3] else fields[2] if len(fields) > 2 else "")
        elif name == "MRG":
            fields = segment.split(separator, 2)
            add(fields[1] if len(fields) > 1 else "")
    return tuple(found) or (NOBODY,)
