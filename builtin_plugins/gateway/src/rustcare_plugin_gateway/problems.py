"""Errors as answers: which status they have, and their form: RFC 9457 for programs, a small page for people.

What a plugin raises on purpose has the status that its route says. What it did not mean to raise tells nothing but its code.
"""

from __future__ import annotations

import base64
import hashlib
import html
import http
import re
from collections.abc import Mapping

import msgspec
from rustcare_sdk.errors import (
    AuditUnavailable,
    BusClosed,
    CapabilityDenied,
    DeadlineExceeded,
    HandlerFailed,
    InvalidPayload,
    NoProvider,
    RustCareError,
)
from rustcare_sdk.routes import UnsupportedMedia

from .errors import Refused

__all__ = ["MEDIA_TYPE", "PAGE_POLICY", "Problem", "as_json", "page_of", "problem_of"]

MEDIA_TYPE = "application/problem+json"
FAILED = "gateway.failed"
_PLACE = re.compile(r" - at `?\$([^`]*)`?$")
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_-]*)|\[(\d+|\.\.\.)\]")


class Problem(msgspec.Struct, omit_defaults=True):
    """The body of an answer that is an error (RFC 9457, section 3.1), with `code`, `hint` and, for a body that does not fit,
    `errors` with JSON Pointers (RFC 6901). `type` is a name, not an address: all there is to read about it is in the docs."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    code: str = ""
    hint: str = ""
    errors: list[dict[str, str]] = []


def problem_of(error: BaseException, declared: Mapping[str, int], request: str, service: str = "") -> Problem:
    """The problem that an error is.

    Args:
        declared: the codes that the route raises on purpose, with their statuses.
        request: the request's id.
        service: the route's own, to tell a route that has just gone from one that asks in vain.
    """
    status, code, detail, hint = _told(error, declared, service)
    found = Problem(f"urn:rustcare:problem:{code}", _title(status), status, detail, request, code, hint)
    if isinstance(error, InvalidPayload) and status in (400, 422):
        pointer = _pointer(error.message)
        if pointer is not None:
            text = _PLACE.sub("", error.message)
            found.errors = [{"pointer": pointer, "detail": text}]
    return found


def _told(error: BaseException, declared: Mapping[str, int], service: str) -> tuple[int, str, str, str]:
    if isinstance(error, Refused):
        return int(error.status), error.code, error.message, error.hint
    if not isinstance(error, RustCareError) or isinstance(error, HandlerFailed):
        return 500, FAILED, "something went wrong here; the log knows more under this request's id", ""
    status = declared.get(error.code)
    if status is not None:
        return status, error.code, error.message, error.hint
    if isinstance(error, UnsupportedMedia):
        return 415, error.code, error.message, error.hint
    if isinstance(error, InvalidPayload):
        # Also what does not pass from one process to another: a stream of a plugin that is not in this worker.
        if error.address.startswith("answer of ") or error.message.startswith("expected the answer of "):
            return 502, error.code, "a plugin answered with something else than it declares", ""
        if error.address.startswith("data of "):  # what one plugin sent another is not what the client sent
            return 502, error.code, "a plugin asked another for what it does not take", ""
        malformed = "malformed" in error.message or "truncated" in error.message or "UTF-8" in error.message
        return (400 if malformed else 422), error.code, error.message, ""
    if isinstance(error, NoProvider):
        if service and error.address == service:
            return 404, "gateway.no-route", "no plugin answers this path any more", ""
        return 503, error.code, "a service that this needs is not there", "try again later"
    if isinstance(error, CapabilityDenied):
        return 403, error.code, "the plugin may not do this", "the operator decides what a plugin may do"
    if isinstance(error, DeadlineExceeded):
        return 504, error.code, "there was no answer in time", "try again later"
    if isinstance(error, (AuditUnavailable, BusClosed)):
        return 503, error.code, "this cannot be done now", "try again later"
    return 500, error.code, "something went wrong here; the log knows more under this request's id", ""


def _title(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _pointer(message: str) -> str | None:
    """`Expected int, got str - at $.beds[0].ward` → `/beds/0/ward` (RFC 6901)."""
    found = _PLACE.search(message)
    if found is None:
        return None
    steps = [name or index for name, index in _STEP.findall(found[1])]
    return "".join(f"/{step}" for step in steps)


_STYLE = (
    "body{font:1.05rem/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto;padding:0 1.5rem;"
    "color:#1b1f24;background:#fff}h1{font-size:1.4rem}code{font-size:.85em;color:#57606a}a{color:#0a58ca}"
    "@media(prefers-color-scheme:dark){body{color:#e6e9ec;background:#15181c}code{color:#9aa4af}a{color:#7ab0ff}}"
)
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: The policy of pages that errors are.
PAGE_POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; frame-ancestors 'none'"

_FRIENDLY = {
    400: "This request could not be understood.",
    401: "Please sign in first.",
    403: "You may not see this page.",
    404: "There is no such page.",
    405: "This page cannot do that.",
    413: "What you sent is too large.",
    422: "Something you entered does not fit.",
    429: "Too many requests. Please wait a moment.",
    503: "This is not available now. Please try again later.",
    504: "This took too long. Please try again later.",
}


def page_of(problem: Problem) -> str:
    """The problem as a page."""
    text = _FRIENDLY.get(problem.status, "Something went wrong. Please try again later.")
    detail = f"<p>{html.escape(problem.detail)}</p>" if problem.status < 500 and problem.detail else ""
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{html.escape(problem.title)}</title><style>{_STYLE}</style></head><body><main>"
        f"<h1>{html.escape(text)}</h1>{detail}"
        f"<p><code>{problem.status} {html.escape(problem.code)} · {html.escape(problem.instance)}</code></p>"
        "<p><a href='/'>Go to the start</a></p></main></body></html>"
    )


def as_json(problem: Problem) -> bytes:
    """The problem as JSON."""
    return msgspec.json.encode(problem)
