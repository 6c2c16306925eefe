"""Running `async def` code where nothing ever waits, and failures as they cross the boundary."""

from __future__ import annotations

from collections.abc import Coroutine
from types import TracebackType
from typing import Any, TypeVar

from rustcare_sdk.errors import NotPortable, RustCareError, failure_from_error

__all__ = ["TRAPPED", "failure_of", "run", "where"]

T = TypeVar("T")

#: A failure with this code tells the kernel that the instance is broken; see `guest.handle` in the WIT.
TRAPPED = "runtime.trapped"


def run(coroutine: Coroutine[Any, Any, T], what: str) -> T:
    """The result of a coroutine that never suspends.

    Raises:
        NotPortable: it did suspend.
    """
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    coroutine.close()
    raise NotPortable(
        f"{what} awaited something other than self.ctx",
        hint="in the sandbox there is no event loop: every await must be a call of the context",
    )


def failure_of(error: BaseException) -> dict[str, str]:
    """The failure record of whatever was raised."""
    if isinstance(error, MemoryError):
        return {
            "code": TRAPPED,
            "message": "the plugin ran out of memory",
            "hint": "raise limits.memory",
            "address": "",
        }
    failure = failure_from_error(error)
    if not isinstance(error, RustCareError):
        # The type and the place, never the text of a foreign exception: it may hold patient data.
        failure["address"] = where(error.__traceback__)
    return failure


def where(trace: TracebackType | None) -> str:
    """The innermost place of a traceback: `router.py:12 in route`."""
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    # By hand: the traceback module looks for the source file, and in the sandbox looking for a file is a trap.
    code = trace.tb_frame.f_code
    return f"{code.co_filename.rsplit('/', 1)[-1]}:{trace.tb_lineno} in {code.co_name}"
