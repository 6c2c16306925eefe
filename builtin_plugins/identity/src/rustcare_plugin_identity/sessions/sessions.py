"""Sessions: begun, found by their credential, raised, ended. What is ended is ended durably before anybody is told so.

A credential is 32 random bytes; only its SHA-256 is stored. It is exchanged for a new one whenever the assurance level
rises, so that one that somebody else had planted or seen before is worth nothing then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from msgspec.structs import replace
from rustcare_sdk import Database
from rustcare_sdk.context import Queries
from rustcare_sdk.contracts.identity import Revocation

from rustcare_plugin_identity.rows import insert
from rustcare_plugin_identity.tokens.jose import b64u
from rustcare_plugin_identity.tokens.revocations import Revocations

from .devices import clean_name, device_name
from .errors import SessionUnknown
from .limits import Limits, SessionSettings, limits_under, most_under
from .model import Session, digest_of, session_of

__all__ = ["Holder", "Sessions"]

_CREDENTIAL = 32  # bytes
_ID = 16
#: Seconds that a session that has ended is still kept, for questions.
_KEPT = 7 * 86_400.0


class Holder(Protocol):
    """The account that a session is for."""

    @property
    def id(self) -> str: ...
    @property
    def tenant(self) -> str: ...


class Sessions:
    """The sessions of all tenants.

    Args:
        settings: those of a tenant; of the empty one, those that hold for all.
        tell: tells everybody of revocations that are committed.
    """

    def __init__(
        self,
        db: Database,
        time: Callable[[], float],
        random: Callable[[int], bytes],
        settings: Callable[[str], SessionSettings],
        revocations: Revocations,
        tell: Callable[[Sequence[Revocation]], Awaitable[None]],
    ) -> None:
        self._db = db
        self._time = time
        self._random = random
        self._settings = settings
        self._revocations = revocations
        self._tell = tell

    def limits(self, tenant: str, aal: int) -> Limits:
        """The limits of this level in a tenant."""
        return limits_under(self._settings, tenant, aal)

    def new_id(self) -> str:
        """An id for a session."""
        return b64u(self._random(_ID))

    # beginning

    async def begin(
        self, account: Holder, *, aal: int, amr: Sequence[str], address: str, agent: str
    ) -> tuple[Session, str]:
        """A new session of a browser, and its credential, which is nowhere else.

        Args:
            aal: the level that was proved; `amr`: how (RFC 8176).
            address, agent: the client's address and what it says it is (`User-Agent`).
        """
        now = self._time()
        limits = self.limits(account.tenant, aal)
        session = Session(
            self.new_id(),
            account.tenant,
            account.id,
            "browser",
            aal,
            tuple(amr),
            device_name(agent),
            address,
            now,
            now,
            now,
            now + limits.absolute,
        )
        credential = b64u(self._random(_CREDENTIAL))
        async with self._db.transaction() as tx:
            await self.insert(tx, session, credential)
        return session, credential

    async def insert(self, tx: Queries, session: Session, credential: str = "") -> None:
        """Write a session down; one without a credential is found by its id alone."""
        row = replace(session, device=clean_name(session.device))
        await insert(tx, "sessions", row, "amr", credential=digest_of(credential) if credential else None)

    # finding

    async def find(self, credential: str) -> Session | None:
        """The session of a credential, when it is good; that it was used is noted (at most once a minute)."""
        row = await self._db.fetch_one("SELECT * FROM sessions WHERE credential = ?", (digest_of(credential),))
        return None if row is None else await self.used(session_of(row))

    async def get(self, id: str) -> Session | None:
        """A session by its id, when it is good."""
        row = await self._db.fetch_one("SELECT * FROM sessions WHERE id = ?", (id,))
        if row is None:
            return None
        session = session_of(row)
        return session if self.alive(session) else None

    def alive(self, session: Session) -> bool:
        """Whether a session is good, as far as it says itself."""
        return session.alive(self.limits(session.tenant, session.aal), self._time())

    async def used(self, session: Session) -> Session | None:
        """The session as used now, or None when it has ended."""
        now = self._time()
        limits = self.limits(session.tenant, session.aal)
        if not session.alive(limits, now):
            return None
        if now - session.seen < limits.write_every:
            return session
        # The row may have ended since it was read: then nothing is written, and it is not good.
        if not await self._db.execute("UPDATE sessions SET seen = ? WHERE id = ? AND ended = 0", (now, session.id)):
            return None
        return replace(session, seen=now)

    async def of(self, tenant: str, account: str) -> list[Session]:
        """The good sessions of an account, newest first."""
        rows = await self._db.fetch(
            "SELECT * FROM sessions WHERE tenant = ? AND account = ? AND ended = 0 ORDER BY created DESC, id",
            (tenant, account),
        )
        return [one for one in map(session_of, rows) if self.alive(one)]

    async def at_level(self, tenant: str, aal: int) -> list[str]:
        """The ids of the sessions of people in a tenant that have reached this level and no more, without those within them."""
        rows = await self._db.fetch(
            "SELECT s.id AS id FROM sessions s JOIN accounts a ON a.tenant = s.tenant AND a.id = s.account"
            " WHERE s.tenant = ? AND s.ended = 0 AND s.aal = ? AND s.parent = '' AND a.kind = 'user' ORDER BY s.id",
            (tenant, aal),
        )
        return [row["id"] for row in rows]

    # changing

    async def raise_aal(self, id: str, aal: int, amr: Sequence[str]) -> tuple[Session, str]:
        """The session after its user proved who they are (again), with a new credential; the old one is worth nothing.

        Raises SessionUnknown when it has ended meanwhile.
        """
        credential = b64u(self._random(_CREDENTIAL))
        now = self._time()
        async with self._db.transaction() as tx:
            row = await tx.fetch_one("SELECT * FROM sessions WHERE id = ? AND kind = 'browser' AND ended = 0", (id,))
            if row is None:
                raise SessionUnknown("the session has ended", hint="sign in again")
            before = session_of(row)
            limits = self.limits(before.tenant, before.aal)
            level = before.level(limits, now)
            session = replace(
                before,
                aal=max(aal, level),
                amr=tuple(dict.fromkeys((*before.amr, *amr))),
                authenticated=now,
                seen=now,
                # Proof of less than there is does not put off the end of what there is.
                expires=before.expires if aal >= level else before.expires_at(limits),
            )
            await tx.execute(
                "UPDATE sessions SET credential = ?, aal = ?, amr = ?, authenticated = ?, seen = ?, expires = ? WHERE id = ?",
                (digest_of(credential), session.aal, " ".join(session.amr), now, now, session.expires, id),
            )
            told = [await self._revocations.note(tx, "credential", row["credential"], session.tenant)]
        await self._tell(told)
        return session, credential

    async def rename(self, tenant: str, account: str, id: str, name: str) -> Session:
        """Give the device a name; an empty one takes it away. Raises SessionUnknown."""
        changed = await self._db.execute(
            "UPDATE sessions SET device = ? WHERE id = ? AND tenant = ? AND account = ? AND ended = 0",
            (clean_name(name) or device_name(""), id, tenant, account),
        )
        found = await self.get(id) if changed else None
        if found is None:
            raise SessionUnknown("there is no such session of this account")
        return found

    async def elevate(self, tx: Queries, session: str, elevation: str) -> list[Revocation]:
        """Put an elevation in force in a session (empty: none); what a gateway remembers of it is to be forgotten."""
        row = await tx.fetch_one("SELECT * FROM sessions WHERE id = ? AND ended = 0", (session,))
        if row is None:
            raise SessionUnknown("the session has ended", hint="sign in again")
        await tx.execute("UPDATE sessions SET elevation = ? WHERE id = ?", (elevation, session))
        if not row["credential"]:
            return []
        return [await self._revocations.note(tx, "credential", row["credential"], row["tenant"])]

    async def lay_down(self, session: Session) -> None:
        """Nothing is in force in a session any more, and tokens that were made in it under what was have ended.

        A session of tokens ends itself: those that it has cannot be told from those that it had before.
        """
        async with self._db.transaction() as tx:
            told = await self.elevate(tx, session.id, "")
            rows = await tx.fetch(
                "SELECT * FROM sessions WHERE (parent = ? OR parent = ?) AND elevation = ? AND ended = 0",
                (session.id, session.parent or session.id, session.elevation),
            )
            under = [session_of(row) for row in rows]
            if session.kind == "token":
                under = [session, *(one for one in under if one.id != session.id)]
            told += await self._end(tx, under, "elevation laid down")
        await self._tell(told)

    async def lower(self, tx: Queries, elevation: str) -> list[Revocation]:
        """An elevation has ended: it is in force in no session any more, and tokens made under it end."""
        rows = await tx.fetch("SELECT * FROM sessions WHERE elevation = ? AND ended = 0", (elevation,))
        told: list[Revocation] = []
        for row in rows:
            if row["kind"] == "token":
                told += await self._end(tx, [session_of(row)], "elevation ended")
            else:
                told += await self.elevate(tx, row["id"], "")
        return told

    # ending

    async def make_room(self, latest: Session) -> list[Session]:
        """Of an account that has more sessions than its tenant allows, end those that were not used for longest.

        Sessions in browsers are counted apart from those of programs and devices with refresh tokens. `latest`, which is
        there already, stays. Of two that begin at once, the one that looks later sees both. As durable as `revoke`; what
        ended, with what ended by it.
        """
        which = "kind = 'browser'"
        if latest.kind == "token":
            which = "kind = 'token' AND id IN (SELECT id FROM families WHERE ended = 0)"
        rows = await self._db.fetch(
            f"SELECT * FROM sessions WHERE tenant = ? AND account = ? AND ended = 0 AND {which} ORDER BY seen, created, id",
            (latest.tenant, latest.account),
        )
        found = [one for one in map(session_of, rows) if self.alive(one)]
        surplus = len(found) - most_under(self._settings, latest.tenant)
        if surplus <= 0:
            return []
        ended: list[Session] = []
        told: list[Revocation] = []
        async with self._db.transaction() as tx:
            for one in [one for one in found if one.id != latest.id][:surplus]:
                gone, revocations = await self.end(tx, tenant=one.tenant, session=one.id, reason="too many sessions")
                ended += gone
                told += revocations
        await self._tell(told)
        return ended

    async def revoke(
        self, *, tenant: str, account: str = "", session: str = "", keep: str = "", reason: str = ""
    ) -> list[Session]:
        """End sessions with their tokens: one (`session`), all of an account but one (`keep`), or all of an account.

        Without `session` and `keep` everything that the account holds ends, tokens of no session too. It is durable, and
        everybody was told, when this returns; what had ended already is not among the answer.
        """
        async with self._db.transaction() as tx:
            ended, told = await self.end(tx, tenant=tenant, account=account, session=session, keep=keep, reason=reason)
        await self._tell(told)
        return ended

    async def end(
        self, tx: Queries, *, tenant: str, account: str = "", session: str = "", keep: str = "", reason: str = ""
    ) -> tuple[list[Session], list[Revocation]]:
        """`revoke` within a transaction; the revocations are to be told when it is committed."""
        if session:
            rows = await tx.fetch(
                "SELECT * FROM sessions WHERE tenant = ? AND (id = ? OR parent = ?) AND ended = 0",
                (tenant, session, session),
            )
        else:
            rows = await tx.fetch(
                "SELECT * FROM sessions WHERE tenant = ? AND account = ? AND ended = 0", (tenant, account)
            )
        found = [session_of(row) for row in rows]
        # Who asks with a token keeps the session that it came of too, or there would be nothing to refresh.
        kept = next((one.parent or one.id for one in found if keep and one.id == keep), keep)
        ended = [
            one
            for one in found
            if (not account or one.account == account) and not (kept and kept in (one.id, one.parent))
        ]
        if not session:
            # A device that was approved and has not come for its tokens would begin a session after this.
            await tx.execute(
                "UPDATE device_codes SET state = 'denied' WHERE tenant = ? AND account = ? AND state = 'approved'",
                (tenant, account),
            )
        if session or keep:
            return ended, await self._end(tx, ended, reason)
        await self._close(tx, ended, reason)
        now = self._time()
        await tx.execute("UPDATE accounts SET not_before = ? WHERE tenant = ? AND id = ?", (now, tenant, account))
        told = [await self._revocations.note(tx, "account", account, tenant, before=now)]
        return ended, told + await self._ask_delegates(tx, tenant, account)

    async def _ask_delegates(self, tx: Queries, tenant: str, giver: str) -> list[Revocation]:
        """Whoever acts for an account may do no more than it: what is remembered of them is asked anew, tokens end."""
        rows = await tx.fetch(
            "SELECT s.* FROM sessions s JOIN elevations e ON e.id = s.elevation"
            " WHERE e.tenant = ? AND e.on_behalf = ? AND s.ended = 0",
            (tenant, giver),
        )
        told = await self._end(tx, [session_of(row) for row in rows if row["kind"] == "token"], "delegation cut")
        for row in rows:
            if row["credential"]:
                told.append(await self._revocations.note(tx, "credential", row["credential"], tenant))
        return told

    async def _end(self, tx: Queries, sessions: Sequence[Session], reason: str) -> list[Revocation]:
        await self._close(tx, sessions, reason)
        return [await self._revocations.note(tx, "session", one.id, one.tenant) for one in sessions]

    async def _close(self, tx: Queries, sessions: Sequence[Session], reason: str) -> None:
        now = self._time()
        await tx.execute_many(
            "UPDATE sessions SET ended = ?, reason = ? WHERE id = ?",
            [(now, clean_name(reason), one.id) for one in sessions],
        )
        await tx.execute_many("UPDATE families SET ended = ? WHERE id = ?", [(now, one.id) for one in sessions])
        # An emergency access is of one session: it is over with it, and may be reviewed.
        await tx.execute_many(
            "UPDATE elevations SET ended = ? WHERE tenant = ? AND account = ? AND session = ? AND ended = 0 AND ends > ?",
            [(now, one.tenant, one.account, one.id, now) for one in sessions],
        )

    async def purge(self) -> int:
        """Take away what ended long ago; how many sessions."""
        before = self._time() - _KEPT
        async with self._db.transaction() as tx:
            old = "SELECT id FROM sessions WHERE expires < ? OR (ended > 0 AND ended < ?)"
            await tx.execute(f"DELETE FROM families WHERE id IN ({old})", (before, before))
            return await tx.execute(
                "DELETE FROM sessions WHERE expires < ? OR (ended > 0 AND ended < ?)", (before, before)
            )
