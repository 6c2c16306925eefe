"""Services that encrypt and decrypt under keys of the ring."""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import crypto

from rustcare_plugin_crypto import operations
from rustcare_plugin_crypto.errors import CryptoFailed
from rustcare_plugin_crypto.keyring import Caller, Key
from rustcare_plugin_crypto.refusals import InvalidRequest
from rustcare_plugin_crypto.streams import Streams

from .base import Services, check_items

__all__ = ["EncryptionServices"]

_DATAKEYS = range(16, 513)  # bytes


class EncryptionServices(Services):
    """Encrypt, decrypt, rewrap, data keys, streams."""

    streams: Streams

    @serve(crypto.ENCRYPT)
    async def encrypt(self, message: Message[crypto.EncryptRequest]) -> crypto.EncryptReply:
        """Encrypt each item."""
        asked = message.data
        check_items(len(asked.items), crypto.ENCRYPT)
        key = await self.usable(message, asked.key, "aead")
        return crypto.EncryptReply(*operations.encrypt(key, asked.items, asked.version, text=asked.text))

    @serve(crypto.DECRYPT)
    async def decrypt(self, message: Message[crypto.DecryptRequest]) -> crypto.DecryptReply:
        """Decrypt each item."""
        asked = message.data
        check_items(len(asked.items), crypto.DECRYPT)
        key = await self.usable(message, asked.key, "aead")
        data, whole = operations.decrypt_many(key, asked.items)
        if not whole and not asked.partial:
            raise CryptoFailed
        return crypto.DecryptReply(data)

    @serve(crypto.REWRAP)
    async def rewrap(self, message: Message[crypto.RewrapRequest]) -> crypto.EncryptReply:
        """Encrypt each item anew under the primary version; its plaintext stays here."""
        asked = message.data
        check_items(len(asked.items), crypto.REWRAP)
        key = await self.usable(message, asked.key, "aead")
        return crypto.EncryptReply([operations.rewrap(key, item) for item in asked.items], key.record.primary)

    @serve(crypto.DATAKEY)
    async def datakey(self, message: Message[crypto.DatakeyRequest]) -> crypto.DatakeyReply:
        """A fresh key, and its ciphertext."""
        asked = message.data
        key = await self.usable(message, asked.key, "aead")
        plain, sealed, version = self.new_datakey(key, asked.size, asked.aad, asked.context)
        return crypto.DatakeyReply(sealed, version, plain if asked.plaintext else b"")

    def new_datakey(self, key: Key, size: int, aad: bytes, context: bytes) -> tuple[bytes, bytes, int]:
        """A fresh key, its ciphertext, and under which version. Raises InvalidRequest for a size out of bounds."""
        if size not in _DATAKEYS:
            raise InvalidRequest(
                f"expected a data key of 16 to 512 bytes, got {size}", address=f"{crypto.DATAKEY}:size"
            )
        plain = self.ctx.random(size)
        (sealed,), version = operations.encrypt(key, [crypto.PlainItem(plain, aad, context)])
        return plain, sealed, version

    @serve(crypto.STREAM_SEAL)
    async def stream_seal(self, message: Message[crypto.StreamRequest]) -> crypto.StreamReply:
        """The next chunks of an object to encrypt."""
        key = await self.usable(message, message.data.key, "aead")
        return self.streams.seal(Caller.of(message), key, message.data)

    @serve(crypto.STREAM_OPEN)
    async def stream_open(self, message: Message[crypto.StreamRequest]) -> crypto.StreamReply:
        """The next chunks of an object to decrypt."""
        key = await self.usable(message, message.data.key, "aead")
        return self.streams.open(Caller.of(message), key, message.data)
