"""The tree of a filter (RFC 7644, section 3.4.2.2). `str` of a node is a filter that parses to the same tree."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

__all__ = ["And", "AttributePath", "Compare", "Filter", "Literals", "Not", "Operator", "Or", "Present", "ValuePath"]

Operator = Literal["eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"]
Literals = str | int | float | bool | None


class AttributePath(Struct, frozen=True):
    """`urn:…:User:name.familyName`: the schema's URI (or empty), the attribute, its sub-attribute (or empty)."""

    name: str
    sub: str = ""
    uri: str = ""

    def __str__(self) -> str:
        prefix = f"{self.uri}:" if self.uri else ""
        return f"{prefix}{self.name}.{self.sub}" if self.sub else f"{prefix}{self.name}"


class Compare(Struct, frozen=True):
    """`userName sw "J"`."""

    path: AttributePath
    operator: Operator
    value: Literals

    def __str__(self) -> str:
        return f"{self.path} {self.operator} {json.dumps(self.value)}"

    def __repr__(self) -> str:
        return f"<Compare {self.path} {self.operator}>"  # the value may be somebody's address


class Present(Struct, frozen=True):
    """`title pr`."""

    path: AttributePath

    def __str__(self) -> str:
        return f"{self.path} pr"


class Not(Struct, frozen=True):
    """`not (…)`."""

    item: Filter

    def __str__(self) -> str:
        return f"not ({self.item})"


class And(Struct, frozen=True):
    """Two or more, all of them; none is an `And` itself."""

    items: tuple[Filter, ...]

    @staticmethod
    def of(items: Iterable[Filter]) -> Filter:
        """All of them, as one node."""
        flat = [part for item in items for part in (item.items if isinstance(item, And) else (item,))]
        return flat[0] if len(flat) == 1 else And(tuple(flat))

    def __str__(self) -> str:
        return " and ".join(f"({item})" if isinstance(item, Or) else str(item) for item in self.items)


class Or(Struct, frozen=True):
    """Two or more, any of them; none is an `Or` itself. `and` binds more tightly."""

    items: tuple[Filter, ...]

    @staticmethod
    def of(items: Iterable[Filter]) -> Filter:
        """Any of them, as one node."""
        flat = [part for item in items for part in (item.items if isinstance(item, Or) else (item,))]
        return flat[0] if len(flat) == 1 else Or(tuple(flat))

    def __str__(self) -> str:
        return " or ".join(str(item) for item in self.items)


class ValuePath(Struct, frozen=True):
    """`emails[type eq "work"]`: one value of the attribute for which the whole of the inner filter holds."""

    path: AttributePath
    filter: Filter

    def __str__(self) -> str:
        return f"{self.path}[{self.filter}]"


Filter = Compare | Present | Not | And | Or | ValuePath
