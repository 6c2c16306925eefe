"""The sandbox's side of a Python plugin: it turns a `Plugin` class into the exports of `wit/plugin.wit`.

Runs only inside a component (CPython in WebAssembly, WASI stubbed out); `rustcare_kernel.runtimes.component_build` puts
it there. The author's source is the one that runs trusted: handlers are `async def`, and because every host call
completes at once here, a handler is driven by a single `send`. A handler that really suspends, by awaiting something
that is not `self.ctx`, is an error that says so.

Import it before the plugin's own modules: it guards the clock and randomness (see `_guards`).
"""

from . import _guards

_guards.install()

from ._exports import guest_of  # noqa: E402
from ._guards import seal  # noqa: E402

__all__ = ["guest_of", "seal"]
