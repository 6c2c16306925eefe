"""What /openapi.json says is what is answered: schemathesis makes requests from it, for a signed-in administrator.

`RUSTCARE_CASES` says how many requests are made for each operation and phase at most (by hand 60, which is over ten thousand
in all; fewer in every run).
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path
from typing import Any

from rustcare_kernel.control import ControlClient

from tests.end_to_end.test_http_upgrade import node
from tests.support.administrator import Administrator, make_administrator

CASES = int(os.environ.get("RUSTCARE_CASES", "2"))
CHECKS = "not_a_server_error,status_code_conformance,response_schema_conformance,content_type_conformance"
#: Left out: what ends the session that the requests are made with, what takes plugins away that answer them (ids are learned
#: from answers, so the keyring would be disabled sooner or later), and a stream that has no end.
LEFT_OUT = r"(/me/sessions|/scim/v2/Me$|/admin/v1/plugins/.id.|/admin/v1/events$)"


async def test_nothing_is_answered_that_is_not_described(tmp_path: Path) -> None:
    """Whatever is sent to a route: no 5xx, no status, media type or content that the description does not know."""
    options = {"also": ["admin"], "roles": [], "gateway": {"insecure_cookies": True, "metrics": "loopback"}}
    async with node(tmp_path / "data", **options) as said:
        url = f"http://127.0.0.1:{said['port']}"

        def somebody() -> Administrator:
            with ControlClient(tmp_path / "data") as control:

                def ask(service: str, data: dict[str, Any], principal: str) -> Any:
                    return control.call("bus.request", service=service, data=data, principal=principal)

                return make_administrator(ask, url)

        administrator = await asyncio.to_thread(somebody)
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "schemathesis"), "run", f"{url}/openapi.json",
            "-H", f"Cookie: rustcare={administrator.credential}", "-H", f"Origin: {url}",
            "-c", CHECKS, "-n", str(CASES), "--exclude-path-regex", LEFT_OUT, "--phases", "coverage,fuzzing",
            "--continue-on-failure", "--generation-deterministic", "--workers", "1",
            cwd=tmp_path, stdout=PIPE, stderr=STDOUT,
            env={key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")},
        )  # fmt: skip
        assert process.stdout is not None
        text = (await process.stdout.read()).decode()
        code = await process.wait()
    found = re.search(r"(\d+) generated", text)
    assert found is not None, text
    print(f"\n{found[1]} requests made from the description")
    assert code == 0, text[-20_000:]
    assert int(found[1]) > 500
