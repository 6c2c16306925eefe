"""From method and path to a route. 10,000 routes cost what one costs: paths without parameters are one look into a table,
the others a walk down a tree that is as deep as the path is long.

A word wins over a parameter, a parameter over `{rest...}`. A path that fits several routes goes to the first of them, in
this order, that knows the method.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from rustcare_sdk.routes import Segment, segments

__all__ = ["Routable", "Router"]


class Routable(Protocol):
    """What a router leads to."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...


E = TypeVar("E", bound=Routable)
KEPT = 4096  # paths whose route is remembered


class _Node(Generic[E]):
    __slots__ = ("here", "parameter", "rest", "words")

    def __init__(self) -> None:
        self.words: dict[str, _Node[E]] = {}
        self.parameter: _Node[E] | None = None
        self.here: dict[str, tuple[E, tuple[str, ...]]] = {}
        self.rest: dict[str, tuple[E, tuple[str, ...]]] = {}


class Router(Generic[E]):
    """A table of routes. It does not change; another set of routes is another router."""

    def __init__(self, entries: Iterable[E]) -> None:
        self._words: dict[str, dict[str, E]] = {}
        self._found: dict[tuple[str, str], tuple[E, dict[str, str]]] = {}
        self._root: _Node[E] = _Node()
        self.entries = tuple(entries)
        for entry in self.entries:
            parts = segments(entry.path)
            names = tuple(part.text for part in parts if part.parameter)
            if not names:
                self._words.setdefault(entry.path, {}).setdefault(entry.method, entry)
            self._insert(parts, entry, names)

    def _insert(self, parts: tuple[Segment, ...], entry: E, names: tuple[str, ...]) -> None:
        node = self._root
        for part in parts:
            if part.rest:
                node.rest.setdefault(entry.method, (entry, names))
                return
            if part.parameter:
                if node.parameter is None:
                    node.parameter = _Node()
                node = node.parameter
            else:
                node = node.words.setdefault(part.text, _Node())
        node.here.setdefault(entry.method, (entry, names))

    def find(self, method: str, path: str) -> tuple[E, dict[str, str]] | None:
        """The route of a decoded path, and its parameters; None when there is none. HEAD is answered by what answers GET."""
        known = self._words.get(path)
        if known is not None:
            entry = known.get(method)
            if entry is not None:
                return entry, {}
        held = self._found.get((method, path))
        if held is not None:
            return held[0], held[1].copy()
        parts = path[1:].split("/") if path != "/" else []
        found = self._walk(self._root, parts, 0, (), method)
        if found is None:
            if method != "HEAD":
                return None
            found = self._walk(self._root, parts, 0, (), "GET")
            if found is None:
                return None
        (entry, names), values = found
        params = dict(zip(names, values, strict=True))
        if len(path) <= 256:  # what many ask for is looked for once
            if len(self._found) >= KEPT:
                self._found.clear()
            self._found[method, path] = (entry, params.copy())
        return entry, params

    def allowed(self, path: str) -> tuple[str, ...]:
        """The methods with which a path is answered, sorted; none when no route has it."""
        methods: set[str] = set()
        self._methods(self._root, path[1:].split("/") if path != "/" else [], 0, methods)
        if not methods:
            return ()
        if "GET" in methods:
            methods.add("HEAD")
        return tuple(sorted({*methods, "OPTIONS"}))

    def _walk(
        self, node: _Node[E], parts: list[str], at: int, values: tuple[str, ...], method: str
    ) -> tuple[tuple[E, tuple[str, ...]], tuple[str, ...]] | None:
        if at == len(parts):
            held = node.here.get(method)
            return None if held is None else (held, values)
        part = parts[at]
        child = node.words.get(part)
        if child is not None:
            found = self._walk(child, parts, at + 1, values, method)
            if found is not None:
                return found
        if node.parameter is not None and part:
            found = self._walk(node.parameter, parts, at + 1, (*values, part), method)
            if found is not None:
                return found
        held = node.rest.get(method)
        if held is not None:
            rest = "/".join(parts[at:])
            if rest:
                return held, (*values, rest)
        return None

    def _methods(self, node: _Node[E], parts: list[str], at: int, methods: set[str]) -> None:
        if at == len(parts):
            methods.update(node.here)
            return
        child = node.words.get(parts[at])
        if child is not None:
            self._methods(child, parts, at + 1, methods)
        if node.parameter is not None and parts[at]:
            self._methods(node.parameter, parts, at + 1, methods)
        if "/".join(parts[at:]):
            methods.update(node.rest)
