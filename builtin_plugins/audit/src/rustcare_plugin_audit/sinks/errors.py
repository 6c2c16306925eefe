"""Errors of the sinks."""

from __future__ import annotations

from rustcare_sdk.errors import RustCareError

__all__ = ["SinkFailed", "SinkInvalid", "SinkRefused"]


class SinkInvalid(RustCareError):
    """A sink in the configuration is not well formed."""

    code = "audit.sink-invalid"


class SinkFailed(RustCareError):
    """A sink could not be reached, or did not confirm; what it was given is sent again."""

    code = "audit.sink-failed"


class SinkRefused(SinkFailed):
    """A sink was reached and refused an event for good."""

    code = "audit.sink-refused"
