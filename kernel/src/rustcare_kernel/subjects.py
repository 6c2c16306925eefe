"""Which subscriptions a subject reaches: a trie of patterns.

Patterns are dot-separated tokens; `*` stands for one token, `>` (only last) for one or more. The grammar itself, shared
with capability scopes, lives in `rustcare_sdk.subjects`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from rustcare_sdk.subjects import check_pattern

__all__ = ["PatternTrie"]

T = TypeVar("T")


class _Node(Generic[T]):
    __slots__ = ("children", "rest", "values")

    def __init__(self) -> None:
        self.children: dict[str, _Node[T]] = {}
        self.values: list[T] = []  # patterns that end here
        self.rest: list[T] = []  # patterns that end in `>` here


class PatternTrie(Generic[T]):
    """Values filed under patterns; `match` finds all whose pattern fits a subject, in the order they were added."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._order: dict[int, int] = {}
        self._next = 0

    def __len__(self) -> int:
        return len(self._order)

    def add(self, pattern: str, value: T) -> None:
        """File a value (compared by identity; once at a time). Raises InvalidSubject for a malformed pattern."""
        check_pattern(pattern)
        self._order[id(value)] = self._next
        self._next += 1
        node, tokens, rest = self._root, pattern.split("."), False
        if tokens[-1] == ">":
            tokens, rest = tokens[:-1], True
        for token in tokens:
            node = node.children.setdefault(token, _Node())
        (node.rest if rest else node.values).append(value)

    def remove(self, pattern: str, value: T) -> None:
        """Take a value out again, and every branch that is empty then. A value that is not there is ignored."""
        tokens, rest = pattern.split("."), False
        if tokens[-1] == ">":
            tokens, rest = tokens[:-1], True
        path: list[tuple[_Node[T], str]] = []
        node = self._root
        for token in tokens:
            child = node.children.get(token)
            if child is None:
                return
            path.append((node, token))
            node = child
        kept = node.rest if rest else node.values
        for index, item in enumerate(kept):
            if item is value:
                del kept[index]
                self._order.pop(id(value), None)
                break
        for parent, token in reversed(path):
            child = parent.children[token]
            if child.children or child.values or child.rest:
                break
            del parent.children[token]

    def match(self, subject: str) -> list[T]:
        """All values whose pattern fits, oldest first."""
        found: list[T] = []
        self._collect(self._root, subject.split("."), 0, found)
        found.sort(key=lambda value: self._order[id(value)])
        return found

    def _collect(self, node: _Node[T], tokens: list[str], at: int, found: list[T]) -> None:
        if at == len(tokens):
            found.extend(node.values)
            return
        found.extend(node.rest)
        for token in (tokens[at], "*"):
            child = node.children.get(token)
            if child is not None:
                self._collect(child, tokens, at + 1, found)

    def __iter__(self) -> Iterator[T]:
        todo = [self._root]
        while todo:
            node = todo.pop()
            yield from node.values
            yield from node.rest
            todo.extend(node.children.values())
