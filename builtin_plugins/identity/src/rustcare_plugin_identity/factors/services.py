"""Services by which people look after their own factors. Each is put on record; adding and removing is told.

That whoever asks has proved who they are a moment ago is for the routes to demand (`fresh`).
"""

from __future__ import annotations

from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import identity

from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.credentials import READ, Credentials
from rustcare_plugin_identity.login.gate import Gate
from rustcare_plugin_identity.mail import templates as texts

from .factors import Factors
from .keyring import KeyedHash, KeyringSealer
from .relying_party import FactorRules

__all__ = ["FactorServices"]


class FactorServices(Gate, Credentials):
    """List, add, rename and remove factors; recovery codes."""

    factors: Factors

    async def start_factors(self) -> None:
        """Build the factors."""
        mac = KeyedHash(self.ctx.secrets)
        await mac.open()
        self.factors = Factors(
            self.ctx.db,
            self.time,
            self.ctx.random,
            mac=mac,
            sealer=KeyringSealer(self.ctx.request),
            rules=self.factor_rules,
        )

    async def factor_rules(self, tenant: str) -> FactorRules:
        """What a tenant says of factors."""
        settings, known = self.settings(tenant), self.tenants.get(tenant)
        said = settings.passkeys
        name = said.name or (known.name if known is not None else "") or "RustCare"
        return FactorRules(name, said.rp_id, said.origins, said.aal3, settings.mfa == "required")

    @serve(identity.MFA_LIST)
    async def mfa_list(self, message: Message[identity.FactorsRequest]) -> identity.FactorsReply:
        """What factors the caller's account has, or, for administrators, another."""
        account = await self.meant(message, message.data.account, READ)
        return await self._listed(account.id)

    @serve(identity.MFA_TOTP_BEGIN)
    async def mfa_totp_begin(self, message: Message[identity.TotpBeginRequest]) -> identity.TotpBeginReply:
        """Enrol an authenticator app."""
        account, asked = await self.own_account(message), message.data
        if asked.enrolment:
            return await self.factors.pending_totp(account, asked.enrolment)
        return await self.factors.begin_totp(account, asked.name)

    @serve(identity.MFA_TOTP_CONFIRM)
    async def mfa_totp_confirm(self, message: Message[identity.TotpConfirmRequest]) -> identity.FactorReply:
        """Take an authenticator app into use."""
        account, asked = await self.own_account(message), message.data
        made = await self.factors.confirm_totp(account, asked.enrolment, asked.code, spend=asked.spend)
        await self._factor_told(account, "added", "totp")
        return identity.FactorReply(made)

    @serve(identity.MFA_PASSKEY_BEGIN)
    async def mfa_passkey_begin(self, message: Message[identity.PasskeyBeginRequest]) -> identity.PasskeyBeginReply:
        """Options for a new passkey."""
        account = await self.own_account(message)
        return identity.PasskeyBeginReply(await self.factors.begin_passkey(account, message.data.origin))

    @serve(identity.MFA_PASSKEY_FINISH)
    async def mfa_passkey_finish(self, message: Message[identity.PasskeyFinishRequest]) -> identity.FactorReply:
        """Take a new passkey into use."""
        account, asked = await self.own_account(message), message.data
        made = await self.factors.finish_passkey(account, asked.origin, asked.answer, asked.name)
        await self._factor_told(account, "added", "passkey")
        return identity.FactorReply(made)

    @serve(identity.MFA_RECOVERY_GENERATE)
    async def mfa_recovery_generate(self, message: Message[identity.RecoveryRequest]) -> identity.RecoveryReply:
        """New recovery codes."""
        account = await self.own_account(message)
        codes = await self.factors.recovery.generate(account.id)
        await self.event("mfa.recovery-generated", account=account.id)
        await self._factor_mailed(account, "new recovery codes were made for")
        return identity.RecoveryReply(codes)

    @serve(identity.MFA_RENAME)
    async def mfa_rename(self, message: Message[identity.RenameFactorRequest]) -> identity.FactorReply:
        """Another name for a factor."""
        account = await self.own_account(message)
        return identity.FactorReply(await self.factors.rename(account.id, message.data.factor, message.data.name))

    @serve(identity.MFA_REMOVE)
    async def mfa_remove(self, message: Message[identity.RemoveFactorRequest]) -> identity.FactorsReply:
        """Take a factor away."""
        account = await self.own_account(message)
        kind = await self.factors.remove(account, message.data.factor)
        await self._factor_told(account, "removed", kind)
        return await self._listed(account.id)

    async def _factor_told(self, account: Account, what: str, kind: str) -> None:
        await self.event(f"mfa.{what}", account=account.id, details={"kind": kind})
        way = "a passkey" if kind == "passkey" else "an authenticator app"
        await self._factor_mailed(account, f"{way} was {'added to' if what == 'added' else 'removed from'}")

    async def _factor_mailed(self, account: Account, what: str) -> None:
        """Write to the account's owner, so that who did not do it learns of it."""
        name = account.display_name or account.name
        await self.notify(account, texts.factors_changed(self.house(account.tenant), name, what, self.shown_time()))
        self.mails.wake()

    async def _listed(self, account: str) -> identity.FactorsReply:
        return identity.FactorsReply(await self.factors.infos(account), await self.factors.recovery.left(account))
