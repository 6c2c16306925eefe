"""JSON that two readers could understand differently is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_gateway.authenticate.json_object import MAX_DEPTH, read_object

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def depth(value: Any) -> int:
    """Objects and arrays within each other."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(st.dictionaries(st.text(max_size=3), VALUES, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_objects_are_read(value: dict[str, Any], ascii_: bool, indent: int | None) -> None:
    """An object that is not too deep is read as it was written, however it was written."""
    try:
        text = json.dumps(value, ensure_ascii=ascii_, indent=indent).encode()
    except UnicodeEncodeError:  # a lone surrogate, which is in no UTF-8
        return
    if any(0xD800 <= ord(mark) <= 0xDFFF for mark in json.dumps(value, ensure_ascii=False)):
        with pytest.raises(ValueError, match="object"):
            read_object(text)
    elif depth(value) <= MAX_DEPTH:
        assert read_object(text) == value


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"x":{"a":1,"b":2,"a":3}}',
        b'{"x":[{"a":1,"a":1}]}',
        b'{ "a" : 1, "a" : 1 }',
        b'{"a":1,"b":2,"a":1,"c":[1,2,3]}',
    ],
)
def test_a_name_stands_once(text: bytes) -> None:
    """A name that occurs twice in an object is refused, at every depth and however it is written."""
    with pytest.raises(ValueError, match="once"):
        read_object(text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b'"a"',
        b"1",
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e400}',
        b'{"a":' + b"9" * 400 + b"}",
        b'{"a":' + b"9" * 40_000 + b"}",
        b'{"a":[18446744073709551616]}',
        b'{"a":-9223372036854775809}',
        b'{"a":01}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":1}x',
        b'{"a":1}{}',
        b'{"a":"\xff"}',
        b'{"a":"\xc0\xae"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\x00"}',
        b'{"a":"\n"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":1}\x00',
        b'/**/{"a":1}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a":' + b"[" * 100_000,
    ],
    ids=range(30),
)
def test_what_is_no_object_is_refused(text: bytes) -> None:
    """What is no JSON object in UTF-8, or holds what JSON does not have, is refused; depth ends in no crash."""
    with pytest.raises(ValueError, match="expected"):
        read_object(text)


@pytest.mark.parametrize(("levels", "good"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False), (900, False)])
def test_depth_is_limited(levels: int, good: bool) -> None:
    """As many levels as are allowed are read, one more is refused; brackets in text do not count."""
    text = b'{"a":' + b"[" * (levels - 1) + b'"[[[{{{[[[[[["' + b"]" * (levels - 1) + b"}"
    if good:
        assert depth(read_object(text)) == levels
    else:
        with pytest.raises(ValueError, match=r"levels|object"):
            read_object(text)
