"""A template and what is known become a response with the headers of a page.

Templates are read through `importlib.resources`, for the plugin may be loaded from a zip. Everything that they show is
escaped, but for the QR code, which is made here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from rustcare_sdk.contracts.http import HttpResponse

from .static_files import address_of

__all__ = ["PAGE_HEADERS", "Templates", "moment"]

#: What a browser may do with a page: load what is ours, send forms to us, show it in no frame, keep it nowhere.
PAGE_HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
}


def _read(name: str) -> str:
    return files(__package__).joinpath("templates", name).read_text(encoding="utf-8")


def moment(seconds: float) -> str:
    """A point in time as people read it, in UTC: a server does not know the reader's zone."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %Y, %H:%M UTC").lstrip("0")


def _grouped(text: str) -> str:
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


class Templates:
    """The templates, compiled when first used."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FunctionLoader(_read),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(moment=moment, grouped=_grouped, asset=address_of)

    def page(self, template: str, status: int = 200, **known: Any) -> HttpResponse:
        """A page. `title` and `site` are always known; the rest is the template's."""
        base = {"prefix": "", "who": "", "errors": {}, "script": False, "notice": "", "next": ""}
        text = self._environment.get_template(template).render({**base, **known})
        return HttpResponse(status, text=text, media_type="text/html; charset=utf-8", headers=dict(PAGE_HEADERS))
