"""Codes with which a device without a browser is signed in by a person at another one (RFC 8628).

The device holds a long code and asks with it; the person types the short one, of letters that nobody mistakes. Each pair works
once: approving and collecting are compare-and-sets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from rustcare_sdk import Database

from rustcare_plugin_identity.rows import from_row, insert
from rustcare_plugin_identity.sessions.devices import clean_name
from rustcare_plugin_identity.sessions.model import Session, digest_of
from rustcare_plugin_identity.tokens.jose import b64u

from .errors import DeviceBusy, DeviceCodeUnknown, DeviceDenied, DeviceExpired, DevicePending, DeviceTooFast

__all__ = ["LETTERS", "DeviceCode", "DeviceCodes", "normal"]

#: No vowels, so no words; nothing that looks like something else (RFC 8628, section 6.1).
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_LETTERS = 8
_CODE = 32  # bytes
_MOST = 1000  # that wait, of one tenant
_SLOWER = 5  # seconds more between two polls, when there was too little


class DeviceCode(msgspec.Struct, frozen=True):
    """A row. `interval_s`: seconds between polls. `aal`, `amr`, `authenticated`: those of the session that approved it."""

    digest: str
    user_code: str
    tenant: str
    client: str
    address: str
    scopes: tuple[str, ...]
    audience: str
    state: Literal["pending", "approved", "denied", "used"]
    created: float
    expires: float
    polled: float = 0.0
    interval_s: int = 5
    account: str = ""
    aal: int = 1
    amr: tuple[str, ...] = ()
    authenticated: float = 0.0


def normal(user_code: str) -> str:
    """A short code as it is stored, however it was typed: `bcdf-ghjk` is `BCDFGHJK`."""
    return "".join(letter for letter in user_code.upper() if letter.isalnum())


class DeviceCodes:
    """The codes under way.

    Args:
        lasting: seconds that a code lasts.
    """

    def __init__(
        self, db: Database, time: Callable[[], float], random: Callable[[int], bytes], lasting: float = 600.0
    ) -> None:
        self._db = db
        self._time = time
        self._random = random
        self.lasting = lasting

    def _letters(self) -> str:
        # Bytes of which no letter has more than another: those below the greatest multiple of 20.
        found = ""
        while len(found) < _LETTERS:
            for byte in self._random(16):
                if byte < 240 and len(found) < _LETTERS:
                    found += LETTERS[byte % len(LETTERS)]
        return found

    async def begin(
        self, tenant: str, client: str, address: str, scopes: Sequence[str], audience: str
    ) -> tuple[DeviceCode, str]:
        """A new pair: the row, with the short code, and the long code, which is nowhere else. Raises DeviceBusy."""
        secret, now = b64u(self._random(_CODE)), self._time()
        async with self._db.transaction() as tx:
            await tx.execute("DELETE FROM device_codes WHERE expires <= ?", (now - self.lasting,))
            row = await tx.fetch_one(
                "SELECT count(*) AS many FROM device_codes WHERE tenant = ? AND expires > ?", (tenant, now)
            )
            if row is not None and row["many"] >= _MOST:
                raise DeviceBusy(f"{_MOST} devices wait to be signed in", hint="try again in some minutes")
            short = self._letters()
            while await tx.fetch_one("SELECT 1 AS there FROM device_codes WHERE user_code = ?", (short,)):
                short = self._letters()
            made = DeviceCode(
                digest_of(secret),
                short,
                tenant,
                clean_name(client),
                address,
                tuple(scopes),
                audience,
                "pending",
                now,
                now + self.lasting,
            )
            await insert(tx, "device_codes", made, "scopes", "amr")
        return made, secret

    async def show(self, tenant: str, user_code: str) -> DeviceCode:
        """What waits under a short code. Raises DeviceCodeUnknown."""
        row = await self._db.fetch_one(
            "SELECT * FROM device_codes WHERE user_code = ? AND tenant = ? AND state = 'pending' AND expires > ?",
            (normal(user_code), tenant, self._time()),
        )
        if row is None:
            raise DeviceCodeUnknown("no device waits with this code", hint="start again on the device")
        return _code(row)

    async def answer(self, user_code: str, session: Session, aal: int, *, approve: bool) -> DeviceCode:
        """What the person said, in a session of this level; once. Raises DeviceCodeUnknown."""
        found = await self.show(session.tenant, user_code)
        state: Literal["approved", "denied"] = "approved" if approve else "denied"
        changed = await self._db.execute(
            "UPDATE device_codes SET state = ?, account = ?, aal = ?, amr = ?, authenticated = ?"
            " WHERE digest = ? AND state = 'pending'",
            (state, session.account, aal, " ".join(session.amr), session.authenticated, found.digest),
        )
        if not changed:
            raise DeviceCodeUnknown("the code was answered meanwhile")
        return msgspec.structs.replace(found, state=state, account=session.account)

    async def poll(self, tenant: str, device_code: str) -> None:
        """Whether `collect` would give something now. Raises what it raises."""
        await self._asked(tenant, device_code, take=False)

    async def collect(self, tenant: str, device_code: str) -> DeviceCode:
        """What the device may have, once.

        Raises:
            DevicePending, DeviceTooFast: not yet; DeviceDenied, DeviceExpired, DeviceCodeUnknown: never.
        """
        return await self._asked(tenant, device_code, take=True)

    async def _asked(self, tenant: str, device_code: str, *, take: bool) -> DeviceCode:
        now = self._time()
        fast = False
        async with self._db.transaction() as tx:
            row = await tx.fetch_one(
                "SELECT * FROM device_codes WHERE digest = ? AND tenant = ?", (digest_of(device_code), tenant)
            )
            found = None if row is None else _code(row)
            if found is not None and found.state == "approved" and now < found.expires:
                if take:
                    await tx.execute("UPDATE device_codes SET state = 'used' WHERE digest = ?", (found.digest,))
                return found
            if found is not None and found.state == "pending":
                fast = now < found.polled + found.interval_s
                interval = found.interval_s + (_SLOWER if fast else 0)
                await tx.execute(
                    "UPDATE device_codes SET polled = ?, interval_s = ? WHERE digest = ?", (now, interval, found.digest)
                )
        if found is None or found.state == "used":
            raise DeviceCodeUnknown("there is no such device code", hint="start again")
        if now >= found.expires:
            raise DeviceExpired("the code's time is over", hint="start again")
        if found.state == "denied":
            raise DeviceDenied("the sign-in was refused")
        if fast:
            raise DeviceTooFast("the device asks too often", hint=f"wait {_SLOWER} seconds longer between two")
        raise DevicePending("nobody has answered yet", hint=f"ask again in {found.interval_s} seconds")

    async def purge(self) -> int:
        """Take away what has expired; how many. For a while it is kept, so that the device learns why."""
        return await self._db.execute("DELETE FROM device_codes WHERE expires <= ?", (self._time() - self.lasting,))


def _code(row: Mapping[str, Any]) -> DeviceCode:
    return from_row(DeviceCode, row, "scopes", "amr")
