"""Signed notes: https://c2sp.org/signed-note.

A note is a text that ends in a newline, an empty line, and signature lines `— <key name> <base64(key id ‖ signature)>`.
Nothing in a note may be believed before `SignedNote.verify`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import dataclass

from rustcare_plugin_audit.errors import NoteInvalid

from .cosignature import message_of
from .keys import CONTROL, DASH, ED25519, VerifierKey, check_name, unbase64

__all__ = ["Signature", "SignedNote"]

MAX_NOTE = 1 << 20  # characters
MAX_SIGNATURES = 100  # the specification wants 16 at least


@dataclass(frozen=True)
class Signature:
    """A signature line: who is said to have signed, and the signature's bytes after the key id."""

    name: str
    key_id: bytes
    data: bytes

    @property
    def line(self) -> str:
        """The line, with its newline."""
        return f"{DASH} {self.name} {base64.b64encode(self.key_id + self.data).decode()}\n"


@dataclass(frozen=True)
class SignedNote:
    """A note: `body` (ends in a newline) and its signatures, not verified yet."""

    body: str
    signatures: tuple[Signature, ...]

    @property
    def text(self) -> str:
        """The whole note."""
        return self.body + "\n" + "".join(signature.line for signature in self.signatures)

    @classmethod
    def parse(cls, text: str | bytes) -> SignedNote:
        """Read a note.

        Raises:
            NoteInvalid: it is not a text, an empty line, and one signature line or more.
        """
        if isinstance(text, bytes):
            try:
                text = text.decode("utf-8")
            except UnicodeDecodeError:
                raise NoteInvalid("expected a signed note in UTF-8, got other bytes") from None
        if len(text) > MAX_NOTE or CONTROL.search(text):
            raise NoteInvalid(f"expected a signed note of at most {MAX_NOTE} characters without control characters")
        head, gap, tail = text.rpartition("\n\n")
        if not gap or not tail.endswith("\n"):
            raise NoteInvalid("expected a text, an empty line, and signature lines, each ended by a newline")
        lines = tail[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise NoteInvalid(f"expected at most {MAX_SIGNATURES} signature lines, got {len(lines)}")
        return cls(head + "\n", tuple(map(_signature, lines)))

    def with_lines(self, lines: Iterable[bytes]) -> SignedNote:
        """The note with more signature lines (cosignatures); one that is there already is not added again."""
        found = list(self.signatures)
        for line in lines:
            try:
                signature = _signature(line.decode("utf-8").removesuffix("\n"))
            except UnicodeDecodeError:
                raise NoteInvalid("expected a signature line in UTF-8, got other bytes") from None
            if signature not in found:
                found.append(signature)
        return SignedNote(self.body, tuple(found))

    def verify(self, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
        """Check the signatures of known keys; which of them signed. Lines of unknown keys are ignored.

        Raises:
            NoteInvalid: a known key's signature is wrong, or none of the keys signed.
        """
        known = {(key.name, key.id): key for key in keys}
        signed: dict[VerifierKey, None] = {}
        for signature in self.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is not None:
                self.verify_one(key, signature)
                signed[key] = None
        if not signed:
            names = ", ".join(sorted({key.name for key in known.values()})) or "no key"
            raise NoteInvalid(f"expected a signature of {names}, got none")
        return tuple(signed)

    def verify_one(self, key: VerifierKey, signature: Signature) -> int:
        """Check one signature line with its key; the time it states (POSIX seconds; 0 for a plain signature).

        Raises:
            NoteInvalid: it is wrong.
        """
        if key.kind == ED25519:
            key.verify(signature.data, self.body.encode())
            return 0
        time = int.from_bytes(signature.data[:8], "big")
        key.verify(signature.data[8:], message_of(self.body, key, time))
        return time


def _signature(line: str) -> Signature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    if dash != DASH:
        raise NoteInvalid(f"expected a signature line that begins with an em dash, got {line[:60]!a}")
    raw = unbase64(encoded)
    if len(raw) < 5:
        raise NoteInvalid(f"expected a key id and a signature, got {len(raw)} bytes", address=check_name(name))
    return Signature(check_name(name), raw[:4], raw[4:])
