"""Evidence that is the log's own: no gap, checkpoints, consistency, proofs of what is cited, coverage, outcomes.

Each figure is checked when the report is made, with the same functions that an outsider has, and against the report's own
checkpoint: a figure that fails contradicts its control. Of many checkpoints `SAMPLE` are looked at, spread evenly over the
report's time, so that a report on a large log does not take for ever; the note says how many.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rustcare_sdk.contracts.compliance import ReportEvidence, Status

from rustcare_plugin_audit.entry import decode
from rustcare_plugin_audit.errors import NoteInvalid, ProofInvalid
from rustcare_plugin_audit.notes import Checkpoint, VerifierKey
from rustcare_plugin_audit.tree import MapProof, leaf_hash, verify_consistency, verify_inclusion

from .evaluate import Evaluation
from .evidence import Cites

if TYPE_CHECKING:
    from rustcare_plugin_audit.log import AuditLog

__all__ = ["SAMPLE", "Figures", "Reading", "prove_disclosures"]

SAMPLE = 64


class Reading:
    """What reading the log found of itself: how many entries are there, and places where there should be one."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.present = Cites()
        self.gone = 0  # disposed of: a prefix
        self.missing = Cites()


class Figures:
    """The figures of one report. `keys`: the log's verifier keys, every version; `must`: the policy in force."""

    def __init__(
        self, log: AuditLog, checkpoint: Checkpoint, keys: Sequence[VerifierKey], must: Sequence[str], reading: Reading
    ) -> None:
        self._log = log
        self._checkpoint = checkpoint
        self._keys = keys
        self._must = must
        self._reading = reading
        self._found: dict[str, tuple[Status, int, list[int], list[int], str]] = {}

    def result(self, name: str, says: str, needed: bool) -> ReportEvidence:
        """The evidence of a figure."""
        status, found, cites, against, note = self._found[name]
        return ReportEvidence(says, status, found, cites, against, note, needed)

    async def compute(self, evaluation: Evaluation, cited: Iterable[int]) -> None:
        """Check everything. `cited`: the leaves that the report cites by itself."""
        self._gapless(evaluation)
        self._of_evaluation(evaluation)
        await self._checkpoints(evaluation)
        self._cosigned()
        places = {*cited}
        for _, _, cites, against, _ in self._found.values():
            places.update(cites, against)
        await self._inclusion(sorted(places))

    def _set(self, name: str, good: Cites, bad: Cites, note: str = "") -> None:
        status: Status = "contradicted" if bad.count else "evidenced" if good.count else "not evidenced"
        self._found[name] = status, good.count, good.places, bad.places, note

    def _gapless(self, evaluation: Evaluation) -> None:
        """Of the whole log. Where it has no entry of the report's time, that evidences nothing about this time."""
        reading = self._reading
        note = f"entries 0 to {reading.size - 1}" if reading.size else ""
        if reading.gone:
            note += f", of which the first {reading.gone} were disposed of; their hashes are in the tree still"
        self._set("gapless", reading.present if evaluation.entries else Cites(), reading.missing, note)

    def _of_evaluation(self, evaluation: Evaluation) -> None:
        nothing = Cites()
        settled = evaluation.settled
        open_ = len(evaluation.open)
        self._set("settled", settled, nothing, f"{open_} have none yet" if open_ else "")
        count = len(self._must)
        note = f"{count} patterns of capabilities, and every operation of the kernel"
        self._set("coverage", evaluation.attempted if count else nothing, nothing, note if count else "nothing must be")

    async def _checkpoints(self, evaluation: Evaluation) -> None:
        signed, unsigned, consistent, split = Cites(), Cites(), Cites(), Cites()
        last = self._checkpoint
        sample = await self._sample(evaluation.first, evaluation.last)
        for checkpoint in sample:
            place = checkpoint.size - 1
            try:
                checkpoint.verify(self._keys)
                signed.add(place)
            except NoteInvalid:
                unsigned.add(place)
            try:
                proof = await self._log.consistency(checkpoint.size, last.size) if checkpoint.size < last.size else []
                verify_consistency(checkpoint.size, last.size, proof, checkpoint.root, last.root)
                consistent.add(place)
            except ProofInvalid:
                split.add(place)
        note = (
            f"{len(sample)} looked at" if len(sample) < SAMPLE else f"{SAMPLE} looked at, spread evenly over the time"
        )
        self._set("checkpoints", signed, unsigned, note if sample else "")
        self._set("consistency", consistent, split, note if sample else "")

    async def _sample(self, first: int, last: int) -> list[Checkpoint]:
        """Stored checkpoints from that of the first entry to the report's own."""
        if first < 0:
            return []
        found = {self._checkpoint.size: self._checkpoint}
        span = max(1, self._checkpoint.size - first)
        for step in range(SAMPLE):
            for checkpoint in await self._log.checkpoints(first + step * span // SAMPLE, 1):
                if checkpoint.size <= self._checkpoint.size:
                    found.setdefault(checkpoint.size, checkpoint)
        return [found[size] for size in sorted(found)]

    def _cosigned(self) -> None:
        others = Cites()
        note = "as the checkpoint says; each witness's key checks its own line"
        for signature in self._checkpoint.signatures if self._checkpoint.size else ():
            if signature.name != self._checkpoint.origin:
                others.add(self._checkpoint.size - 1)
        self._set("cosigned", others, Cites(), note if others.count else "")

    async def _inclusion(self, places: Sequence[int]) -> None:
        proved, failed = Cites(), Cites()
        size, root = self._checkpoint.size, self._checkpoint.root
        for place in places:
            data = (await self._log.entries(place, 1))[0]
            if data is None:
                continue
            try:
                verify_inclusion(place, size, leaf_hash(data), await self._log.inclusion(place, size), root)
                proved.add(place)
            except ProofInvalid:
                failed.add(place)
        self._set("inclusion", proved, failed)


async def prove_disclosures(log: AuditLog, proof: MapProof, checkpoint: Checkpoint) -> dict[int, bool]:
    """Whether each disclosure that is still in the log is proved: its entry under the checkpoint's root, as the subject's n-th,
    and the count under the checkpoint's map. By place, in the order of the count."""
    try:
        proof.verify()
        counted = checkpoint.subjects == (proof.subjects, proof.root)
    except ProofInvalid:
        counted = False
    found: dict[int, bool] = {}
    for n, place in enumerate(proof.indices, 1):
        data = (await log.entries(place, 1))[0]
        if data is None:
            continue
        told = decode(data).disclosure
        found[place] = counted and told is not None and (told.subject, told.n) == (proof.pseudonym, n)
        try:
            hashes = await log.inclusion(place, checkpoint.size)
            verify_inclusion(place, checkpoint.size, leaf_hash(data), hashes, checkpoint.root)
        except ProofInvalid:
            found[place] = False
    return found
