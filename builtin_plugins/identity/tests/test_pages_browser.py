"""What browsers send and keep: where they may be sent on to, and under which names cookies are."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.pages.browser import client_of, cookie_of, drop_cookie, local_path, set_cookie
from rustcare_sdk.contracts.http import HttpRequest

HTTPS, HTTP = "https://clinic.example.org", "http://localhost:8080"


def asked(base: str = HTTPS, **cookies: str) -> HttpRequest[Any]:
    """A request with cookies."""
    return HttpRequest(
        "GET", "/", cookies={name.replace("_", "-"): value for name, value in cookies.items()}, base=base
    )


@given(st.text() | st.from_regex(r"[/\\]{0,3}(https?:)?[/\\]{0,3}[a-z.@%0-9]{0,20}[/?#]?.{0,10}", fullmatch=True))
def test_one_stays_on_this_server(text: str) -> None:
    """Whatever a link says, the path that comes out of it leads to the origin that the browser is at."""
    path = local_path(text)
    split = urlsplit(urljoin(HTTPS + "/login", path))
    assert (split.scheme, split.netloc) == ("https", "clinic.example.org")
    assert path.startswith("/")
    assert not path.startswith(("//", "/\\"))
    assert path.isascii()
    assert path.isprintable()


ELSEWHERE = ("//evil", "/\\evil", "\\/evil", "/%5Cevil", "/%2Fevil", "https://evil", "javascript:1", "/\tevil")
NO_PATH = ("", "/", "account", "/a\r\nb", "/a%0d%0ab", "/" + "a" * 3000)


@pytest.mark.parametrize("path", ELSEWHERE + NO_PATH)
def test_what_is_no_path_of_ours_leads_to_the_account(path: str) -> None:
    """Another host in any of the ways that browsers read one, a scheme, control characters, too much: none is followed."""
    assert local_path(path) == "/account"


def test_cookies_are_bound_to_the_host() -> None:
    """Over https every cookie has the prefix `__Host-` and what it demands; scripts see none, other sites send none."""
    for name in ("", "login", "link", "device"):
        cookie = set_cookie(asked(), name, "a.b-c_d:e")  # type: ignore[arg-type]
        first, *rest = cookie.split("; ")
        assert first == ("__Host-rustcare" + (f"-{name}" if name else "") + "=a.b-c_d:e")
        assert {"Path=/", "HttpOnly", "SameSite=Lax", "Secure"} <= set(rest)
        assert not [item for item in rest if item.startswith("Domain")]
        gone = drop_cookie(asked(), name)  # type: ignore[arg-type]
        assert gone.split("; ")[0] == first.split("=")[0] + "="
        assert "Max-Age=0" in gone


def test_over_plain_http_cookies_have_other_names() -> None:
    """Without https a browser refuses the prefix; a cookie of the one form is not read in the other."""
    assert set_cookie(asked(HTTP), "login", "x").startswith("rustcare-login=x; ")
    assert "Secure" not in set_cookie(asked(HTTP), "login", "x")
    assert cookie_of(asked(HTTP, rustcare_login="x"), "login") == "x"
    assert cookie_of(asked(HTTPS, rustcare_login="x"), "login") == ""


@pytest.mark.parametrize("value", ["", "a b", 'a"b', "a;b", "a\r\nb", "é", "x" * 3000])
def test_a_cookie_that_cannot_be_ours_is_none(value: str) -> None:
    """What a browser sends is read as a value of ours or not at all."""
    assert cookie_of(asked(HTTP, rustcare_login=value), "login") == ""


def test_what_a_browser_says_is_bounded() -> None:
    """A client's description is as long as it may be stored, not as long as it was sent."""
    request = asked(HTTP, rustcare_device="d")
    request.headers["user-agent"] = "x" * 10_000
    client = client_of(request)
    assert (len(client.agent), client.device, client.origin) == (512, "d", HTTP)
