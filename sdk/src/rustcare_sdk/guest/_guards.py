"""Plain words instead of a trap when a plugin reaches for the clock, for randomness or for sleep.

WASI is stubbed out: calling it kills the instance without saying why. And the seed of `random` is part of the
component, so its numbers would be the same in every instance. While the plugin's modules are imported (at build time)
the originals work, because the standard library itself looks at the clock then; `seal` ends that.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any

from rustcare_sdk.errors import NotPortable

__all__ = ["install", "seal"]

_CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time",
           "process_time_ns")  # fmt: skip
_sealed = False


def seal() -> None:
    """From now on the guarded functions raise."""
    global _sealed
    _sealed = True


def install() -> None:
    """Guard the functions that modules take by name; so this runs before the plugin's own modules are imported."""
    for name in _CLOCKS:
        _guard(time, name, "time." + name, "use self.ctx.now()")
    _guard(time, "sleep", "time.sleep", "a handler never waits; publish an event, or let the caller set a timeout")
    _guard(os, "urandom", "os.urandom", "use self.ctx.random(size)")
    _guard(random, "_urandom", "os.urandom", "use self.ctx.random(size)")
    for name in random.__all__:
        if not isinstance(getattr(random, name), type):
            _guard(
                random, name, "random." + name, "use self.ctx.random(size), or random.Random(seed) for a known series"
            )


def _guard(module: Any, name: str, shown: str, hint: str) -> None:
    original: Callable[..., Any] = getattr(module, name)

    def guarded(*args: Any, **kwargs: Any) -> Any:
        if _sealed:
            raise NotPortable(f"{shown} does not exist in the sandbox", hint=hint)
        return original(*args, **kwargs)

    guarded.__name__ = name
    setattr(module, name, guarded)
