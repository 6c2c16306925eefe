"""An inclusion proof as a text that needs nothing else: https://c2sp.org/tlog-proof."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from rustcare_plugin_audit.errors import NoteInvalid

from .checkpoint import Checkpoint
from .keys import unbase64

__all__ = ["HEADER", "TlogProof"]

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True)
class TlogProof:
    """That an entry is in a log.

    Attributes:
        index: the entry's place.
        hashes: the RFC 6962 inclusion proof, 32 bytes each, from the leaf's sibling up.
        checkpoint: the signed checkpoint's text.
        extra: opaque data that nothing authenticates; None when the line is absent. Here: the entry itself.
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None

    @property
    def text(self) -> str:
        """The proof as text."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append("extra " + base64.b64encode(self.extra).decode())
        lines.append(f"index {self.index}")
        lines += (base64.b64encode(item).decode() for item in self.hashes)
        return "\n".join(lines) + "\n\n" + self.checkpoint

    @classmethod
    def parse(cls, text: str) -> TlogProof:
        """Read a proof. Neither its hashes nor its checkpoint's signatures are verified yet.

        Raises:
            NoteInvalid: it is not well formed.
        """
        head, gap, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if not gap or lines[0] != HEADER:
            raise NoteInvalid(f"expected the line {HEADER}, a proof, an empty line and a checkpoint")
        extra = None
        position = 1
        if len(lines) > 1 and lines[1].startswith("extra "):
            extra, position = unbase64(lines[1][len("extra ") :]), 2
        found = _INDEX.fullmatch(lines[position]) if len(lines) > position else None
        if found is None:
            raise NoteInvalid("expected a line 'index' with a number in decimal", address=f"line {position + 1}")
        hashes = tuple(unbase64(line, 32) for line in lines[position + 1 :])
        if len(hashes) > MAX_HASHES:
            raise NoteInvalid(f"expected at most {MAX_HASHES} hashes, got {len(hashes)}")
        Checkpoint.parse(checkpoint)
        return cls(int(found[1]), hashes, checkpoint, extra)
