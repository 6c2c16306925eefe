"""What a tenant allows of emergency access and delegation. The operator's settings hold for all; a tenant's only tighten."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

__all__ = ["ElevationSettings", "bounds_under"]


class ElevationSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """`minutes` of a break-glass access at most (0: there is none) and the `roles` it may give; `hours` of a delegation at most
    (0: there is none); `reason`: characters that the reason of a break-glass access has at least.
    """

    minutes: int = 240
    roles: tuple[str, ...] = ("emergency",)
    hours: int = 2_160
    reason: int = 10

    def __post_init__(self) -> None:
        if not (0 <= self.minutes <= 1_440 and 0 <= self.hours <= 8_784 and 1 <= self.reason <= 1_000):
            raise ValueError("expected minutes 0 to 1440, hours 0 to 8784, reason 1 to 1000 characters")


def bounds_under(settings: Callable[[str], ElevationSettings], tenant: str) -> ElevationSettings:
    """Those of a tenant, as far as they are not beyond those that hold for all (`settings("")`)."""
    own, all_ = settings(tenant), settings("")
    roles = tuple(role for role in own.roles if role in all_.roles)
    return ElevationSettings(
        min(own.minutes, all_.minutes), roles, min(own.hours, all_.hours), max(own.reason, all_.reason)
    )
