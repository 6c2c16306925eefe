"""How long a session lasts: idle and absolute limits by assurance level (NIST SP 800-63B-4, sections 2.1.3, 2.2.3, 2.3.3).

| level | never more than (NIST) | unless the operator or a tenant says otherwise |
|---|---|---|
| AAL1 | 30 days | 12 h, idle 30 min |
| AAL2 | 24 h, idle 1 h | 12 h, idle 30 min |
| AAL3 | 12 h, idle 15 min | 12 h, idle 15 min |

The operator's settings hold for all; a tenant's own only tighten them.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

__all__ = ["KEEP", "LevelSettings", "Limits", "SessionSettings", "limits_of", "limits_under", "most_under"]

#: Seconds for which an answer of `identity.authenticate` may be kept at most, so that use is noticed and ends are too.
KEEP = 30.0
#: Seconds: no limit is lower, or nobody could work.
_LEAST = 60.0
#: Sessions of an account: each sign-in looks at all of them.
_MOST = 1000


class LevelSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of one assurance level, in seconds; None: as for all levels."""

    absolute: float | None = None
    idle: float | None = None


class SessionSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Automatic logoff, in seconds: `absolute` since the sign-in, `idle` since the last use; further limits by level.

    `most`: sessions in browsers that an account has at once, and as many of programs and devices with refresh tokens.
    """

    absolute: float = 43_200.0
    idle: float = 1_800.0
    aal1: LevelSettings = LevelSettings()
    aal2: LevelSettings = LevelSettings()
    aal3: LevelSettings = LevelSettings()
    most: int = 20

    def __post_init__(self) -> None:
        every = [self.absolute, self.idle]
        for level in (self.aal1, self.aal2, self.aal3):
            every += [limit for limit in (level.absolute, level.idle) if limit is not None]
        if not all(limit >= _LEAST for limit in every):
            raise ValueError("expected limits of sessions of at least 60 seconds")
        if not 1 <= self.most <= _MOST:
            raise ValueError(f"expected sessions.most of 1 to {_MOST}")


class Limits(Struct, frozen=True):
    """Seconds since the session began, and since it was last used."""

    absolute: float
    idle: float

    @property
    def write_every(self) -> float:
        """How often the time of last use is written: cheap, yet never so coarse that a session in use seems idle."""
        return min(60.0, self.idle / 4)

    def and_those(self, other: Limits) -> Limits:
        """The tighter of two."""
        return Limits(min(self.absolute, other.absolute), min(self.idle, other.idle))


_DAY = 86_400.0
_STANDARD = {1: Limits(30 * _DAY, 30 * _DAY), 2: Limits(_DAY, 3_600.0), 3: Limits(_DAY / 2, 900.0)}


def limits_of(settings: SessionSettings, aal: int) -> Limits:
    """The limits of a level, whatever is set within those of the standard."""
    level = min(max(aal, 1), 3)
    own: LevelSettings = (settings.aal1, settings.aal2, settings.aal3)[level - 1]
    asked = Limits(
        settings.absolute if own.absolute is None else own.absolute, settings.idle if own.idle is None else own.idle
    )
    return asked.and_those(_STANDARD[level])


def limits_under(settings: Callable[[str], SessionSettings], tenant: str, aal: int) -> Limits:
    """The limits of a level in a tenant: its own, as far as they are not beyond those that hold for all (`settings("")`)."""
    return limits_of(settings(tenant), aal).and_those(limits_of(settings(""), aal))


def most_under(settings: Callable[[str], SessionSettings], tenant: str) -> int:
    """How many sessions of a kind an account of a tenant has at once, likewise."""
    return min(settings(tenant).most, settings("").most)
