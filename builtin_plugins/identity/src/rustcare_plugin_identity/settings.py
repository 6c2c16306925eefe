"""What a tenant may set for itself, and what holds for all that have not.

A tenant's settings lie over those of the configuration (`settings`), which lie over the defaults here. Each part of the
plugin has a section; what nobody knows is refused, so that a slip of the pen never passes for a rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from .elevations.bounds import ElevationSettings
from .errors import InvalidSettings
from .sessions.limits import SessionSettings
from .tokens.lifetimes import TokenSettings

__all__ = ["LockoutSettings", "PasskeySettings", "PasswordSettings", "Settings", "merged", "settings_of"]


class PasswordSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lengths in characters (NIST SP 800-63B-4, section 3.1.1.2). The least may be raised, not lowered below the standard's.

    `minimum`: for a password that is the only factor; `minimum_with_factor`: where a second one is demanded;
    `words`: further words that a password may not be made of, such as the name of the house.
    """

    minimum: int = 15
    minimum_with_factor: int = 8
    maximum: int = 256
    words: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (
            15 <= self.minimum <= 64 and 8 <= self.minimum_with_factor <= self.minimum and 64 <= self.maximum <= 1024
        ):
            raise ValueError("expected minimum 15 to 64, minimum_with_factor 8 to minimum, maximum 64 to 1024")


class LockoutSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Wrong passwords: `free` of them cost nothing, then each doubles the wait (seconds, at most `longest_wait`), and from
    `lock_after` on the password is not looked at for `lock_for` seconds, twice as long each further time up to `lock_longest`.

    `forget`: seconds without a failure after which all is forgotten. `address_rate`: failures an hour from one address
    (or IPv6 /64) before it has to wait too; `mail_rate`: requests for links by mail an hour from one address.
    """

    free: int = 3
    longest_wait: float = 30.0
    lock_after: int = 10
    lock_for: float = 300.0
    lock_longest: float = 3600.0
    forget: float = 86400.0
    address_rate: int = 60
    mail_rate: int = 60

    def __post_init__(self) -> None:
        if not (
            0 <= self.free < self.lock_after <= 100 and 0 < self.longest_wait <= self.lock_for <= self.lock_longest
        ):
            raise ValueError("expected 0 <= free < lock_after <= 100 and 0 < longest_wait <= lock_for <= lock_longest")
        if self.lock_longest > 86400 or self.forget < 60 or min(self.address_rate, self.mail_rate) < 1:
            raise ValueError(
                "expected lock_longest of at most a day, forget of at least 60, address_rate of at least 1"
            )


class PasskeySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`name`: what authenticators show, else the tenant's name. `rp_id`: the domain that passkeys are bound to, of which the
    origins' hosts are part, else the host of the page. `origins`: those at which passkeys are taken, else the page's own.

    `aal3`: a passkey that is bound to one device reaches AAL3 (NIST SP 800-63B-4 wants its key not to be exportable; without
    attestation that is the device's word).
    """

    name: str = ""
    rp_id: str = ""
    origins: tuple[str, ...] = ()
    aal3: bool = False


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tenant's settings, one section for each part.

    `registration`: `closed`: accounts come from administrators with a password, from provisioning and from imports;
    `invite`: administrators may send invitations too; `open`: people may register themselves (needs mail).
    `roles`: roles beyond the built-in ones, with their scopes. `mfa`: who must have a second factor: `optional`: nobody;
    `required`: everybody. `sign_in_notices`: mail when an account signs in from a device that it has not used before.

    Of `sessions`, `tokens` and `elevations` a tenant's own only tighten those that hold for all. `limits` and `cors` belong to
    the gateway.
    """

    registration: Literal["closed", "invite", "open"] = "invite"
    mfa: Literal["optional", "required"] = "optional"
    sign_in_notices: bool = True
    roles: dict[str, tuple[str, ...]] = {}
    passwords: PasswordSettings = PasswordSettings()
    lockout: LockoutSettings = LockoutSettings()
    passkeys: PasskeySettings = PasskeySettings()
    sessions: SessionSettings = SessionSettings()
    tokens: TokenSettings = TokenSettings()
    elevations: ElevationSettings = ElevationSettings()
    limits: dict[str, Any] = {}
    cors: dict[str, Any] = {}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two settings laid over each other, section by section."""
    found = dict(below)
    for name, value in above.items():
        under = found.get(name)
        found[name] = merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return found


def settings_of(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> Settings:
    """The settings that hold. Raises InvalidSettings, which names the place, not the value."""
    try:
        return msgspec.convert(merged(defaults, own), Settings)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidSettings(
            f"expected settings as the README of identity says, got others: {error}", address="settings"
        ) from None
