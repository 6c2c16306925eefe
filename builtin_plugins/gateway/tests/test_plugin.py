"""The pipeline over a socket: who gets in, for which tenant, how often, and what is put on record."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from rustcare_plugin_gateway.pipeline import Pipeline
from rustcare_sdk.contracts.authz import CHECK, CheckReply
from rustcare_sdk.contracts.identity import TENANTS, Revocation, TenantInfo, TenantsReply
from rustcare_sdk.contracts.plugin import PluginState
from rustcare_sdk.errors import AuditUnavailable
from rustcare_sdk.message import Message

from tests.support.gateway_plugin import TWO, Gate, code, echo, gateway_plugin, row

LAB = row("GET", "/lab/{id}", scope="lab.read")


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


@pytest.mark.parametrize("change", ["revoked", "rights", "tenant", "nothing"])
async def test_who_is_found_out_while_a_body_is_under_way_is_refused(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was revoked, or has other rights, before the request was complete does not reach the plugin."""
    monkeypatch.setattr("rustcare_plugin_gateway.pipeline.LATE", 0.0)
    async with gateway_plugin(row("POST", "/lab", scope="lab", media_types=("text/plain",)), tenants=TWO) as gate:
        gate.person("ann", "north", scopes=("lab",))
        reads = asyncio.Event()
        read = Pipeline._body

        async def noticed(*args: Any) -> bytes:
            reads.set()
            return await read(*args)

        monkeypatch.setattr(Pipeline, "_body", noticed)

        async def body() -> AsyncIterator[bytes]:
            yield b"a"
            await reads.wait()
            if change == "revoked":
                gate.people.clear()
            elif change == "rights":
                gate.person("ann", "north", scopes=("admin",))
            if change == "tenant":
                await gate.h.send("identity.tenant.changed", TenantInfo("north", enabled=False))
            elif change != "nothing":
                await gate.h.send("identity.revoked", Revocation(1, "session", "session-ann", "north"))
            yield b"b"

        sent = {"cookie": f"__Host-rustcare={'ann'.ljust(43, '-')}", "content-type": "text/plain"}
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(
                gate.url + "/lab", headers={**sent, "sec-fetch-site": "same-origin"}, content=body()
            )
        assert answer.status_code == {"revoked": 401, "rights": 401, "tenant": 403, "nothing": 200}[change]
        assert len([one for one in gate.h.requested if one.subject.startswith("http.route")]) == (change == "nothing")


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
    async with gateway_plugin(LAB, row("GET", "/open", public=True), limits=limits) as gate:
        statuses = [(await gate.ask("GET", "/lab/7", who=f"guess{number}")).status_code for number in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert gate.lookups == 3
        # A page for everybody is one for those too who share an address with whoever guesses: as nobody known.
        gate.person("ann")
        gate.answer("/open", echo)
        answer = await gate.ask("GET", "/open", who="ann")
        assert (answer.status_code, answer.json()["principal"]) == (200, "")
        assert gate.lookups == 3


async def test_who_repeats_what_has_ended_does_not_guess() -> None:
    """One program that goes on with one credential, whatever its kind, is slowed down alone, and not who shares its address."""
    limits = {"failures": [{"by": "address", "rate": 3, "per": 60}]}
    key = {"x-api-key": "rck_gone"}
    for who, headers in (("gone", {}), ("", key)):
        async with gateway_plugin(LAB, limits=limits) as gate:
            gate.person("ann", scopes=("lab",))
            statuses = [(await gate.ask("GET", "/lab/7", who=who, headers=headers)).status_code for _ in range(6)]
            assert statuses == [401, 401, 401, 401, 429, 429]
            assert (await gate.ask("GET", "/lab/7", who="ann")).status_code == 200
            for number in range(3):
                await gate.ask("GET", "/lab/7", who=f"guess{number}")
            gate.person("ben", scopes=("lab",))
            assert (await gate.ask("GET", "/lab/7", who="ben")).status_code == 429


async def test_what_a_trusted_proxy_says_of_the_origin_is_looked_at() -> None:
    """Of several hosts the last is the proxy's own word, a client may have said the others; what is no host is refused."""
    async with gateway_plugin(row("GET", "/open", public=True), tenants=TWO, trusted_proxies=["127.0.0.1"]) as gate:
        gate.answer("/open", echo)
        fields = {"x-forwarded-host": "south.example, North.example.org.", "x-forwarded-proto": "http, https"}
        answer = await gate.ask("GET", "/open", headers=fields)
        assert (answer.json()["tenant"], answer.json()["base"]) == ("north", "https://north.example.org")
        answer = await gate.ask("GET", "/open", headers={"x-forwarded-host": "a/b"})
        assert (answer.status_code, code(answer)) == (400, "gateway.bad-request")


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


async def test_a_tenant_that_is_disabled_while_tenants_are_read_stays_closed() -> None:
    """The list may be older than the event that came while it was under way."""
    async with gateway_plugin(LAB, tenants=TWO) as gate:
        gate.person("ann", "north", scopes=("lab",))

        async def slow(message: Message[Any]) -> TenantsReply:
            await gate.h.send("identity.tenant.changed", TenantInfo("north", enabled=False))
            return TenantsReply(TWO)

        gate.h.answer(TENANTS, slow)
        await gate.h.plugin._load_tenants()  # type: ignore[attr-defined]
        assert (await gate.ask("GET", "/lab/7", who="ann")).status_code == 403
        gate.h.answer(TENANTS, TenantsReply(TWO))
        await gate.h.plugin._load_tenants()  # type: ignore[attr-defined]
        assert (await gate.ask("GET", "/lab/7", who="ann")).status_code == 200


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


async def test_where_a_decider_is_required_nothing_passes_without_one() -> None:
    """Neither before there is one nor after it has gone; what is for everybody is."""
    async with gateway_plugin(LAB, row("GET", "/open", public=True), authorization_required=True) as gate:
        gate.person("ann", scopes=("lab",))
        for _ in range(2):
            answer = await gate.ask("GET", "/lab/7", who="ann")
            assert (answer.status_code, code(answer)) == (503, "gateway.authorization-unavailable")
        gate.h.answer(CHECK, CheckReply(True))
        assert (await gate.ask("GET", "/lab/7", who="ann")).status_code == 200
        assert (await gate.ask("GET", "/open")).status_code == 200


async def test_every_answered_request_is_recorded_without_what_it_was_about() -> None:
    """In its tenant: when, how long, id, who, method, the route's path, status, session; no path and no query."""
    async with gateway_plugin(LAB, tenants=TWO) as gate:
        gate.person("ann", "north", scopes=("lab",))
        answer = await gate.ask("GET", "/lab/secret-number?name=secret", who="ann")
        await gate.ask("GET", "/secret-place")
        await gate.ask("GET", "/livez")
        (tenant, first), (other, second) = await gate.recorded()
        assert (tenant, other) == ("north", "default")
        when, took, *said = first.split(" ")
        assert said == [answer.headers["x-request-id"], "user/ann", "GET", "/lab/{id}", "200", "session-ann"]
        assert second.split(" ")[3:] == ["-", "GET", "-", "404", "-"]
        assert int(when) > 1.6e15
        assert 0 < int(took) < 20e6
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
        log = gate.h.plugin._access  # type: ignore[attr-defined]
        before = log.waiting
        for path in ("/a", "/nowhere"):
            await gate.ask("GET", path)
        # Whoever is refused, or asks for what is not there, does not fill the memory while the log is away.
        assert (log.waiting, log.lost) == (before, 4)
        gate.h.plugin._access._publish = gate.h.ctx.publish  # type: ignore[attr-defined]
        await gate.recorded()
        assert (await gate.ask("GET", "/a")).status_code == 200
    async with gateway_plugin(row("GET", "/a", public=True), access=access, on_audit_loss="continue") as gate:
        assert await statuses(gate) == [200, 200, 200, 200]
        assert gate.h.plugin._access.lost == 2  # type: ignore[attr-defined]
