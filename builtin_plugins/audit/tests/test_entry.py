"""Entries: one canonical form, nothing that readers disagree about, commitments that say nothing by themselves."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_audit.entry import (
    Change,
    Disclosure,
    Entry,
    What,
    Which,
    Who,
    canonical_value,
    changes,
    clip,
    commit,
    decode,
    encode,
    fact,
    plain,
    sealed_values,
)

texts = st.text(max_size=20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
entries = st.builds(
    Entry,
    v=st.just(1),
    id=texts,
    time=st.integers(0, 2**53),
    kind=st.sampled_from(["use", "operation", "fact", "outcome"]),
    who=st.none() | st.builds(Who, plugin=texts, principal=texts),
    what=st.none() | st.builds(What, action=texts, capability=texts),
    which=st.none()
    | st.builds(
        Which,
        tenant=texts | st.sampled_from(["default", ""]),
        types=st.dictionaries(texts, st.integers(0, 9), max_size=2),
    ),
    sealed=st.lists(st.binary(max_size=20), max_size=2),
    changes=st.lists(st.builds(Change, field=texts, new=st.binary(min_size=32, max_size=32)), max_size=2),
    disclosure=st.none() | st.builds(Disclosure, subject=texts, n=st.integers(1, 9)),
    details=st.dictionaries(texts, json_values.map(plain), max_size=3),
)


@given(entries)
def test_an_entry_is_read_as_it_was_written(entry: Entry) -> None:
    """What is encoded decodes to the same entry, and encodes to the same bytes again."""
    data = encode(entry)
    assert decode(data) == entry
    assert encode(decode(data)) == data


@given(entries)
def test_the_form_is_canonical_json(entry: Entry) -> None:
    """Keys are sorted at every level, there is no insignificant space, text is UTF-8 and nothing is a float."""
    data = encode(entry)
    parsed = json.loads(data, parse_float=lambda text: (_ for _ in ()).throw(AssertionError(text)))
    assert json.loads(json.dumps(parsed, sort_keys=True)) == parsed
    assert list(_keys(parsed)) == [key for level in _levels(parsed) for key in sorted(level, key=lambda k: k.encode())]


def _levels(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *itertools.chain.from_iterable(_levels(item) for item in value.values())]
    return list(itertools.chain.from_iterable(map(_levels, value))) if isinstance(value, list) else []


def _keys(value: Any) -> list[str]:
    return [key for level in _levels(value) for key in level]


def test_equal_entries_have_equal_bytes() -> None:
    """The form depends on values only, not on which of two equal objects an entry was made of."""
    for tenant in ("default", "".join(["def", "ault"])):
        entry = Entry(v=1, id="a", time=5, kind="use", which=Which(tenant))
        assert encode(entry) == b'{"id":"a","kind":"use","time":5,"v":1,"which":{"tenant":"default"}}'


def test_what_is_empty_is_left_out() -> None:
    """An entry says only what there is to say, so that its form does not depend on how it was made."""
    data = encode(Entry(v=1, id="a", time=5, kind="use", who=Who(plugin="x"), what=What("read")))
    assert data == b'{"id":"a","kind":"use","time":5,"v":1,"what":{"action":"read"},"who":{"plugin":"x"}}'


@given(json_values)
def test_details_have_no_floats_and_no_numbers_that_readers_round(value: Any) -> None:
    """`plain` leaves JSON that every reader reads alike: whole numbers up to 2^53, no floats."""
    data = msgspec.json.encode(plain(value))
    numbers: list[int] = []
    json.loads(data, parse_int=lambda text: numbers.append(int(text)), parse_float=lambda text: 1 / 0)
    assert all(abs(number) < 2**53 for number in numbers)


def test_a_lone_surrogate_does_not_stop_an_entry() -> None:
    """Text that UTF-8 cannot hold is written with replacement characters: an attempt is never lost for its spelling."""
    data = encode(Entry(v=1, id="a", time=1, kind="use", who=Who(principal="b\ud800b")))
    assert decode(data).who == Who(principal="b?b")


def test_a_commitment_is_salted() -> None:
    """A field's commitment is SHA-256 of a fresh salt and the canonical value: equal values cannot be told from it."""
    public, sealed = changes({"a": 1}, {"a": 2, "b": {"y": 1, "x": 2}}, os.urandom)
    again, _ = changes({"a": 1}, {"a": 2, "b": {"y": 1, "x": 2}}, os.urandom)
    assert [change.field for change in public] == ["a", "b"]
    assert all(one.new != two.new for one, two in zip(public, again, strict=True))
    for change, row in zip(public, sealed, strict=True):
        salt = bytes.fromhex(row["salt_new"])
        assert (
            change.new
            == hashlib.sha256(salt + canonical_value(row["new"])).digest()
            == commit(salt, canonical_value(row["new"]))
        )
        assert change.new != hashlib.sha256(canonical_value(row["new"])).digest()
    assert public[1].old == b""
    assert "old" not in sealed[1]


def test_what_did_not_change_is_not_told() -> None:
    """Fields with the same value before and after have no commitment; `true` and 1 are two values."""
    public, _ = changes({"same": [1], "was": True, "gone": 1}, {"same": [1], "was": 1}, os.urandom)
    assert [change.field for change in public] == ["gone", "was"]


def test_long_values_are_committed_to_but_not_kept() -> None:
    """Of a long value the sealed part has the salt only, so that an entry stays small; its holder can still check it."""
    public, sealed = changes(None, {"photo": "x" * 5000}, os.urandom)
    assert "new" not in sealed[0]
    assert public[0].new == commit(bytes.fromhex(sealed[0]["salt_new"]), canonical_value("x" * 5000))


def test_a_fact_of_our_own_names_the_audit_plugin() -> None:
    """What the audit plugin itself states is an entry like any other, with the plugin as its author."""
    entry = fact("i", 7, "audit.prune", {"before": 10, "ratio": 0.5}).entry
    assert (entry.who, entry.what) == (Who(plugin="rustcare.audit"), What("audit.prune"))
    assert entry.details == {"before": 10, "ratio": "0.5"}


@given(
    st.recursive(
        st.integers() | st.text(st.characters(), max_size=5) | st.builds(object),
        lambda i: st.lists(i, max_size=3) | st.dictionaries(st.text(max_size=3), i, max_size=3),
    )
)
def test_any_value_can_be_committed_to(value: Any) -> None:
    """Values of every kind have a canonical form, also those that JSON cannot hold; an attempt is never lost for its data."""
    public, sealed = changes(None, {"field": value}, os.urandom)
    assert public[0].new == commit(bytes.fromhex(sealed[0]["salt_new"]), canonical_value(value))
    assert msgspec.json.decode(sealed_values({"changes": sealed}))


def test_names_are_cut_and_can_be_written() -> None:
    """Names from outside are cut to a bound and hold no lone surrogate, which no UTF-8 can."""
    assert clip("x" * 1000) == "x" * 255 + "…"
    assert clip("a\ud800b") == "a?b"
    assert clip("é") == "é"
