"""The audit policy: which uses it names, and how a use's end is said."""

from __future__ import annotations

import asyncio

import pytest
from rustcare_kernel.audit.policy import Policy, ending
from rustcare_kernel.errors import ConfigInvalid
from rustcare_sdk.errors import InvalidCapability, NoProvider


def test_it_names_uses_by_capability() -> None:
    """A rule covers what its capability covers; how often a use is granted is no part of it; another policy replaces all."""
    policy = Policy()
    assert not policy.covers("bus:request", "lab.order")
    policy.replace(["bus:request@lab.*;rate=5/s", "secret:use@*"], "acme.log")
    assert policy.covers("bus:request", "lab.order")
    assert policy.covers("secret:use", "door")
    assert not policy.covers("bus:request", "ward.order")
    assert not policy.covers("bus:publish", "lab.order")
    assert policy.texts() == ["bus:request@lab.*", "secret:use@*"]
    policy.replace(["bus:request@ward.*"], "acme.log")
    assert not policy.covers("bus:request", "lab.order")
    assert policy.covers("bus:request", "ward.order")


@pytest.mark.parametrize(("text", "error"), [("clock:read", ConfigInvalid), ("lab", InvalidCapability)])
def test_a_policy_that_cannot_be_kept_is_refused_whole(text: str, error: type[Exception]) -> None:
    """What cannot be held at a gate is refused, and what was in force stays in force."""
    policy = Policy()
    policy.replace(["kv:read@*"], "acme.log")
    with pytest.raises(error):
        policy.replace(["kv:write@*", text], "acme.log")
    assert policy.texts() == ["kv:read@*"]


def test_names_from_outside_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are kept up to a bound, and stay right beyond it."""
    monkeypatch.setattr(Policy, "CACHED", 10)
    policy = Policy()
    policy.replace(["kv:read@a*"], "acme.log")
    assert all(policy.covers("kv:read", f"a{number}") for number in range(100))
    assert len(policy._answers) <= 11


def test_how_a_use_ended() -> None:
    """Nothing, `cancelled`, a code, or the type of an error that is not ours, whose text is told to nobody."""
    assert ending(None) == ""
    assert ending(asyncio.CancelledError()) == "cancelled"
    assert ending(NoProvider("nobody serves it")) == "bus.no-provider"
    assert ending(ValueError("a patient's name")) == "ValueError"
