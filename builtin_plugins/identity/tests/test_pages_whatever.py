"""Whatever is sent to a page, it answers: with a page, a redirect, or a typed error that the gateway makes a page of."""

from __future__ import annotations

import dataclasses
import random
import re
from typing import Any

from rustcare_plugin_identity.pages import Pages
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.errors import HandlerFailed, InvalidPayload, RustCareError
from rustcare_sdk.plugin import handlers_of, payload_type
from rustcare_sdk.routes import content_type

from tests.support.identity_plugin import caller_of, identity_plugin, person, signed_in
from tests.support.smtp_server import SmtpServer

#: What browsers, people and attackers send.
TEXTS = [
    "",
    " ",
    "ann",
    "0",
    "-1",
    "99999999999999999999",
    "true",
    "'; DROP TABLE accounts; --",
    "<script>alert(1)</script>",
    '"><img src=x>',
    "{{ 7 * 7 }}",
    "\x00",
    "\r\nset-cookie: a=b",
    "\u202egnp.exe",
    "é" * 300,
    "𝒜𝓃𝓃",
    "../../etc/passwd",
    "//evil.example",
    "https://evil.example/",
    "passkey",
    "totp",
    "recovery",
    "password",
    "approve",
    "[]",
    "{}",
    "x" * 70_000,
]
ROUNDS = 25


async def test_whatever_is_sent_to_a_page_it_answers() -> None:
    """No handler of a page fails with anything but a typed error; what was sent is in no answer unescaped, in no redirect to
    elsewhere, and in no header."""
    chance = random.Random(20240607)
    async with (
        SmtpServer() as mail,
        identity_plugin(
            {
                "settings": {"registration": "open"},
                "url": "https://test.example",
                "mail": {"host": "127.0.0.1", "port": mail.port, "security": "none"},
            }
        ) as h,
    ):
        session, credential = await signed_in(h, await person(h), aal=2)
        known = await caller_of(h, credential)
        others = Caller(known.principal, "default", "session", aal=0, session="no-such-session")
        wrong: list[str] = []
        raised: set[str] = set()
        for handler in handlers_of(Pages):
            route = handler.route
            assert route is not None
            fields = _fields(content_type(payload_type(type(h.plugin), handler.method)))
            for _ in range(ROUNDS):
                path = re.sub(r"\{[a-z]+\}", lambda _: chance.choice(["x", "y" * 300, "%3Cb%3E", "0"]), route.path)
                query = "&".join(f"{name}={chance.choice(['x', '%00', '//e', '<b>'])}" for name in route.query)
                form = {name: chance.choice(TEXTS) for name in fields if chance.random() < 0.9}
                cookies = {f"__Host-rustcare-{name}": chance.choice(TEXTS) for name in ("login", "link", "device")}
                caller = chance.choice([known, others]) if not route.public else chance.choice([Caller(), known])
                what = f"{route.use} {form} {cookies if route.public else ''}"[:500]
                try:
                    answer = await h.http(
                        route.method,
                        f"{path}?{query}",
                        form=form if route.method == "POST" else None,
                        cookies=cookies,
                        caller=caller,
                    )
                except HandlerFailed as error:
                    wrong.append(f"{what}: {error.__cause__!r}")
                except InvalidPayload:
                    pass  # a form that does not fit is the gateway's to refuse
                except RustCareError as error:
                    raised.add(error.code)
                else:
                    wrong += [f"{what}: {text}" for text in _amiss(answer)]
                if caller is known and not await _alive(h, credential):
                    session, credential = await signed_in(h, await person(h, f"p{chance.getrandbits(60):x}"), aal=2)
                    known = await caller_of(h, credential)
        assert session.id
        # Whose account is gone is told so by the gateway; everything else is said on the page itself.
        assert raised <= {"identity.not-signed-in"}
        assert not wrong, "\n".join(wrong[:20])


def _fields(form: Any) -> list[str]:
    return [item.name for item in dataclasses.fields(form)] if dataclasses.is_dataclass(form) else []


def _amiss(answer: Any) -> list[str]:
    """What is wrong with an answer."""
    found = []
    if answer.status >= 500:
        found.append(f"status {answer.status}")
    target = answer.headers.get("location", "/")
    if not target.startswith("/") or target.startswith(("//", "/\\")):
        found.append(f"sent to {target}")
    if any(re.search(r"[\r\n\x00]", text) for text in (*answer.headers.values(), *answer.set_cookies)):
        found.append("a header has a line's end in it")
    if re.search(r"<script>|<img|<b>", answer.text):
        found.append("what was sent is there unescaped")
    if "49" in re.findall(r"value=\"([^\"]*)\"", answer.text):
        found.append("what was sent was computed")
    return found


async def _alive(h: Any, credential: str) -> bool:
    try:
        await h.request(identity.AUTHENTICATE, identity.AuthenticateRequest("session", credential))
    except RustCareError:
        return False
    return True
