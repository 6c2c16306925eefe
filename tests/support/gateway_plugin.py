"""The gateway under the harness, with routes and people of the test's own, and a client that speaks HTTP to its socket.

async with gateway_plugin(row("GET", "/lab/{id}", scope="lab.read")) as gate:
    gate.answer("/lab/{id}", lambda message: HttpResponse(content={"id": message.data.params["id"]}))
    answer = await gate.ask("GET", "/lab/7", who="ann")
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
from rustcare_plugin_gateway.plugin import Gateway
from rustcare_sdk.contracts.http import ROUTES, HttpResponse, RouteRow, RoutesChanged, RoutesReply
from rustcare_sdk.contracts.identity import (
    AUTHENTICATE,
    JWKS,
    REVOCATIONS,
    TENANTS,
    Authenticated,
    AuthenticateRequest,
    JwksReply,
    RevocationsReply,
    TenantInfo,
    TenantsReply,
)
from rustcare_sdk.errors import ServiceError
from rustcare_sdk.message import Message
from rustcare_sdk.testing import PluginHarness, harness

__all__ = ["TWO", "Gate", "code", "echo", "gateway_plugin", "row"]


#: The system's tenant and two others.
TWO = [TenantInfo("default"), TenantInfo("north", hosts=["north.example.org"]), TenantInfo("south")]


def row(method: str, path: str, **more: Any) -> RouteRow:
    """A route of a plugin `acme.lab`."""
    name = f"{method}{path}".lower().translate(str.maketrans("/{}.", "----")).strip("-")
    fields: dict[str, Any] = {"plugin": "acme.lab", "version": "1.0.0", **more}
    return RouteRow(f"http.route.acme.lab.{name}", method=method, path=path, **fields)


def credential(who: str) -> str:
    """A session's credential in the form that they have: 43 characters of base64url."""
    return who.ljust(43, "-")


def code(answer: httpx.Response) -> str:
    """The code of a problem, which says of its answer what is true."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = answer.json()
    assert found["status"] == answer.status_code
    assert found["instance"] == answer.headers["x-request-id"]
    return str(found["code"])


def echo(message: Message[Any]) -> HttpResponse:
    """An answer that says what the route saw."""
    asked = message.data
    return HttpResponse(
        content={
            "method": asked.method, "path": asked.path, "params": asked.params, "query": asked.query,
            "headers": asked.headers, "cookies": asked.cookies, "body": asked.body.decode(), "base": asked.base,
            "prefix": asked.prefix, "address": asked.address, "principal": message.principal, "tenant": message.tenant,
            "trace": message.trace, "kind": asked.caller.kind,
        }
    )  # fmt: skip


class Gate:
    """A started gateway. `people`: by name, who they are; `tenants`: what identity says there is."""

    def __init__(self, h: PluginHarness) -> None:
        self.h = h
        self.rows: list[RouteRow] = []
        self.revision = 0
        self.people: dict[str, Authenticated] = {}
        self.tenants: list[TenantInfo] = [TenantInfo("default")]
        self.lookups = 0

    def person(self, name: str, tenant: str = "default", **more: Any) -> None:
        """Somebody with a session, kept for a minute unless `keep` says otherwise."""
        fields: dict[str, Any] = {"aal": 1, "authenticated": time.time(), "keep": time.time() + 60, **more}
        self.people[credential(name)] = Authenticated(f"user/{name}", tenant, session=f"session-{name}", **fields)

    def authenticate(self, message: Message[AuthenticateRequest]) -> Authenticated:
        """`identity.authenticate`."""
        self.lookups += 1
        found = self.people.get(message.data.credential)
        if found is None:
            raise ServiceError("identity.credential-refused", "expected a credential that is valid")
        return found

    def answer(self, path: str, answer: Any, method: str = "GET") -> None:
        """What a route answers: a value, an exception, or a function of the message."""
        self.h.answer(row(method, path).service, answer)

    async def routes(self, *rows: RouteRow) -> None:
        """These are the routes from now on; each answers an empty object until the test says otherwise."""
        self.revision += 1
        self.rows = list(rows)
        for one in rows:
            self.h._answers.setdefault(one.service, (lambda message: HttpResponse(content={}), None))
        await self.h.send("http.routes", RoutesChanged(self.revision, "acme.lab"))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.h.plugin.address[1])  # type: ignore[attr-defined]

    @property
    def url(self) -> str:
        """Its origin."""
        return f"http://localhost:{self.port}"

    async def ask(
        self,
        method: str,
        path: str,
        *,
        who: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        data: Any = None,
        client: httpx.AsyncClient | None = None,
    ) -> httpx.Response:
        """One request, on a connection of its own unless there is a client. `who`: whose session it is in."""
        sent = dict(headers or {})
        if who:
            sent["cookie"] = f"__Host-rustcare={credential(who)}"
        if data is not None:
            body = json.dumps(data).encode()
            sent.setdefault("content-type", "application/json")
        if client is not None:
            return await client.request(method, self.url + path, headers=sent, content=body)
        async with httpx.AsyncClient(timeout=20, trust_env=False) as own:
            return await own.request(method, self.url + path, headers=sent, content=body)

    @property
    def records(self) -> list[tuple[str, list[Any]]]:
        """The access records that were published: tenant and row."""
        batches = [message.data for message in self.h.published if message.subject == "http.access"]
        return [(batch.tenant, line) for batch in batches for line in batch.rows]

    async def recorded(self) -> list[tuple[str, list[Any]]]:
        """The access records, after all that waited have been published."""
        await self.h.plugin._access.flush()  # type: ignore[attr-defined]
        return self.records


@asynccontextmanager
async def gateway_plugin(
    *rows: RouteRow, identity: bool = True, tenants: list[TenantInfo] | None = None, **config: Any
) -> AsyncIterator[Gate]:
    """The gateway on a free port of this machine. `identity`: whether there is such a plugin; `config` is its own."""
    h = harness(Gateway, config={"port": 0, "drain": 1, **config})
    gate = Gate(h)
    if tenants is not None:
        gate.tenants = tenants
    h.answer(ROUTES, lambda message: RoutesReply(gate.revision, gate.rows))
    if identity:
        h.answer(TENANTS, lambda message: TenantsReply(gate.tenants))
        h.answer(AUTHENTICATE, gate.authenticate)
        h.answer(JWKS, JwksReply("rustcare"))
        h.answer(REVOCATIONS, RevocationsReply(0))
    async with h:
        await gate.routes(*rows)
        yield gate
