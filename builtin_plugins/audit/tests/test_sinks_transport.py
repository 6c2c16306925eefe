"""Transports alone: a file that a crash has torn, rotation, and a FHIR server that is busy, refuses, or hangs up."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_audit.entry import Entry, What
from rustcare_plugin_audit.sinks import fhir, lines
from rustcare_plugin_audit.sinks.errors import SinkFailed, SinkRefused
from rustcare_plugin_audit.sinks.event import Event, Record
from rustcare_plugin_audit.sinks.settings import SinkSettings
from rustcare_plugin_audit.sinks.transport import FileSink, HttpSink


def record(number: int, *, as_fhir: bool = False) -> Record:
    """A record of an event."""
    entry = Entry(v=1, id=f"{number:032x}", time=number, kind="use", what=What("read", "bus:request@fhir.read"))
    event = Event(number, entry, bytes(32))
    return (fhir.records if as_fhir else lines.entry_records)(event)[0]


def file_sink(path: Path, **fields: Any) -> FileSink:
    """A sink to a file."""
    return FileSink(SinkSettings(name="f", format="entry", to="file", path=str(path), **fields))


def indices(path: Path) -> list[int]:
    """Which records a file holds."""
    return [json.loads(line)["index"] for line in path.read_text().splitlines()]


@given(cut=st.integers(1, 400))
def test_a_torn_line_is_taken_away(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Whatever a crash leaves of the last line is gone before the next is written; whole lines stay."""
    path = tmp_path_factory.mktemp("sink") / "a.jsonl"

    async def run() -> None:
        sink = file_sink(path)
        await sink.deliver([record(1), record(2), record(3)])
        data = path.read_bytes()
        last = len(record(3).text) + 1
        path.write_bytes(data[: -min(cut, last)])
        await sink.deliver([record(3), record(4)])
        await sink.close()

    asyncio.run(run())
    assert indices(path) == [1, 2, 3, 4]


async def test_a_long_unfinished_line_is_taken_away(tmp_path: Path) -> None:
    """Also one that is longer than what is read at once."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"index":1}\n' + b"x" * 200_000)
    sink = file_sink(path)
    await sink.deliver([record(2)])
    await sink.close()
    assert indices(path) == [1, 2]


async def test_files_rotate_by_size(tmp_path: Path) -> None:
    """A full file gets the next number; the oldest beyond `keep` go; no record is split or lost while it is kept."""
    path = tmp_path / "a.jsonl"
    sink = file_sink(path, rotate=3 * len(record(1).text), keep=2)
    for number in range(1, 10):
        await sink.deliver([record(number)])
    await sink.close()
    names = sorted(os.listdir(tmp_path))
    assert names == ["a.jsonl", "a.jsonl.000003", "a.jsonl.000004"]
    assert [number for name in [*names[1:], names[0]] for number in indices(tmp_path / name)] == [5, 6, 7, 8, 9]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A path that is a symbolic link is refused: nobody shall have events appended to another file."""
    (tmp_path / "other").write_text("keep\n")
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "other")
    sink = file_sink(tmp_path / "a.jsonl")
    with pytest.raises(SinkFailed):
        await sink.deliver([record(1)])
    await sink.close()
    assert (tmp_path / "other").read_text() == "keep\n"


