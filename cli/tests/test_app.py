"""The command itself: names, help, exit codes, how errors look."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rustcare_cli.app import app, command_names
from typer.testing import CliRunner

from cli.tests.helpers import ENVIRONMENT, command, rustcare, rustcare_json

PROMISED = {
    "demo",
    "fhir export",
    "system status",
    "up",
    *(
        f"plugin {name}"
        for name in [
            "list",
            "info",
            "install",
            "enable",
            "disable",
            "upgrade",
            "rollback",
            "remove",
            "caps",
            "grant",
            "revoke",
            "logs",
        ]
    ),
    *(f"plugin {name}" for name in ["new", "dev", "test", "build", "check"]),
}


def test_every_promised_command_is_there() -> None:
    """`command_names` lists what there is, sorted."""
    names = command_names()
    assert set(names) >= PROMISED
    assert names == sorted(names)


@pytest.mark.parametrize("name", command_names())
def test_every_command_helps_and_speaks_json(name: str) -> None:
    """Each command has a help text that begins with a sentence, and takes --json."""
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0, result.output
    assert "--json" in result.output
    first = result.output.split("\n\n")[1].strip()
    assert first[0].isupper()
    assert "." in first


def test_lists_of_commands_show_whole_sentences() -> None:
    """No summary is cut off at the edge of an 80-column terminal."""
    for group in ([], ["plugin"], ["system"], ["fhir"]):
        assert "..." not in CliRunner().invoke(app, [*group, "--help"]).output.replace("[ARGS]...", "")


def test_help_loads_little() -> None:
    """`rustcare --help` answers at once because it loads neither kernel, SDK, rich, nor asyncio."""
    script = (
        "import sys; sys.argv = ['rustcare', '--help']\n"
        "from rustcare_cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stderr))
    assert "Commands:" in done.stdout
    assert not loaded & {"rustcare_kernel", "rustcare_sdk", "rich", "asyncio", "msgspec", "wasmtime", "sqlite3"}


def test_exit_codes_tell_usage_from_failure(tmp_path: Path) -> None:
    """0 done, 1 failed, 2 wrong usage; results on standard output, errors on standard error."""
    assert rustcare("--version").stdout.startswith("rustcare 0.")
    usage = rustcare("plugin", "lisst")
    assert (usage.returncode, usage.stdout) == (2, "")
    assert rustcare("plugin", "caps").returncode == 2
    failed = rustcare("plugin", "list", "--data", tmp_path)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.splitlines() == [
        f"error: {tmp_path}/control.sock: Expected a running kernel, none answers",
        "hint:  start one with: rustcare up --data DIR, or name the data folder of the one that runs",
        "code:  control.unavailable",
    ]


def test_errors_are_json_for_programs(tmp_path: Path) -> None:
    """With --json an error is one object on standard output, with the same four parts."""
    found = rustcare_json("system", "status", "--data", tmp_path, code=1)
    assert found == {
        "error": {
            "code": "control.unavailable",
            "message": "Expected a running kernel, none answers",
            "hint": "start one with: rustcare up --data DIR, or name the data folder of the one that runs",
            "address": f"{tmp_path}/control.sock",
        }
    }


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    """`rustcare … | head` ends quietly."""
    command = f"{sys.executable} -m rustcare_cli plugin new ward-bell --json --into {tmp_path / 'w'}"
    script = f"{command} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr


def test_caps_can_be_compared_without_a_kernel(tmp_path: Path) -> None:
    """`plugin caps --diff OLD NEW` needs nothing but the two packages."""
    for name in ("old", "new"):
        rustcare("plugin", "new", "ward-bell", "--into", tmp_path / name)
    manifest = tmp_path / "new/src/example_ward_bell/plugin.toml"
    text = manifest.read_text().replace("kv:read@greetings", "kv:read@*").replace("ward-bell.greeted", "ward-bell.said")
    manifest.write_text(text)
    found = rustcare_json("plugin", "caps", "--diff", tmp_path / "old", tmp_path / "new")
    assert found == {
        "added": ["bus:publish@ward-bell.said"],
        "widened": [{"old": "kv:read@greetings", "new": "kv:read@*"}],
        "narrowed": [],
        "removed": ["bus:publish@ward-bell.greeted"],
    }
    shown = rustcare("plugin", "caps", "--diff", tmp_path / "old", tmp_path / "new").stdout
    assert "widened  kv:read@greetings → kv:read@*" in shown
    missing = rustcare_json("plugin", "caps", "--diff", tmp_path / "old", "./nowhere", code=1)
    assert missing["error"]["code"] == "package.not-found"


def test_json_is_json(tmp_path: Path) -> None:
    """What --json prints is one value, without a byte around it."""
    done = rustcare("plugin", "new", "ward-bell", "--into", tmp_path / "w", "--json")
    assert json.loads(done.stdout)["files"][0] == ".gitignore"
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["plugin", "list", "--data", "DIR"],
        ["user", "list", "--data", "DIR"],
        ["plugin", "list", "--url", "http://localhost:9"],
    ],
    ids=["socket", "service", "remote"],
)
def test_a_command_for_a_running_kernel_loads_none(arguments: list[str], tmp_path: Path) -> None:
    """Who only talks to a kernel does not wait until one is imported: neither it, nor asyncio, nor a sandbox."""
    script = (
        "import sys\n"
        "from rustcare_cli.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code)\n"
        "print(' '.join(sys.modules))\n"
    )
    given = [str(tmp_path) if item == "DIR" else item for item in arguments]
    environment = {**ENVIRONMENT, "XDG_CONFIG_HOME": str(tmp_path), "RUSTCARE_TOKEN": "none"}
    done = subprocess.run(
        [sys.executable, "-c", script, *given], capture_output=True, text=True, check=True, env=environment
    )
    code, modules = done.stdout.splitlines()
    assert code == "1", done.stderr
    loaded = set(modules.split())
    assert "rustcare_kernel.control._client" in loaded or "--url" in given
    assert not loaded & {"rustcare_kernel.kernel", "rustcare_kernel.control._methods", "asyncio", "wasmtime", "sqlite3"}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("rustcare ten", ["tenant"]),
        ("rustcare user res", ["reset-mfa"]),
        ("rustcare plugin install --ru", ["--runtime"]),
    ],
)
def test_a_shell_completes_commands_and_options(words: str, found: list[str]) -> None:
    """What a shell asks for is answered also for groups whose commands are made late."""
    env = {"_RUSTCARE_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = rustcare(env=env)
    assert (done.returncode, done.stdout.split()) == (0, found)


@pytest.mark.parametrize("name", [("up", "--bare"), ("fhir", "export")])
def test_a_store_that_is_none_is_wrong_usage(name: tuple[str, ...], tmp_path: Path) -> None:
    """It is told before a kernel starts without its data, and not repeated: it may be an address with a password."""
    done = rustcare(*name, "--store", "postgres://ada:secret@db/x", cwd=tmp_path, env={"RUSTCARE_DATA": tmp_path / "d"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "postgresql://" in done.stderr
    assert "secret" not in done.stderr
    assert not (tmp_path / "d").exists()


def test_usage_has_one_pair_of_brackets_for_what_may_be_left_out() -> None:
    """`[PATH]`, not `[[PATH]]`."""
    for name in command_names():
        usage = CliRunner().invoke(app, [*name.split(), "--help"]).output.partition("\n\n")[0]
        assert "[[" not in usage, usage


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_full_disk_is_an_error_and_no_traceback(options: tuple[str, ...], tmp_path: Path) -> None:
    """What the system refuses is told in its words, with exit code 1, also where it is standard output."""
    line = command("plugin", "new", "ward-bell", "--into", tmp_path / "w", *options)
    with open("/dev/full", "w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["error: The system refused: No space left on device", "code:  cli.failed"]
