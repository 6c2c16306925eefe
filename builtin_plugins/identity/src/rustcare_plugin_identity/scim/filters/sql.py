"""Turns as much of a filter into SQL as the columns of a table can decide.

What comes out is a condition that holds for every resource that the filter selects: a *superset*. When it is `exact` it
holds for no other, and the database can count and page; else what it leaves has to be decided by `evaluate`. So a filter on
what is not a column never gives a wrong answer, it only costs more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from rustcare_plugin_identity.accounts.names import folded
from rustcare_plugin_identity.scim.schemas import Kind
from rustcare_plugin_identity.scim.values import instant

from .nodes import And, AttributePath, Compare, Filter, Not, Or, Present, ValuePath

__all__ = ["GROUP_COLUMNS", "USER_COLUMNS", "Column", "Condition", "condition"]

#: A printed time is rounded to microseconds.
_HALF_MICROSECOND = 5e-7


class Column(Struct, frozen=True):
    """How an attribute (`name` or `name.sub`) lies in a table.

    `exact`: as it is, "" for none; `folded`: its key, "" for none; `truth`: `sql` is a condition; `time`: Unix seconds;
    `linked`: `sql` is a condition with one `?` that holds when one of the values is the parameter; `within`: somewhere in the
    text of the columns `sql` (separated by commas), in any case.
    """

    sql: str
    form: Literal["exact", "folded", "truth", "time", "linked", "within"]


class Condition(Struct, frozen=True):
    """A condition in SQL with its parameters; empty `sql`: none, every resource may be selected."""

    sql: str = ""
    params: tuple[Any, ...] = ()
    exact: bool = False

    def __repr__(self) -> str:
        return f"<Condition of {len(self.params)} parameters>"  # they may be somebody's name or address


USER_COLUMNS: Mapping[str, Column] = {
    "id": Column("id", "exact"),
    "externalId": Column("external_id", "exact"),
    "userName": Column("name_key", "folded"),
    "active": Column("state <> 'disabled'", "truth"),
    "meta.created": Column("created", "time"),
    "meta.lastModified": Column("updated", "time"),
    "emails.value": Column("email_key, attributes", "within"),
    "groups.value": Column(
        "EXISTS (SELECT 1 FROM memberships m WHERE m.tenant = accounts.tenant AND m.account = accounts.id"
        " AND m.group_id = ?)",
        "linked",
    ),
}
GROUP_COLUMNS: Mapping[str, Column] = {
    "id": Column("id", "exact"),
    "externalId": Column("external_id", "exact"),
    "displayName": Column("name_key", "folded"),
    "meta.created": Column("created", "time"),
    "meta.lastModified": Column("updated", "time"),
    "members.value": Column(
        "EXISTS (SELECT 1 FROM memberships m JOIN accounts a ON a.tenant = m.tenant AND a.id = m.account"
        " WHERE m.tenant = groups.tenant AND m.group_id = groups.id AND m.account = ? AND a.kind = 'user')",
        "linked",
    ),
}

_ANYTHING = Condition()


def condition(filter_: Filter, kind: Kind, columns: Mapping[str, Column]) -> Condition:
    """The condition of a filter that `evaluate.bind` has found good."""
    if isinstance(filter_, And):
        parts = [condition(item, kind, columns) for item in filter_.items]
        known = [part for part in parts if part.sql]
        return _joined(" AND ", known, all(part.exact for part in parts))
    if isinstance(filter_, Or):
        parts = [condition(item, kind, columns) for item in filter_.items]
        if not all(part.sql for part in parts):
            return _ANYTHING
        return _joined(" OR ", parts, all(part.exact for part in parts))
    if isinstance(filter_, Not):
        part = condition(filter_.item, kind, columns)
        return Condition(f"NOT ({part.sql})", part.params, True) if part.exact else _ANYTHING
    if isinstance(filter_, ValuePath):
        return _of_value_path(filter_, kind, columns)
    column = _column(filter_.path, kind, columns)
    if column is None:
        return _ANYTHING
    return _present(column) if isinstance(filter_, Present) else _compared(filter_, column)


def _joined(word: str, parts: list[Condition], exact: bool) -> Condition:
    if not parts:
        return _ANYTHING
    params = tuple(value for part in parts for value in part.params)
    return Condition(word.join(f"({part.sql})" for part in parts), params, exact)


def _column(path: AttributePath, kind: Kind, columns: Mapping[str, Column]) -> Column | None:
    found = kind.find(path)
    if found is None or found.container or found.attribute is None:
        return None
    if found.sub is not None:
        return columns.get(f"{found.attribute.name}.{found.sub.name}")
    return columns.get(found.attribute.name) or (
        columns.get(f"{found.attribute.name}.value") if found.attribute.multi else None
    )


def _of_value_path(filter_: ValuePath, kind: Kind, columns: Mapping[str, Column]) -> Condition:
    """What the whole of the value must fulfil, any one value must."""
    column = _column(filter_.path, kind, columns)
    parts = filter_.filter.items if isinstance(filter_.filter, And) else (filter_.filter,)
    if column is None:
        return _ANYTHING
    for part in parts:
        if isinstance(part, Compare) and part.path.name.lower() == "value":
            found = _compared(part, column)
            if found.sql:
                return Condition(found.sql, found.params, False)
    return _ANYTHING


def _present(column: Column) -> Condition:
    if column.form in ("exact", "folded"):
        return Condition(f"{column.sql} <> ''", (), True)
    return Condition("1 = 1", (), True) if column.form in ("truth", "time") else _ANYTHING


def _compared(node: Compare, column: Column) -> Condition:
    value = node.value
    if column.form == "truth":
        wanted = value if isinstance(value, bool) else str(value).lower() == "true"
        if value is None:
            return _ANYTHING
        holds = wanted == (node.operator == "eq")
        return Condition(column.sql if holds else f"NOT ({column.sql})", (), True)
    if not isinstance(value, str) or not value or "\x00" in value:
        return _ANYTHING
    if column.form == "time":
        return _timed(node.operator, column.sql, instant(value))
    if column.form == "linked":
        return Condition(column.sql, (value,), True) if node.operator == "eq" else _ANYTHING
    if column.form == "within":
        return _within(node.operator, column.sql, folded(value))
    text = folded(value) if column.form == "folded" else value
    if node.operator in ("eq", "ne"):
        return Condition(f"{column.sql} {'=' if node.operator == 'eq' else '<>'} ?", (text,), True)
    pattern = _pattern(node.operator, text)
    if pattern is None:
        return _ANYTHING
    # SQLite's LIKE takes ASCII letters in any case: that is one letter too many where case matters.
    return Condition(f"{column.sql} LIKE ? ESCAPE '\\'", (pattern,), column.form == "folded")


def _pattern(operator: str, text: str) -> str | None:
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return {"co": f"%{escaped}%", "sw": f"{escaped}%", "ew": f"%{escaped}"}.get(operator)


def _within(operator: str, columns: str, text: str) -> Condition:
    """Texts of JSON hold ASCII as it is, but for quotes, backslashes and what is not printable; what has other letters is
    kept folded beside it (see `mapping`)."""
    plain = text.isascii() and text.isprintable() and '"' not in text and "\\" not in text
    if operator not in ("eq", "co", "sw", "ew") or not plain:
        return _ANYTHING
    pattern = _pattern("co", text)
    sql = " OR ".join(f"LOWER({name.strip()}) LIKE ? ESCAPE '\\'" for name in columns.split(","))
    return Condition(sql, (pattern,) * len(columns.split(",")))


def _timed(operator: str, sql: str, when: float | None) -> Condition:
    if when is None:
        return _ANYTHING
    low, high = when - _HALF_MICROSECOND, when + _HALF_MICROSECOND
    if operator == "eq":
        return Condition(f"{sql} BETWEEN ? AND ?", (low, high), True)
    if operator == "ne":
        return Condition(f"{sql} NOT BETWEEN ? AND ?", (low, high), True)
    compared = {"gt": (">", high), "ge": (">=", low), "lt": ("<", low), "le": ("<=", high)}.get(operator)
    return Condition(f"{sql} {compared[0]} ?", (compared[1],), True) if compared else _ANYTHING
