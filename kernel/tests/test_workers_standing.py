"""What a worker was given to handle, and how long that is remembered."""

from __future__ import annotations

import pytest
from rustcare_kernel.workers._frames import Desired, Held
from rustcare_kernel.workers._standing import Standing
from rustcare_sdk.errors import CapabilityDenied
from rustcare_sdk.message import Call

from .support import DIGEST, World


def test_what_was_given_last_is_still_spoken_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many principals events are of: who was given one a while ago may still be handled; who was long ago, not."""
    monkeypatch.setattr("rustcare_kernel.workers._standing.CACHED", 10)
    world = World()
    world.rights("acme.front", "bus:subscribe@news.*")
    standing = Standing(1, world.grants)
    standing.told(Desired(1, [], [Held("acme.front", [], [])], "", []))
    calls = [Call("north", f"patient-{number}") for number in range(40)]
    for call in calls[:12]:
        standing.gave(call)
    assert standing.sender("acme.front", DIGEST, calls[0]).call == calls[0]
    for call in calls[12:]:
        standing.gave(call)
    with pytest.raises(CapabilityDenied):
        standing.sender("acme.front", DIGEST, calls[0])
    assert standing.sender("acme.front", DIGEST, calls[-1]).call == calls[-1]
