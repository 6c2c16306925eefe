"""API keys and client certificates: what machines prove themselves with. A key is shown once; its SHA-256 is stored."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from rustcare_sdk import Database
from rustcare_sdk.context import Queries
from rustcare_sdk.contracts.identity import KeyInfo, Revocation

from rustcare_plugin_identity.rows import from_row, insert
from rustcare_plugin_identity.sessions.model import digest_of
from rustcare_plugin_identity.tokens.jose import b64u
from rustcare_plugin_identity.tokens.revocations import Revocations

from .errors import CertificateInvalid, KeyInvalid, KeyUnknown
from .format import make, prefix_of, well_formed

__all__ = ["MOST", "ApiKey", "ApiKeys"]

#: Keys and certificates of an account that are good at once.
MOST = 100

_ID = 16  # bytes
#: Seconds to which the time of last use is coarsened, and so how often it is written at most.
_COARSE = 3600.0
#: Seconds that a key is still listed after its end.
_KEPT = 366 * 86_400.0
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


class ApiKey(msgspec.Struct, frozen=True):
    """A row. `kind` `certificate`: `digest` is the SHA-256 of the certificate (DER). `scopes` empty: all of the account's."""

    id: str
    tenant: str
    account: str
    kind: Literal["key", "certificate"]
    name: str
    prefix: str
    digest: str
    scopes: tuple[str, ...]
    created: float
    expires: float = 0.0
    used: float = 0.0
    revoked: float = 0.0

    def alive(self, now: float) -> bool:
        """Whether it is good, as far as it knows."""
        return not self.revoked and (not self.expires or now < self.expires)

    @property
    def cached_as(self) -> str:
        """What a gateway remembers it under: the SHA-256 of the credential as it comes in `AuthenticateRequest`."""
        return digest_of(self.digest) if self.kind == "certificate" else self.digest

    def info(self) -> KeyInfo:
        """As it is told."""
        return KeyInfo(
            self.id,
            self.account,
            self.tenant,
            self.name,
            self.prefix,
            list(self.scopes),
            self.created,
            self.expires,
            self.used,
            bool(self.revoked),
            kind=self.kind,
        )


