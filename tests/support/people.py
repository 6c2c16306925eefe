"""People of an identity plugin under the harness: with passwords, apps, passkeys, and a mailbox at a real SMTP server."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.factors.totp import code_at, step_of
from rustcare_plugin_identity.plugin import Identity
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.testing import PluginHarness, harness

from .authenticator import Authenticator
from .identity_keyring import IdentityKeyring
from .smtp_server import SmtpServer

__all__ = ["ORIGIN", "PASSWORD", "House", "house"]

ORIGIN = "https://clinic.example"
#: A password that keeps the rules.
PASSWORD = "seven purple anvils sing"


@dataclass
class House:
    """A plugin and its mail server."""

    h: PluginHarness
    mail: SmtpServer

    @property
    def plugin(self) -> Any:
        """The plugin itself."""
        return self.h.plugin

    def client(self, device: str = "", address: str = "192.0.2.7") -> identity.Client:
        """A browser."""
        return identity.Client(address, "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", ORIGIN, device)

    async def settings(self, tenant: str = "default", **settings: Any) -> None:
        """Change what a tenant has set."""
        await self.h.request(identity.TENANT_PUT, identity.TenantRequest(tenant, settings=settings), tenant="default")

    async def person(
        self, name: str = "anna", password: str = PASSWORD, tenant: str = "default", **more: Any
    ) -> Account:
        """Somebody with a password and a verified address."""
        fields = {"email": f"{name}@clinic.example", "email_verified": True, **more}
        made: Account = await self.plugin.accounts.create(
            tenant, name=name, password=await self.plugin.hasher.hash(password) if password else "", **fields
        )
        return made

    async def sign_in(
        self, name: str = "anna", password: str = PASSWORD, tenant: str = "default", **client: str
    ) -> identity.LoginReply:
        """With name and password."""
        asked = identity.PasswordLoginRequest(name, password, self.client(**client))
        found: identity.LoginReply = await self.h.request(identity.LOGIN_PASSWORD, asked, tenant=tenant)
        return found

    async def app(self, account: Account) -> bytes:
        """An authenticator app for somebody; its secret."""
        begun = await self.plugin.factors.begin_totp(account, "phone")
        secret = base64.b32decode(begun.secret + "=" * (-len(begun.secret) % 8))
        await self.plugin.factors.confirm_totp(account, begun.enrolment, self.code(secret))
        self.h.advance(30)  # the code that confirmed it is spent
        return secret

    def code(self, secret: bytes) -> str:
        """What the app shows now."""
        return code_at(secret, step_of(self.plugin.time()))

    async def passkey(self, account: Account, *, synced: bool = False) -> Authenticator:
        """A passkey for somebody."""
        authenticator = Authenticator(ORIGIN, synced=synced)
        options = await self.plugin.factors.begin_passkey(account, ORIGIN)
        await self.plugin.factors.finish_passkey(account, ORIGIN, authenticator.create(options), "key")
        return authenticator

    async def answer(self, authenticator: Authenticator, ticket: str = "", own: str = "") -> str:
        """What the browser answers to options for signing in."""
        asked = identity.PasskeyOptionsRequest(ORIGIN, ticket, bool(own))
        reply: identity.PasskeyOptionsReply = await self.h.request(identity.PASSKEY_OPTIONS, asked, principal=own)
        return authenticator.get(reply.options)

    async def alive(self, credential: str, tenant: str = "default") -> bool:
        """Whether a session's credential still works."""
        asked = identity.AuthenticateRequest("session", credential, tenant)
        try:
            found: identity.Authenticated = await self.h.request(identity.AUTHENTICATE, asked, tenant=tenant)
        except RustCareError:
            return False
        return bool(found.principal)

    def events(self, *actions: str) -> list[identity.SecurityEvent]:
        """What was told of these actions."""
        told = [message.data for message in self.h.published if message.subject == identity.EVENT]
        return [event for event in told if event.action in actions]

    def unsaid(self, *words: str) -> None:
        """None of these words is in a log, an event or what was published."""
        text = str(self.h.logs) + json.dumps([str(message.data) for message in self.h.published])
        found = [word for word in words if word in text]
        assert not found, f"this was told: {found}"


@asynccontextmanager
async def house(secrets: dict[str, bytes] | None = None, *, mail: bool = True, **config: Any) -> AsyncIterator[House]:
    """The plugin, started, with a mail server (or none: `mail`)."""
    async with SmtpServer() as server:
        smtp = {"host": "localhost", "port": server.port, "from": "no-reply@clinic.example", "security": "none"}
        settings: dict[str, Any] = {"url": ORIGIN, **({"mail": smtp} if mail else {}), **config}
        async with IdentityKeyring().attach(harness(Identity, config=settings, secrets=secrets)) as h:
            yield House(h, server)
