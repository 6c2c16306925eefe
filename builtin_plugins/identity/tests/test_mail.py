"""Mail: over a real SMTP server, with TLS, sign-in, refusals, and servers that are away."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.mail import Mail, MailQueue
from rustcare_plugin_identity.mail import templates as texts
from rustcare_plugin_identity.plugin import Identity
from rustcare_sdk.errors import AuditUnavailable
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.identity_keyring import IdentityKeyring
from tests.support.smtp_server import SmtpServer

HELLO = Mail("Grüße", "Hello,\n\nthis is Ä.\n")


@asynccontextmanager
async def sender(server: SmtpServer, secret: str = "", **more: Any) -> AsyncIterator[PluginHarness]:
    """The plugin, sending to this server."""
    mail = {"host": "localhost", "port": server.port, "from": "rustcare@clinic.example", "security": "none", **more}
    double = harness(Identity, config={"mail": mail}, secrets={"identity.smtp": secret.encode()} if secret else {})
    async with IdentityKeyring().attach(double) as h:
        yield h


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Who signs the server's certificate."""
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA, tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """The server's side, and the file that its clients trust."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return context, str(path)


async def test_a_message_is_whole() -> None:
    """Sender, recipient, subject and text arrive as they were put in, in any script; nothing answers it by itself."""
    async with SmtpServer() as server, sender(server) as h:
        await h.plugin.mails.put("default", "anna@b.example", HELLO)  # type: ignore[attr-defined]
        message = await server.next()
        assert message["X-Envelope-To"] == "anna@b.example"
        assert message["To"] == "anna@b.example"
        assert message["From"] == "RustCare <rustcare@clinic.example>"
        assert message["Subject"] == "Grüße"
        assert message.get_content().replace("\r\n", "\n") == HELLO.body
        assert message["Auto-Submitted"] == "auto-generated"
        assert message["Message-ID"].endswith("@clinic.example>")


async def test_an_address_in_any_script() -> None:
    """SMTPUTF8 (RFC 6531) where the address needs it."""
    async with SmtpServer() as server, sender(server) as h:
        await h.plugin.mails.put("default", "josé@b.example", HELLO)  # type: ignore[attr-defined]
        assert (await server.next())["X-Envelope-To"] == "josé@b.example"


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_over_tls_signed_in(tls: tuple[ssl.SSLContext, str], security: str) -> None:
    """The connection is encrypted, the certificate checked, the password that of the secret."""
    context, ca_file = tls
    server = SmtpServer(context, implicit=security == "tls", user="rustcare", password="open sesame")
    async with server, sender(server, "open sesame\n", security=security, user="rustcare", ca_file=ca_file) as h:
        await h.plugin.mails.put("default", "anna@b.example", HELLO)  # type: ignore[attr-defined]
        assert (await server.next())["To"] == "anna@b.example"
        h.assert_capabilities_within_manifest()


async def _kept(h: PluginHarness) -> list[dict[str, Any]]:
    return [dict(row) for row in await h.plugin.ctx.db.fetch("SELECT * FROM mails")]


@pytest.mark.parametrize("what", ["certificate", "password", "no tls"])
async def test_what_is_not_safe_is_not_sent(
    tls: tuple[ssl.SSLContext, str], authority: trustme.CA, what: str, tmp_path: Path
) -> None:
    """To a server that nobody vouches for, or that offers no TLS, nothing goes; nor with a wrong password. It is kept."""
    context, ca_file = tls
    if what == "certificate":
        ca_file = str(tmp_path / "other.pem")
        trustme.CA().cert_pem.write_to_path(ca_file)
    server = SmtpServer(None if what == "no tls" else context, user="" if what == "no tls" else "u", password="right")
    secret = "wrong" if what == "password" else "right"
    async with server, sender(server, secret, security="starttls", user="u", ca_file=ca_file) as h:
        await h.plugin.mails.put("default", "anna@b.example", HELLO)  # type: ignore[attr-defined]
        assert await h.plugin.mails.flush() == 0  # type: ignore[attr-defined]
        assert [row["attempts"] for row in await _kept(h)] == [1]
        assert server.tried == 0
        log = str(h.logs)
        assert "mail was not taken" in log
        assert not any(word in log for word in ("anna", "b.example", "Ä", secret))


async def test_mail_waits_for_a_server_that_is_away() -> None:
    """It survives a restart, is tried again after a while, and goes out once."""
    async with SmtpServer() as server, sender(server) as h:
        await server.down()
        await h.plugin.mails.put("default", "anna@b.example", HELLO)  # type: ignore[attr-defined]
        await h.plugin.mails.flush()  # type: ignore[attr-defined]
        await h.restart()
        await server.up()
        assert await h.plugin.mails.flush() == 0  # type: ignore[attr-defined]  # not yet due
        h.advance(16)
        assert await h.plugin.mails.flush() == 1  # type: ignore[attr-defined]
        assert (await server.next())["To"] == "anna@b.example"
        assert await _kept(h) == []
        assert server.tried == 1


async def test_two_who_send_send_once() -> None:
    """While a version hands over to the next both look into the queue: each message is one's."""
    async with SmtpServer() as server, sender(server) as h:
        mails = h.plugin.mails  # type: ignore[attr-defined]
        async with h.plugin.ctx.db.transaction() as tx:
            for number in range(10):
                await mails.put("default", f"anna{number}@b.example", HELLO, tx)
        other = MailQueue(
            h.plugin.ctx.db,
            mails._now,
            mails._random,
            h.plugin.ctx.log,
            server=mails._server,
            password=mails._password,
            house=mails._house,
            lost=mails._lost,
        )
        try:
            await asyncio.gather(mails.flush(), other.flush())
            assert len({(await server.next())["To"] for _ in range(10)}) == 10
            await asyncio.gather(mails.flush(), other.flush())
        finally:
            other.close()
        assert server.tried == 10
        assert await _kept(h) == []


