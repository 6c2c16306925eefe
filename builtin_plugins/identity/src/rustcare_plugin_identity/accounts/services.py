"""Accounts as administrators look after them. Whoever may ask these services may do what they do: the bus decides who that is.

What takes something away is effective everywhere before it is answered: a disabled account has no session, no token and no
key that still works, an account that has lost a role holds nothing that was given under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rustcare_sdk import Message, serve
from rustcare_sdk.context import Queries
from rustcare_sdk.contracts import identity

from rustcare_plugin_identity.errors import InvalidAccount, RegistrationClosed
from rustcare_plugin_identity.login.gate import Shut
from rustcare_plugin_identity.login.links import LIFETIMES
from rustcare_plugin_identity.mail import templates as texts

from .accounts import Account
from .administrators import ADMINISTRATOR, Administrators

__all__ = ["AccountServices"]

_MOST_PAGE = 1000


class AccountServices(Administrators):
    """Make, read, change, disable, unlock and delete accounts."""

    @serve(identity.ACCOUNT_CREATE)
    async def serve_account_create(
        self, message: Message[identity.CreateAccountRequest]
    ) -> identity.CreateAccountReply:
        """A new user.

        Raises:
            InvalidAccount, AccountExists, RoleUnknown, GroupUnknown, PasswordRefused, RegistrationClosed, MailUnavailable.
        """
        asked, tenant = message.data, message.tenant
        self.tenants.need(tenant)
        invited = not asked.password and not asked.disabled and not asked.external_id
        if asked.mail:
            if not asked.email:
                raise InvalidAccount("expected an address to send the invitation to, got none", address="email")
            self.need_mail(tenant)
        if asked.mail and not asked.password:
            self._accounts_need_invitations(tenant)
        planned = Account("", tenant, "user", asked.name, asked.email, asked.display_name)
        encoded = await self.checked_password(planned, asked.password) if asked.password else ""
        state = "disabled" if asked.disabled else "active" if encoded else "invited"
        async with self.ctx.db.transaction() as tx:
            account = await self.accounts.create(
                tenant,
                name=asked.name,
                email=asked.email,
                display_name=asked.display_name,
                password=encoded,
                roles=asked.roles,
                state=state,
                external_id=asked.external_id,
                attributes=asked.attributes,
                tx=tx,
            )
            await self.groups.assign(tx, tenant, account.id, asked.groups)
        details = {"state": state, **_given(asked.roles or None, asked.groups or None)}
        await self.event("account.created", account=account.id, details=details)
        link = ""
        if state == "invited" and (invited or asked.mail) and self.settings(tenant).registration != "closed":
            link = (await self._accounts_invite(account, asked.mail)).link
        return identity.CreateAccountReply(await self.info(account), link)

    def _accounts_need_invitations(self, tenant: str) -> None:
        if self.settings(tenant).registration == "closed":
            raise RegistrationClosed(
                "expected a tenant that allows invitations, got one whose registration is closed",
                hint="give the account a password, or set registration to invite",
            )

    async def _accounts_invite(self, account: Account, mail: bool) -> identity.InviteReply:
        secret, expires = await self.links.make(
            account.tenant, "invite", account=account.id, email=account.email if mail else ""
        )
        url = self.link_url(account.tenant, "invite", secret)
        if not mail:
            return identity.InviteReply(url, expires)
        name = account.display_name or account.name
        text = texts.invite(self.house(account.tenant), name, url, LIFETIMES["invite"] / 3600)
        await self.mails.put(account.tenant, account.email, text)
        return identity.InviteReply("", expires)

    @serve(identity.SERVICE_CREATE)
    async def serve_service_create(self, message: Message[identity.CreateServiceRequest]) -> identity.AccountReply:
        """A new service account. Raises InvalidAccount, AccountExists, RoleUnknown."""
        asked, tenant = message.data, message.tenant
        self.tenants.need(tenant)
        account = await self.accounts.create(
            tenant, name=asked.name, kind="service", display_name=asked.display_name, roles=asked.roles
        )
        details = {"kind": "service", **_given(asked.roles or None)}
        await self.event("account.created", account=account.id, details=details)
        return identity.AccountReply(await self.info(account))

    @serve(identity.ACCOUNT_READ)
    async def serve_account_read(self, message: Message[identity.AccountRequest]) -> identity.AccountReply:
        """One account. Raises AccountUnknown."""
        return identity.AccountReply(await self.info(await self.accounts.need(message.tenant, message.data.account)))

    @serve(identity.ACCOUNT_LIST)
    async def serve_account_list(self, message: Message[identity.AccountsRequest]) -> identity.AccountsReply:
        """A page of accounts, by name."""
        asked = message.data
        found, following, total = await self.accounts.page(
            message.tenant,
            query=asked.query,
            kind=asked.kind,
            state=asked.state,
            limit=min(max(asked.limit, 1), _MOST_PAGE),
            after=asked.after,
        )
        return identity.AccountsReply(await self.infos(found), following, total)

    @serve(identity.ACCOUNT_UPDATE)
    async def serve_account_update(self, message: Message[identity.UpdateAccountRequest]) -> identity.AccountReply:
        """Change an account.

        Raises:
            AccountUnknown, VersionConflict, LastAdministrator, and what `serve_account_create` raises.
        """
        asked, tenant = message.data, message.tenant
        before = await self.accounts.need(tenant, asked.account)
        given = {
            "name": asked.name,
            "email": asked.email,
            "display_name": asked.display_name,
            "roles": asked.roles,
            "external_id": asked.external_id,
            "attributes": asked.attributes,
        }
        changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if asked.password is not None:
            changes["password"] = await self.checked_password(before, asked.password) if asked.password else ""
        async with self.ctx.db.transaction() as tx:
            # As it is now: it may have been disabled while the password was looked at.
            before, held, administers = await self._accounts_now(tx, message, before)
            if asked.password and before.state == "invited":
                changes["state"] = "active"
            account = await self.accounts.update(tenant, before.id, changes, version=asked.version, tx=tx)
            if asked.groups is not None:
                await self.groups.assign(tx, tenant, account.id, asked.groups)
            if administers:
                await self.keep_administered(tx, "account")
            lost = await self._accounts_end_lost(tx, account, held, password=asked.password is not None)
        await self.told(*lost)
        if asked.password is not None:
            await self.lockout.unlock(account.tenant, account.id)
        what = sorted([*changes, *(["groups"] if asked.groups is not None else [])])
        details = {"what": " ".join(what), **_given(asked.roles, asked.groups)}
        await self.event("account.updated", account=account.id, details=details)
        return identity.AccountReply(await self.info(account))

    async def _accounts_end_lost(self, tx: Queries, account: Account, held: list[str], *, password: bool) -> list[Shut]:
        """End what was opened with a password that is another now, or under scopes that are gone."""
        if password:
            return [await self.shut(tx, account, "password set by an administrator")]
        before = self.accounts.scopes_of(account.tenant, held)
        now = self.accounts.scopes_of(account.tenant, await self.accounts.roles_of(account, tx))
        if set(before) <= set(now):
            return []
        reason = "rights taken away"
        ended, revocations = await self.sessions.end(tx, tenant=account.tenant, account=account.id, reason=reason)
        return [Shut(len(ended), revocations, [], reason)]

    async def _accounts_now(
        self, tx: Queries, message: Message[Any], account: Account
    ) -> tuple[Account, list[str], bool]:
        """An account as it is in a transaction, its roles, and whether an administrator must be left when it goes.

        Raises AccountUnknown.
        """
        now = await self.accounts.need(account.tenant, account.id, tx)
        held = await self.accounts.roles_of(now, tx)
        administers = ADMINISTRATOR in held and now.kind == "user" and now.state == "active"
        return now, held, administers and await self.administered(message, tx)

    @serve(identity.ACCOUNT_DISABLE)
    async def serve_account_disable(self, message: Message[identity.DisableRequest]) -> identity.AccountReply:
        """Disable (or enable) an account. Raises AccountUnknown, VersionConflict, LastAdministrator."""
        asked, tenant = message.data, message.tenant
        before = await self.accounts.need(tenant, asked.account)
        if asked.disabled:
            async with self.ctx.db.transaction() as tx:
                before, _, administers = await self._accounts_now(tx, message, before)
                account = await self.accounts.update(
                    tenant, before.id, {"state": "disabled"}, version=asked.version, tx=tx
                )
                if administers:
                    await self.keep_administered(tx, "account")
                ended = await self.shut(tx, account, "disabled")
            await self.told(ended)
            details = {"reason": asked.reason[:200], "sessions": str(ended.sessions)}
            await self.event("account.disabled", account=account.id, details=details)
        elif before.state != "disabled":
            account = before
        else:
            usable = before.kind == "service" or before.password or await self.factors.kinds(before.id)
            state = "active" if usable else "invited"
            account = await self.accounts.update(tenant, before.id, {"state": state}, version=asked.version)
            await self.event("account.enabled", account=account.id, details={"reason": asked.reason[:200]})
        return identity.AccountReply(await self.info(account))

    @serve(identity.ACCOUNT_UNLOCK)
    async def serve_account_unlock(self, message: Message[identity.AccountRequest]) -> identity.AccountReply:
        """Forget the failures that locked an account. Raises AccountUnknown."""
        account = await self.accounts.need(message.tenant, message.data.account)
        failures = await self.lockout.unlock(message.tenant, account.id)
        await self.factors.attempts.forget(account.id)
        await self.event("account.unlocked", account=account.id, details={"failures": str(failures)})
        return identity.AccountReply(await self.info(await self.accounts.need(message.tenant, account.id)))

    @serve(identity.ACCOUNT_DELETE)
    async def serve_account_delete(self, message: Message[identity.AccountRequest]) -> identity.AccountReply:
        """Take an account away for good; as it was. Raises AccountUnknown, VersionConflict, LastAdministrator."""
        tenant = message.tenant
        account = await self.accounts.need(tenant, message.data.account)
        was = await self.info(account)
        # Out first, then gone: a session that begins in between finds an account that is disabled.
        async with self.ctx.db.transaction() as tx:
            _, _, administers = await self._accounts_now(tx, message, account)
            account = await self.accounts.update(
                tenant, account.id, {"state": "disabled"}, version=message.data.version, tx=tx
            )
            if administers:
                await self.keep_administered(tx, "account")
            ended = await self.shut(tx, account, "deleted")
        await self.told(ended)
        await self.factors.reset(account.id)
        await self.accounts.delete(tenant, account.id)
        await self.event("account.deleted", account=account.id)
        return identity.AccountReply(was)

    @serve(identity.ACCOUNT_RESET_MFA)
    async def serve_account_reset_mfa(self, message: Message[identity.AccountRequest]) -> identity.ResetReply:
        """Take all second factors and sessions away; a link lets the user set new ones. Raises AccountUnknown."""
        account = await self.accounts.need(message.tenant, message.data.account)
        await self.factors.reset(account.id)
        await self.shut_out(account, "factors reset")
        await self.browsers.forget(account.tenant, account.id)
        await self.event("mfa.reset", account=account.id)
        link = ""
        if account.kind == "user" and account.state != "disabled":
            link = (await self._accounts_invite(account, mail=False)).link
        return identity.ResetReply(await self.info(account), link)

    @serve(identity.ACCOUNT_INVITE)
    async def serve_account_invite(self, message: Message[identity.InviteRequest]) -> identity.InviteReply:
        """A new link to set credentials. Raises AccountUnknown, RegistrationClosed, MailUnavailable, InvalidAccount."""
        asked, tenant = message.data, message.tenant
        account = await self.accounts.need(tenant, asked.account)
        if account.kind != "user" or account.state == "disabled":
            raise InvalidAccount("expected a user whose account may be used, got another", address="account")
        if account.state == "invited":
            self._accounts_need_invitations(tenant)
        if asked.mail:
            if not account.email:
                raise InvalidAccount("expected an account with an address, got one without", address="email")
            self.need_mail(tenant)
        reply = await self._accounts_invite(account, asked.mail)
        await self.event("invitation.sent" if asked.mail else "invitation.made", account=account.id)
        return reply


def _given(roles: Sequence[str] | None, groups: Sequence[str] | None = None) -> dict[str, str]:
    """What an event tells of rights: the roles and the groups that an account has from now on, where they were said."""
    said = {"roles": roles, "groups": groups}
    return {name: " ".join(sorted(set(words))) for name, words in said.items() if words is not None}
