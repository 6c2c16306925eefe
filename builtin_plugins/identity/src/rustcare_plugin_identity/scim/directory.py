"""What SCIM reads: users and groups of one tenant, found by filters, in pages.

The database does what it can (see `filters.sql`); what is left is decided here, on at most `MAX_LOOKED_AT` resources.

A group may have ten thousand members. They are read where they are asked for: to be shown, to be compared, to be sorted by.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal

from msgspec import Struct
from rustcare_sdk.context import Database

from rustcare_plugin_identity.accounts import Account, Accounts, Groups

from .errors import InvalidPath, InvalidValue, TooMany
from .filters import Filter, parse_attribute, parse_filter
from .filters.evaluate import Predicate, bind
from .filters.sql import GROUP_COLUMNS, USER_COLUMNS, Condition, condition
from .mapping import Membership, Shown, group_resource, show_groups, show_members, user_resource
from .schemas import GROUPS, KINDS, USERS, Found, Kind
from .values import Resource, instant

__all__ = ["DEFAULT_COUNT", "MAX_COUNT", "MAX_LOOKED_AT", "MAX_MEMBERS", "Directory", "Page", "Query"]

#: Resources of one answer, when the client does not say how many, and at most.
DEFAULT_COUNT = 100
MAX_COUNT = 1000
#: Resources that are looked at one by one for one answer; more is `tooMany`.
MAX_LOOKED_AT = 20_000
#: Memberships that one answer shows in all, of groups or of users; a page ends before the one with which they would be more.
MAX_MEMBERS = 50_000
_BATCH = 500


class Query(Struct, frozen=True):
    """What a client asks for (RFC 7644, section 3.4.2). `start` counts from 1; `members`: whether those of groups are shown."""

    filter: str = ""
    sort_by: str = ""
    descending: bool = False
    start: int = 1
    count: int = DEFAULT_COUNT
    members: bool = True

    def __repr__(self) -> str:
        return f"<Query from {self.start}, {self.count} at most>"  # a filter may hold an address or a name


class Page(Struct, frozen=True):
    """Resources from `start` on, of `total` that were found."""

    found: list[Shown]
    total: int
    start: int


class _Plan(Struct, frozen=True):
    """How a query is answered for one kind. `members`: they are needed to decide it, or to sort."""

    kind: Kind
    condition: Condition
    fits: Predicate | None
    members: bool


class Directory:
    """Users and groups, as SCIM resources.

    Args:
        db, accounts, groups: the plugin's own.
    """

    def __init__(self, db: Database, accounts: Accounts, groups: Groups) -> None:
        self._db = db
        self._accounts = accounts
        self._groups = groups

    # one

    async def get(self, tenant: str, kind: Kind, id: str, base: str) -> Shown | None:
        """One resource, or None. `base`: the URL that the endpoints are below."""
        if "\x00" in id:
            return None
        if kind is GROUPS:
            group = await self._groups.get(tenant, id, with_members=False)
            if group is None:
                return None
            shown = group_resource(group, base)
            await self._show_members(tenant, [shown], base)
            return shown
        account = await self._accounts.get(tenant, id)
        if account is None or account.kind != "user":
            return None
        return (await self._users(tenant, [account], base))[0]

    async def known_users(self, tenant: str, ids: Sequence[str]) -> set[str]:
        """Those of some ids that are users of the tenant."""
        found: set[str] = set()
        wanted = [id for id in dict.fromkeys(ids) if "\x00" not in id]
        for start in range(0, len(wanted), _BATCH):
            some = wanted[start : start + _BATCH]
            rows = await self._db.fetch(
                f"SELECT id FROM accounts WHERE tenant = ? AND kind = 'user' AND id IN ({', '.join('?' * len(some))})",
                (tenant, *some),
            )
            found.update(row["id"] for row in rows)
        return found

    # many

    async def search(self, tenant: str, kinds: Sequence[Kind], query: Query, base: str) -> Page:
        """A page of what a query finds, over one kind or several.

        Raises:
            InvalidFilter, InvalidPath, InvalidValue: the query is not well formed.
            TooMany: it would have to look at too many resources.
        """
        filter_ = parse_filter(query.filter) if query.filter else None
        several = len(kinds) > 1
        plans = [_plan(kind, filter_, query.sort_by, several) for kind in kinds]
        start, count = max(1, query.start), min(max(0, query.count), MAX_COUNT)
        keys = [_sort_key(plan.kind, query.sort_by, several) for plan in plans] if query.sort_by else []
        if keys and (several or not _is_name(kinds[0], query.sort_by) or query.descending):
            page = await self._sorted(tenant, plans, keys, query, start, count, base)
        else:
            found: list[Shown] = []
            total, left = 0, count
            for plan in plans:
                skip = max(0, start - 1 - total)
                some, all_ = await self._slice(tenant, plan, skip, left, base)
                found += some
                total += all_
                # A page that ends early ends there: what comes next is on the next one.
                left = left - len(some) if len(some) == min(left, max(0, all_ - skip)) else 0
            page = Page(found, total, start)
        groups = [shown for shown in page.found if shown.kind is GROUPS] if query.members else []
        fitting = await self._fitting(tenant, "group_id", [shown.id for shown in groups])
        end = page.found.index(groups[fitting]) if fitting < len(groups) else len(page.found)
        await self._show_members(tenant, groups[:fitting], base)
        return Page(page.found[:end], page.total, page.start)

    async def _sorted(
        self,
        tenant: str,
        plans: Sequence[_Plan],
        keys: Sequence[Callable[[Resource], Any]],
        query: Query,
        start: int,
        count: int,
        base: str,
    ) -> Page:
        every: list[tuple[Any, Shown]] = []
        for plan, key in zip(plans, keys, strict=True):
            async for shown in self._each(tenant, plan, base, MAX_LOOKED_AT - len(every)):
                every.append((key(shown.resource), shown))
                # Only to sort by: those of the page are read again.
                shown.resource.pop("members", None)
                shown.resource.pop("groups", None)
        # What has no value comes last; first, when the order is turned around (RFC 7644, section 3.4.2.3).
        every.sort(key=lambda item: (item[0] is None, item[0] if item[0] is not None else ""), reverse=query.descending)
        found = [shown for _, shown in every[start - 1 : start - 1 + count]]
        users = [shown for shown in found if shown.kind is USERS]
        fitting = await self._fitting(tenant, "account", [shown.id for shown in users])
        memberships = await self._memberships(tenant, [shown.id for shown in users[:fitting]])
        for shown in users[:fitting]:
            show_groups(shown.resource, memberships[shown.id], base)
        return Page(found[: found.index(users[fitting])] if fitting < len(users) else found, len(every), start)

    async def _slice(self, tenant: str, plan: _Plan, skip: int, count: int, base: str) -> tuple[list[Shown], int]:
        if plan.fits is None:
            return await self._rows(tenant, plan, base, min(skip, 2**62), count)
        found: list[Shown] = []
        total, left = 0, MAX_MEMBERS
        async for shown in self._each(tenant, plan, base, MAX_LOOKED_AT):
            if skip <= total < skip + count:
                left -= len(shown.resource.get("groups") or shown.resource.get("members") or ())
                if left >= 0 or not found:
                    found.append(shown)
            total += 1
        return found, total

    async def _each(self, tenant: str, plan: _Plan, base: str, most: int) -> AsyncIterator[Shown]:
        """All that fits, in the order of the names."""
        offset = 0
        while True:
            rows, total = await self._rows(tenant, plan, base, offset, _BATCH)
            if total > most:
                raise TooMany(
                    f"expected a query that leaves at most {MAX_LOOKED_AT} resources to look at, got {total}",
                    hint="filter by userName, externalId, id, active or meta.lastModified too, or do not sort",
                    address="filter",
                )
            for shown in rows:
                if plan.fits is None or plan.fits(shown.resource):
                    yield shown
            offset += len(rows)
            if not rows or offset >= total:
                return

    async def _rows(self, tenant: str, plan: _Plan, base: str, offset: int, limit: int) -> tuple[list[Shown], int]:
        where, params = plan.condition.sql, plan.condition.params
        if plan.kind is GROUPS:
            groups, total = await self._groups.page(
                tenant, limit=max(1, limit), offset=offset, where=where, params=params, with_members=False
            )
            shown = [group_resource(group, base) for group in groups[: max(0, limit)]]
            if plan.members:
                shown = shown[: await self._fitting(tenant, "group_id", [one.id for one in shown])]
                await self._show_members(tenant, shown, base)
            return shown, total
        accounts, _, total = await self._accounts.page(
            tenant, kind="user", limit=max(0, limit), offset=offset, where=where, params=params
        )
        accounts = accounts[: await self._fitting(tenant, "account", [account.id for account in accounts])]
        return await self._users(tenant, accounts, base), total

    async def _fitting(self, tenant: str, column: Literal["account", "group_id"], ids: Sequence[str]) -> int:
        """How many of some users or groups, from the first on, have `MAX_MEMBERS` memberships in all; one at least."""
        left = MAX_MEMBERS
        for start in range(0, len(ids), _BATCH):
            some = ids[start : start + _BATCH]
            counted = await self._db.fetch(
                f"SELECT {column} AS id, COUNT(*) AS n FROM memberships"
                f" WHERE tenant = ? AND {column} IN ({', '.join('?' * len(some))}) GROUP BY {column}",
                (tenant, *some),
            )
            sizes = {row["id"]: int(row["n"]) for row in counted}
            for place, id in enumerate(some, start):
                left -= sizes.get(id, 0)
                if left < 0 and place:
                    return place
        return len(ids)

    async def _show_members(self, tenant: str, groups: Sequence[Shown], base: str) -> None:
        """Give groups their members: the users among them, for SCIM knows no service accounts."""
        members: dict[str, list[str]] = {shown.id: [] for shown in groups}
        ids = list(members)
        for start in range(0, len(ids), _BATCH):
            some = ids[start : start + _BATCH]
            for row in await self._db.fetch(
                "SELECT m.group_id AS group_id, m.account AS account FROM memberships m"
                " JOIN accounts a ON a.tenant = m.tenant AND a.id = m.account AND a.kind = 'user'"
                f" WHERE m.tenant = ? AND m.group_id IN ({', '.join('?' * len(some))}) ORDER BY m.account",
                (tenant, *some),
            ):
                members[row["group_id"]].append(row["account"])
        for shown in groups:
            show_members(shown, members[shown.id], base)

    async def _users(self, tenant: str, accounts: Sequence[Account], base: str) -> list[Shown]:
        memberships = await self._memberships(tenant, [account.id for account in accounts])
        return [user_resource(account, memberships[account.id], base) for account in accounts]

    async def _memberships(self, tenant: str, ids: Sequence[str]) -> dict[str, list[Membership]]:
        """The groups of accounts, by name."""
        memberships: dict[str, list[Membership]] = {id: [] for id in ids}
        for start in range(0, len(ids), _BATCH):
            some = ids[start : start + _BATCH]
            for row in await self._db.fetch(
                "SELECT m.account AS account, g.id AS id, g.name AS name FROM memberships m"
                " JOIN groups g ON g.tenant = m.tenant AND g.id = m.group_id"
                f" WHERE m.tenant = ? AND m.account IN ({', '.join('?' * len(some))}) ORDER BY g.name_key",
                (tenant, *some),
            ):
                memberships[row["account"]].append(Membership(row["account"], row["id"], row["name"]))
        return memberships


def _plan(kind: Kind, filter_: Filter | None, sort_by: str, several: bool) -> _Plan:
    sorted_by_members = "members" in sort_by.lower()
    if filter_ is None:
        return _Plan(kind, Condition(exact=True), None, sorted_by_members)
    fits = bind(filter_, kind, lenient=several)
    found = condition(filter_, kind, USER_COLUMNS if kind is USERS else GROUP_COLUMNS)
    # A value may be that word as well: then they are read without need.
    members = sorted_by_members or (not found.exact and "members" in str(filter_).lower())
    return _Plan(kind, found, None if found.exact else fits, members)


def _is_name(kind: Kind, sort_by: str) -> bool:
    found = kind.find(parse_attribute(sort_by))
    wanted = "userName" if kind is USERS else "displayName"
    return found is not None and found.sub is None and found.attribute is not None and found.attribute.name == wanted


def _sort_key(kind: Kind, sort_by: str, several: bool) -> Callable[[Resource], Any]:
    """What resources are sorted by: of several values the primary one, else the first (RFC 7644, section 3.4.2.3)."""
    found = kind.find(parse_attribute(sort_by))
    attribute = found.last if found is not None else None
    if found is None and several and any(other.find(parse_attribute(sort_by)) for other in KINDS):
        return lambda resource: None
    if found is None or attribute is None or found.attribute is None:
        raise InvalidPath("expected an attribute of the schema, got another name", address="sortBy")
    if attribute.type == "complex":
        value = attribute.sub("value")
        if value is None:
            raise InvalidPath("expected an attribute that has no parts, or one of its parts", address="sortBy")
        found, attribute = Found(found.container, found.attribute, value), value
    if attribute.returned == "never":
        raise InvalidValue("expected an attribute that can be read", address="sortBy")
    where, last = found, attribute

    def key(resource: Resource) -> Any:
        holder = resource.get(where.container, {}) if where.container else resource
        value = holder.get(where.attribute.name) if where.attribute is not None else None
        if isinstance(value, list):
            value = next((item for item in value if isinstance(item, dict) and item.get("primary")), value[0])
        if where.sub is not None:
            value = value.get(where.sub.name) if isinstance(value, dict) else None
        if value is None:
            return None
        if last.type == "dateTime":
            return f"{instant(str(value)) or 0.0:020.6f}"
        return str(value) if last.case_exact else str(value).casefold()

    return key
