"""The pipeline over a socket: who gets in, what routes see, what goes out, what is put on record."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from rustcare_plugin_gateway.errors import Refused
from rustcare_sdk.contracts.authz import CHECK, CheckReply
from rustcare_sdk.contracts.http import HttpResponse, RoutesChanged
from rustcare_sdk.contracts.identity import Revocation, TenantInfo
from rustcare_sdk.contracts.plugin import PluginState
from rustcare_sdk.errors import AuditUnavailable, InvalidPayload, ServiceError
from rustcare_sdk.message import Message

from tests.support.gateway_plugin import Gate, gateway_plugin, row

LAB = row("GET", "/lab/{id}", scope="lab.read")
TWO = [TenantInfo("default"), TenantInfo("north", hosts=["north.example.org"]), TenantInfo("south")]


def code(answer: httpx.Response) -> str:
    """The code of a problem."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = answer.json()
    assert found["status"] == answer.status_code
    assert found["instance"] == answer.headers["x-request-id"]
    return str(found["code"])


def echo(message: Message[Any]) -> HttpResponse:
    """Says what the route saw."""
    asked = message.data
    return HttpResponse(
        content={
            "method": asked.method, "path": asked.path, "params": asked.params, "query": asked.query,
            "headers": asked.headers, "cookies": asked.cookies, "body": asked.body.decode(), "base": asked.base,
            "prefix": asked.prefix, "address": asked.address, "principal": message.principal, "tenant": message.tenant,
            "trace": message.trace, "kind": asked.caller.kind,
        }
    )  # fmt: skip


# who gets in


async def test_who_is_not_known_gets_401_and_is_told_how_to_become_known() -> None:
    """No credential: a challenge without an error; one that is not valid: `invalid_token` (RFC 6750, section 3)."""
    async with gateway_plugin(LAB) as gate:
        answer = await gate.ask("GET", "/lab/7")
        assert (answer.status_code, code(answer)) == (401, "gateway.unauthenticated")
        assert answer.headers["www-authenticate"] == 'Bearer realm="rustcare"'
        answer = await gate.ask("GET", "/lab/7", who="nobody")
        assert (answer.status_code, code(answer)) == (401, "gateway.unauthenticated")
        assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_a_caller_with_the_scope_gets_in_and_the_plugin_knows_who_it_is() -> None:
    """Tenant, principal and trace are the call's; the credential is nowhere in the request."""
    async with gateway_plugin(LAB) as gate:
        gate.person("ann", scopes=("lab",), aal=2)
        gate.answer("/lab/{id}", echo)
        trace = f"00-{'a' * 32}-{'b' * 16}-01"
        headers = {"traceparent": trace, "x-request-id": "request-17"}
        answer = await gate.ask("GET", "/lab/a%20b?x=1&x=2&y=", who="ann", headers=headers)
        said = answer.json()
        assert (said["principal"], said["tenant"], said["kind"]) == ("user/ann", "default", "session")
        assert (said["path"], said["params"]) == ("/lab/a b", {"id": "a b"})
        assert said["query"] == {"x": ["1", "2"], "y": [""]}
        assert said["trace"].startswith(f"00-{'a' * 32}-")
        assert said["base"] == gate.url
        assert said["address"] == "127.0.0.1"
        assert not {"cookie", "authorization", "x-api-key"} & set(said["headers"])
        assert answer.headers["x-request-id"] == "request-17"
        assert answer.headers["traceresponse"] == said["trace"]


@pytest.mark.parametrize(
    ("route", "person", "status", "expected"),
    [
        ({"scope": "lab.write"}, {"scopes": ("lab.read",)}, 403, "gateway.scope"),
        ({"aal": 2}, {"aal": 1}, 401, "gateway.step-up"),
        ({"fresh": 60.0}, {"authenticated": 1000.0}, 401, "gateway.step-up"),
        ({"tenant": "system"}, {"tenant": "north"}, 403, "gateway.wrong-tenant"),
        ({"tenant": "system", "scope": "admin"}, {"scopes": ("admin",)}, 200, ""),
    ],
)
async def test_what_a_route_asks_of_its_callers(
    route: dict[str, Any], person: dict[str, Any], status: int, expected: str
) -> None:
    """Scope, assurance, freshness, and the tenant that looks after the whole."""
    async with gateway_plugin(row("GET", "/a", **route), tenants=TWO) as gate:
        gate.person("ann", **person)
        answer = await gate.ask("GET", "/a", who="ann")
        assert answer.status_code == status
        if expected:
            assert code(answer) == expected


