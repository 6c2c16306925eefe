"""Who tries many names from one place: failures by address, in bounded memory.

An address that has failed too often waits until older failures have had their time (a leaky bucket). A network behind one
address is many people, so the bound is generous; who already is signed in is not asked. IPv6 counts by /64, which is
what one subscriber has. Nothing here outlives the process: an attacker who waits for a restart gains a minute.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Addresses", "network"]

_HOUR = 3600.0


def network(address: str) -> str:
    """What is counted of an address: IPv4 whole, of IPv6 the first 64 bits. What is no address counts as one place."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return str(found)


class Addresses:
    """Failures by tenant and address.

    Args:
        most: addresses that are remembered; beyond it, that which failed longest ago is forgotten.
    """

    def __init__(self, now: Callable[[], float], most: int = 20_000) -> None:
        self._now = now
        self._most = most
        # When the bucket of an address is empty again.
        self._empty: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._empty)

    def retry_after(self, tenant: str, address: str, rate: int) -> float:
        """0: go on; else the seconds until one more failure has room. `rate`: failures an hour."""
        empty = self._empty.get((tenant, network(address)), 0.0)
        return max(0.0, empty - self._now() - _HOUR + _HOUR / rate)

    def failed(self, tenant: str, address: str, rate: int) -> bool:
        """Count a failure; whether from now on the address has to wait, and had not before."""
        key, now = (tenant, network(address)), self._now()
        waited = self.retry_after(tenant, address, rate) > 0
        self._empty[key] = max(self._empty.get(key, 0.0), now) + _HOUR / rate
        self._empty.move_to_end(key)
        while len(self._empty) > self._most:
            self._empty.popitem(last=False)
        return not waited and self.retry_after(tenant, address, rate) > 0
