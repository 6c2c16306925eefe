"""Logins that wait for their second factor: a secret that stands for a password that was right, for a short time, once."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Callable
from hashlib import sha256

import msgspec
from rustcare_sdk.context import Database, Queries

from rustcare_plugin_identity.errors import TicketUnknown

__all__ = ["LIFETIME", "MOST", "Ticket", "Tickets", "digest", "secret"]

#: Seconds in which the second factor must be answered.
LIFETIME = 600.0
#: Wrong answers after which a login begins anew. What an account's codes can bear is counted with the factors.
MOST = 10

_BYTES = 32


def secret(random: Callable[[int], bytes]) -> str:
    """A secret of 256 bits, in base64url."""
    return urlsafe_b64encode(random(_BYTES)).rstrip(b"=").decode()


def digest(value: str) -> str:
    """What is kept of a secret."""
    return sha256(value.encode("utf-8", "surrogatepass")).hexdigest()


class Ticket(msgspec.Struct, frozen=True):
    """A login under way. `amr`: how its user has proved who they are so far (RFC 8176)."""

    account: str
    amr: tuple[str, ...] = ()


class Tickets:
    """The tickets of logins. Only their SHA-256 is kept."""

    def __init__(self, db: Database, now: Callable[[], float], random: Callable[[int], bytes]) -> None:
        self._db = db
        self._now = now
        self._random = random

    async def issue(self, tenant: str, ticket: Ticket) -> str:
        """A new one; its secret."""
        made, now = secret(self._random), self._now()
        await self._db.execute(
            "INSERT INTO tickets (hash, tenant, account, data, attempts, created, expires) VALUES (?, ?, ?, ?, 0, ?, ?)",
            (digest(made), tenant, ticket.account, msgspec.json.encode(ticket).decode(), now, now + LIFETIME),
        )
        return made

    async def look(self, tenant: str, given: str) -> Ticket:
        """The login that a ticket stands for. Raises TicketUnknown."""
        row = await self._db.fetch_one(
            "SELECT data FROM tickets WHERE hash = ? AND tenant = ? AND expires > ? AND attempts < ?",
            (digest(given), tenant, self._now(), MOST),
        )
        if row is None:
            raise _unknown()
        return msgspec.json.decode(row["data"], type=Ticket)

    async def use(self, tenant: str, given: str) -> Ticket:
        """As `look`, and count an answer, before it is looked at. Raises TicketUnknown."""
        counted = await self._db.execute(
            "UPDATE tickets SET attempts = attempts + 1 WHERE hash = ? AND tenant = ? AND expires > ? AND attempts < ?",
            (digest(given), tenant, self._now(), MOST),
        )
        row = await self._db.fetch_one(
            "SELECT data FROM tickets WHERE hash = ? AND tenant = ?", (digest(given), tenant)
        )
        if not counted or row is None:
            raise _unknown()
        return msgspec.json.decode(row["data"], type=Ticket)

    async def redeem(self, tenant: str, given: str) -> None:
        """The answer was right. Of two at the same time one gets here; the other raises TicketUnknown."""
        if not await self._db.execute("DELETE FROM tickets WHERE hash = ? AND tenant = ?", (digest(given), tenant)):
            raise _unknown()

    async def drop(self, tenant: str, account: str, tx: Queries | None = None) -> None:
        """No login of the account that waits goes on: its credentials have changed, or it is disabled."""
        await (tx or self._db).execute("DELETE FROM tickets WHERE tenant = ? AND account = ?", (tenant, account))

    async def purge(self) -> None:
        """Take away those whose time has passed."""
        await self._db.execute("DELETE FROM tickets WHERE expires < ?", (self._now(),))


def _unknown() -> TicketUnknown:
    return TicketUnknown(
        "expected the ticket of a login that waits, got one that is not known", hint="sign in again", address="ticket"
    )
