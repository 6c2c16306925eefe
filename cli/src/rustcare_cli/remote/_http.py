"""One connection to a server: requests and answers as bytes, over TLS, or in the clear to this very machine."""

from __future__ import annotations

import http.client
import ipaddress
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from rustcare_sdk.errors import RustCareError, error_from_failure

from rustcare_cli._errors import CommandFailed, ServerUnreachable

__all__ = ["FORM", "Answer", "Connection", "credential", "in_the_clear", "problem_of"]

FORM = "application/x-www-form-urlencoded"
MAX_ANSWER = 256 * 1024 * 1024
#: A connection that was idle for longer is not used again: the server may be about to close it.
IDLE = 1.0
CONNECT = 15.0


@dataclass(frozen=True)
class Answer:
    """What came: `headers` have lower-case names."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises ServerUnreachable when it is none: then no RustCare server said it."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise ServerUnreachable(
                f"Expected JSON, got {self.headers.get('content-type') or 'no content'} with status {self.status}",
                hint="is this the URL of a RustCare server, and is the plugin that was asked active there?",
            ) from None


def problem_of(answer: Answer) -> RustCareError:
    """The typed error that an answer tells: a problem (RFC 9457) or an OAuth error (RFC 6749, section 5.2)."""
    try:
        found = json.loads(answer.body)
    except ValueError:
        found = {}
    if not isinstance(found, dict):
        found = {}
    code = found.get("code") or f"http.{answer.status}"
    text = found.get("detail") or found.get("title") or found.get("error_description") or found.get("error")
    message = str(text or f"The server answered with status {answer.status}")
    return error_from_failure({"code": str(code), "message": message, "hint": str(found.get("hint") or "")})


class Connection:
    """Requests to one server, on one connection as long as it stays open. Not for several threads.

    Args:
        url: `https://host`, with a port or a path in front of all paths if need be; `http` only to a loopback address.
        timeout: seconds to wait for bytes; None for ever.
    """

    def __init__(self, url: str, timeout: float | None = None) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = -1
        if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or parts.query or parts.fragment:
            raise CommandFailed(f"Expected a URL such as https://clinic.example.org, got {url!r}")
        if parts.username or parts.password:
            raise CommandFailed("Expected a URL without a name or password in it", hint="sign in: rustcare login URL")
        if in_the_clear(url):
            raise CommandFailed(
                f"Expected https, got http to {parts.hostname}: tokens would travel in the clear",
                hint="use the server's https address, or a tunnel to it that ends on this machine",
            )
        self.url = url.rstrip("/")
        self._prefix = parts.path.rstrip("/")
        self._timeout = timeout
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._where = (parts.hostname, port)
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """One request, and its whole answer. Raises ServerUnreachable."""
        response = self._send(method, path, body, headers or {})
        try:
            data = response.read(MAX_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        if len(data) > MAX_ANSWER:
            self.close()
            raise ServerUnreachable(f"Expected an answer of at most {MAX_ANSWER:,} bytes, got more", address=self.url)
        self._used = time.monotonic()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, data)

    def form(self, path: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        """Post a form."""
        return self.ask("POST", path, urlencode(fields).encode(), {"Content-Type": FORM, **(headers or {})})

    def stream(self, path: str, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        """Begin to read an answer that does not end soon; `close` ends it."""
        return self._send("GET", path, None, headers)

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> http.client.HTTPResponse:
        if self._connection is not None and time.monotonic() - self._used > IDLE:
            self.close()
        sent = {"Accept": "application/json", "User-Agent": "rustcare-cli", **headers}
        target = self._prefix + path
        # Here, because http.client would put what it refuses into its error, and that may be a token.
        for name, value in sent.items():
            if not (value.isascii() and value.isprintable()):
                raise CommandFailed(f"Expected printable ASCII in the header field {name}, got something else")
        if not (target.isascii() and target.isprintable()) or " " in target:
            raise CommandFailed("Expected a URL of printable ASCII without blanks", address=self.url)
        try:
            if self._connection is None:
                self._connection = self._open()
            self._connection.request(method, target, body, sent)
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None

    def _open(self) -> http.client.HTTPConnection:
        host, port = self._where
        if self._tls is not None:
            made: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=CONNECT, context=self._tls
            )
        else:
            made = http.client.HTTPConnection(host, port, timeout=CONNECT)
        made.connect()
        made.sock.settimeout(self._timeout)
        return made

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        self.close()
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        hint = "is the server running there?"
        if isinstance(error, ssl.SSLCertVerificationError):
            why = f"its certificate is not trusted: {error.verify_message}"
            hint = "name the certificates to trust with SSL_CERT_FILE=…"
        return ServerUnreachable(f"Expected a server that answers: {why}", address=self.url, hint=hint)

    def wait_closed(self) -> None:
        """Return when nobody listens there any more: after a stop, when the server has drained."""
        self.close()
        while True:
            try:
                self._open().close()
            except OSError:
                return
            time.sleep(0.1)

    def close(self) -> None:
        """Close the connection; the next request opens another one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def credential(text: str, where: str) -> str:
    """A token or key as it was found in a file or variable. Raises CommandFailed, which does not repeat it."""
    found = text.strip()
    if not found or not (found.isascii() and found.isprintable()) or " " in found:
        raise CommandFailed(
            "Expected one token or key, on one line and nothing else, got something else", address=where
        )
    return found


def in_the_clear(url: str) -> bool:
    """Whether others could read what is sent there: it is neither https nor this very machine."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
