"""The portable codec agrees with msgspec, and its errors say where, never what."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_sdk.codec import decode, encode, from_builtins, to_builtins, without_values
from rustcare_sdk.contracts import fhir, hl7, plugin
from rustcare_sdk.errors import InvalidPayload


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class Leaf:
    name: str
    size: int = 0
    ratio: float = 1.0
    seen: datetime | None = None


@dataclass(frozen=True)
class Tree:
    """One of everything that the codec understands; it contains itself."""

    leaf: Leaf
    groups: list[str] = field(default_factory=list)
    pair: tuple[int, str] = (1, "a")
    many: tuple[Leaf, ...] = ()
    table: dict[str, list[int]] = field(default_factory=dict)
    raw: bytes = b""
    kind: Literal["a", "b", 3] = "a"
    mixed: int | str | list[bool] | None = None
    colour: Colour = Colour.RED
    anything: Any = None
    child: Tree | None = None


leaves = st.builds(
    Leaf,
    name=st.text(),
    size=st.integers(-(2**53), 2**53),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    seen=st.none()
    | st.datetimes(
        min_value=datetime(1900, 1, 1), timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-3))])
    ),
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
trees: st.SearchStrategy[Tree] = st.deferred(
    lambda: st.builds(
        Tree,
        leaf=leaves,
        groups=st.lists(st.text(), max_size=3),
        pair=st.tuples(st.integers(-9, 9), st.text()),
        many=st.lists(leaves, max_size=2).map(tuple),
        table=st.dictionaries(st.text(), st.lists(st.integers(0, 9), max_size=2), max_size=2),
        raw=st.binary(),
        kind=st.sampled_from(["a", "b", 3]),
        mixed=st.none() | st.integers(0, 9) | st.text() | st.lists(st.booleans(), max_size=2),
        colour=st.sampled_from(Colour),
        anything=json_values,
        child=st.none() | trees,
    )
)


@given(trees)
def test_round_trip_and_agreement_with_msgspec(tree: Tree) -> None:
    """What one side encodes the other decodes to the same object, in every combination of codec and msgspec."""
    ours, theirs = encode(tree), msgspec.json.encode(tree)
    assert decode(ours, Tree) == tree
    assert decode(theirs, Tree) == tree
    assert msgspec.json.decode(ours, type=Tree) == tree
    assert from_builtins(Tree, to_builtins(tree)) == tree
    assert to_builtins(tree) == msgspec.json.decode(theirs)


@given(trees, st.data())
def test_both_refuse_the_same(tree: Tree, data: st.DataObject) -> None:
    """A field with a value of another type is refused by both codecs or by neither."""
    plain = to_builtins(tree)
    plain[data.draw(st.sampled_from(sorted(plain)))] = data.draw(json_values)
    try:
        theirs = msgspec.json.decode(msgspec.json.encode(plain), type=Tree)
    except msgspec.ValidationError:
        with pytest.raises(InvalidPayload):
            from_builtins(Tree, plain)
    else:
        assert from_builtins(Tree, plain) == theirs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"groups": [1]}, "Expected str, got int - at $.groups[0]"),
        ({"groups": "x"}, "Expected array, got str - at $.groups"),
        ({"leaf": {}}, "Object missing required field name - at $.leaf"),
        ({"leaf": {"name": "x", "size": 1.0}}, "Expected int, got float - at $.leaf.size"),
        (
            {"leaf": {"name": "x", "ratio": 10**400}},
            "Expected float, got an integer out of its range - at $.leaf.ratio",
        ),
        ({"leaf": {"name": "x", "size": True}}, "Expected int, got bool - at $.leaf.size"),
        ({"leaf": {"name": "x", "ratio": "secret"}}, "Expected float, got str - at $.leaf.ratio"),
        (
            {"leaf": {"name": "x", "seen": "yesterday"}},
            "Expected an RFC 3339 date and time, got other text - at $.leaf.seen",
        ),
        ({"pair": [1]}, "Expected array of length 2, got 1 - at $.pair"),
        ({"pair": [1, 2]}, "Expected str, got int - at $.pair[1]"),
        ({"many": [{"name": "x"}, {"name": None}]}, "Expected str, got null - at $.many[1].name"),
        ({"table": {"patient": ["x"]}}, "Expected int, got str - at $.table[...][0]"),
        ({"raw": "%%"}, "Expected base64, got other text - at $.raw"),
        ({"kind": "z"}, 'Expected one of "a", "b", 3, got another value - at $.kind'),
        ({"kind": None}, 'Expected one of "a", "b", 3, got null - at $.kind'),
        ({"mixed": {}}, "Expected int | str | array | null, got object - at $.mixed"),
        ({"colour": "green"}, 'Expected one of "red", "blue", got another value - at $.colour'),
        ({"child": {"leaf": 1}}, "Expected object, got int - at $.child.leaf"),
    ],
)
def test_errors_give_the_path_and_no_values(changes: dict[str, Any], message: str) -> None:
    """An error names what was expected, the type that came and the path; the value may be patient data: absent."""
    with pytest.raises(InvalidPayload) as caught:
        from_builtins(Tree, {"leaf": {"name": "x"}, **changes})
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"leaf": {"name": "x"}, **changes}, Tree)
    assert caught.value.message == message


def test_the_path_can_start_elsewhere() -> None:
    """A caller that decodes a part names the whole."""
    with pytest.raises(InvalidPayload, match=r"at answer\.name"):
        from_builtins(Leaf, {"name": 1}, "answer")


def test_newer_fields_are_ignored() -> None:
    """A receiver ignores fields that it does not know, so contracts can grow."""
    assert from_builtins(Leaf, {"name": "x", "added_later": 1}) == Leaf("x")


def test_ambiguous_types_are_refused_when_declared() -> None:
    """A union whose members look alike in JSON is a programming error, not a guess."""
    with pytest.raises(TypeError, match="two of its members are a JSON str"):
        from_builtins(str | bytes, "x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="cannot decode"):
        from_builtins(complex, 1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"x": object()}, {1: "x"}, "\ud800"])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    """NaN, infinities, foreign objects and lone surrogates raise InvalidPayload without quoting the data."""
    if value == {1: "x"}:
        with pytest.raises(InvalidPayload):
            to_builtins(value)
        return
    with pytest.raises(InvalidPayload) as caught:
        encode(value)
    assert "ud800" not in str(caught.value)


def test_malformed_text_is_refused_without_quoting_it() -> None:
    """Text that is not JSON raises InvalidPayload; the text is not repeated."""
    for text in (b'{"name": "Smith', b'["Smith", NaN]', b"Smith\xff", b"[" * 100_000):
        with pytest.raises(InvalidPayload) as caught:
            decode(text)
        assert "Smith" not in str(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        hl7.Hl7Message("k", "ADT", "A01", "1", "F", "2.5", "2026-01-01T00:00:00Z", "MSH|"),
        hl7.Status(received=1),
        hl7.ReplayRequest(keys=["k"]),
        fhir.StoreRequest("k", [{"resourceType": "Patient", "id": "1"}], "hl7:k"),
        fhir.StoreReply(1, ["Patient/1/_history/1"], False),
        fhir.ResourceEvent("created", "Patient", "1", "1"),
        fhir.HistoryReply([{"resourceType": "Patient"}], more=True),
        plugin.PluginState("a.b", "1.0.0", "sha256:0", "starting", "active"),
        plugin.AccountingReply([plugin.AccountingRow("a.b", "t", "call", calls=2, wall_s=0.5)]),
        plugin.PluginsReply([plugin.PluginRow("a.b", "1.0.0", "sha256:0", "python", "active")]),
    ],
)
def test_contracts_cross_the_boundary(message: Any) -> None:
    """Every contract looks the same whether msgspec or the portable codec carried it."""
    assert decode(msgspec.json.encode(message), type(message)) == message
    assert msgspec.json.decode(encode(message), type=type(message)) == message


def test_subjects_of_contracts() -> None:
    """Subjects are lower case and safe whatever MSH-9 holds."""
    assert hl7.subject_of("ADT", "A01") == "hl7.adt.a01"
    assert hl7.subject_of("ACK", "") == "hl7.ack.none"
    assert hl7.subject_of("A.*", ">") == "hl7.a__._"
    assert fhir.subject_of("Patient", "created") == "fhir.patient.created"


class Strict(msgspec.Struct, forbid_unknown_fields=True, tag="a"):
    name: str = ""


@pytest.mark.parametrize(
    ("wanted", "data"),
    [
        (Literal["a", "b"], "Smith"),
        (list[Literal["a", "b"]], ["Smith - at `$.x` Smith\nSmith"]),
        (Colour, "Smith"),
        (Strict, {"type": "Smith"}),
        (Strict, {"type": "a", "Smith": 1}),
        (list[Strict], [{"type": "a", "Smith` - at": 1}]),
        (dict[str, int], {"Smith": "Smith"}),
        (Tree, {"leaf": {"name": "x", "seen": "Smith"}}),
    ],
)
def test_errors_of_msgspec_lose_the_values_they_quote(wanted: Any, data: Any) -> None:
    """What msgspec says about data is passed on without the data."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(data, wanted)
    assert "Smith" not in without_values(str(caught.value))
