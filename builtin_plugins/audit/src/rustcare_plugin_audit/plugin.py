"""The plugin: its parts put together, its life, and how one version hands over to the next.

Each part brings its services as a mixin; all share one `Trust` (`bundle.py`, which also has the rule of who writes).
"""

from __future__ import annotations

import hashlib
from typing import Any

from rustcare_sdk import Health, Plugin

from .bundle import Trust, waking
from .describe import Describer
from .index import Index
from .log import AuditLog
from .policy import read_policy
from .recorder import Recorder
from .reports.service import Reporting
from .retention.service import Retaining
from .search import Reader
from .services_proof import Proving
from .services_record import Recording
from .signatures.service import Signing
from .signing import LogKey
from .sinks import Sending, Sinks
from .witness import Witnesses, Witnessing

__all__ = ["Audit"]


@waking
class Audit(Recording, Proving, Reporting, Signing, Retaining, Sending, Witnessing, Plugin):
    """The tamper-evident audit log: a Merkle tree of canonical entries that an outsider can verify."""

    state_version = 1
    started = False

    async def start(self) -> None:
        """Make the keys that are missing, open the log, and write unless another version still does."""
        config = self.ctx.config
        self.trust = trust = Trust(self.ctx)
        self.policy = read_policy(config)
        self.describer = Describer(self.policy, self.ctx.random)
        ml_dsa = bool(config.get("ml_dsa", False))
        await trust.crypto.create_keys(ml_dsa=ml_dsa)
        public = await trust.crypto.public(version=1)
        origin = str(config.get("origin") or f"rustcare.local/audit/{hashlib.sha256(public.raw).hexdigest()[:8]}")
        self.key = LogKey(self.ctx, origin, ml_dsa=ml_dsa)
        await self.key.load()
        trust.log = AuditLog(self.ctx.db, self.key.sign, origin, self.key.known)
        trust.index = Index(trust)
        trust.recorder = Recorder(trust, int(config.get("queue", 10_000)))
        self.reader = Reader(trust)
        self.sinks = Sinks(trust, origin)
        self.witnesses = Witnesses(trust, origin)
        trust.recorder.start()
        trust.index.start()
        self.started = True
        if not self.ctx.plugin.replaces:
            await trust.wake()
        await self.witnesses.start()  # they may know that this log was rolled back
        await self.sinks.start()
        self.ctx.spawn(self.finish_disposals(), name="disposals")

    async def stop(self) -> None:
        """Tell those who still wait; what was answered is on disk."""
        if self.started:
            self.trust.recorder.close()
            await self.sinks.close()
            await self.witnesses.close()

    async def health(self) -> Health:
        """Whether the log can be written."""
        trust = self.trust
        details = {"live": trust.live, "index_error": trust.index.last_error, "problem": trust.problem}
        if trust.live:
            details.update(size=trust.log.size, index_lag=trust.log.size - trust.index.next)
        if trust.refused is not None:
            return Health(False, trust.refused.message, details)
        if trust.problem:
            return Health(False, f"the log could not be written: {trust.problem}", details)
        await self.ctx.db.fetch_one("SELECT place FROM audit_index_cursor WHERE name = 'next'")
        return Health(details=details)

    async def export_state(self) -> Any:
        """Stop writing, so that the next version can. All state is in the store."""
        await self.trust.park()
        await self.trust.recorder.flushed()
        return {"handed_over": True}

    async def import_state(self, state: Any) -> None:
        """Write from now on: the version before has parked itself."""
        await self.trust.wake()
