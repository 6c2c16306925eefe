"""The few datatypes whose mapping is an algorithm, not a table: HD, phone numbers, encapsulated data, joined text."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import Any

from .environment import Environment

__all__ = ["BUILDERS", "DEFERRED", "Builder"]

#: (values of one level, that level, environment) → the value, or None when there is nothing in it.
Builder = Callable[[list[str], int, Environment], Any]

#: Tables that only exist once `tables` has read them.
DEFERRED: dict[str, dict[str, str]] = {"CodeSystems": {}}

_OID = re.compile(r"[0-2](?:\.(?:0|[1-9]\d*))+$")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$")
_TABLE = re.compile(r"(?:HL7|HL70|V2-)(\d{4})$", re.IGNORECASE)
_URI = re.compile(r"(?:https?://|urn:)\S+$")
_LOCAL = re.compile(r"[^A-Za-z0-9._~:-]+")


def _get(parts: list[str], number: int, env: Environment) -> str:
    text = parts[number - 1] if number <= len(parts) else ""
    return env.unescape(text).strip() if text else ""


def _local(name: str) -> str | None:
    """A URI for a name that only the sender understands. FHIR wants absolute URIs; `urn:id:` says it is local."""
    clean = _LOCAL.sub("-", name).strip("-")
    return f"urn:id:{clean}" if clean else None


def _identifier_uri(text: str) -> str | None:
    if _OID.match(text):
        return f"urn:oid:{text}"
    if _UUID.match(text):
        return f"urn:uuid:{text.lower()}"
    return text if _URI.match(text) else None


def hd_uri(parts: list[str], level: int, env: Environment) -> str | None:
    """HD (or the last parts of an EI): the universal id when it is one, else the namespace, else whatever is there.

    The guide prefers the namespace; we prefer what is unique outside the sender, since ids are computed from it.
    """
    namespace, universal, kind = _get(parts, 1, env), _get(parts, 2, env), _get(parts, 3, env).upper()
    if universal:
        found = _identifier_uri(universal)
        if found is not None and (kind in ("ISO", "UUID", "GUID", "URI", "") or not namespace):
            return found
        if not namespace:
            return _local(f"{kind}:{universal}" if kind else universal)
        if kind in ("CLIA", "DNS", "NPI"):  # names that are unique in their own register
            return _local(f"{kind}:{universal}")
    return (_identifier_uri(namespace) or _local(namespace)) if namespace else None


def ei_uri(parts: list[str], level: int, env: Environment) -> str | None:
    """The authority of an EI."""
    return hd_uri(parts[1:4], level, env)


def code_system(parts: list[str], level: int, env: Environment) -> str | None:
    """The name of a coding system (HL7 table 0396) as the URI that FHIR uses for it."""
    name = _get(parts, 1, env)
    if not name:
        return None
    known = DEFERRED["CodeSystems"].get(name.upper())
    if known is not None:
        return known
    table = _TABLE.match(name)
    if table is not None:
        return f"http://terminology.hl7.org/CodeSystem/v2-{table.group(1)}"
    return _identifier_uri(name) or _local(name)


def phone(parts: list[str], level: int, env: Environment) -> str | None:
    """XTN without an unformatted number: its country, area, number and extension in the guide's order."""
    country, area, number, extension = (_get(parts, at, env) for at in (5, 6, 7, 8))
    if not number:
        return None
    if country:
        country = "+" + country.lstrip("+")
    text = " ".join(piece for piece in (country, area, number) if piece)
    return f"{text} X{extension}" if extension else text


def joined(parts: list[str], level: int, env: Environment) -> str | None:
    """All parts as one text, for a value that no FHIR datatype holds."""
    found = (env.unescape(part).strip() for part in parts)
    return " ".join(part for part in found if part) or None


def dashed(parts: list[str], level: int, env: Environment) -> str | None:
    """VR: from-to."""
    return "-".join(part for part in (_get(parts, 1, env), _get(parts, 2, env)) if part) or None


def _media(kind: str, subtype: str) -> str | None:
    if "/" in subtype:
        return subtype.lower()
    kind, subtype = kind.lower(), subtype.lower()
    kind = {"im": "image", "ap": "application", "au": "audio", "tx": "text", "ft": "text", "sd": "image"}.get(
        kind, kind
    )
    if kind not in ("application", "audio", "image", "text", "video", "multipart"):
        kind = {"pdf": "application", "rtf": "application", "html": "text", "xml": "application"}.get(
            subtype, "image" if subtype in ("jpeg", "png", "gif", "tiff", "pict") else "application"
        )
    return f"{kind}/{re.sub('[^a-z0-9.+-]', '-', subtype)}" if subtype else None


def encapsulated(parts: list[str], level: int, env: Environment) -> dict[str, Any] | None:
    """ED as an Attachment: its data in base64, whatever encoding it came in."""
    encoding, data = _get(parts, 4, env).upper(), env.separators[0].join(parts[4:])
    data = env.unescape(data)
    out: dict[str, Any] = {}
    kind = _media(_get(parts, 2, env), _get(parts, 3, env))
    if kind:
        out["contentType"] = kind
    if encoding == "BASE64":
        data = "".join(data.split())
    elif encoding == "HEX":
        try:
            data = base64.b64encode(bytes.fromhex(data)).decode()
        except ValueError:
            data = ""
    elif data:
        data = base64.b64encode(data.encode("utf-8", "replace")).decode()
    if data:
        out["data"] = data
    return out or None


def pointer(parts: list[str], level: int, env: Environment) -> dict[str, Any] | None:
    """RP as an Attachment: where it is and what it is."""
    url = _get(parts, 1, env)
    if not url:
        return None
    out: dict[str, Any] = {"url": url}
    kind = _media(_get(parts, 3, env), _get(parts, 4, env))
    if kind:
        out["contentType"] = kind
    return out


BUILDERS: dict[str, Builder] = {
    "HD[uri]": hd_uri,
    "EI[uri]": ei_uri,
    "ID[system]": code_system,
    "XTN[phone]": phone,
    "joined": joined,
    "VR[string]": dashed,
    "ED[Attachment]": encapsulated,
    "RP[Attachment]": pointer,
}
