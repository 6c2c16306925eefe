"""The plugin's errors. Their codes are stable and listed in its README."""

from __future__ import annotations

from typing import ClassVar

from rustcare_sdk.errors import RustCareError

__all__ = ["InvalidRequest", "InvalidSettings", "TenantRefused"]


class InvalidSettings(RustCareError):
    """The configuration cannot be used; the plugin does not start."""

    code: ClassVar[str] = "hl7.invalid-settings"


class InvalidRequest(RustCareError):
    """A request to one of the services cannot be answered: a malformed time or cursor, no condition given."""

    code: ClassVar[str] = "hl7.invalid-request"


class TenantRefused(RustCareError):
    """A message was handed in for another tenant than the one this receiver works for."""

    code: ClassVar[str] = "hl7.tenant-refused"
