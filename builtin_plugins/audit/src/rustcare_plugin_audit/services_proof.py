"""The services that prove: checkpoints, tiles, inclusion, consistency, one patient's disclosures, the log's own check."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import msgspec
from rustcare_sdk import Message, Plugin, serve
from rustcare_sdk.contracts import audit

from .bundle import Trust
from .errors import InvalidRequest, LogCorrupt
from .notes import Checkpoint, TlogProof
from .sealing import resource_subject
from .search import Reader
from .services_search import Searching, tenant_of
from .signing import LogKey
from .sinks import Sinks
from .tree import MapProof
from .witness import Witnesses

__all__ = ["Proving"]

MAX_CHECKPOINTS = 1_000


class Proving(Searching, Plugin):
    """What an outsider needs to check the log."""

    trust: Trust
    reader: Reader
    key: LogKey
    sinks: Sinks
    witnesses: Witnesses

    async def _reply(self, checkpoint: Checkpoint) -> audit.CheckpointReply:
        """With what witnesses have said of it."""
        cosigned = await self.witnesses.cosigned(checkpoint)
        return audit.CheckpointReply(checkpoint.size, checkpoint.root, cosigned.text, self.key.vkey)

    @serve(audit.CHECKPOINT)
    async def checkpoint(self, message: Message[audit.CheckpointRequest]) -> audit.CheckpointReply:
        """The latest checkpoint, or the one of a size."""
        return await self._reply(await self._checkpoint(message.data.size))

    async def _checkpoint(self, size: int) -> Checkpoint:
        return await self.trust.log.checkpoint(size or None)

    @serve(audit.CHECKPOINTS)
    async def checkpoints(self, message: Message[audit.CheckpointsRequest]) -> audit.CheckpointsReply:
        """Stored checkpoints, in order."""
        asked = message.data
        if not 1 <= asked.limit <= MAX_CHECKPOINTS:
            raise InvalidRequest(
                f"expected a limit from 1 to {MAX_CHECKPOINTS}, got {asked.limit}", address="audit.checkpoints:limit"
            )
        found = await self.trust.log.checkpoints(max(0, asked.after), asked.limit)
        return audit.CheckpointsReply([await self._reply(checkpoint) for checkpoint in found])

    @serve(audit.TILE)
    async def tile(self, message: Message[audit.TileRequest]) -> audit.TileReply:
        """A tile of hashes."""
        asked = message.data
        return audit.TileReply(await self.trust.log.tile(asked.level, asked.index, asked.width))

    @serve(audit.ENTRIES)
    async def bundle(self, message: Message[audit.EntriesRequest]) -> audit.TileReply:
        """A bundle of entries, of every tenant: not for those who may see only one's."""
        if tenant_of(message):
            raise InvalidRequest(
                "expected a request of the system itself, got one of a principal or of one tenant",
                hint="audit.search and audit.show give out what one tenant may see",
                address=audit.ENTRIES,
            )
        return audit.TileReply(await self.trust.log.entry_bundle(message.data.index, message.data.width))

    @serve(audit.SHOW)
    async def show(self, message: Message[audit.ShowRequest]) -> audit.ShowReply:
        """One entry with the proof that it is in the log."""
        asked = message.data
        row = await self.row_at(message, asked.index)
        data = (await self.trust.log.entries(asked.index, 1))[0]
        _, _, text = await self._inclusion(asked.index, asked.size, data)
        return audit.ShowReply(row, data or b"", text)

    async def _inclusion(self, index: int, size: int, data: bytes | None) -> tuple[Checkpoint, list[bytes], str]:
        checkpoint = await self._checkpoint(size)
        if not 0 <= index < checkpoint.size:
            raise InvalidRequest(
                f"expected an entry of the checkpoint, 0 to {checkpoint.size - 1}, got {index}", address="audit:index"
            )
        hashes = await self.trust.log.inclusion(index, checkpoint.size)
        return checkpoint, hashes, TlogProof(index, tuple(hashes), checkpoint.text, data).text

    @serve(audit.PROVE)
    async def prove(self, message: Message[audit.ProveRequest]) -> audit.ProveReply:
        """That an entry is in the log, or that one log extends another."""
        asked = message.data
        if (asked.index >= 0) == (asked.old > 0):
            raise InvalidRequest(
                "expected either an index or an old size, got " + ("both" if asked.old > 0 else "neither"),
                address=audit.PROVE,
            )
        if asked.index >= 0:
            checkpoint, hashes, text = await self._inclusion(asked.index, asked.size, None)
            return audit.ProveReply(checkpoint.size, checkpoint.root, hashes, text)
        checkpoint = await self._checkpoint(asked.size)
        if asked.old > checkpoint.size:
            raise InvalidRequest(
                f"expected an old size up to {checkpoint.size}, got {asked.old}", address="audit.prove:old"
            )
        hashes = await self.trust.log.consistency(asked.old, checkpoint.size)
        return audit.ProveReply(checkpoint.size, checkpoint.root, hashes)

    @serve(audit.DISCLOSURES)
    async def disclosures(self, message: Message[audit.DisclosuresRequest]) -> audit.DisclosuresReply:
        """The accounting of one patient, with the proof that nothing was left out (45 CFR 164.528)."""
        asked = message.data
        tenant = tenant_of(message, asked.tenant) or "default"
        pseudonym = await self.trust.crypto.pseudonym(resource_subject(asked.patient), tenant)
        if not pseudonym:
            return audit.DisclosuresReply()
        log = self.trust.log
        checkpoint = await self._checkpoint(asked.size)
        proof = await log.disclosures(pseudonym, checkpoint.size)
        rows = await self.reader.rows([index for index in proof.indices if index >= log.first], tenant)
        listed: list[dict[str, Any]] = []
        pruned = 0
        for n, index in enumerate(proof.indices, 1):
            data = (await log.entries(index, 1))[0] if index >= log.first else None
            if data is None:
                pruned += 1
                continue
            path = await log.inclusion(index, checkpoint.size)
            listed.append({"index": index, "n": n, "entry": _base64(data), "proof": [_base64(one) for one in path]})
        evidence: dict[str, Any] = {
            "checkpoint": checkpoint.text,
            "pseudonym": pseudonym,
            "count": proof.count,
            "map_proof": _map_proof(proof),
            "entries": listed,
        }
        if pruned:
            evidence["pruned"] = pruned
        return audit.DisclosuresReply(pseudonym, proof.count, rows, evidence)

    @serve(audit.STATUS)
    async def status(self, message: Message[audit.StatusRequest]) -> audit.LogStatus:
        """How large the log is and how it does."""
        trust = self.trust
        log = trust.log
        return audit.LogStatus(
            size=log.size,
            first=log.first,
            root=log.root,
            checkpoint=(await self._checkpoint(0)).text if log.size else "",
            origin=self.key.origin,
            key=self.key.vkey,
            indexed=trust.index.next,
            waiting=trust.recorder.waiting,
            sinks=[msgspec.to_builtins(one) for one in await self.sinks.status()],
            witnesses=[msgspec.to_builtins(one) for one in await self.witnesses.status()],
            problem=trust.problem,
            instance=trust.instance,
        )

    @serve(audit.VERIFY)
    async def verify(self, message: Message[audit.VerifyRequest]) -> audit.VerifyReply:
        """Read the log again: every entry against the tree, every checkpoint against the tree and the key."""
        log = self.trust.log
        await self.key.versions()  # checkpoints may be signed by any of them
        try:
            found = await log.verify()
        except LogCorrupt as error:
            leaf, size = (-1 if value is None else value for value in (error.leaf, error.checkpoint))
            return audit.VerifyReply(False, problem=f"{error.address}: {error.message}", index=leaf, size=size)
        return audit.VerifyReply(True, found.entries, found.checkpoints)


def _map_proof(proof: MapProof) -> dict[str, Any]:
    leaf = None if proof.leaf is None else {"key": proof.leaf[0].hex(), "count": proof.leaf[1]}
    return {"siblings": [_base64(one) for one in proof.siblings], "leaf": leaf}


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
