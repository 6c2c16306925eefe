"""`Trust`: what the parts of this plugin share, and the rule of who may write while one version replaces another.

A part (reports, sinks, witnesses, retention, …) is an object made of a `Trust`, with `async start()` and `async close()`;
its services are a mixin class beside it, which `plugin.py` mixes into the plugin and which reaches the object as an
attribute. Work in the background is done in steps inside of `async with trust.background():`.

Two versions of this plugin exist side by side during an upgrade, and one log. The version that starts knows whether it
replaces another one. If not, it is `live` at once. If so, it touches nothing until the old one has handed over
(`import_state`, or its own first request); the old one parks itself when it exports its state, after its last request was
answered, and wakes up again should a request come after all (the upgrade failed).
Whoever wakes up reads the log's head again, for the other may have appended.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rustcare_sdk import Context, Plugin
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.plugin import handlers_of

from .sealing import Crypto

if TYPE_CHECKING:
    from .index import Index
    from .log import AuditLog
    from .recorder import Recorder

__all__ = ["Trust", "waking"]

P = TypeVar("P", bound="type[Plugin]")


class Trust:
    """What the parts share.

    Attributes:
        ctx, config: the plugin's context and configuration.
        crypto: requests to the keyring (`sealing.Crypto`).
        log: the Merkle log.
        index: the search index beside it.
        recorder: writes entries: `await trust.recorder.write(drafts)`, such as `entry.fact("audit.prune", {...})`.
        instance: random hex, to tell this running version from another.
    """

    log: AuditLog
    index: Index
    recorder: Recorder

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.config: Mapping[str, Any] = ctx.config
        self.crypto = Crypto(ctx)
        self.instance = ctx.random(8).hex()
        self.problem = ""  # why the log cannot be written, when it cannot
        self.refused: RustCareError | None = None  # why it must not be: a witness knows another log
        self._live = asyncio.Event()
        self._waking = asyncio.Lock()
        self._steps = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def live(self) -> bool:
        """Whether this is the version that writes."""
        return self._live.is_set()

    async def wake(self) -> None:
        """Become the version that writes: read the log's head, and let background work go on."""
        async with self._waking:
            if not self._live.is_set():
                await self.log.open()
                await self.index.open()
                self._live.set()
                self.index.wake()

    async def park(self) -> None:
        """Stop writing: let steps in the background end, and begin no more."""
        self._live.clear()
        await self._idle.wait()

    @asynccontextmanager
    async def background(self) -> AsyncIterator[None]:
        """One step of work in the background: it waits until this version is live, and a hand-over waits for its end."""
        while not self._live.is_set():
            await self._live.wait()
        self._steps += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._steps -= 1
            if not self._steps:
                self._idle.set()


def waking(cls: P) -> P:
    """Class decorator: every handler of the plugin wakes this version up before it does anything (`self.trust`)."""
    for handler in handlers_of(cls):
        setattr(cls, handler.method, _wakes(getattr(cls, handler.method)))
    return cls


def _wakes(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def woken(self: Any, message: Any) -> Any:
        trust: Trust = self.trust
        if not trust.live:
            await trust.wake()
        return await method(self, message)

    return woken
