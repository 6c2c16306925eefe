"""Defaults of decoded bodies: what comes in short goes out whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import pytest
from rustcare_kernel.runtimes._defaults import completer


@dataclass(frozen=True)
class Place:
    """A bed's."""

    ward: str
    floor: int = 0
    kind: Literal["one", "many"] = "one"


@dataclass(slots=True)
class Slotted:
    """It has all of its fields anyhow."""

    place: Place
    number: int = 7


@dataclass
class Bed:
    """It may hold others."""

    id: str
    place: Place | None = None
    places: list[Place] = field(default_factory=list)
    named: dict[str, Place] = field(default_factory=dict)
    pair: tuple[Place, ...] = ()
    slotted: Slotted | None = None
    inner: Bed | None = None


PLACE = {"ward": "w", "floor": 0, "kind": "one"}
WHOLE = {"place": None, "places": [], "named": {}, "pair": [], "slotted": None, "inner": None}


@pytest.mark.parametrize(
    ("sent", "comes_out"),
    [
        ({"id": "1"}, {"id": "1", **WHOLE}),
        ({"id": "1", "place": {"ward": "w"}}, {"id": "1", **WHOLE, "place": PLACE}),
        ({"id": "1", "places": [{"ward": "w"}]}, {"id": "1", **WHOLE, "places": [PLACE]}),
        ({"id": "1", "named": {"a": {"ward": "w"}}}, {"id": "1", **WHOLE, "named": {"a": PLACE}}),
        ({"id": "1", "pair": [{"ward": "w", "floor": 3}]}, {"id": "1", **WHOLE, "pair": [{**PLACE, "floor": 3}]}),
        (
            {"id": "1", "slotted": {"place": {"ward": "w"}}},
            {"id": "1", **WHOLE, "slotted": {"place": PLACE, "number": 7}},
        ),
        ({"id": "1", "inner": {"id": "2"}}, {"id": "1", **WHOLE, "inner": {"id": "2", **WHOLE}}),
    ],
)
def test_what_was_left_out_comes_out(sent: dict[str, Any], comes_out: dict[str, Any]) -> None:
    """At any depth, in lists, mappings and unions; what was said stays as it was said."""
    complete = completer(Bed)
    assert complete is not None
    found = msgspec.convert(sent, Bed)
    complete(found)
    assert msgspec.json.decode(msgspec.json.encode(found)) == comes_out


@pytest.mark.parametrize("annotation", [int, list[str], dict[str, Any], Any, str | None])
def test_types_without_defaults_cost_nothing(annotation: Any) -> None:
    """There is nothing to be done for them."""
    assert completer(annotation) is None
