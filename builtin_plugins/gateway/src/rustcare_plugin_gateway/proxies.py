"""Who the client is when a proxy stands before the gateway. Only proxies that the configuration names are believed.

`X-Forwarded-For` is read from its end: the last address that is no trusted proxy is the client, whatever a client wrote before.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

from .errors import InvalidSettings

__all__ = ["Proxies", "group"]


class Proxies:
    """The trusted proxies: addresses and networks. Raises InvalidSettings."""

    def __init__(self, names: Iterable[str]) -> None:
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        for position, name in enumerate(names):
            try:
                self._networks.append(ipaddress.ip_network(name, strict=False))
            except ValueError:
                raise InvalidSettings(
                    f"expected an address or a network such as 10.0.0.0/8, got {name!r}",
                    address=f"config.trusted_proxies[{position}]",
                ) from None
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def trusts(self, address: str) -> bool:
        """Whether an address is a trusted proxy's."""
        known = self._known.get(address)
        if known is None:
            if len(self._known) > 4096:
                self._known.clear()
            try:
                found: Any = ipaddress.ip_address(address)
            except ValueError:
                known = False
            else:
                known = any(found in network for network in self._networks)
            self._known[address] = known
        return known

    def client(self, peer: str, forwarded: str) -> str:
        """The client's address, from the connection's peer and the value of `X-Forwarded-For`."""
        if not self.trusts(peer):
            return peer
        for item in reversed(forwarded.split(",")):
            address = item.strip()
            if not address:
                continue
            try:
                address = str(ipaddress.ip_address(address.removeprefix("[").partition("]")[0]))
            except ValueError:
                return peer
            if not self.trusts(address):
                return address
            peer = address
        return peer


def group(address: str) -> str:
    """What limits count an address as: an IPv6 address as its /64, since one client has all of that, but this machine's own."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    if found.is_loopback:
        return str(found)
    return f"{found.exploded[:19]}::/64"
