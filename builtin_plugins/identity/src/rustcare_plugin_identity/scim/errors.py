"""What SCIM refuses, with the status and the `scimType` of RFC 7644, section 3.12, and the form that clients expect."""

from __future__ import annotations

from typing import Any, ClassVar

from rustcare_sdk.errors import RustCareError

from rustcare_plugin_identity import errors

__all__ = [
    "ERROR_SCHEMA",
    "AlreadyTaken",
    "ConflictingReferences",
    "InvalidFilter",
    "InvalidPath",
    "InvalidSyntax",
    "InvalidValue",
    "MethodNotAllowed",
    "NoTarget",
    "NotMutable",
    "PreconditionFailed",
    "Refused",
    "ResourceNotFound",
    "ScimError",
    "TooLarge",
    "TooMany",
    "UnsupportedContent",
    "error_body",
    "error_of",
    "translated",
]

ERROR_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"


class ScimError(RustCareError):
    """The root of them: `status` is that of HTTP, `scim_type` the word of the RFC, empty where it has none."""

    code = "identity.scim.failed"
    status: ClassVar[int] = 400
    scim_type: ClassVar[str] = ""


class InvalidFilter(ScimError):
    """A filter does not follow the grammar, or compares what cannot be compared."""

    code = "identity.scim.invalid-filter"
    scim_type = "invalidFilter"


class InvalidPath(ScimError):
    """The path of a PATCH operation is not well formed, or names no attribute."""

    code = "identity.scim.invalid-path"
    scim_type = "invalidPath"


class InvalidSyntax(ScimError):
    """A body is not JSON, or not the message that the endpoint takes."""

    code = "identity.scim.invalid-syntax"
    scim_type = "invalidSyntax"


class InvalidValue(ScimError):
    """A required value is missing, or a value does not fit its attribute."""

    code = "identity.scim.invalid-value"
    scim_type = "invalidValue"


class NoTarget(ScimError):
    """A path of a PATCH operation selects nothing."""

    code = "identity.scim.no-target"
    scim_type = "noTarget"


class NotMutable(ScimError):
    """An operation would change what cannot be changed."""

    code = "identity.scim.not-mutable"
    scim_type = "mutability"


class TooMany(ScimError):
    """A query would have to look at more resources than the server is willing to."""

    code = "identity.scim.too-many"
    scim_type = "tooMany"


class Refused(ScimError):
    """The caller may not do this, or nobody may."""

    code = "identity.scim.refused"
    status = 403


class ResourceNotFound(ScimError):
    """There is no such resource or endpoint."""

    code = "identity.scim.not-found"
    status = 404


class MethodNotAllowed(ScimError):
    """The endpoint does not know the method."""

    code = "identity.scim.method-not-allowed"
    status = 405


class AlreadyTaken(ScimError):
    """Another resource has a value that must be unique."""

    code = "identity.scim.already-taken"
    status = 409
    scim_type = "uniqueness"


class ConflictingReferences(ScimError):
    """The operations of a bulk request refer to each other in a circle, or to none that there is."""

    code = "identity.scim.conflicting-references"
    status = 409


class PreconditionFailed(ScimError):
    """The resource is not in the version that `If-Match` asks for."""

    code = "identity.scim.precondition-failed"
    status = 412


class TooLarge(ScimError):
    """A bulk request has more operations, or more bytes, than the server takes."""

    code = "identity.scim.too-large"
    status = 413


class UnsupportedContent(ScimError):
    """A body came in another form than JSON."""

    code = "identity.scim.unsupported-content"
    status = 415


#: What the plugin's own errors are in SCIM's words.
_TRANSLATED: dict[str, type[ScimError]] = {
    errors.AccountExists.code: AlreadyTaken,
    errors.GroupExists.code: AlreadyTaken,
    errors.InvalidAccount.code: InvalidValue,
    errors.InvalidGroup.code: InvalidValue,
    errors.PasswordRefused.code: InvalidValue,
    errors.RoleUnknown.code: InvalidValue,
    errors.AccountUnknown.code: ResourceNotFound,
    errors.GroupUnknown.code: ResourceNotFound,
    errors.VersionConflict.code: PreconditionFailed,
    errors.LastAdministrator.code: Refused,
    errors.AdministratorsOnly.code: Refused,
    errors.RegistrationClosed.code: Refused,
}


def translated(error: RustCareError) -> RustCareError:
    """An error of a service in SCIM's words; one that is none of the client's doing as it is."""
    found = _TRANSLATED.get(error.code)
    return error if found is None else found(error.message, hint=error.hint, address=error.address)


def error_of(error: ScimError) -> dict[str, Any]:
    """An error as a SCIM client reads it."""
    detail = f"{error.message} ({error.hint})" if error.hint else error.message
    return error_body(error.status, detail, error.scim_type)


def error_body(status: int, detail: str, scim_type: str = "") -> dict[str, Any]:
    """The body of an error (RFC 7644, section 3.12); the status is text there."""
    body: dict[str, Any] = {"schemas": [ERROR_SCHEMA], "status": str(status), "detail": detail}
    if scim_type:
        body["scimType"] = scim_type
    return body
