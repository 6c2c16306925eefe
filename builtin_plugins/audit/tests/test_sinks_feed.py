"""Sinks at work: at least once, in order, nothing lost, and nobody waits for them."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme
from rustcare_plugin_audit.plugin import Audit
from rustcare_plugin_audit.sinks import feed as feeds
from rustcare_plugin_audit.sinks.errors import SinkFailed, SinkInvalid
from rustcare_plugin_audit.sinks.feed import backoff
from rustcare_sdk import Message
from rustcare_sdk.contracts import audit, fhir
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.keyring import MemoryKeyring
from tests.support.syslog_server import SyslogServer, parse

Make = Callable[..., PluginHarness]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other at once."""
    monkeypatch.setattr(feeds, "FIRST", 0.001)
    monkeypatch.setattr(feeds, "LONGEST", 0.02)


@pytest.fixture
def keyring() -> MemoryKeyring:
    """The keys."""
    return MemoryKeyring()


@pytest.fixture
def make(keyring: MemoryKeyring) -> Make:
    """A log with these sinks; the keyring is the same for all."""

    def new(*sinks: dict[str, Any]) -> PluginHarness:
        double = harness(Audit, config={"origin": "log.example/audit", "sinks": list(sinks)})
        keyring.attach(double)
        return double

    return new


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs certificates."""
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """The authority's certificate, and a client's certificate with its key, as files."""
    found = {name: str(tmp_path / f"{name}.pem") for name in ("ca", "certificate", "key")}
    client = authority.issue_cert("sink@example.org")
    authority.cert_pem.write_to_path(found["ca"])
    client.cert_chain_pems[0].write_to_path(found["certificate"])
    client.private_key_pem.write_to_path(found["key"])
    return found


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[SyslogServer]:
    """A TLS receiver that wants a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with SyslogServer(context) as found:
        yield found


@pytest.fixture
def tls_sink(server: SyslogServer, files: dict[str, str]) -> dict[str, Any]:
    """A sink to it."""
    return {"name": "siem", "format": "ocsf", "to": "syslog", "host": "localhost", "port": server.port, "tls": files}


@pytest_asyncio.fixture
async def h(make: Make, tls_sink: dict[str, Any]) -> AsyncIterator[PluginHarness]:
    """A log with that sink."""
    async with make(tls_sink) as double:
        yield double


async def use(h: PluginHarness, *numbers: int, settle: bool = True, outcome: str = "success", **fields: Any) -> None:
    """Reads of patients, recorded together and settled."""
    attempts = [
        audit.Attempt(
            f"{number:032x}",
            1_800_000_000_000_000 + number,
            "use",
            capability="bus:request@fhir.read",
            subject="fhir.read",
            plugin="acme.app",
            principal="dr.jekyll",
            data=fhir.ReadRequest("Patient", f"p{number}"),
            **fields,
        )
        for number in numbers
    ]
    reply: audit.RecordReply = await h.request(audit.RECORD, audit.RecordRequest(attempts))
    if settle:
        await done(h, dict(zip(numbers, reply.indices, strict=True)), outcome)


async def done(h: PluginHarness, places: dict[int, int], outcome: Any = "success") -> None:
    """Outcomes of attempts at these places."""
    code = "fhir.not-found" if outcome == "failure" else ""
    rows = [audit.Outcome(f"{number:032x}", place, outcome, code) for number, place in places.items()]
    await h.request(audit.SETTLE, audit.SettleRequest(rows))


async def status(h: PluginHarness) -> list[audit.SinkStatus]:
    """What the service says."""
    reply: audit.SinksReply = await h.request(audit.SINKS, audit.SinksRequest())
    return reply.sinks


async def until(h: PluginHarness, ready: Callable[[audit.SinkStatus], bool]) -> audit.SinkStatus:
    """Return when the first sink is so."""
    async with asyncio.timeout(30):
        while True:
            changed = h.plugin.sinks.feeds[0].changed
            found = (await status(h))[0]
            if ready(found):
                return found
            await changed.wait()


