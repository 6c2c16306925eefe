"""How many wrong codes an account may try: a few at once, then ever more slowly, and a hundred in a row at most.

A code has six digits, so guessing must be slow (NIST SP 800-63B-4, section 3.2.2). A try is counted before the code is
looked at: any number of them at the same time cannot get ahead of the count.
"""

from __future__ import annotations

from collections.abc import Callable

from rustcare_sdk.context import Database

__all__ = ["FREE", "LIMIT", "Attempts"]

#: Wrong codes before the first wait.
FREE = 5
#: Wrong codes in a row after which no code counts until an administrator has reset the factors.
LIMIT = 100

_LONGEST = 900.0  # seconds


class Attempts:
    """Counts of wrong codes, durable."""

    def __init__(self, db: Database, now: Callable[[], float]) -> None:
        self._db = db
        self._now = now

    async def begin(self, account: str) -> float:
        """Count a try before its code is looked at. 0: go on; else until when (Unix seconds) none is looked at."""
        now = self._now()
        async with self._db.transaction() as tx:
            await tx.execute(
                "INSERT INTO factor_failures (account, failures, until) VALUES (?, 0, 0) ON CONFLICT (account) DO NOTHING",
                (account,),
            )
            # One statement decides and counts: the row is locked from here on.
            counted = await tx.execute(
                "UPDATE factor_failures SET failures = failures + 1 WHERE account = ? AND until <= ?", (account, now)
            )
            row = await tx.fetch_one("SELECT failures, until FROM factor_failures WHERE account = ?", (account,))
            assert row is not None  # it was written above
            failures, until = int(row["failures"]), float(row["until"])
            if not counted:
                return until
            if failures >= FREE:
                wait = now + (min(2.0 ** (failures - FREE), _LONGEST) if failures < LIMIT else 10.0 * 365 * 86400)
                await tx.execute("UPDATE factor_failures SET until = ? WHERE account = ?", (wait, account))
        return 0.0

    async def forget(self, account: str) -> None:
        """A code was right, or an administrator has reset the account."""
        await self._db.execute("DELETE FROM factor_failures WHERE account = ?", (account,))
