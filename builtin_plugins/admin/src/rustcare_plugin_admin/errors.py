"""The plugin's errors. Their codes are stable and listed in its README."""

from __future__ import annotations

from typing import ClassVar

from rustcare_sdk.errors import RustCareError

__all__ = ["PROBLEMS", "Changed", "InvalidUpload", "NotFromHere", "SourceRefused", "UploadUnknown", "UploadsFull"]


class SourceRefused(RustCareError):
    """A package is named by a place on the server's own disk, which callers from elsewhere may not do."""

    code: ClassVar[str] = "admin.source-refused"


class InvalidUpload(RustCareError):
    """An upload is empty, or neither a tar nor a wheel."""

    code: ClassVar[str] = "admin.invalid-upload"


class UploadUnknown(RustCareError):
    """An uploaded package is not there (any more), or is somebody else's."""

    code: ClassVar[str] = "admin.upload-unknown"


class UploadsFull(RustCareError):
    """Too many uploaded packages wait to be installed."""

    code: ClassVar[str] = "admin.uploads-full"


class NotFromHere(RustCareError):
    """What was asked cannot be done through this door, but on the control socket of the machine."""

    code: ClassVar[str] = "admin.not-from-here"


class Changed(RustCareError):
    """The plugin is not as it was when the caller looked (`If-Match`)."""

    code: ClassVar[str] = "admin.changed"


#: What every route of this plugin may refuse with, and the status of each.
PROBLEMS: dict[str, int] = {
    "admin.changed": 412,
    "admin.invalid-upload": 422,
    "admin.not-from-here": 409,
    "admin.source-refused": 403,
    "admin.upload-unknown": 404,
    "admin.uploads-full": 503,
    "audit.unavailable": 503,
    "build.failed": 422,
    "bus.deadline-exceeded": 504,
    "bus.no-provider": 503,
    "bus.provider-taken": 409,
    "capability.denied": 403,
    "capability.invalid": 422,
    "capability.rate-exceeded": 429,
    "catalog.corrupt": 503,
    "config.invalid": 422,
    "control.digest-not-consented": 412,
    "control.invalid-request": 422,
    "grant.exceeds-parent": 409,
    "grant.unknown": 404,
    "http.invalid-route": 422,
    "http.route-taken": 409,
    "lifecycle.consent-required": 409,
    "lifecycle.dependency-unmet": 409,
    "lifecycle.start-failed": 409,
    "lifecycle.state-forbids": 409,
    "lifecycle.state-not-migrated": 409,
    "lifecycle.upgrade-failed": 409,
    "manifest.invalid": 422,
    "package.digest-mismatch": 422,
    "package.invalid": 422,
    "package.not-built": 422,
    "package.not-found": 422,
    "package.not-portable": 422,
    "package.too-large": 422,
    "package.unsafe": 422,
    "plugin.unknown": 404,
    "runtime.invalid-code": 422,
    "runtime.limit-exceeded": 409,
    "runtime.link-refused": 422,
    "runtime.trapped": 409,
    "store.busy": 503,
    "store.constraint": 409,
    "store.driver-missing": 503,
    "store.failed": 409,
    "store.full": 503,
    "store.migration-changed": 409,
    "store.migration-failed": 409,
    "store.migration-invalid": 422,
    "store.statement-invalid": 422,
    "store.statement-refused": 422,
    "store.unavailable": 503,
    "subject.invalid": 422,
    "version.invalid": 422,
    "worker.lost": 503,
}
