"""A thread of a store's own: started by its first job, gone when idle.

Not the event loop's default executor, which the whole process shares: there a slow query of one plugin could hold up
the commit of another.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

__all__ = ["Worker"]

T = TypeVar("T")
Done = Callable[[Any, BaseException | None], None]
_Job = tuple[Callable[[], Any], asyncio.AbstractEventLoop, Done]


class Worker:
    """Runs jobs one after the other in a thread, and tells the event loop about each with one wake-up.

    Args:
        name: the thread's name.
        idle: seconds without a job after which the thread ends; the next job starts a new one.
    """

    def __init__(self, name: str, idle: float = 10.0) -> None:
        self._name = name
        self._idle = idle
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, job: Callable[[], Any], done: Done) -> None:
        """Run `job` in the thread, then `done(result, error)` in the running event loop."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._jobs.put((job, loop, done))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self._thread.start()

    async def run(self, job: Callable[[], T]) -> T:
        """Run `job` in the thread and return its result. A cancelled caller leaves the job running to its end."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def done(result: Any, error: BaseException | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        self.submit(job, done)
        return await future

    async def stop(self) -> None:
        """Let the jobs that were accepted end, then end the thread."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return
        await self.run(lambda: None)
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is not None:
                self._jobs.put(None)
        if thread is not None:
            thread.join()  # it has nothing left to do but to read that it may go

    def _work(self) -> None:
        while True:
            try:
                item = self._jobs.get(timeout=self._idle)
            except queue.Empty:
                with self._lock:
                    if not self._jobs.empty():
                        continue
                    if self._thread is threading.current_thread():
                        self._thread = None
                    return
            if item is None:
                return
            job, loop, done = item
            result: Any = None
            error: BaseException | None = None
            try:
                result = job()
            except BaseException as caught:
                error = caught
            with suppress(RuntimeError):  # the loop was closed under us; there is nobody left to tell
                loop.call_soon_threadsafe(done, result, error)
            del item, job, loop, done, result, error