async def test_two_credentials_are_refused() -> None:
    """A request that two callers could have made is nobody's."""
    async with gateway_plugin(LAB) as gate:
        gate.person("ann", scopes=("lab",))
        answer = await gate.ask("GET", "/lab/7", who="ann", headers={"authorization": "Bearer x"})
        assert (answer.status_code, code(answer)) == (400, "gateway.ambiguous-credentials")


async def test_a_known_credential_is_not_asked_about_again_until_something_is_revoked() -> None:
    """The very next request after a revocation is asked about anew."""
    async with gateway_plugin(LAB) as gate:
        gate.person("ann", scopes=("lab",))
        for _ in range(3):
            assert (await gate.ask("GET", "/lab/7", who="ann")).status_code == 200
        assert gate.lookups == 1
        gate.people.clear()
        await gate.h.send("identity.revoked", Revocation(1, "session", "session-ann", "default"))
        assert (await gate.ask("GET", "/lab/7", who="ann")).status_code == 401


async def test_without_identity_public_routes_go_on() -> None:
    """Everything else is refused with a clear problem, and the gateway is not ready."""
    async with gateway_plugin(row("GET", "/open", public=True), LAB, identity=False) as gate:
        assert (await gate.ask("GET", "/open")).status_code == 200
        assert (await gate.ask("GET", "/open", who="ann")).status_code == 200
        assert (await gate.ask("GET", "/lab/7")).status_code == 401
        answer = await gate.ask("GET", "/lab/7", who="ann")
        assert (answer.status_code, code(answer)) == (503, "gateway.identity-unavailable")
        answer = await gate.ask("GET", "/readyz")
        assert (answer.status_code, answer.json()["reason"]) == (503, "identity does not answer")
        assert (await gate.ask("GET", "/livez")).status_code == 200


