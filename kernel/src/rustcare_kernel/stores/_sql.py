"""Reading SQL just far enough: where strings and comments are, what kind of statement it is, where its `?` are.

A plugin's SQL stays in the subset both databases speak, and in one statement that reads or writes rows. That is checked
here, for both in the same way, because the drivers share connections: a stray `COMMIT` would end somebody else's work,
and a table made outside of a migration would be missing from a restored backup.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from .errors import MigrationInvalid, StatementRefused, ValueUnsupported

__all__ = ["Dialect", "Statement", "analyse", "check_values", "split"]

Dialect = Literal["sqlite", "postgres"]

_WRITES = frozenset({"INSERT", "UPDATE", "DELETE"})
_ROWS = frozenset({"SELECT", "VALUES", "WITH"}) | _WRITES
_SCHEMA = frozenset({"CREATE", "ALTER", "DROP"})
_ADJECTIVES = frozenset({"OR", "REPLACE", "UNIQUE", "VIRTUAL", "MATERIALIZED", "RECURSIVE", "CONSTRAINT"})
_OBJECTS = frozenset({"TABLE", "INDEX", "VIEW", "TRIGGER", "SEQUENCE", "TYPE", "DOMAIN", "FUNCTION"})

_COMMON = r"""
    (?P<comment>--[^\n]*) | (?P<block>/\*)
  | (?P<quoted>{quoted})
  | (?P<hole>\?\d*) | (?P<end>;) | (?P<space>\s+)
  | (?P<word>[^\W\d][\w$]*) | (?P<other>\d[\w.]*|.)
