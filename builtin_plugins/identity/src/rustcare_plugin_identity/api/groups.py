"""Groups, whose members hold their roles, and the roles that there are."""

from __future__ import annotations

from rustcare_sdk import Message
from rustcare_sdk.contracts import identity as c
from rustcare_sdk.contracts.http import HttpRequest

from rustcare_plugin_identity import accounts
from rustcare_plugin_identity.accounts.infos import group_info
from rustcare_plugin_identity.accounts.roles import BUILT_IN
from rustcare_plugin_identity.errors import GroupUnknown

from .base import GROUP, ApiBase, changes, checked, number, reads, words
from .types import GroupChanges, NewGroup, RoleInfo, Roles

__all__ = ["GroupRoutes"]

Request = Message[HttpRequest[None]]
_ONE = "/groups/{group}"


class GroupRoutes(ApiBase):
    """`/identity/v1/groups` and `/identity/v1/roles`."""

    @reads("/groups", "List groups", GROUP, query=("limit", "after"))
    async def api_groups(self, message: Request) -> c.GroupsReply:
        """A page of groups, by name."""
        limit = number(self.api_argument(message, "limit") or 100, "limit", 1, 1000)
        asked = c.GroupRequest(limit=limit, after=self.api_argument(message, "after"))
        reply: c.GroupsReply = await self.ctx.request(c.GROUP_LIST, asked, type=c.GroupsReply)
        return reply

    @changes("POST", "/groups", "Create a group", GROUP, status=201)
    async def api_group_create(self, message: Message[HttpRequest[NewGroup]]) -> c.GroupInfo:
        """A new group."""
        sent = message.data.content
        self.api_guard(message).give(words(sent.roles, "roles") or [])
        return await self._api_put_group(
            c.GroupRequest(
                name=checked(sent.name, "name"),
                roles=sent.roles,
                members=words(sent.members, "members"),
                external_id=checked(sent.external_id, "external_id"),
            )
        )

    @reads(_ONE, "Read a group", GROUP)
    async def api_group(self, message: Request) -> c.GroupInfo:
        """One group."""
        return group_info(await self._api_group(message))

    @changes("PATCH", _ONE, "Change a group", GROUP)
    async def api_group_change(self, message: Message[HttpRequest[GroupChanges]]) -> c.GroupInfo:
        """What is not null is changed."""
        group = await self._api_group(message, write=True)
        sent = message.data.content
        self.api_guard(message).give(words(sent.roles, "roles") or [])
        return await self._api_put_group(
            c.GroupRequest(
                group.id,
                checked(sent.name, "name"),
                sent.roles,
                words(sent.members, "members"),
                version=number(sent.version, "version"),
                external_id=checked(sent.external_id, "external_id"),
                add=words(sent.add, "add") or [],
                remove=words(sent.remove, "remove") or [],
            )
        )

    @changes("DELETE", _ONE, "Delete a group", GROUP)
    async def api_group_delete(self, message: Request) -> c.GroupInfo:
        """The group as it was; its members lose its roles at once."""
        group = await self._api_group(message, write=True)
        await self.ctx.request(c.GROUP_PUT, c.GroupRequest(group.id, delete=True), type=c.GroupsReply)
        return group_info(group)

    @changes("PUT", f"{_ONE}/members/{{account}}", "Add a member to a group", GROUP)
    async def api_group_join(self, message: Request) -> c.GroupInfo:
        """The account holds the group's roles from now on."""
        group = await self._api_group(message, write=True)
        return await self._api_put_group(c.GroupRequest(group.id, add=[(await self.api_account(message)).id]))

    @changes("DELETE", f"{_ONE}/members/{{account}}", "Take a member out of a group", GROUP)
    async def api_group_leave(self, message: Request) -> c.GroupInfo:
        """The account loses the group's roles at once."""
        group = await self._api_group(message, write=True)
        return await self._api_put_group(c.GroupRequest(group.id, remove=[(await self.api_account(message)).id]))

    @reads("/roles", "The roles that there are")
    async def api_roles(self, message: Request) -> Roles:
        """The built-in ones and the tenant's own, by name."""
        found = [RoleInfo(name, list(scopes)) for name, scopes in BUILT_IN.items()]
        found += [RoleInfo(name, list(scopes), False) for name, scopes in self.tenants.roles(message.tenant).items()]
        return Roles(sorted(found, key=lambda role: role.name))

    async def _api_group(
        self, message: Request | Message[HttpRequest[GroupChanges]], *, write: bool = False
    ) -> accounts.Group:
        found = await self.groups.get(message.tenant, self.api_part(message, "group"))
        if found is None:
            raise GroupUnknown("expected a group of this tenant, got an id that none has", address="group")
        if write:
            self.api_guard(message).change_group(found)
        return found

    async def _api_put_group(self, asked: c.GroupRequest) -> c.GroupInfo:
        reply: c.GroupsReply = await self.ctx.request(c.GROUP_PUT, asked, type=c.GroupsReply)
        return reply.groups[0]
