"""Account security: what one has to sign in with, where one is signed in, which programs act in one's name, what happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rustcare_sdk import Message
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.activity import Activity
from rustcare_plugin_identity.elevations.bounds import bounds_under
from rustcare_plugin_identity.keys.errors import KeyUnknown
from rustcare_plugin_identity.login.gate import Gate

from . import fields as ask_for
from .base import AT_ONCE, PageServices, page_route, says, status_of
from .browser import client_of

__all__ = ["AccountPages", "KeyForm", "NameSessionForm", "PasswordForm", "SessionForm"]

_SEE, _SEND = AT_ONCE
_ACTIONS = {
    "account.created": "The account was made",
    "account.enabled": "Enabled by an administrator",
    "account.disabled": "Disabled by an administrator",
    "account.locked": "Locked after wrong passwords",
    "account.registered": "The account was made",
    "account.unlocked": "Unlocked by an administrator",
    "account.updated": "The account was changed",
    "device.approved": "Connected a device",
    "device.refused": "Refused a device",
    "elevation.assumed": "Began to act for somebody else",
    "elevation.break-glass": "Began emergency access",
    "elevation.delegated": "Let somebody else act for you",
    "elevation.ended": "An elevated access ended",
    "elevation.laid-down": "Laid down an elevated access",
    "elevation.reviewed": "An emergency access was reviewed",
    "email.verified": "Confirmed the e-mail address",
    "invitation.accepted": "Accepted the invitation",
    "invitation.sent": "Invited by an administrator",
    "key.bound": "Added a client certificate",
    "key.created": "Made an API key",
    "key.revoked": "Ended an API key",
    "login.factor-failed": "Second factor at the sign-in",
    "login.failed": "Sign-in",
    "login.step-up": "Showed again who you are",
    "login.succeeded": "Signed in",
    "login.succeeded:device": "Signed in a device",
    "mfa.added:passkey": "Added a passkey",
    "mfa.added:totp": "Added an authenticator app",
    "mfa.recovery-generated": "Made new recovery codes",
    "mfa.removed:passkey": "Removed a passkey",
    "mfa.removed:totp": "Removed an authenticator app",
    "mfa.reset": "All second factors were taken away by an administrator",
    "password.change": "Changed the password",
    "password.changed": "Changed the password",
    "password.reset": "Set a new password through a link",
    "recovery.requested": "Asked for a new password by mail",
    "session.ended": "Ended a session",
    "setup.finished": "Set up this system",
    "token.issued": "Made an access token",
    "token.reused": "A stolen token was noticed, and ended",
    "token.revoked": "Ended a token",
}


@dataclass(frozen=True)
class SessionForm:
    """Which session."""

    session: str = ""


@dataclass(frozen=True)
class NameSessionForm:
    """Which session, and its device's name."""

    session: str = ""
    name: str = ""


@dataclass(frozen=True)
class KeyForm:
    """Which key."""

    key: str = ""


@dataclass(frozen=True)
class PasswordForm:
    """The password before, and the new one."""

    current: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


