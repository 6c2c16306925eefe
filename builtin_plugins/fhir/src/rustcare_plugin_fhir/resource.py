"""What a resource must be to be stored, and its stored form.

Checked: a known R4 type, a well-formed id, and that every reference is written in a way that can be followed. Elements are
not validated against profiles. Content is compared and stored in one canonical form (keys sorted), so that the same content
never makes a second version.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from .errors import InvalidResource
from .types import RESOURCE_TYPES

__all__ = ["SERVER_SET", "Prepared", "check_identity", "prepare", "rebuilt", "stored_form"]

_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}")
_REFERENCE = re.compile(rb'"reference":("(?:[^"\\]|\\.)*")')
_RELATIVE = re.compile(r"([A-Za-z]+)/([A-Za-z0-9\-.]{1,64})(?:/_history/[A-Za-z0-9\-.]{1,64})?")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
#: What the store itself sets in `meta`.
SERVER_SET = ("versionId", "lastUpdated")
_URL_ONLY = frozenset({"url"})
#: Decimals keep their digits (1.50 stays 1.50) when the sender gives them as decimals.
_encode = msgspec.json.Encoder(order="sorted", decimal_format="number").encode


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked resource. `rest` is its JSON without type, id and meta; `targets` are the local references in it.

    `said` are the elements as they came. Where a request merges, one that is null says that it is to be deleted, and is no
    part of `rest`.
    """

    type: str
    id: str
    ref: str
    meta: Mapping[str, Any]
    rest: bytes
    digest: str
    targets: frozenset[str]
    said: Mapping[str, Any]


def check_identity(type: Any, id: Any, address: str) -> str:
    """`type/id` when both are well formed. Raises InvalidResource; it does not repeat what came."""
    if not isinstance(type, str) or type not in RESOURCE_TYPES:
        raise InvalidResource(
            "expected a resource type of FHIR R4, got another text"
            if isinstance(type, str)
            else "expected a resource type of FHIR R4, got none",
            hint="such as Patient; capital letters matter",
            address=address,
        )
    if not isinstance(id, str) or not _ID.fullmatch(id):
        raise InvalidResource(
            f"expected an id of 1 to 64 letters, digits, - or ., for a {type}",
            hint="hash longer identifiers",
            address=f"{address}.id",
        )
    return f"{type}/{id}"


def prepare(resource: Any, address: str, *, merge: bool = False) -> Prepared:
    """Check one resource. `address` says in errors where it stands, such as `resources[2]`; `merge` is the request's.

    Raises:
        InvalidResource: with the place, never with the content.
    """
    if not isinstance(resource, dict):
        raise InvalidResource("expected a JSON object", address=address)
    ref = check_identity(resource.get("resourceType"), resource.get("id"), address)
    meta = resource.get("meta", {})
    if not isinstance(meta, dict):
        raise InvalidResource("expected a JSON object", address=f"{address}.meta")
    kept = {name: value for name, value in meta.items() if name not in SERVER_SET}
    body = {name: value for name, value in resource.items() if name not in ("resourceType", "id", "meta")}
    try:
        rest, digest = _content(kept, _without_nulls(body) if merge else body)
    except (TypeError, ValueError, RecursionError):  # their texts may quote the content
        raise InvalidResource("it holds something that JSON cannot", address=address) from None
    targets = _targets(rest, body, address) if b'"reference":"' in rest else frozenset()
    return Prepared(resource["resourceType"], resource["id"], ref, kept, rest, digest, targets, body)


def rebuilt(prepared: Prepared, meta: Mapping[str, Any], body: Mapping[str, Any]) -> Prepared:
    """The same resource with other content; what it refers to was checked."""
    rest, digest = _content(meta, _without_nulls(body))
    return Prepared(prepared.type, prepared.id, prepared.ref, meta, rest, digest, prepared.targets, body)


def _content(meta: Mapping[str, Any], body: Mapping[str, Any]) -> tuple[bytes, str]:
    """The canonical JSON of the elements, and the digest of everything but the identity."""
    rest = _encode(body)
    return rest, hashlib.sha256(rest + _encode(meta)).hexdigest()


def _without_nulls(body: Mapping[str, Any]) -> dict[str, Any]:
    """What says nothing is not stored: null, also inside of an element, and an extension with nothing but its url."""
    kept: dict[str, Any] = {}
    for name, value in body.items():
        if isinstance(value, dict):
            if None in value.values():
                value = {part: inner for part, inner in value.items() if inner is not None}
            if not value:
                continue
        elif name == "extension" and isinstance(value, list):
            value = [one for one in value if not (isinstance(one, dict) and one.keys() == _URL_ONLY)]
            if not value:
                continue
        elif value is None:
            continue
        kept[name] = value
    return kept


def _targets(rest: bytes, body: Mapping[str, Any], address: str) -> frozenset[str]:
    found: set[str] = set()
    for quoted in set(_REFERENCE.findall(rest)):
        text: str = msgspec.json.decode(quoted)
        relative = _RELATIVE.fullmatch(text)
        if relative is not None and relative[1] in RESOURCE_TYPES:
            found.add(f"{relative[1]}/{relative[2]}")
        elif text.startswith("#"):
            if text != "#" and text[1:] not in _contained(body):
                raise InvalidResource("a reference to a contained resource that is not there", address=address)
        elif not _ABSOLUTE.match(text):
            raise InvalidResource(
                "a reference that is neither Type/id, #contained, nor an absolute address",
                hint="conditional references (Type?…) are not resolved here",
                address=address,
            )
    return frozenset(found)


def _contained(body: Mapping[str, Any]) -> set[Any]:
    contained = body.get("contained", [])
    return {one.get("id") for one in contained if isinstance(one, dict)} if isinstance(contained, list) else set()


def stored_form(prepared: Prepared, version: int, updated: str) -> str:
    """The JSON text that is stored and given out, with `meta.versionId` and `meta.lastUpdated`."""
    meta = _encode({**prepared.meta, "versionId": str(version), "lastUpdated": updated})
    head = b'{"resourceType":"%b","id":"%b","meta":%b' % (prepared.type.encode(), prepared.id.encode(), meta)
    return (head + (b"}" if prepared.rest == b"{}" else b"," + prepared.rest[1:])).decode()
