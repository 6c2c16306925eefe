"""What SCIM changes: resources become requests to the plugin's services, so that every change is on record like any other.

A change is computed from the resource as it was read and made only to that version. Changes of one resource wait for each
other here; who comes second to one that was made elsewhere (by a page, by the API) reads again.

Who is to be out is out: `active: false` is done first, and stays when the rest of its request fails after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol
from weakref import WeakValueDictionary

from msgspec import Struct
from rustcare_sdk.contracts import identity as c
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_identity.accounts import Account, Accounts, Group, Groups
from rustcare_plugin_identity.errors import AccountUnknown
from rustcare_plugin_identity.guard import Guard

from .directory import Directory
from .errors import InvalidValue, PreconditionFailed, ResourceNotFound, translated
from .mapping import Shown, UserFields, user_fields, version_of
from .patch import apply_patch
from .schemas import USERS, Kind
from .values import Resource, check_whole, read_resource

__all__ = ["Ask", "Asking", "Provisioning"]

_ATTEMPTS = 8
_REASON = "provisioning"


class Ask(Protocol):
    """Requests a service on the bus, for the message that is being handled."""

    async def __call__(self, service: str, data: Any, *, type: type[Any]) -> Any: ...


class Asking(Struct, frozen=True):
    """For whom: the tenant, the scopes of the caller, and the URL that the endpoints are below.

    `match`: the ETags of `If-Match`, empty for any version.
    """

    tenant: str
    base: str
    scopes: tuple[str, ...] = ()
    match: tuple[str, ...] = ()


class Provisioning:
    """Creates, replaces, patches and deletes users and groups."""

    def __init__(self, ask: Ask, directory: Directory, accounts: Accounts, groups: Groups) -> None:
        self._ask = ask
        self._directory = directory
        self._accounts = accounts
        self._groups = groups
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def need(self, asking: Asking, kind: Kind, id: str) -> Shown:
        """A resource. Raises ResourceNotFound."""
        found = await self._directory.get(asking.tenant, kind, id, asking.base)
        if found is None:
            raise ResourceNotFound(f"expected the id of a {kind.name}, got one that none has", address=kind.endpoint)
        return found

    async def create(self, asking: Asking, kind: Kind, sent: Any) -> Shown:
        """A new resource. Raises AlreadyTaken, InvalidSyntax, InvalidValue."""
        resource = read_resource(kind, sent)
        check_whole(kind, resource)
        id = await (self._create_user if kind is USERS else self._create_group)(asking, resource)
        return await self.need(asking, kind, id)

    async def replace(self, asking: Asking, kind: Kind, id: str, sent: Any) -> Shown:
        """A resource as a whole. Raises what `create` does, ResourceNotFound, PreconditionFailed."""
        resource = read_resource(kind, sent)
        check_whole(kind, resource)
        return await self._changed(asking, kind, id, lambda before: resource, False)

    async def patch(self, asking: Asking, kind: Kind, id: str, sent: Any) -> Shown:
        """A resource after some operations. Raises what `apply_patch` does, ResourceNotFound, PreconditionFailed."""
        return await self._changed(asking, kind, id, lambda before: apply_patch(kind, before, sent), True)

    async def delete(self, asking: Asking, kind: Kind, id: str) -> None:
        """Take a resource away. Raises ResourceNotFound, PreconditionFailed."""

        async def gone(before: Shown) -> None:
            if kind is USERS:
                await self._own_account(asking, before)
                asked = c.AccountRequest(id, before.version)
                await self._request(c.ACCOUNT_DELETE, asked, c.AccountReply)
            else:
                await self._own_group(asking, before)
                deleted = c.GroupRequest(id, delete=True, version=before.version)
                await self._request(c.GROUP_PUT, deleted, c.GroupsReply)

        await self._act(asking, kind, id, gone)

    async def _request(self, service: str, data: Any, type: type[Any]) -> Any:
        try:
            return await self._ask(service, data, type=type)
        except RustCareError as error:
            if service == c.GROUP_PUT and error.code == AccountUnknown.code:
                # A member was deleted a moment ago; the group is there.
                raise InvalidValue("expected members that are users, got one that is gone", address="members") from None
            raise translated(error) from None

    async def _changed(
        self, asking: Asking, kind: Kind, id: str, change: Callable[[Resource], Resource], patched: bool
    ) -> Shown:
        update = self._update_user if kind is USERS else self._update_group
        await self._act(asking, kind, id, lambda before: update(asking, before, change(before.resource), patched))
        return await self.need(asking, kind, id)

    async def _act(self, asking: Asking, kind: Kind, id: str, act: Callable[[Shown], Awaitable[None]]) -> None:
        """Do something to a resource in the version that was read; read again when it has become another meanwhile."""
        async with self._turns.setdefault(id, asyncio.Lock()):
            for attempt in range(_ATTEMPTS):
                before = await self.need(asking, kind, id)
                check_match(asking, before)
                try:
                    return await act(before)
                except PreconditionFailed:
                    if attempt == _ATTEMPTS - 1:
                        raise

    # users

    async def _create_user(self, asking: Asking, resource: Resource) -> str:
        fields = user_fields(resource)
        await self._check_manager(asking, {}, resource)
        disabled = fields.active is False
        asked = c.CreateAccountRequest(
            fields.name,
            fields.email,
            fields.display_name,
            fields.password or "",
            external_id=fields.external_id,
            attributes=fields.attributes,
            disabled=disabled,
        )
        reply = await self._request(c.ACCOUNT_CREATE, asked, c.CreateAccountReply)
        return str(reply.account.id)

    async def _own_account(self, asking: Asking, read: Shown) -> Account:
        """The account of a user, which the caller may change. Raises PreconditionFailed when it is not as it was read."""
        account = await self._accounts.get(asking.tenant, read.id)
        if account is None or account.version != read.version:
            raise PreconditionFailed("expected the version that was read, got another", address="version")
        await Guard(self._accounts, asking.tenant, asking.scopes).change(account)
        return account

    async def _update_user(self, asking: Asking, before: Shown, after: Resource, patched: bool) -> None:
        account = await self._own_account(asking, before)
        fields = user_fields(after, account if patched else None)
        await self._check_manager(asking, before.resource, after)
        version = account.version
        disabled = account.state == "disabled"
        if fields.active is False and not disabled:
            version = await self._disable(account.id, True, version)
        asked = _update(account, fields, version)
        if asked is not None:
            version = (await self._request(c.ACCOUNT_UPDATE, asked, c.AccountReply)).account.version
        if fields.active is True and disabled:
            await self._disable(account.id, False, version)

    async def _disable(self, id: str, disabled: bool, version: int) -> int:
        asked = c.DisableRequest(id, disabled, _REASON, version)
        return int((await self._request(c.ACCOUNT_DISABLE, asked, c.AccountReply)).account.version)

    async def _check_manager(self, asking: Asking, before: Resource, after: Resource) -> None:
        """Raise InvalidValue when a manager who was not the user's before is no user.

        One who was may be gone by now: that is no reason to refuse what else is to change, least of all `active`.
        """
        for extension in USERS.extensions:
            manager = after.get(extension.id, {}).get("manager")
            if manager is None:
                continue
            if not manager.get("value") and manager.get("$ref"):
                manager["value"] = _last(manager["$ref"])
            wanted = manager.get("value") or ""
            if wanted == before.get(extension.id, {}).get("manager", {}).get("value", ""):
                continue
            if not await self._directory.known_users(asking.tenant, [wanted]):
                raise InvalidValue("expected a manager who is a user, got another id", address="manager.value")

    # groups

    async def _create_group(self, asking: Asking, resource: Resource) -> str:
        members = await self._members(asking, resource, set())
        asked = c.GroupRequest(
            name=resource["displayName"], members=members, roles=[], external_id=resource.get("externalId", "")
        )
        reply = await self._request(c.GROUP_PUT, asked, c.GroupsReply)
        return str(reply.groups[0].id)

    async def _own_group(self, asking: Asking, read: Shown) -> Group:
        """The group (without its members), which the caller may change. Raises PreconditionFailed as `_own_account`."""
        group = await self._groups.get(asking.tenant, read.id, with_members=False)
        if group is None or group.version != read.version:
            raise PreconditionFailed("expected the version that was read, got another", address="version")
        Guard(self._accounts, asking.tenant, asking.scopes).change_group(group)
        return group

    async def _update_group(self, asking: Asking, before: Shown, after: Resource, patched: bool) -> None:
        group = await self._own_group(asking, before)
        # Service accounts may be members too: they are not shown, and stay whatever a client says.
        have = {member["value"] for member in before.resource.get("members", ())}
        wanted = set(await self._members(asking, after, have))
        name, external_id = after["displayName"], after.get("externalId", "")
        asked = c.GroupRequest(
            group.id,
            name=name if name != group.name else None,
            external_id=external_id if external_id != group.external_id else None,
            add=sorted(wanted - have),
            remove=sorted(have - wanted),
            version=group.version,
        )
        if asked.name is not None or asked.external_id is not None or asked.add or asked.remove:
            await self._request(c.GROUP_PUT, asked, c.GroupsReply)

    async def _members(self, asking: Asking, resource: Resource, have: set[str]) -> list[str]:
        """The ids of a group's members. Raises InvalidValue when one that it does not have is no user of the tenant."""
        ids = []
        for member in resource.get("members", []):
            if str(member.get("type", "User")).lower() != "user":
                raise InvalidValue("expected members of type User", address="members.type")
            ids.append(member.get("value") or _last(member.get("$ref", "")))
        fresh = [id for id in dict.fromkeys(ids) if id not in have]
        if len(await self._directory.known_users(asking.tenant, fresh)) < len(fresh):
            raise InvalidValue("expected members that are users, got an id that none has", address="members.value")
        return list(dict.fromkeys(ids))


