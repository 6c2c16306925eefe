"""The command line against a server's front door: a real one, to which it signs in as a device does."""

from __future__ import annotations

import json
import os
import select
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rustcare_cli._client import Server
from rustcare_cli.remote.client import RemoteClient
from rustcare_cli.remote.tokens import Tokens
from rustcare_kernel.control import ControlClient

from cli.tests.helpers import ENVIRONMENT, command, running_kernel, rustcare, rustcare_json
from tests.support.administrator import Administrator, make_administrator


@dataclass
class Place:
    """A server, and a machine that has signed in to it: `env` is that machine's environment."""

    data: Path
    url: str
    env: dict[str, Any]
    administrator: Administrator
    told: list[dict[str, Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server with a front door, and a command line that an administrator has approved."""
    folder = tmp_path_factory.mktemp("server") / "data"
    env = {"XDG_CONFIG_HOME": tmp_path_factory.mktemp("home")}
    with running_kernel(folder, "--bare", "--http", "127.0.0.1:0"):
        for name in ("crypto", "audit", "identity", "fhir", "admin", "gateway"):
            done = rustcare_json("plugin", "install", f"installed:{name}", "--yes", "--data", folder)
            assert done["state"] == "active", done
        with ControlClient(folder, timeout=60) as control:

            def ask(service: str, data: dict[str, Any], principal: str) -> Any:
                return control.call("bus.request", service=service, data=data, principal=principal or None)

            url = f"http://localhost:{ask('gateway.status', {}, '')['port']}"
            administrator = make_administrator(ask, url)
            told = sign_in(url, env, ask, administrator)
        yield Place(folder, url, env, administrator, told)


def sign_in(url: str, env: dict[str, Any], ask: Any, administrator: Administrator) -> list[dict[str, Any]]:
    """`rustcare login`, approved by an administrator; what it printed."""
    process = subprocess.Popen(
        command("login", url, "--json"),
        env={**ENVIRONMENT, **{name: str(value) for name, value in env.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        answer = {"user_code": first["user_code"], "session": administrator.session}
        ask("identity.device.approve", answer, administrator.principal)
        second = json.loads(process.stdout.readline())
    assert process.returncode == 0
    return [first, second]


def test_signing_in(place: Place) -> None:
    """The page and the code are told, the tokens lie in a file of their owner, and are printed nowhere."""
    first, second = place.told
    assert first["open"].startswith(place.url)
    assert first["user_code"] in first["open"]
    path = Path(second["file"])
    assert path == place.env["XDG_CONFIG_HOME"] / "rustcare" / "servers.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = json.loads(path.read_text())[place.url]
    assert kept["access_token"] not in json.dumps(place.told)
    me = rustcare_json("whoami", place.url, env=place.env)
    assert (me["principal"], me["aal"], me["kind"]) == (place.administrator.principal, 2, "token")
    assert "admin" in me["scopes"]
    assert "AAL2" in rustcare("whoami", place.url, env=place.env).stdout


def test_the_same_commands_work_there(place: Place) -> None:
    """What a command prints of a remote server is what it prints on the machine."""
    env = {**place.env, "RUSTCARE_URL": place.url}
    here = rustcare_json("plugin", "list", "--data", place.data)
    there = rustcare_json("plugin", "list", env=env)
    assert [row["id"] for row in there] == [row["id"] for row in here]
    assert "rustcare.gateway" in rustcare("plugin", "list", "--url", place.url, env=place.env).stdout
    assert rustcare_json("system", "status", env=env)["store"] == "sqlite"
    assert rustcare_json("tenant", "list", env=env)[0]["id"] == "default"
    assert rustcare_json("user", "list", env=env)[0]["name"] == "admin"
    assert rustcare_json("audit", "status", env=env)["size"] > 0
    unknown = rustcare_json("plugin", "info", "acme.nobody", env=env, code=1)
    assert unknown["error"]["code"] == "plugin.unknown"


def test_what_is_stored_is_exported_from_afar(place: Place) -> None:
    """`fhir export` needs no folder when a server is named, and prints what it prints on the machine."""
    with ControlClient(place.data, timeout=60) as control:
        resource = {"resourceType": "Patient", "id": "p1", "active": True}
        control.call("bus.request", service="fhir.update", data={"resource": resource})
    there = rustcare("fhir", "export", "--url", place.url, env=place.env)
    assert there.returncode == 0, there.stderr
    assert there.stdout == rustcare("fhir", "export", place.data).stdout
    assert json.loads(there.stdout)["id"] == "p1"


def test_a_plugin_is_installed_from_here(place: Place, tmp_path: Path) -> None:
    """A folder on this machine is uploaded, shown, consented to, installed, upgraded and removed over there."""
    env = {**place.env, "RUSTCARE_URL": place.url}
    project = tmp_path / "bell"
    rustcare("plugin", "new", "acme.bell", "--into", project)
    refused = rustcare("plugin", "install", project, env=env)
    assert (refused.returncode, "counts greetings" in refused.stdout) == (1, True)
    done = rustcare_json("plugin", "install", project, "--yes", "--runtime", "python", env=env)
    assert (done["id"], done["state"]) == ("acme.bell", "active")
    manifest = project / "src/acme_bell/plugin.toml"
    manifest.write_text(manifest.read_text().replace('"0.1.0"', '"0.2.0"', 1))
    upgraded = rustcare_json("plugin", "upgrade", project, "--yes", "--runtime", "python", env=env)
    assert upgraded["version"] == "0.2.0"
    assert rustcare_json("plugin", "rollback", "acme.bell", env=env)["version"] == "0.1.0"
    assert rustcare_json("plugin", "disable", "acme.bell", env=env)["state"] == "stopped"
    assert rustcare_json("plugin", "remove", "acme.bell", "--purge", "--yes", env=env)["removed"] is True
    assert "acme.bell" not in rustcare("plugin", "list", "--data", place.data).stdout


def test_what_carries_the_request_stays(place: Place) -> None:
    """The gateway is not stopped through itself: that is refused at once, with what to do."""
    found = rustcare_json("plugin", "restart", "rustcare.gateway", "--url", place.url, env=place.env, code=1)
    assert found["error"]["code"] == "admin.not-from-here"
    assert "--data" in found["error"]["hint"]


def test_an_access_token_is_renewed(place: Place) -> None:
    """A token that the server does not take is exchanged for the next one, once, by whichever command comes first."""
    tokens = Tokens(place.env["XDG_CONFIG_HOME"] / "rustcare")
    before = tokens.get(place.url)
    assert before is not None
    head, _, signature = before.access_token.rpartition(".")
    tokens.put(place.url, type(before)(f"{head}.{signature[::-1]}", before.refresh_token, before.expires))
    assert rustcare_json("system", "status", "--url", place.url, env=place.env)["store"] == "sqlite"
    after = tokens.get(place.url)
    assert after is not None
    assert after.refresh_token != before.refresh_token
    assert rustcare_json("system", "status", "--url", place.url, env=place.env)["store"] == "sqlite"


def test_a_token_from_elsewhere(place: Place, tmp_path: Path) -> None:
    """--token-file and RUSTCARE_TOKEN are used as they are; one that is not taken is told, and the kept one is left alone."""
    kept = Tokens(place.env["XDG_CONFIG_HOME"] / "rustcare").get(place.url)
    assert kept is not None
    file = tmp_path / "token"
    file.write_text(kept.access_token + "\n")
    where = ("--url", place.url)
    assert rustcare_json("system", "status", *where, "--token-file", file, env={"XDG_CONFIG_HOME": tmp_path})
    assert rustcare_json(
        "system", "status", *where, env={"XDG_CONFIG_HOME": tmp_path, "RUSTCARE_TOKEN": kept.access_token}
    )
    bad = rustcare_json("system", "status", *where, env={**place.env, "RUSTCARE_TOKEN": "not-a-token"}, code=1)
    assert bad["error"]["code"] == "cli.not-signed-in"
    assert Tokens(place.env["XDG_CONFIG_HOME"] / "rustcare").get(place.url) == kept


def test_events_are_watched_from_afar(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client sees states change as they do, in the form of the control socket's stream."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place.env["XDG_CONFIG_HOME"]))
    with RemoteClient.at(Server(place.url)) as watching, ControlClient(place.data, timeout=60) as control:
        events = watching.watch(kinds=["state"], plugin="rustcare.audit")
        control.call("plugin.restart", id="rustcare.audit")
        told = [next(events) for _ in range(3)]
        assert {event["plugin"] for event in told} == {"rustcare.audit"}
        assert {event["kind"] for event in told} == {"state"}
        assert told[0]["to"] == "draining"
        assert {"from", "to", "version", "time"} <= set(told[0])
        events.close()  # type: ignore[attr-defined]
        uses = watching.watch(kinds=["capability"])
        used = next(uses)
        assert {"kind", "time", "plugin", "tenant", "capability", "used", "denied"} == set(used)
        uses.close()  # type: ignore[attr-defined]


def test_a_watch_goes_on_when_its_stream_ends(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that the server ends after a while is taken up again where it ended: no event is missed or told twice."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(place.env["XDG_CONFIG_HOME"]))
    with ControlClient(place.data, timeout=60) as control:
        control.call("plugin.configure", id="rustcare.admin", config={"events": {"longest": 1, "heartbeat": 0.2}})
        with RemoteClient.at(Server(place.url)) as watching:
            events = watching.watch(kinds=["state"], plugin="rustcare.audit")
            began = time.monotonic()
            while time.monotonic() - began < 3.0:  # three streams or so
                control.call("plugin.restart", id="rustcare.audit")
                told = [next(events)]
                while told[-1]["to"] != "active":
                    told.append(next(events))
                assert [event["from"] for event in told] == ["active", *(event["to"] for event in told[:-1])]
            events.close()  # type: ignore[attr-defined]
        control.call("plugin.configure", id="rustcare.admin", config={})


def test_the_benchmark_uses_the_sign_in(place: Place) -> None:
    """With --url, and no other credential, what `rustcare login` got is used; both paths are measured."""
    found = rustcare_json("benchmark", "-r", "200", "-c", "4", "--url", place.url, env=place.env)
    assert [target["path"] for target in found["targets"]] == ["/livez", "/admin/v1/whoami"]
    assert all(target["statuses"] == {"200": 200} for target in found["targets"])


def test_the_benchmark_makes_an_account_for_itself(place: Place, tmp_path: Path) -> None:
    """On the machine, without a credential, it makes a service account and takes it away again."""
    env = {"XDG_CONFIG_HOME": tmp_path}
    before = rustcare_json("user", "list", "--data", place.data)
    found = rustcare_json("benchmark", "-r", "200", "-c", "4", "--data", place.data, env=env)
    assert [target["statuses"] for target in found["targets"]] == [{"200": 200}] * 2
    assert found["targets"][0]["server_cpu_seconds"] >= 0
    assert rustcare_json("user", "list", "--data", place.data) == before


def test_a_key_is_not_enough(place: Place, tmp_path: Path) -> None:
    """A credential without a second factor is refused by the operator's API, with what to do."""
    made = rustcare_json("key", "create", "bot", "--create", "--role", "administrator", "--data", place.data)
    file = tmp_path / "key"
    file.write_text(made["secret"])
    found = rustcare_json("plugin", "list", "--url", place.url, "--token-file", file, code=1)
    assert found["error"]["code"] == "gateway.step-up"
    assert "second factor" in found["error"]["hint"]


def test_signing_out(place: Place) -> None:
    """The server ends the tokens, the file forgets them; what was copied before is worth nothing."""
    env = {"XDG_CONFIG_HOME": place.data.parent / "another"}
    with ControlClient(place.data, timeout=60) as control:

        def ask(service: str, data: dict[str, Any], principal: str) -> Any:
            return control.call("bus.request", service=service, data=data, principal=principal or None)

        sign_in(place.url, env, ask, place.administrator)
    kept = Tokens(env["XDG_CONFIG_HOME"] / "rustcare").get(place.url)
    assert kept is not None
    assert rustcare_json("logout", place.url, env=env) == {"url": place.url, "revoked": True}
    gone = rustcare_json("plugin", "list", "--url", place.url, env=env, code=1)
    assert gone["error"]["code"] == "cli.not-signed-in"
    copied = rustcare_json(
        "plugin", "list", "--url", place.url, env={**env, "RUSTCARE_TOKEN": kept.access_token}, code=1
    )
    assert copied["error"]["code"] == "cli.not-signed-in", "its session has ended with it"
    assert os.listdir(env["XDG_CONFIG_HOME"] / "rustcare")


def test_stopping_from_afar(place: Place) -> None:
    """`system stop` returns when nobody listens there any more. (The last test: it ends the server.)"""
    process = os.pidfd_open(rustcare_json("system", "status", "--data", place.data)["pid"])
    assert rustcare_json("system", "stop", "--url", place.url, env=place.env) == {"stopped": True}
    gone = rustcare_json("plugin", "list", "--url", place.url, env=place.env, code=1)
    assert gone["error"]["code"] == "cli.server-unreachable"
    assert select.select([process], [], [], 60)[0], "and the process ends by itself"
    os.close(process)
