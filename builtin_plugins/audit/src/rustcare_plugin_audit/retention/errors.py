"""Errors of retention."""

from __future__ import annotations

from rustcare_sdk.errors import RustCareError

__all__ = ["DisposalRefused", "HoldNotFound"]


class DisposalRefused(RustCareError):
    """A policy or a hold keeps what should be disposed of; nothing was."""

    code = "audit.disposal-refused"


class HoldNotFound(RustCareError):
    """There is no hold in force of this id."""

    code = "audit.hold-not-found"
