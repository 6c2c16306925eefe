"""An administrator with a second factor, made through the services that pages use: what tests need to be let in with AAL 2.

`Ask` puts a request to a service over whatever connection a test has, as the operator or as a principal.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Administrator", "Ask", "code_at", "make_administrator"]

#: `ask(service, data, principal)`; the answer as plain data.
Ask = Callable[[str, dict[str, Any], str], Any]
PASSWORD = "seven purple anvils sing"


@dataclass(frozen=True)
class Administrator:
    """Who was made. `session` is the id of a session with AAL 2, `credential` its cookie."""

    principal: str
    session: str
    credential: str
    secret: str


def code_at(secret: str, moment: float) -> str:
    """The code that an authenticator app shows (RFC 6238: SHA-1, 30 seconds, six digits)."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    mac = hmac.digest(key, struct.pack(">Q", int(moment // 30)), hashlib.sha1)
    place = mac[-1] & 15
    return f"{(struct.unpack('>I', mac[place : place + 4])[0] & 0x7FFFFFFF) % 1_000_000:06}"


def make_administrator(ask: Ask, origin: str, name: str = "admin") -> Administrator:
    """The first administrator: through the setup link, with an authenticator app, signed in with it."""
    secret = ask("identity.setup.link", {}, "")["link"].rpartition("/")[2]
    client = {"origin": origin, "agent": "tests", "address": "127.0.0.1"}
    begun = ask("identity.setup.finish", {"secret": secret, "name": name, "password": PASSWORD, "client": client}, "")
    principal = f"user/{begun['account']}"
    app = ask("identity.mfa.totp.begin", {"name": "phone"}, principal)
    now = time.time()
    ask("identity.mfa.totp.confirm", {"enrolment": app["enrolment"], "code": code_at(app["secret"], now)}, principal)
    # A code works once, so the next one is given: clocks may differ by a step.
    proof = {
        "session": begun["session"]["id"], "kind": "totp", "answer": code_at(app["secret"], now + 30), "client": client,
    }  # fmt: skip
    raised = ask("identity.login.step-up", proof, principal)
    assert raised["session"]["aal"] == 2
    return Administrator(principal, raised["session"]["id"], raised["credential"], app["secret"])
