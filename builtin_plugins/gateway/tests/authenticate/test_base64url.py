"""Base64url has one text for each value."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_gateway.authenticate.base64url import decode, encode


@given(st.binary(max_size=200))
def test_what_was_encoded_is_decoded(data: bytes) -> None:
    """Decoding gives back what was encoded, and the text is that of the standard library without padding."""
    text = encode(data)
    assert decode(text) == data
    assert text == base64.urlsafe_b64encode(data).rstrip(b"=")


@given(st.binary(max_size=12) | st.text("AQgw-_=+/ \n.", max_size=12).map(str.encode))
def test_no_other_text_is_decoded(text: bytes) -> None:
    """Whatever is decoded is what encoding makes: there is no second text for a value."""
    try:
        data = decode(text)
    except ValueError:
        return
    assert encode(data) == text


@pytest.mark.parametrize(
    "text",
    [
        b"YQ==",
        b"YQ=",
        b"YR",
        b"YWE=",
        b"YWF",
        b"Y",
        b"YWFhY",
        b"Y+8",
        b"Y/8",
        b"YW Fh",
        b"YWFh\n",
        b"\nYWFh",
        b"YW.h",
        b"\xff\xff",
    ],
)
def test_junk_is_refused(text: bytes) -> None:
    """Padding, spare bits, the plain alphabet, white space and lengths that cannot be are refused."""
    with pytest.raises(ValueError, match="base64url"):
        decode(text)
