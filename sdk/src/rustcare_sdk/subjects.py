"""Subjects (`hl7.adt.a01`) and subject patterns (`hl7.adt.*`, `fhir.>`).

Portable. A subject is one or more tokens of `A-Z a-z 0-9 _ -`, separated by dots. In a pattern the token `*` stands for
any one token, and `>` as the last for one or more. The bus routes by them and capabilities of kind `bus` are scoped by
them, so both mean the same.
"""

from __future__ import annotations

import re

from .errors import InvalidSubject

__all__ = [
    "MAX_LENGTH",
    "check_pattern",
    "check_subject",
    "is_subject",
    "pattern_covers",
    "pattern_intersection",
    "pattern_matches",
]

#: The longest subject or pattern, in characters.
MAX_LENGTH = 255

_TOKEN = r"[A-Za-z0-9_-]+"
_SUBJECT = re.compile(rf"{_TOKEN}(?:\.{_TOKEN})*")
_PATTERN = re.compile(rf"(?:(?:{_TOKEN}|\*)\.)*(?:{_TOKEN}|\*|>)")


def is_subject(text: str) -> bool:
    """Whether the text is a well-formed subject."""
    return len(text) <= MAX_LENGTH and _SUBJECT.fullmatch(text) is not None


def check_subject(text: str, address: str = "") -> str:
    """The text itself. Raises InvalidSubject when it is not a well-formed subject."""
    if is_subject(text):
        return text
    raise _refuse("a subject such as hl7.adt.a01", text, address)


def check_pattern(text: str, address: str = "") -> str:
    """The text itself. Raises InvalidSubject when it is not a well-formed pattern."""
    if len(text) <= MAX_LENGTH and _PATTERN.fullmatch(text) is not None:
        return text
    raise _refuse("a subject pattern such as hl7.adt.* or fhir.>", text, address)


def _refuse(expected: str, text: str, address: str) -> InvalidSubject:
    if len(text) > MAX_LENGTH:
        return InvalidSubject(f"expected at most {MAX_LENGTH} characters, got {len(text)}", address=address)
    tokens = text.split(".")
    if "" in tokens:
        hint = "no token may be empty: look for a dot at the start, at the end, or twice"
    elif ">" in tokens[:-1]:
        hint = "`>` stands only at the end"
    elif "*" in tokens or ">" in tokens:
        hint = "wildcards are for patterns; here every token must be spelled out"
    elif any("*" in token or ">" in token for token in tokens):
        hint = "a wildcard is a whole token: hl7.*, not hl7.a*"
    else:
        hint = "tokens are made of A-Z a-z 0-9 _ - and separated by dots"
    return InvalidSubject(f"expected {expected}, got {text!r}", hint=hint, address=address)


def pattern_matches(pattern: str, subject: str) -> bool:
    """Whether a well-formed pattern fits a well-formed subject."""
    return pattern == subject or _covers(pattern.split("."), subject.split("."))


def pattern_covers(a: str, b: str) -> bool:
    """Whether every subject that pattern `b` fits, pattern `a` fits too."""
    return a == b or _covers(a.split("."), b.split("."))


def _covers(a: list[str], b: list[str]) -> bool:
    if a[-1] == ">":
        head = len(a) - 1
        if len(b) <= head:  # `>` in b counts as at least one token, so the lengths compare as they are
            return False
        return all(x in ("*", y) and y != ">" for x, y in zip(a[:head], b, strict=False))
    if len(a) != len(b):
        return False
    return all((x == y or x == "*") and y != ">" for x, y in zip(a, b, strict=True))


def pattern_intersection(a: str, b: str) -> str | None:
    """The pattern that fits exactly the subjects that both fit, or None when there are none."""
    left, right = a.split("."), b.split(".")
    if left[-1] == ">" and (right[-1] != ">" or len(right) > len(left)):
        left, right = right, left  # now: right may be open-ended where left is not, or both are and left is longer
    if right[-1] == ">":
        if len(left) < len(right):
            return None
        head = len(right) - 1
        tail = left[head:]
        left, right = left[:head], right[:head]
    elif len(left) != len(right):
        return None
    else:
        tail = []
    merged = []
    for x, y in zip(left, right, strict=True):
        if x != y and "*" not in (x, y):
            return None
        merged.append(y if x == "*" else x)
    return ".".join(merged + tail)
