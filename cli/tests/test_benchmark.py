"""The load generator against a real server, and the arithmetic of its figures."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_cli._errors import CommandFailed, ServerUnreachable
from rustcare_cli.benchmark.histogram import bars, buckets, percentile, summary, time_text
from rustcare_cli.benchmark.load import Load, Target, _complete

from cli.tests.helpers import rustcare, rustcare_json

#: What a server says to each path, on as many connections as come; `/close` closes, `/cut` ends in the middle.
SERVER = r"""
import asyncio

ANSWERS = {
    b"/ok": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"/empty": b"HTTP/1.1 204 No Content\r\n\r\n",
    b"/chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\nTrailer: 1\r\n\r\n",
    b"/early": b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"/close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    b"/limited": b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
    b"/cut": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nnot all of it",
    b"/nonsense": b"SSH-2.0-OpenSSH\r\n\r\n",
}
asked = 0


async def serve(reader, writer):
    global asked
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            break
        path = head.split()[1].partition(b"?")[0]
        asked += 1
        if path == b"/keyed" and b"authorization: bearer secret-1\r\n" not in head.lower():
            writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
            continue
        if path == b"/count":
            body = str(asked).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            continue
        writer.write(ANSWERS.get(path, ANSWERS[b"/ok"]))
        if path in (b"/close", b"/cut", b"/nonsense"):
            break
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
"""


@contextmanager
def running() -> Iterator[str]:
    """A server in a process of its own; its URL."""
    process = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of a server."""
    with running() as found:
        yield found


@pytest.mark.parametrize(
    ("path", "status"),
    [("/ok", 200), ("/empty", 204), ("/chunked", 200), ("/early", 200), ("/close", 200), ("/limited", 429)],
)
async def test_every_request_is_counted_once(url: str, path: str, status: int) -> None:
    """So many requests are sent as were asked for, each has one latency and one status, whatever form answers have."""
    outcome = await Load(Target(url, path), 500, 8).run()
    assert dict(outcome.statuses) == {status: 500}
    assert len(outcome.latencies) == outcome.requests == 500
    assert outcome.broken == 0
    assert outcome.seconds > 0
    assert 0 < outcome.rate == 500 / outcome.seconds
    assert all(taken > 0 for taken in outcome.latencies)


async def test_no_more_is_sent_than_was_asked(url: str) -> None:
    """The server has seen exactly as many requests as the load says that it sent."""

    async def count() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /count HTTP/1.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(head.split(b": ")[1].split(b"\r\n")[0]))
        writer.close()
        return int(body)

    before = await count()
    await Load(Target(url, "/ok"), 777, 16).run()
    assert await count() - before == 777 + 1


@pytest.mark.parametrize("path", ["/cut", "/nonsense"])
async def test_what_breaks_is_counted_as_broken(url: str, path: str) -> None:
    """An answer that ends in the middle, or is none, is a failed request and no latency; the load still ends."""
    outcome = await Load(Target(url, path), 40, 4).run()
    assert not outcome.latencies
    assert outcome.broken > 0


async def test_nobody_there() -> None:
    """Where nobody listens, that is told at once."""
    with pytest.raises(ServerUnreachable):
        await Load(Target("http://127.0.0.1:9", "/ok"), 10, 2).run()


def test_a_path_cannot_smuggle_headers() -> None:
    """A path or a credential with a line break, a blank or anything but printable ASCII is refused."""
    for path in ("/a b", "/a\r\nX: y", "a", "/ä", ""):
        with pytest.raises(CommandFailed):
            Target("http://localhost", path).bytes()
    with pytest.raises(CommandFailed):
        Target("http://localhost", "/", {"Authorization": "Bearer a\r\nX: y"}).bytes()


@given(st.binary(max_size=60), st.integers(0, 59))
def test_an_answer_is_complete_when_all_of_it_is_there(body: bytes, cut: int) -> None:
    """For every body, with a length or in chunks: a part of the answer is never taken for all of it, and the end is exact."""
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(body[at : at + 7]), body[at : at + 7]) for at in range(0, len(body), 7))
    for answer in (
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
    ):
        assert _complete(answer + b"HTTP/1.1 200") == (200, len(answer), False)
        assert _complete(answer[: min(cut, len(answer) - 1)]) is None


