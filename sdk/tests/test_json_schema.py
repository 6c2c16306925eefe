"""JSON Schemas of types."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass
from typing import Literal

from rustcare_sdk._json_schema import schema_of


@dataclass
class Bed:
    """A bed.

    More of it.
    """

    id: str
    kind: Literal["one", "many"] = "one"
    beside: Bed | None = None
    tags: dict[str, list[int]] = field(default_factory=dict)


def test_a_dataclass_is_described_once() -> None:
    """With the first line of its text, what is required, its defaults, and references where it holds itself."""
    assert schema_of(list[Bed]) == {
        "type": "array",
        "items": {"$ref": "#/$defs/Bed"},
        "$defs": {
            "Bed": {
                "type": "object",
                "description": "A bed.",
                "required": ["id"],
                "properties": {
                    "id": {"type": "string"},
                    "kind": {"enum": ["one", "many"], "default": "one"},
                    "beside": {"anyOf": [{"$ref": "#/$defs/Bed"}, {"type": "null"}], "default": None},
                    "tags": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "integer"}}},
                },
            }
        },
    }


def test_two_classes_of_one_name_stay_two() -> None:
    """One is not described as the other."""
    other = make_dataclass("Bed", [("number", int)])
    found = schema_of(tuple[Bed, other])  # type: ignore[valid-type]
    assert [item["$ref"] for item in found["prefixItems"]] == ["#/$defs/Bed", "#/$defs/Bed_2"]
    assert list(found["$defs"]["Bed_2"]["properties"]) == ["number"]
