"""Entries: what is written in the log, their one canonical form, and how they are made.

An entry is a JSON object in UTF-8 with sorted keys, without insignificant space and without floats; empty fields are left
out. Its bytes are a leaf of the tree, so there must be exactly one way to write it. It has at most 65,535 bytes, what an
entry bundle of C2SP tlog-tiles can hold: what is longer goes on in entries of the kind `continuation`.

Nothing personal is in clear in it: names of patients and resources, and values of fields, are in `sealed`, one ciphertext
for each subject, under the subject's own key; `subjects` are the pseudonyms in the same order. A field's change is a pair
of commitments SHA-256(salt ‖ value) whose salts and values are in the sealed part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from rustcare_sdk.contracts.audit import Attempt

__all__ = [
    "MAX_ENTRY",
    "Change",
    "Disclosure",
    "Draft",
    "Entry",
    "Part",
    "What",
    "Which",
    "Who",
    "canonical_value",
    "changes",
    "clip",
    "commit",
    "decode",
    "encode",
    "fact",
    "of_attempt",
    "plain",
    "sealed_values",
]

#: The longest entry in bytes (C2SP tlog-tiles: a length of 16 bits).
MAX_ENTRY = 65_535
#: Characters of a name in an entry.
TEXT = 256
SALT = 16
_SAFE = 2**53 - 1  # the largest whole number that every JSON reader keeps (RFC 8259 section 6)


class Who(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who acted: a plugin's version, by its package digest, in the name of a principal."""

    plugin: str = ""
    version: str = ""
    digest: str = ""
    principal: str = ""
    on_behalf: str = ""


class What(msgspec.Struct, frozen=True, omit_defaults=True):
    """`action`: create, read, update, delete or execute; of operations and facts their name."""

    action: str = ""
    capability: str = ""
    subject: str = ""


class Which(msgspec.Struct, frozen=True, omit_defaults=True):
    """`type` of resource, or `types` with how many of each; `name` of what is not personal (a key, a report); `version`
    where the message names one."""

    tenant: str
    type: str = ""
    types: dict[str, int] = {}
    version: str = ""
    name: str = ""


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """A field's commitments before and after, 32 bytes each, empty where there is no value (or none is known)."""

    field: str
    old: bytes = b""
    new: bytes = b""


class Disclosure(msgspec.Struct, frozen=True, omit_defaults=True):
    """The `n`th disclosure of the subject (its pseudonym). `what` and `purpose`: in words without personal data.

    `time`: when it happened, for one that is stated afterwards (µs). The recipient is in the sealed part.
    """

    subject: str
    n: int
    what: str = ""
    purpose: str = ""
    time: int = 0


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """An entry as it is written. Only what is empty may be a default: what is left out must not depend on which of two
    equal objects was given. `time`: µs since 1970. `of`: of an outcome, [index, outcome, code, effect] each.

    `continues`: the id of the entry that this one goes on with. `erased`: how many subjects had no key any more.
    """

    v: int
    id: str
    time: int
    kind: str
    who: Who | None = None
    what: What | None = None
    which: Which | None = None
    why: str = ""
    trace: str = ""
    sealed: list[bytes] = []
    subjects: list[str] = []
    changes: list[Change] = []
    disclosure: Disclosure | None = None
    details: dict[str, Any] = {}
    of: list[list[Any]] = []
    continues: str = ""
    text: str = ""
    erased: int = 0


class Part(msgspec.Struct):
    """What is personal about one subject (`patient/123`), to be sealed under its key. `values`: plain JSON."""

    subject: str
    values: dict[str, Any]


class Draft(msgspec.Struct):
    """An entry before it is sealed.

    Attributes:
        entry: its clear part.
        parts: what is sealed, one for each subject.
        disclosed: positions in `parts` of the subjects whose disclosure this is.
        disclosure: what to say of it in clear.
    """

    entry: Entry
    parts: list[Part] = []
    disclosed: list[int] = []
    disclosure: Disclosure | None = None


_encoder = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """The canonical form."""
    try:
        return _encoder.encode(entry)
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot hold
        return _encoder.encode(msgspec.convert(_valid(msgspec.to_builtins(entry)), Entry))


def decode(data: bytes) -> Entry:
    """An entry of the log. Raises msgspec.DecodeError or ValidationError for bytes that are none."""
    return _decoder.decode(data)


