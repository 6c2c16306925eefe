"""What can go wrong when a device is to be signed in (RFC 8628, section 3.5)."""

from __future__ import annotations

from rustcare_sdk import RustCareError

__all__ = ["DeviceBusy", "DeviceCodeUnknown", "DeviceDenied", "DeviceExpired", "DevicePending", "DeviceTooFast"]


class DeviceCodeUnknown(RustCareError):
    """There is no such code, or it has expired or was used."""

    code = "identity.device-code-unknown"


class DevicePending(RustCareError):
    """Nobody has answered yet (`authorization_pending`)."""

    code = "identity.device-pending"


class DeviceTooFast(RustCareError):
    """The device asks too often (`slow_down`)."""

    code = "identity.device-too-fast"


class DeviceDenied(RustCareError):
    """The user said no (`access_denied`)."""

    code = "identity.device-denied"


class DeviceExpired(RustCareError):
    """The code's time is over (`expired_token`)."""

    code = "identity.device-expired"


class DeviceBusy(RustCareError):
    """Too many devices wait to be signed in."""

    code = "identity.device-busy"
