"""Request ids and W3C Trace Context: what came is gone on with when it is well formed, else a trace begins here.

https://www.w3.org/TR/trace-context-2/, sections 3.2 (`traceparent`), 3.5 (`traceresponse`) and 4.2 (what to do with what is
not valid: begin anew). The ids need to be unique, not secret: they come from a generator that is seeded once.
"""

from __future__ import annotations

import os
import random
import re

__all__ = ["Tracer"]

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?").fullmatch
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{7,63}").fullmatch


_STOCK = 96  # requests for which random digits are made at once


class Tracer:
    """Makes ids. `begin` is called once for each request."""

    def __init__(self) -> None:
        self._random = random.Random(os.urandom(32)).randbytes
        self._digits = ""
        self._used = 0

    def begin(self, headers: dict[str, str]) -> tuple[str, str]:
        """The request's id, and the `traceparent` of what is done for it, from a request's header fields."""
        used = self._used
        bits = self._digits[used : used + 48]
        if not bits:
            self._digits = self._random(24 * _STOCK).hex()
            used = 0
            bits = self._digits[:48]
        self._used = used + 48
        given = headers.get("x-request-id")
        parent = headers.get("traceparent")
        name = bits[:24] if given is None or _ID(given) is None else given
        if parent is not None:
            found = _PARENT(parent)
            if found is not None:
                version, trace, span, flags, rest = found.groups()
                zeros = trace == "0" * 32 or span == "0" * 16
                if version != "ff" and not zeros and (rest is None or version != "00"):
                    return name, f"00-{trace}-{bits[32:]}-{int(flags, 16) & 3:02x}"
        return (
            name,
            f"00-{bits[:32]}-{bits[32:]}-02",
        )  # the second flag: the id is random; nobody has asked to record it
