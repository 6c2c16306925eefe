"""CORS by the tenant's settings, and the guard against forged requests."""

from __future__ import annotations

import pytest
from rustcare_plugin_gateway.cors import Cors, check_origin
from rustcare_plugin_gateway.errors import CrossOrigin, InvalidSettings

APP = "https://app.example.org"
BASE = "https://clinic.example.org"


def test_only_origins_of_the_settings_may_read() -> None:
    """Another origin gets no permission, and caches are told that it depends on the origin."""
    cors = Cors({"origins": [APP]})
    assert dict(cors.fields(APP))[b"access-control-allow-origin"] == APP.encode()
    assert cors.fields("https://evil.example") == [(b"vary", b"origin")]
    assert cors.fields(APP + ".evil.example") == [(b"vary", b"origin")]
    assert cors.fields("null") == [(b"vary", b"origin")]
    assert cors.fields("") == Cors({"origins": ["*"]}).fields("") == [(b"vary", b"origin")]
    assert b"access-control-allow-credentials" not in dict(cors.fields(APP))


def test_a_preflight_tells_methods_fields_and_how_long() -> None:
    """What the Fetch standard asks for, and nothing for another origin."""
    cors = Cors({"origins": [APP], "credentials": True, "headers": ["x-a"], "max_age": 5})
    found = dict(cors.preflight(APP, ("GET", "PUT")))
    assert found[b"access-control-allow-methods"] == b"GET, PUT"
    assert found[b"access-control-allow-headers"] == b"x-a"
    assert found[b"access-control-max-age"] == b"5"
    assert found[b"access-control-allow-credentials"] == b"true"
    assert cors.preflight("https://evil.example", ("GET",)) == [(b"vary", b"origin")]


@pytest.mark.parametrize(
    "settings",
    [
        {"origins": ["*"], "credentials": True},
        {"origins": ["null"], "credentials": True},
        {"origins": "x"},
        {"origins": [1]},
        {"origins": ["a\r\nb"]},
        {"headers": ["a,b"]},
    ],
)
def test_settings_that_would_be_unsafe_are_refused(settings: dict[str, object]) -> None:
    """Every origin with credentials, and what would break out of a header field."""
    with pytest.raises(InvalidSettings):
        Cors(settings)


@pytest.mark.parametrize(
    ("method", "headers", "passes"),
    [
        ("GET", {"sec-fetch-site": "cross-site"}, True),
        ("HEAD", {}, True),
        ("POST", {"sec-fetch-site": "same-origin"}, True),
        ("POST", {"sec-fetch-site": "none"}, True),
        ("POST", {"sec-fetch-site": "same-site"}, False),
        ("POST", {"sec-fetch-site": "cross-site"}, False),
        ("POST", {"sec-fetch-site": "cross-site", "origin": BASE}, False),
        ("POST", {"sec-fetch-site": "nonsense"}, False),
        ("POST", {"origin": BASE}, True),
        ("POST", {"origin": BASE.upper()}, True),
        ("POST", {"origin": BASE + ".evil.example"}, False),
        ("POST", {"origin": BASE + ":444"}, False),
        ("POST", {"origin": "http://clinic.example.org"}, False),
        ("POST", {"origin": "null"}, False),
        ("POST", {}, False),
        ("DELETE", {}, False),
    ],
)
def test_a_page_of_another_origin_cannot_act(method: str, headers: dict[str, str], passes: bool) -> None:
    """Unsafe methods need a word of the browser that the page is of this origin."""
    if passes:
        check_origin(method, headers, BASE)
    else:
        with pytest.raises(CrossOrigin):
            check_origin(method, headers, BASE)
