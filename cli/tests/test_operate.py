"""Operating a kernel: a real one, started by `rustcare up`, over its real socket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from rustcare_kernel.control import ControlClient

from cli.tests.helpers import running_kernel, rustcare, rustcare_json


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a running kernel without plugins."""
    folder = tmp_path_factory.mktemp("kernel") / "data"
    with running_kernel(folder, "--bare") as found:
        assert found["data_dir"] == str(folder)
        assert found["plugins"] == []
        yield folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin's folder, as `plugin new` writes it."""
    folder = tmp_path_factory.mktemp("project") / "ward-bell"
    assert rustcare("plugin", "new", "acme.ward-bell", "--into", folder).returncode == 0
    return folder


def test_a_plugins_life_on_the_command_line(data: Path, project: Path, tmp_path: Path) -> None:
    """Install, look, take a right, give it back, upgrade, roll back, switch off, remove."""
    where = ("--data", str(data))
    refused = rustcare("plugin", "install", project, *where)
    assert refused.returncode == 1
    assert "counts greetings" in refused.stdout
    assert "code:  cli.consent-missing" in refused.stderr
    assert rustcare_json("plugin", "install", project, *where, code=1)["error"]["code"] == "cli.consent-missing"
    assert rustcare_json("plugin", "list", *where) == []

    done = rustcare("plugin", "install", project, "--yes", *where)
    assert done.stdout.splitlines()[-1] == "acme.ward-bell 0.1.0 (python) is active"
    assert [row["id"] for row in rustcare_json("plugin", "list", *where)] == ["acme.ward-bell"]
    with ControlClient(data, timeout=30) as control:
        assert control.call("bus.request", service="ward-bell.greet", data={"name": "Ada"})["count"] == 1

    info = rustcare("plugin", "info", "acme.ward-bell", *where).stdout
    assert "calls             1" in info
    caps = {row["use"]: row for row in rustcare_json("plugin", "caps", "acme.ward-bell", *where)["capabilities"]}
    assert caps["kv:write@greetings"]["used"] == 1
    revoked = rustcare_json("plugin", "revoke", "acme.ward-bell", "kv:write@greetings", *where)
    assert "kv:write@greetings" not in revoked["granted"]
    granted = rustcare_json("plugin", "grant", "acme.ward-bell", "kv:write@greetings", *where)
    assert "kv:write@greetings" in granted["granted"]

    newer = tmp_path / "newer"
    rustcare("plugin", "new", "acme.ward-bell", "--into", newer)
    manifest = newer / "src/acme_ward_bell/plugin.toml"
    more = '\n[[capability]]\nuse = "clock:read"\nreason = "stamps greetings"\n'
    manifest.write_text(manifest.read_text().replace('"0.1.0"', '"0.2.0"', 1) + more)
    asked = rustcare("plugin", "upgrade", newer, *where)
    assert asked.returncode == 1
    assert "added   clock:read" in asked.stdout
    assert rustcare_json("plugin", "upgrade", newer, "--yes", *where)["version"] == "0.2.0"
    assert rustcare_json("plugin", "rollback", "acme.ward-bell", *where)["version"] == "0.1.0"
    assert rustcare_json("plugin", "disable", "acme.ward-bell", *where)["state"] == "stopped"
    assert rustcare_json("plugin", "enable", "acme.ward-bell", *where)["state"] == "active"
    assert "state" in rustcare("plugin", "logs", "acme.ward-bell", "-n", "5", *where).stdout
    assert len(rustcare_json("plugin", "logs", "acme.ward-bell", "-n", "5", *where)) == 5
    purge = rustcare("plugin", "remove", "acme.ward-bell", "--purge", *where)
    assert (purge.returncode, "--yes" in purge.stderr) == (1, True)
    assert rustcare_json("plugin", "remove", "acme.ward-bell", "--purge", "--yes", *where)["removed"] is True
    gone = rustcare_json("plugin", "info", "acme.ward-bell", *where, code=1)
    assert gone["error"]["code"] == "plugin.unknown"