class FhirServer:
    """Stores what is posted. `answers`: statuses to give first, 0 to hang up instead. `tokens`: what clients showed."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.stored: list[dict[str, Any]] = []
        self.answers: list[int] = []
        self.tokens: list[str | None] = []
        self.connections = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                outer.connections += 1

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.tokens.append(self.headers["Authorization"])
                status = outer.answers.pop(0) if outer.answers else 201
                if not status:
                    self.close_connection = True
                    return
                assert self.path == "/base/AuditEvent"
                assert self.headers["Content-Type"].startswith("application/fhir+json")
                if status == 201:
                    outer.stored.append(body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False
        self.port = self.server.server_address[1]
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        """Stop."""
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[FhirServer]:
    """A FHIR server over HTTP."""
    found = FhirServer()
    yield found
    found.close()


def http_sink(url: str, **fields: Any) -> HttpSink:
    """A sink to a FHIR server."""
    return HttpSink(SinkSettings(name="h", format="fhir", to="http", url=url, **fields))


def numbers(server: FhirServer) -> list[int]:
    """Which events a server has stored."""
    return [int(one["entity"][-1]["what"]["identifier"]["value"]) for one in server.stored]


async def test_audit_events_are_posted_over_one_connection(server: FhirServer, tmp_path: Path) -> None:
    """One POST each, without an id, over a connection that is kept, with the token of the file."""
    (tmp_path / "token").write_text("t0ken\n")
    sink = http_sink(f"http://127.0.0.1:{server.port}/base/", token=str(tmp_path / "token"))
    assert await sink.deliver([record(n, as_fhir=True) for n in range(5)]) == 5
    assert await sink.deliver([record(5, as_fhir=True)]) == 1
    await sink.close()
    assert numbers(server) == [0, 1, 2, 3, 4, 5]
    assert server.connections == 1
    assert set(server.tokens) == {"Bearer t0ken"}
    assert all("id" not in one for one in server.stored)


async def test_what_was_stored_is_told_exactly(server: FhirServer) -> None:
    """A failure in the middle of a batch says how many were stored; the first one's raises."""
    sink = http_sink(f"http://127.0.0.1:{server.port}/base")
    server.answers = [201, 201, 503]
    batch = [record(n, as_fhir=True) for n in range(5)]
    assert await sink.deliver(batch) == 2
    server.answers = [503]
    with pytest.raises(SinkFailed, match="got 503"):
        await sink.deliver(batch[2:])
    assert await sink.deliver(batch[2:]) == 3
    await sink.close()
    assert numbers(server) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("status", "error"), [(422, SinkRefused), (400, SinkRefused), (401, SinkFailed), (500, SinkFailed)]
)
async def test_refusals_are_told_from_failures(server: FhirServer, status: int, error: type[SinkFailed]) -> None:
    """What the server will not have as it is has a code of its own, and names the entry."""
    server.answers = [status]
    sink = http_sink(f"http://127.0.0.1:{server.port}/base")
    with pytest.raises(SinkFailed, match=rf"index 7.*got {status}") as caught:
        await sink.deliver([record(7, as_fhir=True)])
    await sink.close()
    assert type(caught.value) is error


async def test_a_server_that_hangs_up_is_tried_again(server: FhirServer) -> None:
    """A connection that the server closed while it was idle is opened again at once."""
    sink = http_sink(f"http://127.0.0.1:{server.port}/base")
    assert await sink.deliver([record(0, as_fhir=True)]) == 1
    server.answers = [0]
    assert await sink.deliver([record(1, as_fhir=True)]) == 1
    server.answers = [0, 0]
    with pytest.raises(SinkFailed):
        await sink.deliver([record(2, as_fhir=True)])
    await sink.close()
    assert numbers(server) == [0, 1]


async def test_https_is_verified(tmp_path: Path) -> None:
    """The server's certificate is checked against the configured authority and the host's name."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    server = FhirServer(context)
    try:
        good = http_sink(f"https://localhost:{server.port}/base", ca=str(tmp_path / "ca.pem"))
        assert await good.deliver([record(0, as_fhir=True)]) == 1
        await good.close()
        for host, ca in (("localhost", "other.pem"), ("127.0.0.1", "ca.pem")):
            bad = http_sink(f"https://{host}:{server.port}/base", ca=str(tmp_path / ca))
            with pytest.raises(SinkFailed, match="certificate was not accepted"):
                await bad.deliver([record(1, as_fhir=True)])
            await bad.close()
    finally:
        server.close()
    assert numbers(server) == [0]


async def test_closing_ends_what_is_under_way() -> None:
    """A sink that waits for a receiver which never answers ends when it is closed, at once and with its thread."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        sink = http_sink(f"http://127.0.0.1:{silent.getsockname()[1]}/base", timeout=300)
        waiting = asyncio.create_task(sink.deliver([record(0, as_fhir=True)]))
        peer = await asyncio.to_thread(silent.accept)
        async with asyncio.timeout(10):
            await sink.close()
            with pytest.raises(SinkFailed):
                await waiting
        peer[0].close()
    assert not any("audit-sink-h" in thread.name for thread in threading.enumerate())
