"""`Witnesses`: the log asks them to cosign its checkpoints, and lets them say whether it was rolled back.

A witness remembers the largest checkpoint that it cosigned. So asking it for a cosignature is also asking what it knows:
when that is more than the log has, an older data folder took the log's place; when our tree does not extend what it
cosigned, the log is forked. Both are found at the start, before the first entry is written, and whenever a witness that
could not be reached answers again. The log is then written no more until an operator says so (`accepted_rollback`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from rustcare_sdk import Message, Plugin, serve
from rustcare_sdk.contracts import audit
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_audit.bundle import Trust
from rustcare_plugin_audit.notes import Checkpoint
from rustcare_plugin_audit.sinks.feed import backoff

from .client import Client, verified
from .errors import LogForked, LogRolledBack, WitnessFailed, WitnessInvalid
from .settings import WitnessSettings, read_witnesses
from .store import Cosignatures

__all__ = ["Witnesses", "Witnessing"]


class _Witness:
    """One witness at work. `asked`: since the start; `accepted`: an operator has let pass that it knows another log."""

    def __init__(self, settings: WitnessSettings) -> None:
        self.settings = settings
        self.client = Client(settings)
        self.attempt = 0
        self.last_error = ""
        self.asked = False
        self.accepted = False


class Witnesses:
    """The witnesses of `trust.config["witnesses"]`. Raises WitnessInvalid when one is not well formed.

    Args:
        trust: the log, and what else they need.
        origin: the log's name.
        pause: sleeps, replaced in tests.
    """

    def __init__(
        self,
        trust: Trust,
        origin: str,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        config = trust.config
        self._trust = trust
        self._origin = origin
        self._pause = pause
        self._all = [_Witness(settings) for settings in read_witnesses(config.get("witnesses") or ())]
        self._interval = float(config.get("witness_interval", 10))
        self._require = config.get("witness_at_start", "ask") == "require"
        self._accepted = int(config.get("accepted_rollback", 0))
        self._accepting: list[dict[str, Any]] = []  # what is let pass and not on record yet
        self._store = Cosignatures(trust.ctx.db)
        self.quorum = int(config.get("witness_quorum", 0)) or len(self._all)
        self.refused: LogRolledBack | LogForked | None = None
        self.changed = asyncio.Event()  # replaced by a new one whenever a witness has answered, or has not
        if self.quorum > len(self._all):
            raise WitnessInvalid(
                f"expected a quorum of at most {len(self._all)}, the count of witnesses, got {self.quorum}",
                address="config.witness_quorum",
            )

    async def start(self) -> None:
        """Ask all of them what they know, then keep them up to date.

        Raises:
            LogRolledBack, LogForked: a witness knows another log.
            WitnessFailed: not enough of them answered, and the configuration wants that (`witness_at_start: require`).
        """
        if self._trust.live:
            try:
                await self.check()
            except BaseException:
                await self.close()
                raise
        for witness in self._all:
            self._trust.ctx.spawn(self._run(witness), name=f"witness-{witness.settings.name[:40]}")

    async def check(self) -> None:
        """Ask all of them at once. Raises as `start` does."""
        errors = await asyncio.gather(*(self._checked(witness) for witness in self._all))
        if self.refused is not None:
            raise self.refused
        await self._record()
        answered = sum(not error or one.accepted for error, one in zip(errors, self._all, strict=True))
        if self._require and answered < self.quorum:
            raise WitnessFailed(
                f"expected {self.quorum} witnesses to say what they know of the log, got {answered}",
                hint="at the start the log wants to know that it was not rolled back; see witness_at_start",
                address=self._origin,
            )

    async def _checked(self, witness: _Witness) -> str:
        """What was wrong with one of them."""
        try:
            await self.push(witness)
        except RustCareError as error:
            self._failed(witness, error)
        return witness.last_error

    async def close(self) -> None:
        """Cut what is open."""
        for witness in self._all:
            await witness.client.close()

    async def _run(self, witness: _Witness) -> None:
        while True:
            written = self._trust.recorder.written
            try:
                async with self._trust.background():
                    await self.push(witness)
                self._tell()
            except RustCareError as error:
                self._failed(witness, error)
                await self._record()
                self._tell()
                await self._pause(backoff(witness.attempt))
                continue
            await written.wait()
            await self._pause(self._interval)  # one request for all that is written meanwhile

    async def _record(self) -> None:
        """That a rollback was let pass is itself an entry of the log."""
        while self._accepting and self.refused is None:
            details = self._accepting.pop()
            self._trust.ctx.log.warning("rollback-accepted", **details)
            await self._trust.recorder.fact("audit.rollback-accepted", details)

    def _tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def _failed(self, witness: _Witness, error: RustCareError) -> None:
        witness.attempt += 1
        if str(error) != witness.last_error:
            self._trust.ctx.log.warning("witness-failed", witness=witness.settings.name, error=str(error))
        witness.last_error = str(error)

    # asking

    async def push(self, witness: _Witness) -> None:
        """Have the latest checkpoint cosigned by one witness.

        Raises:
            WitnessFailed: it could not be had. LogRolledBack, LogForked: it knows another log.
        """
        name = witness.settings.name
        checkpoint = await self._trust.log.checkpoint()  # of an empty log too: a witness may know more
        known, _ = await self._store.known(name)
        if witness.asked and known == checkpoint.size and await self._store.has(known, name):
            return
        old = min(known, checkpoint.size)
        for _ in range(3):
            proof = await self._proof(old, checkpoint.size)
            answer = await witness.client.add_checkpoint(old, proof, checkpoint.text)
            if answer.status == 200:
                found = verified(witness.settings, checkpoint, answer.body)
                lines = "".join(one.line for one in found)
                await self._trust.log.keep(checkpoint.size, [one.line.encode() for one in found])
                await self._store.add(checkpoint.size, name, max(one.time for one in found), lines)
                witness.attempt, witness.last_error = 0, ""
                witness.asked, witness.accepted = True, False
                return
            if answer.status == 409 and answer.size is not None and answer.size != old:
                if answer.size > checkpoint.size:
                    self._rolled_back(witness, answer.size, checkpoint.size)
                old = answer.size
                continue
            self._refusal(witness, answer.status, old, checkpoint.size)
        raise WitnessFailed("expected the witness to keep to the size it had named, got others", address=name)

    async def _proof(self, old: int, size: int) -> list[bytes]:
        return list(await self._trust.log.consistency(old, size)) if 0 < old < size else []

    def _rolled_back(self, witness: _Witness, known: int, size: int) -> NoReturn:
        self._let_pass(witness, known, size)
        self._refuse(
            LogRolledBack(
                f"expected a log of at least {known} entries, which the witness has cosigned, got one of {size}",
                hint=f"put the newer data folder back; if it is lost, set accepted_rollback to {known}",
                address=witness.settings.name,
            )
        )

    def _let_pass(self, witness: _Witness, known: int, size: int) -> None:
        """When an operator has said that what the witness knows is lost. Raises WitnessFailed then."""
        if not 0 < known <= self._accepted:
            return
        if not witness.accepted:
            self._accepting.append({"witness": witness.settings.name, "known": known, "size": size})
        witness.accepted = True
        raise WitnessFailed(
            f"the witness has cosigned {known} entries that the log no longer has; an operator let that pass",
            hint="it will not cosign a log of this name again, unless whoever runs it forgets what it knew",
            address=witness.settings.name,
        )

    def _refusal(self, witness: _Witness, status: int, old: int, size: int) -> NoReturn:
        """An answer that is no cosignature and no size. Raises."""
        name = witness.settings.name
        if status == 422 or (status == 409 and old == size):
            self._let_pass(witness, old, size)
            self._refuse(
                LogForked(
                    f"expected a log that extends the {old} entries that the witness has cosigned, "
                    f"got one of {size} entries that does not",
                    hint="find out which copy of the log is the true one; do not go on with this one",
                    address=name,
                )
            )
        said = {
            403: "403: the witness does not trust the key that signed the checkpoint",
            404: "404: the witness does not know a log of this name",
            400: "400: the witness could not read the request",
        }
        raise WitnessFailed(f"expected a cosignature, got {said.get(status, status)}", address=name)

    def _refuse(self, error: LogRolledBack | LogForked) -> NoReturn:
        """The log is written no more. Raises the error."""
        self.refused = error
        self._trust.refused = error
        self._trust.problem = error.code
        raise error

    # what they said

    async def cosigned(self, checkpoint: Checkpoint) -> Checkpoint:
        """A checkpoint with the cosignatures that there are of it."""
        return checkpoint.with_lines([line.encode() for line in await self._store.lines(checkpoint.size)])

    async def latest(self) -> Checkpoint | None:
        """The largest checkpoint that a quorum has cosigned, with the cosignatures."""
        size = await self._store.largest([one.settings.name for one in self._all], self.quorum) if self._all else 0
        if not size:
            return None
        return await self.cosigned(await self._trust.log.checkpoint(size))

    async def status(self) -> list[audit.WitnessStatus]:
        """What each of them is known to have cosigned."""
        size = self._trust.log.size if self._trust.live else 0
        found = []
        for witness in self._all:
            known, time = await self._store.known(witness.settings.name)
            found.append(
                audit.WitnessStatus(
                    name=witness.settings.name,
                    url=witness.settings.url,
                    size=known,
                    time=time,
                    lag=max(0, size - known),
                    attempts=witness.attempt,
                    last_error=witness.last_error,
                    keys=[key.vkey for key in witness.settings.keys],
                )
            )
        return found


class Witnessing(Plugin):
    """The service of the witnesses, mixed into the plugin."""

    witnesses: Witnesses

    @serve(audit.WITNESSES)
    async def witnesses_status(self, message: Message[audit.WitnessesRequest]) -> audit.WitnessesReply:
        """What each witness has cosigned, and the largest checkpoint that a quorum has."""
        witnesses = self.witnesses
        latest = await witnesses.latest()
        return audit.WitnessesReply(
            witnesses=await witnesses.status(),
            quorum=witnesses.quorum,
            size=latest.size if latest is not None else 0,
            checkpoint=latest.text if latest is not None else "",
            refused=str(witnesses.refused or ""),
        )
