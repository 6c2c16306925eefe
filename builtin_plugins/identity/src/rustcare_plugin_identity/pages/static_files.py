"""The files that pages load, read once. Their addresses change with what is in them, so browsers may keep them for good."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from importlib.resources import files

__all__ = ["TYPES", "address_of", "content_of", "tag_of"]

#: Those that there are, with their media types.
TYPES = {
    "identity.css": "text/css; charset=utf-8",
    "forms.js": "text/javascript; charset=utf-8",
    "passkey.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


@cache
def content_of(name: str) -> bytes:
    """One of them. The name is one of `TYPES`."""
    return files(__package__).joinpath("static", name).read_bytes()


@cache
def tag_of(name: str) -> str:
    """What is different when the content is."""
    return sha256(content_of(name)).hexdigest()[:32]


def address_of(name: str) -> str:
    """Where pages load it from, without the tenant's prefix."""
    return f"/identity/assets/{name}?v={tag_of(name)}"
