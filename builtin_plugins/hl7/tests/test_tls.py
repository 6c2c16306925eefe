"""TLS on the listener: real certificates, real handshakes."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from rustcare_sdk.contracts import hl7


@pytest.fixture
def authority() -> trustme.CA:
    """An authority that the clients trust."""
    return trustme.CA()


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> dict[str, str]:
    """The server's certificate and key as files."""
    issued = authority.issue_cert("localhost")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.private_key_pem.write_to_path(key)
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return {"certificate": str(certificate), "key": str(key)}


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_messages_arrive_over_tls(
    receiver: Any, connect: Any, message: Any, authority: trustme.CA, files: dict[str, str]
) -> None:
    """The same protocol inside of TLS 1.2 or newer."""
    async with receiver(tls=files) as h, connect(h, trusting(authority), "localhost") as client:
        assert client.writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        assert await client.ask(message()) == ("AA", "C1")


async def test_a_plain_connection_gets_nowhere(
    receiver: Any, connect: Any, message: Any, files: dict[str, str]
) -> None:
    """With TLS configured, what does not speak it is closed."""
    async with receiver(tls=files) as h, connect(h) as client:
        client.write(b"\x0b" + message() + b"\x1c\r")
        assert await client.closed() or await client.closed()  # at most a TLS alert comes first
        assert (await h.request(hl7.STATUS, hl7.StatusRequest())).received == 0


async def test_only_clients_of_the_configured_authority_connect(
    receiver: Any, connect: Any, message: Any, authority: trustme.CA, files: dict[str, str], tmp_path: Path
) -> None:
    """With `client_ca`: a certificate of that authority is needed; none, or another's, ends the handshake."""
    clients = trustme.CA()
    ca_file = tmp_path / "clients.pem"
    clients.cert_pem.write_to_path(ca_file)
    known = trusting(authority)
    clients.issue_cert("ward-3b").configure_cert(known)
    stranger = trusting(authority)
    trustme.CA().issue_cert("stranger").configure_cert(stranger)
    async with receiver(tls={**files, "client_ca": str(ca_file)}) as h:
        async with connect(h, known, "localhost") as client:
            assert await client.ask(message()) == ("AA", "C1")
        for context in (trusting(authority), stranger):
            with pytest.raises((EOFError, ConnectionError, ssl.SSLError)):
                async with connect(h, context, "localhost") as client:
                    await client.ask(message("C2"))
        assert (await h.request(hl7.STATUS, hl7.StatusRequest())).received == 1
