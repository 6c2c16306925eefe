"""What becomes of a stored resource when a message says something about it (`StoreRequest.merge`).

A message tells what its sender had to say, not everything that is known: what it leaves out stays as it is. That holds for
those who go on from message to message, `MERGED`. A report or a result is said as a whole each time, and what a correction
leaves out is withdrawn: it replaces what was stored.

| in the message | what happens |
|---|---|
| an element is absent | the stored one stays |
| an element is there | it replaces the stored one as a whole; `deceasedBoolean` and `deceasedDateTime` are one element |
| an element is `null` | the stored one goes |
| `identifier`, `link`, `extension` | an entry replaces those of the same system and value, target, or url; others stay |
| an extension with nothing but its url | the stored one of that url goes |
| `period`, `hospitalization` of an Encounter | each of their own elements like an element |
| `status`, `class` say that they are not known (FHIR demands a value) | the stored one stays |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from decimal import Decimal
from typing import Any

import msgspec
from rustcare_sdk.contracts.fhir import MERGED

from .resource import SERVER_SET, Prepared, rebuilt

__all__ = ["MERGED", "merged"]

Body = dict[str, Any]

#: Decimals keep their digits on their way through.
_decode = msgspec.json.Decoder(dict[str, Any], float_hook=Decimal).decode
_HEAD = frozenset({"resourceType", "id", "meta"})
#: Elements of which a resource has one, under the name of its type. Of the merged types only Patient has some.
_CHOICES = {"Patient": ("deceased", "multipleBirth")}
#: Elements whose own elements come from different fields of a message.
_PARTED = {"Encounter": ("period", "hospitalization")}
_NULL_FLAVOR = "http://terminology.hl7.org/CodeSystem/v3-NullFlavor"


def merged(new: Prepared, stored: str) -> Prepared:
    """The resource as it is after the message: `new` is what that says, `stored` the current version's text."""
    before = _decode(stored)
    meta = {name: value for name, value in before.get("meta", {}).items() if name not in SERVER_SET}
    body = {name: value for name, value in before.items() if name not in _HEAD}
    return rebuilt(new, {**meta, **new.meta}, _combined(new.type, body, new.said))


def _combined(type: str, before: Body, said: Mapping[str, Any]) -> Body:
    said = {name: value for name, value in said.items() if not (name in before and _unknown(name, value))}
    elements = {_element(type, name) for name in said}
    after = {name: value for name, value in before.items() if _element(type, name) not in elements}
    for name, value in said.items():
        known = before.get(name)
        key = _KEYS.get(name)
        if key is not None and isinstance(value, list):
            value = _united(known if isinstance(known, list) else [], value, key)
        elif name in _PARTED.get(type, ()) and isinstance(value, dict) and isinstance(known, dict):
            value = {**known, **value}
        after[name] = value
    return after


def _element(type: str, name: str) -> str:
    """Which element a name of the JSON belongs to: `_birthDate` is said about birthDate."""
    plain = name.removeprefix("_")
    for choice in _CHOICES.get(type, ()):
        if plain.startswith(choice):
            return choice
    return plain


def _unknown(name: str, value: Any) -> bool:
    return (name == "status" and value == "unknown") or (
        name == "class" and isinstance(value, dict) and value.get("system") == _NULL_FLAVOR
    )


def _united(before: list[Any], said: list[Any], key: Callable[[Any], Hashable]) -> list[Any]:
    """Stored entries in their order, those that the message names replaced where they stand; then what is new."""
    named: dict[Hashable, list[Any]] = {}
    for entry in said:
        named.setdefault(key(entry), []).append(entry)
    after: list[Any] = []
    for entry in before:
        at = key(entry)
        if at not in named:
            after.append(entry)
        elif named[at]:
            after.extend(named[at])
            named[at] = []
    for entries in named.values():
        after.extend(entries)
    return after


def _whole(entry: Any) -> str:
    return json.dumps(entry, sort_keys=True, default=str)


def _identifier(entry: Any) -> Hashable:
    if isinstance(entry, dict) and isinstance(entry.get("value"), str):
        system = entry.get("system")
        return (system if isinstance(system, str) else "", entry["value"])
    return _whole(entry)


def _link(entry: Any) -> Hashable:
    other = entry.get("other") if isinstance(entry, dict) else None
    reference = other.get("reference") if isinstance(other, dict) else None
    return reference if isinstance(reference, str) else _whole(entry)


def _extension(entry: Any) -> Hashable:
    url = entry.get("url") if isinstance(entry, dict) else None
    return url if isinstance(url, str) else _whole(entry)


#: Lists that are united, and what makes an entry the same.
_KEYS: Mapping[str, Callable[[Any], Hashable]] = {"identifier": _identifier, "link": _link, "extension": _extension}
