"""A worker's subscription in the primary: who waits for a confirmation, and since when."""

from __future__ import annotations

from rustcare_kernel.accounting import Accounting
from rustcare_kernel.bus import Bus
from rustcare_kernel.subscription import Confirmation
from rustcare_kernel.workers import _frames as frames
from rustcare_kernel.workers._link import Link
from rustcare_kernel.workers._remote import RemoteSubscription
from rustcare_sdk.message import Call, Message
from rustcare_sdk.plugin import Handler


async def test_each_publisher_waits_on_its_own_account() -> None:
    """A worker is overdue for the event that it has not confirmed, not for one before it that lay in the same memory."""
    message = Message("news.x", 1, "acme.back", Call())
    link = Link(frames.FROM_WORKER, lambda frame: None, lambda error: None)
    bus = Bus(Accounting())
    subscription = RemoteSubscription(bus, Handler("subscribe", "news.>"), "acme.front", link, lambda message: 1)
    subscription.paused = True
    subscription.put(Confirmation(message, 1))
    assert not subscription.overdue(0.0, 2.0)
    place = id(subscription._queue.pop())
    made: list[Confirmation] = []
    for _ in range(100):  # the memory of the first is used again at once, unless somebody holds on to it
        made.append(Confirmation(message, 1))
        if id(made[-1]) == place:
            break
    subscription.put(made[-1])
    assert not subscription.overdue(1.9, 2.0)
    assert not subscription.overdue(3.8, 2.0), "it has waited for 1.9 seconds"
    assert subscription.overdue(4.0, 2.0)
    await subscription.close()