def _valid(value: Any, depth: int = 0) -> Any:
    """What JSON can hold, as near as it comes to a value."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, dict) and depth < 50:
        return {_valid(str(key)): _valid(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)) and depth < 50:
        return [_valid(item, depth + 1) for item in value]
    return type(value).__name__


def plain(value: Any) -> Any:
    """Any JSON value without floats and without whole numbers that some readers would round: these become text."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, int):
        return value if -_SAFE <= value <= _SAFE else str(value)
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e16 else repr(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return plain(msgspec.to_builtins(value, str_keys=True))


def clip(text: str, limit: int = TEXT) -> str:
    """Text of at most so many characters: names come from outside, and an entry has to stay small."""
    if len(text) > limit:
        text = f"{text[: limit - 1]}…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be written


def of_attempt(attempt: Attempt, action: str, which: Which, changes: list[Change]) -> Entry:
    """The clear part of an attempt's entry."""
    who = _who(
        clip(attempt.plugin),
        clip(attempt.version),
        clip(attempt.digest),
        clip(attempt.principal),
        clip(attempt.on_behalf),
    )
    return Entry(
        v=1,
        id=attempt.id,
        time=attempt.time,
        kind=attempt.kind,
        who=who,
        what=What(clip(action), clip(attempt.capability, 2 * TEXT), clip(attempt.subject)),
        which=which,
        why=clip(attempt.purpose),
        trace=clip(attempt.trace),
        changes=changes,
        details=plain(attempt.details) if attempt.details else {},
    )


_EMPTY = Who()
_last: tuple[tuple[str, ...], Who] = (("", "", "", "", ""), _EMPTY)


def _who(*names: str) -> Who:
    """The same plugin acts many times in a row: one object for all of them."""
    global _last
    if _last[0] != names:
        _last = (names, Who(*names))
    return _last[1]


def fact(id: str, time: int, action: str, details: dict[str, Any] | None = None, tenant: str = "default") -> Draft:
    """A fact that the audit plugin states itself, such as `audit.prune`; `details` without anything personal."""
    entry = Entry(
        v=1,
        id=id,
        time=time,
        kind="fact",
        who=Who(plugin="rustcare.audit"),
        what=What(action),
        which=Which(tenant),
        details=plain(details or {}),
    )
    return Draft(entry)


# commitments


def sealed_values(values: dict[str, Any]) -> bytes:
    """What a sealed part holds: JSON."""
    return canonical_value(values)


def canonical_value(value: Any) -> bytes:
    """A field's value as it is committed to: JSON with sorted keys (of what JSON cannot hold, as near as it comes)."""
    try:
        return _encoder.encode(value)
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError):
        return _encoder.encode(_valid(value))


def commit(salt: bytes, value: bytes) -> bytes:
    """The commitment to a canonical value: SHA-256 over 16 bytes of salt and the value."""
    if len(salt) != SALT:
        raise ValueError(f"expected a salt of {SALT} bytes, got {len(salt)}")
    return hashlib.sha256(salt + value).digest()


_MISSING: Any = object()
LONG_VALUE = 2048  # bytes: the sealed part has only the salt of a longer value, whoever has the value can check it
ALL_VALUES = 16_000  # bytes of values in one sealed part
MAX_FIELDS = 400


def changes(
    old: dict[str, Any] | None, new: dict[str, Any] | None, random: Callable[[int], bytes], skip: Iterable[str] = ()
) -> tuple[list[Change], list[dict[str, Any]]]:
    """What changed between two objects, field by field: the commitments, and what is sealed beside them.

    `old` None: it is not known, so that every field of `new` counts. Of each field: `field`, `salt_old`, `old`,
    `salt_new`, `new` (salts in hex; what is not there is left out).
    """
    before, after = old or {}, new or {}
    skipped = frozenset(skip)
    public: list[Change] = []
    sealed: list[dict[str, Any]] = []
    names = [name for name in {*before, *after} if isinstance(name, str) and name not in skipped]
    room = ALL_VALUES
    for name in sorted(names)[:MAX_FIELDS]:
        values = {"old": before.get(name, _MISSING), "new": after.get(name, _MISSING)}
        found = {which: canonical_value(value) for which, value in values.items() if value is not _MISSING}
        if len(found) == 2 and found["old"] == found["new"]:
            continue
        row: dict[str, Any] = {"field": clip(name, 100)}
        commitments = {}
        for which, data in found.items():
            salt = random(SALT)
            commitments[which] = commit(salt, data)
            row[f"salt_{which}"] = salt.hex()
            if len(data) <= min(LONG_VALUE, room):
                room -= len(data)
                row[which] = msgspec.json.decode(data)  # as it was committed to
        public.append(Change(clip(name, 100), commitments.get("old", b""), commitments.get("new", b"")))
        sealed.append(row)
    return public, sealed
