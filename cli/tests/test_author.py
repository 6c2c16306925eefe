"""The author's tools: what `plugin new` writes is tested, checked, run, reloaded and built."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rustcare_cli.author.check import check_project
from rustcare_cli.author.scaffold import RUNTIMES, suggestion, write_plugin
from rustcare_kernel.package import read_package
from rustcare_sdk.errors import RustCareError

from cli.tests.helpers import ENVIRONMENT, command, rustcare, rustcare_json

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A new plugin."""
    return write_plugin("acme.ward-bell", "component", tmp_path / "ward-bell")[0]


def test_a_new_plugin_has_the_tree_of_a_built_in_one(project: Path) -> None:
    """Same places, same names: what is learned on one holds for the other."""
    built_in = ROOT / "builtin_plugins" / "hl7_to_fhir"
    assert {"pyproject.toml", "README.md", "src", "tests"} <= {item.name for item in project.iterdir()}
    assert {"__init__.py", "plugin.py", "plugin.toml"} <= {
        item.name for item in (project / "src/acme_ward_bell").iterdir()
    }
    ours = tomllib.loads((project / "pyproject.toml").read_text())
    theirs = tomllib.loads((built_in / "pyproject.toml").read_text())
    assert set(theirs["project"]) - set(ours["project"]) <= {"license"}
    assert ours["project"]["entry-points"] == {"rustcare.plugins": {"ward_bell": "acme_ward_bell"}}
    assert ours["build-system"] == theirs["build-system"]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_new_writes_passes_its_own_checks(runtime: str, tmp_path: Path) -> None:
    """No finding in a fresh plugin, no placeholder left in it, and its tests pass."""
    folder, files = write_plugin("acme.ward-bell", runtime, tmp_path / "w")
    assert [item for item in check_project(folder) if item.level == "error"] == []
    left = re.compile(r"@(id|name|short|distribution|package|class|title|summary|runtime|builds)@")
    assert [name for name in files if left.search((folder / name).read_text())] == []
    done = rustcare_json("plugin", "test", folder)
    assert done["passed"] is True


def test_the_header_for_c_is_the_examples(tmp_path: Path) -> None:
    """There is one guest interface for C: what `new` writes is what the example uses."""
    folder, _ = write_plugin("acme.ward-bell", "extism", tmp_path / "w")
    example = ROOT / "examples" / "extism_c" / "src" / "vitals" / "rustcare.h"
    assert (folder / "src/acme_ward_bell/rustcare.h").read_bytes() == example.read_bytes()


@pytest.mark.parametrize("name", ["Ward Bell", "ward_bell", "acme..bell", "-x", "a.b.c", "1st", ""])
def test_names_that_no_manifest_takes_are_refused(name: str, tmp_path: Path) -> None:
    """The error shows the nearest name that would do."""
    with pytest.raises(RustCareError, match="Expected NAME") as caught:
        write_plugin(name, "python", tmp_path / "w")
    assert "acme." in caught.value.hint
    assert suggestion("WardBell_2") == "ward-bell-2"


def test_new_overwrites_nothing(project: Path) -> None:
    """A folder with something in it is left alone."""
    with pytest.raises(RustCareError, match="empty"):
        write_plugin("ward-bell", "python", project)
    assert rustcare_json("plugin", "new", "ward-bell", "--runtime", "rust", code=1)["error"]["code"] == "cli.failed"


def edit(project: Path, file: str, change: Callable[[str], str]) -> None:
    """Change a file of the import package."""
    path = project / "src/acme_ward_bell" / file
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))


@pytest.mark.parametrize(
    ("file", "old", "new", "code", "where"),
    [
        ("plugin.py", "return Greeting", "retur Greeting", "portable.syntax", "src/acme_ward_bell/plugin.py:"),
        ("plugin.toml", "kv:write@greetings", "kv:write@other", "capability.missing", "src/acme_ward_bell/plugin.py:"),
        ("plugin.toml", "kv:write@", "kv:rite@", "manifest.invalid", "src/acme_ward_bell/plugin.toml:"),
        ("plugin.toml", "plugin:WardBell", "plugin:Ward", "manifest.entry-missing", "src/acme_ward_bell/plugin.toml:"),
        ("plugin.toml", 'version = "0.1.0"', 'version = "0.1.1"', "project.version-differs", "pyproject.toml:"),
        ("plugin.toml", "[provides]", '[config]\nschema = "c.json"\n[provides]', "package.invalid", ""),
        (
            "plugin.py",
            "from dataclasses",
            "import socket\nfrom dataclasses",
            "import.undeclared",
            "src/acme_ward_bell/plugin.py:",
        ),
        ("plugin.py", "from dataclasses", "import subprocess\nfrom dataclasses", "import.forbidden", "src/"),
        ("plugin.py", "from dataclasses", "import rustcare_kernel\nfrom dataclasses", "import.forbidden", "src/"),
        ("plugin.py", "from dataclasses", "import rustcare_plugin_hl7\nfrom dataclasses", "import.forbidden", "src/"),
        ("plugin.py", "from dataclasses", "import msgspec\nfrom dataclasses", "portable.import", "src/"),
    ],
)
def test_check_finds(project: Path, file: str, old: str, new: str, code: str, where: str) -> None:
    """Each kind of mistake is found, at its place, with a stable code; the command fails."""
    edit(project, file, lambda text: text.replace(old, new, 1))
    found = rustcare_json("plugin", "check", project, code=1)
    assert found["ok"] is False
    assert (code, True) in {(item["code"], item["where"].startswith(where)) for item in found["findings"]}