def caught_up(one: audit.SinkStatus) -> bool:
    """Nothing is left to send."""
    return one.lag == 0


def numbers_of(messages: list[bytes]) -> list[int]:
    """Which reads were received."""
    return [int(json.loads(parse(one).text)["metadata"]["original_event_uid"], 16) for one in messages]


async def test_events_arrive_over_tls_in_order(h: PluginHarness, server: SyslogServer) -> None:
    """Each settled attempt arrives once, in order, as a message that an independent parser reads, over verified TLS."""
    await use(h, *range(1, 40))
    found = await until(h, caught_up)
    assert numbers_of(server.messages) == list(range(1, 40))
    assert (found.sent, found.missed, found.last_error, found.attempts) == (39, 0, "", 0)
    first = json.loads(parse(server.messages[0]).text)
    assert first["actor"] == {"app_name": "acme.app", "user": {"name": "dr.jekyll", "uid": "dr.jekyll"}}
    assert "p1" not in [one.get("name") for one in first["resources"]]


async def test_an_attempt_is_told_with_its_outcome(h: PluginHarness, server: SyslogServer) -> None:
    """An attempt without an outcome is not sent; the outcome, when it comes, brings it."""
    await use(h, 1, settle=False)
    await use(h, 2, outcome="failure")
    await until(h, caught_up)
    assert numbers_of(server.messages) == [2]
    assert json.loads(parse(server.messages[0]).text)["status_code"] == "fhir.not-found"
    await done(h, {1: 0})
    await until(h, lambda one: one.sent == 2 and caught_up(one))
    assert numbers_of(server.messages) == [2, 1]


async def test_a_receiver_that_goes_away_loses_nothing(h: PluginHarness, server: SyslogServer) -> None:
    """While the receiver is down, appends go on and the failure shows; when it is back, everything arrives in order."""
    await use(h, 1, 2)
    await until(h, caught_up)
    server.down()
    for number in range(3, 30):
        await use(h, number)
    found = await until(h, lambda one: one.attempts > 1)
    assert "Connection refused" in found.last_error
    assert found.lag > 50
    server.up()
    await until(h, caught_up)
    assert numbers_of(server.messages) == list(range(1, 30))
    assert any(entry.event == "sink-recovered" for entry in h.logs)


async def test_a_receiver_that_resets_has_not_received(h: PluginHarness, server: SyslogServer) -> None:
    """A connection that the receiver cuts before it has read all of it confirms nothing: the batch is sent again."""
    server.rude = True
    await use(h, *range(1, 20))
    found = await until(h, lambda one: one.attempts > 2)
    assert found.sent == 0
    server.rude = False
    await until(h, caught_up)
    assert numbers_of(server.messages) == list(range(1, 20))


async def test_a_plain_receiver_that_resets_has_not_received(make: Make) -> None:
    """The same without TLS."""
    with SyslogServer() as server:
        server.rude = True
        sink = {"name": "p", "format": "text", "to": "syslog", "host": "127.0.0.1", "port": server.port, "plain": True}
        async with make(sink) as h:
            await use(h, 1, 2, 3)
            await until(h, lambda one: one.attempts > 2)
            server.rude = False
            await until(h, caught_up)
            assert [parse(one).data["audit@32473"]["index"] for one in server.messages] == ["0", "1", "2"]
            assert all(parse(one).bom for one in server.messages)


