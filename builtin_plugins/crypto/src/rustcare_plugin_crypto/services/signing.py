"""Services that sign, verify and code, and that make search tokens."""

from __future__ import annotations

import asyncio

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import crypto

from rustcare_plugin_crypto import operations
from rustcare_plugin_crypto.algorithms import dsse
from rustcare_plugin_crypto.algorithms.base import Verifier
from rustcare_plugin_crypto.errors import CryptoFailed
from rustcare_plugin_crypto.keyring import Caller, Key
from rustcare_plugin_crypto.keyring.caller import DEFAULT_TENANT
from rustcare_plugin_crypto.refusals import InvalidRequest, KeyUnsuitable

from .base import Services, check_items

__all__ = ["SigningServices"]

_TOKEN = 16  # bytes
_MAX_KEYS = 64  # of one envelope
_PAGE = 1000
#: Signatures that are made without a thread; and for how many an RSA one counts.
_AT_ONCE, _RSA = 128, 32


class SigningServices(Services):
    """Sign, verify, HMAC, token, DSSE, JWKS."""

    @serve(crypto.SIGN)
    async def sign(self, message: Message[crypto.SignRequest]) -> crypto.SignReply:
        """A signature for each."""
        asked = message.data
        check_items(len(asked.data), crypto.SIGN)
        key = await self.usable(message, asked.key, "signature")
        version = key.record.for_new_work(asked.version)
        signer = key.prepared(version, asked.context)
        if not _takes_long(key, len(asked.data)):
            return crypto.SignReply([signer.sign(data) for data in asked.data], version, key.record.algorithm)
        signatures = await asyncio.to_thread(lambda: [signer.sign(data) for data in asked.data])
        return crypto.SignReply(signatures, version, key.record.algorithm)

    @serve(crypto.VERIFY)
    async def verify(self, message: Message[crypto.VerifyRequest]) -> crypto.VerifyReply:
        """Under which version each signature verifies; who may see the public key may ask."""
        key = await self.keyring.seen(Caller.of(message), message.data.key)
        self.policy.admit(key.record.algorithm)
        if key.algorithm.family != "signature":
            raise KeyUnsuitable(
                f"expected a key for signatures, got {key.record.algorithm}", address=f"{crypto.VERIFY}:key"
            )
        if _takes_long(key, len(message.data.items)):
            return await asyncio.to_thread(_verified, key, message.data)
        return _verified(key, message.data)

    @serve(crypto.HMAC)
    async def hmac(self, message: Message[crypto.HmacRequest]) -> crypto.HmacReply:
        """A code for each."""
        asked = message.data
        check_items(len(asked.data), crypto.HMAC)
        key = await self.usable(message, asked.key, "mac")
        version = key.record.for_new_work(asked.version)
        mac = key.prepared(version, asked.context)
        return crypto.HmacReply([mac.sign(data) for data in asked.data], version)

    @serve(crypto.HMAC_VERIFY)
    async def hmac_verify(self, message: Message[crypto.VerifyRequest]) -> crypto.VerifyReply:
        """Under which version each code is right."""
        return _verified(await self.usable(message, message.data.key, "mac"), message.data)

    @serve(crypto.TOKEN)
    async def token(self, message: Message[crypto.TokenRequest]) -> crypto.TokenReply:
        """Search tokens."""
        asked = message.data
        check_items(len(asked.values), crypto.TOKEN)
        key = await self.usable(message, asked.key, "mac")
        versions = key.record.usable() if asked.all_versions else [key.record.primary]
        macs = [key.prepared(version) for version in versions]
        return crypto.TokenReply([[mac.sign(value)[:_TOKEN].hex() for mac in macs] for value in asked.values])

    @serve(crypto.DSSE_SIGN)
    async def dsse_sign(self, message: Message[crypto.DsseSignRequest]) -> crypto.DsseSignReply:
        """An envelope with a signature of each key."""
        asked = message.data
        if not 1 <= len(asked.keys) <= _MAX_KEYS:
            raise InvalidRequest(
                f"expected 1 to {_MAX_KEYS} keys, got {len(asked.keys)}", address=f"{crypto.DSSE_SIGN}:keys"
            )
        signers = {}
        for name in asked.keys:
            key = await self.usable(message, name, "signature")
            version = key.record.primary
            signers[f"{key.record.name}/{version}"] = key.prepared(version)
        return crypto.DsseSignReply(dsse.seal(asked.payload_type, asked.payload, signers).to_json())

    @serve(crypto.DSSE_VERIFY)
    async def dsse_verify(self, message: Message[crypto.DsseVerifyRequest]) -> crypto.DsseVerifyReply:
        """What the envelope holds, when enough of the keys signed it; several versions of a key count once."""
        asked = message.data
        names = list(dict.fromkeys(asked.keys))
        if not 1 <= len(names) <= _MAX_KEYS or not 1 <= asked.threshold <= len(names):
            raise InvalidRequest(
                f"expected 1 to {_MAX_KEYS} keys and a threshold up to their number, got {len(names)} and {asked.threshold}",
                address=f"{crypto.DSSE_VERIFY}:keys",
            )
        verifiers: dict[str, Verifier] = {}
        for name in names:
            key = await self.keyring.seen(Caller.of(message), name)
            self.policy.admit(key.record.algorithm)
            for version in key.record.usable():
                verifiers[f"{name}/{version}"] = key.verifier(version)
        envelope = dsse.Envelope.from_json(asked.envelope)
        if not verifiers:
            raise CryptoFailed
        signers = list(dsse.verify(envelope, verifiers))
        if len({signer.rpartition("/")[0] for signer in signers}) < asked.threshold:
            raise CryptoFailed
        return crypto.DsseVerifyReply(envelope.payload, envelope.kind, signers)

    @serve(crypto.JWKS)
    async def jwks(self, message: Message[crypto.JwksRequest]) -> crypto.JwksReply:
        """The public keys, a JWK for each version that is not destroyed."""
        caller = Caller.of(message)
        if message.data.keys:
            keys = [await self.keyring.seen(caller, name) for name in message.data.keys]
        else:
            keys, after = [], ""
            while page := await self.keyring.page({caller.tenant, DEFAULT_TENANT}, after, _PAGE):
                keys += [key for key in page if _has_public(key)]
                after = page[-1].record.name
        return crypto.JwksReply([public_jwk(key, version) for key in keys for version in key.record.kept()])


def public_jwk(key: Key, version: int) -> dict[str, object]:
    """The JWK of one version; its `kid` is the key's name and version. Raises KeyUnsuitable."""
    return {**key.algorithm.jwk(key.public(version)), "kid": f"{key.record.name}/{version}"}


def _takes_long(key: Key, count: int) -> bool:
    """Whether so many signatures keep the event loop from others for more than some milliseconds: then a thread does it."""
    return count * (_RSA if key.record.algorithm.startswith("rsa-") else 1) > _AT_ONCE


def _has_public(key: Key) -> bool:
    return key.algorithm.family not in ("aead", "mac") and not key.record.derived and not key.record.destroyed


def _verified(key: Key, asked: crypto.VerifyRequest) -> crypto.VerifyReply:
    check_items(len(asked.items), crypto.VERIFY)
    versions = []
    for item in asked.items:
        try:
            versions.append(operations.verify(key, item, asked.version, asked.context))
        except CryptoFailed:
            if not asked.partial:
                raise
            versions.append(0)
    return crypto.VerifyReply(versions)
