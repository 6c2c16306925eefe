"""What SCIM changes: resources become requests to the plugin's services, so that every change is on record like any other.

A change is computed from the resource as it was read and made only to that version. Changes of one resource wait for each
other here; who comes second to one that was made elsewhere (by a page, by the API) reads again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from weakref import WeakValueDictionary

from msgspec import Struct
from rustcare_sdk.contracts import identity as c
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_identity.accounts import Account, Accounts, Groups
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
        return await self._change(asking, kind, id, lambda before: resource, False)

    async def patch(self, asking: Asking, kind: Kind, id: str, sent: Any) -> Shown:
        """A resource after some operations. Raises what `apply_patch` does, ResourceNotFound, PreconditionFailed."""
        return await self._change(asking, kind, id, lambda before: apply_patch(kind, before, sent), True)

    async def delete(self, asking: Asking, kind: Kind, id: str) -> None:
        """Take a resource away. Raises ResourceNotFound, PreconditionFailed."""
        check_match(asking, await self.need(asking, kind, id))
        guard = Guard(self._accounts, asking.tenant, asking.scopes)
        if kind is USERS:
            await guard.change(await self._accounts.get(asking.tenant, id))
            await self._request(c.ACCOUNT_DELETE, c.AccountRequest(id), c.AccountReply)
        else:
            guard.change_group(await self._groups.get(asking.tenant, id))
            await self._request(c.GROUP_PUT, c.GroupRequest(id, delete=True), c.GroupsReply)

    async def _request(self, service: str, data: Any, type: type[Any]) -> Any:
        try:
            return await self._ask(service, data, type=type)
        except RustCareError as error:
            raise translated(error) from None

    async def _change(
        self, asking: Asking, kind: Kind, id: str, change: Callable[[Resource], Resource], patched: bool
    ) -> Shown:
        update = self._update_user if kind is USERS else self._update_group
        turn = self._turns.setdefault(id, asyncio.Lock())
        async with turn:
            for attempt in range(_ATTEMPTS):
                before = await self.need(asking, kind, id)
                check_match(asking, before)
                after = change(before.resource)
                try:
                    await update(asking, before, after, patched)
                    break
                except PreconditionFailed:
                    if attempt == _ATTEMPTS - 1:
                        raise
            return await self.need(asking, kind, id)

    # users

    async def _create_user(self, asking: Asking, resource: Resource) -> str:
        fields = user_fields(resource)
        await self._check_manager(asking, resource)
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

    async def _update_user(self, asking: Asking, before: Shown, after: Resource, patched: bool) -> None:
        account = await self._accounts.get(asking.tenant, before.id)
        if account is None or account.version != before.version:
            raise PreconditionFailed("expected the version that was read, got another", address="version")
        await Guard(self._accounts, asking.tenant, asking.scopes).change(account)
        fields = user_fields(after, account if patched else None)
        await self._check_manager(asking, after)
        version = account.version
        disabled = account.state == "disabled"
        if fields.active is False and not disabled:
            # First: whatever else fails, who is to be out is out.
            version = await self._disable(account.id, True)
        asked = _update(account, fields, version)
        if asked is not None:
            await self._request(c.ACCOUNT_UPDATE, asked, c.AccountReply)
        if fields.active is True and disabled:
            await self._disable(account.id, False)

    async def _disable(self, id: str, disabled: bool) -> int:
        asked = c.DisableRequest(id, disabled, _REASON)
        return int((await self._request(c.ACCOUNT_DISABLE, asked, c.AccountReply)).account.version)

    async def _check_manager(self, asking: Asking, resource: Resource) -> None:
        for extension in USERS.extensions:
            manager = resource.get(extension.id, {}).get("manager")
            if manager is None:
                continue
            if not manager.get("value") and manager.get("$ref"):
                manager["value"] = _last(manager["$ref"])
            if not await self._directory.known_users(asking.tenant, [manager.get("value") or ""]):
                raise InvalidValue("expected a manager who is a user, got another id", address="manager.value")

    # groups

    async def _create_group(self, asking: Asking, resource: Resource) -> str:
        members = await self._members(asking, resource)
        asked = c.GroupRequest(
            name=resource["displayName"], members=members, roles=[], external_id=resource.get("externalId", "")
        )
        reply = await self._request(c.GROUP_PUT, asked, c.GroupsReply)
        return str(reply.groups[0].id)

    async def _update_group(self, asking: Asking, before: Shown, after: Resource, patched: bool) -> None:
        group = await self._groups.get(asking.tenant, before.id)
        if group is None or group.version != before.version:
            raise PreconditionFailed("expected the version that was read, got another", address="version")
        Guard(self._accounts, asking.tenant, asking.scopes).change_group(group)
        members = await self._members(asking, after)
        name, external_id = after["displayName"], after.get("externalId", "")
        have, wanted = set(group.members), set(members)
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

    async def _members(self, asking: Asking, resource: Resource) -> list[str]:
        """The ids of a group's members. Raises InvalidValue when one is no user of the tenant."""
        ids = []
        for member in resource.get("members", []):
            if str(member.get("type", "User")).lower() != "user":
                raise InvalidValue("expected members of type User", address="members.type")
            ids.append(member.get("value") or _last(member.get("$ref", "")))
        known = await self._directory.known_users(asking.tenant, ids)
        if not known.issuperset(ids):
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
