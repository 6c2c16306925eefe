"""A keyring in memory, for tests of plugins under the harness: real algorithms, no store, the crypto plugin's contract."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rustcare_sdk import Message
from rustcare_sdk.contracts import crypto
from rustcare_sdk.testing import PluginHarness

__all__ = ["MemoryKeyring"]


class MemoryKeyring:
    """Answers `crypto.*` of a harness. It outlives the harness, so that a plugin can be started again with its keys.

    `fail`: raise this instead of answering a service.
    """

    def __init__(self) -> None:
        self.signing = Ed25519PrivateKey.generate()
        self.token_keys = [os.urandom(32)]
        self.subjects: dict[tuple[str, str], bytes] = {}
        self.shredded: set[tuple[str, str]] = set()
        self.by_id: dict[bytes, tuple[str, str]] = {}
        self.fail: dict[str, BaseException] = {}
        self.calls: list[tuple[str, int]] = []

    def attach(self, harness: PluginHarness) -> None:
        """Answer the requests of this harness's plugin."""
        for service, method in (
            (crypto.KEY_CREATE, self.create),
            (crypto.KEY_PUBLIC, self.public),
            (crypto.SIGN, self.sign),
            (crypto.TOKEN, self.token),
            (crypto.SUBJECT_SEAL, self.seal),
            (crypto.SUBJECT_OPEN, self.open),
            (crypto.SUBJECT_PSEUDONYM, self.pseudonyms),
        ):
            harness.answer(service, self._checked(service, method))

    def _checked(self, service: str, method: Any) -> Any:
        def answer(message: Message[Any]) -> Any:
            self.calls.append((service, len(getattr(message.data, "items", ()) or ())))
            if service in self.fail:
                raise self.fail[service]
            return method(message)

        return answer

    def create(self, message: Message[crypto.KeyCreateRequest]) -> crypto.KeyInfo:
        """The keys are there."""
        return crypto.KeyInfo(message.data.name, message.data.algorithm)

    def public(self, message: Message[crypto.KeyPublicRequest]) -> crypto.KeyPublicReply:
        """The public part of the one signing key."""
        raw = self.signing.public_key().public_bytes_raw()
        return crypto.KeyPublicReply(message.data.key, 1, "ed25519", raw)

    def sign(self, message: Message[crypto.SignRequest]) -> crypto.SignReply:
        """Ed25519."""
        return crypto.SignReply([self.signing.sign(data) for data in message.data.data], 1, "ed25519")

    def rotate_tokens(self) -> None:
        """A new version of the index key."""
        self.token_keys.insert(0, os.urandom(32))

    def token(self, message: Message[crypto.TokenRequest]) -> crypto.TokenReply:
        """HMAC-SHA-256, cut to 32 digits."""
        keys = self.token_keys if message.data.all_versions else self.token_keys[:1]
        return crypto.TokenReply(
            [[hmac.digest(key, value, "sha256").hex()[:32] for key in keys] for value in message.data.values]
        )

    def _key(self, tenant: str, subject: str) -> bytes | None:
        name = (tenant, subject)
        if name in self.shredded:
            return None
        if name not in self.subjects:
            self.subjects[name] = os.urandom(32)
            self.by_id[hashlib.sha256(self.subjects[name]).digest()[:8]] = name
        return self.subjects[name]

    @staticmethod
    def _pseudonym(key: bytes) -> str:
        return hmac.digest(key, b"pseudonym", "sha256").hex()

    def seal(self, message: Message[crypto.SealRequest]) -> crypto.SealReply:
        """AES-256-GCM under the subject's key, whose id stands in front."""
        sealed, pseudonyms = [], []
        for item in message.data.items:
            key = self._key(item.tenant or message.tenant, item.subject)
            if key is None:
                sealed.append(b"")
                pseudonyms.append("")
                continue
            nonce = os.urandom(12)
            head = hashlib.sha256(key).digest()[:8]
            sealed.append(head + nonce + AESGCM(key).encrypt(nonce, item.data, item.context))
            pseudonyms.append(self._pseudonym(key))
        return crypto.SealReply(sealed, pseudonyms)

    def open(self, message: Message[crypto.OpenRequest]) -> crypto.OpenReply:
        """What was sealed, or why not."""
        return crypto.OpenReply([self._opened(item) for item in message.data.items])

    def _opened(self, item: crypto.OpenItem) -> crypto.Opened:
        name = self.by_id.get(item.sealed[:8])
        if name is None:
            return crypto.Opened("failed")
        if name in self.shredded:
            return crypto.Opened("shredded")
        try:
            data = AESGCM(self.subjects[name]).decrypt(item.sealed[8:20], item.sealed[20:], item.context)
        except InvalidTag:
            return crypto.Opened("failed")
        return crypto.Opened("open", data)

    def pseudonyms(self, message: Message[crypto.PseudonymRequest]) -> crypto.PseudonymReply:
        """Of subjects that have a key."""
        tenant = message.data.tenant or message.tenant
        return crypto.PseudonymReply([self.pseudonym(subject, tenant) for subject in message.data.subjects])

    def pseudonym(self, subject: str, tenant: str = "default") -> str:
        """Of one subject."""
        name = (tenant, subject)
        return self._pseudonym(self.subjects[name]) if name in self.subjects and name not in self.shredded else ""

    def shred(self, subject: str, tenant: str = "default") -> crypto.ShredReply:
        """Destroy a key."""
        reply = crypto.ShredReply(self.pseudonym(subject, tenant), "2026-01-01T12:00:00Z", "{}")
        self.shredded.add((tenant, subject))
        self.subjects.pop((tenant, subject), None)
        return reply
