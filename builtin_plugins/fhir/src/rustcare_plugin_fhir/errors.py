"""The plugin's errors. Their codes are stable and listed in its README."""

from __future__ import annotations

from typing import ClassVar

from rustcare_sdk.errors import RustCareError

__all__ = [
    "DuplicateResource",
    "InvalidRequest",
    "InvalidResource",
    "ResourceGone",
    "ResourceNotFound",
    "UnresolvedReference",
    "VersionConflict",
]


class InvalidResource(RustCareError):
    """Not a resource that can be stored: an unknown type, a malformed id, or something that JSON cannot hold."""

    code: ClassVar[str] = "fhir.invalid-resource"


class InvalidRequest(RustCareError):
    """A request that cannot be answered as it is: a malformed cursor, limit, version or key."""

    code: ClassVar[str] = "fhir.invalid-request"


class DuplicateResource(RustCareError):
    """One request names the same resource twice, with different contents."""

    code: ClassVar[str] = "fhir.duplicate-resource"


class UnresolvedReference(RustCareError):
    """A reference points at a resource that is neither stored nor in the same request."""

    code: ClassVar[str] = "fhir.unresolved-reference"


class VersionConflict(RustCareError):
    """The current version is not the one that `if_match` asks for."""

    code: ClassVar[str] = "fhir.version-conflict"


class ResourceNotFound(RustCareError):
    """There is no such resource, or no such version of it."""

    code: ClassVar[str] = "fhir.not-found"


class ResourceGone(RustCareError):
    """The resource (or the version asked for) says that it was deleted."""

    code: ClassVar[str] = "fhir.gone"
