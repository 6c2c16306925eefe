"""One request on its way through the pipeline: what has been found out about it so far."""

from __future__ import annotations

from rustcare_sdk.contracts.http import Caller

from .credentials import Credential
from .errors import Refused
from .limits import Class, Verdict
from .routes import Entry
from .tenants import Tenant

__all__ = ["ANONYMOUS", "NOBODY", "Visit"]

#: Nobody known, before there is a tenant.
ANONYMOUS = Caller()
#: Parameters of a path without any. Not to be changed.
NOBODY: dict[str, str] = {}


class Visit:
    """What is known of a request. Made once for each, so it holds no more than is needed.

    `denied`: why its credential was not accepted, on a route that anybody may ask. `passed`: nothing was in its way to the
    plugin, so it has to be put on record. `sent`: the answer has begun. `method` and `path` are those of the request itself;
    of a question about another request (forward authentication) those are `asked_method` and `asked_path`.
    """

    __slots__ = (
        "address",
        "asked_method",
        "asked_path",
        "base",
        "caller",
        "class_",
        "credential",
        "denied",
        "entry",
        "headers",
        "id",
        "method",
        "origin",
        "params",
        "passed",
        "path",
        "prefix",
        "secure",
        "sent",
        "status",
        "tenant",
        "trace",
        "verdict",
    )

    headers: dict[str, str]
    id: str
    trace: str

    def __init__(self, method: str, path: str) -> None:
        self.method = self.asked_method = method
        self.path = self.asked_path = path
        self.prefix = ""
        self.address = ""
        self.base = ""
        self.origin = ""
        self.secure = False
        self.passed = False
        self.sent = False
        self.status = 500
        self.params = NOBODY
        self.caller = ANONYMOUS
        self.credential: Credential | None = None
        self.denied: Refused | None = None
        self.entry: Entry | None = None
        self.tenant: Tenant | None = None
        self.class_: Class | None = None
        self.verdict: Verdict | None = None
