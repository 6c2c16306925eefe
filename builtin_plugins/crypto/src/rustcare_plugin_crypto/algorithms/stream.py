"""Streaming authenticated encryption for objects larger than memory.

*AES-256-GCM*: Cobblestone-256 (c2sp.org/chunked-encryption), as `cryptography` has it: chunks of 16 KiB under a key derived
from a random salt and the associated data with HKDF-SHA-512, with a key commitment in the header. Others read it too.

*ChaCha20-Poly1305 and AES-256-GCM-SIV*, for which Cobblestone has no form: the STREAM construction (Hoang, Reyhanitabar,
Rogaway and Vizár, "Online authenticated-encryption and its nonce-reuse misuse-resistance", 2015), as age and Tink use it.
Chunks of 64 KiB, each with its own tag under the nonce

    counter (11 bytes, big-endian) || 1 for the last chunk, 0 for others

    stream = "RCS1" || salt (32) || commitment (32) || chunks
    commitment || K = HKDF-Expand-SHA256(key, label("rustcare stream v1", name, salt, aad), 64)

Every chunk is full but the last, and only the last chunk of an empty object is empty: one object has one form.

In both a chunk that is left out, doubled, moved or put in from another object fails, and so does an object that was cut
off; the key is fresh for each stream, so nonces can count (SP 800-38D, section 8.2.1); and the stream opens under one key
only. What comes out of `StreamOpener.update` is authentic, but not yet complete: before `finish` has passed, the end may
have been cut off. Who acts on a part acts on a prefix.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from hmac import compare_digest

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import AlreadyFinalized, InvalidTag

from rustcare_plugin_crypto.errors import CryptoFailed, InvalidParameter

from .aead import AEADS, Cipher
from .base import Buffer, Hidden, expect_length
from .kdf import expand, label

__all__ = ["StreamOpener", "StreamSealer", "open_stream", "seal_stream"]

_MAGIC = b"RCS1"
_SALT, _COMMITMENT, _TAG = 32, 32, 16
_HEADER = len(_MAGIC) + _SALT + _COMMITMENT
_CHUNK = 65536


def _keys(name: str, secret: Buffer, salt: bytes, aad: Buffer) -> tuple[bytes, Cipher]:
    derived = expand(secret, _COMMITMENT + 32, label(b"rustcare stream v1", name, salt, bytes(aad)))
    return derived[:_COMMITMENT], Cipher(name, derived[_COMMITMENT:])


class _Sealer(Hidden):
    """STREAM, sealing."""

    __slots__ = ("_buffer", "_cipher", "_counter", "_out")

    def __init__(self, name: str, secret: Buffer, aad: Buffer) -> None:
        salt = os.urandom(_SALT)
        commitment, self._cipher = _keys(name, secret, salt, aad)
        self._counter, self._buffer = 0, bytearray()
        self._out = _MAGIC + salt + commitment

    def _seal(self, chunk: Buffer, last: bool) -> bytes:
        nonce = self._counter.to_bytes(11, "big") + bytes([last])
        self._counter += 1
        return self._cipher.encrypt(nonce, chunk, b"")

    def update(self, data: Buffer) -> bytes:
        done, self._out = [self._out], b""
        self._buffer += data
        at = 0
        # A full chunk is kept back until something follows it: it might be the last.
        while len(self._buffer) - at > _CHUNK:
            done.append(self._seal(bytes(self._buffer[at : at + _CHUNK]), last=False))
            at += _CHUNK
        del self._buffer[:at]
        return b"".join(done)

    def finalize(self) -> bytes:
        last = self._out + self._seal(bytes(self._buffer), last=True)
        self._buffer.clear()
        return last


class _Opener(Hidden):
    """STREAM, opening."""

    __slots__ = ("_aad", "_buffer", "_cipher", "_counter", "_name", "_secret")

    def __init__(self, name: str, secret: Buffer, aad: Buffer) -> None:
        self._name, self._secret, self._aad = name, bytes(secret), bytes(aad)
        self._cipher: Cipher | None = None
        self._counter, self._buffer = 0, bytearray()

    def _start(self) -> Cipher:
        header = bytes(self._buffer[:_HEADER])
        start = len(_MAGIC) + _SALT
        commitment, cipher = _keys(self._name, self._secret, header[len(_MAGIC) : start], self._aad)
        if header[: len(_MAGIC)] != _MAGIC or not compare_digest(commitment, header[start:]):
            raise CryptoFailed
        del self._buffer[:_HEADER]
        return cipher

    def _open(self, cipher: Cipher, chunk: Buffer, last: bool) -> bytes:
        nonce = self._counter.to_bytes(11, "big") + bytes([last])
        self._counter += 1
        return cipher.decrypt(nonce, chunk, b"")

    def update(self, data: Buffer) -> bytes:
        self._buffer += data
        done, at, full = [], 0, _CHUNK + _TAG
        if self._cipher is None and len(self._buffer) >= _HEADER:
            self._cipher = self._start()
        if self._cipher is not None:
            while len(self._buffer) - at > full:
                done.append(self._open(self._cipher, bytes(self._buffer[at : at + full]), last=False))
                at += full
            del self._buffer[:at]
        return b"".join(done)

    def finalize(self) -> bytes:
        if self._cipher is None:
            raise CryptoFailed
        last = self._open(self._cipher, bytes(self._buffer), last=True)
        if not last and self._counter > 1:
            raise CryptoFailed  # an empty last chunk after others: a second form of the same object
        self._buffer.clear()
        return last


class StreamSealer(Hidden):
    """Encrypts an object that comes in parts of any size.

    Args:
        name: an algorithm of `aead.AEADS`.
        secret: its key, 32 bytes.
        aad: bound to the whole stream.

    Raises:
        InvalidParameter: another algorithm.
        InvalidKey: a key of another length.
    """

    __slots__ = ("_done", "_inner")

    def __init__(self, name: str, secret: Buffer, aad: Buffer = b"") -> None:
        _expect(name, secret)
        gcm = name == "aes256-gcm"
        self._inner = Cobblestone256Encryptor(secret, aad) if gcm else _Sealer(name, secret, aad)
        self._done = False

    def _live(self) -> None:
        if self._done:
            raise InvalidParameter("expected no more data after the end of a stream, got some")

    def update(self, data: Buffer) -> bytes:
        """Take a part; give what can be given already. After the end: InvalidParameter."""
        self._live()
        return self._inner.update(data)

    def finish(self) -> bytes:
        """The last chunk. Without it nobody can open the stream."""
        self._live()
        self._done = True
        return self._inner.finalize()


class StreamOpener(Hidden):
    """Decrypts a stream that comes in parts of any size. Arguments as for `StreamSealer`."""

    __slots__ = ("_failed", "_inner")

    def __init__(self, name: str, secret: Buffer, aad: Buffer = b"") -> None:
        _expect(name, secret)
        gcm = name == "aes256-gcm"
        self._inner = Cobblestone256Decryptor(secret, aad) if gcm else _Opener(name, secret, aad)
        self._failed = False

    def update(self, data: Buffer) -> bytes:
        """Take a part; give the plaintext of the chunks that are complete and verified.

        Raises:
            CryptoFailed: now, and at every later call: nothing after a bad chunk is given out.
        """
        return self._run(lambda: self._inner.update(data))

    def finish(self) -> bytes:
        """The rest of the plaintext; only now is the object known to be complete.

        Raises:
            CryptoFailed: the end is missing, or something is wrong with it.
        """
        out = self._run(self._inner.finalize)
        self._failed = True  # nothing can follow
        return out

    def _run(self, step: Callable[[], bytes]) -> bytes:
        if self._failed:
            raise CryptoFailed
        self._failed = True
        try:
            out = step()
        except (InvalidTag, ValueError, AlreadyFinalized):
            raise CryptoFailed from None
        self._failed = False
        return out


def _expect(name: str, secret: Buffer) -> None:
    if name not in AEADS:
        raise InvalidParameter(f"expected an algorithm of {', '.join(AEADS)} for a stream, got {name!r}")
    expect_length(secret, 32, name)


def seal_stream(name: str, secret: Buffer, parts: Iterable[Buffer], aad: Buffer = b"") -> Iterator[bytes]:
    """Encrypt parts of any size, lazily; memory for about one chunk and one part."""
    sealer = StreamSealer(name, secret, aad)
    for part in parts:
        if out := sealer.update(part):
            yield out
    yield sealer.finish()


def open_stream(name: str, secret: Buffer, parts: Iterable[Buffer], aad: Buffer = b"") -> Iterator[bytes]:
    """Decrypt parts of any size, lazily. Exhausting it without CryptoFailed means that the object was complete."""
    opener = StreamOpener(name, secret, aad)
    for part in parts:
        if out := opener.update(part):
            yield out
    if out := opener.finish():
        yield out
