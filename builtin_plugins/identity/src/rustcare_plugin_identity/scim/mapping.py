"""Accounts and groups as SCIM resources, and back.

What an account has of its own (name, e-mail address, shown name, whether it is disabled, external id) is the account's; all
else that a client says of a user is kept in the account's `attributes`, under `scim`, as it is shown.
"""

from __future__ import annotations

import copy
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from rustcare_plugin_identity.accounts import Account, Group
from rustcare_plugin_identity.accounts.names import folded

from .schemas import GROUPS, USERS, Attribute, Kind
from .values import Resource

__all__ = [
    "Membership",
    "Shown",
    "UserFields",
    "etag",
    "group_resource",
    "show_groups",
    "show_members",
    "user_fields",
    "user_resource",
    "version_of",
]

_KEY = "scim"
#: The state in which a client took `active` away: as long as the account is in it, `active` is not shown.
_UNASSIGNED = "activeUnassigned"
#: Addresses that are not ASCII as filters compare them, so that the database finds them too; never shown.
_FOLDED = "emailsFolded"


#: What is not kept under that key, since it is the account's own, or is made anew for every answer.
_OWN = frozenset(("schemas", "id", "meta", "groups", "userName", "displayName", "externalId", "active", "password"))
_KEPT = {item.name: item for item in USERS.attributes if item.name not in _OWN}


class Membership(Struct, frozen=True):
    """A group that an account is a member of."""

    account: str
    group: str
    name: str


class Shown(Struct, frozen=True):
    """A resource in full, the version of what it was made of, and its kind."""

    kind: Kind
    id: str
    resource: Resource
    version: int

    def __repr__(self) -> str:
        return f"<Shown {self.kind.name} {self.id}, version {self.version}>"


class UserFields(Struct, frozen=True):
    """What an account becomes by a user resource. `active` None: as it is; `password` None: none was said."""

    name: str
    email: str
    display_name: str
    external_id: str
    attributes: dict[str, Any]
    active: bool | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return "<UserFields>"


def user_resource(account: Account, groups: Sequence[Membership], base: str) -> Shown:
    """An account as a user."""
    kept = account.attributes.get(_KEY)
    resource: Resource = {"schemas": [USERS.core.id], "id": account.id}
    stored = _usable(kept) if isinstance(kept, dict) else {}
    unassigned = kept.get(_UNASSIGNED) if isinstance(kept, dict) else None
    if account.external_id:
        resource["externalId"] = account.external_id
    resource["userName"] = account.name
    if account.display_name:
        resource["displayName"] = account.display_name
    active = account.state != "disabled"
    if unassigned is not active:
        resource["active"] = active
    resource.update(stored)
    emails = _with_own_address(stored.get("emails", []), account.email)
    resource.pop("emails", None)
    if emails:
        resource["emails"] = emails
    show_groups(resource, groups, base)
    for extension in USERS.extensions:
        if extension.id in resource:
            resource["schemas"].append(extension.id)
            _refer(resource[extension.id].get("manager"), base)
    return _with_meta(USERS, account.id, resource, account.version, account.created, account.updated, base)


def _usable(kept: dict[str, Any]) -> Resource:
    """What is kept of a user, as far as it has the form that the schema gives it: an import may have brought anything."""
    found: Resource = {}
    for name, value in kept.items():
        if name in _KEPT:
            if _fits(_KEPT[name], value):
                found[name] = copy.deepcopy(value)
            continue
        extension = USERS.extension(name)
        if extension is not None and isinstance(value, dict):
            known = {item.name: item for item in extension.attributes}
            inner = {part: copy.deepcopy(said) for part, said in value.items() if _fits(known.get(part), said)}
            if inner:
                found[extension.id] = inner
    return found


def _fits(attribute: Attribute | None, value: Any) -> bool:
    if attribute is None or not value:
        return False
    if attribute.multi:
        return isinstance(value, list) and all(isinstance(item, dict) for item in value)
    return isinstance(value, dict if attribute.type == "complex" else (str, bool, int, float))


