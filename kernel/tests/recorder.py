"""A recorder for the kernel's tests: a plugin that keeps entries in its own database, and fails when the board says so."""

from __future__ import annotations

from pathlib import Path

from rustcare_kernel.package import Package
from rustcare_kernel.package._model import make_package
from rustcare_sdk.manifest import read_manifest

__all__ = ["RECORDER", "recorder"]

RECORDER = "acme.recorder"

_CODE = """
from __future__ import annotations
import json
from dataclasses import asdict
from rustcare_sdk import Plugin, serve
from rustcare_sdk.contracts import audit
from rustcare_sdk.message import Message
import rustcare_tests_board as board

ME, VERSION = "acme.recorder", "{version}"


class Sample(Plugin):
    async def start(self):
        await board.step(self, "start")

    @serve("audit.policy")
    async def policy(self, message: Message[audit.PolicyRequest]) -> audit.PolicyReply:
        return audit.PolicyReply({must})

    @serve("audit.record")
    async def record(self, message: Message[audit.RecordRequest]) -> audit.RecordReply:
        await board.step(self, "record")
        indices = []
        for item in message.data.attempts:
            found = None
            if message.data.again:
                found = await self.ctx.db.fetch_one("SELECT n FROM entries WHERE id = ?", (item.id,))
            if found is None:
                details = json.dumps(item.details, default=str)
                row = (item.id, item.kind, item.action, item.capability, item.plugin, item.principal, details)
                found = await self.ctx.db.fetch_one(
                    "INSERT INTO entries (n, id, kind, action, capability, plugin, principal, details) "
                    "SELECT COALESCE(MAX(n), -1) + 1, ?, ?, ?, ?, ?, ?, ? FROM entries RETURNING n", row)
            indices.append(found["n"])
        await board.step(self, "recorded")
        return audit.RecordReply(indices)

    @serve("audit.settle")
    async def settle(self, message: Message[audit.SettleRequest]) -> audit.SettleReply:
        await board.step(self, "settle")
        for item in message.data.outcomes:
            await self.ctx.db.execute(
                "UPDATE entries SET outcome = ?, code = ?, effect = ? WHERE id = ?",
                (item.outcome, item.code, item.effect, item.id))
        return audit.SettleReply(0)

    @serve("audit.unsettled")
    async def unsettled(self, message: Message[audit.UnsettledRequest]) -> audit.UnsettledReply:
        rows = await self.ctx.db.fetch(
            "SELECT id, n, kind, capability FROM entries "
            "WHERE n > ? AND outcome IS NULL AND kind <> 'fact' ORDER BY n LIMIT 10",
            (message.data.after,))
        return audit.UnsettledReply([audit.Unsettled(*row.values()) for row in map(dict, rows)])

    @serve("recorder.entries")
    async def entries(self, message):
        rows = await self.ctx.db.fetch("SELECT * FROM entries ORDER BY n")
        return [dict(row) for row in rows]
"""

_MIGRATION = b"""
CREATE TABLE entries (n BIGINT PRIMARY KEY, id TEXT NOT NULL, kind TEXT NOT NULL, action TEXT NOT NULL,
  capability TEXT NOT NULL, plugin TEXT NOT NULL, principal TEXT NOT NULL, details TEXT NOT NULL,
  outcome TEXT, code TEXT, effect TEXT);
"""

SERVICES = ("audit.policy", "audit.record", "audit.settle", "audit.unsettled", "recorder.entries")


def recorder(*must: str, version: str = "1.0.0", requires: str = "") -> Package:
    """The recorder's package, with this policy; `requires` names a contract that it needs."""
    capabilities = "".join(f'[[capability]]\nuse = "bus:serve@{name}"\nreason = "tests"\n' for name in SERVICES)
    manifest = f"""schema = 1
[plugin]
id = "{RECORDER}"
version = "{version}"
summary = "A recorder"
engine = ">=0.1,<0.2"
[runtime]
python = {{ entry = "recorder.plugin:Sample" }}
[provides]
"audit.record" = "1.0.0"
{f'[requires]{chr(10)}"{requires}" = "^1"' if requires else ""}
{capabilities}
[[capability]]
use = "db:read@*"
reason = "tests"
[[capability]]
use = "db:write@*"
reason = "tests"
""".encode()
    code = _CODE.format(version=version, must=list(must)).encode()
    tree = {"__init__.py": b"", "plugin.py": code, "migrations/0001_entries.sql": _MIGRATION}
    return make_package(read_manifest(manifest), manifest, tree, {}, source="recorder")


def recorder_folder(folder: Path) -> Path:
    """Where the recorder of a data folder keeps its entries."""
    return folder / "plugins" / RECORDER / "store.sqlite3"
