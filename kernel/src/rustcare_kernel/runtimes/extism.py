"""The Extism sandbox: plugins built with an Extism PDK (Rust, Go, JavaScript, C, Zig, AssemblyScript, …).

The names and payloads are those of `sdk/wit/plugin.wit`, with JSON in place of the component model:

- The guest exports `rustcare_describe`, `rustcare_handle`, and where it has them `rustcare_start`, `rustcare_stop`,
  `rustcare_health`, `rustcare_export_state`, `rustcare_import_state`. The input is an object of the parameters
  (`{"handler": 0, "message": {…, "data": …}}`); the output is `{"ok": …}` or `{"err": {code, message, hint, address}}`,
  and for `rustcare_describe` the description itself.
- Host functions are imported from the module `rustcare:plugin/bus@0.1.0` and so on, under the WIT's names
  (`publish-confirmed`). Each takes the place of a JSON object of its parameters in Extism's memory and gives the place
  of the answer; bytes are base64.

Only what was granted is linked, as for components. WASI preview 1 gives a module the clock and randomness (no files, no
environment, no network, no sleep), so a module that imports it needs `clock:read` and `random:read`.
"""

from __future__ import annotations

from typing import ClassVar

from rustcare_sdk.errors import RustCareError

from ._contract import Code, Host
from ._instance import SandboxInstance
from ._watchdog import Watchdog

__all__ = ["ExtismRuntime"]


class ExtismRuntime:
    """Runs Extism modules."""

    name: ClassVar[str] = "extism"

    def __init__(self) -> None:
        self._watchdog = Watchdog("rustcare-extism-watchdog")
        self._instances: set[SandboxInstance] = set()

    async def load(self, code: Code, host: Host) -> SandboxInstance:
        """Link, compile, and ask the guest what it handles.

        Raises:
            InvalidCode, LinkRefused, PluginTrapped
        """
        from ._extism_guest import LinkedModule

        linked = LinkedModule(code, host)
        try:
            instance = SandboxInstance(linked, host, self._watchdog, self._instances.discard)
        except RustCareError:
            linked.close()
            raise
        self._instances.add(instance)
        try:
            await instance.describe()
        except BaseException:
            await instance.close()
            raise
        return instance

    async def close(self) -> None:
        """Close every plugin, end the watchdog."""
        for instance in tuple(self._instances):
            await instance.close()
        self._watchdog.close()
