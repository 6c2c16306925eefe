"""One thread for each kernel that stops guests whose time is up. It sleeps while nothing runs."""

from __future__ import annotations

import threading
from time import monotonic

from ._job import Job

__all__ = ["Watchdog"]

_TICK = 0.05
_IDLE_TICKS = 20


class Watchdog:
    """Watches running jobs. `begin` and `end` are called for every call, so they take no lock and wake nobody, unless
    the thread sleeps or the job's deadline comes before its next look.
    """

    def __init__(self, name: str = "rustcare-watchdog") -> None:
        self._name = name
        self._jobs: set[Job] = set()
        self._wake = threading.Event()
        self._next = 0.0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False

    def begin(self, job: Job, timeout: float) -> None:
        """Start the clock of a job and watch it."""
        job.deadline = monotonic() + timeout
        self._jobs.add(job)
        if job.deadline < self._next:
            self._wake.set()
        elif self._thread is None:
            self._start()

    def end(self, job: Job) -> None:
        """The guest returned."""
        self._jobs.discard(job)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        idle = 0
        while not self._closed:
            now = monotonic()
            jobs = self._jobs.copy()
            idle = 0 if jobs else idle + 1
            # Past any deadline while asleep, so that the next job wakes the thread.
            self._next = nearest = float("inf") if idle > _IDLE_TICKS else now + _TICK
            for job in jobs:
                if job.overdue:
                    if (sandbox := job.sandbox) is not None:
                        sandbox.interrupt()
                    nearest = min(nearest, now + _TICK / 10)  # again, should it have slipped through
                else:
                    nearest = min(nearest, job.deadline)
            if idle > _IDLE_TICKS and self._jobs:
                continue  # one began between the look and the nap
            self._wake.wait(None if nearest == float("inf") else max(0.0, nearest - monotonic()))
            self._wake.clear()

    def close(self) -> None:
        """End the thread."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
        self._wake.set()
        if thread is not None:
            thread.join()
