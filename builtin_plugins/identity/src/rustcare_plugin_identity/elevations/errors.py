"""What can go wrong with emergency access and delegation."""

from __future__ import annotations

from rustcare_sdk import RustCareError

__all__ = ["ElevationForbidden", "ElevationInvalid", "ElevationOver", "ElevationUnknown"]


class ElevationUnknown(RustCareError):
    """There is no such elevation in this tenant."""

    code = "identity.elevation-unknown"


class ElevationInvalid(RustCareError):
    """An elevation is not asked for as it must be: no reason, no such role, a time out of bounds."""

    code = "identity.elevation-invalid"


class ElevationForbidden(RustCareError):
    """Not this caller: it is somebody else's, or nobody reviews what they did themselves."""

    code = "identity.elevation-forbidden"


class ElevationOver(RustCareError):
    """The elevation has ended, or was reviewed already."""

    code = "identity.elevation-over"
