"""Elevations on the bus. Each is told as a security event, confirmed, before it takes effect: none is silent.

`identity.event` has the actions `elevation.break-glass` (with `alert`), `elevation.delegated`, `elevation.assumed`,
`elevation.laid-down`, `elevation.ended` and `elevation.reviewed` (with `alert` when it was misuse). The tenant's administrators
get a mail of each break-glass access as well.
"""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.context import Queries
from rustcare_sdk.contracts import identity

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.credentials import ADMIN, READ, WRITE, Credentials
from rustcare_plugin_identity.login.gate import Gate
from rustcare_plugin_identity.mail import templates as texts
from rustcare_plugin_identity.sessions.errors import AssuranceTooLow, SessionUnknown
from rustcare_plugin_identity.sessions.model import Session
from rustcare_plugin_identity.sessions.scopes import checked, narrowed
from rustcare_plugin_identity.tokens.errors import ScopeNotHeld

from .bounds import bounds_under
from .elevations import Elevation
from .errors import ElevationForbidden, ElevationInvalid, ElevationOver

__all__ = ["ElevationServices"]

_LEVEL = 2
#: Who looks at what others did: administrators of accounts, and auditors.
_REVIEWERS = (WRITE, "audit.read")
_LONGEST = 2000  # characters of a reason or a note
_PATIENT = 200


