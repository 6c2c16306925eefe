"""Errors of the audit log."""

from __future__ import annotations

from rustcare_sdk.errors import RustCareError

__all__ = ["EntryNotFound", "InvalidRequest", "PolicyInvalid"]


class EntryNotFound(RustCareError):
    """There is no entry at this place of the log, or none that the caller may see."""

    code = "audit.entry-not-found"


class InvalidRequest(RustCareError):
    """A request to the audit log does not make sense."""

    code = "audit.invalid-request"


class PolicyInvalid(RustCareError):
    """The audit policy in the configuration is not well formed."""

    code = "audit.policy-invalid"
