"""What can go wrong between an operator and a kernel before a method runs."""

from __future__ import annotations

from typing import ClassVar

from rustcare_sdk.errors import RustCareError

__all__ = ["ControlError", "ControlUnavailable", "DigestNotConsented"]


class ControlError(RustCareError):
    """A request to the control socket is malformed, or names a method or parameter that does not exist."""

    code: ClassVar[str] = "control.invalid-request"


class ControlUnavailable(RustCareError):
    """No kernel answers on the control socket."""

    code: ClassVar[str] = "control.unavailable"


class DigestNotConsented(RustCareError):
    """The package, or what it asks for, is not what the operator saw and consented to."""

    code: ClassVar[str] = "control.digest-not-consented"
