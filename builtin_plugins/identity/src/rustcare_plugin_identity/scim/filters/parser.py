"""Reads filters, and the paths of PATCH operations, which hold filters (RFC 7644, sections 3.4.2.2 and 3.5.2).

Names, operators and the words `and`, `or`, `not` are read in any case. What nests too deeply, is too long or
compares too often is refused as it is read. One form beyond the grammar is understood, because a widely used client sends it:
`emails[type eq "work"].value eq "a@b.c"` is `emails[type eq "work" and value eq "a@b.c"]`.
"""

from __future__ import annotations

import json
import math
import re
from typing import cast

from msgspec import Struct

from rustcare_plugin_identity.scim.errors import InvalidFilter, InvalidPath, ScimError

from .nodes import And, AttributePath, Compare, Filter, Literals, Not, Operator, Or, Present, ValuePath

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "MAX_TERMS", "PatchPath", "parse_attribute", "parse_filter", "parse_path"]

#: Characters of a filter or path, how deep it may nest, and how often it may compare.
MAX_LENGTH = 8192
MAX_DEPTH = 40
MAX_TERMS = 200

_TOKEN = re.compile(
    r"""[ \t\r\n]*(?:
      (?P<mark>[()\[\]])
    | (?P<string>"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4})*")
    | (?P<number>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.$:-]))
    | (?P<word>[A-Za-z$][A-Za-z0-9$_.:/%~+-]*)
    | (?P<sub>\.[A-Za-z$][A-Za-z0-9$_-]*)
    )""",
    re.VERBOSE,
)
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*|\$ref", re.ASCII | re.IGNORECASE)
_URN = re.compile(r"urn:[A-Za-z0-9][A-Za-z0-9-]{0,31}:[A-Za-z0-9$_.:/%~+-]+", re.ASCII | re.IGNORECASE)
_OPERATORS = frozenset(("eq", "ne", "co", "sw", "ew", "gt", "ge", "lt", "le"))
_LITERALS: dict[str, Literals] = {"true": True, "false": False, "null": None}


class PatchPath(Struct, frozen=True):
    """Where a PATCH operation works: an attribute, of its values those that the filter selects, of those a sub-attribute.

    A path may also be the URI of an extension as a whole.
    """

    path: AttributePath
    filter: Filter | None = None
    sub: str = ""

    @property
    def place(self) -> str:
        """The path without what its filter compares with, which may be somebody's address: for errors."""
        return f"{self.path}{'[…]' if self.filter is not None else ''}{f'.{self.sub}' if self.sub else ''}"

    def __repr__(self) -> str:
        return f"<PatchPath {self.place}>"


def parse_filter(text: str) -> Filter:
    """The tree of a filter. Raises InvalidFilter."""
    return _Parser(text, InvalidFilter).whole_filter()


def parse_path(text: str) -> PatchPath:
    """The parts of a PATCH operation's path. Raises InvalidPath."""
    return _Parser(text, InvalidPath).whole_path()


def parse_attribute(text: str) -> AttributePath:
    """An attribute's name, as in `attributes`, `sortBy` or a filter. Raises InvalidPath."""
    found = _attribute(text) if len(text) <= MAX_LENGTH else None
    if found is None:
        raise InvalidPath("expected the name of an attribute, such as userName or name.familyName", address="path")
    return found


def _attribute(text: str) -> AttributePath | None:
    uri, name = "", text
    if text[:4].lower() == "urn:":
        uri, _, name = text.rpartition(":")
        if not _URN.fullmatch(uri):
            return None
    name, dot, sub = name.partition(".")
    if not _NAME.fullmatch(name) or (dot and not _NAME.fullmatch(sub)):
        return None
    return AttributePath(name, sub, uri)


