"""Browsers that are known again, by a secret that they keep for a year: not to let anybody in, but to tell when a new one
signs in, and to count wrong passwords from a known one apart."""

from __future__ import annotations

from collections.abc import Callable

from rustcare_sdk.context import Database

from .tickets import digest, secret

__all__ = ["LIFETIME", "Devices"]

#: Seconds after its last use that a browser is still known.
LIFETIME = 365 * 86400.0
_MOST = 50


class Devices:
    """The known browsers of accounts. Only the SHA-256 of their secrets is kept."""

    def __init__(self, db: Database, now: Callable[[], float], random: Callable[[int], bytes]) -> None:
        self._db = db
        self._now = now
        self._random = random

    async def known(self, tenant: str, account: str, given: str) -> str:
        """What stands for the browser if the account has signed in from it before, else empty.

        One query, whatever is given.
        """
        row = await self._db.fetch_one(
            "SELECT hash FROM devices WHERE hash = ? AND tenant = ? AND account = ? AND seen > ?",
            (digest(given), tenant, account, self._now() - LIFETIME),
        )
        return "" if row is None else str(row["hash"])

    async def seen(self, tenant: str, account: str, given: str, name: str) -> tuple[str, bool]:
        """The account has signed in from a browser: a new secret for it (empty: it keeps its own), and whether others were
        known before but not this one."""
        now, one = self._now(), digest(given)
        if await self.known(tenant, account, given):
            await self._db.execute(
                "UPDATE devices SET seen = ? WHERE hash = ? AND tenant = ? AND account = ?", (now, one, tenant, account)
            )
            return "", False
        made = ""
        async with self._db.transaction() as tx:
            # A browser that several people use is known by one secret, to each of them.
            shared = await tx.fetch_one("SELECT hash FROM devices WHERE tenant = ? AND hash = ?", (tenant, one))
            if shared is None:
                made = secret(self._random)
                one = digest(made)
            rows = await tx.fetch(
                "SELECT hash FROM devices WHERE tenant = ? AND account = ? ORDER BY seen DESC", (tenant, account)
            )
            for row in [*rows[_MOST - 1 :], {"hash": one}]:
                await tx.execute(
                    "DELETE FROM devices WHERE tenant = ? AND account = ? AND hash = ?", (tenant, account, row["hash"])
                )
            await tx.execute(
                "INSERT INTO devices (hash, tenant, account, name, created, seen) VALUES (?, ?, ?, ?, ?, ?)",
                (one, tenant, account, name, now, now),
            )
        return made, bool(rows)

    async def forget(self, tenant: str, account: str) -> None:
        """No browser of the account is known any more."""
        await self._db.execute("DELETE FROM devices WHERE tenant = ? AND account = ?", (tenant, account))

    async def purge(self) -> None:
        """Take away those that were not seen for a year."""
        await self._db.execute("DELETE FROM devices WHERE seen < ?", (self._now() - LIFETIME,))
