"""The guides to the front door: their commands run as they are printed, on a server whose port is the test's."""

from __future__ import annotations

import datetime
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from rustcare_kernel.control import ControlClient

from tests.end_to_end.test_gateway_nginx import SERVER
from tests.support.administrator import PASSWORD, Ask, code_at, make_administrator
from tests.support.follow import Block, Reader, Step, blocks_of

GUIDES = Path(__file__).parents[2] / "docs" / "how-to"
HOST = "clinic.example.org"


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def _server(folder: Path, port: int) -> Iterator[Reader]:
    """A reader with a kernel that has a front door on a port."""
    with Reader(folder / "reader", types="y\n", no_proxy=f"localhost,{HOST}", RUSTCARE_DATA="rustcare-data") as made:
        made.do(Step("rustcare up --bare", ("Stop with Ctrl-C …",)), "the test", go_on=True)
        for plugin in ("crypto", "audit", "identity"):
            made.do(
                Step(f"rustcare plugin install installed:{plugin}", (f"rustcare.{plugin} … is active",)), "the test"
            )
        (made.folder / "first.json").write_text(f'{{"host": "127.0.0.1", "port": {port}, "insecure_cookies": true}}')
        made.do(Step("rustcare plugin install installed:gateway --config first.json", ()), "the test")
        yield made
        made.do(Step("rustcare system stop", ("The kernel has stopped.",)), "the test")


def _page(name: str, **instead: str) -> list[Block]:
    """A guide's blocks, with words replaced."""
    blocks = []
    for block in blocks_of(GUIDES / name):
        text = block.text
        for before, after in instead.items():
            text = text.replace(before, after)
        blocks.append(replace(block, text=text))
    return blocks


def _certificate(folder: Path) -> None:
    """A certificate that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "tls.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_open_the_front_door(tmp_path: Path) -> None:
    """The gateway is given a certificate and a name, and answers under it; identity learns how to send mail."""
    _certificate(tmp_path)
    (tmp_path / "reader").mkdir()
    (tmp_path / "reader" / "smtp-password").write_text("only for a test")
    with _server(tmp_path, _free_port()) as reader:
        reader.follow(_page("open-the-front-door.md", **{"/etc/rustcare": str(tmp_path), "8443": str(_free_port())}))


def test_rate_limits(tmp_path: Path) -> None:
    """Two requests pass and the third does not; what the answers say of it is as printed."""
    port = _free_port()
    with _server(tmp_path, port) as reader:
        reader.do(Step("rustcare key create board --create --out board.key", ()), "the test")
        reader.do(Step('echo "X-API-Key: $(cat board.key)" > board.header', ()), "the test")
        reader.follow(_page("rate-limits.md", **{"localhost:8080": f"localhost:{port}"}))


def test_provision_with_scim(tmp_path: Path) -> None:
    """A client with a role of its own makes a user and finds it."""
    port = _free_port()
    with _server(tmp_path, port) as reader:
        reader.follow(_page("provision-with-scim.md", **{"localhost:8080": f"localhost:{port}"}))


def _with_two_factors(ask: Ask, url: str, name: str, role: str) -> tuple[str, str]:
    """Somebody with a password and an authenticator app, signed in with both: principal and session."""
    made = ask("identity.account.create", {"name": name, "password": PASSWORD, "roles": [role]}, "")
    principal = made["account"]["principal"]
    client = {"origin": url, "agent": "tests", "address": "127.0.0.1"}
    begun = ask("identity.login.password", {"name": name, "password": PASSWORD, "client": client}, "")
    app = ask("identity.mfa.totp.begin", {"name": "phone"}, principal)
    now = time.time()
    ask("identity.mfa.totp.confirm", {"enrolment": app["enrolment"], "code": code_at(app["secret"], now)}, principal)
    code = code_at(app["secret"], now + 30)  # the one that confirmed is spent
    proof = {"session": begun["session"]["id"], "kind": "totp", "answer": code, "client": client}
    return principal, ask("identity.login.step-up", proof, principal)["session"]["id"]


def test_emergency_access(tmp_path: Path) -> None:
    """An access is begun, found and reviewed; a delegation is given, taken up and laid down; an account is stopped."""
    port = _free_port()
    url = f"http://localhost:{port}"
    with _server(tmp_path, port) as reader, ControlClient(reader.folder / "rustcare-data", timeout=60) as control:

        def ask(service: str, data: dict[str, Any], principal: str) -> Any:
            return control.call("bus.request", service=service, data=data, principal=principal or None)

        administrator = make_administrator(ask, url)
        people = {
            "reviewer": (administrator.principal, administrator.session),
            "physician": _with_two_factors(ask, url, "physician", "clinician"),
            "secretary": _with_two_factors(ask, url, "secretary", "user"),
        }
        for name, (principal, session) in people.items():
            token = ask("identity.token.issue", {"session": session}, principal)["access_token"]
            (reader.folder / f"{name}.header").write_text(f"Authorization: Bearer {token}")
        shown = ""
        for block in _page("emergency-access.md", **{"https://clinic.example.org": url}):
            for step in block.steps:
                found = re.search(r'"id":"([^"]+)"', shown)
                command = step.command.replace("/ID/", f"/{found[1]}/" if found else "/ID/")
                shown = reader.do(replace(step, command=command), block.place)


def test_the_nginx_that_is_shown_is_the_one_that_is_tried() -> None:
    """Line for line, but for the ports."""
    (shown,) = (block.text for block in blocks_of(GUIDES / "stand-behind-nginx.md") if block.language == "nginx")
    tried = SERVER.format(gateway=8080, service=9000)
    assert [line.strip() for line in shown.splitlines()] == [line.strip() for line in tried.strip().splitlines()]
