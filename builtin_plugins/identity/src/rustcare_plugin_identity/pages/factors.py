"""Adding and removing factors. Who does that has proved who they are within the last minutes (`fresh`).

An account whose tenant demands a second factor, and that has none, comes here with a session of AAL0: it can do this and
nothing else, then shows the factor once and goes on. Where there is a second factor, it was shown in the session
(`proof_first`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rustcare_sdk import Message
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.errors import LoginFailed
from rustcare_plugin_identity.sessions.devices import device_name

from .base import AT_ONCE, SECOND, PageServices, page_route, says, status_of
from .browser import client_of

__all__ = ["CodeForm", "FactorForm", "FactorPages", "NameFactorForm", "NewPasskeyForm"]

_SEE, _SEND = AT_ONCE


@dataclass(frozen=True)
class NewPasskeyForm:
    """What the browser answered, and a name for it."""

    answer: str = field(default="", repr=False)
    name: str = ""


@dataclass(frozen=True)
class CodeForm:
    """The first code of an app."""

    code: str = field(default="", repr=False)


@dataclass(frozen=True)
class FactorForm:
    """Which factor."""

    factor: str = ""


@dataclass(frozen=True)
class NameFactorForm:
    """Which factor, and its new name."""

    factor: str = ""
    name: str = ""


class FactorPages(PageServices):
    """Passkeys, authenticator apps, recovery codes."""

    @page_route("GET", "/account/enrol", aal=0)
    async def enrol_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """Where who must have a second factor chooses one."""
        request: HttpRequest[Any] = message.data
        if request.caller.aal:
            return self.go(request, "/account")
        account = await self.own_account(message)
        if SECOND & set(await self.factors.kinds(account.id)):
            return self.go(request, "/login/step-up")
        return self.message_page(
            request,
            "One thing is missing",
            "Your organisation wants everybody to sign in with a passkey, or with a password and an authenticator app.",
            links=(("/account/passkey", "Add a passkey"), ("/account/totp", "Add an authenticator app")),
        )

    # passkeys

    @page_route("GET", "/account/passkey", aal=0, fresh=_SEE)
    async def passkey_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The button that makes a passkey."""
        account = await self.own_account(message)
        return await self.proof_first(message.data, account) or await self._passkey(
            message.data, account, _device(message.data)
        )

    @page_route("POST", "/account/passkey", aal=0, fresh=_SEND)
    async def passkey_send(self, message: Message[HttpRequest[NewPasskeyForm]]) -> HttpResponse:
        """Take the new passkey into use."""
        request, form, account = message.data, message.data.content, await self.own_account(message)
        away = await self.proof_first(request, account)
        if away is not None:
            return away
        asked = identity.PasskeyFinishRequest(request.base, form.answer, form.name)
        try:
            await self.ask(identity.MFA_PASSKEY_FINISH, asked, identity.FactorReply)
        except RustCareError as error:
            return await self._passkey(request, account, form.name, error)
        if not request.caller.aal:  # making it was no proof to a session; using it is
            return self.go(request, "/login/step-up", query={"kind": "passkey", "next": f"{request.prefix}/account"})
        return self.go(request, "/account", query={"done": "passkey"})

    async def _passkey(
        self, request: HttpRequest[Any], account: Account, name: str = "", error: RustCareError | None = None
    ) -> HttpResponse:
        options: dict[str, Any] | None = None
        try:
            asked = identity.PasskeyBeginRequest(request.base)
            options = (await self.ask(identity.MFA_PASSKEY_BEGIN, asked, identity.PasskeyBeginReply)).options
        except RustCareError as refused:
            error = error or refused
        return self.page(
            request,
            "passkey_new.html",
            "Add a passkey",
            status_of(error) if error is not None else 200,
            options=options,
            name=name,
            only_way=not account.password and not await self.factors.kinds(account.id),
            cancel="/account" if request.caller.aal else "/account/enrol",
            script=True,
            errors={} if error is None else {"": says(error)},
        )

    # authenticator apps

    @page_route("GET", "/account/totp", aal=0, fresh=_SEE)
    async def totp_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """A name for the app that is to be added."""
        return await self.proof_first(message.data, await self.own_account(message)) or self._totp(message.data)

    def _totp(self, request: HttpRequest[Any], name: str = "", error: RustCareError | None = None) -> HttpResponse:
        field_ = {
            "name": "name",
            "label": "Name of the app or phone",
            "value": name,
            "hint": "So that you know it again, like “My phone”.",
            "required": False,
            "maxlength": 64,
            "autocomplete": "off",
        }
        return self.form_page(
            request,
            "Add an authenticator app",
            "/account/totp",
            "Continue",
            intro=("An app on your phone shows a code that changes all the time. You enter it after your password.",),
            fields=[field_],
            error=error,
            links=(("/account", "Back to account security"),) if request.caller.aal else (("/account/enrol", "Back"),),
        )

    @page_route("POST", "/account/totp", aal=0, fresh=_SEND)
    async def totp_begin(self, message: Message[HttpRequest[NameFactorForm]]) -> HttpResponse:
        """Begin an enrolment, and go on to its page."""
        request, form = message.data, message.data.content
        away = await self.proof_first(request, await self.own_account(message))
        if away is not None:
            return away
        try:
            begun = await self.ask(
                identity.MFA_TOTP_BEGIN, identity.TotpBeginRequest(form.name), identity.TotpBeginReply
            )
        except RustCareError as error:
            return self._totp(request, form.name, error)
        return self.go(request, f"/account/totp/{begun.enrolment}")

    @page_route("GET", "/account/totp/{enrolment}", aal=0, fresh=_SEND)
    async def totp_shown(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The picture, the secret, and the form for the first code."""
        return await self.proof_first(message.data, await self.own_account(message)) or await self._enrolment(
            message.data
        )

    @page_route("POST", "/account/totp/{enrolment}", aal=0, fresh=2 * _SEND, limit="login")
    async def totp_send(self, message: Message[HttpRequest[CodeForm]]) -> HttpResponse:
        """Take the app into use."""
        request, form, account = message.data, message.data.content, await self.own_account(message)
        enrolment, below = request.params["enrolment"], request.caller.aal < 2
        if any(one.id == enrolment for one in await self.factors.infos(account.id)):
            return self._totp_added(request)  # the button was pressed twice
        away = await self.proof_first(request, account)
        if away is not None:
            return away
        asked = identity.TotpConfirmRequest(enrolment, form.code, spend=not below)
        try:
            await self.ask(identity.MFA_TOTP_CONFIRM, asked, identity.FactorReply)
        except RustCareError as error:
            if error.code != "identity.code-refused":
                return self._totp(request, "", error)
            return await self._enrolment(request, error)
        if below:  # the code that proved the app proves who sent it: they need not wait for the next one
            shown = identity.StepUpRequest(request.caller.session, "totp", form.code, client_of(request))
            try:
                reply = await self.ask(identity.LOGIN_STEP_UP, shown, identity.LoginReply)
            except LoginFailed:
                return self._totp_added(request)
            if reply.credential:
                return await self.signed_in(request, reply, "/account?done=totp")
        return self._totp_added(request)

    def _totp_added(self, request: HttpRequest[Any]) -> HttpResponse:
        if not request.caller.aal:  # it must be shown before anything else
            return self.go(request, "/login/step-up", query={"kind": "totp", "next": f"{request.prefix}/account"})
        return self.go(request, "/account", query={"done": "totp"})

    async def _enrolment(self, request: HttpRequest[Any], error: RustCareError | None = None) -> HttpResponse:
        asked = identity.TotpBeginRequest(enrolment=request.params["enrolment"])
        try:
            begun = await self.ask(identity.MFA_TOTP_BEGIN, asked, identity.TotpBeginReply)
        except RustCareError as refused:
            return self._totp(request, "", refused)
        return self.page(
            request,
            "totp_new.html",
            "Add an authenticator app",
            status_of(error) if error is not None else 200,
            begun=begun,
            errors={} if error is None else {"code": says(error)},
            cancel="/account" if request.caller.aal else "/account/enrol",
        )

    # recovery codes

    @page_route("GET", "/account/recovery-codes", fresh=_SEE)
    async def recovery_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """Ask before the codes from before stop to work."""
        request: HttpRequest[Any] = message.data
        return await self.proof_first(request, await self.own_account(message)) or self.form_page(
            request,
            "Make recovery codes",
            "/account/recovery-codes",
            "Make the codes",
            intro=("You get ten codes, each good once. They are shown only now; codes that you have stop to work.",),
            fields=[],
            links=(("/account", "Back to account security"),),
        )

    @page_route("POST", "/account/recovery-codes", fresh=_SEND)
    async def recovery_send(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """Make them and show them: the one page that is the answer to a form, because nothing can show them again."""
        request: HttpRequest[Any] = message.data
        away = await self.proof_first(request, await self.own_account(message))
        if away is not None:
            return away
        made = await self.ask(identity.MFA_RECOVERY_GENERATE, identity.RecoveryRequest(), identity.RecoveryReply)
        return self.page(request, "recovery_codes.html", "Your recovery codes", codes=made.codes)

    # changing

    @page_route("GET", "/account/factors/{factor}/remove", fresh=_SEE)
    async def remove_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """Ask before a factor goes."""
        request: HttpRequest[Any] = message.data
        return await self.proof_first(request, await self.own_account(message)) or await self._remove(request)

    async def _remove(self, request: HttpRequest[Any], error: RustCareError | None = None) -> HttpResponse:
        found = await self.ask(identity.MFA_LIST, identity.FactorsRequest(), identity.FactorsReply)
        factor = next((item for item in found.factors if item.id == request.params["factor"]), None)
        if factor is None:
            return self.message_page(
                request, "There is no such factor any more", status=404, links=(("/account", "Account security"),)
            )
        what = "passkey" if factor.kind == "passkey" else "authenticator app"
        return self.form_page(
            request,
            f"Remove this {what}?",
            f"/account/factors/{factor.id}/remove",
            "Remove it",
            intro=(f"You cannot sign in with “{factor.name}” any more.",),
            fields=[],
            error=error,
            links=(("/account", "Keep it"),),
        )

    @page_route("POST", "/account/factors/{factor}/remove", fresh=_SEND)
    async def remove_send(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """Remove it, unless it is the last."""
        request: HttpRequest[Any] = message.data
        away = await self.proof_first(request, await self.own_account(message))
        if away is not None:
            return away
        asked = identity.RemoveFactorRequest(request.params["factor"])
        try:
            await self.ask(identity.MFA_REMOVE, asked, identity.FactorsReply)
        except RustCareError as error:
            return await self._remove(request, error)
        return self.go(request, "/account", query={"done": "removed"})

    @page_route("POST", "/account/factors/name")
    async def name_factor(self, message: Message[HttpRequest[NameFactorForm]]) -> HttpResponse:
        """Give a factor another name."""
        request, form = message.data, message.data.content
        try:
            await self.ask(
                identity.MFA_RENAME, identity.RenameFactorRequest(form.factor, form.name), identity.FactorReply
            )
        except RustCareError as error:
            return self.message_page(
                request, "The name was not changed", says(error), status=status_of(error), links=(("/account", "Back"),)
            )
        return self.go(request, "/account", query={"done": "renamed"})


def _device(request: HttpRequest[Any]) -> str:
    """A name for what somebody is at, as far as it is known: one that they need not type."""
    name = device_name(client_of(request).agent)
    return "" if name == device_name("") else name
