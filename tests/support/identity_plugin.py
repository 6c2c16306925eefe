"""The identity plugin under the harness, with a keyring, and people in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.plugin import Identity
from rustcare_plugin_identity.sessions.model import Session
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.identity_keyring import IdentityKeyring

__all__ = ["caller_of", "identity_plugin", "person", "signed_in"]


@asynccontextmanager
async def identity_plugin(
    config: dict[str, Any] | None = None, keyring: IdentityKeyring | None = None
) -> AsyncIterator[PluginHarness]:
    """The plugin, started."""
    async with (keyring or IdentityKeyring()).attach(harness(Identity, config=config)) as h:
        yield h


async def person(
    h: PluginHarness, name: str = "ann", roles: Sequence[str] = (), tenant: str = "default", kind: str = "user"
) -> Account:
    """An account that is active."""
    return await h.plugin.accounts.create(tenant, name=name, roles=roles, kind=kind)  # type: ignore[attr-defined,no-any-return]


async def signed_in(h: PluginHarness, account: Account, aal: int = 1) -> tuple[Session, str]:
    """A session of a browser, and its credential."""
    amr = ("pwd", "otp") if aal > 1 else ("pwd",)
    return await h.plugin.sessions.begin(  # type: ignore[attr-defined,no-any-return]
        account, aal=aal, amr=amr, address="192.0.2.7", agent="Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"
    )


async def caller_of(h: PluginHarness, credential: str, tenant: str = "") -> Caller:
    """The caller that the gateway makes of a session's credential."""
    found: identity.Authenticated = await h.request(
        identity.AUTHENTICATE, identity.AuthenticateRequest("session", credential, tenant)
    )
    return Caller(
        found.principal,
        found.tenant,
        "session",
        found.scopes,
        found.roles,
        found.aal,
        found.session,
        found.authenticated,
        found.on_behalf,
        found.purpose,
        found.name,
    )
