"""Mail: what it says, how it waits until a server takes it, how it is sent.

| module | one idea |
|---|---|
| `templates` | the texts |
| `queue` | mail is on disk until the server has taken it |
| `smtp` | one message to one server (RFC 5321), over TLS |
"""

from __future__ import annotations

from .queue import MailQueue
from .smtp import SmtpServer
from .templates import Mail

__all__ = ["Mail", "MailQueue", "SmtpServer"]
