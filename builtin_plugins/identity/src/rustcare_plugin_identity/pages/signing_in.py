"""Name, then password or passkey, then a second factor; proving more in a session that there is; signing out.

Nothing here tells whether there is an account of a name: every name is asked for its password, and what was wrong is not said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rustcare_sdk import Message
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.errors import RustCareError

from .base import SECOND, PageServices, later, page_route, says, status_of, waits
from .browser import client_of, cookie_of, drop_cookie, set_cookie

__all__ = ["AnswerForm", "PasskeyForm", "ProofForm", "SignInForm", "SigningInPages"]

#: In which order factors are offered: what cannot be phished first, what is hard to replace last.
_ORDER = ("passkey", "totp", "password", "recovery")
_WRONG = 422  # a page with an error on it; 401 would want a challenge that no browser answers


@dataclass(frozen=True)
class SignInForm:
    """The name alone, or with the password."""

    name: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    next: str = ""


@dataclass(frozen=True)
class PasskeyForm:
    """What the browser answered."""

    answer: str = field(default="", repr=False)
    next: str = ""


@dataclass(frozen=True)
class AnswerForm:
    """An answer for a factor."""

    kind: str = ""
    answer: str = field(default="", repr=False)
    next: str = ""


@dataclass(frozen=True)
class ProofForm(AnswerForm):
    """An answer for a factor, of those that bring the session to a level."""

    aal: str = ""


class SigningInPages(PageServices):
    """Sign in, second factor, step up, sign out."""

    @page_route("GET", "/", public=True)
    async def start_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """Who comes to the server with a browser begins at their account."""
        return self.go(message.data, "/account")

    # name and password

    @page_route("GET", "/login", public=True)
    async def login_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The form for the name; who is known already goes on."""
        request: HttpRequest[Any] = message.data
        if request.caller.kind == "session" and request.caller.aal:
            return self.go(request, self.next_of(request))
        return await self._login(request)

    @page_route("POST", "/login", public=True, limit="login")
    async def login_send(self, message: Message[HttpRequest[SignInForm]]) -> HttpResponse:
        """The name, then the password with it."""
        request, form = message.data, message.data.content
        name = form.name.strip()[:254]
        if not name:
            return await self._login(request, errors={"name": "Enter your name or e-mail address."})
        if not form.password:
            # The first step comes without the field; the second one with it.
            wrong = {"password": "Enter your password."} if b"password=" in request.body else {}
            return await self._login(request, name, errors=wrong)
        asked = identity.PasswordLoginRequest(name, form.password, client_of(request))
        try:
            reply = await self.ask(identity.LOGIN_PASSWORD, asked, identity.LoginReply)
        except RustCareError as error:
            wrong = {"": _said(error, "Name and password do not belong together.")}
            return await self._login(request, name, errors=wrong, status=status_of(error))
        if reply.retry_after:
            return later(await self._login(request, name, errors={"": _wait(reply.retry_after)}), reply.retry_after)
        return await self._go_on(request, reply)

    async def _login(
        self, request: HttpRequest[Any], name: str = "", *, errors: dict[str, str] | None = None, status: int = 200
    ) -> HttpResponse:
        settings = self.settings(request.caller.tenant)
        return self.page(
            request,
            "sign_in.html",
            "Sign in",
            status if status != 200 or not errors else _WRONG,
            who="",
            name=name,
            errors=errors or {},
            notice=self.notice(request),
            purpose="",
            options=await self._options(request, identity.PasskeyOptionsRequest(request.base)),
            script=True,
            next=request.prefix + self.next_of(request, _next_said(request)),
            registration=settings.registration == "open",
        )

    async def _options(self, request: HttpRequest[Any], asked: identity.PasskeyOptionsRequest) -> dict[str, Any] | None:
        """Options for a passkey; None where passkeys do not work, such as at a bare address."""
        try:
            return (await self.ask(identity.PASSKEY_OPTIONS, asked, identity.PasskeyOptionsReply)).options
        except RustCareError:
            return None

    async def _chosen(
        self, request: HttpRequest[Any], kinds: list[str], kind: str, asked: identity.PasskeyOptionsRequest
    ) -> tuple[str, dict[str, Any] | None]:
        """The factor to ask for: the one that was wanted, else the first that works here; a passkey with its options."""
        wanted = [kind] if kind in kinds else [one for one in _ORDER if one in kinds]
        for one in wanted:
            options = await self._options(request, asked) if one == "passkey" else None
            if one != "passkey" or options is not None:
                return one, options
        return (wanted or ["totp"])[0], None

    async def _go_on(self, request: HttpRequest[Any], reply: identity.LoginReply) -> HttpResponse:
        """After a first proof: a session, or the second factor."""
        next_ = self.next_of(request, _next_said(request))
        if not reply.ticket:
            return await self.signed_in(request, reply, next_)
        # What the ticket can go on with is kept beside it: it is no secret, and nothing is decided by it.
        kept = ":".join((reply.ticket, *reply.factors))
        query = {"next": request.prefix + next_}
        return self.go(request, "/login/factor", cookies=(set_cookie(request, "login", kept),), query=query)

    @page_route("POST", "/login/passkey", public=True, limit="login")
    async def login_passkey(self, message: Message[HttpRequest[PasskeyForm]]) -> HttpResponse:
        """Sign in with a passkey."""
        request, form = message.data, message.data.content
        asked = identity.PasskeyLoginRequest(form.answer, client_of(request))
        try:
            reply = await self.ask(identity.LOGIN_PASSKEY, asked, identity.LoginReply)
        except RustCareError as error:
            wrong = {"": _said(error, "This passkey does not sign in here.")}
            return await self._login(request, errors=wrong, status=status_of(error))
        if reply.retry_after:
            return later(await self._login(request, errors={"": _wait(reply.retry_after)}), reply.retry_after)
        return await self._go_on(request, reply)

    # second factor

    @page_route("GET", "/login/factor", public=True, query=("kind", "next"))
    async def factor_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The form for a second factor."""
        request: HttpRequest[Any] = message.data
        ticket, kinds = _ticket(request)
        if not ticket:
            return self.go(request, "/login", query={"next": request.argument("next")})
        return await self._factor(request, ticket, kinds, request.argument("kind"))

    @page_route("POST", "/login/factor", public=True, limit="login")
    async def factor_send(self, message: Message[HttpRequest[AnswerForm]]) -> HttpResponse:
        """An answer for it."""
        request, form = message.data, message.data.content
        ticket, kinds = _ticket(request)
        if not ticket:
            return self.go(request, "/login", query={"next": form.next})
        asked = identity.FactorLoginRequest(ticket, form.kind, form.answer, client_of(request))
        try:
            reply = await self.ask(identity.LOGIN_FACTOR, asked, identity.LoginReply)
        except RustCareError as error:
            if error.code == "identity.ticket-unknown":
                found = await self._login(request, errors={"": says(error)})
                found.set_cookies.append(drop_cookie(request, "login"))
                return found
            wrong = {_field(form.kind): _said(error)}
            return await self._factor(request, ticket, kinds, form.kind, wrong, status_of(error))
        if reply.retry_after:
            wrong = {"": _wait(reply.retry_after)}
            return later(await self._factor(request, ticket, kinds, form.kind, wrong), reply.retry_after)
        if not reply.credential:
            return await self._factor(request, ticket, kinds, form.kind, {_field(form.kind): "That is not right."})
        return await self.signed_in(request, reply, self.next_of(request, form.next))

    async def _factor(
        self,
        request: HttpRequest[Any],
        ticket: str,
        kinds: list[str],
        kind: str,
        errors: dict[str, str] | None = None,
        status: int = 200,
    ) -> HttpResponse:
        asked = identity.PasskeyOptionsRequest(request.base, ticket)
        kind, options = await self._chosen(request, kinds, kind, asked)
        return self.page(
            request,
            "factor.html",
            "One more step",
            status if status != 200 or not errors else _WRONG,
            who="",
            kind=kind,
            kinds=[one for one in _ORDER if one in kinds],
            options=options,
            script=kind == "passkey",
            errors=errors or {},
            action=f"{request.prefix}/login/factor",
            next=request.prefix + self.next_of(request, _next_said(request)),
            aal="",
            back=f"{request.prefix}/login",
            back_text="Sign in as somebody else",
        )

    # more proof

    @page_route("GET", "/login/step-up", aal=0, query=("kind", "next", "aal"))
    async def step_up_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The form for more, or fresh, proof. `aal` is the level that is wanted; it only says what to ask for."""
        request: HttpRequest[Any] = message.data
        return await self._step_up(request, request.argument("aal"), request.argument("kind"))

    @page_route("POST", "/login/step-up", aal=0, limit="login")
    async def step_up_send(self, message: Message[HttpRequest[ProofForm]]) -> HttpResponse:
        """The proof; the session has a new credential from then on."""
        request, form = message.data, message.data.content
        asked = identity.StepUpRequest(request.caller.session, form.kind, form.answer, client_of(request))
        try:
            reply = await self.ask(identity.LOGIN_STEP_UP, asked, identity.LoginReply)
        except RustCareError as error:
            wrong = {_field(form.kind): _said(error)}
            return await self._step_up(request, form.aal, form.kind, wrong, status_of(error))
        if reply.retry_after:
            wrong = {"": _wait(reply.retry_after)}
            return later(await self._step_up(request, form.aal, form.kind, wrong), reply.retry_after)
        return await self.signed_in(request, reply, self.next_of(request, form.next))

    async def _step_up(
        self,
        request: HttpRequest[Any],
        wanted: str,
        kind: str,
        errors: dict[str, str] | None = None,
        status: int = 200,
    ) -> HttpResponse:
        level = int(wanted) if wanted in ("2", "3") else 1
        account = await self.accounts.by_principal(request.caller.tenant, request.caller.principal)
        has = [] if account is None else await self.factors.kinds(account.id)
        if not request.caller.aal and not SECOND & set(has):
            return self.go(request, "/account/enrol")
        if account is not None and account.password and request.caller.aal:
            has = [*has, "password"]
        kinds = [one for one in has if self._reaches(request, one) >= level]
        if not request.caller.session or not kinds:
            ways = (("/account/passkey", "Add a passkey"), ("/account/totp", "Add an authenticator app"))
            return self.message_page(
                request,
                "A second factor is needed",
                "This page asks for more than a password, and your account has nothing else that is strong enough.",
                status=403,
                links=(*ways[: 2 if level < 3 else 1], ("/account", "Account security")),
            )
        asked = identity.PasskeyOptionsRequest(request.base, own=True)
        kind, options = await self._chosen(request, kinds, kind, asked)
        return self.page(
            request,
            "factor.html",
            "Show that it is you",
            status if status != 200 or not errors else _WRONG,
            kind=kind,
            kinds=[one for one in _ORDER if one in kinds],
            options=options,
            script=kind == "passkey",
            errors=errors or {},
            action=f"{request.prefix}/login/step-up",
            next=request.prefix + self.next_of(request, _next_said(request)),
            aal=str(level) if level > 1 else "",
            back=f"{request.prefix}/account",
            back_text="Back to account security",
        )

    def _reaches(self, request: HttpRequest[Any], kind: str) -> int:
        """The level that a factor of a kind brings a session to, at best."""
        if kind == "passkey":
            return 3 if self.settings(request.caller.tenant).passkeys.aal3 else 2
        return 1 if kind == "password" else 2

    # signing out

    @page_route("POST", "/logout", public=True)
    async def logout(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """End the session; the cookie goes in any case."""
        request: HttpRequest[Any] = message.data
        if request.caller.session:
            asked = identity.RevokeRequest(session=request.caller.session, reason="signed out")
            try:
                await self.ask(identity.SESSION_REVOKE, asked, identity.RevokeReply)
            except RustCareError as error:
                # Whoever leaves a computer must be able to, whatever is wrong here.
                text = (
                    "It could not be put on record that your session has ended. Nobody here has it any more; it ends by itself "
                    "when it is not used."
                )
                links = (("/login", "Sign in"),)
                found = self.message_page(
                    request, "This browser is signed out", text, status=status_of(error), links=links, who=""
                )
                found.set_cookies.append(drop_cookie(request, ""))
                return found
        return self.signed_out(request)


def _ticket(request: HttpRequest[Any]) -> tuple[str, list[str]]:
    ticket, _, kinds = cookie_of(request, "login").partition(":")
    return ticket, [kind for kind in kinds.split(":") if kind in _ORDER]


def _next_said(request: HttpRequest[Any]) -> str:
    said = getattr(request.content, "next", "")
    return said if isinstance(said, str) and said else request.argument("next")


def _field(kind: str) -> str:
    """Where an error belongs: at the field, or above a form that has none to be seen."""
    return "" if kind == "passkey" else "answer"


def _said(error: RustCareError, wrong: str = "That is not right. Try again.") -> str:
    return wrong if error.code == "identity.login-failed" else says(error)


def _wait(seconds: float) -> str:
    return f"Too many tries. {waits(seconds)}"
