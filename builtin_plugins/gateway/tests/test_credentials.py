"""Which credential a request carries."""

from __future__ import annotations

import pytest
from rustcare_plugin_gateway.credentials import Credential, Finder, cookies_of
from rustcare_plugin_gateway.errors import AmbiguousCredentials

FINDER = Finder(insecure=False)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"authorization": "Bearer abc"}, Credential("token", "abc")),
        ({"authorization": "bearer  abc "}, Credential("token", "abc")),
        ({"authorization": "Bearer rck_abc"}, Credential("key", "rck_abc")),
        ({"authorization": "Basic abc"}, None),
        ({"x-api-key": "rck_abc"}, Credential("key", "rck_abc")),
        ({"cookie": "a=b; __Host-rustcare=abc"}, Credential("session", "abc")),
        ({"cookie": "rustcare=abc"}, None),
        ({"cookie": "__host-rustcare=abc"}, None),
        ({"cookie": "x=__Host-rustcare; rustcare"}, None),
    ],
)
def test_what_is_a_credential(headers: dict[str, str], expected: Credential | None) -> None:
    """Tokens and keys in Authorization, keys in X-API-Key, sessions in the cookie of the right name."""
    assert FINDER.find(dict(headers)) == expected


def test_the_cookie_for_plain_http_counts_on_this_machine_alone() -> None:
    """Or where the configuration says so."""
    headers = {"cookie": "rustcare=abc"}
    assert FINDER.find(dict(headers), local=True) == Credential("session", "abc")
    assert Finder(insecure=True).find(dict(headers)) == Credential("session", "abc")


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer a", "x-api-key": "b"},
        {"authorization": "Basic a", "x-api-key": "b"},
        {"authorization": "", "cookie": "__Host-rustcare=c"},
        {"authorization": "Bearer a", "cookie": "__Host-rustcare=c"},
        {"x-api-key": "b", "cookie": "__Host-rustcare=c"},
        {"cookie": "__Host-rustcare=a; __Host-rustcare=b"},
    ],
)
def test_two_credentials_are_refused(headers: dict[str, str]) -> None:
    """Nobody has to guess which of them counts."""
    with pytest.raises(AmbiguousCredentials):
        FINDER.find(headers)


def test_a_certificate_counts_when_there_is_nothing_else() -> None:
    """A client with a certificate may send a token of somebody else."""
    assert FINDER.find({}, "ab" * 32) == Credential("certificate", "ab" * 32)
    assert FINDER.find({"authorization": "Bearer a"}, "ab" * 32) == Credential("token", "a")


def test_routes_never_see_credentials() -> None:
    """They are taken out of the header, and the session's cookie out of the cookies; a repr does not show one."""
    headers = {"authorization": "Bearer a", "accept": "x"}
    FINDER.find(headers)
    assert headers == {"accept": "x"}
    assert FINDER.cookies({"cookie": 'a="b"; __Host-rustcare=c; rustcare=d; e=f=g; h'}) == {"a": "b", "e": "f=g"}
    assert "secret" not in repr(Credential("token", "secret"))
    assert cookies_of("a=1; a=2") == {"a": "1"}
