"""One loaded version of a plugin: its instance, its context, and its wires to the bus.

A version is loaded and started without wires; `attach` connects it, and `replace` moves the wires of the version before to
it while the bus buffers, which is the whole of a hot swap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from rustcare_sdk.errors import RustCareError
from rustcare_sdk.manifest import Manifest
from rustcare_sdk.message import Message
from rustcare_sdk.plugin import Handler, Health

from .bus import Bus, Provider
from .catalog import Entry
from .context import PluginContext
from .errors import ProviderTaken, StartFailed
from .grants import Rights
from .runtimes._contract import Instance
from .subscription import Subscription

__all__ = ["Running", "within"]


async def within(seconds: float, work: Coroutine[Any, Any, Any], what: str) -> Any:
    """The result of a step of a plugin's life, or StartFailed when it takes too long or fails with an error of its own."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        raise StartFailed(f"{what} did not end within {seconds:g} s", hint="raise its limit in plugin.toml") from None
    except RustCareError:
        raise
    except Exception as error:
        raise StartFailed(f"{what} failed with {type(error).__name__}", hint="the plugin's log says more") from error


class Running:
    """A loaded version. `traps` are the times (monotonic seconds) at which its code crashed."""

    def __init__(
        self, entry: Entry, manifest: Manifest, instance: Instance, context: PluginContext, rights: Rights, bus: Bus
    ) -> None:
        self.entry = entry
        self.manifest = manifest
        self.instance = instance
        self.context = context
        self.rights = rights
        self.traps: list[float] = []
        self.subscriptions: dict[tuple[str, str, str], Subscription] = {}
        self.providers: dict[str, Provider] = {}
        self._bus = bus

    def _invoke(self, handler: Handler) -> Callable[[Message[Any]], Coroutine[Any, Any, Any]]:
        bind = getattr(self.instance, "bind", None)
        if bind is not None:
            bound: Callable[[Message[Any]], Coroutine[Any, Any, Any]] = bind(handler)
            return bound
        instance = self.instance

        def invoke(message: Message[Any]) -> Coroutine[Any, Any, Any]:
            return instance.invoke(handler, message)

        return invoke

    def _subscribers(self) -> dict[tuple[str, str, str], Handler]:
        """Subscriptions are the same across versions when pattern, group and method are."""
        return {
            (handler.subject, handler.group, handler.method): handler
            for handler in self.instance.handlers
            if handler.kind == "subscribe"
        }

    def _services(self) -> dict[str, Handler]:
        return {handler.subject: handler for handler in self.instance.handlers if handler.kind == "serve"}

    def check_wires(self, before: Running | None = None) -> None:
        """Find out beforehand whether `attach` or `replace` will be allowed.

        Raises CapabilityDenied, ProviderTaken or InvalidSubject.
        """
        for handler in self.instance.handlers:
            action = "subscribe" if handler.kind == "subscribe" else "serve"
            self.rights.check("bus", action, handler.subject, "default", count=False)
        mine = before.providers if before is not None else {}
        taken = [name for name in self._services() if name not in mine and name in self._bus.services()]
        if taken:
            raise ProviderTaken(
                f"{self.entry.id} wants to serve {', '.join(taken)}, which is served already",
                hint="disable the other plugin first",
            )

    async def attach(self) -> None:
        """Connect every handler; if one is refused, none stays connected."""
        try:
            for key, handler in self._subscribers().items():
                self.subscriptions[key] = self._bus.subscribe(
                    handler, self._invoke(handler), self.rights, self.entry.id
                )
            for service, handler in self._services().items():
                self.providers[service] = self._bus.serve(service, self._invoke(handler), self.rights, self.entry.id)
        except BaseException:
            await self.detach()
            raise

    async def pause(self, after: Running | None = None) -> None:
        """Let nothing new in, wait for what is being handled. What the next version no longer wants is handled first."""
        wanted = after._subscribers() if after is not None else {}
        waits = []
        for key, subscription in self.subscriptions.items():
            if after is not None and key not in wanted:
                self._bus.cut(subscription)
                waits.append(subscription.drain())
            else:
                waits.append(subscription.pause())
        # Subscribers first: what they are doing may still need the plugin's own services.
        await asyncio.gather(*waits)
        for provider in self.providers.values():
            await provider.close()

    def resume(self) -> None:
        """Go on as before a `pause`."""
        for subscription in self.subscriptions.values():
            self._bus.mend(subscription)
            subscription.resume()
        for service, provider in self.providers.items():
            provider.open(self._invoke(self._services()[service]), self.rights)

    async def replace(self, before: Running) -> None:
        """Take over the wires of a paused version, with all that waits in its queues. `check_wires` was asked before."""
        for key, handler in self._subscribers().items():
            subscription = before.subscriptions.pop(key, None)
            if subscription is not None and subscription.handler.parallel == handler.parallel:
                subscription.resume(handler, self._invoke(handler), self.rights)
                self.subscriptions[key] = subscription
                continue
            fresh = self._bus.subscribe(handler, self._invoke(handler), self.rights, self.entry.id)
            self.subscriptions[key] = fresh
            if subscription is not None:
                self._bus.move(subscription, fresh)
                await self._bus.unsubscribe(subscription)
        for service, handler in self._services().items():
            provider = before.providers.pop(service, None)
            if provider is None:
                self.providers[service] = self._bus.serve(service, self._invoke(handler), self.rights, self.entry.id)
            else:
                provider.open(self._invoke(handler), self.rights)
                self.providers[service] = provider
        await before.detach()

    async def detach(self) -> None:
        """Take every wire away; what still waits is given up and reported to those who confirm."""
        for subscription in self.subscriptions.values():
            await self._bus.unsubscribe(subscription)
        self.subscriptions.clear()
        for service in self.providers:
            self._bus.unserve(service)
        self.providers.clear()

    async def healthy(self, seconds: float) -> Health:
        """What the plugin says of itself; an answer that fails or does not come in time is not healthy."""
        try:
            health: Health = await within(seconds, self.instance.health(), f"{self.entry.id}: health")
            return health
        except RustCareError as error:
            return Health(False, error.message)

    async def close(self, seconds: float) -> RustCareError | None:
        """Stop the plugin and let go of everything it had. An error of its `stop` is returned, not raised."""
        problem: RustCareError | None = None
        await self.context.stop_accepting()
        try:
            await within(seconds, self.instance.stop(), f"{self.entry.id}: stop")
        except RustCareError as error:
            problem = error
        finally:
            await self.context.close()
            await self.instance.close()
        return problem
