"""Targets and hosts: one form alone is accepted."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_gateway.errors import BadRequest
from rustcare_plugin_gateway.server import parse_host, parse_target

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\%"), min_size=1, max_size=12)


@given(st.lists(WORDS.filter(lambda word: word not in (".", "..")), min_size=1, max_size=6))
def test_what_a_client_encodes_is_what_a_route_sees(words: list[str]) -> None:
    """Any words, percent-encoded as RFC 3986 has it, come out as they went in."""
    url = "/" + "/".join(quote(word, safe="") for word in words)
    assert parse_target("GET", url.encode(), "a").path == "/" + "/".join(words)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_path_of_one_meaning_or_are_refused(data: bytes) -> None:
    """Whatever comes: a path without dot segments, control characters and backslashes, or BadRequest."""
    try:
        found = parse_target("GET", b"/" + data, "a")
    except BadRequest:
        return
    parts = found.path.split("/")
    assert not {".", ".."} & set(parts)
    assert "\\" not in found.path
    assert all(mark >= " " and mark != "\x7f" for mark in found.path)
    assert found.path.count("/") == found.raw.count(b"/")


@pytest.mark.parametrize(
    "host", ["clinic", "clinic.example.org", "a.b:8080", "127.0.0.1:1", "[::1]", "[2001:db8::1]:443"]
)
def test_hosts(host: str) -> None:
    """Names, addresses and ports, in lower case."""
    assert parse_host(host.upper()) == host


def test_a_dot_at_the_end_makes_no_other_host() -> None:
    """Or a tenant's name with a dot behind it would be nobody's."""
    assert parse_host("Clinic.example.org.") == "clinic.example.org"
    assert parse_host("clinic.example.org.:8443") == "clinic.example.org:8443"


@pytest.mark.parametrize(
    "host",
    ["", "a b", "a/b", "a@b", "a:", "a:0", "a:65536", "a:x", "[::1", "::1", "a..b", "-a", "a,b", "a\t", "é", "a" * 300],
)
def test_what_is_no_host(host: str) -> None:
    """Anything else is refused."""
    with pytest.raises(BadRequest):
        parse_host(host)
