"""Machines on the bus: their API keys and client certificates."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import identity

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.credentials import READ, WRITE, Credentials
from rustcare_plugin_identity.sessions.devices import NAME, clean_name
from rustcare_plugin_identity.sessions.scopes import checked, narrowed
from rustcare_plugin_identity.tokens.errors import ScopeNotHeld

from .api_keys import ApiKey
from .errors import CertificateInvalid, KeyForbidden, KeyInvalid

__all__ = ["KeyServices"]

#: Seconds; more than this is a slip of the pen, or means never.
_LONGEST = 10 * 366 * 86_400


class KeyServices(Credentials):
    """Create, list, revoke keys; bind certificates."""

    @serve(identity.KEY_CREATE)
    async def key_create(self, message: Message[identity.CreateKeyRequest]) -> identity.CreateKeyReply:
        """A new key of one's own account, or, for administrators, of another. It is shown in this answer alone."""
        asked = message.data
        account, name, scopes, expires = await self._wanted(
            message, asked.account, asked.name, asked.scopes, asked.expires_in
        )
        await self.event(
            "key.created", account=account.id, details={"name": name, "by": message.principal or "operator"}
        )
        key, secret = await self.keys.create(account.tenant, account.id, name, scopes, expires)
        return identity.CreateKeyReply(key.info(), secret)

    @serve(identity.KEY_BIND)
    async def key_bind(self, message: Message[identity.BindCertificateRequest]) -> identity.KeyReply:
        """A client certificate as a credential; it ends when the certificate does."""
        asked = message.data
        account, name, scopes, expires = await self._wanted(
            message, asked.account, asked.name, asked.scopes, asked.expires_in
        )
        if bool(asked.certificate) == bool(asked.fingerprint):
            raise CertificateInvalid("expected either a certificate or its fingerprint", address="certificate")
        fingerprint = asked.fingerprint
        if asked.certificate:
            fingerprint, ends = _of_certificate(asked.certificate)
            if ends <= self.time():
                raise CertificateInvalid("expected a certificate that has not expired", address="certificate")
            expires = min(expires, ends) if expires else ends
        await self.event("key.bound", account=account.id, details={"name": name, "by": message.principal or "operator"})
        key = await self.keys.bind(account.tenant, account.id, name, fingerprint, scopes, expires)
        return identity.KeyReply(key.info())

    async def _wanted(
        self, message: Message[Any], account: str, name: str, scopes: list[str], expires_in: int
    ) -> tuple[Account, str, list[str], float]:
        """For whom, called what, with which scopes, until when."""
        if not account:
            raise KeyInvalid("expected an account", address="account")
        holder = await self.meant(message, account, WRITE)
        shown = clean_name(name)
        if not shown or len(name.strip()) > NAME:
            raise KeyInvalid(f"expected a name of 1 to {NAME} characters", address="name")
        if not 0 <= expires_in <= _LONGEST:
            raise KeyInvalid(f"expected 0 to {_LONGEST} seconds, got {expires_in}", address="expires_in")
        wanted = checked(scopes)
        held = (await self.rights.of(holder)).scopes
        if wanted and set(narrowed(held, wanted)) != set(wanted):
            raise ScopeNotHeld(
                "expected scopes that the account holds, got one that it does not",
                hint="a key's scopes only narrow its account's",
                address="scopes",
            )
        return holder, shown, wanted, self.time() + expires_in if expires_in else 0.0

    @serve(identity.KEY_LIST)
    async def key_list(self, message: Message[identity.KeysRequest]) -> identity.KeysReply:
        """The keys of an account, or, for administrators, of the tenant, or one; without their secrets."""
        asked = message.data
        if asked.key:
            return identity.KeysReply([(await self._key_of(message, asked.key, READ)).info()])
        if not asked.account and await self.holds(message, READ):
            return identity.KeysReply([key.info() for key in await self.keys.page(message.tenant)])
        account = await self.meant(message, asked.account, READ)
        return identity.KeysReply([key.info() for key in await self.keys.page(account.tenant, account.id)])

    @serve(identity.KEY_REVOKE)
    async def key_revoke(self, message: Message[identity.KeysRequest]) -> identity.KeysReply:
        """End one key, or all of an account: durable, and everybody was told, when this answers."""
        asked = message.data
        if asked.key:
            keys = [await self._key_of(message, asked.key, WRITE)]
        elif asked.account:
            account = await self.meant(message, asked.account, WRITE)
            keys = [key for key in await self.keys.page(account.tenant, account.id) if not key.revoked]
        else:
            raise KeyInvalid("expected a key or an account", address="key")
        ended = [await self.keys.revoke(key.tenant, key.id) for key in keys]
        for key in ended:
            await self.event(
                "key.revoked", account=key.account, details={"key": key.id, "by": message.principal or "operator"}
            )
        return identity.KeysReply([key.info() for key in ended])

    async def _key_of(self, message: Message[identity.KeysRequest], id: str, scope: str) -> ApiKey:
        """A key that the caller may look at, or handle. Raises KeyUnknown, KeyForbidden."""
        key = await self.keys.get(message.tenant, id)
        own = await self.accounts.by_principal(message.tenant, message.principal)
        if not (own is not None and own.id == key.account) and not await self.holds(message, scope):
            raise KeyForbidden(f"expected a key of one's own, or a caller with the scope {scope}", address="key")
        return key


def _of_certificate(pem: str) -> tuple[str, float]:
    """The fingerprint of a certificate, and when it ends. Raises CertificateInvalid."""
    try:
        found = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise CertificateInvalid("expected one certificate in PEM", address="certificate") from None
    return found.fingerprint(SHA256()).hex(), found.not_valid_after_utc.timestamp()