async def test_guessing_is_slowed_down() -> None:
    """An address that sends credentials that are not valid is refused after a while, without anybody being asked."""
    limits = {"failures": [{"by": "address", "rate": 3, "per": 60}]}
    async with gateway_plugin(LAB, limits=limits) as gate:
        statuses = [(await gate.ask("GET", "/lab/7", who=f"guess{number}")).status_code for number in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert gate.lookups == 3


# tenants


async def test_no_request_crosses_tenants() -> None:
    """Whatever names the tenant: the caller must belong to it; a public route has a caller that is nobody there."""
    async with gateway_plugin(LAB, row("GET", "/open", public=True), tenants=TWO) as gate:
        gate.person("ann", "north", scopes=("lab",))
        gate.answer("/lab/{id}", echo)
        gate.answer("/open", echo)
        for headers, path, tenant in (
            ({}, "/lab/7", "north"),
            ({"x-tenant": "north"}, "/lab/7", "north"),
            ({"host": "north.example.org"}, "/lab/7", "north"),
            ({}, "/t/north/lab/7", "north"),
        ):
            # Over a name that is not this machine's the cookie has its other name.
            answer = await gate.ask(
                "GET", path, headers={**headers, "cookie": f"__Host-rustcare={'ann'.ljust(43, '-')}"}
            )
            assert answer.json()["tenant"] == tenant
        assert answer.json()["prefix"] == "/t/north"
        for headers, path in (
            ({"x-tenant": "south"}, "/lab/7"),
            ({}, "/t/south/lab/7"),
            ({"x-tenant": "default"}, "/lab/7"),
        ):
            answer = await gate.ask("GET", path, who="ann", headers=headers)
            assert (answer.status_code, code(answer)) == (403, "gateway.wrong-tenant")
        answer = await gate.ask("GET", "/t/south/open", who="ann")
        assert (answer.json()["tenant"], answer.json()["principal"]) == ("south", "")
        answer = await gate.ask("GET", "/t/nowhere/open")
        assert (answer.status_code, code(answer)) == (404, "gateway.tenant-unknown")
        answer = await gate.ask("GET", "/t/north/open", headers={"x-tenant": "south"})
        assert (answer.status_code, code(answer)) == (400, "gateway.tenant-conflict")


async def test_a_tenant_that_is_disabled_is_closed() -> None:
    """From the event on."""
    async with gateway_plugin(LAB, tenants=TWO) as gate:
        gate.person("ann", "north", scopes=("lab",))
        assert (await gate.ask("GET", "/lab/7", who="ann")).status_code == 200
        await gate.h.send("identity.tenant.changed", TenantInfo("north", enabled=False))
        answer = await gate.ask("GET", "/lab/7", who="ann")
        assert (answer.status_code, code(answer)) == (403, "gateway.tenant-disabled")


# limits


async def test_limits_are_told_and_kept() -> None:
    """`RateLimit` counts down; one request more gets 429 and when to come back; another caller is not touched."""
    async with gateway_plugin(LAB, limits={"default": [{"by": "principal", "rate": 2, "per": 60}]}) as gate:
        for name in ("ann", "ben"):
            gate.person(name, scopes=("lab",))
        first = await gate.ask("GET", "/lab/7", who="ann")
        assert first.headers["ratelimit-policy"] == '"default";q=2;w=60'
        assert first.headers["ratelimit"].startswith('"default";r=1;')
        assert (await gate.ask("GET", "/lab/7", who="ann")).status_code == 200
        answer = await gate.ask("GET", "/lab/7", who="ann")
        assert (answer.status_code, code(answer)) == (429, "gateway.rate-limited")
        assert answer.headers["ratelimit"].startswith('"default";r=0;')
        assert 25 <= int(answer.headers["retry-after"]) <= 30
        assert (await gate.ask("GET", "/lab/7", who="ben")).status_code == 200


async def test_a_tenant_has_limits_of_its_own() -> None:
    """From its settings."""
    tenants = [*TWO, TenantInfo("small", settings={"limits": {"default": [{"by": "tenant", "rate": 1, "per": 60}]}})]
    async with gateway_plugin(LAB, tenants=tenants) as gate:
        for name in ("ann", "ben"):
            gate.person(name, "small", scopes=("lab",))
        assert (await gate.ask("GET", "/lab/7", who="ann")).status_code == 200
        assert (await gate.ask("GET", "/lab/7", who="ben")).status_code == 429


async def test_who_comes_in_vain_is_limited_too() -> None:
    """Requests without a credential and for paths that nobody answers count by address."""
    async with gateway_plugin(LAB, limits={"default": [{"by": "principal", "rate": 2, "per": 60}]}) as gate:
        assert (await gate.ask("GET", "/lab/7")).status_code == 401
        assert (await gate.ask("GET", "/nowhere")).status_code == 404
        assert (await gate.ask("GET", "/nowhere")).status_code == 429


# routes


async def test_methods_and_paths() -> None:
    """404 for no route, 405 with Allow for another method, HEAD as GET without a body, OPTIONS."""
    async with gateway_plugin(row("GET", "/a", public=True), row("POST", "/a", public=True)) as gate:
        gate.answer("/a", echo)
        answer = await gate.ask("DELETE", "/a")
        assert (answer.status_code, code(answer)) == (405, "gateway.method")
        assert answer.headers["allow"] == "GET, HEAD, OPTIONS, POST"
        answer = await gate.ask("GET", "/b")
        assert (answer.status_code, code(answer)) == (404, "gateway.no-route")
        whole, head = await gate.ask("GET", "/a"), await gate.ask("HEAD", "/a")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
        answer = await gate.ask("OPTIONS", "/a")
        assert (answer.status_code, answer.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")


async def test_routes_come_and_go() -> None:
    """From the event on, over the same connection."""
    async with gateway_plugin(row("GET", "/a", public=True)) as gate, httpx.AsyncClient(trust_env=False) as client:
        assert (await gate.ask("GET", "/a", client=client)).status_code == 200
        await gate.routes(row("GET", "/b", public=True))
        assert (await gate.ask("GET", "/a", client=client)).status_code == 404
        assert (await gate.ask("GET", "/b", client=client)).status_code == 200


async def test_an_older_revision_changes_nothing() -> None:
    """Events that arrive late are not a reason to ask again."""
    async with gateway_plugin(row("GET", "/a", public=True)) as gate:
        asked = len([message for message in gate.h.requested if message.subject == "kernel.routes"])
        await gate.h.send("http.routes", RoutesChanged(gate.revision))
        assert len([message for message in gate.h.requested if message.subject == "kernel.routes"]) == asked


async def test_bodies_are_bounded_by_the_route() -> None:
    """By their length beforehand, and while they come."""
    async with gateway_plugin(row("POST", "/a", public=True, max_body=10, media_types=("text/plain",))) as gate:
        gate.answer("/a", echo, "POST")
        ok = await gate.ask("POST", "/a", body=b"0123456789", headers={"content-type": "text/plain; charset=utf-8"})
        assert ok.json()["body"] == "0123456789"
        answer = await gate.ask("POST", "/a", body=b"x" * 11, headers={"content-type": "text/plain"})
        assert (answer.status_code, code(answer)) == (413, "gateway.too-large")

        async def parts() -> Any:
            for _ in range(20):
                yield b"x"

        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(gate.url + "/a", content=parts(), headers={"content-type": "text/plain"})
        assert (answer.status_code, code(answer)) == (413, "gateway.too-large")
        answer = await gate.ask("POST", "/a", body=b"x", headers={"content-type": "text/html"})
        assert (answer.status_code, code(answer)) == (415, "http.unsupported-media-type")


async def test_cookies_are_for_routes_that_ask_for_them() -> None:
    """Never the session's own."""
    async with gateway_plugin(row("GET", "/a", public=True, cookies=True), row("GET", "/b", public=True)) as gate:
        gate.answer("/a", echo)
        gate.answer("/b", echo)
        headers = {"cookie": f"theme=dark; rustcare={'x' * 43}; __Host-rustcare=y"}
        gate.people["x" * 43] = gate.people.get("x", None) or _nobody()
        assert (await gate.ask("GET", "/a", headers={"cookie": "theme=dark; a=b"})).json()["cookies"] == {
            "theme": "dark",
            "a": "b",
        }
        answer = await gate.ask("GET", "/a", headers={"cookie": f"theme=dark; rustcare={'x' * 43}"})
        assert answer.json()["cookies"] == {"theme": "dark"}
        assert (await gate.ask("GET", "/b", headers={"cookie": "theme=dark"})).json()["cookies"] == {}
        assert (await gate.ask("GET", "/a", headers=headers)).status_code == 400


def _nobody() -> Any:
    from rustcare_sdk.contracts.identity import Authenticated

    return Authenticated("user/x", "default")


# answers


@pytest.mark.parametrize(
    ("response", "status", "media", "body"),
    [
        (HttpResponse(content={"a": [1, None]}), 200, "application/json", b'{"a":[1,null]}'),
        (HttpResponse(201, text="hé"), 201, "text/plain; charset=utf-8", "hé".encode()),
        (HttpResponse(body=b"\x00\x01", media_type="image/png"), 200, "image/png", b"\x00\x01"),
        (HttpResponse(204), 204, None, b""),
        (
            HttpResponse(418, content={"a": 1}, media_type="application/fhir+json"),
            418,
            "application/fhir+json",
            b'{"a":1}',
        ),
    ],
)
async def test_what_a_route_answers_goes_out(
    response: HttpResponse, status: int, media: str | None, body: bytes
) -> None:
    """Content as JSON, text, bytes, or nothing."""
    async with gateway_plugin(row("GET", "/a", public=True)) as gate:
        gate.answer("/a", response)
        answer = await gate.ask("GET", "/a")
        assert (answer.status_code, answer.headers.get("content-type"), answer.content) == (status, media, body)


@pytest.mark.parametrize(
    "response",
    [
        HttpResponse(99),
        HttpResponse(700),
        HttpResponse(content=object()),
        HttpResponse(headers={"x": "a\r\nset-cookie: b"}),
        HttpResponse(headers={"x y": "a"}),
        HttpResponse(headers={"x": "\u20ac"}),
        HttpResponse(set_cookies=["a=b\r\nx: y"]),
        HttpResponse(body=b"x", media_type="text/plain\r\nx: y"),
    ],
)
async def test_what_cannot_go_out_does_not(response: HttpResponse) -> None:
    """A status that does not exist, what is no JSON, and whatever would break out of its field: 502."""
    async with gateway_plugin(row("GET", "/a", public=True)) as gate:
        gate.answer("/a", response)
        answer = await gate.ask("GET", "/a")
        assert (answer.status_code, code(answer)) == (502, "gateway.bad-answer")


async def test_header_fields_that_protect() -> None:
    """Every answer has them; answers to callers who are known are stored nowhere; a route may say otherwise."""
    async with gateway_plugin(row("GET", "/a", public=True), row("GET", "/b"), row("GET", "/c")) as gate:
        gate.person("ann")
        gate.answer("/a", HttpResponse(text="<p>", media_type="text/html"))
        gate.answer("/c", HttpResponse(text="x", headers={"Cache-Control": "max-age=60", "Content-Length": "999"}))
        page = (await gate.ask("GET", "/a")).headers
        assert page["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in page["content-security-policy"]
        assert "default-src 'none'" in page["content-security-policy"]
        assert page["permissions-policy"]
        assert page["referrer-policy"]
        assert "cache-control" not in page
        assert "server" not in page
        assert (await gate.ask("GET", "/b", who="ann")).headers["cache-control"] == "no-store"
        mine = await gate.ask("GET", "/c", who="ann")
        assert mine.headers.get_list("cache-control") == ["max-age=60"]
        assert mine.headers["content-length"] == "1"


async def test_errors_of_plugins() -> None:
    """Those that the route declares have its status; a body that does not fit is pointed at; the rest tells nothing."""
    async with gateway_plugin(row("GET", "/a", public=True, problems={"acme.no-such-bed": 404})) as gate:
        gate.answer("/a", ServiceError("acme.no-such-bed", "there is no bed 7", hint="look at /beds"))
        answer = await gate.ask("GET", "/a")
        assert (answer.status_code, code(answer)) == (404, "acme.no-such-bed")
        assert (answer.json()["detail"], answer.json()["hint"]) == ("there is no bed 7", "look at /beds")
        gate.answer("/a", InvalidPayload("Expected `int`, got `str` - at `$.ward`", address="body"))
        answer = await gate.ask("GET", "/a")
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/ward")
        gate.answer("/a", ValueError("a secret"))
        answer = await gate.ask("GET", "/a")
        assert (answer.status_code, code(answer)) == (500, "gateway.failed")
        assert "secret" not in answer.text
        assert all("secret" not in str(entry.fields) for entry in gate.h.logs)


async def test_a_stream_goes_out_as_it_comes_and_ends_with_its_client() -> None:
    """Parts arrive one by one; when the client leaves, the stream is closed."""
    closed, more = asyncio.Event(), asyncio.Event()

    async def parts() -> Any:
        try:
            yield b"data: 1\n\n"
            await more.wait()
            yield b"data: 2\n\n"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with gateway_plugin(row("GET", "/a", public=True)) as gate:
        gate.answer("/a", lambda message: HttpResponse(stream=parts(), media_type="text/event-stream"))
        async with (
            httpx.AsyncClient(trust_env=False) as client,
            client.stream("GET", gate.url + "/a") as answer,
        ):
            assert answer.headers["content-type"] == "text/event-stream"
            lines = answer.aiter_lines()
            assert await anext(lines) == "data: 1"
            more.set()
            assert [await anext(lines), await anext(lines)] == ["", "data: 2"]
        async with asyncio.timeout(10):
            await closed.wait()


async def test_a_stream_ends_when_the_gateway_stops() -> None:
    """Events have no end of their own; the client gets a whole answer all the same, and can come back to another."""

    async def parts() -> Any:
        yield b"data: 1\n\n"
        await asyncio.Event().wait()

    async with httpx.AsyncClient(trust_env=False) as client:
        async with gateway_plugin(row("GET", "/a", public=True)) as gate:
            gate.answer("/a", lambda message: HttpResponse(stream=parts(), media_type="text/event-stream"))
            stream = client.stream("GET", gate.url + "/a")
            answer = await stream.__aenter__()
            lines = answer.aiter_lines()
            assert await anext(lines) == "data: 1"
        assert [line async for line in lines] == [""]
        await stream.__aexit__(None, None, None)


# browsers


async def test_a_browser_is_sent_to_sign_in_and_errors_are_pages() -> None:
    """303 to the sign-in page with the way back; a stronger proof has a page of its own."""
    rows = [
        row("GET", "/home", browser=True),
        row("GET", "/safe", browser=True, aal=2),
        row("GET", "/lost", browser=True, problems={"acme.lost": 404}),
    ]
    async with gateway_plugin(*rows, tenants=TWO) as gate:
        gate.person("ann")
        answer = await gate.ask("GET", "/home")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/home")
        answer = await gate.ask("GET", "/t/north/home")
        assert answer.headers["location"] == "/t/north/login?next=/t/north/home"
        answer = await gate.ask("GET", "/safe", who="ann")
        assert (answer.status_code, answer.headers["location"]) == (303, "/login/step-up?next=/safe")
        gate.answer("/lost", ServiceError("acme.lost", "<gone>"))
        answer = await gate.ask("GET", "/lost", who="ann")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "&lt;gone&gt;" in answer.text
        assert answer.headers["cache-control"] == "no-store"


async def test_a_page_of_another_origin_cannot_act_with_a_session() -> None:
    """Unsafe methods in a session, and forms for everybody, need a page of this origin; tokens and keys do not."""
    rows = [row("POST", "/act"), row("POST", "/form", public=True, browser=True), row("POST", "/api", public=True)]
    async with gateway_plugin(*rows) as gate:
        gate.person("ann")
        for path, who in (("/act", "ann"), ("/form", "")):
            for headers in ({}, {"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
                answer = await gate.ask("POST", path, who=who, headers=headers)
                assert answer.status_code == 403, (path, headers)
                assert "gateway.cross-origin" in answer.text
            for headers in ({"origin": gate.url}, {"sec-fetch-site": "same-origin"}):
                assert (await gate.ask("POST", path, who=who, headers=headers)).status_code == 200
        assert (await gate.ask("POST", "/api")).status_code == 200


async def test_pages_of_origins_that_a_tenant_names_may_read() -> None:
    """Preflights and answers carry CORS fields by the tenant's settings, and none otherwise."""
    app = "https://app.example.org"
    tenants = [*TWO, TenantInfo("web", settings={"cors": {"origins": [app]}})]
    async with gateway_plugin(row("PUT", "/a", public=True), tenants=tenants) as gate:
        asked = {"origin": app, "access-control-request-method": "PUT"}
        answer = await gate.ask("OPTIONS", "/t/web/a", headers=asked)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == app
        assert answer.headers["access-control-allow-methods"] == "OPTIONS, PUT"
        answer = await gate.ask("PUT", "/t/web/a", headers={"origin": app})
        assert answer.headers["access-control-allow-origin"] == app
        for path, origin in (("/t/web/a", "https://evil.example"), ("/a", app)):
            answer = await gate.ask("OPTIONS", path, headers={**asked, "origin": origin})
            assert "access-control-allow-origin" not in answer.headers
            answer = await gate.ask("PUT", path, headers={"origin": origin})
            assert "access-control-allow-origin" not in answer.headers


# who decides, what is recorded


async def test_whoever_serves_authz_check_decides() -> None:
    """As soon as there is one; what it denies is 403, and its failure is 503, never a pass."""
    async with gateway_plugin(LAB) as gate:
        gate.person("ann", scopes=("lab",))
        assert (await gate.ask("GET", "/lab/7", who="ann")).status_code == 200
        gate.h.answer(CHECK, CheckReply(False, "not-related"))
        await gate.h.send("plugin.state", PluginState("acme.relations", "1.0.0", "", "starting", "active"))
        answer = await gate.ask("GET", "/lab/7", who="ann")
        assert (answer.status_code, code(answer)) == (403, "gateway.forbidden")
        assert "not-related" in answer.json()["detail"]
        gate.h.answer(CHECK, ValueError("broken"))
        answer = await gate.ask("GET", "/lab/7", who="ann")
        assert (answer.status_code, code(answer)) == (503, "gateway.authorization-unavailable")
        gate.h.answer(CHECK, CheckReply(True))
        assert (await gate.ask("GET", "/lab/7", who="ann")).status_code == 200


async def test_every_answered_request_is_recorded_without_what_it_was_about() -> None:
    """In its tenant: when, how long, id, who, method, the route's path, status, session; no path and no query."""
    async with gateway_plugin(LAB, tenants=TWO) as gate:
        gate.person("ann", "north", scopes=("lab",))
        answer = await gate.ask("GET", "/lab/secret-number?name=secret", who="ann")
        await gate.ask("GET", "/secret-place")
        await gate.ask("GET", "/livez")
        (tenant, first), (other, second) = await gate.recorded()
        assert (tenant, other) == ("north", "default")
        assert first[2:] == [answer.headers["x-request-id"], "user/ann", "GET", "/lab/{id}", 200, "session-ann"]
        assert second[3:] == ["", "GET", "", 404, ""]
        assert first[0] > 1.6e15
        assert 0 < first[1] < 20e6
        assert "secret" not in json.dumps(gate.records)


async def test_when_nothing_can_be_recorded_requests_are_refused() -> None:
    """Once no more records can be kept; with `continue` they go on, and the loss is counted."""

    def broken(message: Message[Any]) -> None:
        raise AuditUnavailable("the log is away")

    async def statuses(gate: Gate) -> list[int]:
        gate.h.plugin._access._publish = _raising  # type: ignore[attr-defined]
        return [(await gate.ask("GET", "/a")).status_code for _ in range(4)]

    async def _raising(*args: Any, **more: Any) -> None:
        broken(args[0])

    access = {"bound": 2, "interval": 0.05}
    async with gateway_plugin(row("GET", "/a", public=True), access=access) as gate:
        assert await statuses(gate) == [200, 200, 503, 503]
        gate.h.plugin._access._publish = gate.h.ctx.publish  # type: ignore[attr-defined]
        await gate.recorded()
        assert (await gate.ask("GET", "/a")).status_code == 200
    async with gateway_plugin(row("GET", "/a", public=True), access=access, on_audit_loss="continue") as gate:
        assert await statuses(gate) == [200, 200, 200, 200]
        assert gate.h.plugin._access.lost == 2  # type: ignore[attr-defined]


# its own routes


async def test_metrics_need_a_scope_or_this_machine() -> None:
    """As the configuration says."""
    async with gateway_plugin(row("GET", "/a", public=True)) as gate:
        gate.person("ann", scopes=("metrics",))
        await gate.ask("GET", "/a")
        assert (await gate.ask("GET", "/metrics")).status_code == 401
        answer = await gate.ask("GET", "/metrics", who="ann")
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert 'rustcare_http_requests_total{method="GET",route="/a",status="2xx"} 1' in answer.text
    async with gateway_plugin(metrics="loopback") as gate:
        assert (await gate.ask("GET", "/metrics")).status_code == 200
    async with gateway_plugin(metrics="off") as gate:
        assert (await gate.ask("GET", "/metrics")).status_code == 404


async def test_the_description_and_its_page() -> None:
    """The document follows the routes; the page and its parts come from here alone; both can be turned off."""
    async with gateway_plugin(row("GET", "/a", public=True)) as gate:
        document = (await gate.ask("GET", "/openapi.json")).json()
        assert "/a" in document["paths"]
        assert "/livez" in document["paths"]
        await gate.routes(row("GET", "/b", public=True))
        assert "/b" in (await gate.ask("GET", "/openapi.json")).json()["paths"]
        page = await gate.ask("GET", "/docs")
        assert "https://" not in page.text
        for part in ("docs.css", "docs.js"):
            assert (await gate.ask("GET", f"/docs/{part}")).status_code == 200
        assert (await gate.ask("GET", "/docs/other")).status_code == 404
    async with gateway_plugin(docs=False) as gate:
        assert (await gate.ask("GET", "/docs")).status_code == 404


async def test_only_names_under_which_it_is_reached() -> None:
    """With a list of hosts, another Host is 421; a tenant's host is one; probes may use any."""
    async with gateway_plugin(row("GET", "/a", public=True), tenants=TWO, hosts=["localhost"]) as gate:
        assert (await gate.ask("GET", "/a")).status_code == 200
        assert (await gate.ask("GET", "/a", headers={"host": "north.example.org"})).status_code == 200
        answer = await gate.ask("GET", "/a", headers={"host": "evil.example"})
        assert (answer.status_code, code(answer)) == (421, "gateway.misdirected")
        assert (await gate.ask("GET", "/livez", headers={"host": "10.0.0.7"})).status_code == 200


@pytest.mark.parametrize(
    ("original", "query", "who", "status"),
    [
        ({"x-original-method": "GET", "x-original-uri": "/files/7"}, "?scope=files.read", "ann", 200),
        ({"x-original-method": "GET", "x-original-uri": "/files/7"}, "?scope=files.write", "ann", 403),
        ({"x-original-method": "GET", "x-original-uri": "/files/7"}, "", "", 401),
        ({"x-original-method": "GET", "x-original-uri": "/files/7"}, "?aal=2", "ann", 401),
        ({"x-original-method": "POST", "x-original-uri": "/files/7"}, "", "ann", 403),
        (
            {"x-original-method": "POST", "x-original-url": "https://files.example.org/7", "origin": "https://files.example.org"},
            "",
            "ann",
            200,
        ),
        (
            {"x-forwarded-method": "DELETE", "x-forwarded-proto": "https", "x-forwarded-host": "files.example.org",
             "x-forwarded-uri": "/7", "sec-fetch-site": "same-origin"},
            "",
            "ann",
            200,
        ),
        ({"x-forwarded-method": "GET", "x-forwarded-host": "north.example.org", "x-forwarded-uri": "/7"}, "", "ann", 403),
        ({"x-forwarded-method": "GET", "x-forwarded-uri": "/t/south/7"}, "", "ann", 403),
    ],
)  # fmt: skip
async def test_a_proxy_asks_whether_a_request_may_pass(
    original: dict[str, str], query: str, who: str, status: int
) -> None:
    """By who the caller is in the tenant that the request in question is for, and from where a browser sent it."""
    async with gateway_plugin(tenants=TWO) as gate:
        gate.person("ann", scopes=("files.read",))
        answer = await gate.ask("GET", f"/auth/check{query}", who=who, headers=original)
        assert answer.status_code == status, answer.text
        if status == 200:
            assert answer.headers["x-auth-principal"] == "user/ann"
            assert answer.headers["x-auth-tenant"] == "default"
            assert answer.headers["x-auth-scopes"] == "files.read"


async def test_envoy_asks_with_the_method_and_path_themselves() -> None:
    """Any method, and whatever stands behind `/auth/check`."""
    async with gateway_plugin() as gate:
        gate.person("ann", scopes=("files.read",))
        for method in ("GET", "PUT", "DELETE"):
            headers = {"sec-fetch-site": "same-origin"}
            assert (await gate.ask(method, "/auth/check/files/7", who="ann", headers=headers)).status_code == 200
            assert (await gate.ask(method, "/auth/check/files/7")).status_code == 401


def test_refusals_have_statuses() -> None:
    """Every refusal of the gateway says its HTTP status, and its code begins with the plugin's name."""
    for cls in Refused.__subclasses__():
        assert 400 <= cls.status <= 599
        assert cls.code.startswith("gateway.")
