"""How the command line signs in: as a device does (RFC 8628). Somebody approves it in a browser.

No password is ever typed here, and what comes back is a token of its own that can be revoked by itself.
"""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from rustcare_cli._errors import NotSignedIn, ServerUnreachable, SignInFailed

from ._http import Answer, Connection, problem_of
from .tokens import SignIn, sign_in

__all__ = ["approved", "begin", "ended", "renewed"]

CLIENT = "rustcare-cli"
DEVICE = "/identity/v1/device"
TOKEN = "/identity/v1/device/token"
REVOKE = "/identity/v1/device/revoke"
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
#: Seconds that the next tokens are waited for. Less than the ten for which the server answers the same token with the same
#: successor: when an answer was lost, the second try gets it, and nobody takes that for a theft.
RENEWAL = 8.0
LONGEST = 1800.0  # seconds that a sign-in is waited for, whatever the server says


def begin(connection: Connection, scopes: list[str], tenant: str) -> dict[str, Any]:
    """Ask for a code to be approved (RFC 8628, section 3.1); the server's answer, with `open`: the page to open."""
    asked = {"client_id": CLIENT, **({"scope": " ".join(scopes)} if scopes else {})}
    answer = connection.form(DEVICE, asked, _for(tenant))
    if answer.status != 200:
        raise problem_of(answer)
    found = answer.json()
    if not isinstance(found, dict) or not {"device_code", "user_code", "verification_uri"} <= set(found):
        raise SignInFailed("Expected a code to be approved, the server sent none", address=connection.url)
    return {**found, "open": found.get("verification_uri_complete") or found["verification_uri"]}


def _for(tenant: str) -> dict[str, str]:
    return {"X-Tenant": tenant} if tenant else {}


def approved(connection: Connection, begun: dict[str, Any], tenant: str) -> SignIn:
    """Ask until somebody has approved it (RFC 8628, section 3.4 and 3.5). Raises SignInFailed."""
    interval = max(1.0, float(begun.get("interval", 5)))
    end = time.monotonic() + min(float(begun.get("expires_in", 600)), LONGEST)
    fields = {"grant_type": GRANT, "device_code": begun["device_code"], "client_id": CLIENT}
    while time.monotonic() < end:
        time.sleep(interval)
        answer = connection.form(TOKEN, fields, _for(tenant))
        if answer.status == 200:
            return _kept(connection, answer, tenant)
        why = _reason(answer)
        if why == "slow-down":
            interval += 5
        elif why == "access-denied":
            raise SignInFailed("The sign-in was declined", address=connection.url)
        elif why == "expired-token":
            break
        elif why != "authorization-pending":
            raise problem_of(answer)
    raise SignInFailed(
        "Nobody approved the sign-in in time",
        address=connection.url,
        hint=f"try again: rustcare login {connection.url}",
    )


def _reason(answer: Answer) -> str:
    """What an OAuth error says, whether it comes as one (RFC 6749) or as a problem with that code (RFC 9457)."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        return ""
    text = str(found.get("error") or found.get("code") or "") if isinstance(found, dict) else ""
    return text.rpartition(".")[2].replace("_", "-")


def _kept(connection: Connection, answer: Answer, tenant: str) -> SignIn:
    found = answer.json()
    if not isinstance(found, dict) or not found.get("access_token"):
        raise SignInFailed("Expected a token, the server sent none", address=connection.url)
    scope = found.get("scope", found.get("scopes", ""))
    return SignIn(
        str(found["access_token"]),
        str(found.get("refresh_token") or ""),
        time.time() + float(found.get("expires_in", 300)),
        scope if isinstance(scope, str) else " ".join(scope or ()),
        tenant,
    )


def renewed(url: str, before: SignIn) -> SignIn:
    """The next tokens for a refresh token. Raises NotSignedIn when the server does not take it, ServerUnreachable."""
    fields = {"grant_type": "refresh_token", "refresh_token": before.refresh_token, "client_id": CLIENT}
    connection = Connection(url, timeout=RENEWAL)
    try:
        try:
            answer = connection.form(TOKEN, fields, _for(before.tenant))
        except ServerUnreachable:  # once more: the answer may have been lost on its way
            answer = connection.form(TOKEN, fields, _for(before.tenant))
    finally:
        connection.close()
    if answer.status in (400, 401, 403):
        raise NotSignedIn("The sign-in has ended", address=connection.url, hint=sign_in(connection.url))
    if answer.status != 200:
        raise problem_of(answer)
    kept = _kept(connection, answer, before.tenant)
    return kept if kept.refresh_token else replace(kept, refresh_token=before.refresh_token)


def ended(connection: Connection, found: SignIn) -> bool:
    """Tell the server that a sign-in has ended (RFC 7009); whether it did."""
    fields = {"token": found.refresh_token or found.access_token, "client_id": CLIENT}
    return connection.form(REVOKE, fields, _for(found.tenant)).status < 300
