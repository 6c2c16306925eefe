"""An authenticator in the kernel's double, and an identity that answers what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import rustcare_plugin_gateway
from rustcare_plugin_gateway.authenticate import Authenticator
from rustcare_sdk import Message, Plugin
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.testing import harness

from tests.support.tokens import NOW, Signer

__all__ = ["Door", "Identity", "Opened", "opened"]

MANIFEST = """
schema = 1
[plugin]
id = "test.door"
version = "0.1.0"
summary = "An authenticator"
engine = ">=0.1,<0.2"
license = "MIT"
[runtime]
python = { entry = "door:Door" }
[config]
schema = "config.schema.json"
""" + "".join(
    f'[[capability]]\nuse = "bus:request@identity.{name}"\nreason = "as the gateway"\n'
    for name in ("authenticate", "jwks", "revocations")
)


class CredentialRefused(RustCareError):
    """As identity raises it."""

    code = "test.credential-refused"


class Identity:
    """Answers for identity. `credentials`: whose they are.

    `before` runs before each answer to `identity.authenticate`, `before_keys` before each to `identity.jwks`.
    """

    def __init__(self) -> None:
        self.signers = {name: Signer(name) for name in ("ES256", "EdDSA")}
        self.issuer = "rustcare"
        self.jwks = [signer.jwk for signer in self.signers.values()]
        self.revision = 0
        self.revocations: list[identity.Revocation] = []
        self.credentials: dict[str, identity.Authenticated] = {}
        self.asked: list[str] = []
        self.away: RustCareError | None = None
        self.before: Callable[[], Any] = lambda: None
        self.before_keys: Callable[[], Any] = lambda: None

    def revoke(self, kind: Any, id: str, *, before: float = 0.0, until: float = NOW + 3600) -> identity.Revocation:
        """Write a revocation down; it is the test's to tell it."""
        self.revision += 1
        made = identity.Revocation(self.revision, kind, id, "default", before, until)
        self.revocations.append(made)
        return made

    def attach(self, double: Any) -> None:
        """Answer in a harness."""

        def available() -> None:
            if self.away is not None:
                raise self.away

        async def jwks(message: Message[Any]) -> identity.JwksReply:
            self.asked.append(identity.JWKS)
            available()
            waited = self.before_keys()
            if waited is not None:
                await waited
            return identity.JwksReply(self.issuer, list(self.jwks))

        def revocations(message: Message[Any]) -> identity.RevocationsReply:
            self.asked.append(identity.REVOCATIONS)
            available()
            return identity.RevocationsReply(
                self.revision, [one for one in self.revocations if one.revision > message.data.since]
            )

        async def authenticate(message: Message[Any]) -> identity.Authenticated:
            self.asked.append(identity.AUTHENTICATE)
            available()
            found = self.credentials.get(message.data.credential)
            waited = self.before()
            if waited is not None:
                await waited
            if found is None:
                error = CredentialRefused("expected a credential that is good")
                error.code = "identity.credential-refused"  # type: ignore[misc]
                raise error
            return found

        double.answer(identity.JWKS, jwks)
        double.answer(identity.REVOCATIONS, revocations)
        double.answer(identity.AUTHENTICATE, authenticate)


class Door(Plugin):
    """A plugin that is only an authenticator."""

    authenticator: Authenticator

    async def start(self) -> None:
        """Begin."""
        self.now = float(NOW)
        self.steady = 0.0
        self.authenticator = Authenticator(self.ctx, self.ctx.config, lambda: self.now, lambda: self.steady)
        await self.authenticator.start()

    async def stop(self) -> None:
        """End."""
        await self.authenticator.stop()


class Opened:
    """An authenticator with its clock and its identity."""

    def __init__(self, double: Any, plugin: Door, identity: Identity) -> None:
        self.harness = double
        self.plugin = plugin
        self.authenticator = plugin.authenticator
        self.identity = identity

    def advance(self, seconds: float) -> None:
        """Let time go by."""
        self.plugin.now += seconds
        self.plugin.steady += seconds

    async def token(self, token: str) -> Any:
        """The caller of a token."""
        return await asyncio.wait_for(self.authenticator.authenticate("token", token, "", "192.0.2.1"), 10)

    async def ask(self, kind: Any, credential: str, tenant: str = "") -> Any:
        """The caller of a credential."""
        return await asyncio.wait_for(self.authenticator.authenticate(kind, credential, tenant, "192.0.2.1"), 10)


@asynccontextmanager
async def opened(known: Identity | None = None, **tokens: Any) -> AsyncIterator[Opened]:
    """An authenticator with this configuration of `tokens`."""
    known = known or Identity()
    schema = Path(rustcare_plugin_gateway.__file__).with_name("config.schema.json").read_bytes()
    double = harness(Door, manifest=MANIFEST, files={"config.schema.json": schema}, config={"tokens": tokens})
    known.attach(double)
    async with double:
        plugin: Any = double.plugin
        yield Opened(double, plugin, known)