def test_a_plugin_that_cannot_start_fails_the_command(data: Path, project: Path, tmp_path: Path) -> None:
    """It is installed, its state and the reason are shown, and a script notices."""
    broken = tmp_path / "broken"
    rustcare("plugin", "new", "acme.broken", "--into", broken)
    code = broken / "src/acme_broken/plugin.py"
    code.write_text(code.read_text().replace("return Greeting", "retur Greeting"))
    done = rustcare("plugin", "install", broken, "--yes", "--data", data)
    assert done.returncode == 1
    assert "SyntaxError" in done.stdout
    assert (
        rustcare("plugin", "remove", "acme.broken", "--data", data).stdout
        == "acme.broken is removed; its data is kept\n"
    )


def test_the_kernel_tells_how_it_is(data: Path) -> None:
    """`system status` shows process, data, memory and services: how many of each kind to people, names to programs."""
    found = rustcare_json("system", "status", "--data", data)
    assert found["data_dir"] == str(data)
    assert "kernel.accounting" in found["services"]
    services = re.search(r"^services +(.*)$", rustcare("system", "status", "--data", data).stdout, re.M)
    assert services is not None
    count = sum(name.startswith("kernel.") for name in found["services"])
    assert f"kernel {count}" in services[1].split(", ")


def test_a_second_kernel_is_refused(data: Path) -> None:
    """`up` on a folder in use says so and who has it."""
    found = rustcare_json("up", "--bare", "--data", data, code=1)
    assert found["error"]["code"] == "kernel.data-folder-in-use" or "in-use" in found["error"]["code"]
    assert "system stop" in found["error"]["hint"]


def test_stop_returns_when_the_folder_is_free(tmp_path: Path) -> None:
    """After `system stop` another kernel can start on the folder at once."""
    with running_kernel(tmp_path / "data", "--bare"):
        assert rustcare_json("system", "stop", "--data", tmp_path / "data") == {"stopped": True}
        with running_kernel(tmp_path / "data", "--bare"):
            pass


def test_up_wants_consent_to_the_built_ins(tmp_path: Path) -> None:
    """Without a terminal and without --yes nothing is installed: everything asked for is shown, with reasons."""
    done = rustcare("up", "--data", tmp_path / "data")
    assert done.returncode == 1
    assert "code:  cli.consent-missing" in done.stderr
    for text in ("rustcare.hl7 ", "rustcare.fhir ", "rustcare.hl7-to-fhir ", "bus:request@fhir.store", "net:listen@"):
        assert text in done.stdout


def test_stored_resources_are_exported(tmp_path: Path) -> None:
    """`fhir export` prints NDJSON, from a running kernel and from a data folder that nobody uses."""
    folder = tmp_path / "data"
    assert rustcare_json("fhir", "export", folder, code=1)["error"]["code"] == "cli.failed"
    patients = [{"resourceType": "Patient", "id": f"p{number}", "active": True} for number in range(3)]
    with running_kernel(folder, "--bare"):
        assert rustcare_json("plugin", "install", "installed:fhir", "--yes", "--data", folder)["state"] == "active"
        with ControlClient(folder, timeout=30) as control:
            for patient in patients:
                control.call("bus.request", service="fhir.update", data={"resource": patient})
        online = rustcare("fhir", "export", folder)
    offline = rustcare("fhir", "export", folder)
    assert offline.returncode == 0, offline.stderr
    assert offline.stdout == online.stdout
    found = [json.loads(line) for line in offline.stdout.splitlines()]
    assert sorted(item["id"] for item in found) == ["p0", "p1", "p2"]
    assert rustcare("fhir", "export", folder, "--type", "Observation").stdout == ""
    assert rustcare_json("fhir", "export", folder, "--type", "Observation") == []
    assert len(rustcare_json("fhir", "export", folder)) == 3
