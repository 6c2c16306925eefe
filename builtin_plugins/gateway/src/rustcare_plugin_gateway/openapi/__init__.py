"""The description of all routes: the OpenAPI document, and a page that shows it without anything from elsewhere."""

from __future__ import annotations

from .description import Description
from .document import document_of

__all__ = ["Description", "document_of"]