async def test_what_cannot_be_delivered_is_given_up_and_told() -> None:
    """A recipient that is refused for good is not tried again; one refused for now is, for a day."""
    async with SmtpServer() as server, sender(server) as h:
        mails = h.plugin.mails  # type: ignore[attr-defined]
        server.refuse = "550 no such user anna@b.example"
        await mails.put("ward", "anna@b.example", HELLO)
        await mails.flush()
        assert await _kept(h) == []
        (told,) = h.assert_published("identity.event", times=1)
        assert (told.data.action, told.data.outcome) == ("mail.lost", "failure")
        assert told.data.details == {"tenant": "ward", "reason": "recipient refused (550)"}
        server.refuse = "450 later"
        await mails.put("ward", "anna@b.example", HELLO)
        for _ in range(12):
            await mails.flush()
            assert len(await _kept(h)) == 1
            h.advance(3601)
        h.advance(86400)
        await mails.flush()
        assert await _kept(h) == []
        h.assert_published("identity.event", times=2)


async def test_what_could_not_be_told_stops_no_mail() -> None:
    """While a message that was given up cannot be put on record it stays, is told later, and others go out meanwhile."""
    async with SmtpServer() as server, sender(server) as h:
        away, refused = [True], asyncio.Event()

        def told(message: object) -> None:
            refused.set()
            if away:
                raise AuditUnavailable("the log cannot be written")

        h.subscribe("identity.event", told)
        server.refuse = "550 no such user"
        await h.plugin.mails.put("ward", "anna@b.example", HELLO)  # type: ignore[attr-defined]
        await refused.wait()
        server.refuse = ""
        await h.plugin.mails.put("ward", "bob@b.example", HELLO)  # type: ignore[attr-defined]
        assert (await server.next())["To"] == "bob@b.example"
        await h.plugin.mails.flush()  # type: ignore[attr-defined]  # it has noted that
        assert [row["recipient"] for row in await _kept(h)] == ["anna@b.example"]
        away.clear()
        server.refuse = "550 no such user"
        h.advance(301)
        assert await h.plugin.mails.flush() == 0  # type: ignore[attr-defined]
        assert await _kept(h) == []


async def test_a_message_that_cannot_be_written_is_given_up() -> None:
    """A header that would break into two is not sent, and keeps no other message from going out."""
    async with SmtpServer() as server, sender(server) as h:
        mails = h.plugin.mails  # type: ignore[attr-defined]
        await mails.put("ward", "anna@b.example\nBcc: eve@b.example", HELLO)
        await mails.put("ward", "bob@b.example", HELLO)
        assert (await server.next())["To"] == "bob@b.example"
        await mails.flush()
        assert await _kept(h) == []
        assert server.tried == 1
        (told,) = h.assert_published("identity.event", times=1)
        assert told.data.details == {"tenant": "ward", "reason": "a header cannot be written"}


async def test_mail_to_nobody_is_work_alone() -> None:
    """A row without a recipient is taken out, unsent."""
    async with SmtpServer() as server, sender(server) as h:
        await h.plugin.mails.put("default", "", HELLO)  # type: ignore[attr-defined]
        await h.plugin.mails.put("default", "anna@b.example", HELLO)  # type: ignore[attr-defined]
        await server.next()
        await h.plugin.mails.flush()  # type: ignore[attr-defined]
        assert await _kept(h) == []
        assert server.tried == 1


@given(st.text(max_size=200))
def test_what_others_typed_is_one_line(text: str) -> None:
    """A shown name, a house's name or a browser's cannot pass for another part of a mail, nor bring a link of its own."""
    link = "https://c.example/x"
    for mail in (
        texts.invite(text, text, link, 168),
        texts.recover(text, text, link, 1),
        texts.register(text, link, 24),
        texts.already_registered(text, text, link),
        texts.verify_email(text, text, link, 24),
        texts.new_device(text, text, text, text, "now"),
        texts.password_changed(text, text, "now"),
        texts.email_changed(text, text, "now"),
    ):
        assert mail.subject.isprintable()
        assert mail.body.count("://") <= 1
        plain = texts.invite("x", "x", link, 168) if "an account was made" in mail.body else None
        if plain is not None:
            assert mail.body.count("\n") == plain.body.count("\n")
        assert repr(mail) == "<Mail>"
