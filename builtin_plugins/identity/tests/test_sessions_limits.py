"""Limits of sessions: the standard's are never passed, and tenants only tighten."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.sessions.limits import (
    LevelSettings,
    Limits,
    SessionSettings,
    limits_of,
    limits_under,
    most_under,
)

_seconds = st.floats(60, 100 * 86_400)
_level = st.builds(LevelSettings, absolute=st.none() | _seconds, idle=st.none() | _seconds)
_settings = st.builds(SessionSettings, absolute=_seconds, idle=_seconds, aal1=_level, aal2=_level, aal3=_level)


def test_the_usual_limits() -> None:
    """A working day, half an hour of idleness; a quarter of an hour at AAL3."""
    usual = SessionSettings()
    assert limits_of(usual, 1) == Limits(43_200, 1_800)
    assert limits_of(usual, 2) == Limits(43_200, 1_800)
    assert limits_of(usual, 3) == Limits(43_200, 900)


@given(_settings, st.integers(-1, 9))
def test_no_setting_passes_nist(settings: SessionSettings, aal: int) -> None:
    """SP 800-63B-4: AAL1 30 days; AAL2 24 hours, idle 1 hour; AAL3 12 hours, idle 15 minutes."""
    found = limits_of(settings, aal)
    absolute, idle = {2: (86_400, 3_600)}.get(aal, (43_200, 900) if aal >= 3 else (30 * 86_400, 30 * 86_400))
    assert found.absolute <= absolute
    assert found.idle <= idle


@given(_settings, _settings, st.integers(1, 3))
def test_a_tenant_never_loosens_what_holds_for_all(all_: SessionSettings, own: SessionSettings, aal: int) -> None:
    """Each limit is the tighter of the two."""
    found = limits_under({"": all_, "t": own}.__getitem__, "t", aal)
    one, other = limits_of(all_, aal), limits_of(own, aal)
    assert found == Limits(min(one.absolute, other.absolute), min(one.idle, other.idle))


@given(st.integers(1, 1000), st.integers(1, 1000))
def test_a_tenant_never_allows_more_sessions_than_hold_for_all(all_: int, own: int) -> None:
    """The smaller number counts."""
    settings = {"": SessionSettings(most=all_), "t": SessionSettings(most=own)}
    assert most_under(settings.__getitem__, "t") == min(all_, own)


@given(st.floats(60, 86_400))
def test_use_is_written_often_enough_that_a_session_in_use_never_seems_idle(idle: float) -> None:
    """Between two writes, and the 30 seconds that an answer is kept, less than the idle limit goes by."""
    limits = Limits(86_400, idle)
    assert limits.write_every <= 60
    assert limits.write_every < idle / 2


@pytest.mark.parametrize(
    "bad",
    [
        {"absolute": 59},
        {"idle": 0},
        {"aal3": {"idle": -1}},
        {"idel": 600},
        {"idle": "600"},
        {"most": 0},
        {"most": 1001},
    ],
)
def test_settings_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    """A slip of the pen never passes for a rule."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bad, SessionSettings)
