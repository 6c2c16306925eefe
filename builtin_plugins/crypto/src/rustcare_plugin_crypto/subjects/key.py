"""One subject's key in memory.

Of its 32 random bytes two things are derived (HKDF-Expand, RFC 5869): the key that data is sealed with, and the pseudonym.
So when the bytes are destroyed, nobody can say any more whose pseudonym it was.

A ciphertext is `0x01 ‖ id of the key (16 bytes) ‖ what the cipher made`; format, id and context are authenticated.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from rustcare_plugin_crypto.algorithms.aead import AEADS
from rustcare_plugin_crypto.errors import CryptoFailed

__all__ = ["ALGORITHM", "ID", "SECRET", "SubjectKey", "id_of"]

ALGORITHM = "aes256-gcm"
#: Bytes of a key's id, and of its secret.
ID, SECRET = 16, 32
_FORMAT = b"\x01"
_DATA, _PSEUDONYM = b"rustcare/subject/data/1", b"rustcare/subject/pseudonym/1"


def id_of(sealed: bytes) -> bytes | None:
    """The id of the key that a ciphertext names, or None when it is none."""
    return sealed[1 : 1 + ID] if sealed[:1] == _FORMAT and len(sealed) > 1 + ID else None


class SubjectKey:
    """A key, ready for use. `pseudonym`: hex, 64 digits."""

    __slots__ = ("_header", "_sealer", "id", "pseudonym", "tenant")

    def __init__(self, id: bytes, tenant: str, secret: bytes) -> None:
        self.id = id
        self.tenant = tenant
        self.pseudonym = HKDFExpand(SHA256(), 32, _PSEUDONYM).derive(secret).hex()
        self._sealer = AEADS[ALGORITHM].prepare(HKDFExpand(SHA256(), 32, _DATA).derive(secret))
        self._header = _FORMAT + id

    def __repr__(self) -> str:
        return "<SubjectKey>"

    def seal(self, data: bytes, context: bytes) -> bytes:
        """Encrypt, bound to the context."""
        return self._header + self._sealer.seal(data, self._header + context)

    def open(self, sealed: bytes, context: bytes) -> bytes | None:
        """What was sealed with this key and context, or None."""
        try:
            return self._sealer.open(memoryview(sealed)[len(self._header) :], self._header + context)
        except CryptoFailed:
            return None
