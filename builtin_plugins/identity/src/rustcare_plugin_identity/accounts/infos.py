"""Accounts and groups as they are told: with what they hold through groups, and which credentials they have."""

from __future__ import annotations

from collections.abc import Sequence

from rustcare_sdk.contracts import identity

from rustcare_plugin_identity.base import Services

from .accounts import Account
from .groups import Group

__all__ = ["AccountInfos", "group_info"]


class AccountInfos(Services):
    """Makes the records that services answer with."""

    async def info(self, account: Account) -> identity.AccountInfo:
        """An account as it is now."""
        return (await self.infos([account]))[0]

    async def infos(self, accounts: Sequence[Account]) -> list[identity.AccountInfo]:
        """Accounts of one tenant as they are now: as many queries for a thousand as for a few."""
        ids = [account.id for account in accounts]
        if not ids:
            return []
        groups = await self.groups.of_all(accounts[0].tenant, ids)
        factors = await self.factors.kinds_of_all(ids)
        return [self._infos_one(account, groups[account.id], factors[account.id]) for account in accounts]

    def _infos_one(
        self, account: Account, groups: Sequence[tuple[str, Sequence[str]]], factors: Sequence[str]
    ) -> identity.AccountInfo:
        roles = sorted({*account.roles, *(role for _, held in groups for role in held)})
        locked = account.locked_until > self.time() and account.state == "active"
        return identity.AccountInfo(
            id=account.id,
            principal=account.principal,
            tenant=account.tenant,
            kind="service" if account.kind == "service" else "user",
            name=account.name,
            email=account.email,
            display_name=account.display_name,
            state="locked" if locked else account.state,  # type: ignore[arg-type]  # one of three in the table
            email_verified=account.email_verified,
            roles=roles,
            scopes=self.accounts.scopes_of(account.tenant, roles),
            groups=[id for id, _ in groups],
            factors=[*(["password"] if account.password else []), *factors],
            created=account.created,
            last_login=account.last_login,
            locked_until=account.locked_until if locked else 0.0,
            version=account.version,
            own_roles=list(account.roles),
            external_id=account.external_id,
            attributes=account.attributes,
            updated=account.updated,
        )


def group_info(group: Group) -> identity.GroupInfo:
    """A group as it is now."""
    return identity.GroupInfo(
        id=group.id,
        tenant=group.tenant,
        name=group.name,
        roles=list(group.roles),
        members=list(group.members),
        version=group.version,
        external_id=group.external_id,
        created=group.created,
        updated=group.updated,
    )
