"""The instances of one sandboxed plugin, each in a thread of its own.

A thread for each instance, because a guest runs for as long as it likes and a store must not move between threads while
it runs; the interpreter's lock is free during a call. The hand-over is a `SimpleQueue` one way and
`call_soon_threadsafe` the other.

State lives in the instance. The first one is the *primary*: `export_state` and `import_state` go there. A plugin with
`pool` above 1 must therefore have handlers that keep nothing between messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Protocol

from rustcare_sdk.errors import RustCareError
from rustcare_sdk.message import Message

from ._contract import CallLimitExceeded, PluginTrapped
from ._job import Job, Stopped
from ._watchdog import Watchdog

__all__ = ["Pool", "Sandbox"]

_JOIN = 5.0


class Sandbox(Protocol):
    """One instance of a guest. Every method but `interrupt` is called in its worker's thread only."""

    def use(self, job: Job) -> Sandbox:
        """This instance, working for that job now."""
        ...

    def handle(self, index: int, message: Message[Any], job: Job) -> bytes:
        """One message; the answer as JSON, not yet checked."""
        ...

    def call(self, name: str, arguments: Sequence[Any] = ()) -> Any:
        """Any other function of the guest; JSON as text."""
        ...

    def start(self, job: Job) -> None:
        """Call the guest's `start`, if it has one."""
        ...

    def interrupt(self) -> None:
        """Make the running call look at its deadline now; from any thread, harmless when nothing runs."""
        ...

    def close(self) -> None: ...


class _Worker:
    def __init__(self, pool: Pool, number: int) -> None:
        self.queue: SimpleQueue[Job | None] = SimpleQueue()
        self.waiting = 0  # jobs given and not yet answered; the event loop's side only
        self.ended = pool.loop.create_future()
        self._pool = pool
        self._sandbox: Sandbox | None = None
        self._fresh = True
        self.thread = threading.Thread(target=self._run, name=f"{pool.name} {number}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        loop, pool = self._pool.loop, self._pool
        try:
            while (job := self.queue.get()) is not None:
                result: Any = None
                error: BaseException | None = None
                try:
                    result = self._work(job)
                except BaseException as raised:
                    error = raised
                loop.call_soon_threadsafe(pool.finish, self, job, result, error)
                # Nothing may hold on to the last message while the thread waits for the next.
                job = result = error = None
                if pool.per_message:
                    self._renew()
        except RuntimeError:
            pass  # the loop was closed before the pool: nobody is left to tell
        finally:
            self._drop()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._tell_end)

    def _tell_end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _work(self, job: Job) -> Any:
        if job.cancelled:
            raise Stopped
        watchdog = self._pool.watchdog
        try:
            if self._sandbox is None:
                self._pool.prepare()
            if self._sandbox is None or self._fresh:
                watchdog.begin(job, self._pool.start_timeout)
                self._prepare(job)
            job.sandbox = sandbox = self._sandbox
            watchdog.begin(job, job.timeout)
            return job.action(sandbox, job)
        except (PluginTrapped, Stopped):
            self._drop()
            raise
        finally:
            watchdog.end(job)
            job.sandbox = None

    def _prepare(self, job: Job) -> None:
        """Have an instance on which `start` was called, if the plugin was started."""
        if self._sandbox is None:
            self._sandbox = self._pool.create(job)
            self._fresh = True
        began = self._pool.start_context
        if began is None:
            return  # the plugin is being loaded: `describe` comes before `start`
        job.sandbox = self._sandbox
        own, job.context = job.context, began.copy()
        try:
            self._sandbox.start(job)
            self._fresh = False
        finally:
            job.context = own
            if self._fresh:  # an instance that refused to start is of no use
                self._drop()

    def _renew(self) -> None:
        """A fresh instance for the next message, made while nobody waits for it."""
        self._drop()
        job = Job("instantiate", _nothing, 0.0, self._pool.loop, contextvars.copy_context())
        try:
            self._pool.watchdog.begin(job, self._pool.start_timeout)
            self._sandbox = self._pool.create(job)
            self._fresh = True
        except (RustCareError, Stopped):
            return  # the next job meets the error, and reports it
        finally:
            self._pool.watchdog.end(job)

    def _drop(self) -> None:
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            sandbox.close()


