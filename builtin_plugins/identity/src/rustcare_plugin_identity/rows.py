"""Structs as rows and back: a field is a column; a tuple of words is one text with blanks between."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from rustcare_sdk.context import Queries

__all__ = ["from_row", "insert"]

S = TypeVar("S", bound=msgspec.Struct)


def from_row(type_: type[S], row: Mapping[str, Any], *words: str) -> S:
    """The struct of a row; `words` are the columns that hold tuples. Other columns than the struct's fields do not matter."""
    return msgspec.convert({**row, **{name: tuple(row[name].split()) for name in words}}, type_)


async def insert(tx: Queries, table: str, value: msgspec.Struct, *words: str, **more: Any) -> None:
    """Write a struct as a new row. `more`: columns that are no fields."""
    row = {**msgspec.structs.asdict(value), **more}
    row.update({name: " ".join(row[name]) for name in words})
    await tx.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
