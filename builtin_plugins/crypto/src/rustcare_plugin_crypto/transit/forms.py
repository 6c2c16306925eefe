"""Reading the fields of a body, and Vault's names for algorithms."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from rustcare_plugin_crypto.refusals import InvalidRequest

__all__ = [
    "Body",
    "Reply",
    "algorithm_of",
    "b64",
    "binary",
    "data",
    "duration",
    "flag",
    "number",
    "prefixed",
    "text",
    "unprefixed",
]

Body = Mapping[str, Any]
Reply = tuple[int, dict[str, Any]]

_TYPES: Mapping[str, str] = {
    "aes256-gcm96": "aes256-gcm",
    "rsa-3072": "rsa-pss-3072",
    "rsa-4096": "rsa-pss-4096",
    "hmac": "hmac-sha256",
}
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def data(content: Mapping[str, Any]) -> Reply:
    """An answer with content, in Vault's envelope."""
    return 200, {
        "request_id": "",
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": dict(content),
        "wrap_info": None,
        "warnings": None,
        "auth": None,
    }


def algorithm_of(kind: str, body: Body) -> str:
    """The keyring's name of a key type of Vault's; its own names are taken as well."""
    if kind == "ml-dsa":
        return f"ml-dsa-{text(body, 'parameter_set', '65')}"
    return _TYPES.get(kind, kind)


def b64(value: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(value).decode()


def binary(body: Body, name: str, default: bytes | None = None) -> bytes:
    """A field of base64. Raises InvalidRequest; its text never has the value in it."""
    value = body.get(name)
    if value is None or value == "":
        if default is not None or value == "":
            return default or b""
        raise InvalidRequest("expected a field of base64, got none", address=name)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise InvalidRequest("expected base64", address=name) from None


def text(body: Body, name: str, default: str | None = None) -> str:
    """A field of text."""
    value = body.get(name, default)
    if not isinstance(value, str):
        raise InvalidRequest("expected a field of text", address=name)
    return value


def number(body: Body, name: str, default: int = 0) -> int:
    """A field that is a whole number, also written as text."""
    value = body.get(name, default)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest("expected a whole number", address=name)
    return value


def flag(body: Body, name: str) -> bool:
    """A field that is true or false; absent: false."""
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest("expected true or false", address=name)
    return value


def duration(body: Body, name: str) -> int:
    """Seconds, or a number with s, m, h or d."""
    value = body.get(name, 0)
    if isinstance(value, str) and value[-1:] in _UNITS and value[:-1].isascii() and value[:-1].isdecimal():
        return int(value[:-1]) * _UNITS[value[-1]]
    return number(body, name)


def prefixed(version: int, value: bytes) -> str:
    """A signature or a code as text: `vault:v3:…`."""
    return f"vault:v{version}:{b64(value)}"


def unprefixed(value: Any) -> tuple[int, bytes]:
    """Version and bytes of `vault:v3:…`. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError
    vault, version, encoded = value.split(":")
    if vault != "vault" or version[:1] != "v" or not version[1:].isdecimal() or len(version) > 9:
        raise ValueError
    return int(version[1:]), base64.b64decode(encoded, validate=True)
