"""The gateway's own routes: counters, the description, forward authentication."""

from __future__ import annotations

import asyncio

import pytest
from rustcare_plugin_gateway.errors import Refused

from tests.support.gateway_plugin import TWO, code, gateway_plugin, row

LAB = row("GET", "/lab/{id}", scope="lab.read")


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
        assert document["servers"] == [{"url": gate.url}]
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
            assert answer.headers["x-auth-on-behalf"] == ""


@pytest.mark.parametrize(
    "fields",
    [
        {"x-original-uri": "/public", "x-forwarded-uri": "/secret"},
        {"x-original-uri": "/secret", "x-original-url": "http://localhost/public"},
        {"x-original-uri": "/a", "x-original-method": "GET", "x-forwarded-method": "DELETE"},
        {
            "x-original-uri": "/a",
            "x-original-url": "http://south.example.org/a",
            "x-forwarded-host": "north.example.org",
        },
        {"x-original-uri": "/a/../secret"},
        {"x-original-uri": "/a/%2e%2e/secret"},
        {"x-original-uri": "/a%2f..%2fsecret"},
        {"x-forwarded-uri": "/a%00"},
        {"x-forwarded-uri": "/%ff"},
        {"x-forwarded-uri": "secret"},
        {"x-original-url": "http://localhost/a\\b"},
        {"x-original-uri": "/a", "x-forwarded-host": "a, b"},
        {"x-original-uri": "/a", "x-original-method": "GET /b"},
    ],
    ids=lambda fields: " ".join(fields.values()),
)
async def test_a_request_in_question_that_could_be_two_is_refused(fields: dict[str, str]) -> None:
    """A field that the proxy passed on and one that it set, or a path that the gateway would refuse as its own."""
    async with gateway_plugin(tenants=TWO) as gate:
        gate.person("ann")
        answer = await gate.ask("GET", "/auth/check", who="ann", headers=fields)
        assert (answer.status_code, code(answer)) == (400, "gateway.bad-request")
        answer = await gate.ask("GET", "/auth/check/secret", who="ann", headers={"x-original-uri": "/public"})
        assert answer.status_code == 400


async def test_the_path_in_question_names_a_tenant_only_where_paths_do() -> None:
    """By the policies, as in a request to the gateway itself; a host that ends with a dot is the same host."""
    fields = {"x-original-uri": "/t/south/7"}
    async with gateway_plugin() as gate:
        gate.tenants = TWO
        gate.person("ann")
        gate.h.plugin._tenants.by_path = False  # type: ignore[attr-defined]
        assert (await gate.ask("GET", "/auth/check", who="ann", headers=fields)).status_code == 200
    async with gateway_plugin(tenants=TWO) as gate:
        gate.person("ann")
        assert (await gate.ask("GET", "/auth/check", who="ann", headers=fields)).status_code == 403
        for host in ("north.example.org", "north.example.org.", "NORTH.example.org.:443"):
            fields = {"x-original-uri": "/7", "x-forwarded-host": host}
            assert (await gate.ask("GET", "/auth/check", who="ann", headers=fields)).status_code == 403, host


async def test_options_let_nobody_pass() -> None:
    """A proxy that asks with the method of a preflight is told no, unless the caller is known."""
    async with gateway_plugin() as gate:
        gate.person("ann")
        preflight = {"origin": "https://a.example", "access-control-request-method": "GET"}
        for path in ("/auth/check", "/auth/check/files/7"):
            assert (await gate.ask("OPTIONS", path, headers=preflight)).status_code == 401
            assert (await gate.ask("OPTIONS", path, who="ann", headers=preflight)).status_code == 200


async def test_no_plugin_stands_in_for_a_question() -> None:
    """A route below `/auth/check` is not answered by its plugin, and not described."""
    route = row("GET", "/auth/check/open", public=True)
    async with gateway_plugin(route) as gate:
        assert (await gate.ask("GET", "/auth/check/open")).status_code == 401
        assert "/auth/check/open" not in (await gate.ask("GET", "/openapi.json")).json()["paths"]
        assert [line.fields["path"] for line in gate.h.logs if "path" in line.fields] == ["/auth/check/open"]


async def test_envoy_asks_with_the_method_and_path_themselves() -> None:
    """Any method, and whatever stands behind `/auth/check`."""
    async with gateway_plugin() as gate:
        gate.person("ann", scopes=("files.read",))
        for method in ("GET", "PUT", "DELETE"):
            headers = {"sec-fetch-site": "same-origin"}
            for path in ("/auth/check/files/7", "/auth/check/"):
                assert (await gate.ask(method, path, who="ann", headers=headers)).status_code == 200
            assert (await gate.ask(method, "/auth/check/files/7")).status_code == 401


async def test_the_query_of_a_request_in_question_asks_for_nothing() -> None:
    """Behind the prefix the query is the client's: it neither lowers the level that is asked for nor chooses its limit."""
    async with gateway_plugin(limits={"default": [{"by": "principal", "rate": 1, "per": 60}]}) as gate:
        gate.person("new", aal=0)
        gate.person("ann")
        assert (await gate.ask("GET", "/auth/check/files/7?aal=0", who="new")).status_code == 401
        assert (await gate.ask("GET", "/auth/check/files/7?scope=files.read", who="ann")).status_code == 200
        assert (await gate.ask("GET", "/auth/check/files/7?limit=none", who="ann")).status_code == 429


async def test_a_question_is_answered_before_its_body_comes() -> None:
    """A proxy that sends the body along does not have it kept here, however large it is."""
    async with gateway_plugin() as gate:
        reader, writer = await asyncio.open_connection("localhost", gate.port)
        writer.write(b"POST /auth/check HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999999999\r\n\r\nx")
        async with asyncio.timeout(10):
            head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 ")
        assert b"connection: close" in head
        writer.close()
        await writer.wait_closed()


def test_refusals_have_statuses() -> None:
    """Every refusal of the gateway says its HTTP status, and its code begins with the plugin's name."""
    for cls in Refused.__subclasses__():
        assert 400 <= cls.status <= 599
        assert cls.code.startswith("gateway.")
