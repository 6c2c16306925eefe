"""Packages that were uploaded and wait to be installed: in memory, for a while, so many, each for whoever uploaded it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from .errors import InvalidUpload, UploadsFull, UploadUnknown

__all__ = ["PREFIX", "Uploads"]

#: How a source that is an upload begins.
PREFIX = "upload:"
_TAR = b"ustar"  # at offset 257 (POSIX.1-1988)
_ZIP = b"PK\x03\x04"


@dataclass(frozen=True)
class _Upload:
    principal: str
    expires: float
    data: bytes = field(repr=False)


class Uploads:
    """The uploads.

    Args:
        total: bytes of all of them together. keep: seconds that each is kept.
        now: Unix seconds. random: makes so many random bytes.
    """

    def __init__(self, total: int, keep: float, now: Callable[[], float], random: Callable[[int], bytes]) -> None:
        self._total = total
        self._keep = keep
        self._now = now
        self._random = random
        self._held: dict[str, _Upload] = {}

    @staticmethod
    def check(data: bytes) -> None:
        """Raise InvalidUpload unless the bytes are of a kind that packages come in."""
        if data[257:262] != _TAR and not data.startswith(_ZIP):
            raise InvalidUpload(
                f"expected a package as a tar of an OCI layout or as a wheel, got {len(data):,} bytes of something else",
                hint="rustcare plugin build --tar writes one",
                address="body",
            )

    def put(self, principal: str, data: bytes) -> tuple[str, float]:
        """Keep an upload; how to name it, and until when. Raises UploadsFull."""
        self.check_room(len(data))
        name = PREFIX + self._random(16).hex()
        expires = self._now() + self._keep
        self._held[name] = _Upload(principal, expires, data)
        return name, expires

    def check_room(self, size: int) -> None:
        """Raise UploadsFull unless there is room for so many bytes more."""
        now = self._now()
        self._held = {name: held for name, held in self._held.items() if held.expires > now}
        if sum(len(held.data) for held in self._held.values()) + size > self._total:
            raise UploadsFull(
                f"expected at most {self._total:,} bytes of uploads that wait, got more",
                hint=f"install what was uploaded; what is not is forgotten after {self._keep:g} s",
            )

    def get(self, principal: str, name: str) -> bytes:
        """An upload of this caller's. Raises UploadUnknown."""
        found = self._held.get(name)
        if found is None or found.principal != principal or found.expires <= self._now():
            raise UploadUnknown(
                "expected a package that you uploaded, there is none of that name", hint="upload it again"
            )
        return found.data

    def drop(self, name: str) -> None:
        """Forget an upload: it is installed."""
        self._held.pop(name, None)
