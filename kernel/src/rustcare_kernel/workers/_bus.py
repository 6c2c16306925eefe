"""A worker's bus: what is not served in this process is asked over the link, and every event goes to the primary first.

There it is delivered to all subscribers of all processes, so that each gets it once, one member of a group gets it
overall, and a confirmed publish waits for everybody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Mapping
from typing import Any

import msgspec
from rustcare_sdk.context import Delivery
from rustcare_sdk.errors import DeadlineExceeded
from rustcare_sdk.message import NO_HEADERS, Message
from rustcare_sdk.plugin import Handler

from rustcare_kernel.accounting import Accounting
from rustcare_kernel.bus import Bus, Sender, current_message
from rustcare_kernel.calls import FOREVER, Invoke
from rustcare_kernel.grants import Rights
from rustcare_kernel.subscription import Confirmation, Subscription

from . import _frames as frames
from ._link import Link

__all__ = ["WorkerBus"]

_Key = tuple[str, str, str]  # owner, pattern, group
_Delivery = msgspec.json.Decoder(Delivery)


class WorkerBus(Bus):
    """The bus of a worker.

    A *wire* stands for the subscribers of one plugin to one pattern in one group. It outlives the versions of a plugin:
    what comes over it goes to whoever holds the subscription at that moment, be it paused for a hand-over.
    """

    def __init__(self, accounting: Accounting, link: Link, *, timeout: float) -> None:
        super().__init__(accounting, timeout=timeout)
        self._link = link
        self._dirty = False
        self._wires: dict[_Key, int] = {}
        self._said: dict[int, frames.Wire] = {}
        self._behind: dict[int, tuple[Subscription, ...]] = {}
        self._last_wire = 0

    # requests and events of this process

    def request(
        self,
        sender: Sender,
        service: str,
        data: Any = None,
        timeout: float | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        passed: str | None = None,
    ) -> Coroutine[Any, Any, Any]:
        """As `Bus.request`. What is served elsewhere is checked, counted and put on record there."""
        if service in self._services:
            return super().request(sender, service, data, timeout, headers, passed=passed)
        return self._ask(sender, service, data, timeout, headers)

    async def _ask(
        self, sender: Sender, service: str, data: Any, timeout: float | None, headers: Mapping[str, str] | None
    ) -> msgspec.Raw | None:
        now = time.monotonic()
        above = current_message.get()
        call = sender.call if above is None else above.call
        deadline = FOREVER if timeout is None else now + timeout
        if above is not None and above.deadline is not None:
            deadline = min(deadline, above.deadline)
        if deadline == FOREVER:
            deadline = now + self.timeout
        if deadline <= now:
            raise DeadlineExceeded(
                f"the deadline had passed before {sender.name} asked {service}", hint="allow more time"
            )
        payload = frames.payload_of(data, f"data for {service}")
        link = self._link
        if (
            above is None and link.crowded
        ):  # what belongs to something that is under way must not wait for others to end
            await link.room()
        if self._dirty:
            self._rewire()
        plugin, digest = _who(sender)
        plain = None if headers is None else dict(headers)
        frame = frames.Ask(link.ticket(), plugin, digest, service, call, deadline, plain, payload)
        return frames.raw_of(await link.answer(frame, deadline))

    def publish(
        self,
        sender: Sender,
        subject: str,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        confirm: bool = False,
        *,
        passed: str | None = None,
    ) -> Coroutine[Any, Any, Delivery | None]:
        """As `Bus.publish`. The event comes back for the subscribers of this process, as for those of any other."""
        return self._tell(sender, subject, data, headers, confirm)

    async def _tell(
        self, sender: Sender, subject: str, data: Any, headers: Mapping[str, str] | None, confirm: bool
    ) -> Delivery | None:
        above = current_message.get()
        call = sender.call if above is None else above.call
        payload = frames.payload_of(data, f"data of {subject}")
        link = self._link
        if above is None and link.crowded:
            await link.room()
        if self._dirty:
            self._rewire()
        plugin, digest = _who(sender)
        plain = None if headers is None else dict(headers)
        frame = frames.Tell(link.ticket(), plugin, digest, subject, call, plain, confirm, payload)
        told = await link.answer(frame, FOREVER)
        return _Delivery.decode(told) if told else None

    # subscribers of this process

    def _attach(
        self, handler: Handler, invoke: Invoke, rights: Rights | None, owner: str, paused: bool
    ) -> Subscription:
        made = super()._attach(handler, invoke, rights, owner, paused)
        self._changed()
        return made

    def cut(self, subscription: Subscription) -> None:
        """As `Bus.cut`."""
        super().cut(subscription)
        self._changed()

    def mend(self, subscription: Subscription) -> None:
        """As `Bus.mend`."""
        super().mend(subscription)
        self._changed()

    def _changed(self) -> None:
        # Told when this turn's changes are all made: a hand-over cuts and connects in one go, and nothing may be lost
        # in between. Whoever asks or publishes before that tells it first, so that no answer overtakes a subscription.
        if not self._dirty:
            self._dirty = True
            asyncio.get_running_loop().call_soon(self._rewire)

    def _rewire(self) -> None:
        if not self._dirty:
            return
        self._dirty = False
        found: dict[_Key, list[Subscription]] = {}
        for subscription in self._trie:
            handler = subscription.handler
            found.setdefault((subscription.owner, handler.subject, handler.group), []).append(subscription)
        for key in [key for key in self._wires if key not in found]:
            wire = self._wires.pop(key)
            del self._said[wire], self._behind[wire]
            self._link.send(frames.Unwire(wire))
        for key, subscriptions in found.items():
            number = self._wires.get(key)
            if number is None:
                self._last_wire += 1
                number = self._wires[key] = self._last_wire
            handler = subscriptions[0].handler
            said = frames.Wire(number, *key, handler.queue, handler.overflow)
            if self._said.get(number) != said:
                self._said[number] = said
                self._link.send(said)
            self._behind[number] = tuple(subscriptions)

    def deliver(self, frame: frames.Deliver) -> None:
        """An event has come for the subscribers behind a wire."""
        if self._dirty:
            self._rewire()
        subscriptions = self._behind.get(frame.wire, ())
        if subscriptions and subscriptions[0].handler.group:
            subscriptions = (self._pick(subscriptions),)
        if not subscriptions:
            self._link.send(frames.Handled(frame.number, ""))  # they went while it was on its way
            return
        message: Message[Any] = Message(
            frame.subject,
            frames.raw_of(frame.data),
            frame.source,
            frame.call,
            None,
            frame.time,
            NO_HEADERS if frame.headers is None else frame.headers,
            frame.uid,
        )
        confirmation = Confirmation(message, len(subscriptions))
        for subscription in subscriptions:
            subscription.put(confirmation)  # bounds are kept by the primary, which sends no more than a window
        number = frame.number

        def handled(delivery: Delivery) -> None:
            self._link.send(frames.Handled(number, delivery.failures[0] if delivery.failures else ""))

        confirmation.then(handled)


def _who(sender: Sender) -> tuple[str, str]:
    rights = sender.rights
    assert rights is not None, "only plugins speak in a worker"
    return rights.plugin, rights.digest
