"""Tenants are apart: a property over requests that name tenants and callers in any combination."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rustcare_sdk.contracts.http import HttpResponse
from rustcare_sdk.contracts.identity import TenantInfo
from rustcare_sdk.message import Message

from tests.support.gateway_plugin import Gate, gateway_plugin, row

NAMES = ("north", "south")
TENANTS = [TenantInfo("default"), *(TenantInfo(name, hosts=[f"{name}.example.org"]) for name in NAMES)]
ROUTES = [
    row("GET", "/data/{id}", scope="data.read"),
    row("POST", "/data", scope="data.write"),
    row("GET", "/open", public=True, tenant="optional"),
    row("GET", "/page", browser=True),
    row("GET", "/system", tenant="system", scope="admin"),
]
REQUESTS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "DELETE"]),
        "path": st.sampled_from(["/data/7", "/data", "/open", "/page", "/system", "/auth/check", "/nowhere", "/"]),
        "prefix": st.sampled_from(["", "/t/north", "/t/south", "/t/default", "/t/nowhere", "/t/", "/t/north/t/south"]),
        "host": st.sampled_from(
            ["localhost", "north.example.org", "south.example.org:8080", "NORTH.example.org", "south.example.org.", "x"]
        ),
        "header": st.sampled_from([None, "north", "south", "default", "nowhere", "", "north,south"]),
        "who": st.sampled_from(["", "north-reader", "south-reader", "north-admin", "default-admin", "stranger"]),
        "forwarded": st.sampled_from([None, "north.example.org", "south.example.org", "South.example.org.:443"]),
        "target": st.sampled_from([None, "/t/north/x", "/t/south/x", "/t/%73outh/x", "/t/south/../north/x"]),
        "other": st.sampled_from([None, "http://south.example.org/x", "/t/south/x"]),
    }
)


def secret(message: Message[Any]) -> HttpResponse:
    """What a tenant's plugin would answer: something of that tenant's."""
    return HttpResponse(content={"secret": f"of-{message.tenant}", "principal": message.principal})


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """Two tenants with readers and an administrator, and one who looks after the whole."""
    limits = {name: [] for name in ("default", "read", "failures")}
    async with gateway_plugin(*ROUTES, tenants=TENANTS, limits=limits) as gate:
        for name in NAMES:
            gate.person(f"{name}-reader", name, scopes=("data",))
        gate.person("north-admin", "north", scopes=("admin",))
        gate.person("default-admin", "default", scopes=("admin",))
        for one in ROUTES:
            gate.h.answer(one.service, secret)
        yield gate


def belongs(who: str) -> str:
    """The tenant of a caller."""
    return who.partition("-")[0] if "-" in who else ""


async def check(gate: Gate, client: httpx.AsyncClient, asked: dict[str, Any]) -> None:
    """Ask, and look for what is another tenant's."""
    headers = {"host": asked["host"], "origin": f"http://{asked['host'].lower()}"}
    if asked["header"] is not None:
        headers["x-tenant"] = asked["header"]
    if asked["forwarded"] is not None:
        headers["x-forwarded-host"] = asked["forwarded"]
    if asked["target"] is not None:
        headers["x-original-uri"] = asked["target"]
    if asked["other"] is not None:
        headers["x-original-url"] = asked["other"]
    answer = await gate.ask(
        asked["method"], asked["prefix"] + asked["path"], who=asked["who"], headers=headers, client=client
    )
    mine = belongs(asked["who"])
    said = [name for name in (*NAMES, "default") if f"of-{name}" in answer.text]
    if asked["path"] == "/open":
        if answer.status_code == 200 and asked["method"] == "GET":
            assert len(said) == 1
            assert answer.json()["principal"] == (f"user/{asked['who']}" if said == [mine] else "")
    else:
        assert said in ([], [mine]), (asked, answer.text)
    if answer.headers.get("x-auth-principal"):
        assert answer.headers["x-auth-tenant"] == mine
    others = {name for name in NAMES if name != mine}
    if answer.status_code < 300 and asked["method"] in ("GET", "POST") and asked["path"] not in ("/open",):
        named = {asked["header"], *(name for name in NAMES if f"/t/{name}/" in asked["prefix"] + "/")}
        hosts = [asked["host"]]
        if asked["path"] == "/auth/check":  # what counts there is what is asked about
            url = urlsplit(asked["other"] or "")
            hosts = [next((one for one in (asked["forwarded"], url.netloc) if one), asked["host"])]
            paths = [unquote(one) for one in (asked["target"], url.path) if one]
            named |= {name for name in NAMES for path in paths if path.startswith(f"/t/{name}/")}
        named |= {name for name in NAMES for host in hosts if host.lower().startswith(f"{name}.example.org")}
        assert not (named & others), asked
    assert answer.status_code < 500


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client that keeps its connection."""
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        yield client


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=REQUESTS)
async def test_no_answer_holds_what_is_another_tenants(
    gate: Gate, client: httpx.AsyncClient, asked: dict[str, Any]
) -> None:
    """Whatever host, path, header and credential say: an answer is of the caller's tenant, or of nobody's caller."""
    await check(gate, client, asked)


async def test_every_way_to_name_another_tenant_is_refused(gate: Gate, client: httpx.AsyncClient) -> None:
    """All pairs of a caller and a way to name the other tenant: never an answer, and never a call in it."""
    for who, (prefix, host, header) in itertools.product(
        ("north-reader", "north-admin"),
        (("/t/south", "localhost", None), ("", "south.example.org", None), ("", "localhost", "south")),
    ):
        headers = {"host": host} if header is None else {"host": host, "x-tenant": header}
        before = len(gate.h.requested)
        answer = await gate.ask("GET", f"{prefix}/data/7", who=who, headers=headers, client=client)
        assert answer.status_code == 403
        calls = [message for message in gate.h.requested[before:] if message.subject.startswith("http.route.")]
        assert calls == []
