"""Pages that begin with a link, or end with one being sent: first start, invitation, registration, recovery, confirming mail.

A link's secret is in its path, because that is how links are. The route that takes it puts it into a cookie and leaves the
address at once, without telling it to anybody (`Referrer-Policy: no-referrer`); nothing is done before its form is sent, so
that what follows links in mails on its own uses none up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rustcare_sdk import Message
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_identity.errors import MailUnavailable
from rustcare_plugin_identity.login.gate import Gate

from . import fields as ask_for
from .base import PageServices, later, page_route, says, status_of, waits
from .browser import client_of, cookie_of, drop_cookie, fits_cookie, set_cookie

__all__ = ["AddressForm", "CredentialsForm", "JoiningPages", "RecoverForm"]

#: Where a link of each purpose goes on.
_PAGES = {
    "setup": "/setup",
    "invite": "/invite",
    "register": "/invite",
    "recover": "/recover/reset",
    "verify-email": "/verify-email",
}
_SENT = (
    "If there is something to send, it is on its way. Look into your mail, also where unwanted mail goes.",
    "The link in it works once.",
)


@dataclass(frozen=True)
class CredentialsForm:
    """What a new account, or a new password, is made of."""

    name: str = field(default="", repr=False)
    email: str = field(default="", repr=False)
    display_name: str = field(default="", repr=False)
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class RecoverForm:
    """Whose password is lost."""

    name: str = field(default="", repr=False)


@dataclass(frozen=True)
class AddressForm:
    """Who wants an account."""

    email: str = field(default="", repr=False)
    display_name: str = field(default="", repr=False)


class JoiningPages(PageServices, Gate):
    """Setup, invitation, registration, recovery, confirming an address."""

    @page_route("GET", "/identity/links/{purpose}/{secret}", public=True, limit="login")
    async def follow_link(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """Put the secret into a cookie, and leave the address."""
        request: HttpRequest[Any] = message.data
        purpose, secret = request.params["purpose"], request.params["secret"]
        if purpose not in _PAGES or len(secret) > 256 or not fits_cookie(secret):
            return self._gone(request)
        return self.go(request, _PAGES[purpose], cookies=(set_cookie(request, "link", secret),))

    # first start

    @page_route("GET", "/setup", public=True)
    async def setup_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The form for the first administrator."""
        request: HttpRequest[Any] = message.data
        link = await self._link(request, "setup")
        return self._setup(request, link, CredentialsForm()) if link is not None else self._gone(request)

    @page_route("POST", "/setup", public=True, limit="login")
    async def setup_send(self, message: Message[HttpRequest[CredentialsForm]]) -> HttpResponse:
        """Make the first administrator, signed in."""
        request, form = message.data, message.data.content
        asked = identity.SetupFinishRequest(
            cookie_of(request, "link"),
            form.name.strip(),
            form.email.strip(),
            form.display_name.strip(),
            form.password,
            client_of(request),
        )
        try:
            reply = await self.ask(identity.SETUP_FINISH, asked, identity.LoginReply)
        except RustCareError as error:
            link = await self._link(request, "setup")
            return self._setup(request, link, form, error) if link is not None else self._gone(request)
        return await self.signed_in(request, reply, "/account/passkey" if not form.password else "/account")

    def _setup(
        self,
        request: HttpRequest[Any],
        link: identity.LinkReply,
        form: CredentialsForm,
        error: RustCareError | None = None,
    ) -> HttpResponse:
        return self.form_page(
            request,
            "Set up this system",
            "/setup",
            "Create the account",
            intro=(
                "You make the first account. It may do everything, so keep it safe; you can invite others afterwards.",
            ),
            fields=[
                ask_for.sign_in_name(form.name),
                ask_for.display_name(form.display_name),
                ask_for.email(form.email, required=False),
                ask_for.new_password(
                    link.minimum, required=False, more=" Leave it empty to sign in with a passkey alone."
                ),
            ],
            error=error,
        )

    # invitation and registration

    @page_route("GET", "/invite", public=True)
    async def invite_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The form for who was invited, or registers."""
        request: HttpRequest[Any] = message.data
        link = await self._link(request, "invite", "register")
        return self._invite(request, link, link.display_name) if link is not None else self._gone(request)

    @page_route("POST", "/invite", public=True, limit="login")
    async def invite_send(self, message: Message[HttpRequest[CredentialsForm]]) -> HttpResponse:
        """Set the password, or go on to a passkey, signed in."""
        request, form = message.data, message.data.content
        asked = identity.AcceptInviteRequest(
            cookie_of(request, "link"), form.password, form.display_name.strip(), client_of(request)
        )
        try:
            reply = await self.ask(identity.ACCOUNT_ACCEPT_INVITE, asked, identity.LoginReply)
        except RustCareError as error:
            link = await self._link(request, "invite", "register")
            return self._invite(request, link, form.display_name, error) if link is not None else self._gone(request)
        if reply.ticket:
            kept = ":".join((reply.ticket, *reply.factors))
            return self.go(
                request, "/login/factor", cookies=(set_cookie(request, "login", kept), drop_cookie(request, "link"))
            )
        return await self.signed_in(request, reply, "/account/passkey" if not form.password else "/account")

    def _invite(
        self, request: HttpRequest[Any], link: identity.LinkReply, display_name: str, error: RustCareError | None = None
    ) -> HttpResponse:
        return self.form_page(
            request,
            "Welcome",
            "/invite",
            "Continue",
            intro=("Choose a password for your account, or leave it empty and sign in with a passkey.",),
            fields=[
                ask_for.account(link.name or link.email),
                ask_for.display_name(display_name),
                ask_for.new_password(link.minimum, required=False),
            ],
            error=error,
        )

    @page_route("GET", "/register", public=True)
    async def register_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The form for an account of one's own."""
        request: HttpRequest[Any] = message.data
        if self.settings(message.tenant).registration != "open":
            return self.message_page(
                request,
                "Accounts are made by an administrator here",
                "Ask for an invitation.",
                status=403,
                links=(("/login", "Sign in"),),
            )
        return self._unsent(request) or self._register(request, AddressForm())

    @page_route("POST", "/register", public=True, limit="login")
    async def register_send(self, message: Message[HttpRequest[AddressForm]]) -> HttpResponse:
        """Send the link; whether there is an account already is not told."""
        request, form = message.data, message.data.content
        asked = identity.RegisterRequest(form.email.strip(), form.display_name.strip(), client_of(request))
        try:
            reply = await self.ask(identity.ACCOUNT_REGISTER, asked, identity.SentReply)
        except RustCareError as error:
            return self._register(request, form, error)
        return self._sent(request, reply)

    def _register(
        self, request: HttpRequest[Any], form: AddressForm, error: RustCareError | None = None
    ) -> HttpResponse:
        return self.form_page(
            request,
            "Create an account",
            "/register",
            "Send me a link",
            intro=("We send a link to your address. With it you choose how you sign in.",),
            fields=[
                ask_for.email(form.email),
                ask_for.display_name(form.display_name),
            ],
            error=error,
            links=(("/login", "You have an account? Sign in"),),
        )

    # recovery

    @page_route("GET", "/recover", public=True)
    async def recover_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The form for who has lost their password."""
        request: HttpRequest[Any] = message.data
        return self._unsent(request) or self._recover(request, "")

    @page_route("POST", "/recover", public=True, limit="login")
    async def recover_send(self, message: Message[HttpRequest[RecoverForm]]) -> HttpResponse:
        """Send the link; whether there is such an account is not told."""
        request, form = message.data, message.data.content
        try:
            reply = await self.ask(
                identity.LOGIN_RECOVER,
                identity.RecoverRequest(form.name.strip(), client_of(request)),
                identity.SentReply,
            )
        except RustCareError as error:
            return self._recover(request, form.name, error)
        return self._sent(request, reply)

    def _recover(self, request: HttpRequest[Any], name: str, error: RustCareError | None = None) -> HttpResponse:
        return self.form_page(
            request,
            "A new password",
            "/recover",
            "Send me a link",
            intro=("We send a link to the address of your account. With it you set a new password.",),
            fields=[ask_for.sign_in_name(name, "Name or e-mail address", 254)],
            error=error,
            links=(("/login", "Back to sign in"),),
        )

    @page_route("GET", "/recover/reset", public=True)
    async def reset_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The form for the new password."""
        request: HttpRequest[Any] = message.data
        link = await self._link(request, "recover")
        return self._reset(request, link) if link is not None else self._gone(request)

    @page_route("POST", "/recover/reset", public=True, limit="login")
    async def reset_send(self, message: Message[HttpRequest[CredentialsForm]]) -> HttpResponse:
        """Set it. The second factor is asked for, if there is one."""
        request, form = message.data, message.data.content
        asked = identity.ResetPasswordRequest(cookie_of(request, "link"), form.password, client_of(request))
        try:
            reply = await self.ask(identity.LOGIN_RESET, asked, identity.LoginReply)
        except RustCareError as error:
            link = await self._link(request, "recover")
            return self._reset(request, link, error) if link is not None else self._gone(request)
        if reply.ticket:
            kept = ":".join((reply.ticket, *reply.factors))
            return self.go(
                request, "/login/factor", cookies=(set_cookie(request, "login", kept), drop_cookie(request, "link"))
            )
        return await self.signed_in(request, reply, "/account")

    def _reset(
        self, request: HttpRequest[Any], link: identity.LinkReply, error: RustCareError | None = None
    ) -> HttpResponse:
        return self.form_page(
            request,
            "Set a new password",
            "/recover/reset",
            "Set the password",
            intro=("You are signed out everywhere else when it is set.",),
            fields=[
                ask_for.account(link.name or link.email),
                ask_for.new_password(link.minimum),
            ],
            error=error,
        )

    # confirming an address

    @page_route("GET", "/verify-email", public=True)
    async def verify_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The button that confirms it."""
        request: HttpRequest[Any] = message.data
        link = await self._link(request, "verify-email")
        if link is None:
            return self._gone(request)
        return self.form_page(
            request,
            "Confirm your address",
            "/verify-email",
            "Yes, it is mine",
            intro=("You followed a link that was sent to this address:", link.email),
            fields=[],
        )

    @page_route("POST", "/verify-email", public=True, limit="login")
    async def verify_send(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """Confirm it."""
        request: HttpRequest[Any] = message.data
        asked = identity.VerifyEmailRequest(cookie_of(request, "link"))
        try:
            await self.ask(identity.ACCOUNT_VERIFY_EMAIL, asked, identity.AccountReply)
        except RustCareError as error:
            if error.code == "identity.link-unknown":
                return self._gone(request)
            return self.message_page(
                request, "That did not work", says(error), status=status_of(error), links=(("/login", "Sign in"),)
            )
        path = "/account" if request.caller.principal else "/login"
        return self.go(request, path, cookies=(drop_cookie(request, "link"),), query={"done": "email"})

    # parts of these

    async def _link(self, request: HttpRequest[Any], *purposes: str) -> identity.LinkReply | None:
        """What the link in the cookie is for; None when it does not work (any more), or is for something else."""
        secret = cookie_of(request, "link")
        if not secret:
            return None
        try:
            found = await self.ask(identity.LINK, identity.LinkRequest(secret), identity.LinkReply)
        except RustCareError as error:
            if error.code != "identity.link-unknown":
                raise
            return None
        return found if found.purpose in purposes else None

    def _gone(self, request: HttpRequest[Any]) -> HttpResponse:
        found = self.message_page(
            request,
            "This link does not work any more",
            "It was used already, a newer one took its place, or too much time has passed. Ask for a new one.",
            status=410,
            links=(("/login", "Sign in"),),
        )
        found.headers["referrer-policy"] = "no-referrer"
        return found

    def _unsent(self, request: HttpRequest[Any]) -> HttpResponse | None:
        """What is said before anybody types something, when no link could be sent."""
        try:
            self.need_mail(request.caller.tenant)
        except MailUnavailable as error:
            text, links = says(error), (("/login", "Back to sign in"),)
            return self.message_page(request, "No link can be sent", text, status=status_of(error), links=links)
        return None

    def _sent(self, request: HttpRequest[Any], reply: identity.SentReply) -> HttpResponse:
        if reply.retry_after:
            text, links = waits(reply.retry_after), (("/login", "Sign in"),)
            return later(self.message_page(request, "Too many requests", text, links=links), reply.retry_after)
        return self.message_page(request, "Look into your mail", *_SENT, links=(("/login", "Back to sign in"),))
