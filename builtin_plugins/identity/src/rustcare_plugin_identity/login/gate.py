"""What everything that lets somebody in has in common: what is counted before, what happens when they are in.

Whoever signs in gets their session after it is on record that they did. A failure is told in the same way whether there is
such an account or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from rustcare_sdk import Message
from rustcare_sdk.context import Queries
from rustcare_sdk.contracts import crypto, identity
from rustcare_sdk.errors import RustCareError, StoreError

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.accounts.infos import AccountInfos
from rustcare_plugin_identity.activity import ActivityServices
from rustcare_plugin_identity.base import Services
from rustcare_plugin_identity.elevations.elevations import Elevation
from rustcare_plugin_identity.errors import LoginFailed, MailUnavailable
from rustcare_plugin_identity.mail import MailQueue, SmtpServer
from rustcare_plugin_identity.mail import templates as texts
from rustcare_plugin_identity.passwords import Breached, Hasher, Rules
from rustcare_plugin_identity.sessions.devices import device_name
from rustcare_plugin_identity.settings import LockoutSettings
from rustcare_plugin_identity.tenants import DEFAULT

from .addresses import Addresses
from .devices import Devices
from .links import Links, path
from .lockout import Lockout
from .tickets import Ticket, Tickets

__all__ = ["MAILS", "Gate", "Shut"]

#: How often a link may be asked for, for one name: two at once, then ever more slowly.
MAILS = LockoutSettings(free=2, longest_wait=900.0, lock_after=10, lock_for=3600.0, lock_longest=3600.0)

_LOOKUP = "identity.lookup"
_SMTP = "identity.smtp"
_UPKEEP = 600.0
#: Kinds of factors without which a password does not let in, where an account has one.
_SECOND = ("totp", "passkey")


class Shut(Struct):
    """What has ended with something that was taken from an account, and is to be told."""

    sessions: int
    revocations: list[identity.Revocation]
    elevations: list[Elevation]
    why: str


class Gate(ActivityServices, AccountInfos):
    """The base of the classes of services that let somebody in, or change what does."""

    hasher: Hasher
    rules: Rules
    lockout: Lockout
    addresses: Addresses
    askers: Addresses
    tickets: Tickets
    links: Links
    browsers: Devices
    mails: MailQueue

    async def start_gate(self) -> None:
        """Build the parts."""
        config = self.ctx.config
        db, now, random = self.ctx.db, self.time, self.ctx.random
        await self.ctx.secrets.create(_LOOKUP)
        breached = config.get("passwords", {}).get("breached", "")
        self.rules = Rules(await asyncio.to_thread(Breached, breached) if breached else None)
        self.hasher = Hasher(self._gate_hashed, self._gate_compared, random)
        self.lockout = Lockout(db, now, self._gate_mac)
        self.addresses, self.askers = Addresses(now), Addresses(now)
        self.tickets = Tickets(db, now, random)
        self.links = Links(db, now, random)
        self.browsers = Devices(db, now, random)
        self.mails = MailQueue(
            db,
            now,
            random,
            self.ctx.log,
            server=SmtpServer.of(config.get("mail", {})),
            password=self._gate_smtp_password,
            house=self.house,
            lost=self._gate_mail_lost,
        )
        self.ctx.spawn(self.mails.run(), name="mail")
        self.ctx.spawn(self._gate_upkeep(), name="gate upkeep")

    def stop_gate(self) -> None:
        """End the threads."""
        for name in ("hasher", "mails"):
            part = getattr(self, name, None)
            if part is not None:
                part.close()

    async def _gate_hashed(self, password: str) -> str:
        asked = crypto.PasswordHashRequest(password)
        reply: crypto.PasswordHashReply = await self.ctx.request(
            crypto.PASSWORD_HASH, asked, type=crypto.PasswordHashReply
        )
        return reply.hash

    async def _gate_compared(self, encoded: str, password: str) -> tuple[bool, bool]:
        asked = crypto.PasswordVerifyRequest(encoded, password)
        reply: crypto.PasswordVerifyReply = await self.ctx.request(
            crypto.PASSWORD_VERIFY, asked, type=crypto.PasswordVerifyReply
        )
        return reply.valid, reply.stale

    async def _gate_mac(self, data: bytes) -> bytes:
        return await self.ctx.secrets.hmac_sha256(_LOOKUP, data)

    async def _gate_smtp_password(self) -> str:
        try:
            return (await self.ctx.secrets.reveal(_SMTP)).decode().strip()
        except StoreError:
            self.ctx.log.error("there is no password for the SMTP server", secret=_SMTP)
            return ""

    async def _gate_mail_lost(self, tenant: str, reason: str) -> None:
        await Services.event(
            self,
            "mail.lost",
            outcome="failure",
            code="identity.mail-lost",
            details={"tenant": tenant, "reason": reason},
        )

    async def _gate_upkeep(self) -> None:
        while True:
            try:
                await self.tickets.purge()
                await self.links.purge()
                await self.lockout.purge(self._gate_remembered())
                await self.browsers.purge()
            except RustCareError as error:
                self.ctx.log.error("what has had its time could not be taken away", code=error.code)
            await asyncio.sleep(_UPKEEP)

    def _gate_remembered(self) -> float:
        """The longest time for which a failure counts, anywhere."""
        forget = [self.settings(tenant.id).lockout.forget for tenant in self.tenants.list()]
        return max(MAILS.forget, *forget)

    # names and links

    def house(self, tenant: str) -> str:
        """What a tenant calls itself."""
        found = self.tenants.get(tenant)
        return (found.name if found is not None else "") or "RustCare"

    def base_url(self, tenant: str) -> str:
        """The address under which people reach a tenant; empty when it is not known."""
        found = self.tenants.get(tenant)
        if found is not None and found.hosts:
            return f"https://{found.hosts[0]}"
        url = str(self.ctx.config.get("url", ""))
        return url if not url or tenant == DEFAULT else f"{url}/t/{tenant}"

    def link_url(self, tenant: str, purpose: str, secret: str) -> str:
        """A link: whole where the address of the server is known, else its path."""
        return self.base_url(tenant) + path(purpose, secret)

    def need_mail(self, tenant: str) -> None:
        """Raises MailUnavailable when no mail with a link in it could be sent."""
        if not self.mails.available:
            raise MailUnavailable("expected an SMTP server, none is configured", hint="set mail.host of identity")
        if not self.base_url(tenant):
            raise MailUnavailable(
                "expected to know the address that links begin with, none is configured", hint="set url of identity"
            )

    # failures

    async def failed(
        self, message: Message[Any], action: str, account: str, client: identity.Client, code: str = LoginFailed.code
    ) -> None:
        """Tell of a failure, and count it for the address. As much is written when there is no account."""
        tenant, rate = message.tenant, self.settings(message.tenant).lockout.address_rate
        await self.event(action, outcome="failure", account=account, code=code, address=client.address)
        if not account:
            await self.activities.add("", action, "failure", client.address)
        if self.addresses.failed(tenant, client.address, rate):
            await self.event(
                "login.flood", outcome="failure", code="identity.too-many-failures", address=client.address
            )

    async def own_password(self, account: Account, given: str, client: identity.Client) -> tuple[bool, float]:
        """Whether somebody who is signed in has given their own password; else how long to wait if it was not looked at.

        Counted apart from signing in: who has found an open session gets no tries by it.
        """
        rules = self.settings(account.tenant).lockout
        tried = await self.lockout.begin(account.tenant, account.id, account.id, rules, what="step-up")
        if tried.retry_after:
            return False, tried.retry_after
        try:
            valid, _ = await self.hasher.verify(account.password, given)
        except RustCareError:
            await self.lockout.undo(account.tenant, tried)
            raise
        if valid:
            await self.lockout.right(account.tenant, tried)
        elif tried.locks:
            await self.event(
                "account.locked", outcome="failure", account=account.id, code=LoginFailed.code, address=client.address,
                details={"kind": "own-password"},
            )  # fmt: skip
        return valid, 0.0

    def address_wait(self, message: Message[Any], client: identity.Client) -> float:
        """Seconds that the client's address must wait, after too many failures."""
        rate = self.settings(message.tenant).lockout.address_rate
        return self.addresses.retry_after(message.tenant, client.address, rate)

    # in

    def opened(self, tenant: str) -> bool:
        """Whether there is such a tenant, and it is not switched off."""
        found = self.tenants.get(tenant)
        return found is not None and found.enabled

    def usable(self, account: Account) -> bool:
        """Whether somebody may sign in to an account at all."""
        return account.kind == "user" and account.state == "active" and self.opened(account.tenant)

    async def demands_factor(self, account: Account) -> bool:
        """Whether a password alone never lets into an account.

        A factor that its owner added of their own will does not count: they may remove it again, and then the password that
        was short because of it would stand alone.
        """
        return self.settings(account.tenant).mfa == "required"

    async def go_on(
        self,
        message: Message[Any],
        account: Account,
        amr: Sequence[str],
        client: identity.Client,
        *,
        short: bool = False,
    ) -> identity.LoginReply:
        """After a first proof: a ticket for the second factor if the account has one, else in.

        `short`: the password is too short to be the only factor, as one that had a second one beside it or came from
        another system may be: it is good for adding a factor, nothing else.
        """
        kinds = await self.factors.kinds(account.id)
        if any(kind in _SECOND for kind in kinds):
            ticket = await self.tickets.issue(message.tenant, Ticket(account.id, tuple(amr)))
            if not await self._gate_unchanged(account):
                await self.tickets.drop(account.tenant, account.id)
                raise LoginFailed
            return identity.LoginReply(account=account.id, ticket=ticket, factors=kinds)
        return await self.let_in(message, account, 0 if short else 1, amr, client)

    async def let_in(
        self, message: Message[Any], account: Account, aal: int, amr: Sequence[str], client: identity.Client
    ) -> identity.LoginReply:
        """A session for an account whose user has proved who they are. Raises LoginFailed when it may not be used."""
        if not self.usable(account):
            raise LoginFailed
        settings = self.settings(account.tenant)
        enrol = aal < 1 or (settings.mfa == "required" and aal < 2)
        session, credential = await self.sessions.begin(
            account, aal=0 if enrol else aal, amr=amr, address=client.address, agent=client.agent
        )
        try:
            if not await self._gate_unchanged(account):
                raise LoginFailed
            await self.event(
                "login.succeeded",
                account=account.id,
                session=session.id,
                address=client.address,
                details={"amr": " ".join(amr), "aal": str(session.aal)},
            )
            await self.make_room(session)
            await self.accounts.touch_login(account)
            device, new = await self.browsers.seen(account.tenant, account.id, client.device, device_name(client.agent))
            if new and settings.sign_in_notices:
                await self.notify(
                    account,
                    texts.new_device(
                        self.house(account.tenant),
                        account.display_name or account.name,
                        device_name(client.agent),
                        client.address,
                        self.shown_time(),
                    ),
                )
        except BaseException:
            # Nobody has heard of the session: what is not on record did not happen.
            await self.sessions.revoke(tenant=account.tenant, session=session.id, reason="sign-in failed")
            raise
        limits = self.sessions.limits(account.tenant, session.aal)
        return identity.LoginReply(
            account=account.id,
            session=session.info(limits, session.id),
            credential=credential,
            device=device,
            enrol=enrol,
        )

    async def _gate_unchanged(self, account: Account) -> bool:
        """Whether nothing was taken from an account since it was read: what it was let in with is still what lets in.

        Asked after a session or ticket is in the database. Whatever ends them comes before, and is seen here, or comes after,
        and finds them.
        """
        now = await self.accounts.get(account.tenant, account.id)
        return (
            now is not None
            and now.state == "active"
            and now.not_before == account.not_before
            # A hash that was only made anew, of the same password, is no change of its version.
            and (now.password == account.password or now.version == account.version)
        )

    async def checked_password(self, account: Account, password: str) -> str:
        """The hash of a new password that keeps the rules. Raises PasswordRefused."""
        tenant = self.tenants.get(account.tenant)
        text = await self.rules.check(
            password,
            self.settings(account.tenant).passwords,
            factor=await self.demands_factor(account),
            context=(account.name, account.email, account.display_name, tenant.name if tenant is not None else ""),
        )
        return await self.hasher.hash(text)

    # telling the user

    def shown_time(self) -> str:
        """Now, as people read it."""
        return datetime.fromtimestamp(self.time(), UTC).strftime("%d %B %Y, %H:%M UTC")

    async def notify(self, account: Account, mail: texts.Mail, address: str = "") -> None:
        """Write to an account's verified address (or another), if mail can be sent."""
        recipient = address or (account.email if account.email_verified else "")
        if self.mails.available and recipient:
            await self.mails.put(account.tenant, recipient, mail)

    async def shut_out(self, account: Account, reason: str) -> int:
        """As `shut`, by itself: durable, and everybody was told, when this returns; how many sessions ended."""
        async with self.ctx.db.transaction() as tx:
            ended = await self.shut(tx, account, reason)
        await self.told(ended)
        return ended.sessions

    async def shut(self, tx: Queries, account: Account, reason: str, *, keep: str = "") -> Shut:
        """End what an account's credentials have opened: sessions with their tokens (but `keep`), logins under way, links.

        Of one that is disabled, emergency accesses and delegations too: what it gave to others ends with it. It is done within
        the transaction that takes something from the account, so that no crash comes in between; `told` follows the commit.
        """
        await self.tickets.drop(account.tenant, account.id, tx)
        await self.links.drop(account.tenant, account.id, tx)
        ended, revocations = await self.sessions.end(
            tx, tenant=account.tenant, account=account.id, keep=keep, reason=reason
        )
        found = Shut(len(ended), revocations, [], f"account {reason}")
        if account.state == "disabled":
            for elevation in await self.elevations.running(account.tenant, account.id, tx):
                if await self.elevations.end(tx, elevation.id):
                    found.elevations.append(elevation)
                revocations += await self.sessions.lower(tx, elevation.id)
        return found

    async def told(self, *all_: Shut) -> None:
        """Tell everybody what has ended, now that it is committed."""
        await self.tell([one for ended in all_ for one in ended.revocations])
        for ended in all_:
            for elevation in ended.elevations:
                await self.elevation_ended(elevation, ended.why)
