"""Recovery codes: ten secrets to be kept on paper, each good once, for the day that the other factors are lost.

A code has 80 bits. It is kept under a keyed hash whose key is not in the database: who steals that learns nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rustcare_sdk.context import Database

__all__ = ["COUNT", "RecoveryCodes", "normal"]

#: Codes of a set.
COUNT = 10

_BYTES = 10
# No I, L, O, U (Crockford): what is written by hand is read back right.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = str.maketrans({"I": "1", "L": "1", "O": "0"})


def normal(answer: str) -> str:
    """A code as it is hashed: capitals, no spaces or hyphens, and what is easily mistaken for a digit as that digit."""
    return "".join(answer.upper().split()).replace("-", "").translate(_READ_AS)


def _written(data: bytes) -> str:
    """Random bytes as a code in four groups: `7K2M-9QXD-…`."""
    number = int.from_bytes(data, "big")
    letters = "".join(_ALPHABET[number >> (5 * place) & 31] for place in range(_BYTES * 8 // 5))
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))


class RecoveryCodes:
    """The codes of accounts.

    Args:
        mac: a keyed hash of 32 bytes.
    """

    def __init__(
        self,
        db: Database,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        mac: Callable[[bytes], Awaitable[bytes]],
    ) -> None:
        self._db = db
        self._now = now
        self._random = random
        self._mac = mac

    async def left(self, account: str) -> int:
        """How many codes an account has that were not used."""
        row = await self._db.fetch_one(
            "SELECT COUNT(*) AS count FROM recovery_codes WHERE account = ? AND used = 0", (account,)
        )
        return int(row["count"]) if row is not None else 0

    async def generate(self, account: str) -> list[str]:
        """New codes in place of the old ones. They are nowhere else: whoever gets them shows them once."""
        codes = [_written(self._random(_BYTES)) for _ in range(COUNT)]
        rows = [(account, await self._hashed(account, code), self._now(), 0.0) for code in codes]
        async with self._db.transaction() as tx:
            await tx.execute("DELETE FROM recovery_codes WHERE account = ?", (account,))
            await tx.execute_many("INSERT INTO recovery_codes (account, code, created, used) VALUES (?, ?, ?, ?)", rows)
        return codes

    async def take(self, account: str, answer: str) -> bool:
        """Whether this is one of the account's codes that was not used; from now on it is. Of two at once, one wins."""
        hashed = await self._hashed(account, answer)
        taken = await self._db.execute(
            "UPDATE recovery_codes SET used = ? WHERE account = ? AND code = ? AND used = 0",
            (self._now(), account, hashed),
        )
        return taken == 1

    async def _hashed(self, account: str, code: str) -> str:
        return (await self._mac(b"recovery\0" + account.encode() + b"\0" + normal(code).encode())).hex()
