"""Who a passkey is for: the relying party, from the origin that the browser is at and the tenant's settings."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from .refusals import OriginRefused

__all__ = ["FactorRules", "RelyingParty", "relying_party"]


class FactorRules(Struct, frozen=True):
    """What a tenant says of factors.

    `name`: shown by authenticators. `rp_id`: a domain of which the origins' hosts are part; empty: the host of the origin.
    `origins`: those at which passkeys are taken; empty: the one that the request came to, if its host fits. `aal3`: a
    passkey that is bound to one device reaches AAL3. `required`: an account that has a second factor keeps one.
    """

    name: str = "RustCare"
    rp_id: str = ""
    origins: tuple[str, ...] = ()
    aal3: bool = False
    required: bool = False


class RelyingParty(Struct, frozen=True):
    """`id` is the domain that passkeys are bound to; `origins` those whose answers are taken."""

    id: str
    name: str
    origins: tuple[str, ...]


def relying_party(origin: str, rules: FactorRules) -> RelyingParty:
    """The relying party for a browser at `origin`. Raises OriginRefused.

    WebAuthn (section 5.1.2) wants a secure context (https, or the loopback host `localhost`) and a domain, not an address.
    """
    parts = _parts(origin)
    host = parts["host"]
    secure = parts["scheme"] == "https" or (parts["scheme"] == "http" and _loopback(host))
    if not secure or not host or _is_address(host):
        raise OriginRefused(
            "expected a page with a host name that was reached over https, or http://localhost",
            hint="passkeys do not work at a bare IP address; use a name",
            address="origin",
        )
    if rules.origins and origin not in rules.origins:
        raise OriginRefused("expected one of the tenant's origins", hint="see passkeys.origins", address="origin")
    rp_id = rules.rp_id or host
    if host != rp_id and not host.endswith("." + rp_id):
        raise OriginRefused("expected a host within the tenant's rp_id", hint="see passkeys.rp_id", address="origin")
    return RelyingParty(rp_id, rules.name, rules.origins or (origin,))


def _parts(origin: str) -> dict[str, Any]:
    try:
        split = urlsplit(origin)
        return {"scheme": split.scheme, "host": (split.hostname or "").lower()}
    except ValueError:
        return {"scheme": "", "host": ""}


def _loopback(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
