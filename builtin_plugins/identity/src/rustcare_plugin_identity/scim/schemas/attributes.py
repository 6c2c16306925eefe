"""What an attribute is: its type, and the characteristics of RFC 7643, section 2.2. Names are compared in any case."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from msgspec import Struct

from rustcare_plugin_identity.scim.filters import AttributePath

__all__ = ["Attribute", "Found", "Kind", "Schema", "text"]

Type = Literal["string", "boolean", "decimal", "integer", "dateTime", "binary", "reference", "complex"]


class Attribute(Struct, frozen=True):
    """One attribute. `canonical`: values that are usual; `open` says whether others are taken, as RFC 7643 lets them."""

    name: str
    type: Type = "string"
    description: str = ""
    multi: bool = False
    required: bool = False
    case_exact: bool = False
    mutability: Literal["readOnly", "readWrite", "immutable", "writeOnly"] = "readWrite"
    returned: Literal["always", "never", "default", "request"] = "default"
    uniqueness: Literal["none", "server", "global"] = "none"
    canonical: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    subs: tuple[Attribute, ...] = ()

    def sub(self, name: str) -> Attribute | None:
        """The sub-attribute of that name."""
        return _named(self.subs, name)

    def document(self) -> dict[str, Any]:
        """As RFC 7643, section 7 shows it."""
        found: dict[str, Any] = {
            "name": self.name,
            "type": self.type,
            "multiValued": self.multi,
            "description": self.description,
            "required": self.required,
            "mutability": self.mutability,
            "returned": self.returned,
        }
        if self.type != "complex":
            found["caseExact"] = self.case_exact
            found["uniqueness"] = self.uniqueness
        if self.canonical:
            found["canonicalValues"] = list(self.canonical)
        if self.references:
            found["referenceTypes"] = list(self.references)
        if self.subs:
            found["subAttributes"] = [item.document() for item in self.subs]
        return found


class Schema(Struct, frozen=True):
    """A schema: its URI, and the attributes that resources have by it."""

    id: str
    name: str
    description: str
    attributes: tuple[Attribute, ...]

    def attribute(self, name: str) -> Attribute | None:
        """The attribute of that name."""
        return _named(self.attributes, name)


class Found(Struct, frozen=True):
    """Where a path leads: into which extension (its URI, empty for the resource itself), attribute, sub-attribute.

    `attribute` is None for an extension as a whole.
    """

    container: str
    attribute: Attribute | None
    sub: Attribute | None = None

    @property
    def last(self) -> Attribute | None:
        """The attribute that the path names in the end."""
        return self.sub or self.attribute


class Kind(Struct, frozen=True):
    """A type of resource: where it is, and the schemas of it; `common` are the attributes that all resources have."""

    name: str
    endpoint: str
    description: str
    core: Schema
    extensions: tuple[Schema, ...]
    common: tuple[Attribute, ...]

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The common ones and those of the core schema."""
        return self.common + self.core.attributes

    def extension(self, uri: str) -> Schema | None:
        """The extension of that URI, in any case."""
        wanted = uri.lower()
        return next((item for item in self.extensions if item.id.lower() == wanted), None)

    def find(self, path: AttributePath) -> Found | None:
        """Where a path leads, or None when there is no such attribute."""
        whole = self.extension(str(path))
        if whole is not None:
            return Found(whole.id, None)
        container = ""
        if not path.uri or path.uri.lower() == self.core.id.lower():
            attribute = _named(self.attributes, path.name)
        else:
            extension = self.extension(path.uri)
            attribute = extension.attribute(path.name) if extension is not None else None
            container = extension.id if extension is not None else ""
        if attribute is None:
            return None
        if not path.sub:
            return Found(container, attribute)
        sub = attribute.sub(path.sub)
        return None if sub is None else Found(container, attribute, sub)


def text(name: str, description: str, **options: Any) -> Attribute:
    """An attribute that holds text."""
    return Attribute(name, "string", description, **options)


def _named(attributes: Iterable[Attribute], name: str) -> Attribute | None:
    wanted = name.lower()
    return next((item for item in attributes if item.name.lower() == wanted), None)
