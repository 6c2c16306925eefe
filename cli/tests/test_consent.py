"""What a package asks for, as an operator sees it before they consent."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_cli._consent import show_request
from rustcare_cli._grouped import FEW, grouped, reaches_far

from cli.tests.helpers import ENVIRONMENT, command, rustcare

FAR = [
    "net:connect@*:*",
    "secret:reveal@acme.pin",
    "bus:request@fhir.>",
    "bus:request@kernel.control",
    "fs:read@/data/*",
]


def asked(*uses: str, availability: str = "required") -> list[dict[str, Any]]:
    """Capabilities as an inspection has them."""
    return [{"use": use, "reason": f"offers: {use}", "availability": availability} for use in uses]


def test_what_reaches_far_is_told_from_what_is_its_own() -> None:
    """Network, files, secrets, whole subjects, the kernel's control and other people's names; also what is not known."""
    for use in [*FAR, "bus:originate@*", "bus:subscribe@>", "bus:publish@*.told", "http:route@* /*", "net:listen@*:80"]:
        assert reaches_far(use), use
    assert reaches_far("robot:move@arm")
    for use in ["db:write@*", "clock:read", "bus:serve@lab.find", "bus:publish@lab.*", "http:route@GET /lab/*"]:
        assert not reaches_far(use), use


def test_what_is_alike_is_one_line_with_its_count_and_reasons() -> None:
    """A group has what its names have in common, how many there are, how many are optional, and the first reasons."""
    serves = asked(*(f"bus:serve@lab.order.{name}" for name in ("make", "read", "list", "sign", "end")))
    optional = asked("bus:serve@lab.order.print", availability="optional")
    found = grouped([*serves, *optional, *asked("clock:read")])
    assert [(item.use, item.count, item.optional) for item in found] == [
        ("clock:read", 1, 0),
        ("bus:serve@lab.order.…", 6, 1),
    ]
    assert found[1].reason == (
        "offers: bus:serve@lab.order.make; bus:serve@lab.order.read; bus:serve@lab.order.list; 3 more"
    )


WORD = st.sampled_from(["lab", "order", "read", "account", "login", "x"])
USES = st.one_of(
    st.tuples(st.sampled_from(["serve", "request", "publish"]), st.lists(WORD, min_size=1, max_size=4)).map(
        lambda found: f"bus:{found[0]}@{'.'.join(found[1])}"
    ),
    st.lists(WORD, max_size=3).map(lambda words: f"http:route@GET /{'/'.join(words)}"),
    st.sampled_from([*FAR, "db:read@*", "clock:read"]),
)


@given(st.lists(USES, max_size=60, unique=True))
def test_nothing_is_left_out(uses: list[str]) -> None:
    """Every capability is counted in exactly one group; each that reaches far stands by itself, before the others."""
    found = grouped(asked(*uses))
    assert sum(item.count for item in found) == len(uses)
    far = [use for use in uses if reaches_far(use)]
    assert [item.use for item in found[: len(far)]] == far
    assert not any(item.far for item in found[len(far) :])
    for item in found:
        if item.count == 1:
            assert item.use in uses


@pytest.mark.parametrize("count", [FEW, FEW + 1])
def test_few_are_shown_one_by_one(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Groups are for what would be too long to read; `full` shows each of those too."""
    capabilities = asked(*(f"bus:serve@lab.service-{number}" for number in range(count)))
    inspection = {
        "id": "acme.lab",
        "version": "1",
        "digest": "sha256:0",
        "runtimes": ["python"],
        "capabilities": capabilities,
    }
    whole = show_request(inspection, full=False)
    text = capsys.readouterr().out
    assert whole == (count <= FEW) == all(item["use"] in text for item in capabilities)
    assert show_request(inspection, full=True)
    text = capsys.readouterr().out
    assert all(item["use"] in text for item in capabilities)


def package_that_asks_for_much(folder: Path) -> Path:
    """A plugin with more capabilities than are shown one by one."""
    assert rustcare("plugin", "new", "acme.lab", "--into", folder).returncode == 0
    manifest = folder / "src/acme_lab/plugin.toml"
    more = "".join(f'\n[[capability]]\nuse = "kv:read@lab.{number}"\nreason = "reads"\n' for number in range(5))
    more += "".join(
        f'\n[[capability]]\nuse = "bus:publish@lab.told.n{number}"\nreason = "tells"\n' for number in range(30)
    )
    manifest.write_text(manifest.read_text() + more)
    return folder


def test_who_is_asked_can_see_each_before_they_answer(tmp_path: Path) -> None:
    """On a terminal the answer `l` lists every capability and asks again; anything but yes changes nothing."""
    source = package_that_asks_for_much(tmp_path / "lab")
    data = tmp_path / "data"
    up = subprocess.Popen(command("up", "--bare", "--json", "--data", data), env=ENVIRONMENT, stdout=subprocess.PIPE)
    assert up.stdout is not None
    try:
        assert up.stdout.readline()
        main, end = pty.openpty()
        process = subprocess.Popen(
            command("plugin", "install", source, "--data", data),
            stdin=end, stdout=end, stderr=end, env={**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "100"},
        )  # fmt: skip
        os.close(end)
        guard = threading.Timer(60, process.kill)
        guard.start()
        seen = _read_until(main, "l to list each]: ")
        assert "bus:publish@lab.told.…" in seen
        assert "bus:publish@lab.told.n29" not in seen
        os.write(main, b"l\n")
        assert "bus:publish@lab.told.n29" in _read_until(main, "l to list each]: ")
        os.write(main, b"no\n")
        assert "cli.consent-missing" in _read_until(main, "")
        assert process.wait(60) == 1
        guard.cancel()
        os.close(main)
        assert "acme.lab" not in rustcare("plugin", "list", "--data", data).stdout
        told = rustcare("plugin", "install", source, "--data", data)
        assert told.returncode == 1
        assert "--full" in told.stderr
        assert "bus:publish@lab.told.n29" in rustcare("plugin", "install", source, "--full", "--data", data).stdout
    finally:
        up.terminate()
        up.wait(60)
        up.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_is_asked_can_be_stopped(number: signal.Signals, tmp_path: Path) -> None:
    """Signals end `up` while it waits for an answer, though its event loop has taken them for itself."""
    main, end = pty.openpty()
    line = command("up", "--http", "127.0.0.1:0", "--data", tmp_path / "data")
    process = subprocess.Popen(line, stdin=end, stdout=end, stderr=end, env={**ENVIRONMENT, "TERM": "xterm"})
    os.close(end)
    guard = threading.Timer(60, process.kill)
    guard.start()
    _read_until(main, "l to list each]: ")
    while process.poll() is None:  # one that comes just before Python waits for the answer is seen when it has come
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(1)
    assert process.returncode not in (0, -signal.SIGKILL)
    guard.cancel()
    os.close(main)


def _read_until(handle: int, end: str) -> str:
    """What a terminal shows, until it ends with that text; all of it when there is none."""
    seen = b""
    while not end or not seen.decode("utf-8", "replace").rstrip("\r\n").endswith(end):
        try:
            piece = os.read(handle, 65536)
        except OSError:  # the other side is gone
            piece = b""
        if not piece:
            assert not end, seen.decode("utf-8", "replace")
            break
        seen += piece
    return seen.decode("utf-8", "replace")