"""
_STRINGS = r"""'(?:[^']|'')*' | "(?:[^"]|"")*" """
_PATTERNS: dict[str, re.Pattern[str]] = {
    "sqlite": re.compile(_COMMON.format(quoted=_STRINGS + r"| `(?:[^`]|``)*` | \[[^\]]*\]"), re.VERBOSE | re.DOTALL),
    "postgres": re.compile(
        _COMMON.format(quoted=r"[eE]'(?:[^'\\]|\\.|'')*' |" + _STRINGS + r"| (?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag)"),
        re.VERBOSE | re.DOTALL,
    ),
}
_BLOCK_EDGE = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement: the text as the database gets it, and whether it only reads."""

    text: str
    keyword: str
    reads: bool
    holes: int


def _tokens(sql: str, dialect: Dialect) -> Iterator[tuple[str, str]]:
    match_at = _PATTERNS[dialect].match
    position, length = 0, len(sql)
    while position < length:
        found = match_at(sql, position)
        assert found is not None  # `other` takes any character
        kind, end = str(found.lastgroup), found.end()
        if found.start("quoted") >= 0:
            kind = "quoted"  # lastgroup would say `tag`
        if kind == "block":
            kind, end = "comment", _block_end(sql, end, nested=dialect == "postgres")
        yield kind, sql[position:end]
        position = end


def _block_end(sql: str, position: int, *, nested: bool) -> int:
    depth = 1
    for edge in _BLOCK_EDGE.finditer(sql, position):
        if edge.group() == "*/":
            depth -= 1
            if depth == 0:
                return edge.end()
        elif nested:
            depth += 1
    return len(sql)


@lru_cache(maxsize=4096)
def analyse(sql: str, dialect: Dialect, mark: str = "") -> Statement:
    """What a plugin's one statement is, with `?` written as the database wants it.

    Args:
        sql: the statement.
        dialect: whose quoting rules and placeholders apply.
        mark: a comment to put before it (it keeps one plugin's prepared statements apart from another's).

    Raises:
        StatementRefused: it is none, more than one, or of another kind.
    """
    out: list[str] = [mark]
    words: list[str] = []
    holes, ended = 0, False
    for kind, text in _tokens(sql, dialect):
        if kind in ("space", "comment"):
            out.append(" " if kind == "comment" else text)
            continue
        if ended and kind != "end":
            raise StatementRefused(
                "one statement was expected and more came",
                hint="send them one by one inside `async with db.transaction() as tx:`",
            )
        if kind == "end":
            ended = True
            continue
        if kind == "hole":
            if text != "?":
                raise StatementRefused(
                    "a numbered placeholder is not in the SQL that both databases speak", hint="write a plain `?`"
                )
            holes += 1
            out.append("?" if dialect == "sqlite" else f"${holes}")
            continue
        if kind == "word":
            words.append(text.upper())
        out.append(text)
    keyword = words[0] if words else ""
    if keyword not in _ROWS:
        raise _refusal(keyword)
    # INSERT OR ROLLBACK would undo the neighbours of the same commit; SELECT INTO makes a table.
    if "ROLLBACK" in words or (keyword == "SELECT" and "INTO" in words):
        raise _refusal("ROLLBACK" if "ROLLBACK" in words else "SELECT INTO")
    reads = keyword in ("SELECT", "VALUES") or (keyword == "WITH" and _WRITES.isdisjoint(words))
    return Statement("".join(out), keyword, reads, holes)


def _refusal(keyword: str) -> StatementRefused:
    # Only a keyword that we know is repeated: the first word of a broken statement may be anything, a name included.
    known = keyword if keyword in _SCHEMA | _CONTROL else "another statement"
    if keyword in _SCHEMA:
        hint = "the schema changes in migrations only: write a file migrations/NNNN_name.sql"
    elif keyword in _CONTROL:
        hint = "transactions are `async with db.transaction() as tx:`; settings belong to the kernel"
    else:
        hint = "see the SQL subset in the documentation of stores"
    return StatementRefused(f"SELECT, VALUES, WITH, INSERT, UPDATE or DELETE was expected and {known} came", hint=hint)


_CONTROL = frozenset(
    {
        "BEGIN",
        "START",
        "COMMIT",
        "END",
        "ROLLBACK",
        "SAVEPOINT",
        "RELEASE",
        "PRAGMA",
        "ATTACH",
        "DETACH",
        "VACUUM",
        "SET",
    }
    | {"RESET", "COPY", "LOCK", "LISTEN", "NOTIFY", "DO", "CALL", "EXPLAIN", "SELECT INTO", "REPLACE", "TRUNCATE"}
)


def split(sql: str, dialect: Dialect, address: str) -> list[str]:
    """The statements of a migration file, each checked to be one that a migration may hold.

    Raises:
        MigrationInvalid: a statement is neither of rows nor of the schema (transactions and settings are the kernel's).
    """
    found: list[str] = []
    piece: list[str] = []
    words: list[str] = []
    for kind, text in _tokens(sql, dialect):
        piece.append(text)
        if kind == "word":
            words.append(text.upper())
        # The semicolons inside of a SQLite trigger's BEGIN … END do not end it; SQLite itself knows.
        if kind == "end" and (dialect == "postgres" or sqlite3.complete_statement("".join(piece))):
            if words:
                _check_migration(words, address, len(found) + 1)
                found.append("".join(piece).strip())
            piece, words = [], []
    if words:
        _check_migration(words, address, len(found) + 1)
        found.append("".join(piece).strip())
    return found


def _check_migration(words: Sequence[str], address: str, count: int) -> None:
    keyword = words[0]
    ok = keyword in _ROWS
    if keyword in _SCHEMA:
        ok = next((word for word in words[1:] if word not in _ADJECTIVES), "") in _OBJECTS
    if not ok:
        shown = keyword if keyword in _SCHEMA | _CONTROL else "another statement"
        raise MigrationInvalid(
            f"statement {count}: a statement of rows, or CREATE, ALTER or DROP of a table, index, view, trigger, "
            f"sequence, type, domain or function was expected and {shown} came",
            hint="the kernel runs each migration in a transaction with its own settings; temporary and unlogged tables "
            "are refused, since they do not last",
            address=address,
        )


_SPOKEN = (int, float, str, bytes, type(None))  # bool is an int
_PLAIN = frozenset({int, bool, bytes, type(None)})


def check_values(params: Sequence[Any]) -> None:
    """Refuse what the two databases would store differently.

    Raises:
        ValueUnsupported: a parameter is of another type, a NaN (NULL in SQLite), or text with a NUL (refused by
        PostgreSQL).
    """
    for position, value in enumerate(params, 1):
        kind = type(value)
        if kind is str:  # most are; every parameter of every statement comes through here
            if "\0" not in value:
                continue
        elif kind in _PLAIN:
            continue
        if not isinstance(value, _SPOKEN):
            came = type(value).__name__
        elif isinstance(value, float) and value != value:
            came = "NaN"
        elif isinstance(value, str) and "\0" in value:
            came = "str with a NUL character"
        else:
            continue
        raise ValueUnsupported(
            f"parameter {position}: int, float, str, bytes, bool or None was expected and {came} came",
            hint="write times as ISO 8601 text, structures as JSON text, and raw data as bytes",
        )
