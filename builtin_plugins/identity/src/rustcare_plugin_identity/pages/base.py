"""What all pages share: how one is shown, how one goes on, and how a service is asked on behalf of who looks at it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from math import ceil
from typing import Any, Literal, TypeVar, cast
from urllib.parse import urlencode

from rustcare_sdk import Message, route
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.errors import AuditUnavailable, BusClosed, DeadlineExceeded, HandlerFailed, NoProvider, RustCareError

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.base import Services
from rustcare_plugin_identity.errors import MailUnavailable, NotSignedIn, Overloaded

from .browser import cookie_of, drop_cookie, local_path, set_cookie
from .rendering import Templates

__all__ = ["AT_ONCE", "NOTICES", "SECOND", "PageServices", "later", "page_route", "says", "status_of", "waits"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Awaitable[HttpResponse]])

# Whose account went in this very moment is told so; else nobody gets as far.
_OPTIONS: Mapping[str, Any] = {
    "browser": True,
    "cookies": True,
    "hidden": True,
    "max_body": 131072,
    "problems": {NotSignedIn.code: 401},
}
#: Kinds of factors that are asked for beside a password.
SECOND = frozenset({"totp", "passkey"})
#: Seconds for which a proof of who one is counts as fresh: to see a form, and to send it.
AT_ONCE = (600.0, 900.0)

#: What a page says after something was done: the word is in the address, the text is here.
NOTICES: Mapping[str, str] = {
    "passkey": "The passkey was added.",
    "totp": "The authenticator app was added.",
    "removed": "It was removed.",
    "renamed": "The name was changed.",
    "session": "The session was ended.",
    "sessions": "All other sessions were ended.",
    "device": "The device has its name.",
    "key": "The key does not work any more.",
    "password": "The password was changed. All other sessions were ended.",
    "email": "The address is confirmed.",
    "email-sent": "A link is on its way to the new address. Follow it to confirm that it is yours.",
    "signed-out": "You are signed out.",
    "ended": "The emergency access was ended.",
    "begun": "The emergency access has begun.",
}

_TEXTS: Mapping[str, str] = {
    "identity.login-failed": "That is not right. Check what you entered, and try again.",
    "identity.ticket-unknown": "This took too long, or there were too many tries. Sign in again.",
    "identity.link-unknown": "The link does not work any more. Ask for a new one.",
    "identity.registration-closed": "Accounts are made by an administrator here.",
    "identity.mail-unavailable": "No mail can be sent now. Ask an administrator.",
    "identity.account-exists": "There is an account with this name or address already. Choose another.",
    "identity.code-refused": "That is not the code that the app shows now. Check the clock of your phone.",
    "identity.enrolment-unknown": "This took too long. Begin again.",
    "identity.passkey-refused": "The passkey could not be taken. Try again, or use another device.",
    "identity.origin-refused": "Passkeys work only at a host name that is reached over https.",
    "identity.too-many-factors": "There are as many as there may be. Remove one first.",
    "identity.factor-unknown": "There is no such factor any more.",
    "identity.invalid-factor-name": "A name has 1 to 64 letters.",
    "identity.device-code-unknown": "No device waits with this code. Look at it again, or start again there.",
    "identity.device-too-fast": "Too many codes that were not right. Wait ten minutes.",
    "identity.assurance-too-low": "This wants a second factor. Sign in with one first.",
    "identity.session-unknown": "That session has ended already.",
    "identity.key-unknown": "There is no such key of yours any more.",
    "identity.elevation-unknown": "There is no such emergency access of yours any more.",
    "identity.overloaded": "There is too much to do here now. Wait a moment, then try again.",
    "identity.event-unhandled": "Nothing can be done now, because it could not be put on record. Try again later.",
    "audit.unavailable": "Nothing can be done now, because it could not be put on record. Try again later.",
}

# By code: an error that comes from another plugin has no class of its own here.
_STATUSES: Mapping[str, int] = {
    HandlerFailed.code: 500,
    "identity.event-unhandled": 503,
    **{
        cls.code: 503
        for cls in (AuditUnavailable, BusClosed, DeadlineExceeded, MailUnavailable, NoProvider, Overloaded)
    },
}


def page_route(method: Literal["GET", "POST"], path: str, *, public: bool = False, **options: Any) -> Callable[[F], F]:
    """The route of a page; the options are those of `route`. One that is not public is for sessions alone.

    Whoever has a token or a key is a program. With a token for something small it could else add a passkey of its own here,
    and be the account from then on.
    """
    mark = route(method, path, public=public, **{**_OPTIONS, **options})

    def marked(handler: F) -> F:
        if public:
            return mark(handler)

        @wraps(handler)
        async def guarded(self: PageServices, message: Message[HttpRequest[Any]]) -> HttpResponse:
            if message.data.caller.kind == "session":
                return await handler(self, message)
            return self.message_page(
                message.data,
                "Sign in with a browser",
                "This page is for people, not for programs with a token, a key or a certificate.",
                status=403,
                links=(("/login", "Sign in"),),
            )

        return mark(cast(F, guarded))

    return marked


def status_of(error: RustCareError) -> int:
    """The status of a form that is shown again: what was sent was wrong, or something is wrong here."""
    return _STATUSES.get(error.code, 422)


def says(error: RustCareError) -> str:
    """What a person is told of an error. Never a text that could hold what somebody typed."""
    if error.code == "identity.password-refused":  # "expected …, got …": the first half is the rule
        rule = error.message.removeprefix("expected ").partition(", got")[0]
        return f"The password must {'be' if rule.startswith('a ') else 'have'} {rule}: {error.hint}."
    if error.code in ("identity.last-factor", "identity.invalid-account", "identity.elevation-invalid"):
        wanted = error.message.removeprefix("expected ").partition(", got")[0]
        text = error.hint or (f"give {wanted}" if wanted != error.message else wanted)
        return f"{text[:1].upper()}{text[1:]}."
    return _TEXTS.get(error.code, "That did not work. Try again, or ask an administrator.")


def waits(seconds: float) -> str:
    """How long to wait: rounded up, so that who did it is not refused again."""
    if seconds < 90:
        count = max(1, ceil(seconds))
        return f"Wait {count} second{'' if count == 1 else 's'}, then try again."
    return f"Wait {ceil(seconds / 60)} minutes, then try again."


def later(response: HttpResponse, seconds: float) -> HttpResponse:
    """The page of something that was not looked at, because there were too many tries: 429, with the time to come back."""
    response.status = 429
    response.headers["retry-after"] = str(max(1, ceil(seconds)))
    return response


class PageServices(Services):
    """The base of the pages' classes."""

    templates: Templates

    def start_pages(self) -> None:
        """Make the templates ready."""
        self.templates = Templates()

    def page(
        self, request: HttpRequest[Any], template: str, title: str, status: int = 200, **known: Any
    ) -> HttpResponse:
        """Show a template."""
        tenant = self.tenants.get(request.caller.tenant)
        site = tenant.name if tenant is not None and tenant.name else "RustCare"
        # Nobody's name stands on a page that somebody is not known to.
        who = (request.caller.name or "Signed in") if request.caller.principal else ""
        prefix = request.prefix
        return self.templates.page(template, status, title=title, site=site, prefix=prefix, **{"who": who, **known})

    def form_page(
        self,
        request: HttpRequest[Any],
        title: str,
        action: str,
        button: str,
        *,
        intro: tuple[str, ...],
        fields: list[dict[str, Any]],
        error: RustCareError | None = None,
        links: tuple[tuple[str, str], ...] = (),
    ) -> HttpResponse:
        """A page that is one form. `fields`: arguments of the macro `field`; the error stands at the field it is about."""
        return self.page(
            request,
            "form.html",
            title,
            status_of(error) if error is not None else 200,
            action=request.prefix + action,
            button=button,
            intro=intro,
            fields=fields,
            links=[(request.prefix + path, text) for path, text in links],
            errors=_placed(error, fields) if error is not None else {},
        )

    def message_page(
        self,
        request: HttpRequest[Any],
        title: str,
        *intro: str,
        status: int = 200,
        links: tuple[tuple[str, str], ...] = (),
        **known: Any,
    ) -> HttpResponse:
        """A page that says something. `links`: paths and texts."""
        shown = [(request.prefix + path, text) for path, text in links]
        return self.page(request, "message.html", title, status, intro=intro, links=shown, **known)

    def go(
        self,
        request: HttpRequest[Any],
        path: str,
        *,
        cookies: tuple[str, ...] = (),
        query: Mapping[str, str] | None = None,
    ) -> HttpResponse:
        """Send the browser to a page of ours (303), so that going back or reloading sends no form again."""
        said = {name: value for name, value in (query or {}).items() if value}
        target = request.prefix + path + (("&" if "?" in path else "?") + urlencode(said) if said else "")
        return HttpResponse(
            303,
            headers={"location": target, "cache-control": "no-store", "referrer-policy": "no-referrer"},
            set_cookies=list(cookies),
        )

    async def ask(self, service: str, data: Any, type_: type[T]) -> T:
        """Ask a service on behalf of who sent the request: on the bus, so that it is on record."""
        found: T = await self.ctx.request(service, data, type=type_)
        return found

    async def proof_first(
        self, request: HttpRequest[Any], account: Account, *, fresh: float = 0.0
    ) -> HttpResponse | None:
        """The way to more proof, for who is about to change what they sign in with; None when they have shown enough.

        An account that has a second factor wants it (NIST SP 800-63B-4, section 4.1): a session from before it was added, or
        of somebody who knows the password alone, must not add another, nor take it away. `fresh`: seconds for which a proof
        counts, where the route does not demand that itself.
        """
        caller = request.caller
        query = {"next": request.prefix + request.path}
        if caller.aal < 2 and SECOND & set(await self.factors.kinds(account.id)):
            return self.go(request, "/login/step-up", query={**query, "aal": "2"})
        if fresh and self.time() - caller.authenticated > fresh:
            return self.go(request, "/login/step-up", query=query)
        return None

    def next_of(self, request: HttpRequest[Any], said: str = "") -> str:
        """Where to go on, as the form or the address says; a path on this server, without the tenant's prefix."""
        path = local_path(said or request.argument("next"), "/account")
        return path.removeprefix(request.prefix) or "/account" if request.prefix else path

    def notice(self, request: HttpRequest[Any]) -> str:
        """What was done a moment ago."""
        return NOTICES.get(request.argument("done"), "")

    def signed_out(self, request: HttpRequest[Any]) -> HttpResponse:
        """The session has ended: its cookie goes."""
        return self.go(request, "/login", cookies=(drop_cookie(request, ""),), query={"done": "signed-out"})

    async def signed_in(self, request: HttpRequest[Any], reply: identity.LoginReply, path: str) -> HttpResponse:
        """Give the browser its session, and go on. One that it had before ends: nobody has its cookie to sign it out."""
        before = request.caller.session
        if before and (reply.session is None or reply.session.id != before):
            asked = identity.RevokeRequest(session=before, reason="another sign-in")
            try:
                await self.ask(identity.SESSION_REVOKE, asked, identity.RevokeReply)
            except RustCareError as error:
                # The new session is there, and on record; it ends by itself, as it would have without this.
                self.ctx.log.warning("the session before a sign-in could not be ended", code=error.code)
        cookies = [set_cookie(request, "", reply.credential)]
        if reply.device:
            cookies.append(set_cookie(request, "device", reply.device))
        cookies += [drop_cookie(request, name) for name in ("login", "link") if cookie_of(request, name)]
        return self.go(request, "/account/enrol" if reply.enrol else path, cookies=tuple(cookies))


def _placed(error: RustCareError, fields: list[dict[str, Any]]) -> dict[str, str]:
    """An error at the field that its address names, else above the form."""
    names = [item["name"] for item in fields]
    place = "password" if error.code == "identity.password-refused" else error.address.rpartition(":")[2]
    return {place if place in names else "": says(error)}
