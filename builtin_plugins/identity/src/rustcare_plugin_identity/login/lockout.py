"""How wrong passwords slow down, and then stop, those that follow.

They are counted by what was typed as the name, under a keyed hash, whether there is such an account or not: both wait, both
are locked, both cost the same. A try is counted before the password is looked at, so that any number at the same time cannot
get ahead of the count. Nobody is kept waiting at the door: who must wait is told for how long, and their password is not
looked at.

A lock ends by itself, and only passwords are locked: sessions go on, a passkey signs in. A browser that the account has
signed in from before is counted apart, so that a stranger's guesses do not keep its user out.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from rustcare_sdk.context import Database

from rustcare_plugin_identity.settings import LockoutSettings

__all__ = ["Lockout", "Standing", "Try", "counted"]

#: The most names without an account that are remembered: the oldest go first.
_STRANGERS = 50_000


class Standing(msgspec.Struct, frozen=True):
    """Where a name stands. `count`: wrong passwords since the last right one; `locks`: how often it was locked."""

    count: int = 0
    locks: int = 0
    last: float = 0.0
    wait_until: float = 0.0
    locked_until: float = 0.0


class Try(msgspec.Struct, frozen=True):
    """A try that was counted. `retry_after`: it must not be looked at before so many seconds have passed. `locks`: if its
    password is wrong, the name is locked from now on; `until`: until when others wait because of it."""

    key: str = ""
    retry_after: float = 0.0
    locks: bool = False
    until: float = 0.0


def counted(before: Standing, now: float, rules: LockoutSettings) -> tuple[Standing, Try]:
    """The standing after one more try, and what the try may do."""
    if before.count and now - max(before.last, before.locked_until) > rules.forget:
        before = Standing()
    until = max(before.wait_until, before.locked_until)
    if now < until:
        return before, Try(retry_after=until - now)
    count, locks = before.count + 1, before.locks
    wait_until = locked_until = 0.0
    if count % rules.lock_after == 0:
        locked_until = now + min(rules.lock_for * 2.0 ** min(locks, 30), rules.lock_longest)
        locks += 1
    elif count > rules.free:
        wait_until = now + min(2.0 ** min(count - rules.free - 1, 30), rules.longest_wait)
    tried = Try(locks=locked_until > 0, until=max(wait_until, locked_until))
    return Standing(count, locks, now, wait_until, locked_until), tried


class Lockout:
    """The standings of names, durable.

    Args:
        mac: a keyed hash whose key is not in the database: what people type as a name may be a password.
    """

    def __init__(self, db: Database, now: Callable[[], float], mac: Callable[[bytes], Awaitable[bytes]]) -> None:
        self._db = db
        self._now = now
        self._mac = mac

    async def begin(
        self, tenant: str, name: str, account: str, rules: LockoutSettings, *, what: str = "password", device: str = ""
    ) -> Try:
        """Count a try. `name`: the key of what was typed; `account`: the id of whose it is, empty for nobody's.

        `what`: what is tried (each is counted apart); `device`: a browser that the account has signed in from.
        """
        key = await self._key(tenant, name, what, device)
        now = self._now()
        async with self._db.transaction() as tx:
            await tx.execute(
                "INSERT INTO failures (tenant, key, account, count, locks, last, wait_until, locked_until)"
                " VALUES (?, ?, ?, 0, 0, 0, 0, 0) ON CONFLICT (tenant, key) DO NOTHING",
                (tenant, key, account),
            )
            # The row is locked from here on. Who it belongs to may have changed since it was made.
            await tx.execute("UPDATE failures SET account = ? WHERE tenant = ? AND key = ?", (account, tenant, key))
            row = await tx.fetch_one(
                "SELECT count, locks, last, wait_until, locked_until FROM failures WHERE tenant = ? AND key = ?",
                (tenant, key),
            )
            assert row is not None  # it was written above
            after, found = counted(Standing(**dict(row)), now, rules)
            await tx.execute(
                "UPDATE failures SET count = ?, locks = ?, last = ?, wait_until = ?, locked_until = ?"
                " WHERE tenant = ? AND key = ?",
                (after.count, after.locks, after.last, after.wait_until, after.locked_until, tenant, key),
            )
        return msgspec.structs.replace(found, key=key)

    async def undo(self, tenant: str, found: Try) -> None:
        """The password was not looked at after all: nothing was tried. What another try has set meanwhile stays."""
        await self._db.execute(
            "UPDATE failures SET count = count - 1, locks = locks - ?,"
            " wait_until = CASE WHEN wait_until = ? THEN 0 ELSE wait_until END,"
            " locked_until = CASE WHEN locked_until = ? THEN 0 ELSE locked_until END"
            " WHERE tenant = ? AND key = ? AND count > 0",
            (int(found.locks), found.until, found.until, tenant, found.key),
        )

    async def right(self, tenant: str, found: Try) -> None:
        """The password was right: its failures are forgotten, those of other names and browsers are not."""
        await self._db.execute("DELETE FROM failures WHERE tenant = ? AND key = ?", (tenant, found.key))

    async def unlock(self, tenant: str, account: str) -> int:
        """An administrator has looked at it: all failures of the account are forgotten; how many there were."""
        row = await self._db.fetch_one(
            "SELECT SUM(count) AS n FROM failures WHERE tenant = ? AND account = ?", (tenant, account)
        )
        await self._db.execute("DELETE FROM failures WHERE tenant = ? AND account = ?", (tenant, account))
        return int(row["n"] or 0) if row is not None else 0

    async def purge(self, forget: float = 86400.0) -> None:
        """Take away what nobody needs any more, and the oldest names without an account beyond a bound.

        `forget`: the longest time, in seconds, that any tenant remembers a failure.
        """
        now = self._now()
        await self._db.execute("DELETE FROM failures WHERE last < ? AND locked_until < ?", (now - forget, now - forget))
        row = await self._db.fetch_one(
            "SELECT last FROM failures WHERE account = '' ORDER BY last DESC LIMIT 1 OFFSET ?", (_STRANGERS,)
        )
        if row is not None:
            await self._db.execute("DELETE FROM failures WHERE account = '' AND last <= ?", (row["last"],))

    async def _key(self, *parts: str) -> str:
        data = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
        return (await self._mac(b"failures\0" + data)).hex()