class AccountPages(PageServices, Gate):
    """The page of account security, and what its buttons do."""

    @page_route("GET", "/account", query=("done",))
    async def account_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """All of it on one page."""
        return await self._account(message)

    async def _account(self, message: Message[HttpRequest[Any]], error: RustCareError | None = None) -> HttpResponse:
        request = message.data
        account = await self.own_account(message)
        factors = await self.ask(identity.MFA_LIST, identity.FactorsRequest(), identity.FactorsReply)
        sessions = await self.ask(
            identity.SESSION_LIST, identity.SessionsRequest(current=request.caller.session), identity.SessionsReply
        )
        keys = await self.ask(identity.KEY_LIST, identity.KeysRequest(account.id), identity.KeysReply)
        return self.page(
            request,
            "account.html",
            "Account security",
            200 if error is None else status_of(error),
            account=account,
            has_password=bool(account.password),
            all_factors=factors.factors,
            has_factors=bool(factors.factors),
            recovery=factors.recovery,
            sessions=sessions.sessions,
            keys=[key for key in keys.keys if not key.revoked],
            activity=_told(await self.activities.last(account.id)),
            mail=self.mails.available,
            emergencies=self._emergencies(account.tenant),
            advice=_advice(bool(account.password), factors),
            notice=self.notice(request),
            errors={} if error is None else {"": says(error)},
        )

    def _emergencies(self, tenant: str) -> bool:
        bounds = bounds_under(lambda one: self.settings(one).elevations, tenant)
        return bool(bounds.minutes and bounds.roles)

    async def _done(
        self, message: Message[HttpRequest[Any]], service: str, data: Any, type_: Any, done: str
    ) -> HttpResponse:
        """Ask a service, then back to the page, which says that it was done, or why not."""
        try:
            await self.ask(service, data, type_)
        except RustCareError as error:
            return await self._account(message, error)
        return self.go(message.data, "/account", query={"done": done})

    @page_route("POST", "/account/sessions/revoke")
    async def end_session(self, message: Message[HttpRequest[SessionForm]]) -> HttpResponse:
        """End one of one's own sessions; the one that one is in is signed out."""
        request = message.data
        session, own = request.content.session, await self.own_account(message)
        asked = identity.RevokeRequest(own.id, session, reason="ended by its user")
        if not session:
            return self.go(request, "/account")
        if session == request.caller.session:
            await self.ask(identity.SESSION_REVOKE, asked, identity.RevokeReply)
            return self.signed_out(request)
        return await self._done(message, identity.SESSION_REVOKE, asked, identity.RevokeReply, "session")

    @page_route("POST", "/account/sessions/revoke-others")
    async def end_sessions(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """End all of one's own sessions but this one."""
        own = await self.own_account(message)
        asked = identity.RevokeRequest(own.id, keep=message.data.caller.session, reason="ended by its user")
        return await self._done(message, identity.SESSION_REVOKE, asked, identity.RevokeReply, "sessions")

    @page_route("POST", "/account/sessions/name")
    async def name_session(self, message: Message[HttpRequest[NameSessionForm]]) -> HttpResponse:
        """Give a device a name."""
        form = message.data.content
        asked = identity.SessionRenameRequest(form.session, form.name.strip()[:100])
        return await self._done(message, identity.SESSION_RENAME, asked, identity.SessionReply, "device")

    @page_route("POST", "/account/keys/revoke")
    async def end_key(self, message: Message[HttpRequest[KeyForm]]) -> HttpResponse:
        """End one of one's own API keys."""
        key, own = message.data.content.key, await self.own_account(message)
        if not key:
            return self.go(message.data, "/account")
        # The service would end others' keys too for who may; that takes more than this page asks for.
        mine = await self.ask(identity.KEY_LIST, identity.KeysRequest(own.id), identity.KeysReply)
        if all(one.id != key for one in mine.keys):
            return await self._account(message, KeyUnknown("expected a key of one's own, got another", address="key"))
        asked = identity.KeysRequest(own.id, key)
        return await self._done(message, identity.KEY_REVOKE, asked, identity.KeysReply, "key")

    @page_route("GET", "/account/password")
    async def password_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The form for another password."""
        account = await self.own_account(message)
        return await self._password_proof(message.data, account, _SEE) or await self._password(message)

    @page_route("POST", "/account/password", limit="login")
    async def password_send(self, message: Message[HttpRequest[PasswordForm]]) -> HttpResponse:
        """Change it."""
        request, form = message.data, message.data.content
        away = await self._password_proof(request, await self.own_account(message), _SEND)
        if away is not None:
            return away
        session = request.caller.session
        asked = identity.ChangePasswordRequest(form.password, form.current, session, client_of(request))
        try:
            await self.ask(identity.ACCOUNT_PASSWORD, asked, identity.AccountReply)
        except RustCareError as error:
            return await self._password(message, error)
        return self.go(request, "/account", query={"done": "password"})

    async def _password_proof(self, request: HttpRequest[Any], account: Account, fresh: float) -> HttpResponse | None:
        # Who has a password shows who they are by typing it.
        return await self.proof_first(request, account, fresh=0.0 if account.password else fresh)

    async def _password(self, message: Message[HttpRequest[Any]], error: RustCareError | None = None) -> HttpResponse:
        request, account = message.data, await self.own_account(message)
        settings = self.settings(account.tenant).passwords
        least = settings.minimum_with_factor if await self.demands_factor(account) else settings.minimum
        fields = [ask_for.account(account.name), ask_for.new_password(least)]
        if account.password:
            fields.insert(1, ask_for.current_password())
        return self.form_page(
            request,
            "Change the password" if account.password else "Set a password",
            "/account/password",
            "Save the password",
            intro=("All your other sessions end when it is changed.",),
            fields=fields,
            error=error,
            links=(("/account", "Back to account security"),),
        )


def _advice(has_password: bool, factors: identity.FactorsReply) -> Sequence[str]:
    kinds = {factor.kind for factor in factors.factors}
    if has_password and not kinds:
        return ["Your account is protected by a password alone. Add a passkey or an authenticator app."]
    if not has_password and "passkey" not in kinds:
        return [
            "You could not sign in again: your account has neither a passkey nor a password. Add one before you leave."
        ]
    if not has_password and len(factors.factors) < 2:
        return ["You sign in with one passkey. Add a second one, or a password, for the day that the device is lost."]
    if "totp" in kinds and not factors.recovery:
        return ["Make recovery codes, for the day that your phone is lost."]
    return []


def _told(found: Sequence[Activity]) -> list[dict[str, Any]]:
    return [
        {
            "text": _described(item.action),
            "failed": item.outcome == "failure",
            "time": item.at,
            "address": item.address,
        }
        for item in found
    ]


def _described(action: str) -> str:
    """What an action was, in words; its kind matters where there are words for that."""
    plain = action.partition(":")[0]
    return _ACTIONS.get(action) or _ACTIONS.get(plain) or plain.replace(".", " ").replace("-", " ").capitalize()