async def test_a_certificate_by_a_stranger_is_refused(make: Make, tls_sink: dict[str, Any], tmp_path: Path) -> None:
    """A receiver whose certificate the configured authority did not sign gets nothing."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    async with make({**tls_sink, "tls": {"ca": str(other)}}) as h:
        await use(h, 1)
        found = await until(h, lambda one: one.attempts > 0)
        assert "certificate was not accepted" in found.last_error
        assert found.sent == 0


async def test_a_certificate_for_another_name_is_refused(make: Make, tls_sink: dict[str, Any]) -> None:
    """The receiver's certificate must be for the host's name."""
    tls = {**tls_sink["tls"], "name": "siem.example.org"}
    async with make({**tls_sink, "tls": tls}) as h:
        await use(h, 1)
        found = await until(h, lambda one: one.attempts > 0)
        assert "certificate was not accepted" in found.last_error


async def test_without_the_clients_certificate_nothing_is_confirmed(make: Make, tls_sink: dict[str, Any]) -> None:
    """A receiver that wants a client certificate and gets none confirms nothing."""
    async with make({**tls_sink, "tls": {"ca": tls_sink["tls"]["ca"]}}) as h:
        await use(h, 1)
        found = await until(h, lambda one: one.attempts > 1)
        assert found.sent == 0


async def test_a_restart_goes_on_where_it_was(make: Make, tls_sink: dict[str, Any], server: SyslogServer) -> None:
    """The cursor is durable: another process sends what is left, and nothing that had arrived."""
    async with make(tls_sink) as h:
        await use(h, 1, 2, 3)
        await until(h, caught_up)
        server.down()
        await use(h, 4, 5)
        await h.restart()
        server.up()
        await until(h, caught_up)
        assert numbers_of(server.messages) == [1, 2, 3, 4, 5]


async def test_batches_end_anywhere_in_outcomes(make: Make, tls_sink: dict[str, Any], server: SyslogServer) -> None:
    """One entry may hold more outcomes than a batch: the cursor is a row in it."""
    async with make({**tls_sink, "batch": 7}) as h:
        await use(h, *range(1, 101))
        found = await until(h, caught_up)
        assert numbers_of(server.messages) == list(range(1, 101))
        assert found.sent == 100
        assert server.connections == 15


async def test_a_silent_receiver_slows_nobody(make: Make, tmp_path: Path) -> None:
    """While one sink's receiver accepts and never reads, the log is written and another sink gets everything."""
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts, nobody reads
        port = silent.getsockname()[1]
        slow = {"name": "slow", "format": "text", "to": "syslog", "host": "127.0.0.1", "port": port, "plain": True}
        quick = {"name": "quick", "format": "entry", "to": "file", "path": str(tmp_path / "a.jsonl")}
        async with make(quick, {**slow, "timeout": 20}) as h:
            for number in range(1, 40):
                await use(h, number)
            await until(h, caught_up)
            assert len((tmp_path / "a.jsonl").read_text().splitlines()) == 39
            assert (await status(h))[1].sent == 0


async def test_personal_fields_are_opened_only_where_it_is_said(
    make: Make, keyring: MemoryKeyring, tmp_path: Path
) -> None:
    """`none` has pseudonyms only; `opened` has names; a shredded patient stays a pseudonym in both."""
    files = {name: tmp_path / name for name in ("none", "opened")}
    sinks = [{"name": n, "format": "entry", "to": "file", "path": str(p), "personal": n} for n, p in files.items()]
    async with make(*sinks) as h:
        await use(h, 1, 2, 3, settle=False)
        keyring.shred("patient/p3")
        await done(h, {1: 0, 2: 1, 3: 2})
        async with asyncio.timeout(30):
            while not all(caught_up(one) for one in await status(h)):
                await asyncio.wait(
                    [asyncio.ensure_future(feed.changed.wait()) for feed in h.plugin.sinks.feeds],
                    return_when=asyncio.FIRST_COMPLETED,
                )
    rows = {name: [json.loads(line) for line in path.read_text().splitlines()] for name, path in files.items()}
    assert [one["about"][0].get("patient") for one in rows["opened"]] == ["Patient/p1", "Patient/p2", None]
    assert [one["about"][0]["state"] for one in rows["opened"]] == ["open", "open", "shredded"]
    assert all("patient" not in one["about"][0] for one in rows["none"])
    assert "Patient/p" not in files["none"].read_text()
    assert [one["about"][0]["pseudonym"] for one in rows["none"]] == [
        one["about"][0]["pseudonym"] for one in rows["opened"]
    ]


