"""TLS: https, and client certificates."""

from __future__ import annotations

import hashlib
import ssl
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from rustcare_plugin_gateway.errors import InvalidSettings
from rustcare_plugin_gateway.tls import context_of
from rustcare_sdk.contracts.http import HttpResponse
from rustcare_sdk.contracts.identity import Authenticated
from rustcare_sdk.message import Message

from tests.support.gateway_plugin import gateway_plugin, row

NOTHING = {"certificate": "", "key": "", "client_ca": "", "client_required": False}


class Files:
    """A server's and a client's certificate of one authority."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        server, client = self.ca.issue_cert("localhost"), self.ca.issue_cert("machine.example.org")
        self.client = folder / "client.pem"
        client.private_key_and_cert_chain_pem.write_to_path(self.client)
        self.digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(client.cert_chain_pems[0].bytes().decode())).hexdigest()
        certificate, key, authority = folder / "server.pem", folder / "server.key", folder / "ca.pem"
        server.cert_chain_pems[0].write_to_path(certificate)
        server.private_key_pem.write_to_path(key)
        self.ca.cert_pem.write_to_path(authority)
        self.config = {"certificate": str(certificate), "key": str(key), "client_ca": str(authority)}

    def context(self, *, client: bool = False) -> ssl.SSLContext:
        """A client's context."""
        context = ssl.create_default_context()
        self.ca.configure_trust(context)
        if client:
            context.load_cert_chain(self.client)
        return context


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """New ones."""
    return Files(tmp_path)


def said(message: Message[Any]) -> HttpResponse:
    """Who and where."""
    return HttpResponse(content={"principal": message.principal, "base": message.data.base})


async def test_over_https_the_origin_is_https_and_browsers_stay_there(files: Files) -> None:
    """`Strict-Transport-Security` on every answer, https in what a route sees."""
    async with gateway_plugin(row("GET", "/a", public=True), tls=files.config) as gate:
        gate.answer("/a", said)
        url = gate.url.replace("http:", "https:")
        async with httpx.AsyncClient(verify=files.context(), trust_env=False) as client:
            answer = await client.get(url + "/a")
        assert answer.json() == {"principal": "", "base": url}
        assert answer.headers["strict-transport-security"].startswith("max-age=31536000")


async def test_a_client_certificate_is_a_credential(files: Files) -> None:
    """It is known by its SHA-256; who has none is asked for another credential."""
    async with gateway_plugin(row("GET", "/a"), tls=files.config) as gate:
        gate.answer("/a", said)
        gate.people[files.digest] = Authenticated("service/machine", "default", keep=time.time() + 60)
        url = gate.url.replace("http:", "https:")
        async with httpx.AsyncClient(verify=files.context(client=True), trust_env=False) as client:
            assert (await client.get(url + "/a")).json()["principal"] == "service/machine"
        async with httpx.AsyncClient(verify=files.context(), trust_env=False) as client:
            assert (await client.get(url + "/a")).status_code == 401


async def test_a_client_without_a_certificate_can_be_turned_away(files: Files) -> None:
    """When one is required."""
    async with gateway_plugin(row("GET", "/a", public=True), tls={**files.config, "client_required": True}) as gate:
        url = gate.url.replace("http:", "https:")
        async with httpx.AsyncClient(verify=files.context(), trust_env=False) as client:
            with pytest.raises(httpx.TransportError):
                await client.get(url + "/a")
        async with httpx.AsyncClient(verify=files.context(client=True), trust_env=False) as client:
            assert (await client.get(url + "/a")).status_code == 200


def test_files_that_do_not_fit_are_told(files: Files, tmp_path: Path) -> None:
    """Missing ones, a key that is another's, authorities without a certificate."""
    assert context_of(NOTHING) is None
    other = tmp_path / "other.key"
    trustme.CA().issue_cert("x").private_key_pem.write_to_path(other)
    for config in (
        {**NOTHING, "certificate": "/nowhere/server.pem"},
        {**NOTHING, **files.config, "key": str(other)},
        {**NOTHING, "client_ca": files.config["client_ca"]},
    ):
        with pytest.raises(InvalidSettings):
            context_of(config)
    context = context_of({**NOTHING, **files.config})
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
