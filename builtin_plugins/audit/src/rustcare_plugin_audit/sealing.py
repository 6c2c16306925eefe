"""The keyring as this plugin uses it: sign, seal under a subject's key, open, tokens. Each call is one request, batched.

The keys: `audit-log` (Ed25519) signs checkpoints and statements, `audit-index` (HMAC-SHA-256) makes search tokens, and
every subject (a patient, or a resource of no known patient) has a key of its own in the keyring.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Sequence
from typing import Any, TypeVar

from rustcare_sdk import Context
from rustcare_sdk.contracts import crypto

__all__ = ["INDEX_KEY", "LOG_KEY", "LOG_KEY_ML_DSA", "Crypto", "context_of", "resource_subject"]

LOG_KEY = "audit-log"
#: Cosigns checkpoints when the configuration asks for it.
LOG_KEY_ML_DSA = "audit-log-ml-dsa"
INDEX_KEY = "audit-index"
TIMEOUT = 30.0  # seconds that the keyring may take

T = TypeVar("T")


def context_of(entry: str) -> bytes:
    """What a sealed part of an entry is bound to: it cannot be moved to another entry."""
    return b"rustcare/audit/entry/" + entry.encode()


def resource_subject(reference: str) -> str:
    """The subject whose key protects a reference: `Patient/123` → `patient/123`, `Observation/7` → `observation/7`."""
    type_, slash, id_ = reference.partition("/")
    return f"{type_.lower()}/{id_}" if slash else reference


class Crypto:
    """Requests to the keyring in the plugin's own name, whoever the plugin works for at the moment: what is sealed belongs
    to many tenants, and what is opened is given only to those who may see it."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def _ask(self, service: str, data: Any, type_: type[T]) -> T:
        # In a context of its own, so that it is not on behalf of whichever message is being handled.
        found: T = await asyncio.get_running_loop().create_task(
            self._ctx.request(service, data, timeout=TIMEOUT, type=type_), context=contextvars.Context()
        )
        return found

    async def create_keys(self, *, ml_dsa: bool = False) -> None:
        """Make the keys that are not there yet."""
        wanted = [(LOG_KEY, "ed25519"), (INDEX_KEY, "hmac-sha256")]
        if ml_dsa:
            wanted.append((LOG_KEY_ML_DSA, "ml-dsa-44"))
        for name, algorithm in wanted:
            await self._ask(crypto.KEY_CREATE, crypto.KeyCreateRequest(name, algorithm), crypto.KeyInfo)

    async def public(self, key: str = LOG_KEY, version: int = 0) -> crypto.KeyPublicReply:
        """The public part of a signing key: `.raw` is 32 bytes for Ed25519."""
        asked = crypto.KeyPublicRequest(key, version)
        return await self._ask(crypto.KEY_PUBLIC, asked, crypto.KeyPublicReply)

    async def sign(self, data: bytes, key: str = LOG_KEY) -> bytes:
        """A signature over `data`: 64 bytes for Ed25519."""
        return (await self.sign_versioned(data, key))[0]

    async def sign_versioned(self, data: bytes, key: str = LOG_KEY) -> tuple[bytes, int]:
        """A signature over `data`, and the version of the key that made it."""
        reply = await self._ask(crypto.SIGN, crypto.SignRequest(key, [data]), crypto.SignReply)
        return reply.signatures[0], reply.version

    async def seal(self, items: Sequence[crypto.SealItem]) -> crypto.SealReply:
        """Ciphertexts and pseudonyms, in order; both empty for a subject whose key is destroyed."""
        if not items:
            return crypto.SealReply([], [])
        asked = crypto.SealRequest(list(items))
        return await self._ask(crypto.SUBJECT_SEAL, asked, crypto.SealReply)

    async def open(self, items: Sequence[crypto.OpenItem]) -> list[crypto.Opened]:
        """What was sealed, in order; each says whether it is `open`, `shredded` or `failed`."""
        if not items:
            return []
        asked = crypto.OpenRequest(list(items))
        reply = await self._ask(crypto.SUBJECT_OPEN, asked, crypto.OpenReply)
        return reply.items

    async def pseudonym(self, subject: str, tenant: str = "") -> str:
        """The pseudonym (hex, 64 digits) of a subject such as `patient/123`; empty when it has no key, or none any more."""
        asked = crypto.PseudonymRequest([subject], tenant)
        reply = await self._ask(crypto.SUBJECT_PSEUDONYM, asked, crypto.PseudonymReply)
        return reply.pseudonyms[0]

    async def tokens(self, values: Sequence[bytes], *, all_versions: bool = False) -> list[list[str]]:
        """For each value its search tokens (hex, 32 digits): of the newest key, or of every version of it."""
        if not values:
            return []
        asked = crypto.TokenRequest(INDEX_KEY, list(values), all_versions)
        reply = await self._ask(crypto.TOKEN, asked, crypto.TokenReply)
        return reply.tokens
