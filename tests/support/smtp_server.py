"""A real SMTP server (aiosmtpd) on a free port of this machine, in the event loop of the test: takes mail, or does not.

async with SmtpServer(authority) as server:
    …
    message = await server.next()
"""

from __future__ import annotations

import asyncio
import re
import ssl
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

__all__ = ["SmtpServer", "link_in"]


class SmtpServer:
    """The server. It goes down and up again on the same port.

    Args:
        tls: for STARTTLS, or for the whole connection (`implicit`).
        user, password: who may send; without, everybody.

    Attributes:
        refuse: what it answers to recipients, instead of taking mail (`550 no such user`).
        tried: how many messages were handed to it, taken or not.
    """

    def __init__(
        self, tls: ssl.SSLContext | None = None, *, implicit: bool = False, user: str = "", password: str = ""
    ) -> None:
        self._tls = tls
        self._implicit = implicit
        self._user = user
        self._password = password
        self._server: asyncio.Server | None = None
        self._sessions: list[SMTP] = []
        self._mail: asyncio.Queue[EmailMessage] = asyncio.Queue()
        self.port = 0
        self.refuse = ""
        self.tried = 0

    async def __aenter__(self) -> SmtpServer:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen, on the port of before."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            self._protocol, "127.0.0.1", self.port, ssl=self._tls if self._implicit else None
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Listen no more, and let go of every connection, in whatever state it is."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for session in self._sessions:
            if session._handler_coroutine is not None:
                # That a client breaks off in the middle of TLS is what some tests are about: nobody need hear of it.
                session._handler_coroutine.add_done_callback(lambda task: task.cancelled() or task.exception())
            for transport in (session.transport, session._original_transport):
                if isinstance(transport, asyncio.WriteTransport):
                    transport.abort()
        self._sessions.clear()
        await asyncio.sleep(0)  # what was aborted is closed in the next turn of the loop

    def _protocol(self) -> SMTP:
        starttls = self._tls is not None and not self._implicit
        made = SMTP(
            self,
            hostname="mail.test",
            enable_SMTPUTF8=True,
            tls_context=self._tls if starttls else None,
            require_starttls=starttls,
            authenticator=self._authenticate if self._user else None,
            auth_require_tls=not self._implicit,
            loop=asyncio.get_running_loop(),
        )
        self._sessions.append(made)
        return made

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        right = isinstance(given, LoginPassword) and given == LoginPassword(
            self._user.encode(), self._password.encode()
        )
        return AuthResult(success=right, handled=False)

    async def handle_RCPT(  # the library's name
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """Take the recipient, or not."""
        if self._user and not session.authenticated:
            return "530 sign in first"
        if self.refuse:
            self.tried += 1
            return self.refuse
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # the library's name
        """Take the message."""
        self.tried += 1
        message = BytesParser(policy=default).parsebytes(envelope.content)
        message["X-Envelope-To"] = ", ".join(envelope.rcpt_tos)
        assert isinstance(message, EmailMessage)
        self._mail.put_nowait(message)
        return "250 OK"

    async def next(self, timeout: float = 20.0) -> EmailMessage:
        """The next message that comes in."""
        async with asyncio.timeout(timeout):
            return await self._mail.get()

    @property
    def waiting(self) -> int:
        """How many messages came in that nobody has looked at."""
        return self._mail.qsize()


def link_in(message: EmailMessage) -> str:
    """The secret of the link in a mail."""
    found = re.search(r"/identity/links/[a-z-]+/([A-Za-z0-9_-]{43})", message.get_content())
    assert found is not None, "there is no link in this mail"
    return found[1]
