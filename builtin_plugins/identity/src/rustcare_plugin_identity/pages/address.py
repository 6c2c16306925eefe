"""The e-mail address of an account: another one, or confirming the one that there is. It holds when its link was followed.

A new password can be had through it, so changing it takes what changing a factor does: a fresh proof, and the
second factor if there is one.
"""

from __future__ import annotations

from typing import Any

from rustcare_sdk import Message
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.errors import InvalidAccount, MailUnavailable
from rustcare_plugin_identity.login.gate import Gate

from . import fields as ask_for
from .base import AT_ONCE, PageServices, later, page_route, says, status_of, waits
from .browser import client_of
from .joining import AddressForm

__all__ = ["AddressPages"]

_SEE, _SEND = AT_ONCE


class AddressPages(PageServices, Gate):
    """Change and confirm the address."""

    @page_route("GET", "/account/email", fresh=_SEE)
    async def address_page(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The form, with the address that waits to be confirmed."""
        request: HttpRequest[Any] = message.data
        account = await self.own_account(message)
        away = await self.proof_first(request, account)
        if away is not None:
            return away
        try:
            self.need_mail(account.tenant)
        except MailUnavailable as error:
            text, links = says(error), (("/account", "Account security"),)
            return self.message_page(request, "No link can be sent", text, status=status_of(error), links=links)
        shown = "" if account.email_verified else account.email
        return self._address(request, account, shown)

    @page_route("POST", "/account/email", fresh=_SEND, limit="login")
    async def address_send(self, message: Message[HttpRequest[AddressForm]]) -> HttpResponse:
        """Send a link to it. Whether somebody else has the address is not told."""
        request, email, account = message.data, message.data.content.email.strip(), await self.own_account(message)
        away = await self.proof_first(request, account)
        if away is not None:
            return away
        try:
            if not email:
                raise InvalidAccount("expected an e-mail address, got none", address="email")
            asked = identity.ChangeEmailRequest(email, client_of(request))
            reply = await self.ask(identity.ACCOUNT_EMAIL, asked, identity.SentReply)
        except RustCareError as error:
            return self._address(request, account, email, error)
        if reply.retry_after:
            text, links = waits(reply.retry_after), (("/account", "Account security"),)
            return later(self.message_page(request, "Too many requests", text, links=links), reply.retry_after)
        return self.go(request, "/account", query={"done": "email-sent"})

    def _address(
        self, request: HttpRequest[Any], account: Account, email: str, error: RustCareError | None = None
    ) -> HttpResponse:
        confirm = bool(account.email) and not account.email_verified
        return self.form_page(
            request,
            "Confirm your e-mail address"
            if confirm
            else "Change the e-mail address"
            if account.email
            else "Add an e-mail address",
            "/account/email",
            "Send me a link",
            intro=("We send a link to the address. It holds when you follow it.",),
            fields=[ask_for.email(email)],
            error=error,
            links=(("/account", "Back to account security"),),
        )
