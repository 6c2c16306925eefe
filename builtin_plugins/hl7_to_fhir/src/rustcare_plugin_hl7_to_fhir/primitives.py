"""HL7 v2 primitives as FHIR primitives. A function gives None for what has no valid FHIR form; the element is left out.

Nothing here asks a clock: a time without an offset takes the message's (MSH-7) or the configured one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .environment import Environment

__all__ = ["PRIMITIVES", "WHOLE", "Primitive"]

Primitive = Callable[[str, Environment], Any]

_DTM = re.compile(
    r"(\d{4})(?:-?(\d\d)(?:-?(\d\d)(?:[ T]?(\d\d)(?::?(\d\d)(?::?(\d\d)(\.\d{1,9})?)?)?)?)?)?\s*(Z|[+-]\d\d:?\d\d)?$"
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?$")
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def _string(text: str, env: Environment) -> str | None:
    return env.unescape(text).strip() or None


def _text(text: str, env: Environment) -> str | None:
    value = env.unescape(text.replace(env.repetition, "\n"))  # free text repeats by the line
    return value.strip() or None


def _code(text: str, env: Environment) -> str | None:
    return " ".join(env.unescape(text).split()) or None


def _parts(text: str) -> tuple[str, list[str], str, str] | None:
    """(date, [hour, minute, second], fraction, offset) of a DTM, or None when it is no such day."""
    found = _DTM.match(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, offset = found.groups()
    if year == "0000":
        return None
    date = year
    if month is not None:
        if not 1 <= int(month) <= 12:
            return None
        date = f"{year}-{month}"
        if day is not None:
            number = int(year)
            leap = number % 4 == 0 and (number % 100 != 0 or number % 400 == 0)
            last = 28 if month == "02" and not leap else _DAYS[int(month) - 1]
            if not 1 <= int(day) <= last:
                return None
            date = f"{year}-{month}-{day}"
    if hour is None or int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 59:
        return date, [], "", ""
    return date, [hour, minute or "00", second or "00"], fraction or "", offset or ""


def _offset(text: str) -> str:
    if text in ("", "Z"):
        return text
    digits = text.replace(":", "")
    hours, minutes = int(digits[1:3]), int(digits[3:5])
    if hours > 14 or minutes > 59:
        return ""
    return "Z" if hours == minutes == 0 else f"{digits[0]}{digits[1:3]}:{digits[3:5]}"


def _date(text: str, env: Environment) -> str | None:
    found = _parts(text)
    return found[0] if found else None


def _datetime(text: str, env: Environment) -> str | None:
    found = _parts(text)
    if found is None:
        return None
    date, time, fraction, offset = found
    if not time:
        return date
    return f"{date}T{':'.join(time)}{fraction}{_offset(offset) or env.zone}"


def _instant(text: str, env: Environment) -> str | None:
    value = _datetime(text, env)
    return value if value and "T" in value else None  # a day is no instant, and we make no time up


def _time(text: str, env: Environment) -> str | None:
    found = _DTM.match("20000101" + text.strip().replace(":", ""))
    if found is None or found.group(4) is None:
        return None
    hour, minute, second, fraction = found.group(4), found.group(5) or "00", found.group(6) or "00", found.group(7)
    return f"{hour}:{minute}:{second}{fraction or ''}" if int(hour) < 24 and int(minute) < 60 else None


def _number(text: str, env: Environment) -> int | float | None:
    text = text.strip()
    if len(text) > 32 or _NUMBER.match(text) is None:
        return None
    if text.lstrip("+-").isdecimal():
        return int(text)
    value = float(text)
    return value if abs(value) < 1e300 else None


def _integer(text: str, env: Environment) -> int | None:
    value = _number(text, env)
    return int(value) if value is not None and value == int(value) and abs(value) < 2**31 else None


def _positive(text: str, env: Environment) -> int | None:
    value = _integer(text, env)
    return value if value is not None and value > 0 else None


def _boolean(text: str, env: Environment) -> bool | None:
    return {"Y": True, "N": False, "1": True, "0": False}.get(text.strip().upper()[:1])


PRIMITIVES: dict[str, Primitive] = {
    "string": _string,
    "text": _text,
    "code": _code,
    "date": _date,
    "dateTime": _datetime,
    "instant": _instant,
    "time": _time,
    "number": _number,
    "integer": _integer,
    "positiveInt": _positive,
    "boolean": _boolean,
}

#: Primitives that take a field as it is, delimiters of lower levels included: free text must lose nothing.
WHOLE = frozenset({"text"})
