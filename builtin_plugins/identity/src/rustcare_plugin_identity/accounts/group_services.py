"""Groups as administrators look after them. Who loses rights with a group loses what was opened under them, at once.

A group gives rights: who joined and who left is told by their ids, so that it is on record who has got them from whom.
"""

from __future__ import annotations

from collections.abc import Sequence

from rustcare_sdk import Message, serve
from rustcare_sdk.context import Queries
from rustcare_sdk.contracts import identity

from rustcare_plugin_identity.errors import GroupUnknown, InvalidGroup

from .administrators import Administrators
from .groups import GroupChange
from .infos import group_info
from .names import folded

__all__ = ["GroupServices"]

#: Accounts that one event tells of.
_TOLD = 100


class GroupServices(Administrators):
    """Make, change and list groups."""

    @serve(identity.GROUP_LIST)
    async def serve_group_list(self, message: Message[identity.GroupRequest]) -> identity.GroupsReply:
        """One group (`id`, or `name`), or those of the tenant, all or a page. Raises GroupUnknown."""
        asked, tenant = message.data, message.tenant
        if asked.id or asked.name:
            one = await (self.groups.get(tenant, asked.id) if asked.id else self.groups.find(tenant, str(asked.name)))
            if one is None:
                raise GroupUnknown("expected a group of this tenant, got one that there is not", address="group")
            return identity.GroupsReply([group_info(one)])
        found, left = await self.groups.page(
            tenant, limit=max(asked.limit, 0), where="name_key > ?", params=(folded(asked.after),)
        )
        return identity.GroupsReply(
            [group_info(group) for group in found], found[-1].name if found and left > len(found) else ""
        )

    @serve(identity.GROUP_PUT)
    async def serve_group_put(self, message: Message[identity.GroupRequest]) -> identity.GroupsReply:
        """Make, change or delete a group.

        Raises:
            GroupUnknown, GroupExists, InvalidGroup, VersionConflict, RoleUnknown, AccountUnknown, LastAdministrator.
        """
        asked, tenant = message.data, message.tenant
        self.tenants.need(tenant)
        if not asked.id:
            if asked.delete or asked.name is None:
                raise InvalidGroup("expected a new group's name, or a group's id, got neither", address="name")
            made = await self.groups.create(
                tenant,
                name=asked.name,
                roles=asked.roles or (),
                members=[*(asked.members or ()), *asked.add],
                external_id=asked.external_id or "",
            )
            await self.event("group.created", details={"group": made.id, "roles": " ".join(made.roles)})
            await self._groups_tell("group.joined", made.id, made.members)
            return identity.GroupsReply([group_info(made)])
        administered = await self.administered(message)
        told: list[identity.Revocation] = []

        async def check(tx: Queries, change: GroupChange) -> None:
            if administered:
                await self.keep_administered(tx, "group")
            told.extend(await self._groups_end_lost(tx, tenant, change))

        if asked.delete:
            change = await self.groups.delete(tenant, asked.id, version=asked.version, check=check)
        else:
            given = {"name": asked.name, "roles": asked.roles, "external_id": asked.external_id}
            change = await self.groups.update(
                tenant,
                asked.id,
                {name: value for name, value in given.items() if value is not None},
                members=asked.members,
                add=asked.add,
                remove=asked.remove,
                version=asked.version,
                check=check,
            )
        await self.tell(told)
        action = "group.deleted" if asked.delete else "group.updated"
        details = {"group": asked.id, "accounts": str(len(change.touched))}
        if asked.roles is not None:
            details["roles"] = " ".join(change.group.roles)
        await self.event(action, details=details)
        await self._groups_tell("group.joined", asked.id, change.joined)
        await self._groups_tell("group.left", asked.id, change.left)
        return identity.GroupsReply([group_info(change.group)])

    async def _groups_tell(self, action: str, group: str, accounts: Sequence[str]) -> None:
        for start in range(0, len(accounts), _TOLD):
            some = accounts[start : start + _TOLD]
            one = some[0] if len(some) == 1 else ""
            await self.event(action, account=one, details={"group": group, "accounts": " ".join(some)})

    async def _groups_end_lost(self, tx: Queries, tenant: str, change: GroupChange) -> list[identity.Revocation]:
        """End what was opened under scopes that the group has given and nothing gives now; what is to be told."""
        told: list[identity.Revocation] = []
        if not self.accounts.scopes_of(tenant, change.roles):
            return told
        # Who has come in has lost nothing.
        ids = sorted(set(change.touched) - set(change.joined))
        own = await self.accounts.own_roles_of_all(tenant, ids, tx)
        groups = await self.groups.of_all(tenant, ids, tx)
        for id, roles in own.items():
            held = {*roles, *(role for _, given in groups[id] for role in given)}
            before = self.accounts.scopes_of(tenant, sorted({*held, *change.roles}))
            if not set(before) <= set(self.accounts.scopes_of(tenant, sorted(held))):
                _, ended = await self.sessions.end(tx, tenant=tenant, account=id, reason="rights taken away")
                told += ended
        return told
