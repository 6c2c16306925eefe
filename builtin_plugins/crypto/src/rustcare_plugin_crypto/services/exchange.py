"""Services between two parties: HPKE, key agreement, encapsulation; and derivation, random bytes, hashes, passwords."""

from __future__ import annotations

from typing import Any, cast

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import crypto

from rustcare_plugin_crypto.algorithms import Agreement, Hpke, Kem, algorithm
from rustcare_plugin_crypto.algorithms.hashes import digest
from rustcare_plugin_crypto.algorithms.kdf import hkdf
from rustcare_plugin_crypto.algorithms.passwords import Passwords
from rustcare_plugin_crypto.errors import CryptoFailed
from rustcare_plugin_crypto.keyring import Caller
from rustcare_plugin_crypto.operations import old_version
from rustcare_plugin_crypto.refusals import InvalidRequest

from .base import Services, check_items

__all__ = ["ExchangeServices", "hash_name"]

_MAX_RANDOM = 65536
_KDF = "hkdf-sha256"


class ExchangeServices(Services):
    """HPKE, agreement, KEM, HKDF, random, hash, passwords."""

    passwords: Passwords

    @serve(crypto.HPKE_SEAL)
    async def hpke_seal(self, message: Message[crypto.HpkeSealRequest]) -> crypto.EncryptReply:
        """Encrypt to a public key."""
        asked = message.data
        check_items(len(asked.items), crypto.HPKE_SEAL)
        _refuse_aad(asked.items, crypto.HPKE_SEAL)
        chosen, public, version = await self._recipient(message, asked.key, asked.public, asked.algorithm, Hpke)
        return crypto.EncryptReply([chosen.seal(public, item.data, item.context) for item in asked.items], version)

    async def _recipient(
        self, message: Message[Any], name: str, public: bytes, named: str, kind: type[Any]
    ) -> tuple[Any, bytes, int]:
        """Algorithm, public key, and version (0 for a foreign key)."""
        if bool(name) == bool(public):
            raise InvalidRequest("expected either a key of the ring or a public key", address=message.subject)
        if not name:
            self.policy.admit(named)
            return algorithm(named, kind), public, 0
        key = await self.keyring.seen(Caller.of(message), name)
        self.policy.admit(key.record.algorithm)
        version = key.record.primary
        return algorithm(key.record.algorithm, kind), key.public(version), version

    @serve(crypto.HPKE_OPEN)
    async def hpke_open(self, message: Message[crypto.DecryptRequest]) -> crypto.DecryptReply:
        """Decrypt with whichever version it was sealed to."""
        asked = message.data
        check_items(len(asked.items), crypto.HPKE_OPEN)
        _refuse_aad(asked.items, crypto.HPKE_OPEN)
        key = await self.usable(message, asked.key, "hpke")
        chosen = cast(Hpke, key.algorithm)
        secrets = [key.secret_for(version) for version in key.record.usable()]
        data: list[bytes | None] = []
        for item in asked.items:
            opened = _first_open(chosen, secrets, item)
            if opened is None and not asked.partial:
                raise CryptoFailed
            data.append(opened)
        return crypto.DecryptReply(data)

    @serve(crypto.AGREE)
    async def agree(self, message: Message[crypto.AgreeRequest]) -> crypto.SecretReply:
        """Diffie-Hellman with a peer; the raw result never leaves."""
        asked = message.data
        key = await self.usable(message, asked.key, "agreement")
        self.policy.admit(_KDF)
        version = key.record.for_new_work(asked.version)
        shared = cast(Agreement, key.algorithm).agree(key.secret_for(version), asked.peer)
        return crypto.SecretReply(hkdf(_KDF, shared, asked.size, asked.salt, asked.info))

    @serve(crypto.ENCAPSULATE)
    async def encapsulate(self, message: Message[crypto.EncapsulateRequest]) -> crypto.EncapsulateReply:
        """A shared secret for a public key."""
        asked = message.data
        chosen, public, version = await self._recipient(message, asked.key, asked.public, asked.algorithm, Kem)
        self.policy.admit(_KDF)
        shared, encapsulated = chosen.encapsulate(public)
        return crypto.EncapsulateReply(encapsulated, version, hkdf(_KDF, shared, asked.size, b"", asked.info))

    @serve(crypto.DECAPSULATE)
    async def decapsulate(self, message: Message[crypto.DecapsulateRequest]) -> crypto.SecretReply:
        """The other side of it."""
        asked = message.data
        key = await self.usable(message, asked.key, "kem")
        self.policy.admit(_KDF)
        version = old_version(key, asked.version) if asked.version else key.record.primary
        shared = cast(Kem, key.algorithm).decapsulate(key.secret_for(version), asked.encapsulated)
        return crypto.SecretReply(hkdf(_KDF, shared, asked.size, b"", asked.info))

    @serve(crypto.HKDF)
    async def derive(self, message: Message[crypto.HkdfRequest]) -> crypto.SecretReply:
        """Derive from a key of the ring or from a secret that came."""
        asked = message.data
        name = f"hkdf-{asked.hash}"
        self.policy.admit(name)
        if bool(asked.key) == bool(asked.secret):
            raise InvalidRequest("expected either a key of the ring or a secret", address=crypto.HKDF)
        secret = asked.secret
        if asked.key:
            key = await self.usable(message, asked.key, "mac")
            secret = key.secret_for(key.record.for_new_work(asked.version))
        # The whole of HKDF also for a key: expanding alone would give what `crypto.hmac` of the same key can give.
        return crypto.SecretReply(hkdf(name, secret, asked.size, asked.salt, asked.info))

    @serve(crypto.RANDOM)
    async def random(self, message: Message[crypto.RandomRequest]) -> crypto.SecretReply:
        """Random bytes."""
        size = message.data.size
        if not 1 <= size <= _MAX_RANDOM:
            raise InvalidRequest(f"expected 1 to {_MAX_RANDOM} bytes, got {size}", address=f"{crypto.RANDOM}:size")
        return crypto.SecretReply(self.ctx.random(size))

    @serve(crypto.HASH)
    async def hash(self, message: Message[crypto.HashRequest]) -> crypto.HashReply:
        """A hash of each."""
        asked = message.data
        check_items(len(asked.data), crypto.HASH)
        name = hash_name(asked.algorithm)
        self.policy.admit(name)
        return crypto.HashReply([digest(name, data) for data in asked.data])

    @serve(crypto.PASSWORD_HASH)
    async def password_hash(self, message: Message[crypto.PasswordHashRequest]) -> crypto.PasswordHashReply:
        """Hash a password, in a bounded pool of threads."""
        return crypto.PasswordHashReply(await self.passwords.hash(message.data.password))

    @serve(crypto.PASSWORD_VERIFY)
    async def password_verify(self, message: Message[crypto.PasswordVerifyRequest]) -> crypto.PasswordVerifyReply:
        """Whether it is the one that was hashed."""
        try:
            stale = await self.passwords.verify(message.data.hash, message.data.password)
        except CryptoFailed:
            return crypto.PasswordVerifyReply(False)
        return crypto.PasswordVerifyReply(True, stale)


def hash_name(name: str) -> str:
    """`sha256` as it is called in the standard: `sha2-256`."""
    return f"sha2-{name.removeprefix('sha')}" if name in ("sha256", "sha384", "sha512") else name


def _refuse_aad(items: list[crypto.PlainItem] | list[crypto.CipherItem], service: str) -> None:
    if any(item.aad for item in items):
        raise InvalidRequest(
            "expected no associated data", hint="bind it with `context`, which is HPKE's info", address=f"{service}:aad"
        )


def _first_open(chosen: Hpke, secrets: list[bytes], item: crypto.CipherItem) -> bytes | None:
    for secret in secrets:
        try:
            return chosen.open(secret, item.ciphertext, item.context)
        except CryptoFailed:
            continue
    return None
