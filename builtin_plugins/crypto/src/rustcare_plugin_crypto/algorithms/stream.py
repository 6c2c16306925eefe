"""Streaming authenticated encryption for objects larger than memory.

The STREAM construction (Hoang, Reyhanitabar, Rogaway and Vizár, "Online authenticated-encryption and its nonce-reuse
misuse-resistance", 2015), as age and Tink use it: the object is cut into chunks, each with its own tag under the nonce

    counter (11 bytes, big-endian) || 1 for the last chunk, 0 for others

so that a chunk that is left out, doubled, moved or put in from another object fails, and so does an object that was cut
off. The key is fresh for each stream, so nonces can count (SP 800-38D, section 8.2.1):

    stream = "RCS1" || log2 of the chunk's size (1) || salt (32) || commitment (32) || chunks
    commitment || K = HKDF-Expand-SHA256(key, label("rustcare stream v1", name, size, salt, aad), 64)

The header and the associated data are bound by the key's derivation; the commitment binds the stream to one key. Every
chunk is full but the last, and only the last chunk of an empty object is empty: one object has one form.

What comes out of `StreamOpener.update` is authentic, but not yet complete: before `finish` has passed, the end may have
been cut off. Who acts on a part acts on a prefix.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from hmac import compare_digest

from rustcare_plugin_crypto.errors import CryptoFailed, InvalidParameter

from .aead import Cipher
from .base import Buffer, Hidden, expect_length
from .kdf import expand, label

__all__ = ["CHUNK", "HEADER", "StreamOpener", "StreamSealer", "open_stream", "seal_stream"]

_MAGIC = b"RCS1"
_SALT, _COMMITMENT, _TAG = 32, 32, 16
#: Bytes before the first chunk.
HEADER = len(_MAGIC) + 1 + _SALT + _COMMITMENT
#: The usual size of a chunk in bytes.
CHUNK = 65536
#: Sizes that are taken, as log2: 1 KiB to 16 MiB. A header cannot make a reader hold more than that.
_SIZES = range(10, 25)


def _keys(name: str, secret: Buffer, size: int, salt: bytes, aad: Buffer) -> tuple[bytes, Cipher]:
    expect_length(secret, 32, name)
    info = label(b"rustcare stream v1", name, bytes([size]), salt, bytes(aad))
    derived = expand(secret, _COMMITMENT + 32, info)
    return derived[:_COMMITMENT], Cipher(name, derived[_COMMITMENT:])


class StreamSealer(Hidden):
    """Encrypts an object that comes in parts of any size.

    Args:
        name: an algorithm of `aead.AEADS`.
        secret: its key.
        aad: bound to the whole stream.
        chunk: the size of a chunk in bytes, a power of two from 1 KiB to 16 MiB.

    Raises:
        InvalidParameter: another chunk size.
        InvalidKey: a key of another length.
    """

    __slots__ = ("_buffer", "_chunk", "_cipher", "_counter", "_out")

    def __init__(self, name: str, secret: Buffer, aad: Buffer = b"", chunk: int = CHUNK) -> None:
        size = chunk.bit_length() - 1
        if chunk < 1 or chunk != 1 << size or size not in _SIZES:
            raise InvalidParameter(f"expected a chunk of a power of two from 1,024 to 16,777,216 bytes, got {chunk}")
        salt = os.urandom(_SALT)
        commitment, self._cipher = _keys(name, secret, size, salt, aad)
        self._chunk, self._counter, self._buffer = chunk, 0, bytearray()
        self._out: bytes | None = _MAGIC + bytes([size]) + salt + commitment

    def _seal(self, chunk: Buffer, last: bool) -> bytes:
        nonce = self._counter.to_bytes(11, "big") + bytes([last])
        self._counter += 1
        return self._cipher.encrypt(nonce, chunk, b"")

    def update(self, data: Buffer) -> bytes:
        """Take a part; give what can be given already (the header first).

        Raises:
            InvalidParameter: the stream is finished.
        """
        if self._out is None:
            raise InvalidParameter("expected no more data after the end of a stream, got some")
        done, self._out = [self._out], b""
        self._buffer += data
        at = 0
        # A full chunk is kept back until something follows it: it might be the last.
        while len(self._buffer) - at > self._chunk:
            done.append(self._seal(bytes(self._buffer[at : at + self._chunk]), last=False))
            at += self._chunk
        del self._buffer[:at]
        return b"".join(done)

    def finish(self) -> bytes:
        """The last chunk. Without it nobody can open the stream."""
        start = self.update(b"")
        last = self._seal(bytes(self._buffer), last=True)
        self._buffer.clear()
        self._out = None
        return start + last


class StreamOpener(Hidden):
    """Decrypts a stream that comes in parts of any size. Arguments as for `StreamSealer`."""

    __slots__ = ("_aad", "_buffer", "_chunk", "_cipher", "_counter", "_failed", "_name", "_secret")

    def __init__(self, name: str, secret: Buffer, aad: Buffer = b"") -> None:
        expect_length(secret, 32, name)
        self._name, self._secret, self._aad = name, bytes(secret), bytes(aad)
        self._cipher: Cipher | None = None
        self._chunk, self._counter, self._buffer, self._failed = 0, 0, bytearray(), False

    def _start(self) -> Cipher:
        header = bytes(self._buffer[:HEADER])
        size, salt = header[4], header[5 : 5 + _SALT]
        if header[:4] != _MAGIC or size not in _SIZES:
            raise CryptoFailed
        commitment, cipher = _keys(self._name, self._secret, size, salt, self._aad)
        if not compare_digest(commitment, header[5 + _SALT :]):
            raise CryptoFailed
        del self._buffer[:HEADER]
        self._chunk = 1 << size
        return cipher

    def _open(self, cipher: Cipher, chunk: Buffer, last: bool) -> bytes:
        nonce = self._counter.to_bytes(11, "big") + bytes([last])
        self._counter += 1
        return cipher.decrypt(nonce, chunk, b"")

    def update(self, data: Buffer) -> bytes:
        """Take a part; give the plaintext of the chunks that are complete and verified.

        Raises:
            CryptoFailed: now, and at every later call: nothing after a bad chunk is given out.
        """
        if self._failed:
            raise CryptoFailed
        self._failed = True
        self._buffer += data
        done, at = [], 0
        if self._cipher is None and len(self._buffer) >= HEADER:
            self._cipher = self._start()
        if self._cipher is not None:
            full = self._chunk + _TAG
            while len(self._buffer) - at > full:
                done.append(self._open(self._cipher, bytes(self._buffer[at : at + full]), last=False))
                at += full
            del self._buffer[:at]
        self._failed = False
        return b"".join(done)

    def finish(self) -> bytes:
        """The plaintext of the last chunk; only now is the object known to be complete.

        Raises:
            CryptoFailed: the end is missing, or something is wrong with it.
        """
        if self._failed or self._cipher is None:
            raise CryptoFailed
        self._failed = True
        last = self._open(self._cipher, bytes(self._buffer), last=True)
        if not last and self._counter > 1:
            raise CryptoFailed  # an empty last chunk after others: a second form of the same object
        self._buffer.clear()
        return last


def seal_stream(
    name: str, secret: Buffer, parts: Iterable[Buffer], aad: Buffer = b"", chunk: int = CHUNK
) -> Iterator[bytes]:
    """Encrypt parts of any size, lazily; memory for about one chunk and one part."""
    sealer = StreamSealer(name, secret, aad, chunk)
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
