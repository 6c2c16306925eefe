"""`RemoteClient`: the control API of a remote kernel, with the interface of the control socket's client."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rustcare_sdk.errors import RustCareError, ServiceError, error_from_failure

from rustcare_cli._client import Server
from rustcare_cli._errors import CommandFailed, NotSignedIn, ServerUnreachable

from ._http import Answer, Connection, credential, problem_of
from .tokens import Tokens, expired, sign_in

__all__ = ["WHOAMI", "RemoteClient", "credentials"]

RPC = "/admin/v1/rpc"
PACKAGES = "/admin/v1/packages"
EVENTS = "/admin/v1/events"
WHOAMI = "/admin/v1/whoami"
#: What the gateway says when a session's assurance is too low.
STEP_UP = "gateway.step-up"
MAX_PACKAGE = 32 * 1024 * 1024

#: Gives the token to use; its argument is one that the server has just refused, or empty.
Credentials = Callable[[str], str]


def credentials(server: Server) -> Credentials:
    """Where the token for a server comes from: a file, the environment (RUSTCARE_TOKEN), or a sign-in, renewed as needed."""
    fixed = ""
    if server.token_file is not None:
        where = str(server.token_file)
        try:
            fixed = credential(server.token_file.read_text(), where)
        except (OSError, UnicodeDecodeError):
            raise CommandFailed("Expected a file with a token", address=where) from None
    elif "RUSTCARE_TOKEN" in os.environ:
        where = "RUSTCARE_TOKEN"
        fixed = credential(os.environ[where], where) if os.environ[where].strip() else ""
    if fixed:

        def given(refused: str) -> str:
            if refused:
                raise NotSignedIn("The server does not take this token", address=where, hint=sign_in(server.url))
            return fixed

        return given

    tokens = Tokens()

    def signed_in(refused: str) -> str:
        from .device import renewed

        found = tokens.get(server.url)
        if found is None:
            raise NotSignedIn(
                "Expected a token for this server, there is none", address=server.url, hint=sign_in(server.url)
            )
        if found.access_token == refused or expired(found):
            found = tokens.refreshed(server.url, refused, lambda before: renewed(server.url, before))
        return found.access_token

    return signed_in


class RemoteClient:
    """Talks to a server's front door: `with RemoteClient.at(Server(url)) as control: control.call("plugin.list")`.

    Args:
        connection: to the server.
        token: gives the token for a request.
    """

    def __init__(self, connection: Connection, token: Credentials) -> None:
        self._connection = connection
        self._token = token
        self._id = 0

    @classmethod
    def at(cls, server: Server) -> RemoteClient:
        """The client of a server. Raises CommandFailed when its URL is none to send a token to."""
        return cls(Connection(server.url), credentials(server))

    def call(self, method: str, **params: Any) -> Any:
        """Call a method; its result, or its typed error. Parameters that are None are left out."""
        self._id += 1
        sent = {key: value for key, value in params.items() if value is not None}
        body = json.dumps({"jsonrpc": "2.0", "id": self._id, "method": method, "params": sent}).encode()
        answer = self.ask("POST", RPC, body, {"Content-Type": "application/json"})
        found = answer.json()
        if not isinstance(found, dict) or ("result" not in found and "error" not in found):
            raise ServerUnreachable("Expected an answer in JSON-RPC 2.0", address=self._connection.url)
        if "error" in found:
            _raise(found["error"])
        return found.get("result")

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """A request with the token. Raises the typed error of any answer that is not a success."""
        refused = ""
        while True:
            token = self._token(refused)
            answer = self._connection.ask(method, path, body, {**(headers or {}), "Authorization": f"Bearer {token}"})
            if answer.status != 401 or refused or problem_of(answer).code == STEP_UP:
                break
            refused = token  # it was not acted upon: once more, with a token that is renewed
        if answer.status >= 400:
            raise _explained(problem_of(answer), answer.status, self._connection.url)
        return answer

    def upload(self, source: str, runtime: str | None = None) -> str:
        """Send a package that lies here; how the server calls it. Raises PackageError."""
        from rustcare_kernel.package import PackageNotBuilt, read_package, write_layout_tar

        package = read_package(os.path.abspath(source))
        if "component" in package.unbuilt and runtime != "python":
            raise PackageNotBuilt(
                f"{package.id} has no component yet, and a remote server does not build it",
                address=source,
                hint="build it here: rustcare plugin build, and give what that writes",
            )
        with tempfile.TemporaryDirectory() as folder:
            data = write_layout_tar(package, Path(folder) / "package.tar").read_bytes()
        if len(data) > MAX_PACKAGE:
            raise CommandFailed(
                f"Expected a package of at most {MAX_PACKAGE:,} bytes, got {len(data):,}",
                address=source,
                hint="copy it to the server and install it there",
            )
        answer = self.ask("POST", PACKAGES, data, {"Content-Type": "application/octet-stream"})
        return str(answer.json()["source"])

    def watch(self, **params: Any) -> Iterator[dict[str, Any]]:
        """What happens from now on, as the control socket tells it: states of plugins (`state`) and uses of capabilities
        (`capability`, of all tenants together); and `routes` that came or went. Messages are not told over HTTP.

        When the server ends the stream, as it does after a while, the next one goes on where that one ended.
        """
        wanted = set(params.get("kinds") or ())
        plugin = str(params.get("plugin") or "")
        return self._watched(self._listen(""), wanted, plugin)

    def _watched(self, response: HTTPResponse, wanted: set[str], plugin: str) -> Iterator[dict[str, Any]]:
        last = ""
        try:
            while True:
                for seen, event in _events(response):
                    last = seen
                    for told in _as_told(event) if event else ():
                        if told["kind"] == "dropped" or (
                            (not wanted or told["kind"] in wanted) and plugin in ("", told.get("plugin"))
                        ):
                            yield told
                self._connection.close()
                response = self._listen(last)
        finally:
            self._connection.close()

    def _listen(self, last: str) -> HTTPResponse:
        """Begin to read a stream of events, behind the one that was seen last."""
        self._token_checked()
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        response = self._connection.stream(EVENTS, {**headers, "Authorization": f"Bearer {self._token('')}"})
        if response.status != 200:
            answer = Answer(response.status, {}, response.read(1024 * 1024))
            self._connection.close()
            raise _explained(problem_of(answer), response.status, self._connection.url)
        return response

    def _token_checked(self) -> None:
        """Renew the token now if it has to be: a stream cannot be asked for twice as easily."""
        self.ask("GET", "/admin/v1/status")

    def wait_closed(self) -> None:
        """Return when nobody listens there any more: after `system.stop`."""
        self._connection.wait_closed()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _events(response: HTTPResponse) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """The events of a stream with their ids, until it ends; None where only the place in the stream is told."""
    last = ""
    data: list[str] = []
    try:
        for raw in response:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            if line.startswith("id:"):
                last = line[3:].strip()
            elif line.startswith("data:"):
                data.append(line[5:].removeprefix(" "))
            elif not line:
                yield last, json.loads("\n".join(data)) if data else None
                data = []
    except (OSError, HTTPException):
        return  # cut off: the next stream goes on behind what was seen


def _as_told(event: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """An event in the words of the control socket."""
    if event["kind"] == "gap":
        yield {"kind": "dropped", "time": time.time(), "plugin": ""}
    elif event["kind"] == "accounting":
        for row in event["rows"]:
            if row["capability"]:
                use = {"capability": row["capability"], "used": row["calls"], "denied": row["errors"]}
                yield {"kind": "capability", "time": event["time"], "plugin": row["plugin"], "tenant": "", **use}
    else:
        yield event


def _raise(error: Any) -> None:
    """Raise the typed error that a JSON-RPC error object stands for."""
    fields = error if isinstance(error, dict) else {}
    data = fields.get("data")
    failure = {**(data if isinstance(data, dict) else {}), "message": fields.get("message", "")}
    failure.setdefault("code", ServiceError.code)
    raise error_from_failure(failure)


def _explained(error: RustCareError, status: int, url: str) -> RustCareError:
    """An error with what to do about it, where the server's own hint says nothing of this program."""
    if error.code == STEP_UP:
        error.hint = f"sign in again, with a second factor: rustcare login {url}"
        return error
    if status == 401:
        return NotSignedIn("The server does not know this token (any more)", address=url, hint=sign_in(url))
    if status == 404 and error.code.startswith(("http.", "gateway.")):
        return ServerUnreachable(
            "Expected the operator's API, the server has none", address=url, hint="is the plugin rustcare.admin active?"
        )
    return error
