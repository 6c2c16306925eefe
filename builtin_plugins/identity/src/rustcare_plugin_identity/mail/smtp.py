"""One message to one server (RFC 5321, RFC 3207, RFC 4954), in a thread of its own.

The connection is encrypted and the server's certificate checked, unless the configuration says `none`, for a server on this
very machine. Errors say what kind they are, never what the server answered: that repeats addresses.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Mapping
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, formataddr
from typing import Any, Literal

from msgspec import Struct

__all__ = ["MailRefused", "SmtpServer"]


class MailRefused(Exception):
    """The server did not take a message. `kind`: what happened, in a word; `final`: it never will."""

    def __init__(self, kind: str, final: bool) -> None:
        super().__init__(kind)
        self.kind = kind
        self.final = final


class SmtpServer(Struct, frozen=True):
    """Where mail goes. `sender`: the address that it is from, `name` how that is shown."""

    host: str
    port: int = 587
    security: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    sender: str = ""
    ca_file: str = ""
    timeout: float = 20.0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> SmtpServer | None:
        """From the configuration's section `mail`; None when it names no host."""
        if not config.get("host"):
            return None
        return cls(
            host=config["host"],
            port=int(config.get("port", 587)),
            security=config.get("security", "starttls"),
            user=config.get("user", ""),
            sender=config.get("from", "") or f"no-reply@{config['host']}",
            ca_file=config.get("ca_file", ""),
            timeout=float(config.get("timeout", 20)),
        )

    def send(self, message: EmailMessage, recipient: str, password: str) -> None:
        """Hand a message over. Blocks. Raises MailRefused."""
        try:
            with self._connected() as server:
                if self.user:
                    server.login(self.user, password)
                server.send_message(message, self.sender, [recipient])
        except smtplib.SMTPRecipientsRefused as error:
            code = next((answer[0] for answer in error.recipients.values()), 0)
            raise MailRefused(f"recipient refused ({code})", final=500 <= code < 600) from None
        except smtplib.SMTPNotSupportedError:
            raise MailRefused("the server does not support what is needed", final=False) from None
        except smtplib.SMTPResponseException as error:
            # A refused sender or sign-in is the configuration's fault: it may be mended.
            final = isinstance(error, smtplib.SMTPDataError) and 500 <= error.smtp_code < 600
            raise MailRefused(f"{type(error).__name__} ({error.smtp_code})", final) from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            # ValueError: a password or an address that the protocol cannot carry.
            raise MailRefused(type(error).__name__, final=False) from None

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context(cafile=self.ca_file or None)
        if self.security == "tls":
            return smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout, context=context)
        server = smtplib.SMTP(self.host, self.port, timeout=self.timeout)
        if self.security == "starttls":
            try:
                server.starttls(context=context)
            except BaseException:
                server.close()
                raise
        return server

    def message(self, id: str, recipient: str, subject: str, body: str, created: datetime, house: str) -> EmailMessage:
        """The message as it goes out. Its id is that of the queue, so that one that goes out twice can be told.

        Raises MailRefused when a header cannot hold what it is to hold: it never will.
        """
        found = EmailMessage(policy=SMTP if recipient.isascii() and self.sender.isascii() else SMTPUTF8)
        try:
            found["From"] = formataddr((house, self.sender))
            found["To"] = recipient
            found["Subject"] = subject
        except ValueError:
            raise MailRefused("a header cannot be written", final=True) from None
        found["Date"] = format_datetime(created)
        found["Message-ID"] = f"<{id}@{self.sender.rpartition('@')[2] or self.host}>"
        found["Auto-Submitted"] = "auto-generated"
        found["X-Auto-Response-Suppress"] = "All"
        found.set_content(body)
        return found
