"""Every error has a stable code, says what broke on both sides, where, and what to do.

Portable: this module runs in the sandbox's Python too (standard library only).

`RustCareError` is the one root and is never raised itself. The codes are part of the public surface: they are listed in
`docs/reference/errors.md`, cross the sandbox boundary as text, and a test fails when one is undocumented.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AuditUnavailable",
    "BusClosed",
    "CapabilityDenied",
    "DeadlineExceeded",
    "HandlerFailed",
    "InvalidCapability",
    "InvalidManifest",
    "InvalidPayload",
    "InvalidSubject",
    "InvalidVersion",
    "NoProvider",
    "NotPortable",
    "RustCareError",
    "ServiceError",
    "StateNotMigrated",
    "StoreError",
    "error_from_failure",
    "failure_from_error",
]


class RustCareError(Exception):
    """The root of all errors. `code` is stable; `hint` says what to do; `address` says where.

    Args:
        message: what was expected and what came, without secrets or patient data.
        hint: one sentence: what to do about it.
        address: where it is, such as `plugin.toml:capability[2].use`.
    """

    code: ClassVar[str] = "rustcare"

    def __init__(self, message: str, *, hint: str = "", address: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.address = address

    def __str__(self) -> str:
        text = f"{self.address}: {self.message}" if self.address else self.message
        return f"{text} ({self.hint})" if self.hint else text


class InvalidSubject(RustCareError):
    """A subject or subject pattern is not well formed."""

    code = "subject.invalid"


class InvalidCapability(RustCareError):
    """A capability does not follow `kind:action@scope;key=value`."""

    code = "capability.invalid"


class CapabilityDenied(RustCareError):
    """A plugin used a right that it does not hold (or no longer holds)."""

    code = "capability.denied"


class InvalidManifest(RustCareError):
    """`plugin.toml` is not a valid manifest."""

    code = "manifest.invalid"


class InvalidVersion(RustCareError):
    """A version, or a range of versions, is not well formed."""

    code = "version.invalid"


class NotPortable(RustCareError):
    """A source meant for the sandbox leaves the portable subset."""

    code = "package.not-portable"


class NoProvider(RustCareError):
    """Nobody serves the service that was requested."""

    code = "bus.no-provider"


class DeadlineExceeded(RustCareError):
    """The deadline of a request passed before its answer came."""

    code = "bus.deadline-exceeded"


class HandlerFailed(RustCareError):
    """The provider of a service raised something that is not a `RustCareError`."""

    code = "bus.handler-failed"


class InvalidPayload(RustCareError):
    """Data does not fit the type that the other side declared."""

    code = "bus.invalid-payload"


class BusClosed(RustCareError):
    """The bus, or the subscription, is closed."""

    code = "bus.closed"


class AuditUnavailable(RustCareError):
    """What was asked must be on record before it happens, and the audit log could not be written: nothing was done."""

    code = "audit.unavailable"


class StoreError(RustCareError):
    """The plugin's database or key-value space refused an operation."""

    code = "store.failed"


class StateNotMigrated(RustCareError):
    """A new version met state of another `state_version` and does not know how to migrate it."""

    code = "lifecycle.state-not-migrated"


class ServiceError(RustCareError):
    """An error of a plugin's own, with a code of its own: `raise ServiceError("acme.no-such-bed", "…")`.

    It is also what a caller gets when a code crosses the sandbox boundary that this side does not know.
    """

    code = "service.failed"

    def __init__(self, code: str, message: str, *, hint: str = "", address: str = "") -> None:
        super().__init__(message, hint=hint, address=address)
        self.code = code  # type: ignore[misc]  # an instance's code: the plugin's own namespace


def _classes() -> dict[str, type[RustCareError]]:
    found: dict[str, type[RustCareError]] = {}
    todo = [RustCareError]
    while todo:
        cls = todo.pop()
        found[cls.code] = cls
        todo.extend(cls.__subclasses__())
    return found


def error_from_failure(failure: dict[str, Any]) -> RustCareError:
    """The error for a `failure` record (`code`, `message`, `hint`, `address`) that crossed a boundary."""
    code = str(failure.get("code", ServiceError.code))
    text = str(failure.get("message", ""))
    hint, address = str(failure.get("hint", "")), str(failure.get("address", ""))
    cls = _classes().get(code)
    if cls is None or cls is RustCareError or issubclass(cls, ServiceError):
        return ServiceError(code, text, hint=hint, address=address)
    return cls(text, hint=hint, address=address)


def failure_from_error(error: BaseException) -> dict[str, str]:
    """The `failure` record of an error. A foreign exception gives its type's name only: texts hold patient data."""
    if isinstance(error, RustCareError):
        return {"code": error.code, "message": error.message, "hint": error.hint, "address": error.address}
    return {"code": HandlerFailed.code, "message": type(error).__name__, "hint": "", "address": ""}
