"""JSON objects read without any leniency: what two readers could understand differently is refused.

RFC 8259 leaves open what a name that occurs twice means, and RFC 7515 (section 4) and RFC 7519 (section 4) let a verifier
refuse it. msgspec refuses what is no JSON (NaN, control characters, text after the end, a byte order mark), text that is no
UTF-8, lone surrogates, and fractions that do not fit; integers of more than 64 bits, which others round, are refused here.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["MAX_DEPTH", "read_object"]

#: Objects and arrays within each other, the outermost included.
MAX_DEPTH = 8

# Each digit becomes a 0 and all else a blank, so that numbers of 19 digits or more are found by a search for text.
_DIGITS = bytes(0x30 if chr(byte).isdigit() and byte < 128 else 0x20 for byte in range(256))
_LONG = b"0" * 19

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def read_object(text: bytes) -> dict[str, Any]:
    """The object. ValueError for anything else, a name that stands twice, more than `MAX_DEPTH` levels."""
    try:
        found = _decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("expected a JSON object") from None
    # Each level has a bracket, so fewer brackets than levels allowed need no closer look; nor do numbers that are short.
    if text.count(b"{") + text.count(b"[") > MAX_DEPTH or _LONG in text.translate(_DIGITS):
        _check(found, MAX_DEPTH)
    # What comes out again as it went in had no name twice, since a dict has none. Most tokens are written so.
    if _encode(found) != text:
        try:
            json.loads(text, object_pairs_hook=_unique)
        except RecursionError:
            raise ValueError("expected a JSON object") from None
    return found


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("expected each name once")


def _check(value: Any, levels: int) -> None:
    if isinstance(value, dict | list):
        if levels == 0:
            raise ValueError(f"expected a JSON object of at most {MAX_DEPTH} levels")
        for item in value.values() if isinstance(value, dict) else value:
            _check(item, levels - 1)
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("expected integers of at most 64 bits")
