"""How an error goes out: to a program as a problem, to a person as a page, or as the way to the page where they sign in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

from .answers import Answers
from .errors import AssuranceTooLow, Refused, Unauthenticated
from .problems import problem_of
from .visit import Visit

__all__ = ["Refusals", "challenge"]

Send = Callable[[dict[str, Any]], Awaitable[None]]
NO_CODES: dict[str, int] = {}


class Refusals:
    """Writes errors.

    Args:
        login, step_up: paths of the pages where browsers are sent.
    """

    def __init__(self, answers: Answers, login: str, step_up: str) -> None:
        self._answers = answers
        self._login = login
        self._step_up = step_up

    async def write(self, visit: Visit, error: Exception, send: Send, back: str = "/") -> None:
        """Send an error.

        Args:
            back: where a browser goes on when its user has signed in, or shown more, with its query.
        """
        entry = visit.entry
        if entry is None:
            problem = problem_of(error, NO_CODES, visit.id)
            page = visit.method in ("GET", "HEAD") and "text/html" in visit.headers.get("accept", "")
        else:
            problem = problem_of(error, entry.problems, visit.id, entry.service)
            page = entry.browser
        fields = challenge(error) if isinstance(error, Refused) else []
        if problem.status == 503 and not any(name == b"retry-after" for name, _ in fields):
            fields.append((b"retry-after", b"5"))
        where = ""
        if page and isinstance(error, (Unauthenticated, AssuranceTooLow)):
            login = self._login if isinstance(error, Unauthenticated) else self._step_up
            where = f"{visit.prefix}{login}?next={quote(back, safe='/')}"
            if entry is not None and isinstance(error, AssuranceTooLow) and visit.caller.aal < entry.aal:
                where += f"&aal={entry.aal}"  # else they only have to show again what they have shown before
            fields = []
        await self._answers.problem(visit, problem, fields, send, page=page, see_other=where)


def challenge(error: Refused) -> list[tuple[bytes, bytes]]:
    """The fields of a refusal. One of who is not known says how to become known (RFC 6750, section 3)."""
    fields = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in error.fields]
    if isinstance(error, Unauthenticated):
        text = 'Bearer realm="rustcare"'
        if error.error:
            text += f', error="{error.error}", error_description="{_quotable(error.message)}"'
        fields.append((b"www-authenticate", text.encode("latin-1", "replace")))
    return fields


def _quotable(text: str) -> str:
    """Text in the characters that RFC 6750, section 3, allows in an error_description."""
    return "".join(mark for mark in text if " " <= mark <= "~" and mark not in '"\\')