@given(st.lists(st.integers(1, 10**11), min_size=1, max_size=300))
def test_percentiles_are_values_that_occurred(values: list[int]) -> None:
    """A percentile is the nearest rank: of the values, at least that share is not above it, and less is below it."""
    ordered = sorted(values)
    for percent in (0.1, 50, 90, 99, 99.9, 100):
        found = percentile(ordered, percent)
        assert found in values
        assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-6
        assert sum(value < found for value in values) < len(values) * percent / 100 + 1e-6
    assert percentile(ordered, 100) == max(values)
    assert summary(ordered)["min"] == round(min(values) / 1000, 1)


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=300), st.integers(2, 30))
def test_every_latency_is_in_one_bucket(values: list[int], most: int) -> None:
    """The buckets hold all values, each under the first bound that it does not exceed, and are not too many."""
    ordered = sorted(values)
    found = buckets(ordered, most)
    assert sum(count for _, count in found) == len(values)
    assert len(found) <= most
    below = 0
    for bound, count in found:
        assert sum(below < value <= bound for value in values) == count
        below = bound


def test_bars() -> None:
    """The longest bar is as wide as there is room, nothing that occurred has none, the last line reaches 100 %."""
    lines = bars(sorted([900] * 1 + [1_400_000] * 1000), 20)
    assert "█" * 20 in lines[-1]
    assert "100.00 %" in lines[-1]
    assert lines[0].split()[2] == "▏"
    assert not any(line.strip() and "█" in line for line in bars([5, 5], 10, ascii_only=True))
    assert bars([]) == []
    assert [time_text(value) for value in (900, 1500, 2_500_000, 3e9)] == ["0.9 µs", "1.5 µs", "2.5 ms", "3 s"]


def test_the_command_measures_a_path(url: str, tmp_path: Path) -> None:
    """With a path and a credential in a file: the figures as JSON, warming up not among them, and as text with bars."""
    key = tmp_path / "key"
    key.write_text("secret-1\n")
    options = ("benchmark", "/keyed?x=1", "--url", url, "-r", "300", "-c", "4")
    found = rustcare_json(*options, "--key-file", key)
    (target,) = found["targets"]
    assert target["statuses"] == {"200": 300}
    assert target["requests"] == 300
    assert target["failed"] == 0
    assert target["requests_per_second"] == pytest.approx(300 / target["seconds"], rel=0.01)
    assert set(target["latency_us"]) == {"min", "mean", "p50", "p90", "p99", "p99.9", "max"}
    assert sum(item["count"] for item in target["histogram"]) == 300
    assert 0 < target["client_cpu_share"] <= 1.5
    assert "secret-1" not in json.dumps(found)
    shown = rustcare(*options, "--key-file", key)
    assert shown.returncode == 0
    assert "requests/s" in shown.stdout
    assert "client's share" in shown.stdout
    assert "100.00 %" in shown.stdout
    refused = rustcare_json(*options, "--token-file", tmp_path / "none", code=1)
    assert refused["error"]["code"] == "cli.failed"


def test_limits_are_told_as_what_they_are(url: str, tmp_path: Path) -> None:
    """Answers of 429 are counted as failed, and said to be the rate limit's."""
    key = tmp_path / "key"
    key.write_text("secret-1")
    shown = rustcare("benchmark", "/limited", "--url", url, "-r", "50", "--key-file", key)
    assert shown.returncode == 1, "where nothing is answered well, nothing was measured"
    assert "429: 50" in shown.stdout
    assert "rate limit" in shown.stdout


def test_a_credential_never_travels_in_the_clear(tmp_path: Path) -> None:
    """A key or token is sent over https alone, or to this machine: else it is refused before anything is."""
    key = tmp_path / "key"
    key.write_text("secret-1")
    for options, env in (
        (("--key-file", key), {}),
        (("--token-file", key), {}),
        ((), {"RUSTCARE_KEY": "secret-1"}),
    ):
        found = rustcare_json("benchmark", "--url", "http://192.0.2.1", *options, env=env, code=1)
        assert found["error"]["code"] == "cli.failed"
        assert "in the clear" in found["error"]["message"]
    key.write_text("\n")
    empty = rustcare_json("benchmark", "--url", "http://127.0.0.1:9", "--key-file", key, code=1)
    assert empty["error"]["address"] == str(key)


def test_a_data_folder_that_was_named_beats_the_environment(url: str, tmp_path: Path) -> None:
    """As for every other command: `--data` wins against RUSTCARE_URL, and both on the command line are one too many."""
    found = rustcare_json("benchmark", "--data", tmp_path, env={"RUSTCARE_URL": url}, code=1)
    assert found["error"]["code"] == "control.unavailable"
    assert rustcare("benchmark", "--data", tmp_path, "--url", url).returncode == 2