class ApiKeys:
    """The keys of all tenants.

    Args:
        tell: tells everybody of revocations that are committed.
    """

    def __init__(
        self,
        db: Database,
        time: Callable[[], float],
        random: Callable[[int], bytes],
        revocations: Revocations,
        tell: Callable[[Sequence[Revocation]], Awaitable[None]],
    ) -> None:
        self._db = db
        self._time = time
        self._random = random
        self._revocations = revocations
        self._tell = tell

    async def create(
        self, tenant: str, account: str, name: str, scopes: Sequence[str], expires: float
    ) -> tuple[ApiKey, str]:
        """A new key, and itself, which is nowhere else. `expires`: Unix seconds, 0 for never. Raises KeyInvalid."""
        secret = make(self._random)
        key = ApiKey(
            b64u(self._random(_ID)),
            tenant,
            account,
            "key",
            name,
            prefix_of(secret),
            digest_of(secret),
            tuple(scopes),
            self._time(),
            expires,
        )
        async with self._db.transaction() as tx:
            await self._room(tx, tenant, account)
            await insert(tx, "api_keys", key, "scopes")
        return key, secret

    async def _room(self, tx: Queries, tenant: str, account: str) -> None:
        row = await tx.fetch_one(
            "SELECT count(*) AS many FROM api_keys WHERE tenant = ? AND account = ? AND revoked = 0"
            " AND (expires = 0 OR expires > ?)",
            (tenant, account, self._time()),
        )
        if row is not None and row["many"] >= MOST:
            raise KeyInvalid(f"expected an account with less than {MOST} keys", hint="end one first", address="account")

    async def bind(
        self, tenant: str, account: str, name: str, fingerprint: str, scopes: Sequence[str], expires: float
    ) -> ApiKey:
        """A client certificate as a credential of an account. Raises CertificateInvalid, KeyInvalid.

        Args:
            fingerprint: the SHA-256 of the certificate (DER), hex; one that was bound and revoked can be bound anew.
        """
        digest = fingerprint.replace(":", "").lower()
        if not _FINGERPRINT.fullmatch(digest):
            raise CertificateInvalid("expected the SHA-256 of a certificate, 64 hex digits", address="fingerprint")
        key = ApiKey(
            b64u(self._random(_ID)),
            tenant,
            account,
            "certificate",
            name,
            digest[:8],
            digest,
            tuple(scopes),
            self._time(),
            expires,
        )
        async with self._db.transaction() as tx:
            await self._room(tx, tenant, account)
            row = await tx.fetch_one("SELECT * FROM api_keys WHERE digest = ?", (digest,))
            if row is not None:
                if _key(row).alive(self._time()):
                    raise CertificateInvalid("the certificate is bound to an account already", address="fingerprint")
                await tx.execute("DELETE FROM api_keys WHERE id = ?", (row["id"],))
            await insert(tx, "api_keys", key, "scopes")
        return key

    async def find(self, kind: Literal["key", "certificate"], credential: str) -> ApiKey | None:
        """The key, or certificate, of a credential, when it is good; that it was used is noted, coarsely."""
        if kind == "key" and not well_formed(credential):
            return None
        digest = digest_of(credential) if kind == "key" else credential.lower()
        row = await self._db.fetch_one("SELECT * FROM api_keys WHERE digest = ? AND kind = ?", (digest, kind))
        found = None if row is None else _key(row)
        now = self._time()
        if found is None or not found.alive(now):
            return None
        coarse = math.floor(now / _COARSE) * _COARSE
        if found.used < coarse:
            await self._db.execute("UPDATE api_keys SET used = ? WHERE id = ?", (coarse, found.id))
        return found

    async def get(self, tenant: str, id: str) -> ApiKey:
        """One of a tenant. Raises KeyUnknown."""
        row = await self._db.fetch_one("SELECT * FROM api_keys WHERE id = ? AND tenant = ?", (id, tenant))
        if row is None:
            raise KeyUnknown("there is no such key in this tenant")
        return _key(row)

    async def good(self, id: str) -> ApiKey | None:
        """One of any tenant by its id, when it is good."""
        row = await self._db.fetch_one("SELECT * FROM api_keys WHERE id = ?", (id,))
        found = None if row is None else _key(row)
        return found if found is not None and found.alive(self._time()) else None

    async def purge(self) -> int:
        """Take away the keys of accounts that are no more, and those that ended a year ago; how many."""
        before = self._time() - _KEPT
        return await self._db.execute(
            "DELETE FROM api_keys WHERE account NOT IN (SELECT id FROM accounts)"
            " OR (revoked > 0 AND revoked < ?) OR (expires > 0 AND expires < ?)",
            (before, before),
        )

    async def page(self, tenant: str, account: str = "") -> list[ApiKey]:
        """The keys of an account, or of the tenant, by name; those that were revoked too."""
        where, params = ("tenant = ? AND account = ?", [tenant, account]) if account else ("tenant = ?", [tenant])
        rows = await self._db.fetch(f"SELECT * FROM api_keys WHERE {where} ORDER BY name, id", params)
        return [_key(row) for row in rows]

    async def revoke(self, tenant: str, id: str) -> ApiKey:
        """End a key, and the tokens that were made with it: durable, and everybody was told, when this returns.

        Again is no error. Raises KeyUnknown.
        """
        now = self._time()
        async with self._db.transaction() as tx:
            row = await tx.fetch_one("SELECT * FROM api_keys WHERE id = ? AND tenant = ?", (id, tenant))
            if row is None:
                raise KeyUnknown("there is no such key in this tenant")
            key = _key(row)
            if not key.revoked:
                await tx.execute("UPDATE api_keys SET revoked = ? WHERE id = ?", (now, id))
                key = msgspec.structs.replace(key, revoked=now)
            told = [
                await self._revocations.note(tx, "key", key.cached_as, tenant),
                await self._revocations.note(tx, "session", id, tenant),  # tokens name the key as their session
            ]
        await self._tell(told)
        return key


def _key(row: Mapping[str, Any]) -> ApiKey:
    return from_row(ApiKey, row, "scopes")
