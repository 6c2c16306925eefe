"""Which kernel a command is about: a data folder's, or a remote server's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from rustcare_cli._client import SERVER
from rustcare_cli._options import DEFAULT_DATA, Data, Json, anywhere
from rustcare_cli.app import app, command_names
from typer.testing import CliRunner

from cli.tests.helpers import rustcare, rustcare_json

#: Commands that are about this machine, or about no kernel at all.
HERE = {"demo", "up", "benchmark", "login", "logout", "whoami"} | {
    f"plugin {name}" for name in ("new", "dev", "test", "check", "build")
}


@pytest.mark.parametrize("name", sorted(set(command_names()) - HERE))
def test_every_operating_command_works_remotely(name: str) -> None:
    """Each command that asks a kernel takes --url and --token-file beside --data or the folder."""
    shown = CliRunner().invoke(app, [*name.split(), "--help"]).output
    assert "--url" in shown
    assert "--token-file" in shown
    assert "RUSTCARE_URL" in shown


def looked(*arguments: str, **environment: str) -> Any:
    """What a command sees as its server and its folder."""
    seen: list[Any] = []
    inner = typer.Typer()

    def command(name: str = "", data: Data = DEFAULT_DATA, json: Json = False) -> None:
        """Look."""
        seen.append((SERVER.get(), data))

    inner.command()(anywhere(command))
    found = CliRunner().invoke(inner, list(arguments), env=environment)
    assert SERVER.get() is None, "what one command was about is forgotten after it"
    return seen[0] if found.exit_code == 0 else found.exit_code


def test_the_command_line_beats_the_environment() -> None:
    """--url beats everything of the environment, --data beats RUSTCARE_URL, and both together make no sense."""
    assert looked() == (None, DEFAULT_DATA)
    server, _ = looked("--url", "https://a.example/", "--token-file", "t", RUSTCARE_URL="https://b.example")
    assert (server.url, server.token_file) == ("https://a.example", Path("t"))
    assert looked(RUSTCARE_URL="https://b.example")[0].url == "https://b.example"
    assert looked(RUSTCARE_URL="https://b.example", RUSTCARE_DATA="d")[0].url == "https://b.example"
    assert looked("--data", "d", RUSTCARE_URL="https://b.example") == (None, Path("d"))
    assert looked("--data", "d", "--url", "https://a.example") == 2


def test_without_a_token_nothing_is_asked(tmp_path: Path) -> None:
    """A server that nobody signed in to is told with what to do; a server that is not there, too."""
    found = rustcare_json("plugin", "list", "--url", "http://127.0.0.1:9", code=1, env={"XDG_CONFIG_HOME": tmp_path})
    assert found["error"]["code"] == "cli.not-signed-in"
    assert "rustcare login http://127.0.0.1:9" in found["error"]["hint"]
    gone = rustcare_json("plugin", "list", "--url", "http://127.0.0.1:9", code=1, env={"RUSTCARE_TOKEN": "x"})
    assert gone["error"]["code"] == "cli.server-unreachable"
    clear = rustcare_json("plugin", "list", "--url", "http://clinic.example.org", code=1, env={"RUSTCARE_TOKEN": "x"})
    assert "https" in clear["error"]["message"]
    for command in ("logout", "whoami"):
        nobody = rustcare_json(command, "https://clinic.example.org", code=1, env={"XDG_CONFIG_HOME": tmp_path})
        assert nobody["error"]["code"] == "cli.not-signed-in"


def test_exclusive_and_malformed_options() -> None:
    """What cannot be meant is wrong usage: exit code 2, before anything is asked."""
    for line in (
        ["up", "--http", "8080"],
        ["up", "--http", "host:x"],
        ["up", "--http", "host:70000"],
        ["user", "list", "--state", "asleep"],
        ["user", "set", "ada"],
        ["user", "set", "ada", "--role", "x", "--no-roles"],
        ["user", "revoke", "ada", "--session", "a", "--keep", "b"],
        ["user", "export", "--json"],
        ["tenant", "create", "t", "--setting", "novalue"],
        ["tenant", "set", "t", "--host", "a", "--no-hosts"],
        ["key", "create", "bot", "--expires", "soon"],
        ["key", "create", "bot", "--role", "auditor"],
        ["benchmark", "--key-file", "a", "--token-file", "b"],
    ):
        done = rustcare(*line)
        assert (done.returncode, done.stdout) == (2, ""), line
