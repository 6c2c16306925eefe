"""Who the client is behind proxies."""

from __future__ import annotations

import pytest
from rustcare_plugin_gateway.errors import InvalidSettings
from rustcare_plugin_gateway.proxies import Proxies, group


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # no proxy: what it says does not count
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.1", "198.51.100.1"),  # the first is what a client made up
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("::1", "[2001:db8::7]", "2001:db8::7"),
    ],
)
def test_only_trusted_proxies_are_believed(peer: str, forwarded: str, client: str) -> None:
    """The last address that is no trusted proxy is the client."""
    assert Proxies(["10.0.0.0/8", "::1"]).client(peer, forwarded) == client


def test_nothing_is_trusted_by_default() -> None:
    """Not even this machine."""
    proxies = Proxies([])
    assert not proxies
    assert not proxies.trusts("127.0.0.1")


def test_a_name_is_no_address() -> None:
    """With the place where it stands."""
    with pytest.raises(InvalidSettings, match=r"trusted_proxies\[1\]"):
        Proxies(["10.0.0.1", "proxy.example.org"])


def test_one_ipv6_client_is_one_network() -> None:
    """All addresses of a /64 count together; an IPv4 address in IPv6 is that IPv4 address; this machine stays itself."""
    assert group("2001:db8::1") == group("2001:db8:0:0:ffff::2") != group("2001:db8:0:1::1")
    assert group("::1") == "::1"
    assert group("::ffff:198.51.100.1") == group("198.51.100.1") == "198.51.100.1"