class Pool:
    """Hands calls to the instances of one plugin.

    Args:
        prepare: called in a worker's thread before `create`, while no clock runs.
        create: makes an instance; called in a worker's thread. It sets the job's `sandbox` before guest code runs.
        size: how many instances at most; they are made when all others are busy.
        per_message: a fresh instance for every call.
    """

    def __init__(
        self,
        name: str,
        prepare: Callable[[], None],
        create: Callable[[Job], Sandbox],
        watchdog: Watchdog,
        size: int,
        per_message: bool,
        start_timeout: float,
        trapped: Callable[[str], None],
    ) -> None:
        self.name = name
        self.prepare = prepare
        self.create = create
        self.watchdog = watchdog
        self.loop = asyncio.get_running_loop()
        self.per_message = per_message
        #: The context of the plugin's `start`; None until then. An instance made later runs `start` first.
        self.start_context: contextvars.Context | None = None
        self.start_timeout = start_timeout
        self._size = size
        self._trapped = trapped
        self._workers: list[_Worker] = []
        self._jobs: set[Job] = set()
        self._closed = False

    async def run(
        self, what: str, action: Callable[[Any, Job], Any], timeout: float, primary: bool = False
    ) -> tuple[Any, Job]:
        """Do `action(sandbox, job)` in an instance; the answer and the job with its counts.

        Raises:
            PluginTrapped, CallLimitExceeded: it crashed or broke a limit; that instance was dropped.
        """
        job = self.job(what, action, timeout)
        return await self.submit(job, primary), job

    def job(self, what: str, action: Callable[[Any, Job], Any], timeout: float) -> Job:
        """A job in the caller's context, for `submit`."""
        return Job(what, action, timeout, self.loop, contextvars.copy_context(), self.loop.create_future())

    async def start(self) -> Job:
        """Call the plugin's `start`, in its primary instance; instances made later start themselves."""
        self.start_context = contextvars.copy_context()
        try:
            return (await self.run("start", _nothing, self.start_timeout, primary=True))[1]
        except BaseException:
            self.start_context = None
            raise

    async def submit(self, job: Job, primary: bool = False) -> Any:
        """The answer to a job."""
        if self._closed:
            raise PluginTrapped(f"{self.name} is closed", hint="start the plugin again")
        assert job.future is not None
        worker = self._pick(primary)
        worker.waiting += 1
        self._jobs.add(job)
        worker.queue.put(job)
        try:
            return await job.future
        except asyncio.CancelledError:
            job.cancel()
            raise

    def _pick(self, primary: bool) -> _Worker:
        workers = self._workers
        if primary and workers:
            return workers[0]
        best: _Worker | None = None
        for worker in workers:
            if not worker.waiting:
                return worker
            if best is None or worker.waiting < best.waiting:
                best = worker
        if best is None or len(workers) < self._size:
            best = _Worker(self, len(workers) + 1)
            workers.append(best)
        return best

    def finish(self, worker: _Worker, job: Job, result: Any, error: BaseException | None) -> None:
        """A worker's answer, on the event loop."""
        worker.waiting -= 1
        self._jobs.discard(job)
        if isinstance(error, PluginTrapped):
            self._trapped(error.message)
        future = job.future
        if future is None or future.done():  # the caller is gone
            return
        if error is None:
            future.set_result(result)
        elif isinstance(error, Stopped):
            future.set_exception(CallLimitExceeded(f"{job.what} of {self.name} was stopped", hint="the plugin stops"))
        else:
            future.set_exception(error)

    async def close(self) -> bool:
        """Stop what runs, drop every instance, end every thread. False when a guest could not be stopped in time; then
        its thread ends when it can.
        """
        self._closed = True
        for job in tuple(self._jobs):
            job.cancel()
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.queue.put(None)
        if workers:
            await asyncio.wait([worker.ended for worker in workers], timeout=_JOIN)
        for worker in workers:
            if worker.ended.done():
                worker.thread.join()
        return all(worker.ended.done() for worker in workers)


def _nothing(sandbox: Sandbox, job: Job) -> None:
    return None
