"""What is done with a key, over bytes: the ciphertext's forms, and which version is used for what.

Native form: `0x01 ‖ version (4 bytes, big-endian) ‖ what the cipher made`. Text form, as in Vault's transit API:
`vault:v<version>:<base64 of what the cipher made>`. Both say the same; the version is authenticated with the data.

Whatever is wrong with a ciphertext (form, version, its state, the key, the data) is one and the same `CryptoFailed`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from contextlib import suppress

from rustcare_sdk.contracts.crypto import CipherItem, PlainItem, VerifyItem

from .errors import CryptoFailed
from .keyring import Key
from .refusals import InvalidRequest, KeyUnknown, KeyVersionState

__all__ = [
    "HEADER",
    "as_text",
    "decrypt",
    "decrypt_many",
    "encrypt",
    "old_version",
    "rewrap",
    "split",
    "verify",
    "verify_code",
]

#: Bytes before what the cipher made.
HEADER = 5
_FORMAT = b"\x01"
_TEXT = re.compile(rb"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/]*={0,2})")


def _header(version: int) -> bytes:
    return _FORMAT + version.to_bytes(4, "big")


def as_text(ciphertext: bytes) -> bytes:
    """The text form of a native ciphertext."""
    version = int.from_bytes(ciphertext[1:HEADER], "big")
    return b"vault:v%d:%s" % (version, base64.b64encode(ciphertext[HEADER:]))


def split(ciphertext: bytes) -> tuple[int, bytes, bool]:
    """Version, what the cipher made, and whether it came as text. Raises CryptoFailed."""
    if ciphertext[:1] == _FORMAT and len(ciphertext) > HEADER:
        return int.from_bytes(ciphertext[1:HEADER], "big"), ciphertext[HEADER:], False
    found = _TEXT.fullmatch(ciphertext)
    if found is None:
        raise CryptoFailed
    try:
        return int(found[1]), base64.b64decode(found[2], validate=True), True
    except binascii.Error:
        raise CryptoFailed from None


def old_version(key: Key, version: int) -> int:
    """Checks that a version may decrypt or verify what came. Raises CryptoFailed."""
    try:
        return key.record.for_old_work(version)
    except (KeyUnknown, KeyVersionState):
        raise CryptoFailed from None


def encrypt(key: Key, items: Sequence[PlainItem], version: int = 0, *, text: bool = False) -> tuple[list[bytes], int]:
    """Ciphertexts under one version of a key of an AEAD. Raises KeyVersionState, InvalidRequest (a context is needed)."""
    chosen = key.record.for_new_work(version)
    header = _header(chosen)
    if key.record.derived or len(items) == 1:
        done = [header + key.prepared(chosen, item.context).seal(item.data, header + item.aad) for item in items]
    else:
        if any(item.context for item in items):
            raise InvalidRequest("expected no context: the key is not derived", address=key.record.name)
        done = key.prepared(chosen).seal_many([item.data for item in items], [item.aad for item in items], header)
    return ([as_text(one) for one in done] if text else done), chosen


def decrypt(key: Key, item: CipherItem) -> bytes:
    """What was encrypted. Raises CryptoFailed."""
    version, sealed, _ = split(item.ciphertext)
    if bool(item.context) != key.record.derived:
        raise CryptoFailed
    opener = key.prepared(old_version(key, version), item.context)
    data: bytes = opener.open(sealed, _header(version) + item.aad)
    return data


def decrypt_many(key: Key, items: Sequence[CipherItem]) -> tuple[list[bytes | None], bool]:
    """What was encrypted, in order, None for each that fails; and whether none did.

    Many under one version cost little more than the cipher itself.
    """
    header = items[0].ciphertext[:HEADER] if items else b""
    contexts, opener = [item.context for item in items], None
    if header[:1] == _FORMAT and len(header) == HEADER and not key.record.derived and not any(contexts):
        with suppress(CryptoFailed):
            opener = key.prepared(old_version(key, int.from_bytes(header[1:], "big")))
    if opener is None:
        data = [_decrypt_or_none(key, item) for item in items]
        return data, None not in data
    data, failed = opener.open_many(items, header)
    if failed:
        # Those of other versions and forms failed there; they get their own turn.
        for at in failed:
            if items[at].ciphertext[:HEADER] != header:
                data[at] = _decrypt_or_none(key, items[at])
        return data, None not in data
    return data, True


def _decrypt_or_none(key: Key, item: CipherItem) -> bytes | None:
    try:
        return decrypt(key, item)
    except CryptoFailed:
        return None


def rewrap(key: Key, item: CipherItem) -> bytes:
    """The same under the primary version, in the same form. Raises CryptoFailed."""
    data = decrypt(key, item)
    textual = item.ciphertext[:1] != _FORMAT
    return encrypt(key, [PlainItem(data, item.aad, item.context)], text=textual)[0][0]


def verify(key: Key, item: VerifyItem, version: int = 0, context: bytes = b"") -> int:
    """The version that a signature or a code is of. Raises CryptoFailed."""
    versions = [old_version(key, version)] if version else key.record.usable()
    if bool(context) != key.record.derived:
        raise CryptoFailed
    for number in versions:
        try:
            key.verifier(number, context).verify(item.signature, item.data)
        except CryptoFailed:
            continue
        return number
    raise CryptoFailed


def verify_code(key: Key, item: VerifyItem, version: int, context: bytes = b"") -> int:
    """Check a code by a key of any algorithm (`Key.code_key`). Raises CryptoFailed."""
    if bool(context) != key.record.derived:
        raise CryptoFailed
    key.code_key(old_version(key, version), context).verify(item.signature, item.data)
    return version