class ElevationServices(Gate, Credentials):
    """Break-glass, delegate, assume, list, review and end."""

    @serve(identity.BREAK_GLASS)
    async def break_glass(self, message: Message[identity.BreakGlassRequest]) -> identity.ElevationInfo:
        """Emergency access, at once, in the caller's own session, which must be of AAL2."""
        asked = message.data
        account = await self.own_account(message)
        session = await self._own_session(account, asked.session)
        limits = self.sessions.limits(session.tenant, session.aal)
        if session.level(limits, self.time()) < _LEVEL:
            raise AssuranceTooLow(f"expected a session of AAL{_LEVEL}", hint="give a second factor first")
        bounds = bounds_under(self.elevation_settings, account.tenant)
        reason = asked.reason.strip()
        if not bounds.reason <= len(reason) <= _LONGEST:
            raise ElevationInvalid(f"expected a reason of {bounds.reason} to {_LONGEST} characters", address="reason")
        if asked.role not in bounds.roles:
            raise ElevationInvalid(
                f"expected one of the roles for emergencies ({', '.join(bounds.roles) or 'none'})", address="role"
            )
        if not 1 <= asked.minutes <= bounds.minutes:
            raise ElevationInvalid(f"expected 1 to {bounds.minutes} minutes, got {asked.minutes}", address="minutes")
        if len(asked.patient) > _PATIENT:
            raise ElevationInvalid(f"expected a patient of at most {_PATIENT} characters", address="patient")
        await self._nothing_in_force(session.id)
        now = self.time()
        made = Elevation(
            self.elevations.new_id(),
            account.tenant,
            "break-glass",
            account.id,
            "",
            session.id,
            asked.role,
            (),
            asked.purpose,
            asked.patient,
            reason,
            now,
            now + asked.minutes * 60,
        )
        await self._told(made, "elevation.break-glass", role=made.role, minutes=str(asked.minutes), alert="break-glass")
        await self._put_in_force(made, session, account)
        return made.info(now)

    @serve(identity.DELEGATE)
    async def delegate(self, message: Message[identity.DelegateRequest]) -> identity.ElevationInfo:
        """Let another act for the caller; the delegate takes it up when they need it (`identity.elevation.assume`)."""
        asked = message.data
        giver = await self.meant(message, asked.account, ADMIN)
        delegate = await self.accounts.need(message.tenant, asked.delegate)
        bounds = bounds_under(self.elevation_settings, giver.tenant)
        if delegate.id == giver.id or not self.may_sign_in(delegate) or not self.may_sign_in(giver):
            raise ElevationInvalid("expected another account that may sign in", address="delegate")
        if not 1 <= asked.hours <= bounds.hours:
            raise ElevationInvalid(f"expected 1 to {bounds.hours} hours, got {asked.hours}", address="hours")
        if len(asked.reason) > _LONGEST:
            raise ElevationInvalid(f"expected a reason of at most {_LONGEST} characters", address="reason")
        scopes = checked(asked.scopes)
        held = (await self.rights.of(giver)).scopes
        if not scopes or set(narrowed(held, scopes)) != set(scopes):
            raise ScopeNotHeld("expected at least one scope, and only such as the giver holds", address="scopes")
        now = self.time()
        made = Elevation(
            self.elevations.new_id(),
            giver.tenant,
            "delegation",
            delegate.id,
            giver.id,
            "",
            "",
            tuple(scopes),
            "",
            "",
            asked.reason.strip(),
            now,
            now + asked.hours * 3600,
        )
        await self._told(made, "elevation.delegated", on_behalf=giver.id, by=message.principal or "operator")
        async with self.ctx.db.transaction() as tx:
            await self.elevations.insert(tx, made)
        return made.info(now)

    @serve(identity.ELEVATION_ASSUME)
    async def assume(self, message: Message[identity.ElevationAssumeRequest]) -> identity.ElevationInfo:
        """Act under a delegation in one's own session from now on, or lay down what is in force in it."""
        asked = message.data
        account = await self.own_account(message)
        session = await self._own_session(account, asked.session)
        if asked.id:
            found = await self.elevations.get(account.tenant, asked.id)
            if found.kind != "delegation" or found.account != account.id:
                raise ElevationForbidden("expected a delegation to the caller", address="id")
            if not found.alive(self.time()):
                raise ElevationOver("the delegation has ended", address="id")
            await self._nothing_in_force(session.id)
            await self._told(found, "elevation.assumed", session=session.id, on_behalf=found.on_behalf)
            async with self.ctx.db.transaction() as tx:
                await self._nothing_in_force(session.id, tx)
                told = await self.sessions.elevate(tx, session.id, found.id)
            await self.tell(told)
            return found.info(self.time())
        if not session.elevation:
            raise ElevationOver("nothing is in force in this session", address="id")
        found = await self.elevations.get(account.tenant, session.elevation)
        if found.kind == "break-glass":
            return await self._ended(found, message.principal)
        await self._told(found, "elevation.laid-down", session=session.id, on_behalf=found.on_behalf)
        await self.sessions.lay_down(session)
        return found.info(self.time())

    @serve(identity.ELEVATION_LIST)
    async def elevation_list(self, message: Message[identity.ElevationsRequest]) -> identity.ElevationsReply:
        """Those of the caller, given and taken; of others, or of the whole tenant, for reviewers."""
        asked = message.data
        account = asked.account
        if not await self.holds(message, READ, *_REVIEWERS):
            own = await self.own_account(message)
            if account not in ("", own.id, own.name):
                raise ElevationForbidden("expected one's own elevations, or a reviewer", address="account")
            account = own.id
        elif account:
            account = (await self.accounts.need(message.tenant, account)).id
        now = self.time()
        found = await self.elevations.page(message.tenant, account, unreviewed=asked.unreviewed)
        return identity.ElevationsReply([one.info(now) for one in found])

    @serve(identity.ELEVATION_REVIEW)
    async def elevation_review(self, message: Message[identity.ElevationReviewRequest]) -> identity.ElevationInfo:
        """End one early (its user, its giver, a reviewer), or put down what somebody else than its user found."""
        asked = message.data
        found = await self.elevations.get(message.tenant, asked.id)
        own = await self.accounts.by_principal(message.tenant, message.principal)
        reviewer = await self.holds(message, *_REVIEWERS)
        party = own is not None and own.id in (found.account, found.on_behalf)
        if not (reviewer or party):
            raise ElevationForbidden("expected one of those concerned, or a reviewer", address="id")
        if not (asked.end or asked.verdict):
            raise ElevationInvalid("expected a verdict, or to end it", address="verdict")
        if asked.verdict:
            if not reviewer or (own is not None and own.id == found.account):
                raise ElevationForbidden("nobody reviews what they did themselves", address="id")
            if found.kind != "break-glass":
                raise ElevationInvalid("a delegation is not reviewed", hint="end it", address="id")
            if len(asked.note) > _LONGEST:
                raise ElevationInvalid(f"expected a note of at most {_LONGEST} characters", address="note")
            if found.alive(self.time()) and not asked.end:
                raise ElevationInvalid("it is still in force", hint="end it first", address="id")
        if asked.end:
            await self._ended(found, message.principal)
        if asked.verdict:
            by = message.principal or "operator"
            alert = {"alert": "misuse"} if asked.verdict == "misuse" else {}
            await self._told(found, "elevation.reviewed", verdict=asked.verdict, by=by, **alert)
            async with self.ctx.db.transaction() as tx:
                await self.elevations.review(tx, found.id, by, asked.verdict, asked.note.strip())
        return (await self.elevations.get(message.tenant, asked.id)).info(self.time())

    # parts of these

    async def _own_session(self, account: Account, id: str) -> Session:
        session = await self.sessions.get(id) if id else None
        if session is None or (session.tenant, session.account) != (account.tenant, account.id):
            raise SessionUnknown("expected the caller's own session", hint="sign in with a browser", address="session")
        return session

    async def _nothing_in_force(self, session: str, tx: Queries | None = None) -> None:
        """Asked before it is told, and once more, in the transaction that changes it: of two at once one is refused."""
        if await self.elevations.in_session(session, tx):
            raise ElevationInvalid(
                "something else is in force in this session", hint="lay it down first", address="session"
            )

    async def _put_in_force(self, made: Elevation, session: Session, account: Account) -> None:
        """With the mails to the administrators in the same commit: there is no access of which they are not told."""
        watchers = await self._watchers(account)
        async with self.ctx.db.transaction() as tx:
            await self._nothing_in_force(session.id, tx)
            await self.elevations.insert(tx, made)
            told = await self.sessions.elevate(tx, session.id, made.id)
            for watcher in watchers:
                mail = texts.emergency_access(
                    self.house(made.tenant),
                    watcher.display_name or watcher.name,
                    account.display_name or account.name,
                    made.role,
                    round((made.ends - made.begun) / 60),
                    self.shown_time(),
                )
                await self.mails.put(watcher.tenant, watcher.email, mail, tx)
        self.mails.wake()
        await self.tell(told)

    async def _watchers(self, account: Account) -> list[Account]:
        """The tenant's administrators who can be written to, but for the one who does it."""
        if not self.mails.available:
            return []
        ids = await self.accounts.holders(account.tenant, "administrator")
        found = [await self.accounts.get(account.tenant, id) for id in ids if id != account.id]
        return [one for one in found if one is not None and one.email and one.email_verified]

    async def _ended(self, found: Elevation, by: str) -> identity.ElevationInfo:
        await self.end_elevation(found, by or "operator")
        return (await self.elevations.get(found.tenant, found.id)).info(self.time())

    async def _told(self, elevation: Elevation, action: str, **details: str) -> None:
        await self.event(
            action,
            account=elevation.account,
            session=elevation.session,
            details={"elevation": elevation.id, "kind": elevation.kind, **details},
        )
