"""Links that work once: the secret in them stands for the right to do one thing. Only its SHA-256 is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from rustcare_sdk.context import Database, Queries, Row

from rustcare_plugin_identity.errors import LinkUnknown

from .tickets import digest, secret

__all__ = ["LIFETIMES", "Link", "Links", "Purpose", "path"]

Purpose = Literal["setup", "invite", "register", "recover", "verify-email", "nothing"]

#: Seconds for which a link of each purpose works. `nothing` is made where there was nothing to send, at the same cost.
LIFETIMES: Mapping[str, float] = {
    "setup": 86400.0,
    "invite": 7 * 86400.0,
    "register": 86400.0,
    "recover": 3600.0,
    "verify-email": 86400.0,
    "nothing": 60.0,
}


class Link(msgspec.Struct, frozen=True):
    """What a link is for. `account`: an id, or empty; `email`: the address that it went to; `data`: what else matters."""

    tenant: str
    purpose: str
    account: str = ""
    email: str = ""
    data: dict[str, Any] = {}
    expires: float = 0.0


def path(purpose: str, given: str) -> str:
    """Where a link leads, on the server that made it."""
    return f"/identity/links/{purpose}/{given}"


class Links:
    """The repository of links."""

    def __init__(self, db: Database, now: Callable[[], float], random: Callable[[int], bytes]) -> None:
        self._db = db
        self._now = now
        self._random = random

    async def make(
        self,
        tenant: str,
        purpose: Purpose,
        *,
        account: str = "",
        email: str = "",
        data: Mapping[str, Any] | None = None,
        tx: Queries | None = None,
    ) -> tuple[str, float]:
        """A new link in place of those of the same purpose for the same account (or address); its secret, and when it ends."""
        if tx is None:
            async with self._db.transaction() as own:
                return await self._make(own, tenant, purpose, account, email, data or {})
        return await self._make(tx, tenant, purpose, account, email, data or {})

    async def _make(
        self, tx: Queries, tenant: str, purpose: str, account: str, email: str, data: Mapping[str, Any]
    ) -> tuple[str, float]:
        made, now = secret(self._random), self._now()
        expires = now + LIFETIMES[purpose]
        await tx.execute(
            "DELETE FROM links WHERE tenant = ? AND account = ? AND purpose = ? AND (account <> '' OR email = ?)",
            (tenant, account, purpose, email),
        )
        await tx.execute(
            "INSERT INTO links (hash, tenant, purpose, account, email, data, created, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (digest(made), tenant, purpose, account, email, msgspec.json.encode(data).decode(), now, expires),
        )
        return made, expires

    async def look(self, tenant: str, given: str) -> Link:
        """What a link is for, without using it. Raises LinkUnknown."""
        row = await self._db.fetch_one(
            "SELECT * FROM links WHERE hash = ? AND tenant = ? AND purpose <> 'nothing' AND expires > ?",
            (digest(given), tenant, self._now()),
        )
        return _link(row)

    async def take(self, tx: Queries, tenant: str, given: str, *purposes: Purpose) -> Link:
        """Use a link, within the transaction that does what it is for: of two at the same time one wins.

        Raises LinkUnknown, also for a link of another purpose.
        """
        values = (digest(given), tenant, self._now())
        row = await tx.fetch_one("SELECT * FROM links WHERE hash = ? AND tenant = ? AND expires > ?", values)
        found = _link(row)
        if found.purpose not in purposes:
            raise _unknown()
        if not await tx.execute("DELETE FROM links WHERE hash = ? AND tenant = ? AND expires > ?", values):
            raise _unknown()
        return found

    async def drop(self, tenant: str, account: str, tx: Queries | None = None) -> None:
        """No link of the account works any more."""
        await (tx or self._db).execute("DELETE FROM links WHERE tenant = ? AND account = ?", (tenant, account))

    async def purge(self) -> None:
        """Take away those whose time has passed."""
        await self._db.execute("DELETE FROM links WHERE expires < ?", (self._now(),))


def _link(row: Row | None) -> Link:
    if row is None:
        raise _unknown()
    return Link(
        row["tenant"],
        row["purpose"],
        row["account"],
        row["email"],
        msgspec.json.decode(row["data"], type=dict[str, Any]),
        float(row["expires"]),
    )


def _unknown() -> LinkUnknown:
    return LinkUnknown(
        "expected a link that still works, got one that is not known", hint="ask for a new one", address="secret"
    )
