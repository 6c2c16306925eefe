"""`rustcare up` with its front door: what a new data folder gets, where it is reached, how the first administrator is made."""

from __future__ import annotations

import http.client
import os
import pty
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from rustcare_cli.serving import BUILT_INS, FIRST, listening_at, shown_url
from rustcare_kernel.control import ControlClient
from typer import BadParameter

from cli.tests.helpers import ENVIRONMENT, command, running_kernel, rustcare, rustcare_json
from tests.support.administrator import make_administrator


def get(url: str) -> tuple[int, dict[str, str], bytes]:
    """A request: status, header fields, body."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection("127.0.0.1", parts.port, timeout=60)
    connection.request("GET", parts.path, headers={"Host": parts.netloc})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


def test_a_new_folder_serves_after_one_command(tmp_path: Path) -> None:
    """Everything is installed and active, HTTP is answered, and the link makes the first administrator; then it is gone."""
    data = tmp_path / "data"
    with running_kernel(data, "--yes", "--http", "127.0.0.1:0") as told:
        states = {row["id"]: row["state"] for row in told["plugins"]}
        assert set(states) == {f"rustcare.{name.partition(':')[2].replace('_', '-')}" for name in BUILT_INS}
        del states["rustcare.hl7"]  # its port is fixed, and may be another kernel's
        assert set(states.values()) == {"active"}
        assert re.fullmatch(r"http://localhost:[0-9]+", told["url"])
        assert get(told["url"] + "/livez")[0] == 200
        assert get(told["url"] + "/admin/v1/plugins")[0] == 401
        link = told["setup_link"]
        assert link.startswith(told["url"] + "/")
        assert get(link)[0] in (200, 303)
        with ControlClient(data, timeout=60) as control:

            def ask(service: str, data: dict[str, Any], principal: str) -> Any:
                return control.call("bus.request", service=service, data=data, principal=principal or None)

            assert ask("gateway.status", {}, "")["host"] == "127.0.0.1"
            make_administrator(ask, told["url"])
    with running_kernel(data, "--http", "127.0.0.1:0") as again:
        assert again["setup_link"] == "", "there is an administrator"
        assert get(again["url"] + "/readyz")[0] == 200
        assert len(again["plugins"]) == len(BUILT_INS)


def test_the_link_stands_out_and_nowhere_else(tmp_path: Path) -> None:
    """On a terminal: alone on its line, not wrapped; not in the log, and no password anywhere."""
    data = tmp_path / "data"
    with running_kernel(data, "--bare", "--http", "127.0.0.1:0"):
        for name in ("crypto", "identity", "gateway"):
            assert rustcare_json("plugin", "install", f"installed:{name}", "--yes", "--data", data)["state"] == "active"
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command("up", "--data", data, "--http", "127.0.0.1:0", "--log-level", "info"),
        env={**ENVIRONMENT, "TERM": "xterm", "COLUMNS": "40"},
        stdout=slave,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(slave)
    shown = b""
    while b"it works once" not in shown or shown.count(b"\xe2\x94\x80" * 72) < 2:
        shown += os.read(master, 65536)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    log = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
    os.close(master)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown.decode())
    (link,) = re.findall(r"^  (http://localhost:[0-9]+/\S+)\r$", plain, re.M)
    secret = link.rpartition("/")[2]
    assert len(secret) >= 32
    assert '"event":"listening"' in log
    assert secret not in log
    assert "password" not in plain.lower()


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """The kernel runs all the same; the front door is said not to be open, and why, and what to do."""
    data = tmp_path / "data"
    with running_kernel(data, "--bare"):
        done = rustcare_json("plugin", "install", "installed:gateway", "--yes", "--no-enable", "--data", data)
        assert done["state"] == "stopped"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running_kernel(data, "--http", f"127.0.0.1:{port}") as told:
            assert (told["url"], told["setup_link"]) == ("", "")
            failed = rustcare("plugin", "enable", "rustcare.gateway", "--data", data)
            assert failed.returncode == 1
            assert "in use" in failed.stdout
        with subprocess.Popen(
            command("up", "--data", data, "--http", f"127.0.0.1:{port}", "--log-level", "silent"),
            env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            while "Stop with Ctrl-C" not in (line := process.stderr.readline()):
                assert line
            process.send_signal(signal.SIGTERM)
            shown, _ = process.communicate(timeout=60)
        assert "The front door is not open" in shown
        assert "in use" in shown


def test_a_folder_from_before_is_told_what_it_lacks(tmp_path: Path) -> None:
    """A data folder without the front door runs as before, and says how to get one; one that is bare says nothing."""
    data = tmp_path / "data"
    with running_kernel(data, "--bare") as bare:
        assert (bare["url"], bare["setup_link"]) == ("", "")
        assert rustcare_json("plugin", "install", "installed:fhir", "--yes", "--data", data)["state"] == "active"
    process = subprocess.Popen(
        command("up", "--data", data), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or "Stop with Ctrl-C" not in lines[-1]:
        lines.append(process.stderr.readline())
    process.send_signal(signal.SIGTERM)
    process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
    hints = [line for line in lines if "plugin install" in line]
    assert [line.split("installed:")[1].split()[0] for line in hints] == ["crypto", "identity", "admin", "gateway"]
    assert all(f"--data {data}" in line for line in hints)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080, True)),
        (":0", ("127.0.0.1", 0, True)),
        ("[::1]:80", ("::1", 80, True)),
        ("localhost:1", ("localhost", 1, True)),
        ("0.0.0.0:8080", ("0.0.0.0", 8080, False)),
        ("clinic.example.org:443", ("clinic.example.org", 443, False)),
    ],
)
def test_where_it_listens(text: str, found: tuple[str, int, bool]) -> None:
    """A host and a port; cookies over plain http are for this machine alone."""
    config = listening_at(text)
    assert (config["host"], config["port"], config["insecure_cookies"]) == found


@pytest.mark.parametrize("text", ["", "8080", "host", "host:", "host:-1", "host:65536", "host:８０", "host:http"])
def test_what_is_no_address(text: str) -> None:
    """Anything else is wrong usage."""
    with pytest.raises(BadParameter):
        listening_at(text)


def test_the_default_is_this_machine() -> None:
    """A new data folder's gateway listens where only this machine reaches it; its address is shown by name."""
    assert FIRST["rustcare.gateway"] == listening_at("127.0.0.1:8080")
    assert shown_url("http://127.0.0.1:8080") == "http://localhost:8080"
    assert shown_url("http://[::1]:8080") == "http://localhost:8080"
    assert shown_url("https://clinic.example.org/") == "https://clinic.example.org"
    assert shown_url("http://192.0.2.1:8080") == "http://192.0.2.1:8080"


def test_up_without_consent_serves_nothing(tmp_path: Path) -> None:
    """Without consent nothing listens; the front door's capabilities are among what is shown."""
    done = rustcare("up", "--data", tmp_path / "data", "--http", "127.0.0.1:0")
    assert done.returncode == 1
    for text in ("rustcare.gateway ", "rustcare.identity ", "rustcare.admin ", "bus:originate@*", "net:listen@"):
        assert text in done.stdout
    assert "Serving" not in done.stdout