def _update(account: Account, fields: UserFields, version: int) -> c.UpdateAccountRequest | None:
    """The request that makes an account what the fields say; None when it is that already."""
    kept = {name: value for name, value in account.attributes.items() if name != "scim"}
    attributes = {**kept, **fields.attributes}
    asked = c.UpdateAccountRequest(
        account.id,
        name=fields.name if fields.name != account.name else None,
        email=fields.email if fields.email != account.email else None,
        display_name=fields.display_name if fields.display_name != account.display_name else None,
        external_id=fields.external_id if fields.external_id != account.external_id else None,
        attributes=attributes if attributes != account.attributes else None,
        password=fields.password,
        version=version,
    )
    said: Iterable[Any] = (
        asked.name, asked.email, asked.display_name, asked.external_id, asked.attributes, asked.password,
    )  # fmt: skip
    return asked if any(value is not None for value in said) else None


def _last(reference: str) -> str:
    return reference.rstrip("/").rpartition("/")[2]


def check_match(asking: Asking, shown: Shown) -> None:
    """Raise PreconditionFailed unless the resource is in a version that the client wants (RFC 7644, section 3.14)."""
    if not asking.match or "*" in asking.match:
        return
    have = version_of(shown.resource["meta"]["version"])
    if have not in (version_of(tag) for tag in asking.match):
        raise PreconditionFailed(
            "expected the version of If-Match, got another", hint="read it again and decide anew", address="If-Match"
        )
