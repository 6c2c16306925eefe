"""Requests over HTTP: known caller, counted, traced and on record, against a bare ASGI application on the same uvicorn.

The load is `wrk` where it is installed, else `rustcare benchmark`'s own (slower, so the floor is lower for both). All servers
run in processes of their own, one at a time is under load, in turn, so that all see the same machine.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rustcare_sdk.contracts.identity import LOGIN_PASSWORD

from tests.benchmarks.harness import Row

SECONDS = 4
ROUNDS = 3
CONNECTIONS = 16
MANY = 64  # connections, with which a server's loop has more to do at each turn


@dataclass(frozen=True)
class Figures:
    """What a load found: requests a second, and milliseconds of the median and the slowest of a hundred."""

    rate: float
    p50: float
    p99: float


@contextmanager
def process(*command: str) -> Iterator[dict[str, Any]]:
    """A server in a process of its own; what it says when it is ready."""
    with subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            line = running.stdout.readline()
            assert line, f"{command[0]} ended before it was ready"
            yield json.loads(line)
        finally:
            running.terminate()
            running.wait(60)


@contextmanager
def node(**options: Any) -> Iterator[dict[str, Any]]:
    """A kernel with its front door."""
    with (
        tempfile.TemporaryDirectory() as folder,
        process("tests.support.http_node", f"{folder}/data", json.dumps(options)) as said,
    ):
        yield {**said, "data": f"{folder}/data"}


def load(
    port: int, path: str = "/beds/7", seconds: int = SECONDS, connections: int = CONNECTIONS, **headers: str
) -> Figures:
    """Put one server under load."""
    url = f"http://127.0.0.1:{port}{path}"
    given = [f"{name}: {value}" for name, value in headers.items()]
    if shutil.which("wrk") is None:
        return _own_load(url, given, connections)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    for header in given:
        command += ["-H", header]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if found := re.search(r"Non-2xx or 3xx responses: (\d+)|Socket errors: (.*)", text):
        raise RuntimeError(f"the load on {path} met errors: {found[0]}")
    return Figures(
        float(_found(r"Requests/sec:\s+([\d.]+)", text)), _milliseconds("50%", text), _milliseconds("99%", text)
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, text
    return match[1]


def _milliseconds(share: str, text: str) -> float:
    value, unit = re.search(rf"{share}\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]  # wrk prints it
    return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def _own_load(url: str, headers: list[str], connections: int) -> Figures:
    command = [sys.executable, "-m", "rustcare_cli", "benchmark", "--json", "--requests", "20000"]
    command += ["--concurrency", str(connections), "--url", url.rpartition("/beds")[0], url.partition("/beds")[2]]
    for header in headers:
        command += ["--key", header.removeprefix("Authorization: Bearer ")] if header.startswith("Auth") else []
    (done,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["targets"]
    return Figures(done["requests_per_second"], done["latency_us"]["p50"] / 1000, done["latency_us"]["p99"] / 1000)


def _median(found: list[Figures]) -> Figures:
    return Figures(*(median(getattr(item, name) for item in found) for name in ("rate", "p50", "p99")))


def rows() -> Iterator[Row]:
    """Against the floor with one worker and two, over routes and tenants, and beside logins."""
    yield from _against_the_floor(1)
    yield from _against_the_floor(2)
    yield from _at_scale()
    yield from _beside_logins()


def _against_the_floor(workers: int) -> Iterator[Row]:
    with ExitStack() as stack:
        ours = stack.enter_context(node(workers=workers))
        raw = stack.enter_context(process("tests.support.http_floor", "raw", str(workers)))
        starlette = stack.enter_context(process("tests.support.http_floor", "starlette", str(workers)))
        token = {"Authorization": f"Bearer {ours['token']}"}
        key = {"Authorization": f"Bearer {ours['key']}"}
        found: dict[str, list[Figures]] = defaultdict(list)
        load(ours["port"], seconds=2, **token)  # first requests look things up
        for _ in range(ROUNDS):
            found["raw"].append(load(raw["port"]))
            found["token"].append(load(ours["port"], **token))
            found["starlette"].append(load(starlette["port"]))
            found["key"].append(load(ours["port"], **key))
            if workers == 1:
                found["raw, many"].append(load(raw["port"], connections=MANY))
                found["token, many"].append(load(ours["port"], connections=MANY, **token))
                found["starlette, many"].append(load(starlette["port"], connections=MANY))
    floor, peer, mine = _median(found["raw"]), _median(found["starlette"]), _median(found["token"])
    many = f"{workers} worker{'s' if workers > 1 else ''}"
    note = f"p50 {mine.p50:.2f} p99 {mine.p99:.2f} ms; bare {floor.p50:.2f} {floor.p99:.2f} ms"
    aims = (0.6, 1.0) if workers == 1 else (None, None)
    yield Row(
        f"request with a token, {many}, against a bare ASGI route", mine.rate, floor.rate, "/s", "rate", aims[0], note
    )
    note = f"Starlette p50 {peer.p50:.2f} p99 {peer.p99:.2f} ms"
    yield Row(f"the same, {many}, against a bare Starlette route", mine.rate, peer.rate, "/s", "rate", aims[1], note)
    if workers == 1:
        floor, peer, mine = (_median(found[f"{name}, many"]) for name in ("raw", "starlette", "token"))
        what = f"the same with {MANY} connections, against a bare"
        note = f"p50 {mine.p50:.2f} p99 {mine.p99:.2f} ms; bare {floor.p50:.2f} {floor.p99:.2f} ms"
        yield Row(f"{what} ASGI route", mine.rate, floor.rate, "/s", "rate", aims[0], note)
        yield Row(f"{what} Starlette route", mine.rate, peer.rate, "/s", "rate", aims[1])
    other, floor = _median(found["key"]), _median(found["raw"])
    yield Row(f"request with an API key, {many}, against a bare ASGI route", other.rate, floor.rate, "/s", "rate")


def _at_scale() -> Iterator[Row]:
    """What a request costs with more routes and more tenants, against one of each."""
    with ExitStack() as stack:
        few = stack.enter_context(node())
        for name, options in (
            ("100 routes", {"routes": 100}),
            ("10,000 routes", {"routes": 10_000}),
            ("100 tenants", {"tenants": 100}),
            ("10,000 tenants", {"tenants": 10_000}),
        ):
            with node(**options) as many:
                one, more = [], []
                for _ in range(ROUNDS):
                    one.append(load(few["port"], Authorization=f"Bearer {few['key']}").rate)
                    more.append(load(many["port"], Authorization=f"Bearer {many['key']}").rate)
            yield Row(f"one request, {name}, against one of each", 1e6 / median(more), 1e6 / median(one), "µs")


def _beside_logins() -> Iterator[Row]:
    """The slowest of a hundred other requests while people sign in with argon2id, against without."""
    with node(user=True) as said:
        token = {"Authorization": f"Bearer {said['token']}"}
        alone, beside = [], []
        for _ in range(ROUNDS):
            alone.append(load(said["port"], **token).p99)
            with ThreadPoolExecutor(1) as pool:
                logins = pool.submit(_logins, said)
                beside.append(load(said["port"], **token).p99)
                done = logins.result()
    yield Row("p99 of others while people sign in", median(beside), median(alone), "ms", aim=2.0, note=f"{done} logins")


def _logins(said: dict[str, Any]) -> int:
    """Sign in again and again for as long as a load lasts; how often."""
    from rustcare_kernel.control import ControlClient

    asked = {"name": said["user"], "password": said["password"], "client": {"address": "127.0.0.1", "agent": "bench"}}
    count, until = 0, time.monotonic() + SECONDS
    with ControlClient(Path(said["data"])) as control:
        while time.monotonic() < until:
            control.call("bus.request", service=LOGIN_PASSWORD, data=asked)
            count += 1
    return count
