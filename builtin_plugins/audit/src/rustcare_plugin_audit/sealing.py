"""The keyring as this plugin uses it: sign, seal under a subject's key, open, tokens. Each call is one request, batched.

The keys: `audit-log` (Ed25519) signs checkpoints and statements, `audit-index` (HMAC-SHA-256) makes search tokens, and
every subject (a patient, or a resource of no known patient) has a key of its own in the keyring.
"""

from __future__ import annotations

from collections.abc import Sequence

from rustcare_sdk import Context
from rustcare_sdk.contracts import crypto

__all__ = ["INDEX_KEY", "LOG_KEY", "LOG_KEY_ML_DSA", "Crypto", "context_of", "resource_subject"]

LOG_KEY = "audit-log"
#: Cosigns checkpoints when the configuration asks for it.
LOG_KEY_ML_DSA = "audit-log-ml-dsa"
INDEX_KEY = "audit-index"


def context_of(entry: str) -> bytes:
    """What a sealed part of an entry is bound to: it cannot be moved to another entry."""
    return b"rustcare/audit/entry/" + entry.encode()


def resource_subject(reference: str) -> str:
    """The subject whose key protects a reference: `Patient/123` → `patient/123`, `Observation/7` → `observation/7`."""
    type_, slash, id_ = reference.partition("/")
    return f"{type_.lower()}/{id_}" if slash else reference


class Crypto:
    """Requests to the keyring in the plugin's own name."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    async def create_keys(self, *, ml_dsa: bool = False) -> None:
        """Make the keys that are not there yet."""
        wanted = [(LOG_KEY, "ed25519"), (INDEX_KEY, "hmac-sha256")]
        if ml_dsa:
            wanted.append((LOG_KEY_ML_DSA, "ml-dsa-44"))
        for name, algorithm in wanted:
            await self._ctx.request(crypto.KEY_CREATE, crypto.KeyCreateRequest(name, algorithm), type=crypto.KeyInfo)

    async def public(self, key: str = LOG_KEY, version: int = 0) -> crypto.KeyPublicReply:
        """The public part of a signing key: `.raw` is 32 bytes for Ed25519."""
        asked = crypto.KeyPublicRequest(key, version)
        reply: crypto.KeyPublicReply = await self._ctx.request(crypto.KEY_PUBLIC, asked, type=crypto.KeyPublicReply)
        return reply

    async def sign(self, data: bytes, key: str = LOG_KEY) -> bytes:
        """A signature over `data`: 64 bytes for Ed25519."""
        asked = crypto.SignRequest(key, [data])
        reply: crypto.SignReply = await self._ctx.request(crypto.SIGN, asked, type=crypto.SignReply)
        return reply.signatures[0]

    async def seal(self, items: Sequence[crypto.SealItem]) -> crypto.SealReply:
        """Ciphertexts and pseudonyms, in order; both empty for a subject whose key is destroyed."""
        if not items:
            return crypto.SealReply([], [])
        asked = crypto.SealRequest(list(items))
        reply: crypto.SealReply = await self._ctx.request(crypto.SUBJECT_SEAL, asked, type=crypto.SealReply)
        return reply

    async def open(self, items: Sequence[crypto.OpenItem]) -> list[crypto.Opened]:
        """What was sealed, in order; each says whether it is `open`, `shredded` or `failed`."""
        if not items:
            return []
        asked = crypto.OpenRequest(list(items))
        reply: crypto.OpenReply = await self._ctx.request(crypto.SUBJECT_OPEN, asked, type=crypto.OpenReply)
        return reply.items

    async def pseudonym(self, subject: str, tenant: str = "") -> str:
        """The pseudonym (hex, 64 digits) of a subject such as `patient/123`; empty when it has no key, or none any more."""
        asked = crypto.PseudonymRequest([subject], tenant)
        reply: crypto.PseudonymReply = await self._ctx.request(
            crypto.SUBJECT_PSEUDONYM, asked, type=crypto.PseudonymReply
        )
        return reply.pseudonyms[0]

    async def tokens(self, values: Sequence[bytes], *, all_versions: bool = False) -> list[list[str]]:
        """For each value its search tokens (hex, 32 digits): of the newest key, or of every version of it."""
        if not values:
            return []
        asked = crypto.TokenRequest(INDEX_KEY, list(values), all_versions)
        reply: crypto.TokenReply = await self._ctx.request(crypto.TOKEN, asked, type=crypto.TokenReply)
        return reply.tokens
