"""docs/how-to/sign-electronically.md: its plugin verifies signers, its requests sign and check a record."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

from rustcare_plugin_audit.plugin import Audit
from rustcare_sdk.contracts import compliance
from rustcare_sdk.testing import harness

from tests.support.keyring import MemoryKeyring

GUIDE = Path(__file__).parents[3] / "docs" / "how-to" / "sign-electronically.md"


class Asking:
    """The plugin of the guide's requests: `self.ctx.request` goes to the audit log."""

    def __init__(self, h: Any) -> None:
        self.ctx = self
        self.h = h

    async def request(self, service: str, data: Any, *, type: Any = None) -> Any:
        """As the signer, whose right to ask the harness does not check."""
        return await self.h.request(service, data)


async def test_the_guide() -> None:
    """The blocks run as they are printed, in order."""
    identity, sign, check = re.findall(r"^```python\n(.*?)^```", GUIDE.read_text(), re.M | re.S)
    found: dict[str, Any] = {}
    exec(identity, found)

    class Known(found["Identity"]):  # type: ignore[misc]
        async def proves(self, principal: str, component: compliance.Component) -> bool:
            return component.value in ("horse", "123456")

        async def name_of(self, principal: str) -> str:
            return "Dr. Grey"

        async def is_theirs(self, session: str) -> bool:
            return True

    double = harness(Audit, principal="grey")
    MemoryKeyring().attach(double)
    verifier = Known()
    double.answer(compliance.VERIFY_COMPONENTS, verifier.verify)
    async with double as h:
        names = {**vars(compliance), "self": Asking(h), "record_bytes": b"x", "session": "s"}
        names.update(password="horse", code="123456")
        body = f"async def run():\n{textwrap.indent(sign + check, '    ')}\n    return signature, found\n"
        exec(body, names)
        signature, verified = await names["run"]()
    assert verified.signature == signature
    assert re.sub(r"\s+", " ", signature.text.partition("Signed")[0]).strip() in re.sub(r"\s+", " ", GUIDE.read_text())
