"""Devices on the bus: they ask, a person approves, they get their tokens."""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import identity

from rustcare_plugin_identity.credentials import Credentials
from rustcare_plugin_identity.sessions.errors import SessionUnknown
from rustcare_plugin_identity.sessions.model import Session
from rustcare_plugin_identity.sessions.scopes import checked
from rustcare_plugin_identity.tokens.lifetimes import settings_under
from rustcare_plugin_identity.tokens.services import TokenServices

from .codes import DeviceCode, normal
from .errors import DeviceDenied

__all__ = ["DeviceServices"]


class DeviceServices(TokenServices, Credentials):
    """Begin, show, approve, collect."""

    @serve(identity.DEVICE_BEGIN)
    async def device_begin(self, message: Message[identity.DeviceBeginRequest]) -> identity.DeviceBeginReply:
        """A pair of codes. Whoever asks gets one; it is worth nothing before somebody approves."""
        asked = message.data
        code, secret = await self.devices.begin(
            message.tenant,
            asked.client,
            asked.address,
            checked(asked.scopes),
            self.tokens.checked_audience(asked.audience),
        )
        return identity.DeviceBeginReply(secret, _shown(code), int(self.devices.lasting), code.interval_s)

    @serve(identity.DEVICE_SHOW)
    async def device_show(self, message: Message[identity.DeviceShowRequest]) -> identity.DeviceInfo:
        """Which device waits under the code that the caller typed; who guesses has to wait."""
        await self.own_account(message)
        return self._info(await self._waiting(message.tenant, message.principal, message.data.user_code))

    @serve(identity.DEVICE_APPROVE)
    async def device_approve(self, message: Message[identity.DeviceApproveRequest]) -> identity.DeviceInfo:
        """Sign the device in as the caller, with the level of their session, or refuse it."""
        asked = message.data
        account = await self.own_account(message)
        session = await self.sessions.get(asked.session) if asked.session else None
        if session is None or (session.tenant, session.account) != (account.tenant, account.id) or not session.aal:
            raise SessionUnknown("expected the caller's own session", hint="sign in with a browser", address="session")
        await self._waiting(message.tenant, message.principal, asked.user_code)
        action = "device.approved" if asked.approve else "device.refused"
        await self.event(action, account=account.id, session=session.id)
        level = session.level(self.sessions.limits(session.tenant, session.aal), self.time())
        return self._info(await self.devices.answer(asked.user_code, session, level, approve=asked.approve))

    async def _waiting(self, tenant: str, principal: str, user_code: str) -> DeviceCode:
        """What waits under a code. Raises DeviceCodeUnknown, and DeviceTooFast after ten wrong ones in ten minutes."""
        self.guesses.begin(principal)
        found = await self.devices.show(tenant, user_code)
        self.guesses.right(principal)
        return found

    def _info(self, code: DeviceCode) -> identity.DeviceInfo:
        """What its user is shown before they say yes: all that it asks for."""
        audience = "" if code.audience == self.tokens.audience else code.audience
        shown, scopes = _shown(code), list(code.scopes)
        return identity.DeviceInfo(shown, code.client, code.address, scopes, code.expires, code.state, audience)

    @serve(identity.TOKEN_DEVICE)
    async def token_device(self, message: Message[identity.DeviceTokenRequest]) -> identity.TokenReply:
        """The tokens of a device that was approved, once.

        Raises:
            DevicePending, DeviceTooFast, DeviceDenied, DeviceExpired, DeviceCodeUnknown; ScopeNotHeld.
        """
        now = self.time()
        code = await self.devices.collect(message.tenant, message.data.device_code)
        account = await self.accounts.get(code.tenant, code.account)
        if account is None or not self.may_sign_in(account) or code.authenticated < account.not_before:
            raise DeviceDenied("the account may not sign in any more")
        limits = settings_under(self.token_settings, account.tenant)
        session = Session(
            self.sessions.new_id(),
            account.tenant,
            account.id,
            "token",
            code.aal,
            code.amr,
            code.client or "Device",
            code.address,
            now,
            code.authenticated,
            now,
            now + limits.refresh_absolute,
        )
        held = await self.rights.of(account)
        if code.scopes:
            held = held.only(code.scopes)
        await self.event("login.succeeded", account=account.id, session=session.id, details={"kind": "device"})
        _, refresh_token = await self.families.begin(session, code.audience, code.scopes)
        await self.make_room(session)
        grant = self.grant(account, session, held, code.audience)
        minted = await self.tokens.mint(grant, limits.lifetime, at=now)
        return identity.TokenReply(minted.token, minted.expires_in, list(held.scopes), refresh_token)


def _shown(code: DeviceCode) -> str:
    letters = normal(code.user_code)
    return f"{letters[:4]}-{letters[4:]}"
