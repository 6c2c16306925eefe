"""The accounts of a tenant. Every query names the tenant; an account of another is as good as none.

Changes are optimistic: each raises `version`, and who says which version is to be changed changes that one or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from rustcare_sdk.context import Database, Queries, Row
from rustcare_sdk.errors import StoreError

from rustcare_plugin_identity.errors import AccountExists, AccountUnknown, InvalidAccount, RoleUnknown, VersionConflict

from .names import checked_display_name, checked_email, checked_name, folded, key
from .roles import BUILT_IN, scopes

__all__ = ["Account", "Accounts"]

_COLUMNS = (
    "tenant, id, kind, name, email, display_name, state, email_verified, roles, password, created, updated, last_login,"
    " version, not_before, external_id, attributes"
)
# Failures are counted by what was typed: the worst of an account's identifiers is its own.
_LOCKED = (
    "(SELECT MAX(f.locked_until) FROM failures f WHERE f.tenant = accounts.tenant AND f.account = accounts.id)"
    " AS locked_until,"
    " (SELECT SUM(f.count) FROM failures f WHERE f.tenant = accounts.tenant AND f.account = accounts.id) AS failures"
)
_SELECT = f"SELECT {_COLUMNS}, {_LOCKED} FROM accounts"
_CHANGEABLE = frozenset(
    {"name", "email", "display_name", "state", "email_verified", "roles", "password", "last_login", "not_before"}
    | {"external_id", "attributes"}
)
_CONSTRAINT = "store.constraint"
_MOST_ATTRIBUTES = 65_536


class Account(msgspec.Struct, frozen=True):
    """An account as it is stored. `state` is `invited`, `active` or `disabled`; it is locked while `locked_until` is to come.

    `password`: a PHC string or a foreign hash, empty for none. `roles`: its own, without its groups'. Times: Unix seconds.
    """

    id: str
    tenant: str
    kind: str
    name: str
    email: str = ""
    display_name: str = ""
    state: str = "active"
    email_verified: bool = False
    roles: tuple[str, ...] = ()
    password: str = ""
    failures: int = 0
    locked_until: float = 0.0
    created: float = 0.0
    updated: float = 0.0
    last_login: float = 0.0
    version: int = 1
    not_before: float = 0.0
    external_id: str = ""
    attributes: dict[str, Any] = {}

    @property
    def principal(self) -> str:
        """`user/ID` or `service/ID`."""
        return f"{self.kind}/{self.id}"

    def __repr__(self) -> str:
        return f"<Account {self.principal} of {self.tenant}: {self.state}, version {self.version}>"


def _account(row: Row) -> Account:
    return Account(
        id=row["id"],
        tenant=row["tenant"],
        kind=row["kind"],
        name=row["name"],
        email=row["email"],
        display_name=row["display_name"],
        state=row["state"],
        email_verified=bool(row["email_verified"]),
        roles=tuple(msgspec.json.decode(row["roles"], type=list[str])),
        password=row["password"],
        failures=int(row["failures"] or 0),
        locked_until=float(row["locked_until"] or 0.0),
        created=float(row["created"]),
        updated=float(row["updated"]),
        last_login=float(row["last_login"]),
        version=int(row["version"]),
        not_before=float(row["not_before"]),
        external_id=row["external_id"],
        attributes=msgspec.json.decode(row["attributes"], type=dict[str, Any]),
    )


class Accounts:
    """The repository of accounts.

    Args:
        extra_roles: the roles of a tenant beyond the built-in ones, with their scopes.
    """

    def __init__(
        self,
        db: Database,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        extra_roles: Callable[[str], Mapping[str, Sequence[str]]],
    ) -> None:
        self._db = db
        self._now = now
        self._random = random
        self._extra_roles = extra_roles

    # finding

    async def get(self, tenant: str, id: str, tx: Queries | None = None) -> Account | None:
        """The account of an id."""
        row = await (tx or self._db).fetch_one(f"{_SELECT} WHERE tenant = ? AND id = ?", (tenant, id))
        return None if row is None else _account(row)

    async def find(self, tenant: str, who: str, tx: Queries | None = None) -> Account | None:
        """The account of an id, a name or an e-mail address; in the latter two case and look-alikes do not matter.

        One query, whether there is such an account or not.
        """
        if "\x00" in who:
            return None
        sought = (
            f"{_SELECT} WHERE tenant = ? AND (id = ?"
            " OR id = (SELECT account FROM identifiers WHERE tenant = ? AND key = ?))"
        )
        row = await (tx or self._db).fetch_one(sought, (tenant, who, tenant, key(who)))
        return None if row is None else _account(row)

    async def named(self, tenant: str, identifier: str, tx: Queries | None = None) -> Account | None:
        """The account whose name or address has this key (`names.key`). One query, whether there is such an account or not."""
        if "\x00" in identifier:
            return None
        row = await (tx or self._db).fetch_one(
            f"{_SELECT} WHERE tenant = ? AND id = (SELECT account FROM identifiers WHERE tenant = ? AND key = ?)",
            (tenant, tenant, identifier),
        )
        return None if row is None else _account(row)

    async def need(self, tenant: str, who: str, tx: Queries | None = None) -> Account:
        """As `find`. Raises AccountUnknown."""
        found = await self.find(tenant, who, tx)
        if found is None:
            raise AccountUnknown(
                "expected an account of this tenant, got an id, name or address that none has", address="account"
            )
        return found

    async def by_principal(self, tenant: str, principal: str) -> Account | None:
        """The account of `user/ID` or `service/ID`."""
        kind, _, id = principal.partition("/")
        found = await self.get(tenant, id)
        return found if found is not None and found.kind == kind else None

    async def page(
        self,
        tenant: str,
        *,
        query: str = "",
        kind: str = "",
        state: str = "",
        limit: int = 100,
        after: str = "",
        offset: int = 0,
        where: str = "",
        params: Sequence[Any] = (),
    ) -> tuple[list[Account], str, int]:
        """Accounts by name: one page, the `after` of the next (empty at the end), and how many there are in all.

        `query`: part of a name, address or shown name. `state` may be `locked`. `where` with `params`: a further condition
        in SQL over the columns of `accounts`, for filters that are made in this plugin (never from text of a caller).
        """
        conditions, values = ["tenant = ?"], [tenant]
        if query:
            part = "%" + folded(query).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
            conditions.append(
                "(name_key LIKE ? ESCAPE '\\' OR email_key LIKE ? ESCAPE '\\' OR LOWER(display_name) LIKE ? ESCAPE '\\')"
            )
            values += [part] * 3
        if kind:
            conditions.append("kind = ?")
            values.append(kind)
        every: list[Any] = list(values)
        if state == "locked":
            conditions.append("id IN (SELECT f.account FROM failures f WHERE f.tenant = ? AND f.locked_until > ?)")
            every += [tenant, self._now()]
        elif state:
            conditions.append("state = ?")
            every.append(state)
        if where:
            conditions.append(f"({where})")
            every += list(params)
        count = await self._db.fetch_one(
            f"SELECT COUNT(*) AS n FROM accounts WHERE {' AND '.join(conditions)}", tuple(every)
        )
        if after:
            conditions.append("name_key > ?")
            every.append(after)
        rows = await self._db.fetch(
            f"SELECT {_COLUMNS}, name_key, {_LOCKED} FROM accounts WHERE {' AND '.join(conditions)}"
            " ORDER BY name_key LIMIT ? OFFSET ?",
            (*every, limit + 1, offset),
        )
        following = rows[limit - 1]["name_key"] if 0 < limit < len(rows) else ""
        return [_account(row) for row in rows[:limit]], following, int(count["n"]) if count is not None else 0

    async def holders(self, tenant: str, role: str, tx: Queries | None = None, *, machines: bool = False) -> list[str]:
        """The ids of people whose accounts are active and hold a role, through a group too; of `machines` as well if asked."""
        pattern = "%" + msgspec.json.encode(role).decode() + "%"
        rows = await (tx or self._db).fetch(
            "SELECT id FROM accounts WHERE tenant = ? AND kind IN ('user', ?) AND state = 'active' AND (roles LIKE ? OR"
            " id IN (SELECT m.account FROM memberships m JOIN groups g ON g.tenant = m.tenant AND g.id = m.group_id"
            " WHERE m.tenant = ? AND g.roles LIKE ?))",
            (tenant, "service" if machines else "user", pattern, tenant, pattern),
        )
        return [row["id"] for row in rows]

    # rights

    async def roles_of(self, account: Account, tx: Queries | None = None) -> list[str]:
        """Its own roles and its groups', sorted."""
        rows = await (tx or self._db).fetch(
            "SELECT g.roles AS roles FROM groups g JOIN memberships m ON m.tenant = g.tenant AND m.group_id = g.id"
            " WHERE m.tenant = ? AND m.account = ?",
            (account.tenant, account.id),
        )
        found = set(account.roles)
        for row in rows:
            found.update(msgspec.json.decode(row["roles"], type=list[str]))
        return sorted(found)

    async def own_roles_of_all(self, tenant: str, ids: Sequence[str], tx: Queries) -> dict[str, tuple[str, ...]]:
        """The own roles of many accounts, without their groups', by their ids."""
        found: dict[str, tuple[str, ...]] = {}
        for start in range(0, len(ids), 500):
            some = ids[start : start + 500]
            rows = await tx.fetch(
                f"SELECT id, roles FROM accounts WHERE tenant = ? AND id IN ({', '.join('?' * len(some))})",
                (tenant, *some),
            )
            found.update({row["id"]: tuple(msgspec.json.decode(row["roles"], type=list[str])) for row in rows})
        return found

    def scopes_of(self, tenant: str, roles: Sequence[str]) -> list[str]:
        """The scopes of roles, as the tenant's settings say."""
        return scopes(roles, self._extra_roles(tenant))

    def check_roles(self, tenant: str, roles: Sequence[str]) -> list[str]:
        """Roles, sorted and each once. Raises RoleUnknown."""
        extra = self._extra_roles(tenant)
        for role in roles:
            if role not in BUILT_IN and role not in extra:
                raise RoleUnknown(
                    f"expected one of {', '.join(sorted({*BUILT_IN, *extra}))}, got another role",
                    hint="a tenant's settings may add roles",
                    address="roles",
                )
        return sorted(set(roles))

    # changing

    async def create(
        self,
        tenant: str,
        *,
        name: str,
        kind: str = "user",
        email: str = "",
        display_name: str = "",
        password: str = "",
        roles: Sequence[str] = (),
        state: str = "active",
        email_verified: bool = False,
        external_id: str = "",
        attributes: Mapping[str, Any] | None = None,
        tx: Queries | None = None,
    ) -> Account:
        """A new account; durable on return, unless it is part of a transaction. `password` is a hash.

        Raises:
            InvalidAccount: name, address or shown name are not well formed. RoleUnknown.
            AccountExists: another one has the name or the address.
        """
        now = self._now()
        account = Account(
            id=self._random(16).hex(),
            tenant=tenant,
            kind=kind,
            name=checked_name(name),
            email=checked_email(email),
            display_name=checked_display_name(display_name),
            state=state,
            email_verified=email_verified,
            roles=tuple(self.check_roles(tenant, roles)),
            password=password,
            created=now,
            updated=now,
            external_id=_checked_external_id(external_id),
            attributes=_checked_attributes(attributes or {}),
        )
        if tx is not None:
            await self._insert(tx, account)
        else:
            try:
                async with self._db.transaction() as own:
                    await self._insert(own, account)
            except StoreError as error:
                raise _explained(error) from None
        return account

    async def update(
        self, tenant: str, id: str, changes: Mapping[str, Any], *, version: int = 0, tx: Queries | None = None
    ) -> Account:
        """Change what is named: fields of `Account`. With `version`: only if it is still the current one.

        Raises:
            AccountUnknown, VersionConflict, and what `create` raises.
        """
        unknown = set(changes) - _CHANGEABLE
        if unknown:
            raise InvalidAccount(f"expected one of {', '.join(sorted(_CHANGEABLE))}, got {', '.join(sorted(unknown))}")
        if tx is not None:
            return await self._update(tx, tenant, id, changes, version)
        try:
            async with self._db.transaction() as own:
                return await self._update(own, tenant, id, changes, version)
        except StoreError as error:
            raise _explained(error) from None

    async def delete(self, tenant: str, id: str, tx: Queries | None = None) -> bool:
        """Take an account away for good, and all that this repository has of it; whether there was one."""
        if tx is not None:
            return await self._delete(tx, tenant, id)
        async with self._db.transaction() as own:
            return await self._delete(own, tenant, id)

    async def touch_login(self, account: Account, password: str = "") -> None:
        """Note that it has signed in, with a better hash of its password if there is one. Not a change of its version."""
        now = self._now()
        if password:
            await self._db.execute(
                "UPDATE accounts SET last_login = ?, password = ? WHERE tenant = ? AND id = ? AND password = ?",
                (now, password, account.tenant, account.id, account.password),
            )
        else:
            await self._db.execute(
                "UPDATE accounts SET last_login = ? WHERE tenant = ? AND id = ?", (now, account.tenant, account.id)
            )

    async def _insert(self, tx: Queries, account: Account) -> None:
        await self._claim(tx, account, ())
        values = (
            account.tenant, account.id, account.kind, account.name, folded(account.name), account.email,
            folded(account.email), account.display_name, account.state, int(account.email_verified),
            _json(account.roles), account.password, account.created, account.updated, account.last_login,
            account.version, account.not_before, account.external_id, _json(account.attributes),
        )  # fmt: skip
        await tx.execute(
            "INSERT INTO accounts (tenant, id, kind, name, name_key, email, email_key, display_name, state,"
            " email_verified, roles, password, created, updated, last_login, version, not_before, external_id, attributes)"
            f" VALUES ({', '.join('?' * len(values))})",
            values,
        )

    async def _claim(self, tx: Queries, account: Account, held: Sequence[str]) -> None:
        """Make the account's name and address its own; `held` are the keys that it has already."""
        wanted = {key(account.name): "name", **({key(account.email): "email"} if account.email else {})}
        for identifier, what in wanted.items():
            if identifier in held:
                continue
            taken = await tx.execute(
                "INSERT INTO identifiers (tenant, key, account) VALUES (?, ?, ?) ON CONFLICT (tenant, key) DO NOTHING",
                (account.tenant, identifier, account.id),
            )
            if not taken:
                raise AccountExists(
                    f"expected {'a name' if what == 'name' else 'an e-mail address'} that no other account has,"
                    " got one that is taken",
                    hint="letter case and letters that look the same do not make a difference",
                    address=what,
                )
        for identifier in set(held) - set(wanted):
            await tx.execute("DELETE FROM identifiers WHERE tenant = ? AND key = ?", (account.tenant, identifier))

    async def _update(self, tx: Queries, tenant: str, id: str, changes: Mapping[str, Any], version: int) -> Account:
        # The row is locked from here on: whoever read an older version of it waits, and then finds another.
        locked = await tx.execute("UPDATE accounts SET version = version + 1 WHERE tenant = ? AND id = ?", (tenant, id))
        before = await self.get(tenant, id, tx)
        if not locked or before is None:
            raise AccountUnknown("expected an account of this tenant, got an id that none has", address="account")
        if version and before.version != version + 1:
            raise VersionConflict(
                f"expected version {version}, got {before.version - 1}",
                hint="read it again and decide anew",
                address="version",
            )
        checked = dict(changes)
        if "name" in checked:
            checked["name"] = checked_name(checked["name"])
        if "email" in checked:
            checked["email"] = checked_email(checked["email"])
            # Another address has not been shown to be theirs, unless the change says so.
            checked.setdefault("email_verified", before.email_verified and checked["email"] == before.email)
        if "display_name" in checked:
            checked["display_name"] = checked_display_name(checked["display_name"])
        if "roles" in checked:
            checked["roles"] = tuple(self.check_roles(tenant, checked["roles"]))
        if "external_id" in checked:
            checked["external_id"] = _checked_external_id(checked["external_id"])
        if "attributes" in checked:
            checked["attributes"] = _checked_attributes(checked["attributes"])
        after = msgspec.structs.replace(before, **checked, updated=self._now())
        rows = await tx.fetch("SELECT key FROM identifiers WHERE tenant = ? AND account = ?", (tenant, id))
        await self._claim(tx, after, [row["key"] for row in rows])
        await tx.execute(
            "UPDATE accounts SET name = ?, name_key = ?, email = ?, email_key = ?, display_name = ?, state = ?,"
            " email_verified = ?, roles = ?, password = ?, updated = ?, last_login = ?, not_before = ?, external_id = ?,"
            " attributes = ? WHERE tenant = ? AND id = ?",
            (
                after.name, folded(after.name), after.email, folded(after.email), after.display_name, after.state,
                int(after.email_verified), _json(after.roles), after.password, after.updated, after.last_login,
                after.not_before, after.external_id, _json(after.attributes), tenant, id,
            ),
        )  # fmt: skip
        if after.email != before.email:
            # Who follows a link from before would put the other address in its place again, or is not its reader any more.
            await tx.execute(
                "DELETE FROM links WHERE tenant = ? AND account = ? AND purpose IN ('verify-email', 'recover')",
                (tenant, id),
            )
        return after

    async def _delete(self, tx: Queries, tenant: str, id: str) -> bool:
        # Its groups have another member less: who knows them in the version before knows them no more.
        await tx.execute(
            "UPDATE groups SET version = version + 1, updated = ? WHERE tenant = ? AND id IN"
            " (SELECT group_id FROM memberships WHERE tenant = ? AND account = ?)",
            (self._now(), tenant, tenant, id),
        )
        for table in ("identifiers", "memberships", "links", "tickets", "failures", "devices", "api_keys"):
            await tx.execute(f"DELETE FROM {table} WHERE tenant = ? AND account = ?", (tenant, id))
        await tx.execute("DELETE FROM activity WHERE account = ?", (id,))
        return bool(await tx.execute("DELETE FROM accounts WHERE tenant = ? AND id = ?", (tenant, id)))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _checked_external_id(text: str) -> str:
    if len(text) > 256 or not (text == "" or text.isprintable()):
        raise InvalidAccount("expected at most 256 printable characters, got something else", address="external_id")
    return text


def _checked_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    try:
        size = len(msgspec.json.encode(attributes))
    except (TypeError, ValueError):
        size = -1
    if not 0 < size <= _MOST_ATTRIBUTES:
        raise InvalidAccount(f"expected JSON of at most {_MOST_ATTRIBUTES} bytes, got {size}", address="attributes")
    return dict(attributes)


def _explained(error: StoreError) -> Exception:
    """Two that took one name at the same time: the database has refused the second."""
    if error.code != _CONSTRAINT:
        return error
    return AccountExists("expected a name and an e-mail address that no other account has, got one that is taken")
