"""Groups, whose members hold their roles. As with accounts, every query names the tenant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from rustcare_sdk.context import Database, Queries, Row
from rustcare_sdk.errors import StoreError

from rustcare_plugin_identity.errors import (
    AccountUnknown,
    GroupExists,
    GroupUnknown,
    InvalidAccount,
    InvalidGroup,
    VersionConflict,
)

from .names import checked_display_name, folded

__all__ = ["Check", "Group", "GroupChange", "Groups"]

_SELECT = "SELECT tenant, id, name, roles, external_id, created, updated, version FROM groups"
_CHANGEABLE = frozenset({"name", "roles", "external_id"})
_BATCH = 500


class Group(msgspec.Struct, frozen=True):
    """A group. `members` are ids of accounts, sorted."""

    id: str
    tenant: str
    name: str
    roles: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    external_id: str = ""
    created: float = 0.0
    updated: float = 0.0
    version: int = 1


class GroupChange(msgspec.Struct, frozen=True):
    """A group as it is after a change (as it was, if it is gone), and the roles that it gave before.

    `joined`, `left`: members who were none before, and who are none now; `touched`: all accounts whose rights may have changed.
    """

    group: Group
    roles: tuple[str, ...]
    joined: tuple[str, ...]
    left: tuple[str, ...]
    touched: tuple[str, ...]


#: Looks at what a change has brought about, within its transaction: when it raises, nothing has changed.
Check = Callable[[Queries, GroupChange], Awaitable[None]]


class Groups:
    """The repository of groups.

    Args:
        check_roles: of a tenant: sorts roles, and raises RoleUnknown.
    """

    def __init__(
        self,
        db: Database,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        check_roles: Callable[[str, Sequence[str]], list[str]],
    ) -> None:
        self._db = db
        self._now = now
        self._random = random
        self._check_roles = check_roles

    async def get(self, tenant: str, id: str, tx: Queries | None = None, *, with_members: bool = True) -> Group | None:
        """The group of an id; without its members if they do not matter."""
        queries = tx or self._db
        row = await queries.fetch_one(f"{_SELECT} WHERE tenant = ? AND id = ?", (tenant, id))
        return None if row is None else _group(row, await self._members(queries, tenant, id) if with_members else ())

    async def find(self, tenant: str, name: str, tx: Queries | None = None) -> Group | None:
        """The group of a name; case does not matter."""
        queries = tx or self._db
        row = await queries.fetch_one(f"{_SELECT} WHERE tenant = ? AND name_key = ?", (tenant, folded(name.strip())))
        return None if row is None else _group(row, await self._members(queries, tenant, row["id"]))

    async def of(self, tenant: str, account: str) -> list[str]:
        """The ids of the groups that an account is a member of."""
        rows = await self._db.fetch(
            "SELECT group_id FROM memberships WHERE tenant = ? AND account = ? ORDER BY group_id", (tenant, account)
        )
        return [row["group_id"] for row in rows]

    async def of_all(
        self, tenant: str, accounts: Sequence[str], tx: Queries | None = None
    ) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
        """The groups of many accounts: ids and roles, by the account's id."""
        found: dict[str, list[tuple[str, tuple[str, ...]]]] = {account: [] for account in accounts}
        for start in range(0, len(accounts), _BATCH):
            some = accounts[start : start + _BATCH]
            rows = await (tx or self._db).fetch(
                "SELECT m.account AS account, m.group_id AS group_id, g.roles AS roles FROM memberships m"
                " JOIN groups g ON g.tenant = m.tenant AND g.id = m.group_id"
                f" WHERE m.tenant = ? AND m.account IN ({', '.join('?' * len(some))}) ORDER BY m.group_id",
                (tenant, *some),
            )
            for row in rows:
                roles = tuple(msgspec.json.decode(row["roles"], type=list[str]))
                found[row["account"]].append((row["group_id"], roles))
        return found

    async def page(
        self,
        tenant: str,
        *,
        limit: int = 0,
        offset: int = 0,
        where: str = "",
        params: Sequence[Any] = (),
        with_members: bool = True,
    ) -> tuple[list[Group], int]:
        """Groups by name (`limit` 0: all), and how many there are in all. `where`: as for accounts."""
        condition = f"tenant = ? AND ({where})" if where else "tenant = ?"
        count = await self._db.fetch_one(f"SELECT COUNT(*) AS n FROM groups WHERE {condition}", (tenant, *params))
        rows = await self._db.fetch(
            f"{_SELECT} WHERE {condition} ORDER BY name_key LIMIT ? OFFSET ?",
            (tenant, *params, limit or 2**31 - 1, offset),
        )
        members: dict[str, list[str]] = {row["id"]: [] for row in rows}
        ids = list(members) if with_members else []
        for start in range(0, len(ids), _BATCH):
            some = ids[start : start + _BATCH]
            for row in await self._db.fetch(
                f"SELECT group_id, account FROM memberships WHERE tenant = ? AND group_id IN ({', '.join('?' * len(some))})"
                " ORDER BY account",
                (tenant, *some),
            ):
                members[row["group_id"]].append(row["account"])
        return [_group(row, members[row["id"]]) for row in rows], int(count["n"]) if count is not None else 0

    async def create(
        self,
        tenant: str,
        *,
        name: str,
        roles: Sequence[str] = (),
        members: Sequence[str] = (),
        external_id: str = "",
        tx: Queries | None = None,
    ) -> Group:
        """A new group. Raises InvalidGroup, GroupExists, RoleUnknown, AccountUnknown (a member is no account of the tenant)."""
        now = self._now()
        group = Group(
            id=self._random(16).hex(),
            tenant=tenant,
            name=_checked_name(name),
            roles=tuple(self._check_roles(tenant, roles)),
            members=tuple(sorted(set(members))),
            external_id=_checked_external_id(external_id),
            created=now,
            updated=now,
        )
        if tx is not None:
            await self._insert(tx, group)
            return group
        try:
            async with self._db.transaction() as own:
                await self._insert(own, group)
        except StoreError as error:
            raise _explained(error) from None
        return group

    async def _insert(self, tx: Queries, group: Group) -> None:
        await tx.execute(
            "INSERT INTO groups (tenant, id, name, name_key, roles, external_id, created, updated, version)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)",
            (
                group.tenant,
                group.id,
                group.name,
                folded(group.name),
                _json(group.roles),
                group.external_id,
                group.created,
                group.updated,
            ),
        )
        await self._add(tx, group.tenant, group.id, group.members)

    async def update(
        self,
        tenant: str,
        id: str,
        changes: Mapping[str, Any],
        *,
        members: Sequence[str] | None = None,
        add: Sequence[str] = (),
        remove: Sequence[str] = (),
        version: int = 0,
        check: Check | None = None,
    ) -> GroupChange:
        """Change what is named (`name`, `roles`, `external_id`) and who is a member.

        Raises:
            GroupUnknown, VersionConflict, and what `create` raises.
        """
        unknown = set(changes) - _CHANGEABLE
        if unknown:
            raise InvalidGroup(f"expected one of {', '.join(sorted(_CHANGEABLE))}, got {', '.join(sorted(unknown))}")
        try:
            async with self._db.transaction() as tx:
                locked = await tx.execute(
                    "UPDATE groups SET version = version + 1 WHERE tenant = ? AND id = ?", (tenant, id)
                )
                before = await self.get(tenant, id, tx)
                if not locked or before is None:
                    raise GroupUnknown("expected a group of this tenant, got an id that none has", address="group")
                _check_version(version, before.version - 1)
                name = _checked_name(changes["name"]) if "name" in changes else before.name
                roles = tuple(self._check_roles(tenant, changes["roles"])) if "roles" in changes else before.roles
                external_id = _checked_external_id(changes.get("external_id", before.external_id))
                now = self._now()
                await tx.execute(
                    "UPDATE groups SET name = ?, name_key = ?, roles = ?, external_id = ?, updated = ?"
                    " WHERE tenant = ? AND id = ?",
                    (name, folded(name), _json(roles), external_id, now, tenant, id),
                )
                wanted = set(before.members if members is None else members) | set(add)
                wanted -= set(remove)
                gone = set(before.members) - wanted
                await tx.execute_many(
                    "DELETE FROM memberships WHERE tenant = ? AND group_id = ? AND account = ?",
                    [(tenant, id, account) for account in sorted(gone)],
                )
                new = sorted(wanted - set(before.members))
                await self._add(tx, tenant, id, new)
                touched = gone | set(new) | (wanted if roles != before.roles else set())
                after = msgspec.structs.replace(
                    before, name=name, roles=roles, external_id=external_id, updated=now, members=tuple(sorted(wanted))
                )
                left = tuple(sorted(gone))
                change = GroupChange(after, before.roles, tuple(new), left, tuple(sorted(touched)))
                if check is not None:
                    await check(tx, change)
        except StoreError as error:
            raise _explained(error) from None
        return change

    async def assign(self, tx: Queries, tenant: str, account: str, groups: Sequence[str]) -> None:
        """Make an account a member of these groups and no others. Raises GroupUnknown."""
        rows = await tx.fetch("SELECT group_id FROM memberships WHERE tenant = ? AND account = ?", (tenant, account))
        have, wanted = {row["group_id"] for row in rows}, set(groups)
        for id in sorted(have ^ wanted):
            changed = await tx.execute(
                "UPDATE groups SET version = version + 1, updated = ? WHERE tenant = ? AND id = ?",
                (self._now(), tenant, id),
            )
            if id in have:
                await tx.execute(
                    "DELETE FROM memberships WHERE tenant = ? AND group_id = ? AND account = ?", (tenant, id, account)
                )
            elif changed:
                await self._add(tx, tenant, id, [account])
            else:
                raise GroupUnknown("expected groups of this tenant, got an id that none has", address="groups")

    async def join(self, tx: Queries, tenant: str, id: str, accounts: Sequence[str]) -> None:
        """Make accounts of the tenant that were not members before members of a group of it."""
        await tx.execute(
            "UPDATE groups SET version = version + 1, updated = ? WHERE tenant = ? AND id = ?",
            (self._now(), tenant, id),
        )
        await tx.execute_many(
            "INSERT INTO memberships (tenant, group_id, account) VALUES (?, ?, ?)",
            [(tenant, id, account) for account in dict.fromkeys(accounts)],
        )

    async def delete(self, tenant: str, id: str, *, version: int = 0, check: Check | None = None) -> GroupChange:
        """Take a group away. Raises GroupUnknown, VersionConflict."""
        async with self._db.transaction() as tx:
            before = await self.get(tenant, id, tx)
            if before is None or not await tx.execute("DELETE FROM groups WHERE tenant = ? AND id = ?", (tenant, id)):
                raise GroupUnknown("expected a group of this tenant, got an id that none has", address="group")
            _check_version(version, before.version)
            await tx.execute("DELETE FROM memberships WHERE tenant = ? AND group_id = ?", (tenant, id))
            change = GroupChange(before, before.roles, (), before.members, before.members)
            if check is not None:
                await check(tx, change)
        return change

    async def _members(self, queries: Queries, tenant: str, id: str) -> list[str]:
        rows = await queries.fetch(
            "SELECT account FROM memberships WHERE tenant = ? AND group_id = ? ORDER BY account", (tenant, id)
        )
        return [row["account"] for row in rows]

    async def _add(self, tx: Queries, tenant: str, id: str, accounts: Sequence[str]) -> None:
        wanted = list(dict.fromkeys(accounts))
        for start in range(0, len(wanted), _BATCH):
            some = wanted[start : start + _BATCH]
            known = await tx.fetch_one(
                f"SELECT COUNT(*) AS n FROM accounts WHERE tenant = ? AND id IN ({', '.join('?' * len(some))})",
                (tenant, *some),
            )
            if known is None or int(known["n"]) < len(some):
                raise AccountUnknown(
                    "expected members that are accounts of this tenant, got an id that none has", address="members"
                )
            await tx.execute_many(
                "INSERT INTO memberships (tenant, group_id, account) VALUES (?, ?, ?)"
                " ON CONFLICT (tenant, account, group_id) DO NOTHING",
                [(tenant, id, account) for account in some],
            )


def _check_version(wanted: int, have: int) -> None:
    if wanted and have != wanted:
        raise VersionConflict(
            f"expected version {wanted}, got {have}", hint="read it again and decide anew", address="version"
        )


def _group(row: Row, members: Sequence[str]) -> Group:
    return Group(
        row["id"],
        row["tenant"],
        row["name"],
        tuple(msgspec.json.decode(row["roles"], type=list[str])),
        tuple(members),
        row["external_id"],
        float(row["created"]),
        float(row["updated"]),
        int(row["version"]),
    )


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _checked_name(name: str) -> str:
    try:
        found = checked_display_name(name)
    except InvalidAccount as error:
        raise InvalidGroup(error.message, address="name") from None
    if not found:
        raise InvalidGroup("expected a name, got none", address="name")
    return found


def _checked_external_id(text: str) -> str:
    if len(text) > 256 or not (text == "" or text.isprintable()):
        raise InvalidGroup("expected at most 256 printable characters, got something else", address="external_id")
    return text


def _explained(error: StoreError) -> Exception:
    if error.code != "store.constraint":
        return error
    return GroupExists("expected a name that no other group has, got one that is taken", address="name")
