"""A real HTTPS server on this machine, with a certificate of its own authority, that answers what a test says."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme

__all__ = ["Answer", "HttpsServer", "https_server"]


@dataclass
class Answer:
    """One answer. `write` takes the place of the body: it writes bytes until it returns."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    write: Callable[[Callable[[bytes], object]], object] | None = None


class HttpsServer:
    """`answers` by path; `seen`: each request's path and header fields. `authorities`: the file to trust it by."""

    def __init__(self, folder: Path, name: str) -> None:
        authority = trustme.CA()
        self.authorities = str(folder / f"{name}.pem")
        authority.cert_pem.write_to_path(self.authorities)
        self.answers: dict[str, Answer] = {}
        self.seen: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                outer.seen.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
                answer = outer.answers.get(self.path, Answer(404))
                self.send_response_only(answer.status)
                for key, value in answer.headers.items():
                    self.send_header(key, value)
                if answer.write is None:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                if answer.write is None:
                    self.wfile.write(answer.body)
                else:
                    answer.write(self.wfile.write)

            def log_message(self, format: str, *args: object) -> None:
                """Nothing on stderr."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that went away is what some tests are about."""

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.server = Server(("127.0.0.1", 0), Handler)
        # The handshake is made in the connection's own thread, so that one that never comes holds up no other.
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = int(self.server.server_address[1])
        self.url = f"https://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)


@contextmanager
def https_server(folder: Path, name: str = "authority") -> Iterator[HttpsServer]:
    """A server, as long as the block lasts."""
    server = HttpsServer(folder, name)
    server.thread.start()
    try:
        yield server
    finally:
        server.server.shutdown()
        server.server.server_close()
        server.thread.join()
