"""The states of a plugin and the steps between them are those of the plan, and no others."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_kernel.errors import StateForbids
from rustcare_kernel.states import ALLOWED, SERVING, Machine, State

#: The plan's graph: the line of life, and the branches it names.
PLAN = """
INSTALLED VERIFIED RESOLVED CONSENTED STARTING ACTIVE DRAINING STOPPED REMOVED
STARTING RETRY STARTING
STARTING FAILED
RETRY FAILED
ACTIVE DEGRADED ACTIVE
ACTIVE QUARANTINED
DEGRADED QUARANTINED
"""
#: What a life needs beyond the plan's line, each with its reason.
EXTRAS = {
    "stopped by the operator before it serves": [
        (state, "STOPPED")
        for state in ("INSTALLED", "VERIFIED", "RESOLVED", "CONSENTED", "STARTING", "RETRY", "FAILED", "QUARANTINED")
    ],
    "started again": [("FAILED", "INSTALLED"), ("QUARANTINED", "INSTALLED"), ("STOPPED", "INSTALLED")],
    "removed without having run": [
        (state, "REMOVED")
        for state in ("INSTALLED", "VERIFIED", "RESOLVED", "CONSENTED", "RETRY", "FAILED", "QUARANTINED")
    ],
    "the stored package is damaged": [("INSTALLED", "FAILED"), ("VERIFIED", "FAILED")],
    "what it required or was granted is gone again": [("RESOLVED", "VERIFIED"), ("CONSENTED", "RESOLVED")],
    "it traps while it starts or drains": [("STARTING", "QUARANTINED"), ("DRAINING", "QUARANTINED")],
    "an ill plugin is stopped": [("DEGRADED", "DRAINING")],
    "a drain is given up": [("DRAINING", "ACTIVE"), ("DRAINING", "DEGRADED")],
}


def test_the_graph_is_the_plans_and_the_documented_extras() -> None:
    """Every allowed step is in the plan or has a reason here; none of them is missing."""
    steps = {
        (State[old], State[new])
        for line in PLAN.strip().splitlines()
        for old, new in zip(line.split(), line.split()[1:], strict=False)
    }
    steps |= {(State[old], State[new]) for extra in EXTRAS.values() for old, new in extra}
    assert {(old, new) for old, following in ALLOWED.items() for new in following} == steps
    assert set(ALLOWED) == set(State)


def test_every_state_can_be_left_for_removed_and_removed_for_none() -> None:
    """From everywhere there is a way to REMOVED, which is the end."""
    assert ALLOWED[State.REMOVED] == frozenset()
    reach = {State.REMOVED}
    while more := {state for state in State if ALLOWED[state] & reach} - reach:
        reach |= more
    assert reach == set(State)


@given(st.lists(st.sampled_from(list(State)), max_size=30))
def test_the_machine_takes_allowed_steps_only(tries: list[State]) -> None:
    """An allowed step is taken and told with both states and the reason; any other raises and changes nothing."""
    told: list[tuple[State, State, str]] = []
    machine = Machine("acme.one", lambda *step: told.append(step))
    for number, state in enumerate(tries):
        before = machine.state
        if state in ALLOWED[before]:
            machine.to(state, f"r{number}")
            assert (machine.state, machine.reason) == (state, f"r{number}")
            assert told[-1] == (before, state, f"r{number}")
        else:
            count = len(told)
            with pytest.raises(StateForbids) as caught:
                machine.to(state)
            assert machine.state is before
            assert len(told) == count
            for word in ("acme.one", before.value, state.value):
                assert word in caught.value.message
        assert machine.serving == (machine.state in SERVING)
    for one, two in itertools.pairwise(told):
        assert one[1] is two[0]


def test_only_active_and_degraded_serve() -> None:
    """Messages reach a plugin in these two states."""
    assert {State.ACTIVE, State.DEGRADED} == SERVING
