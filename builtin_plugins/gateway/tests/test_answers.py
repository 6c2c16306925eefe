"""Routes and answers over a socket: what routes see, what goes out, and what browsers get."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from rustcare_sdk.contracts.http import HttpResponse, RoutesChanged
from rustcare_sdk.contracts.identity import Authenticated, TenantInfo
from rustcare_sdk.errors import InvalidPayload, ServiceError

from tests.support.gateway_plugin import TWO, code, echo, gateway_plugin, row

LAB = row("GET", "/lab/{id}", scope="lab.read")


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
        gate.people["x" * 43] = Authenticated("user/x", "default")
        assert (await gate.ask("GET", "/a", headers={"cookie": "theme=dark; a=b"})).json()["cookies"] == {
            "theme": "dark",
            "a": "b",
        }
        answer = await gate.ask("GET", "/a", headers={"cookie": f"theme=dark; rustcare={'x' * 43}"})
        assert answer.json()["cookies"] == {"theme": "dark"}
        assert (await gate.ask("GET", "/b", headers={"cookie": "theme=dark"})).json()["cookies"] == {}
        assert (await gate.ask("GET", "/a", headers=headers)).status_code == 400


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


async def test_a_stream_that_fails_is_cut_off_and_told_to_the_operator() -> None:
    """The client sees that something is missing; the log says of which request, and nothing of what was in the error."""

    async def parts() -> Any:
        yield b"half of "
        raise ValueError("a secret")

    async with gateway_plugin(row("GET", "/a", public=True)) as gate:
        gate.answer("/a", lambda message: HttpResponse(stream=parts(), media_type="text/plain"))
        with pytest.raises(httpx.TransportError):
            await gate.ask("GET", "/a", headers={"x-request-id": "request-17"})
        (entry,) = [one for one in gate.h.logs if one.event == "a request failed"]
        assert (entry.fields["request"], entry.fields["error"]) == ("request-17", "ValueError")
        assert "secret" not in str(gate.h.logs)


async def test_a_stream_ends_at_once_when_its_client_says_that_it_is_gone() -> None:
    """Without a part being written in vain: the end of what the client sends is its leave."""
    closed = asyncio.Event()

    async def parts() -> Any:
        try:
            yield b"data: 1\n\n"
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with gateway_plugin(row("GET", "/a", public=True)) as gate:
        gate.answer("/a", lambda message: HttpResponse(stream=parts(), media_type="text/event-stream"))
        reader, writer = await asyncio.open_connection("localhost", gate.port)
        writer.write(b"GET /a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(10):
            await reader.readuntil(b"data: 1\n\n")
            writer.write_eof()
            await closed.wait()
        writer.close()
        await writer.wait_closed()


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
        assert (answer.status_code, answer.headers["location"]) == (303, "/login/step-up?next=/safe&aal=2")
        gate.answer("/lost", ServiceError("acme.lost", "<gone>"))
        answer = await gate.ask("GET", "/lost", who="ann")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
        assert "&lt;gone&gt;" in answer.text
        assert answer.headers["cache-control"] == "no-store"


async def test_nobody_loses_their_way_by_signing_in() -> None:
    """The way back has the query; who sent a form comes back to its page, and to the start where there is none. Who has only
    to show again what they have shown is not asked for a level."""
    rows = [
        row("GET", "/device", browser=True),
        row("POST", "/device", browser=True),
        row("POST", "/device/end", browser=True),
        row("GET", "/data"),
        row("POST", "/data", browser=True),
        row("GET", "/keys", browser=True, fresh=60.0),
    ]
    async with gateway_plugin(*rows, tenants=TWO) as gate:
        for method, path, back in (
            ("GET", "/device?code=ABCD-EFGH&x=%26", "/device%3Fcode%3DABCD-EFGH%26x%3D%2526"),
            ("POST", "/device?x=1", "/device"),
            ("POST", "/t/north/device", "/t/north/device"),
            ("POST", "/device/end", "/"),
            ("POST", "/data", "/"),
        ):
            location = (await gate.ask(method, path)).headers["location"]
            assert location.partition("?next=")[2] == back, path
        gate.person("ann", authenticated=1.0)
        answer = await gate.ask("GET", "/keys", who="ann")
        assert answer.headers["location"] == "/login/step-up?next=/keys"


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
    rows = [row("PUT", "/a", public=True), row("GET", "/b", public=True), row("GET", "/safe")]
    async with gateway_plugin(*rows, tenants=tenants) as gate:
        gate.answer("/b", HttpResponse(text="b", headers={"x-a": "b"}))
        asked = {"origin": app, "access-control-request-method": "PUT"}
        answer = await gate.ask("OPTIONS", "/t/web/a", headers=asked)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == app
        assert answer.headers["access-control-allow-methods"] == "OPTIONS, PUT"
        answer = await gate.ask("PUT", "/t/web/a", headers={"origin": app})
        assert answer.headers["access-control-allow-origin"] == app
        # A page learns too that its credential is not valid any more; and no cache gives it what another origin got.
        answer = await gate.ask("GET", "/t/web/safe", who="nobody", headers={"origin": app})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, app)
        for method, path in (("PUT", "/t/web/a"), ("GET", "/t/web/b"), ("GET", "/t/web/safe")):
            assert (await gate.ask(method, path)).headers["vary"] == "origin"
        assert "vary" not in (await gate.ask("PUT", "/a")).headers
        for path, origin in (("/t/web/a", "https://evil.example"), ("/a", app)):
            answer = await gate.ask("OPTIONS", path, headers={**asked, "origin": origin})
            assert "access-control-allow-origin" not in answer.headers
            answer = await gate.ask("PUT", path, headers={"origin": origin})
            assert "access-control-allow-origin" not in answer.headers


async def test_a_sandboxed_plugin_speaks_for_itself_alone() -> None:
    """Its answers cannot lift what protects the host, nor set the session's cookie; its pages have an origin of their own."""
    rows = [
        row("GET", path, public=True, sandboxed=path != "/trusted")
        for path in ("/page", "/trusted", "/cookie", "/data")
    ]
    async with gateway_plugin(*rows) as gate:
        bold = {
            "Content-Security-Policy": "script-src *",
            "Clear-Site-Data": '"*"',
            "X-Content-Type-Options": "x",
            "X-Bed": "7",
        }
        said = HttpResponse(text="<p>", media_type="text/html", headers=bold, set_cookies=["bed=7"])
        gate.answer("/page", said)
        gate.answer("/trusted", said)
        gate.answer("/cookie", HttpResponse(text="x", set_cookies=[" __host-RUSTCARE=mine; Path=/; Secure"]))
        page = (await gate.ask("GET", "/page")).headers
        policies = page.get_list("content-security-policy")
        assert len(policies) == 2
        assert "default-src 'none'" in policies[0]
        assert policies[1].split()[0] == "sandbox"
        assert "allow-same-origin" not in policies[1]
        assert "clear-site-data" not in page
        assert page["x-content-type-options"] == "nosniff"
        assert (page["x-bed"], page["set-cookie"]) == ("7", "bed=7")
        trusted = (await gate.ask("GET", "/trusted")).headers
        assert trusted["content-security-policy"] == "script-src *"
        assert trusted["clear-site-data"] == '"*"'
        answer = await gate.ask("GET", "/cookie")
        assert (answer.status_code, code(answer)) == (502, "gateway.bad-answer")
        assert "sandbox" in (await gate.ask("GET", "/data")).headers["content-security-policy"]
