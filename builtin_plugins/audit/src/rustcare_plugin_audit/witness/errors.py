"""Errors of the witnesses."""

from __future__ import annotations

from rustcare_sdk.errors import RustCareError

__all__ = ["LogForked", "LogRolledBack", "WitnessFailed", "WitnessInvalid"]


class WitnessInvalid(RustCareError):
    """A witness in the configuration is not well formed."""

    code = "audit.witness-invalid"


class WitnessFailed(RustCareError):
    """A witness could not be reached, did not want to cosign, or answered with a signature that is not its own."""

    code = "audit.witness-failed"


class LogRolledBack(RustCareError):
    """A witness has cosigned more entries than the log has: an older data folder took the place of the log."""

    code = "audit.rolled-back"


class LogForked(RustCareError):
    """A witness has cosigned a log that this one does not extend: two logs go by one name, or entries were replaced."""

    code = "audit.forked"
