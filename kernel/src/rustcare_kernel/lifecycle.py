"""One plugin's life: start, retry, upgrade with hand-over, roll back, quarantine, stop.

The rule that everything here serves: **what fails half way leaves the version before serving, and no message is lost or
handled twice.** An upgrade loads and starts the new version beside the old one, then pauses the old one (the bus buffers),
hands its state over, asks the new one for its health, writes the new digest into the catalog, and only then moves the
wires. Until that write everything can be undone; after it the new version is the one a crash would come back to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
from rustcare_sdk.errors import CapabilityDenied, InvalidManifest, NotPortable, RustCareError

from .bus import Bus
from .catalog import Entry
from .errors import ConfigInvalid, ProviderTaken, RouteTaken, UpgradeFailed
from .logs import Logs, describe
from .running import Running, within
from .runtimes._contract import LinkRefused
from .states import Machine, State

__all__ = ["Snapshot", "Supervisor"]

#: What will not pass by waiting, so that it is not tried again.
_FINAL = (CapabilityDenied, ConfigInvalid, InvalidManifest, LinkRefused, NotPortable, ProviderTaken, RouteTaken)

Load = Callable[[Entry, "Running | None"], Awaitable[Running]]
Commit = Callable[[Entry, "Snapshot | None"], Awaitable[None]]


class Snapshot(msgspec.Struct, frozen=True):
    """State as it was handed over: `version` is the `state_version` of the code that exported it."""

    version: int
    state: Any


class Supervisor:
    """Leads one plugin through its states.

    Args:
        load: loads one version (verified bytes, granted context), not yet started.
        commit: writes an upgraded entry, and what was handed over, durably.
        quarantined: told when the trap budget is spent, to write that down.
        restore: gives a started version the state it saved, before its first message.
        save: keeps the state of a version that has handled its last message.
        up: told when a later try to start succeeded.
    """

    BACKOFF = (0.2, 0.5, 1.0, 2.0, 5.0)  # seconds between tries to start
    PROBE = 10.0  # seconds between health questions
    PROBATION = (0.0, 0.1, 0.2, 0.5, 1.0)  # seconds between the questions right after an upgrade

    def __init__(
        self,
        plugin_id: str,
        bus: Bus,
        logs: Logs,
        load: Load,
        commit: Commit,
        changed: Callable[[State, State, str], None],
        quarantined: Callable[[str], Awaitable[None]],
        *,
        restore: Callable[[Running], Awaitable[None]],
        save: Callable[[Running], Awaitable[None]],
        up: Callable[[], None],
    ) -> None:
        self.machine = Machine(plugin_id, changed)
        self.running: Running | None = None
        self.lock = asyncio.Lock()
        self._upgrading = False
        self.last_pause = 0.0  # seconds the bus buffered in the last upgrade
        self._bus = bus
        self._log = logs.of(plugin_id)
        self._load = load
        self._commit = commit
        self._quarantined = quarantined
        self._restore = restore
        self._save = save
        self._up = up
        self._retry: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._probations: set[asyncio.Task[Any]] = set()

    # starting

    async def start(self, entry: Entry) -> None:
        """From CONSENTED (or RETRY) to ACTIVE; else to RETRY or FAILED with the reason. Does not raise for a plugin's fault."""
        await self._try(entry, 0)

    async def _try(self, entry: Entry, attempt: int) -> None:
        self.machine.to(State.STARTING)
        running: Running | None = None
        try:
            running = await self._load(entry, None)
            await self._begin(running)
            await self._restore(running)
            await running.attach()
        except asyncio.CancelledError:
            if running is not None:
                await self._discard(running)
            self.machine.to(State.STOPPED, "the start was cancelled")
            raise
        except Exception as error:  # of the plugin's own code, or what it met with: it is tried again, or given up
            if running is not None:
                await self._discard(running)
            self._log.warning("start failed", attempt=attempt + 1, **describe(error))
            reason = _reason(error)
            if isinstance(error, _FINAL) or attempt >= len(self.BACKOFF):
                self.machine.to(State.FAILED, reason)
            else:
                self.machine.to(State.RETRY, reason)
                self._retry = asyncio.create_task(self._again(entry, attempt), name=f"retry {self.machine.plugin}")
            return
        self.running = running
        self.machine.to(State.ACTIVE)
        self._watch = asyncio.create_task(self._probe(running), name=f"health of {self.machine.plugin}")

    async def _again(self, entry: Entry, attempt: int) -> None:
        await asyncio.sleep(self.BACKOFF[attempt])
        async with self.lock:
            if self.machine.state is State.RETRY:
                self._retry = None
                await self._try(entry, attempt + 1)
                if self.machine.serving:
                    self._up()

    async def _begin(self, running: Running) -> None:
        """Start a loaded version and ask how it is."""
        limit = running.manifest.lifecycle.start_timeout
        await within(limit, running.instance.start(), f"{running.entry.id}: start")
        health = await running.healthy(limit)
        if not health.ok:
            from .errors import StartFailed

            raise StartFailed(f"{running.entry.id} started but is not healthy: {health.reason or 'no reason given'}")

    async def _discard(self, running: Running) -> None:
        await running.detach()
        problem = await running.close(running.manifest.lifecycle.drain)
        if problem is not None:
            self._log.warning("stop failed", **describe(problem))

    # stopping

    async def stop(self, reason: str = "") -> None:
        """Let it finish what it has, then stop it. From any state that is not REMOVED to STOPPED."""
        await self._quit_tasks()
        running, self.running = self.running, None
        if running is None:
            if self.machine.state not in (State.STOPPED, State.REMOVED):
                self.machine.to(State.STOPPED, reason)
            return
        serving = self.machine.serving
        if serving:
            self.machine.to(State.DRAINING, reason)
        try:
            async with asyncio.timeout(running.manifest.lifecycle.drain):
                for subscription in running.subscriptions.values():
                    self._bus.cut(subscription)
                await asyncio.gather(*(subscription.drain() for subscription in running.subscriptions.values()))
                for provider in running.providers.values():
                    await provider.close()
        except TimeoutError:
            left = sum(subscription.waiting() for subscription in running.subscriptions.values())
            self._log.warning("drain timed out", messages_given_up=left)
        if serving:
            await self._save(running)
        await self._discard(running)
        self.machine.to(State.STOPPED, reason)

    async def _quit_tasks(self) -> None:
        current = asyncio.current_task()
        for task in (self._retry, self._watch, *self._probations):
            if task is not None and task is not current:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._retry = self._watch = None

    # upgrading

    async def upgrade(self, entry: Entry, carried: Snapshot | None = None) -> None:
        """Replace the running version. On any failure the old one goes on and UpgradeFailed says why.

        Args:
            entry: the new version as it shall stand in the catalog.
            carried: state to use when the old version cannot hand over (a rollback from a broken version).
        """
        before = self.running
        assert before is not None, "upgrade needs a running version"
        self._upgrading = True
        try:
            await self._upgrade(before, entry, carried)
        finally:
            self._upgrading = False

    async def _upgrade(self, before: Running, entry: Entry, carried: Snapshot | None) -> None:
        after: Running | None = None
        paused = 0.0
        committed = False

        async def finish(after: Running, snapshot: Snapshot | None) -> None:
            nonlocal committed
            await self._commit(entry, snapshot)
            committed = True
            await self._take_over(before, after, paused)

        try:
            after = await self._load(entry, before)
            await self._begin(after)
            after.check_wires(before)
            paused = time.monotonic()
            snapshot = await self._hand_over(before, after, carried)
            health = await after.healthy(after.manifest.lifecycle.start_timeout)
            if not health.ok:
                raise UpgradeFailed(f"the new version is not healthy: {health.reason or 'no reason given'}")
            await _unbroken(finish(after, snapshot))
        except BaseException as error:
            if committed:
                raise  # the new version stands; whoever asked for it was cancelled
            if paused:
                if self.running is before:
                    before.resume()
                self.last_pause = time.monotonic() - paused
            if after is not None:
                await self._discard(after)
            if isinstance(error, Exception):
                self._log.warning("upgrade failed", to=entry.version, **describe(error))
                raise UpgradeFailed(
                    f"{entry.id} stays at {before.entry.version}: {entry.version} failed: {_reason(error)}",
                    hint=error.hint if isinstance(error, RustCareError) else "the plugin's log says more",
                ) from error
            raise

    async def _hand_over(self, before: Running, after: Running, carried: Snapshot | None) -> Snapshot | None:
        limit = before.manifest.lifecycle.drain
        try:
            async with asyncio.timeout(limit):
                await before.pause(after)
        except TimeoutError:
            raise UpgradeFailed(
                f"{before.entry.version} was still busy after {limit:g} s of draining",
                hint="raise lifecycle.drain, or look at what keeps it busy",
            ) from None
        version = before.manifest.lifecycle.state_version
        snapshot = carried
        if carried is None or version == after.manifest.lifecycle.state_version:
            try:
                state = await within(limit, before.instance.export_state(), f"{before.entry.version}: export_state")
                # Encoded at once: were it the very object, the new version could change what the old one goes on with.
                snapshot = None if state is None else Snapshot(version, msgspec.Raw(msgspec.json.encode(state)))
            except (RustCareError, TypeError):  # TypeError: it exports what JSON cannot hold
                if carried is None:
                    raise
        if snapshot is not None:
            await within(
                limit,
                after.instance.import_state(snapshot.version, snapshot.state),
                f"{after.entry.version}: import_state",
            )
        return snapshot

    async def _take_over(self, before: Running, after: Running, paused: float) -> None:
        await after.context.go_live()
        await after.replace(before)
        self.last_pause = time.monotonic() - paused
        self.running = after
        if self.machine.state is State.DEGRADED:
            self.machine.to(State.ACTIVE, "upgraded")
        self._log.info("upgraded", version=after.entry.version, pause_ms=round(self.last_pause * 1000, 1))
        problem = await before.close(before.manifest.lifecycle.drain)
        if problem is not None:
            self._log.warning("the version before did not stop cleanly", **describe(problem))
        if self._watch is not None:
            self._watch.cancel()
        self._watch = asyncio.create_task(self._probe(after), name=f"health of {self.machine.plugin}")

    async def on_probation(self, roll_back: Callable[[], Awaitable[Any]]) -> bool:
        """Ask a just upgraded version for its health a few times; if it is not well, roll back. True when it stayed."""
        probation = asyncio.current_task()
        assert probation is not None
        self._probations.add(probation)
        probation.add_done_callback(self._probations.discard)
        running = self.running
        if running is None:
            return True
        for pause in self.PROBATION:
            await asyncio.sleep(pause)
            if self.running is not running or not self.machine.serving:
                return True
            health = await running.healthy(running.manifest.lifecycle.start_timeout)
            if not health.ok:
                self._log.error("not well after the upgrade, rolling back", reason=health.reason)
                await roll_back()
                return False
        return True

    # health and traps

    async def _probe(self, running: Running) -> None:
        while self.running is running:
            await asyncio.sleep(self.PROBE)
            if not self.machine.serving:
                continue
            health = await running.healthy(self.PROBE)
            if self.running is not running or not self.machine.serving:
                return
            if health.ok and self.machine.state is State.DEGRADED:
                self.machine.to(State.ACTIVE)
            elif not health.ok and self.machine.state is State.ACTIVE:
                self.machine.to(State.DEGRADED, health.reason or "not healthy")

    def trapped(self, running: Running, reason: str) -> None:
        """Count a crash of the plugin's code; past the budget (crashes within a minute) it is quarantined."""
        now = time.monotonic()
        running.traps = [at for at in running.traps if now - at < 60] + [now]
        self._log.error("trapped", reason=reason, traps=len(running.traps))
        if len(running.traps) > running.manifest.lifecycle.trap_budget and self.running is running:
            why = f"{len(running.traps)} traps within a minute, the last: {reason}"
            # In the middle of an upgrade the version is about to go anyway; taking its wires now would lose messages.
            if self.machine.serving and not self._upgrading:
                self.machine.to(State.QUARANTINED, why)
                # The wires go at once, so that not one more message reaches it.
                for subscription in running.subscriptions.values():
                    self._bus.cut(subscription)
                    subscription.paused = True
                for service, provider in running.providers.items():
                    self._bus.unserve(service, provider)
                task = asyncio.get_running_loop().create_task(self._seclude(running, why))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _seclude(self, running: Running, why: str) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self.running = None
        await self._discard(running)
        await self._quarantined(why)

    async def settled(self) -> None:
        """Return when no work of its own (a quarantine under way) is left."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)


async def _unbroken(work: Coroutine[Any, Any, None]) -> None:
    """Do work to its end even when this task is cancelled meanwhile; the cancellation is raised after it."""
    task = asyncio.get_running_loop().create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:  # raised below, by the task's result
            break
    task.result()
    if cancelled is not None:
        raise cancelled


def _reason(error: BaseException) -> str:
    return error.message if isinstance(error, RustCareError) else type(error).__name__
