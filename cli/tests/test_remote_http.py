"""The connection to a server: where tokens may go, what errors become, what a dead server is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from rustcare_cli._errors import CommandFailed, ServerUnreachable
from rustcare_cli.remote._http import Answer, Connection, problem_of
from rustcare_cli.remote.device import renewed
from rustcare_cli.remote.tokens import SignIn
from rustcare_sdk.errors import CapabilityDenied

from cli.tests.helpers import rustcare


class Handler(BaseHTTPRequestHandler):
    """Says what it was asked, in JSON; `/page` is no JSON."""

    protocol_version = "HTTP/1.1"
    ports: ClassVar[set[int]] = set()

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(size).decode()
        self.ports.add(self.client_address[1])
        self.answer(json.dumps({"path": self.path, "body": body, "type": self.headers.get("Content-Type")}).encode())

    def do_GET(self) -> None:
        self.answer(b"<html>")

    def answer(self, data: bytes) -> None:
        """Send it."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server with that handler; its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of a server."""
    with serving(Handler) as url:
        yield url


@pytest.mark.parametrize(
    "url",
    [
        "http://clinic.example.org", "http://10.0.0.1:8080", "ftp://localhost", "localhost:8080", "https://", "",
        "https://ada:pw@clinic.example.org", "https://clinic.example.org/?a=1", "https://clinic.example.org:99999",
        "http://127.0.0.1.example.org", "http://localhost.example.org",
    ],
)  # fmt: skip
def test_tokens_do_not_travel_in_the_clear(url: str) -> None:
    """Plain http is for this very machine alone; a URL holds no password and is well formed."""
    with pytest.raises(CommandFailed):
        Connection(url)


@pytest.mark.parametrize(
    "url", ["https://clinic.example.org", "https://10.0.0.1:8443/base", "http://localhost:8080", "http://[::1]:1"]
)
def test_good_urls(url: str) -> None:
    """https to anywhere, http to a loopback address."""
    assert Connection(url + "/").url == url


def test_requests_share_a_connection(server: str) -> None:
    """A path in the URL goes before all paths, a form is encoded, and the connection is kept."""
    Handler.ports.clear()
    with_path = Connection(server + "/clinic")
    for _ in range(3):
        found = with_path.form("/identity/v1/device", {"scope": "admin a&b"}).json()
    assert found == {
        "path": "/clinic/identity/v1/device",
        "body": "scope=admin+a%26b",
        "type": "application/x-www-form-urlencoded",
    }
    assert len(Handler.ports) == 1
    with_path.close()


def test_what_is_no_json_was_said_by_something_else(server: str) -> None:
    """An answer that is a page is told as such, not as a broken program."""
    connection = Connection(server)
    with pytest.raises(ServerUnreachable, match="Expected JSON"):
        connection.ask("GET", "/page").json()
    connection.close()


def test_a_dead_server_is_told(server: str) -> None:
    """Where nobody listens, the error says where, and waiting for the end returns."""
    connection = Connection("http://127.0.0.1:9")
    with pytest.raises(ServerUnreachable) as refused:
        connection.ask("GET", "/")
    assert refused.value.address == "http://127.0.0.1:9"
    connection.wait_closed()


def test_problems_become_typed_errors() -> None:
    """RFC 9457 with our code and hint, the errors of OAuth, and whatever else a proxy may say."""

    def told(status: int, body: bytes) -> tuple[str, str, str]:
        error = problem_of(Answer(status, {}, body))
        return error.code, error.message, error.hint

    problem = {"title": "Forbidden", "detail": "no right", "code": "capability.denied", "hint": "ask", "status": 403}
    assert told(403, json.dumps(problem).encode()) == ("capability.denied", "no right", "ask")
    assert isinstance(problem_of(Answer(403, {}, json.dumps(problem).encode())), CapabilityDenied)
    assert told(400, b'{"error": "access_denied", "error_description": "said no"}')[:2] == ("http.400", "said no")
    assert told(502, b"<html>") == ("http.502", "The server answered with status 502", "")
    assert told(500, b"[]")[0] == "http.500"


def test_an_answer_that_was_lost_is_asked_for_once_more() -> None:
    """The same refresh token goes out a second time when the first answer did not come, and no third time."""
    answer = b'{"access_token": "a", "refresh_token": "s", "expires_in": 300}'
    seen: list[str] = []

    class Forgetful(Handler):
        def do_POST(self) -> None:
            seen.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if len(seen) % 2:
                self.close_connection = True
            else:
                self.answer(answer)

    with serving(Forgetful) as url:
        found = renewed(url, SignIn("old", "r"))
        assert (found.access_token, found.refresh_token) == ("a", "s")
        assert len(seen) == 2
        assert seen[0] == seen[1]
        assert "refresh_token=r" in seen[0]
    with pytest.raises(ServerUnreachable):
        renewed(url, SignIn("old", "r"))


@pytest.mark.parametrize(
    "token", ["secret-1\nsecret-2", "secret-1 secret-2", "secret-\u20ac", "\x1b[2Jsecret", "", " \n"]
)
def test_what_is_no_token_is_not_repeated(token: str, tmp_path: Path) -> None:
    """A file or variable with anything but one token is refused before it is sent, and never shown: no traceback has it."""
    file = tmp_path / "token"
    file.write_text(token)
    for options, env in ((("--token-file", file), {}), ((), {"RUSTCARE_TOKEN": token})):
        for line in (("plugin", "list"), ("benchmark",)):
            done = rustcare(*line, *options, "--url", "http://127.0.0.1:9", env={**env, "XDG_CONFIG_HOME": tmp_path})
            assert done.returncode == 1
            assert "secret" not in done.stdout + done.stderr
            assert "Traceback" not in done.stderr
            assert "code:  cli." in done.stderr


def test_nothing_but_printable_letters_is_sent(server: str) -> None:
    """A header or path that could begin a line of its own is an error that does not repeat it."""
    connection = Connection(server)
    for path, headers in (("/a b", {}), ("/\u20ac", {}), ("/", {"X-Tenant": "a\r\nsecret: b"}), ("/", {"X": "\u20ac"})):
        with pytest.raises(CommandFailed) as refused:
            connection.ask("POST", path, b"", headers)
        assert "secret" not in str(refused.value)
    connection.close()
