"""Links: to set a first password, or a new one; to show that an address is one's own; to make the first administrator.

Who asks for a link is told the same, after the same work, whether there was somebody to send it to or not.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from rustcare_sdk import Message, serve
from rustcare_sdk.context import Queries
from rustcare_sdk.contracts import identity

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.accounts.names import checked_display_name, checked_email, checked_name, key
from rustcare_plugin_identity.errors import (
    LinkUnknown,
    LoginFailed,
    RegistrationClosed,
    SystemTenantOnly,
)
from rustcare_plugin_identity.mail import Mail
from rustcare_plugin_identity.mail import templates as texts
from rustcare_plugin_identity.tenants import DEFAULT

from .gate import MAILS, Gate
from .links import LIFETIMES, Link, Purpose

__all__ = ["RecoveryServices"]

_ADMINISTRATOR = "administrator"
_LONGEST_NAME = 320


class RecoveryServices(Gate):
    """Services around links, and a user's own password and address."""

    # what a link is

    @serve(identity.LINK)
    async def serve_link(self, message: Message[identity.LinkRequest]) -> identity.LinkReply:
        """What a link is for. Raises LinkUnknown."""
        found = await self.links.look(message.tenant, message.data.secret)
        account = await self._links_account_of(message.tenant, found) if found.account else None
        settings = self.settings(message.tenant).passwords
        demanded = await self.demands_factor(account) if account is not None else self._links_demanded(message.tenant)
        return identity.LinkReply(
            found.purpose,
            account.name if account is not None else found.email,
            found.email or (account.email if account is not None else ""),
            account.display_name if account is not None else str(found.data.get("display_name", "")),
            found.expires,
            settings.minimum_with_factor if demanded else settings.minimum,
        )

    def _links_demanded(self, tenant: str) -> bool:
        return self.settings(tenant).mfa == "required"

    async def _links_ask(self, message: Message[Any], name: str, what: str, client: identity.Client) -> float:
        """Count a request for a link; seconds to wait, 0: go on."""
        rate = self.settings(message.tenant).lockout.mail_rate
        wait = self.askers.retry_after(message.tenant, client.address, rate)
        if not wait:
            self.askers.failed(message.tenant, client.address, rate)
            # Nobody's: that somebody has asked for mails must not look as if the account's password were locked.
            wait = (await self.lockout.begin(message.tenant, name, "", MAILS, what=what)).retry_after
        return wait

    async def _links_send(
        self,
        tx: Queries,
        tenant: str,
        purpose: Purpose,
        account: Account | None,
        email: str,
        mail: Mail | None,
        *,
        name: str = "",
    ) -> None:
        """Make a link and put its mail into the queue. Without a receiver the same is done, for nobody."""
        if mail is not None:
            await self.links.make(tenant, "nothing", email=email, tx=tx)
            await self.mails.put(tenant, email, mail, tx)
            return
        data = {"display_name": name} if name else {}
        secret, _ = await self.links.make(
            tenant, purpose, account=account.id if account is not None else "", email=email, data=data, tx=tx
        )
        house, link = self.house(tenant), self.link_url(tenant, purpose, secret)
        hours = LIFETIMES[purpose] / 3600
        shown = (account.display_name or account.name) if account is not None else ""
        made = {
            "recover": lambda: texts.recover(house, shown, link, hours),
            "register": lambda: texts.register(house, link, hours),
            "verify-email": lambda: texts.verify_email(house, shown, link, hours),
            "nothing": lambda: texts.recover(house, shown, link, hours),
        }[purpose]()
        await self.mails.put(tenant, "" if purpose == "nothing" else email, made, tx)

    # recovery

    @serve(identity.LOGIN_RECOVER)
    async def serve_login_recover(self, message: Message[identity.RecoverRequest]) -> identity.SentReply:
        """Ask for a link to set a new password. Raises MailUnavailable."""
        asked, client, tenant = message.data, message.data.client, message.tenant
        self.need_mail(tenant)
        name = key(asked.name[:_LONGEST_NAME])
        account = await self.accounts.named(tenant, name)
        id = account.id if account is not None else ""
        wait = await self._links_ask(message, name, "recover", client)
        if wait:
            return identity.SentReply(wait)
        usable = account if account is not None and self.usable(account) else None
        if usable is not None and not (usable.email and usable.email_verified):
            usable = None
        async with self.ctx.db.transaction() as tx:
            if usable is not None:
                await self._links_send(tx, tenant, "recover", usable, usable.email, None)
            else:
                await self._links_send(tx, tenant, "nothing", None, "", None)
        await self.event("recovery.requested", account=id, address=client.address)
        if not id:
            await self.activities.add("", "recovery.requested", "success", client.address)
        self.mails.wake()
        return identity.SentReply()

    @serve(identity.LOGIN_RESET)
    async def serve_login_reset(self, message: Message[identity.ResetPasswordRequest]) -> identity.LoginReply:
        """Set a new password through a link, and go on. Raises LinkUnknown, PasswordRefused."""
        asked, client, tenant = message.data, message.data.client, message.tenant
        link = await self.links.look(tenant, asked.secret)
        account = await self._links_account_of(tenant, link)
        encoded = await self.checked_password(account, asked.password)
        async with self.ctx.db.transaction() as tx:
            await self.links.take(tx, tenant, asked.secret, "recover")
            await self._links_account_of(tenant, link, tx)
            # Who could read the mail has shown that the address is theirs.
            account = await self.accounts.update(
                tenant, account.id, {"password": encoded, "email_verified": True}, tx=tx
            )
            ended = await self.shut(tx, account, "password.reset")
        await self.told(ended)
        await self._links_password_told(account, "password.reset", client)
        await self.lockout.unlock(tenant, account.id)
        account = await self.accounts.need(tenant, account.id)  # as it is after what was ended
        return await self.go_on(message, account, ("pwd",), client)

    async def _links_account_of(self, tenant: str, link: Link, tx: Queries | None = None) -> Account:
        account = await self.accounts.get(tenant, link.account, tx)
        if account is None or account.state == "disabled" or not self.opened(tenant):
            raise LinkUnknown("expected the link of an account that may be used, got another", address="secret")
        if link.email not in ("", account.email) and link.purpose != "verify-email":
            # It went to somebody who is not its reader any more.
            raise LinkUnknown("expected a link that went to the account's address, got another", address="secret")
        return account

    async def _links_password_told(self, account: Account, action: str, client: identity.Client) -> None:
        """Who hears of a new password."""
        await self.event(action, account=account.id, address=client.address)
        name = account.display_name or account.name
        await self.notify(account, texts.password_changed(self.house(account.tenant), name, self.shown_time()))

    # registration and invitations

    @serve(identity.ACCOUNT_REGISTER)
    async def serve_account_register(self, message: Message[identity.RegisterRequest]) -> identity.SentReply:
        """Ask for an account of one's own. Raises RegistrationClosed, MailUnavailable, InvalidAccount."""
        asked, client, tenant = message.data, message.data.client, message.tenant
        if not self._links_registers(tenant):
            raise RegistrationClosed(
                "expected a tenant whose registration is open, got one where accounts are made by administrators",
                hint="ask an administrator for an invitation",
            )
        self.need_mail(tenant)
        email, shown = checked_email(asked.email), checked_display_name(asked.display_name)
        checked_name(email)
        name = key(email)
        account = await self.accounts.named(tenant, name)
        wait = await self._links_ask(message, name, "register", client)
        if wait:
            return identity.SentReply(wait)
        async with self.ctx.db.transaction() as tx:
            if account is None:
                await self._links_send(tx, tenant, "register", None, email, None, name=shown)
            else:
                base = self.base_url(tenant)
                known = texts.already_registered(self.house(tenant), account.display_name, f"{base}/login")
                await self._links_send(tx, tenant, "nothing", None, account.email, known)
        await self.event("registration.requested", address=client.address)
        self.mails.wake()
        return identity.SentReply()

    @serve(identity.ACCOUNT_ACCEPT_INVITE)
    async def serve_account_accept_invite(self, message: Message[identity.AcceptInviteRequest]) -> identity.LoginReply:
        """Set credentials through an invitation or a registration. Raises LinkUnknown, PasswordRefused, AccountExists."""
        asked, client, tenant = message.data, message.data.client, message.tenant
        link = await self.links.look(tenant, asked.secret)
        if link.purpose == "register" and self._links_registers(tenant):
            account = await self._links_registered(message, link)
            await self.event("account.registered", account=account.id, address=client.address)
        elif link.purpose == "invite":
            account = await self._links_invited(message, link)
            await self.event("invitation.accepted", account=account.id, address=client.address)
        else:
            raise LinkUnknown("expected the link of an invitation, got another", address="secret")
        return await self.go_on(message, account, ("pwd",) if asked.password else ("link",), client)

    def _links_registers(self, tenant: str) -> bool:
        return self.settings(tenant).registration == "open" and self.opened(tenant)

    async def _links_registered(self, message: Message[identity.AcceptInviteRequest], link: Link) -> Account:
        asked, tenant = message.data, message.tenant
        shown = asked.display_name or str(link.data.get("display_name", ""))
        planned = Account("", tenant, "user", link.email, link.email, shown)
        encoded = await self.checked_password(planned, asked.password) if asked.password else ""
        async with self.ctx.db.transaction() as tx:
            await self.links.take(tx, tenant, asked.secret, "register")
            return await self.accounts.create(
                tenant,
                name=link.email,
                email=link.email,
                display_name=shown,
                password=encoded,
                email_verified=True,
                tx=tx,
            )

    async def _links_invited(self, message: Message[identity.AcceptInviteRequest], link: Link) -> Account:
        asked, tenant = message.data, message.tenant
        account = await self._links_account_of(tenant, link)
        changes: dict[str, object] = {"state": "active"}
        if asked.password:
            changes["password"] = await self.checked_password(account, asked.password)
        if asked.display_name:
            changes["display_name"] = asked.display_name
        async with self.ctx.db.transaction() as tx:
            await self.links.take(tx, tenant, asked.secret, "invite")
            # As it is now: an account that was disabled while the password was looked at stays so.
            before = await self._links_account_of(tenant, link, tx)
            if link.email:
                changes["email_verified"] = True
            account = await self.accounts.update(tenant, account.id, changes, tx=tx)
            ended = [] if before.state == "invited" else [await self.shut(tx, account, "invitation accepted")]
        await self.told(*ended)
        await self.lockout.unlock(tenant, account.id)
        return await self.accounts.need(tenant, account.id)  # as it is after what was ended

    # the first administrator

    @serve(identity.SETUP_LINK)
    async def serve_setup_link(self, message: Message[identity.SetupRequest]) -> identity.SetupReply:
        """The link that makes the first administrator; empty when there is one. Raises OperatorOnly."""
        self.need_operator(message)
        if await self.accounts.holders(DEFAULT, _ADMINISTRATOR):
            return identity.SetupReply()
        secret, expires = await self.links.make(DEFAULT, "setup")
        return identity.SetupReply(self.link_url(DEFAULT, "setup", secret), expires)

    @serve(identity.SETUP_FINISH)
    async def serve_setup_finish(self, message: Message[identity.SetupFinishRequest]) -> identity.LoginReply:
        """Make the first administrator. Raises LinkUnknown, PasswordRefused, InvalidAccount."""
        asked, client = message.data, message.data.client
        if message.tenant != DEFAULT:
            raise SystemTenantOnly("expected the tenant default, got another")
        link = await self.links.look(DEFAULT, asked.secret)
        if link.purpose != "setup":
            raise LinkUnknown("expected the setup link, got another", address="secret")
        planned = Account("", DEFAULT, "user", checked_name(asked.name), asked.email, asked.display_name)
        encoded = await self.checked_password(planned, asked.password) if asked.password else ""
        async with self.ctx.db.transaction() as tx:
            await self.links.take(tx, DEFAULT, asked.secret, "setup")
            if await self.accounts.holders(DEFAULT, _ADMINISTRATOR, tx):
                raise LinkUnknown("expected a system without an administrator, there is one", address="secret")
            account = await self.accounts.create(
                DEFAULT,
                name=asked.name,
                email=asked.email,
                display_name=asked.display_name,
                password=encoded,
                roles=[_ADMINISTRATOR],
                tx=tx,
            )
        await self.event("setup.finished", account=account.id, address=client.address)
        return await self.go_on(message, account, ("pwd",) if asked.password else ("link",), client)

    # one's own password and address

    @serve(identity.ACCOUNT_PASSWORD)
    async def serve_account_password(self, message: Message[identity.ChangePasswordRequest]) -> identity.AccountReply:
        """Another password for the caller. Raises NotSignedIn, LoginFailed (the one before is wrong), PasswordRefused."""
        asked, client, tenant = message.data, message.data.client, message.tenant
        account = await self.own_account(message)
        if account.password:
            valid, wait = await self.own_password(account, asked.current, client)
            if not valid:
                await self.event(
                    "password.change", outcome="failure", account=account.id, code=LoginFailed.code,
                    address=client.address,
                )  # fmt: skip
                if wait:
                    raise LoginFailed(
                        "expected fewer wrong passwords before this one, which was not looked at",
                        hint=f"wait {ceil(wait)} seconds, then try again",
                        address="current",
                    )
                raise LoginFailed("expected the password that is valid now, got another", address="current")
        encoded = await self.checked_password(account, asked.password)
        async with self.ctx.db.transaction() as tx:
            account = await self.accounts.update(
                tenant, account.id, {"password": encoded}, version=account.version, tx=tx
            )
            ended = await self.shut(tx, account, "password.changed", keep=asked.session)
        await self.told(ended)
        await self._links_password_told(account, "password.changed", client)
        return identity.AccountReply(await self.info(account))

    @serve(identity.ACCOUNT_EMAIL)
    async def serve_account_email(self, message: Message[identity.ChangeEmailRequest]) -> identity.SentReply:
        """Another address for the caller: a link goes there. Raises NotSignedIn, MailUnavailable, InvalidAccount."""
        asked, client, tenant = message.data, message.data.client, message.tenant
        account = await self.own_account(message)
        self.need_mail(tenant)
        email = checked_email(asked.email)
        wait = await self._links_ask(message, account.id, "email", client)
        if wait:
            return identity.SentReply(wait)
        holder = await self.accounts.named(tenant, key(email)) if email else account
        free = bool(email) and (holder is None or holder.id == account.id)
        async with self.ctx.db.transaction() as tx:
            if free:
                await self._links_send(tx, tenant, "verify-email", account, email, None)
            else:
                await self._links_send(tx, tenant, "nothing", None, "", None)
        self.mails.wake()
        return identity.SentReply()

    @serve(identity.ACCOUNT_VERIFY_EMAIL)
    async def serve_account_verify_email(self, message: Message[identity.VerifyEmailRequest]) -> identity.AccountReply:
        """The link that went to an address was followed. Raises LinkUnknown, AccountExists."""
        tenant = message.tenant
        before = await self._links_account_of(tenant, await self.links.look(tenant, message.data.secret))
        async with self.ctx.db.transaction() as tx:
            link = await self.links.take(tx, tenant, message.data.secret, "verify-email")
            account = await self.accounts.update(
                tenant, before.id, {"email": link.email, "email_verified": True}, tx=tx
            )
        await self.event("email.verified", account=account.id)
        if before.email != account.email and before.email and before.email_verified:
            name = account.display_name or account.name
            told = texts.email_changed(self.house(tenant), name, self.shown_time())
            await self.notify(account, told, before.email)
        return identity.AccountReply(await self.info(account))