def show_groups(user: Resource, groups: Sequence[Membership], base: str) -> None:
    """Give a user's resource the groups that the user is in."""
    if groups:
        user["groups"] = [
            {"value": item.group, "$ref": f"{base}/Groups/{item.group}", "display": item.name, "type": "direct"}
            for item in groups
        ]


def group_resource(group: Group, base: str) -> Shown:
    """A group as SCIM shows it, but for its members."""
    resource: Resource = {"schemas": [GROUPS.core.id], "id": group.id}
    if group.external_id:
        resource["externalId"] = group.external_id
    resource["displayName"] = group.name
    return _with_meta(GROUPS, group.id, resource, group.version, group.created, group.updated, base)


def show_members(group: Shown, members: Sequence[str], base: str) -> None:
    """Give a group's resource its members, which are ids of users."""
    if members:
        group.resource["members"] = [{"value": id, "$ref": f"{base}/Users/{id}", "type": "User"} for id in members]


def user_fields(resource: Resource, patched: Account | None = None) -> UserFields:
    """What an account becomes by a resource. Where a PATCH of an account leaves no `active`, it is not shown until the
    account is enabled or disabled the next time; in a resource as a whole, what is not said of it stays."""
    kept = {name: value for name, value in resource.items() if name not in _OWN}
    active = resource.get("active")
    if patched is not None and active is None:
        kept[_UNASSIGNED] = patched.state != "disabled"
    if patched is not None and patched.email and kept.get("emails") == [{"value": patched.email, "primary": True}]:
        del kept["emails"]  # the account's own, as it is shown without being kept
    folded_ = [folded(item["value"]) for item in kept.get("emails", ()) if not item.get("value", "").isascii()]
    if folded_:
        kept[_FOLDED] = folded_
    own = _own(resource.get("emails", []))
    return UserFields(
        resource["userName"],
        own["value"] if own is not None else "",
        resource.get("displayName", ""),
        resource.get("externalId", ""),
        {_KEY: kept} if kept else {},
        active,
        resource.get("password"),
    )


def _own(emails: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The address that is the account's own: the primary one, else the first."""
    usable = [item for item in emails if item.get("value")]
    return next((item for item in usable if item.get("primary") is True), usable[0] if usable else None)


def _with_own_address(emails: list[dict[str, Any]], address: str) -> list[dict[str, Any]]:
    """The addresses as stored, with the account's own as it is now: it may have been changed elsewhere."""
    own = _own(emails)
    if own is None:
        return [*emails, {"value": address, "primary": True}] if address else emails
    if not address:
        return [item for item in emails if item is not own]
    if str(own["value"]).casefold() != address.casefold():
        own["value"] = address
    return emails


def _refer(manager: Any, base: str) -> None:
    if isinstance(manager, dict) and manager.get("value"):
        manager["$ref"] = f"{base}/Users/{manager['value']}"


def _with_meta(
    kind: Kind, id: str, resource: Resource, version: int, created: float, updated: float, base: str
) -> Shown:
    resource["meta"] = {
        "resourceType": kind.name,
        "created": _printed(created),
        "lastModified": _printed(updated),
        "location": f"{base}{kind.endpoint}/{id}",
        "version": etag(version, resource.get("groups")),
    }
    return Shown(kind, id, resource, version)


def _printed(when: float) -> str:
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def etag(version: int, groups: Sequence[dict[str, Any]] | None = None) -> str:
    """The weak ETag of a version (RFC 7644, section 3.14); a user's also says in which groups they are."""
    if not groups:
        return f'W/"{version}"'
    text = "\n".join(sorted(f"{item['value']} {item['display']}" for item in groups))
    return f'W/"{version}-{zlib.crc32(text.encode()):08x}"'


def version_of(tag: str) -> str:
    """What of an ETag is compared: weakly (RFC 9110, section 8.8.3.2), so without `W/`."""
    text = tag.strip()
    return text[2:] if text[:2] in ("W/", "w/") else text
