"""Whether there is an account cannot be seen from outside: not in a status, a page, a header, or the time that it takes.

Everything is real: the HTTP server, the pages, the audit log, the database on disk, argon2id, SMTP. Names that somebody has
and names that nobody has are asked for in turn, in random order, so that whatever else the machine does falls on both.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from rustcare_kernel import Kernel
from rustcare_sdk.contracts import identity

from tests.support.front_door import PASSWORD, FrontDoor, front_door
from tests.support.smtp_server import SmtpServer
from tests.support.timing import compare

#: All requests come from one address here.
GENEROUS = {"address_rate": 1_000_000, "mail_rate": 1_000_000}
#: Headers that are another at each answer.
CHANGING = (
    "date",
    "x-request-id",
    "traceparent",
    "traceresponse",
    "ratelimit",
    "ratelimit-policy",
    "content-length",
    "set-cookie",
)
Ask = Callable[[httpx.AsyncClient, str], Awaitable[httpx.Response]]


@asynccontextmanager
async def door(tmp_path: Path, accounts: int, **lockout: int) -> AsyncIterator[FrontDoor]:
    """A server with so many accounts `known000`, …, each with a password and a verified address."""
    async with SmtpServer() as server:
        config = {
            "url": "http://localhost",
            "settings": {"registration": "open", "lockout": {**GENEROUS, **lockout}},
            "mail": {"host": "localhost", "port": server.port, "security": "none"},
        }
        limits = {"login": [], "default": []}
        async with front_door(tmp_path, gateway={"limits": limits}, identity_config=config) as found:
            known = await found.account("known000", email="known000@clinic.example")
            exported = await _export(found.kernel)
            hashed = re.search(r'"password":"([^"]+)"', exported)
            assert hashed is not None
            assert known.name == "known000"
            # One hash for all: making one for each would take a minute.
            lines = "\n".join(
                f'{{"type":"account","name":"known{number:03}","email":"known{number:03}@clinic.example",'
                f'"email_verified":true,"password":"{hashed[1]}"}}'
                for number in range(accounts)
            )
            await found.kernel.request(identity.ACCOUNT_IMPORT, identity.ImportRequest(lines, update=True))
            yield found


async def _export(kernel: Kernel) -> str:
    asked = identity.ExportRequest(passwords=True)
    reply: identity.ExportReply = await kernel.request(identity.ACCOUNT_EXPORT, asked, type=identity.ExportReply)
    return reply.lines


async def log_in(client: httpx.AsyncClient, name: str) -> httpx.Response:
    """With a wrong password."""
    return await client.post("/login", data={"name": name, "password": "not the one at all"})


async def log_in_by_address(client: httpx.AsyncClient, name: str) -> httpx.Response:
    """The same, by the address."""
    return await log_in(client, f"{name}@clinic.example")


async def recover(client: httpx.AsyncClient, name: str) -> httpx.Response:
    """Ask for a link to set a password."""
    return await client.post("/recover", data={"name": name})


async def register(client: httpx.AsyncClient, name: str) -> httpx.Response:
    """Ask for an account."""
    return await client.post("/register", data={"email": f"{name}@clinic.example", "display_name": ""})


def seen(response: httpx.Response, name: str) -> tuple[int, str, dict[str, str], list[str]]:
    """What can be seen of an answer, but the name that was typed and what is another each time."""
    headers = {key: value for key, value in response.headers.items() if key not in CHANGING}
    cookies = sorted(cookie.split("=")[0] for cookie in response.headers.get_list("set-cookie"))
    text = re.sub(r"[A-Za-z0-9_-]{40,}", "SECRET", response.text.replace(name, "NAME"))
    return response.status_code, text, headers, cookies


async def measured(door: FrontDoor, ask: Ask, pairs: int) -> tuple[list[float], list[float]]:
    """Seconds for names that somebody has, and for names that nobody has. Every answer must look the same."""
    times: dict[str, list[float]] = {"known": [], "nobod": []}
    looks = []
    order = random.Random(4)
    async with door.client() as client:
        for warm in ("known000", "nobod000"):
            await ask(client, warm)
        for number in range(1, pairs + 1):
            for kind in order.sample(["known", "nobod"], 2):
                name = f"{kind}{number:03}"
                begun = time.perf_counter()
                response = await ask(client, name)
                times[kind].append(time.perf_counter() - begun)
                looks.append(seen(response, name))
    assert all(look == looks[0] for look in looks), "answers can be told apart"
    assert looks[0][0] < 500
    return times["known"], times["nobod"]


async def test_a_login_does_not_tell_whether_there_is_an_account(tmp_path: Path) -> None:
    """A wrong password of somebody, and one of nobody: the same page in the same time; by name and by address."""
    async with door(tmp_path, 61) as found:
        for ask, pairs in ((log_in, 30), (log_in_by_address, 30)):
            first, second = await measured(found, ask, pairs)
            comparison = compare(first, second)
            assert not comparison.apart(), comparison
        # The measure would have seen it: what a password costs, and what it costs to leave it out, are far apart.
        async with found.client() as client:
            without = []
            for number in range(30):
                begun = time.perf_counter()
                await client.post("/login", data={"name": f"known{number:03}"})
                without.append(time.perf_counter() - begun)
        assert compare(without, first).apart()


async def test_recovery_does_not_tell_whether_there_is_an_account(tmp_path: Path) -> None:
    """Who asks for a link is told the same in the same time, whether a mail goes out or not."""
    async with door(tmp_path, 61) as found:
        first, second = await measured(found, recover, 60)
        comparison = compare(first, second)
        assert not comparison.apart(), comparison


async def test_registration_does_not_tell_whether_there_is_an_account(tmp_path: Path) -> None:
    """Who registers an address that somebody has is told what all are told, in the same time."""
    async with door(tmp_path, 61) as found:
        first, second = await measured(found, register, 60)
        comparison = compare(first, second)
        assert not comparison.apart(), comparison


async def test_a_name_is_locked_whether_somebody_has_it_or_not(tmp_path: Path) -> None:
    """After so many tries both have to wait, with the same words, and the right password is not looked at either."""
    async with door(tmp_path, 2, lock_after=4) as found, found.client() as client:
        looks: dict[str, list[tuple[int, str]]] = {"known001": [], "nobod001": []}
        for name, answers in looks.items():
            for _ in range(8):
                status, text, _, _ = seen(await log_in(client, name), name)
                answers.append((status, re.sub(r"\d+", "N", text)))
        assert looks["known001"] == looks["nobod001"]
        assert looks["known001"][-1][0] == 429
        answer = await client.post("/login", data={"name": "known001", "password": PASSWORD})
        assert answer.status_code == 429


def test_the_measure_sees_differences_and_nothing_else() -> None:
    """Samples of one kind are not told apart; a shift of a tenth is."""
    order = random.Random(1)
    one = [0.05 + order.expovariate(200) for _ in range(60)]
    other = [0.05 + order.expovariate(200) for _ in range(60)]
    assert not compare(one, other).apart()
    assert compare(one, [value * 1.15 for value in other]).apart()
    assert compare([1.0] * 30, [1.0] * 30).z == 0
