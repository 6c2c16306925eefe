"""The message bus: `publish` tells every subscriber, `request` asks the one provider.

In process, data passes as objects. Each subscription has a bounded queue and a task that empties it in order; what a full
queue does is the subscriber's declared policy. A request runs the provider's handler in the caller's own task: a deadline
and cancellation travel down by themselves, and an answer that needs no waiting costs no trip through the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from rustcare_sdk.context import Delivery
from rustcare_sdk.errors import (
    BusClosed,
    DeadlineExceeded,
    HandlerFailed,
    NoProvider,
    RustCareError,
)
from rustcare_sdk.message import NO_HEADERS, Call, Message
from rustcare_sdk.plugin import Handler
from rustcare_sdk.subjects import check_pattern, check_subject

from .accounting import Accounting, Stat
from .calls import Invoke, Sender, current_message, finish
from .errors import ProviderTaken
from .grants import Rights
from .provider import Provider
from .subjects import PatternTrie
from .subscription import Confirmation, Place, Subscription, is_cancelled

__all__ = ["Bus", "Sender", "current_message"]


class Gate(Protocol):
    """What the bus needs of the room `audit`: whether a use must be on record, and the way through."""

    recorder: str

    def audits(self, sender: str, key: str, scope: str) -> bool: ...
    async def through(
        self,
        sender: Sender,
        call: Call,
        key: str,
        scope: str,
        data: Any,
        work: Callable[[str], Coroutine[Any, Any, Any]],
    ) -> Any: ...
    async def inside(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> Any: ...


_monotonic = time.monotonic
_now = time.time


class Bus:
    """One kernel's bus. All methods belong to the event loop's thread.

    Args:
        accounting: where calls and uses are counted.
        timeout: the deadline of a request that sets none and has none to inherit, in seconds.
    """

    def __init__(self, accounting: Accounting, *, timeout: float = 30.0) -> None:
        self.accounting = accounting
        self.timeout = timeout
        self.on_error: Callable[[str, str, BaseException], None] | None = None
        self.observer: Callable[[Message[Any]], None] | None = None
        self.gate: Gate | None = None  # while there is something that must be on record before it happens
        self._services: dict[str, Provider] = {}
        self._trie: PatternTrie[Subscription] = PatternTrie()
        self._routes: dict[str, tuple[tuple[Subscription, ...], tuple[tuple[Subscription, ...], ...]]] = {}
        self._turn: dict[str, int] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    # services

    def serve(
        self, service: str, invoke: Invoke, rights: Rights | None = None, owner: str = "", *, gated: bool = False
    ) -> Provider:
        """Make a handler the provider of a service. When `gated`, requests wait until the provider is opened.

        Raises:
            BusClosed: the kernel has stopped.
            InvalidSubject: the name is not a subject.
            ProviderTaken: another plugin serves it.
            CapabilityDenied: the owner may not serve it.
        """
        self._refuse_if_closed(service)
        check_subject(service)
        if service in self._services:
            raise ProviderTaken(
                f"{owner or 'a plugin'} wants to serve {service}, which {self._owner(service)} serves already",
                hint="disable one of the two",
            )
        if rights is not None:
            rights.check("bus", "serve", service, "default", count=False)
        provider = self._services[service] = Provider(service, rights)
        if not gated:
            provider.open(invoke, rights)
        return provider

    def unserve(self, service: str, provider: Provider | None = None) -> None:
        """Take a service away; whoever waits for it is told. With `provider`, only if it is the one that serves it."""
        current = self._services.get(service)
        if current is not None and provider in (None, current):
            del self._services[service]
            current.abandon()

    def _refuse_if_closed(self, subject: str) -> None:
        if self._closed:
            raise BusClosed(f"{subject} cannot be connected, the kernel has stopped")

    def services(self) -> list[str]:
        """The names of all services, sorted."""
        return sorted(self._services)

    def _owner(self, service: str) -> str:
        rights = self._services[service].rights
        return rights.plugin if rights is not None else "the kernel"

    async def request(
        self,
        sender: Sender,
        service: str,
        data: Any = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        passed: str | None = None,
    ) -> Any:
        """Ask the provider of a service; its answer, or its typed error.

        `passed`: it need not stop at the gate (any more); the attempt's id, when it is on record.

        Raises:
            NoProvider: nobody serves it.
            AuditUnavailable: it must be on record before it happens, and cannot be.
            CapabilityDenied: the sender may not request it, or the provider may no longer serve it.
            DeadlineExceeded: the deadline passed first; the handler was cancelled.
            HandlerFailed: the provider raised something of its own that is not a RustCareError.
        """
        provider = self._services.get(service)
        if provider is None:
            raise self._no_provider(service, sender)
        gate = self.gate
        if gate is not None and passed is None:
            # In methods of their own: a closure here would turn this method's variables into cells, and slow all calls.
            if sender.name == gate.recorder:
                return await self._request_inside(gate, sender, service, data, timeout, headers)
            if gate.audits(sender.name, "bus:request", service):
                return await self._request_on_record(gate, sender, service, data, timeout, headers)
        started = _monotonic()
        above = current_message.get()
        if above is None:
            call = sender.call
            deadline = started + (self.timeout if timeout is None else timeout)
        else:
            call = above.call
            limit = above.deadline
            if timeout is None:
                deadline = started + self.timeout if limit is None else limit
            else:
                deadline = started + timeout
                if limit is not None and limit < deadline:
                    deadline = limit
            if deadline <= started:
                raise DeadlineExceeded(
                    f"the deadline had passed before {sender.name} asked {service}", hint="allow more time"
                )
        tenant = call.tenant
        rights = sender.rights
        if rights is not None:
            if rights.epoch != rights._grants.epoch:
                rights.fresh()
            use = rights.request.get((tenant, service))
            if use is None:
                rights.check_request(service, tenant)
            else:
                use.count += 1
        invoke = provider.invoke
        if invoke is None:
            # While a plugin drains, what it is still doing may call its own services; everybody else waits at the gate.
            within = provider.draining
            if within is not None and within.invoke is not None and rights is not None and rights is provider.rights:
                provider, invoke = within, within.invoke
            else:
                invoke = await provider.wait(deadline)
        theirs = provider.rights
        if theirs is not None:
            if theirs.epoch != theirs._grants.epoch:
                theirs.fresh()
            use = theirs.serve.get((tenant, service))
            if use is None:
                theirs.check_bus(theirs.serve, "serve", service, tenant)
            else:
                use.count += 1
        stat = provider.stats.get(tenant)
        if stat is None:
            stat = self._stat(provider, tenant)
        if started + provider.limit < deadline:
            deadline = started + provider.limit
        message = Message(
            service, data, sender.name, call, deadline, _now(), NO_HEADERS if headers is None else headers, passed or ""
        )
        if self.observer is not None:
            self.observer(message)
        stat.calls += 1
        provider.inflight += 1
        token = current_message.set(message)
        try:
            coroutine = invoke(message)
            try:
                # The first step is run here. A handler that needs no waiting ends in it and costs no timer.
                pending = coroutine.send(None)
            except StopIteration as done:
                return done.value
            return await finish(coroutine, pending, deadline, service)
        except RustCareError:
            stat.errors += 1
            raise
        except (Exception, asyncio.CancelledError) as error:
            if is_cancelled(error):
                raise
            stat.errors += 1
            if self.on_error is not None:
                self.on_error(theirs.plugin if theirs is not None else "kernel", service, error)
            raise HandlerFailed(
                f"the provider of {service} failed with {type(error).__name__}",
                hint="its log says more",
                address=service,
            ) from error
        finally:
            current_message.reset(token)
            stat.wall += _monotonic() - started
            provider.inflight -= 1
            if provider._idle is not None and not provider.inflight:
                provider.left()

    def originating(self, sender: Sender, call: Call) -> Sender:
        """A sender as it is when it says for whom its calls are. They are made with no message being handled.

        Raises CapabilityDenied unless it may say so (`bus:originate@TENANT`).
        """
        rights = sender.rights
        if rights is not None:
            rights.check("bus", "originate", call.tenant, call.tenant)
        return Sender(sender.name, rights, call)

    async def _request_inside(
        self,
        gate: Gate,
        sender: Sender,
        service: str,
        data: Any,
        timeout: float | None,
        headers: Mapping[str, str] | None,
    ) -> Any:
        """A request of the recorder's own."""
        return await gate.inside(lambda: self.request(sender, service, data, timeout, headers, passed=""))

    async def _request_on_record(
        self,
        gate: Gate,
        sender: Sender,
        service: str,
        data: Any,
        timeout: float | None,
        headers: Mapping[str, str] | None,
    ) -> Any:
        """A request that is recorded first. What is not allowed is not recorded as an attempt, but as a denial."""
        above = current_message.get()
        call = sender.call if above is None else above.call
        if sender.rights is not None:
            sender.rights.permit(sender.rights.request, "request", service, call.tenant)
        deadline = None if timeout is None else _monotonic() + timeout

        def work(attempt: str) -> Coroutine[Any, Any, Any]:
            left = None if deadline is None else max(0.0, deadline - _monotonic())
            return self.request(sender, service, data, left, headers, passed=attempt)

        return await gate.through(sender, call, "bus:request", service, data, work)

    def _stat(self, provider: Provider, tenant: str) -> Stat:
        owner = provider.rights.plugin if provider.rights is not None else "kernel"
        stat = provider.stats[tenant] = self.accounting.stat(owner, tenant)
        return stat

    def _no_provider(self, service: str, sender: Sender) -> RustCareError:
        if self._closed:
            return BusClosed(f"{sender.name} asked {service}, but the kernel has stopped")
        import difflib

        near = difflib.get_close_matches(service, self._services, n=1)
        hint = f"did you mean {near[0]}?" if near else "is the plugin that provides it installed and enabled?"
        return NoProvider(f"{sender.name} asked {service}, which nobody serves", hint=hint, address=service)

    # events

    def subscribe(
        self,
        handler: Handler,
        invoke: Invoke,
        rights: Rights | None = None,
        owner: str = "kernel",
        *,
        paused: bool = False,
    ) -> Subscription:
        """Attach a subscriber; it starts to receive at once, and to handle unless it is `paused`.

        Raises CapabilityDenied when the owner may not subscribe to the pattern, InvalidSubject when it is malformed,
        BusClosed when the kernel has stopped.
        """
        self._refuse_if_closed(handler.subject)
        check_pattern(handler.subject)
        if rights is not None:
            rights.check("bus", "subscribe", handler.subject, "default", count=False)
        return self._attach(handler, invoke, rights, owner, paused)

    def _attach(
        self, handler: Handler, invoke: Invoke, rights: Rights | None, owner: str, paused: bool
    ) -> Subscription:
        subscription = Subscription(self, handler, invoke, rights, owner, paused)
        self._trie.add(handler.subject, subscription)
        self._routes.clear()
        return subscription

    def report(self, owner: str, subject: str, error: BaseException) -> None:
        """A subscriber failed on one event: others are not touched, the kernel logs it."""
        if self.on_error is not None:
            self.on_error(owner, subject, error)

    def drop_slow(self, subscription: Subscription) -> None:
        """Cut off a subscriber whose queue is full and whose policy is `disconnect`."""
        self.dismiss(subscription)
        self.report(
            subscription.owner,
            subscription.handler.subject,
            BusClosed("its queue was full and its policy is to be disconnected", hint="raise `queue`, or use `block`"),
        )

    def cut(self, subscription: Subscription) -> None:
        """Route nothing new to a subscriber; what it has stays with it."""
        self._trie.remove(subscription.handler.subject, subscription)
        self._routes.clear()

    def mend(self, subscription: Subscription) -> None:
        """Route to a subscriber again after `cut`; nothing changes for one that was not cut."""
        if not any(item is subscription for item in self._trie):
            self._trie.add(subscription.handler.subject, subscription)
            self._routes.clear()

    def hold(self, subscription: Subscription) -> Subscription:
        """Cut a subscriber and keep what is published for it from now on, in case it has to go on after all."""
        self.cut(subscription)
        return self._attach(
            subscription.handler, subscription.invoke, subscription.rights, subscription.owner, paused=True
        )

    def exchange(self, before: Subscription, handler: Handler, invoke: Invoke, rights: Rights | None) -> Subscription:
        """Another handler for a paused subscriber; everything that waits there is for the new one, which goes on.

        Rights are not asked here but for each message, so that nothing can go wrong half way.
        """
        if handler.parallel == before.handler.parallel and not before.closed:
            before.resume(handler, invoke, rights)
            return before
        self.cut(before)
        after = self._attach(handler, invoke, rights, before.owner, paused=True)
        if not before.closed:
            after.inherit(before)
            self.dismiss(before)
        after.resume()
        return after

    def dismiss(self, subscription: Subscription, *, withdraw: bool = False) -> None:
        """Detach a subscriber without waiting for it to end (see `Subscription.close`)."""
        self.cut(subscription)
        task = asyncio.get_running_loop().create_task(subscription.close(withdraw=withdraw))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def unsubscribe(self, subscription: Subscription, *, withdraw: bool = False) -> None:
        """Detach a subscriber; what is still in its queue is given up and reported to those who wait for it."""
        self.cut(subscription)
        await subscription.close(withdraw=withdraw)

    async def publish(
        self,
        sender: Sender,
        subject: str,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        confirm: bool = False,
        *,
        passed: str | None = None,
    ) -> Delivery | None:
        """Hand an event to every subscriber's queue; with `confirm`, return when all of them have handled it.

        `passed`: it need not stop at the gate (any more); the attempt's id, when it is on record.
        Raises AuditUnavailable when it must be on record, and cannot be.

        A full queue whose policy is `block` makes this wait. The event is in every queue, or in line for it, before this
        waits for any: so each subscriber gets events in the order in which they were published, however slow another is.
        """
        above = current_message.get()
        call = sender.call if above is None else above.call
        rights = sender.rights
        gate = self.gate
        if gate is not None and passed is None and gate.audits(sender.name, "bus:publish", subject):
            return await self._publish_on_record(gate, sender, subject, data, headers, confirm, call)
        if rights is not None:
            if rights.epoch != rights._grants.epoch:
                rights.fresh()
            use = rights.publish.get((call.tenant, subject))
            if use is None:
                rights.check_bus(rights.publish, "publish", subject, call.tenant)
            else:
                use.count += 1
        route = self._routes.get(subject)
        if route is None:
            route = self._route(subject)
        direct, groups = route
        if not direct and not groups and self.observer is None:
            return Delivery(0, 0) if confirm else None  # nobody listens: there is nothing to make a message for
        message = Message(
            subject, data, sender.name, call, None, _now(), NO_HEADERS if headers is None else headers, passed or ""
        )
        if self.observer is not None:
            self.observer(message)
        if confirm:
            return await self._publish_confirmed(message, direct, groups)
        waits: list[tuple[Subscription, Place]] | None = None
        for subscription in direct:
            if subscription.size < subscription.bound and not subscription.blocked:
                # `Subscription.put`, written out: a call for each message would be a tenth of the whole cost.
                subscription.size += 1
                subscription.append(message)
                if subscription._wake is not None:
                    subscription.wake()
            elif (place := subscription.line_up(message)) is not None:
                waits = [*(waits or ()), (subscription, place)]
        for members in groups:
            member = self._pick(members)
            if member.size < member.bound and not member.blocked:
                member.put(message)
            elif (place := member.line_up(message)) is not None:
                waits = [*(waits or ()), (member, place)]
        if waits is not None:
            await self._wait_for_room(waits)
        return None

    async def _publish_on_record(
        self,
        gate: Gate,
        sender: Sender,
        subject: str,
        data: Any,
        headers: Mapping[str, str] | None,
        confirm: bool,
        call: Call,
    ) -> Delivery | None:
        """An event that is recorded first."""
        if sender.rights is not None:
            sender.rights.permit(sender.rights.publish, "publish", subject, call.tenant)

        def work(attempt: str) -> Coroutine[Any, Any, Delivery | None]:
            return self.publish(sender, subject, data, headers, confirm, passed=attempt)

        published: Delivery | None = await gate.through(sender, call, "bus:publish", subject, data, work)
        return published

    async def _publish_confirmed(
        self,
        message: Message[Any],
        direct: tuple[Subscription, ...],
        groups: tuple[tuple[Subscription, ...], ...],
    ) -> Delivery:
        receivers = [*direct, *(self._pick(members) for members in groups)]
        confirmation = Confirmation(message, len(receivers))
        waits: list[tuple[Subscription, Place]] = []
        for subscription in receivers:
            if subscription.size < subscription.bound and not subscription.blocked:
                subscription.put(confirmation)
            elif (place := subscription.line_up(confirmation)) is not None:
                waits.append((subscription, place))
        if waits:
            await self._wait_for_room(waits)
        return await confirmation.wait()

    async def _wait_for_room(self, waits: list[tuple[Subscription, Place]]) -> None:
        try:
            for _, (room, _) in waits:
                await room
        except asyncio.CancelledError:
            for subscription, place in waits:
                subscription.leave(place)
            raise

    def _route(self, subject: str) -> tuple[tuple[Subscription, ...], tuple[tuple[Subscription, ...], ...]]:
        if self._closed:
            raise BusClosed(f"{subject} cannot be published, the kernel has stopped")
        check_subject(subject)
        direct: list[Subscription] = []
        groups: dict[str, list[Subscription]] = {}
        for subscription in self._trie.match(subject):
            if subscription.handler.group:
                groups.setdefault(subscription.handler.group, []).append(subscription)
            else:
                direct.append(subscription)
        if len(self._routes) > 65_536:  # subjects can come from outside: the cache must not grow without bound
            self._routes.clear()
        route = self._routes[subject] = (tuple(direct), tuple(tuple(members) for members in groups.values()))
        return route

    def _pick(self, members: tuple[Subscription, ...]) -> Subscription:
        """The member of a group whose turn it is; one with room goes before one without."""
        if len(members) == 1:
            return members[0]
        group = members[0].handler.group
        turn = self._turn.get(group, 0)
        self._turn[group] = turn + 1
        for step in range(len(members)):
            member = members[(turn + step) % len(members)]
            if member.size < member.bound and not member.blocked and not member.paused:
                return member
        return members[turn % len(members)]

    def member(self, group: str, subject: str) -> Subscription | None:
        """The member of a group whose turn it is to get an event of a subject, if there is any."""
        for members in self._route(subject)[1]:
            if members[0].handler.group == group:
                return self._pick(members)
        return None

    def subscriptions(self) -> list[Subscription]:
        """All subscriptions, in no particular order."""
        return list(self._trie)

    async def close(self) -> None:
        """Stop all subscribers; further calls raise BusClosed."""
        self._closed = True
        self._routes.clear()
        for service in list(self._services):
            self.unserve(service)
        for subscription in list(self._trie):
            await self.unsubscribe(subscription)
        await asyncio.gather(*self._closing)