def test_check_warns_of_what_is_asked_for_in_vain(project: Path) -> None:
    """A capability without a use is a warning; --strict makes it fail."""
    edit(project, "plugin.toml", lambda text: text + '\n[[capability]]\nuse = "clock:read"\nreason = "why not"\n')
    assert [item["code"] for item in rustcare_json("plugin", "check", project)["findings"]] == ["capability.unused"]
    assert rustcare("plugin", "check", project, "--strict").returncode == 1


def test_failing_tests_fail_the_command(project: Path) -> None:
    """`plugin test` passes pytest's options on, and its verdict back."""
    (project / "tests/test_more.py").write_text("def test_it() -> None:\n    assert False\n")
    done = rustcare("plugin", "test", project, "--", "-q", "-k", "test_it")
    assert done.returncode == 1
    assert "1 failed" in done.stdout


def test_a_python_plugin_is_built_the_same_twice(tmp_path: Path) -> None:
    """Wheel and layout hold the same package; a second build gives the same digest and replaces the first."""
    folder, _ = write_plugin("acme.ward-bell", "python", tmp_path / "w")
    first = rustcare_json("plugin", "build", folder, "--tar")
    second = rustcare_json("plugin", "build", folder, "--tar")
    assert first == second
    assert {read_package(first[form]).digest for form in ("wheel", "layout", "tar")} == {first["digest"]}
    assert read_package(folder).digest == first["digest"]
    assert sorted(item.name for item in (folder / "dist").iterdir()) == [
        "acme.ward-bell-0.1.0.oci",
        "acme.ward-bell-0.1.0.oci.tar",
        "acme_ward_bell-0.1.0-py3-none-any.whl",
    ]


def test_a_component_is_built_from_the_same_source(project: Path) -> None:
    """`build` makes the component, puts it into wheel and layout, and it runs."""
    built = rustcare_json("plugin", "build", project)
    assert built["runtimes"] == ["python", "component"]
    assert read_package(built["wheel"]).digest == built["digest"]
    assert read_package(built["layout"]).component().startswith(b"\0asm")


def test_build_refuses_what_check_refuses(project: Path) -> None:
    """Nothing is built from a plugin with errors."""
    edit(project, "plugin.toml", lambda text: text.replace("kv:write@greetings", "kv:write@other"))
    assert rustcare_json("plugin", "build", project, code=1)["error"]["code"] == "cli.check-failed"
    assert not (project / "dist").exists()


def events(text: str) -> list[dict[str, Any]]:
    """The lines of `plugin dev --json`."""
    return [json.loads(line) for line in text.splitlines()]


def dev(project: Path, *options: str) -> list[str]:
    """`plugin dev --json` with the template's request."""
    return command("plugin", "dev", project, "--json", "--request", 'ward-bell.greet={"name": "Ada"}', *options)


def test_dev_shows_messages_and_uses(project: Path) -> None:
    """One round: loaded, asked, answered; what it published and which rights it used are shown."""
    done = subprocess.run(
        dev(project, "--once", "--temp"), env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    found = events(done.stdout)
    kinds = {event["kind"]: event for event in found}
    assert kinds["loaded"]["state"] == "active"
    assert kinds["answer"]["data"] == {"text": "Hello, Ada!", "count": 1}
    assert "ward-bell.greeted" in {event.get("subject") for event in found}
    assert {event["capability"] for event in found if event["kind"] == "capability"} >= {"kv:write@greetings"}
    assert not (project / ".rustcare").exists()
    text = rustcare("plugin", "dev", project, "--once", "--temp", "--request", 'ward-bell.greet={"name": "Ada"}').stdout
    assert 'answer    ward-bell.greet: {"text": "Hello, Ada!", "count": 1}' in text


def test_dev_fails_when_the_request_does(project: Path) -> None:
    """The exit code tells scripts; the author sees the plugin's own traceback."""
    edit(
        project,
        "plugin.py",
        lambda text: text.replace("        return Greeting", "        1 / 0\n        return Greeting"),
    )
    done = subprocess.run(
        dev(project, "--once", "--temp"), env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    failed = [event for event in events(done.stdout) if event["kind"] == "failed"]
    assert "ZeroDivisionError" in failed[0]["traceback"]
    assert rustcare("plugin", "dev", project, "--once", "--temp", "--request", "x=}").returncode == 1


def test_dev_reloads_on_save_and_keeps_the_old_version_when_that_fails(project: Path) -> None:
    """A save is an upgrade with state kept; a broken save is told with file and line, and the old version serves on."""
    process = subprocess.Popen(dev(project, "--poll", "0.05"), env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    guard = threading.Timer(90, process.kill)  # so that a reload that never comes is a failure, not a hang
    guard.start()

    def until(kind: str) -> dict[str, Any]:
        assert process.stdout is not None
        for line in process.stdout:
            event: dict[str, Any] = json.loads(line)
            if event["kind"] == kind:
                return event
        raise AssertionError(f"it ended before {kind}")

    try:
        assert until("loaded")["state"] == "active"
        assert until("answer")["data"]["count"] == 1
        edit(project, "plugin.py", lambda text: text.replace("Hello, ", "Good morning, "))
        assert until("reloaded")["state"] == "active"
        assert until("answer")["data"] == {"text": "Good morning, Ada!", "count": 2}
        edit(project, "plugin.py", lambda text: text.replace("return Greeting", "retur Greeting"))
        failed = until("failed")
        assert failed["serving"] is True
        assert "plugin.py:" in failed["address"]
        edit(project, "plugin.py", lambda text: text.replace("retur Greeting", "return Greeting").replace("!", "?"))
        assert until("reloaded")["state"] == "active"
        assert until("answer")["data"] == {"text": "Good morning, Ada?", "count": 3}
    finally:
        guard.cancel()
        process.terminate()
        process.wait(30)
        process.stdout.close()
    assert (project / ".rustcare").is_dir()
