"""The parts behind sessions, tokens, keys, elevations and devices, and what their services share."""

from __future__ import annotations

import asyncio
from typing import Any

from rustcare_sdk import Message, RustCareError
from rustcare_sdk.contracts.identity import JWKS_CHANGED, JwksReply

from .accounts import Account
from .accounts.roles import grants
from .base import Services
from .device.codes import DeviceCodes
from .device.guesses import Guesses
from .elevations.bounds import ElevationSettings
from .elevations.elevations import Elevations
from .errors import NotSignedIn
from .guard import Guard
from .keys.api_keys import ApiKeys
from .sessions.errors import SessionForbidden
from .sessions.limits import KEEP
from .sessions.rights import Rights
from .sessions.sessions import Sessions
from .tokens.access import AccessTokens
from .tokens.lifetimes import TokenSettings
from .tokens.refresh import Families
from .tokens.revocations import Revocations
from .tokens.signing_keys import SigningKeys
from .tokens.vault import Vault

__all__ = ["ADMIN", "READ", "WRITE", "Credentials"]

#: The scopes of those who look at, or handle, what others hold; and of those who may do everything.
READ, WRITE, ADMIN = "identity.read", "identity.write", "admin"

#: Seconds between two looks for what has had its time.
_UPKEEP = 900.0
#: Seconds that clocks may differ, and that something may be under way.
_SLACK = 60.0
_LONGEST_TOKEN = 3600.0


class Credentials(Services):
    """The base of the classes of services that deal with what people and machines hold."""

    sessions: Sessions
    revocations: Revocations
    rights: Rights
    signing: SigningKeys
    tokens: AccessTokens
    families: Families
    keys: ApiKeys
    devices: DeviceCodes
    guesses: Guesses

    async def start_credentials(self) -> None:
        """Build the parts; the keyring makes the keys at the first start."""
        config = dict(self.ctx.config.get("tokens", {}))
        db, now, random = self.ctx.db, self.time, self.ctx.random
        vault = Vault(self.ctx.request)
        lasting = max(_LONGEST_TOKEN, KEEP) + _SLACK
        self.revocations = Revocations(db, now, lasting)
        self.elevations = Elevations(db, now, random)
        self.rights = Rights(self.accounts, self.elevations)
        self.sessions = Sessions(
            db, now, random, lambda tenant: self.settings(tenant).sessions, self.revocations, self.tell
        )
        self.signing = SigningKeys(
            db,
            vault,
            now,
            algorithms=tuple(config.get("algorithms", ("ES256", "EdDSA"))),
            period=float(config.get("key_period", 7_776_000)),
            overlap=float(config.get("key_overlap", 86_400)),
            linger=lasting,
        )
        await self.signing.open()
        self.tokens = AccessTokens(
            self.signing,
            now,
            random,
            issuer=str(config.get("issuer", "rustcare")),
            audience=str(config.get("audience", "rustcare")),
        )
        self.families = Families(
            db, now, vault, self.sessions, self.token_settings, self.tell, float(config.get("grace", 10.0))
        )
        await self.families.open()
        self.keys = ApiKeys(db, now, random, self.revocations, self.tell)
        self.devices = DeviceCodes(db, now, random)
        self.guesses = Guesses(now)
        self.ctx.spawn(self._tell_again(), name="revocations")
        self.ctx.spawn(self.signing.run(self.tell_keys, self._failed), name="signing keys")
        self.ctx.spawn(self._upkeep(), name="upkeep")

    def token_settings(self, tenant: str) -> TokenSettings:
        """How long tokens of a tenant last."""
        return self.settings(tenant).tokens

    def elevation_settings(self, tenant: str) -> ElevationSettings:
        """What a tenant allows of elevations."""
        return self.settings(tenant).elevations

    # telling

    async def tell_keys(self) -> None:
        """Tell everybody that the keys which sign tokens have changed."""
        await self.ctx.publish(JWKS_CHANGED, JwksReply(self.tokens.issuer, self.signing.jwks()), confirm=True)

    async def _tell_again(self) -> None:
        """A process that was killed between a commit and its telling told nobody: what still matters is told again."""
        _, revocations = await self.revocations.since(0)
        await self.tell(revocations)

    # upkeep

    def _failed(self, error: RustCareError) -> None:
        self.ctx.log.error("what is due could not be done", code=error.code)

    async def _upkeep(self) -> None:
        while True:
            try:
                await self.purge()
            except RustCareError as error:
                self._failed(error)
            await asyncio.sleep(_UPKEEP)

    async def purge(self) -> None:
        """Take away what has had its time."""
        await self.revocations.purge()
        await self.sessions.purge()
        await self.devices.purge()
        await self.keys.purge()

    # who asks, for whom

    async def holds(self, message: Message[Any], *scopes: str) -> bool:
        """Whether the caller's account holds one of the scopes; the operator holds every one, and so does this plugin
        itself where nobody asked it (at its start).
        """
        if self.operator(message) or (message.source == self.ctx.plugin.id and not message.principal):
            return True
        account = await self.accounts.by_principal(message.tenant, message.principal)
        if account is None or account.state != "active":
            return False
        held = self.accounts.scopes_of(account.tenant, await self.accounts.roles_of(account))
        return any(grants(one, scope) for one in held for scope in scopes)

    async def meant(self, message: Message[Any], account: str, scope: str) -> Account:
        """The account that a request is about: the caller's own (empty, or named), another only for who holds `scope`.

        Raises:
            NotSignedIn, SessionForbidden, AccountUnknown.
            AdministratorsOnly: it is one that may do everything, which only who may so too changes.
        """
        own = await self.accounts.by_principal(message.tenant, message.principal)
        if own is not None and own.state != "disabled" and account in ("", own.id, own.name, own.principal):
            return own
        if not account:
            raise NotSignedIn("expected an account, or a call on behalf of one, got neither", address="account")
        if not await self.holds(message, scope):
            raise SessionForbidden(
                f"expected the caller's own account, or a caller with the scope {scope}, got neither", address="account"
            )
        found = await self.accounts.need(message.tenant, account)
        if scope != READ and not await self.holds(message, ADMIN):
            await Guard(self.accounts, message.tenant, ()).change(found)
        return found

    def may_sign_in(self, account: Account | None) -> bool:
        """Whether an account's credentials are worth anything: it is active, and so is its tenant."""
        if account is None or account.state != "active":
            return False
        tenant = self.tenants.get(account.tenant)
        return tenant is not None and tenant.enabled
