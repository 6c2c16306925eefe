"""Retention policies as data: which entries they apply to, how long these are kept, when they must be gone.

Those of `policies.toml` are in force for the jurisdictions that the configuration names; its own come on top. What is only an
example there is in force when its jurisdiction is named.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import msgspec

from rustcare_plugin_audit.entry import Entry
from rustcare_plugin_audit.errors import PolicyInvalid
from rustcare_plugin_audit.reports.matching import NEVER, Match, holds, key_of
from rustcare_plugin_audit.reports.matching import Matcher as _Matcher
from rustcare_plugin_audit.reports.shipped import shipped

__all__ = ["Period", "RetentionPolicy", "applying", "policies_of"]

#: The last moment that a date can be written for.
LAST = 253_402_300_799_000_000
_PERIOD = re.compile(r"P(?=[0-9])(?:([0-9]{1,3})Y)?(?:([0-9]{1,4})M)?(?:([0-9]{1,5})D)?")


class Period:
    """A period of RFC 3339 appendix A, of years, months and days: `P6Y`. Raises PolicyInvalid."""

    def __init__(self, text: str, address: str = "") -> None:
        found = _PERIOD.fullmatch(text)
        if found is None:
            raise PolicyInvalid(f"expected a period such as P6Y, P18M or P90D, got {text[:40]!r}", address=address)
        years, months, days = (int(part or 0) for part in found.groups())
        self.text = text
        self._months = 12 * years + months
        self._days = days

    def after(self, time: int) -> int:
        """The end of the period that begins at `time` (µs). Where there is no such day, the next one: never earlier."""
        moment = _at(time)
        year, month = divmod(moment.year * 12 + moment.month - 1 + self._months, 12)
        if year > 9990:
            return LAST
        try:
            end = moment.replace(year=year, month=month + 1)
        except ValueError:
            end = moment.replace(year=year + (month == 11), month=(month + 1) % 12 + 1, day=1)
        return _micros(end + timedelta(days=self._days))


class RetentionPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One policy, as `policies.toml` says."""

    id: str
    jurisdiction: str
    source: str
    says: str
    keep: str
    limit: str = ""
    match: tuple[Match, ...] = ()
    example: bool = False


@cache
def _built_in() -> tuple[RetentionPolicy, ...]:
    text = shipped(__package__ or "", "policies.toml")
    return tuple(msgspec.convert(tomllib.loads(text)["policy"], list[RetentionPolicy]))


def policies_of(config: Mapping[str, Any]) -> tuple[RetentionPolicy, ...]:
    """The policies in force: `retention.jurisdictions` and `retention.policies` of the configuration. Raises PolicyInvalid."""
    wanted: Sequence[str] = config.get("jurisdictions", ("us", "us-sox"))
    known = {policy.jurisdiction for policy in _built_in()}
    try:
        own = msgspec.convert(list(config.get("policies", ())), list[RetentionPolicy])
    except msgspec.ValidationError as error:
        raise PolicyInvalid(str(error), address="config.retention.policies") from None
    for name in wanted:
        if name not in known and name not in {policy.jurisdiction for policy in own}:
            raise PolicyInvalid(
                f"expected jurisdictions among {', '.join(sorted(known))} or of the configuration's own policies, got {name!r}",
                address="config.retention.jurisdictions",
            )
    found = [policy for policy in _built_in() if policy.jurisdiction in wanted]
    found += own  # what the configuration brings itself is meant
    if len({policy.id for policy in found}) < len(found):
        raise PolicyInvalid(
            "expected policies with ids of their own, got one twice", address="config.retention.policies"
        )
    for policy in found:
        _check(policy)
    return tuple(found)


def _check(policy: RetentionPolicy) -> None:
    address = f"retention policy {policy.id}"
    keep = Period(policy.keep, address)
    if policy.limit and Period(policy.limit, address).after(0) < keep.after(0):
        raise PolicyInvalid("expected a limit that is not shorter than what must be kept", address=address)
    if any(match.outcome for match in policy.match):
        raise PolicyInvalid("expected a policy that does not depend on the outcome", address=address)


def applying(policies: Iterable[RetentionPolicy], entry: Entry) -> tuple[RetentionPolicy, ...]:
    """The policies that apply to an entry.

    Outcomes and continuations go by the policies for all entries, or, where there are none, by every policy: the entries that
    they belong to come before them and keep them.
    """
    if entry.kind in ("outcome", "continuation"):
        every = tuple(policies)
        return tuple(policy for policy in every if not policy.match) or every
    return tuple(policy for policy in policies if not policy.match or _fits(policy, entry))


def _fits(policy: RetentionPolicy, entry: Entry) -> bool:
    return any(holds(match, entry, NEVER) for match in _Matcher(policy.match).candidates(key_of(entry)))


def _at(time: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)


def _micros(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
