"""Checkpoints of a log: https://c2sp.org/tlog-checkpoint, with one extension line for the map of disclosure counters."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rustcare_plugin_audit.errors import NoteInvalid

from .keys import VerifierKey, unbase64
from .signed import Signature, SignedNote

__all__ = ["SUBJECTS", "Checkpoint", "checkpoint_body"]

#: The word that begins the extension line: `rustcare/subjects <count of subjects> <base64 of the map's root>`.
SUBJECTS = "rustcare/subjects"

_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


def checkpoint_body(origin: str, size: int, root: bytes, subjects: tuple[int, bytes] | None = None) -> bytes:
    """The text that a log signs. `subjects`: the count of subjects in the map, and its root."""
    extension = f"{SUBJECTS} {subjects[0]} {base64.b64encode(subjects[1]).decode()}\n" if subjects else ""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n{extension}".encode()


@dataclass(frozen=True)
class Checkpoint:
    """A tree head. `text` is the signed note; what `parse` returns is not verified yet (`verify`).

    Attributes:
        origin: the log's name.
        size: the number of leaves.
        root: 32 bytes, RFC 6962.
        extensions: the lines after the root, as they are.
        text: the signed note, empty when only a body was read.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    text: str = ""

    @classmethod
    def parse(cls, text: str | bytes) -> Checkpoint:
        """Read a signed note that is a checkpoint.

        Raises:
            NoteInvalid: it is none.
        """
        note = SignedNote.parse(text)
        found = cls.of_body(note.body)
        return cls(found.origin, found.size, found.root, found.extensions, note.text)

    @classmethod
    def of_body(cls, body: str) -> Checkpoint:
        """Read the text without its signatures.

        Raises:
            NoteInvalid: it is not origin, size, root, and extension lines, none of them empty.
        """
        lines = body.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise NoteInvalid("expected the lines origin, size and root, none of them empty, each ended by a newline")
        if _NUMBER.fullmatch(lines[1]) is None:
            raise NoteInvalid(f"expected a size in decimal, got {lines[1][:30]!a}")
        return cls(lines[0], int(lines[1]), unbase64(lines[2], 32), tuple(lines[3:-1]))

    @property
    def body(self) -> str:
        """What is signed."""
        return "\n".join((self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions, ""))

    @property
    def note(self) -> SignedNote:
        """The text as a note."""
        return SignedNote.parse(self.text)

    @property
    def subjects(self) -> tuple[int, bytes] | None:
        """The count of subjects and the root of their map, if the checkpoint commits to one.

        Raises:
            NoteInvalid: its line is not well formed, or there are two.
        """
        found = [line for line in self.extensions if line.partition(" ")[0] == SUBJECTS]
        if not found:
            return None
        words = found[0].split(" ")
        if len(found) > 1 or len(words) != 3 or _NUMBER.fullmatch(words[1]) is None:
            raise NoteInvalid(f"expected one line '{SUBJECTS} <count> <root>', got {found[0][:90]!a}")
        return int(words[1]), unbase64(words[2], 32)

    def verify(self, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Which of the keys signed. Raises NoteInvalid when none did, or a known key's signature is wrong."""
        return self.note.verify(keys)

    def with_lines(self, lines: Sequence[bytes]) -> Checkpoint:
        """With more signature lines, such as witnesses' cosignatures."""
        if not lines:
            return self
        return Checkpoint(self.origin, self.size, self.root, self.extensions, self.note.with_lines(lines).text)

    @property
    def signatures(self) -> tuple[Signature, ...]:
        """The signature lines."""
        return self.note.signatures
