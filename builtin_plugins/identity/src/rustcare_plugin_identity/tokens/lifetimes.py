"""How long tokens last. The operator's settings hold for all; a tenant's own only tighten them."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

__all__ = ["TokenSettings", "settings_under"]


class TokenSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds. `lifetime`: of an access token; `refresh_absolute`: of a family of refresh tokens from its first one on;
    `refresh_idle`: of a refresh token that is not used.
    """

    lifetime: int = 300
    refresh_absolute: float = 604_800.0
    refresh_idle: float = 86_400.0

    def __post_init__(self) -> None:
        if not (10 <= self.lifetime <= 3_600 and 60 <= self.refresh_idle <= self.refresh_absolute <= 90 * 86_400):
            raise ValueError(
                "expected lifetime 10 to 3600 and 60 <= refresh_idle <= refresh_absolute <= 7776000 seconds"
            )


def settings_under(settings: Callable[[str], TokenSettings], tenant: str) -> TokenSettings:
    """Those of a tenant, as far as they are not beyond those that hold for all (`settings("")`)."""
    own, all_ = settings(tenant), settings("")
    absolute = min(own.refresh_absolute, all_.refresh_absolute)
    return TokenSettings(min(own.lifetime, all_.lifetime), absolute, min(own.refresh_idle, all_.refresh_idle, absolute))
