"""The client's side of https://c2sp.org/tlog-witness: `POST <submission prefix>/add-checkpoint`."""

from __future__ import annotations

import base64
import http.client
import re
from collections.abc import Sequence
from dataclasses import dataclass

from rustcare_plugin_audit.errors import NoteInvalid
from rustcare_plugin_audit.notes import Checkpoint, SignedNote
from rustcare_plugin_audit.sinks.threaded import Poster, reason

from .errors import WitnessFailed
from .settings import WitnessSettings

__all__ = ["Answer", "Client", "Cosignature", "request_body", "verified"]

_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")
MAX_PROOF = 63


@dataclass(frozen=True)
class Cosignature:
    """A line that was verified: its time (POSIX seconds) and the line itself, with its newline."""

    time: int
    line: str


@dataclass(frozen=True)
class Answer:
    """What a witness said: the HTTP status; with 409, the size that it knows, unless it named none; with 200, the body."""

    status: int
    size: int | None = None
    body: bytes = b""


def request_body(old: int, proof: Sequence[bytes], checkpoint: str) -> bytes:
    """`old <size>`, the proof, an empty line, the checkpoint."""
    if len(proof) > MAX_PROOF:
        raise ValueError(f"expected a consistency proof of at most {MAX_PROOF} hashes, got {len(proof)}")
    lines = [f"old {old}", *(base64.b64encode(one).decode() for one in proof), "", checkpoint]
    return "\n".join(lines).encode()


def verified(settings: WitnessSettings, checkpoint: Checkpoint, body: bytes) -> list[Cosignature]:
    """The cosignatures of an answer that are this witness's own. Lines of other keys are ignored.

    Raises:
        WitnessFailed: there is none, a line is not well formed, or a signature of the witness's key is wrong.
    """
    known = {(key.name, key.id): key for key in settings.keys}
    found = []
    try:
        note = SignedNote.parse(checkpoint.body.encode() + b"\n" + body)
        if note.body != checkpoint.body:
            raise NoteInvalid("expected signature lines, got a text")
        for signature in note.signatures:
            key = known.get((signature.name, signature.key_id))
            if key is not None:
                found.append(Cosignature(note.verify_one(key, signature), signature.line))
    except NoteInvalid as error:
        raise WitnessFailed(f"expected cosignatures of the witness: {error.message}", address=settings.name) from None
    if not found:
        raise WitnessFailed("expected a cosignature by a key of the witness, got none", address=settings.name)
    return found


class Client(Poster):
    """One witness, over one connection that is kept."""

    def __init__(self, settings: WitnessSettings) -> None:
        super().__init__("audit-witness", settings.url, settings.timeout, settings.tls)
        self._settings = settings

    async def add_checkpoint(self, old: int, proof: Sequence[bytes], checkpoint: str) -> Answer:
        """Ask for a cosignature. Raises WitnessFailed when the witness cannot be reached."""
        body = request_body(old, proof, checkpoint)
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        try:
            status, kind, data = await self.run(lambda: self.post("/add-checkpoint", body, headers))
        except (OSError, http.client.HTTPException) as error:
            raise WitnessFailed(
                f"expected the witness to answer, got: {reason(error)}", address=self._settings.name
            ) from None
        size = None
        if status == 409 and kind == "text/x.tlog.size":
            match = _SIZE.fullmatch(data)
            size = int(match[1]) if match is not None else None
        return Answer(status, size, data if status == 200 else b"")
