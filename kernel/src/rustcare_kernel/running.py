"""One loaded version of a plugin: its instance, its context, and its wires to the bus.

A version is loaded and started without wires; `attach` connects it, and `replace` moves the wires of the version before to
it while the bus buffers, which is the whole of a hot swap.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

from rustcare_sdk.errors import RustCareError
from rustcare_sdk.manifest import Manifest
from rustcare_sdk.message import Message
from rustcare_sdk.plugin import Handler, Health

from .bus import Bus
from .catalog import Entry
from .context import PluginContext
from .errors import ProviderTaken, StartFailed
from .grants import Rights
from .provider import Provider
from .routes import RouteRights, RouteTable, services_of
from .runtimes._contract import Instance
from .subscription import Subscription

__all__ = ["Running", "within"]

_Key = tuple[str, str, str]  # pattern, group, method


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
        # Of a foreign error only its kind is told, since its text may hold anything; what the system says is known.
        why = f": {os.strerror(error.errno)}" if isinstance(error, OSError) and error.errno else ""
        raise StartFailed(
            f"{what} failed with {type(error).__name__}{why}", hint="the plugin's log says more"
        ) from error


class Running:
    """A loaded version. `traps` are the times (monotonic seconds) at which its code crashed."""

    def __init__(
        self,
        entry: Entry,
        manifest: Manifest,
        instance: Instance,
        context: PluginContext,
        rights: Rights,
        bus: Bus,
        routes: RouteTable,
    ) -> None:
        self.entry = entry
        self.manifest = manifest
        self.instance = instance
        self.context = context
        self.rights = rights
        self.traps: list[float] = []
        self.elsewhere: frozenset[str] = frozenset()  # services that another process answers
        self.subscriptions: dict[_Key, Subscription] = {}
        self.providers: dict[str, Provider] = {}
        self._bus = bus
        self._table = routes
        self._routes = services_of(entry.id, instance.handlers)
        self._live = False
        self._heirs: dict[
            _Key, _Key
        ] = {}  # of this version's subscriptions, which one of the version before each takes over
        self._held: dict[
            _Key, Subscription
        ] = {}  # what comes in for subscriptions that the next version has no heir for
        self._next: Running | None = None

    def _publish_routes(self) -> None:
        sandboxed = self.entry.runtime != "python"
        self._table.put(self.entry.id, self.entry.version, self._routes, self, sandboxed=sandboxed)

    def _invoke(self, handler: Handler) -> Callable[[Message[Any]], Coroutine[Any, Any, Any]]:
        bind = getattr(self.instance, "bind", None)
        if bind is not None:
            bound: Callable[[Message[Any]], Coroutine[Any, Any, Any]] = bind(handler)
            return bound
        instance = self.instance

        def invoke(message: Message[Any]) -> Coroutine[Any, Any, Any]:
            return instance.invoke(handler, message)

        return invoke

    def _subscribers(self) -> dict[_Key, Handler]:
        return {
            (handler.subject, handler.group, handler.method): handler
            for handler in self.instance.handlers
            if handler.kind == "subscribe"
        }

    def _services(self) -> dict[str, Handler]:
        """What it serves, its routes included, by the service's name."""
        served = {
            handler.subject: handler
            for handler in self.instance.handlers
            if handler.kind == "serve" and handler.subject not in self.elsewhere
        }
        return {**served, **self._routes}

    def _rights(self, handler: Handler) -> Rights:
        """The rights under which a service is served: those of the plugin, or of the plugin to answer this route."""
        if handler.route is None:
            return self.rights
        return RouteRights(self.rights._grants, self.rights.plugin, self.rights.digest, handler.route)

    def check_wires(self, before: Running | None = None) -> None:
        """Find out beforehand whether `attach` or `replace` will be allowed.

        Raises CapabilityDenied, ProviderTaken, RouteTaken or InvalidSubject.
        """
        for handler in self.instance.handlers:
            kind, action = ("http", "route") if handler.kind == "route" else ("bus", handler.kind)
            self.rights.check(kind, action, handler.subject, "default", count=False)
        self._table.check(self.entry.id, self._routes)
        mine = before.providers if before is not None else {}
        taken = [name for name in self._services() if name not in mine and name in self._bus.services()]
        if taken:
            raise ProviderTaken(
                f"{self.entry.id} wants to serve {', '.join(taken)}, which is served already",
                hint="disable the other plugin first",
            )

    async def attach(self) -> None:
        """Connect every handler; if one is refused, none stays connected."""
        self._live = True
        self._table.check(self.entry.id, self._routes)
        try:
            for key, handler in self._subscribers().items():
                self.subscriptions[key] = self._bus.subscribe(
                    handler, self._invoke(handler), self.rights, self.entry.id
                )
            for service, handler in self._services().items():
                self.providers[service] = self._bus.serve(
                    service, self._invoke(handler), self._rights(handler), self.entry.id
                )
        except BaseException:
            await self.detach()
            raise
        self._limit()
        self._publish_routes()

    def _limit(self) -> None:
        """One call, or the handling of one message, may take as long as the manifest says. Trusted code is cancelled where
        it waits. A sandbox stops its guest by itself and counts a trap: cancelling it here would let it off."""
        limit = self.manifest.limits.timeout if self.entry.runtime == "python" else float("inf")
        for subscription in self.subscriptions.values():
            subscription.limit = limit
        for provider in self.providers.values():
            provider.limit = limit

    async def pause(self, after: Running | None = None) -> None:
        """Let nothing new in, and return when nothing is being handled any more.

        With the next version, also make ready for either outcome. What that version has no heir for, this one handles to
        the end, and what comes in for it from now on is held, in case this version has to go on. What is new in that
        version is connected and waits. So nothing is left to `replace` that could be refused.

        Raises CapabilityDenied, ProviderTaken or BusClosed when the next version may not be connected.
        """
        going_on = set(self.subscriptions)
        if after is not None:
            self._next = after
            after._reserve(self)
            going_on = set(after._heirs.values())
        waits = []
        for key, subscription in self.subscriptions.items():
            if key in going_on:
                waits.append(subscription.pause())
            elif not subscription.closed:
                self._held[key] = self._bus.hold(subscription)
                waits.append(subscription.drain())
        # Subscribers first: what they are doing may still need the plugin's own services.
        await asyncio.gather(*waits)
        for provider in self.providers.values():
            await provider.close()

    def _reserve(self, before: Running) -> None:
        """Find out which subscriptions are taken over, and connect the others, paused."""
        handlers = self._subscribers()
        there = [key for key, subscription in before.subscriptions.items() if not subscription.closed]
        self._heirs = {key: key for key in handlers if key in there}
        for key in handlers:
            if key not in self._heirs:  # a method of another name is no other subscription
                same = [old for old in there if old[:2] == key[:2] and old not in self._heirs.values()]
                if same:
                    self._heirs[key] = same[0]
        for key, handler in handlers.items():
            if key not in self._heirs:
                self.subscriptions[key] = self._bus.subscribe(
                    handler, self._invoke(handler), self.rights, self.entry.id, paused=True
                )
        for service, handler in self._services().items():
            if service not in before.providers:
                self.providers[service] = self._bus.serve(
                    service, self._invoke(handler), self._rights(handler), self.entry.id, gated=True
                )

    def resume(self) -> None:
        """Go on as before a `pause`."""
        for key, subscription in self.subscriptions.items():
            held = self._held.pop(key, None)
            if held is not None:
                self._share(subscription, held, self._next)
                subscription.take_back(held)
                self._bus.dismiss(held)
                self._bus.mend(subscription)
            subscription.resume()
        for service, provider in self.providers.items():
            handler = self._services()[service]
            provider.open(self._invoke(handler), self._rights(handler))
        self._next = None

    def _share(self, subscription: Subscription, held: Subscription, other: Running | None) -> None:
        """While two versions wait, both may be in one group under different patterns, and each message went to one of
        them. Whichever version goes on takes over what the other got."""
        group = subscription.handler.group
        if group and other is not None:
            for key, reserved in other.subscriptions.items():
                if reserved.handler.group == group and key not in other._heirs:
                    held.take_back(reserved, held.handler.subject)

    async def replace(self, before: Running) -> None:
        """Take over the wires of a paused version, with all that waits in its queues."""
        self._live = True
        for key, handler in self._subscribers().items():
            old = self._heirs.get(key)
            if old is not None:
                taken = before.subscriptions.pop(old)
                self.subscriptions[key] = self._bus.exchange(taken, handler, self._invoke(handler), self.rights)
                continue
            fresh = self.subscriptions[key]
            if handler.group:
                for held in before._held.values():
                    if held.handler.group == handler.group:
                        fresh.take_back(held, handler.subject)
            fresh.resume()
        for service, handler in self._services().items():
            provider = before.providers.pop(service, None)
            if provider is not None:
                self.providers[service] = provider
            self.providers[service].open(self._invoke(handler), self._rights(handler))
        self._limit()
        self._publish_routes()
        for held in before._held.values():
            self._bus.dismiss(held, withdraw=True)
        before._held.clear()
        before._next = None
        await before.detach()

    async def detach(self) -> None:
        """Take every wire away; what still waits is given up and reported to those who confirm."""
        self._table.drop(self.entry.id, self)
        for service, provider in self.providers.items():
            self._bus.unserve(service, provider)
        self.providers.clear()
        for subscription in (*self._held.values(), *self.subscriptions.values()):
            # A version that never went live had only copies of what the version before has too.
            await self._bus.unsubscribe(subscription, withdraw=not self._live)
        self.subscriptions.clear()
        self._held.clear()

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