class _Parser:
    """Recursive descent over the tokens; a token is its kind and its text."""

    def __init__(self, text: str, error: type[ScimError]) -> None:
        self._error = error
        self._tokens: list[tuple[str, str]] = []
        self._at = 0
        self._depth = 0
        self._terms = 0
        if len(text) > MAX_LENGTH:
            raise error(f"expected at most {MAX_LENGTH} characters, got {len(text)}", address=self._address)
        place = 0
        end = len(text.rstrip(" \t\r\n"))
        while place < end:
            found = _TOKEN.match(text, place)
            if found is None or found.lastgroup is None:
                raise self._wrong(f"something else at character {place + 1}")
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            place = found.end()

    @property
    def _address(self) -> str:
        return "filter" if self._error is InvalidFilter else "path"

    def _wrong(self, got: str, wanted: str = 'a filter such as userName eq "ada"') -> ScimError:
        if self._error is InvalidPath:
            wanted = 'a path such as emails[type eq "work"].value'
        return self._error(f"expected {wanted}, got {got}", hint="see RFC 7644, section 3.4.2.2", address=self._address)

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise self._wrong("its end too early")
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self, kind: str, text: str = "", ahead: int = 0) -> bool:
        at = self._at + ahead
        if at >= len(self._tokens) or self._tokens[at][0] != kind:
            return False
        return not text or self._tokens[at][1].lower() == text

    def _take(self, kind: str, text: str) -> None:
        if not self._peek(kind, text):
            raise self._wrong(f"no {text!r} where it belongs")
        self._at += 1

    def whole_filter(self) -> Filter:
        found = self._or(values=False)
        self._end()
        return found

    def whole_path(self) -> PatchPath:
        kind, text = self._next()
        path = _attribute(text) if kind == "word" else None
        if path is None:
            raise self._wrong("no name of an attribute")
        if not self._peek("mark", "["):
            self._end()
            return PatchPath(path)
        if path.sub:
            raise self._wrong("a filter on a sub-attribute")
        inner = self._brackets()
        sub = self._next()[1][1:] if self._peek("sub") else ""
        if sub and not _NAME.fullmatch(sub):
            raise self._wrong("no name of a sub-attribute")
        self._end()
        return PatchPath(path, inner, sub)

    def _end(self) -> None:
        if self._at < len(self._tokens):
            raise self._wrong("more behind it")

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._wrong(f"one that nests deeper than {MAX_DEPTH}")

    def _or(self, values: bool) -> Filter:
        items = [self._and(values)]
        while self._peek("word", "or"):
            self._at += 1
            items.append(self._and(values))
        return Or.of(items)

    def _and(self, values: bool) -> Filter:
        items = [self._one(values)]
        while self._peek("word", "and"):
            self._at += 1
            items.append(self._one(values))
        return And.of(items)

    def _one(self, values: bool) -> Filter:
        if self._peek("word", "not") and self._peek("mark", "(", 1):
            self._at += 1
            return Not(self._parentheses(values))
        if self._peek("mark", "("):
            return self._parentheses(values)
        kind, text = self._next()
        path = _attribute(text) if kind == "word" else None
        if path is None:
            raise self._wrong("no name of an attribute")
        if self._peek("mark", "["):
            return self._value_path(path, values)
        return self._comparison(path)

    def _parentheses(self, values: bool) -> Filter:
        self._deeper()
        self._take("mark", "(")
        found = self._or(values)
        self._take("mark", ")")
        self._depth -= 1
        return found

    def _brackets(self) -> Filter:
        self._deeper()
        self._take("mark", "[")
        found = self._or(values=True)
        self._take("mark", "]")
        self._depth -= 1
        return found

    def _value_path(self, path: AttributePath, values: bool) -> Filter:
        if values:
            raise self._wrong("brackets within brackets")
        if path.sub:
            raise self._wrong("a filter on a sub-attribute")
        inner = self._brackets()
        if self._peek("sub"):
            sub = _attribute(self._next()[1][1:])
            if sub is None:
                raise self._wrong("no name of a sub-attribute")
            inner = And.of((inner, self._comparison(sub)))
        return ValuePath(path, inner)

    def _comparison(self, path: AttributePath) -> Filter:
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise self._wrong(f"one with more than {MAX_TERMS} comparisons")
        kind, text = self._next()
        operator = text.lower()
        if kind == "word" and operator == "pr":
            return Present(path)
        if kind != "word" or operator not in _OPERATORS:
            raise self._wrong("no operator behind an attribute", "one of eq, ne, co, sw, ew, gt, ge, lt, le, pr")
        return Compare(path, cast(Operator, operator), self._literal())

    def _literal(self) -> Literals:
        kind, text = self._next()
        if kind == "string":
            found = json.loads(text)
            if _surrogate(found):
                raise self._wrong("text with a lone surrogate")
            return cast(str, found)
        if kind == "number":
            number = json.loads(text) if len(text) <= 40 else math.inf
            if isinstance(number, float) and not math.isfinite(number):
                raise self._wrong("a number out of range")
            return cast("int | float", number)
        if kind == "word" and text.lower() in _LITERALS:
            return _LITERALS[text.lower()]
        raise self._wrong("something else", "text in double quotes, a number, true, false or null")


def _surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)