async def test_audit_events_are_stored_by_the_service(make: Make) -> None:
    """A sink to `fhir` creates AuditEvents; what fails is tried again from there, nothing twice that was stored."""
    stored: list[dict[str, Any]] = []
    failing = [True]

    def create(message: Message[fhir.CreateRequest]) -> fhir.ResourceReply:
        if len(stored) == 2 and failing:
            failing.pop()
            raise SinkFailed("the store is busy")
        stored.append(message.data.resource)
        return fhir.ResourceReply(message.data.resource, "1", True)

    double = make({"name": "store", "format": "fhir", "to": "fhir"})
    double.answer(fhir.CREATE, create)
    async with double as h:
        await use(h, 1, 2, 3, 4)
        found = await until(h, caught_up)
        assert found.sent == 4
    assert [one["entity"][-1]["what"]["identifier"]["value"] for one in stored] == ["0", "1", "2", "3"]
    assert all("id" not in one for one in stored)


async def test_begin_now_tells_only_what_comes(make: Make, tmp_path: Path) -> None:
    """A new sink with `begin: now` starts at the log's end; one with `first` has everything there is."""
    sinks = [
        {"name": n, "format": "entry", "to": "file", "path": str(tmp_path / n), "begin": n} for n in ("now", "first")
    ]
    async with make() as h:
        await use(h, 1, 2)
        await h.restart({**h.config, "sinks": sinks})
        async with asyncio.timeout(30):
            while (await status(h))[1].sent < 2:
                await h.plugin.sinks.feeds[1].changed.wait()
        await until(h, caught_up)
        await use(h, 3)
        await until(h, lambda one: one.sent == 1)
        assert len((tmp_path / "now").read_text().splitlines()) == 1
        assert len((tmp_path / "first").read_text().splitlines()) >= 2


async def test_a_sink_may_be_of_one_tenant(make: Make, tmp_path: Path) -> None:
    """With `tenants`, a sink sends these tenants' entries and no other's."""
    path = tmp_path / "a.jsonl"
    sink = {"name": "one", "format": "entry", "to": "file", "path": str(path), "tenants": ["ward"]}
    async with make(sink) as h:
        await use(h, 1, tenant="ward")
        await use(h, 2, tenant="clinic")
        await use(h, 3, tenant="ward")
        await until(h, caught_up)
    assert [json.loads(line)["entry"]["which"]["tenant"] for line in path.read_text().splitlines()] == ["ward"] * 2


def test_waiting_grows_and_is_random() -> None:
    """Full jitter: anything from nothing to a bound that doubles, up to the longest."""
    bounds = [backoff(attempt, lambda low, high: high) for attempt in range(1, 12)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == feeds.LONGEST
    assert backoff(3, lambda low, high: low) == 0


@pytest.mark.parametrize(
    ("row", "address"),
    [
        ({"name": "a b", "format": "text", "to": "file", "path": "/x"}, r"sinks\[0\]\.name"),
        ({"name": "a", "format": "ocsf", "to": "fhir"}, r"sinks\[0\]\.format"),
        ({"name": "a", "format": "text", "to": "syslog"}, r"sinks\[0\]\.host"),
        ({"name": "a", "format": "text", "to": "file", "path": "x"}, r"sinks\[0\]\.path"),
        ({"name": "a", "format": "fhir", "to": "http", "url": "http://me:secret@x/"}, r"sinks\[0\]\.url"),
        ({"name": "a", "format": "text", "to": "pigeon"}, r"sinks\[0\]"),
        ({"name": "a", "format": "text", "to": "file", "path": "/x", "batch": 0}, r"sinks\[0\]\.batch"),
    ],
)
async def test_a_wrong_configuration_is_refused(make: Make, row: dict[str, Any], address: str) -> None:
    """What is wrong with a sink is named with its address; a password is never repeated."""
    with pytest.raises(SinkInvalid, match=address) as caught:
        async with make(row):
            pass
    assert "secret" not in str(caught.value)
