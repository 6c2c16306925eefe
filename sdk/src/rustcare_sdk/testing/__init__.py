"""For authors' tests: a double of the kernel in memory, and a pytest plugin that comes with the SDK.

    async def test_a_result_is_routed() -> None:
        async with harness(LabRouter, config={"ward": "3B"}) as h:
            h.answer("lab.units", {"unit": "mmol/l"})
            await h.send("hl7.oru.r01", message)
            h.assert_published("lab.routed.*", times=1)
            h.assert_capabilities_within_manifest()

The same handlers, context and checks as in the kernel; `round_trip=True` passes all data through JSON as a sandbox does,
and takes away what only trusted plugins have. Importing this is cheap; the double is loaded on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._harness import PluginHarness, harness
    from ._records import LogEntry, Use

__all__ = ["LogEntry", "PluginHarness", "Use", "harness"]


def __getattr__(name: str) -> Any:
    if name in ("PluginHarness", "harness"):
        from . import _harness as module
    elif name in ("LogEntry", "Use"):
        from . import _records as module  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(module, name)
