"""Signing in: with a password, a second factor, a passkey; and proving more in a session that there is."""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.accounts.names import key
from rustcare_plugin_identity.errors import LoginFailed, NotSignedIn
from rustcare_plugin_identity.passwords.rules import normal

from .gate import Gate

__all__ = ["LoginServices"]

_LONGEST_NAME = 320


class LoginServices(Gate):
    """Services by which people sign in."""

    @serve(identity.LOGIN_PASSWORD)
    async def serve_login_password(self, message: Message[identity.PasswordLoginRequest]) -> identity.LoginReply:
        """Sign in with name and password. Raises LoginFailed."""
        asked, client, tenant = message.data, message.data.client, message.tenant
        wait = self.address_wait(message, client)
        if wait:
            return identity.LoginReply(retry_after=wait)
        name = key(asked.name[:_LONGEST_NAME])
        account = await self.accounts.named(tenant, name)
        id = account.id if account is not None else ""
        device = await self.browsers.known(tenant, id, client.device)
        tried = await self.lockout.begin(tenant, name, id, self.settings(tenant).lockout, device=device)
        if tried.retry_after:
            return identity.LoginReply(retry_after=tried.retry_after)
        usable = account is not None and self.usable(account)
        encoded = account.password if account is not None and usable else ""
        try:
            valid, stale = await self.hasher.verify(encoded, asked.password)
        except RustCareError:
            await self.lockout.undo(tenant, tried)
            raise
        if not valid or account is None:
            await self.failed(message, "login.failed", id, client)
            if tried.locks:
                # Of a name that nobody has too: who looks on cannot tell.
                await self.event(
                    "account.locked", outcome="failure", account=id, code=LoginFailed.code, address=client.address
                )
                if not id:
                    await self.activities.add("", "account.locked", "failure", client.address)
            raise LoginFailed
        await self.lockout.right(tenant, tried)
        if stale:
            account = await self._login_rehashed(account, asked.password)
        short = len(normal(asked.password)) < self.settings(tenant).passwords.minimum
        return await self.go_on(message, account, ("pwd",), client, short=short)

    async def _login_rehashed(self, account: Account, password: str) -> Account:
        """The account with a hash at today's cost; without one when the keyring has too much to do."""
        try:
            encoded = await self.hasher.hash(password)
        except RustCareError as error:
            self.ctx.log.warning("a password could not be hashed anew", code=error.code)
            return account
        await self.accounts.touch_login(account, encoded)
        return await self.accounts.get(account.tenant, account.id) or account

    @serve(identity.LOGIN_FACTOR)
    async def serve_login_factor(self, message: Message[identity.FactorLoginRequest]) -> identity.LoginReply:
        """Go on with a second factor. Raises LoginFailed, TicketUnknown."""
        asked, client, tenant = message.data, message.data.client, message.tenant
        ticket = await self.tickets.use(tenant, asked.ticket)
        account = await self.accounts.get(tenant, ticket.account)
        if account is None or account.state != "active":
            raise LoginFailed
        result = await self.factors.verify(account, asked.kind, asked.answer, {"origin": client.origin})
        if result.until:
            return identity.LoginReply(retry_after=max(0.0, result.until - self.time()))
        if not result.ok:
            await self.failed(message, "login.factor-failed", account.id, client)
            raise LoginFailed
        await self.tickets.redeem(tenant, asked.ticket)
        amr = dict.fromkeys((*ticket.amr, result.amr, "mfa"))
        return await self.let_in(message, account, result.aal, tuple(amr), client)

    @serve(identity.PASSKEY_OPTIONS)
    async def serve_passkey_options(
        self, message: Message[identity.PasskeyOptionsRequest]
    ) -> identity.PasskeyOptionsReply:
        """Options for `navigator.credentials.get`. Raises TicketUnknown, NotSignedIn, OriginRefused."""
        asked, tenant, account = message.data, message.tenant, ""
        if asked.ticket:
            account = (await self.tickets.look(tenant, asked.ticket)).account
        elif asked.own:
            account = (await self.own_account(message)).id
        return identity.PasskeyOptionsReply(await self.factors.passkey_options(tenant, asked.origin, account))

    @serve(identity.LOGIN_PASSKEY)
    async def serve_login_passkey(self, message: Message[identity.PasskeyLoginRequest]) -> identity.LoginReply:
        """Sign in with a passkey, without a name. A locked password does not matter to it. Raises LoginFailed."""
        asked, client, tenant = message.data, message.data.client, message.tenant
        wait = self.address_wait(message, client)
        if wait:
            return identity.LoginReply(retry_after=wait)
        result = await self.factors.discover(tenant, asked.answer, client.origin)
        account = await self.accounts.get(tenant, result.account) if result.ok else None
        if account is None or account.state != "active":
            await self.failed(message, "login.failed", account.id if account is not None else "", client)
            raise LoginFailed
        return await self.let_in(message, account, result.aal, (result.amr, "mfa"), client)

    @serve(identity.LOGIN_STEP_UP)
    async def serve_login_step_up(self, message: Message[identity.StepUpRequest]) -> identity.LoginReply:
        """More, or fresh, proof in a session of the caller's. Raises LoginFailed, NotSignedIn, SessionUnknown."""
        asked, client, tenant = message.data, message.data.client, message.tenant
        account = await self.own_account(message)
        session = await self.sessions.get(asked.session)
        if session is None or session.account != account.id or session.tenant != tenant:
            raise NotSignedIn("expected a session of the caller's, got another", address="session")
        if asked.kind == "password":
            valid, wait = await self.own_password(account, asked.answer, client)
            if wait:
                return identity.LoginReply(retry_after=wait)
            # A session that is good for adding a factor alone is not made a whole one by the password that began it.
            aal, amr = min(1, session.aal), "pwd"
        else:
            result = await self.factors.verify(account, asked.kind, asked.answer, {"origin": client.origin})
            if result.until:
                return identity.LoginReply(retry_after=max(0.0, result.until - self.time()))
            valid, aal, amr = result.ok, result.aal, result.amr
        if not valid:
            await self.event(
                "login.step-up", outcome="failure", account=account.id, session=session.id, code=LoginFailed.code,
                address=client.address,
            )  # fmt: skip
            raise LoginFailed
        # Told first: what is not on record does not happen.
        await self.event(
            "login.step-up", account=account.id, session=session.id, address=client.address,
            details={"amr": amr, "aal": str(max(aal, session.aal))},
        )  # fmt: skip
        raised, credential = await self.sessions.raise_aal(session.id, aal, (amr,))
        limits = self.sessions.limits(tenant, raised.aal)
        return identity.LoginReply(account=account.id, session=raised.info(limits, raised.id), credential=credential)
