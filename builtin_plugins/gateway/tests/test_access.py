"""Access records: bounded, in order, by tenant, kept until they are on record."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from rustcare_plugin_gateway.access import BATCH_BYTES, PATIENCE, AccessLog
from rustcare_sdk.contracts.http import ACCESS, AccessBatch
from rustcare_sdk.errors import AuditUnavailable


class Log:
    """Takes batches, unless it is broken."""

    def __init__(self) -> None:
        self.batches: list[AccessBatch] = []
        self.broken = False

    async def __call__(self, subject: str, data: AccessBatch, *, confirm: bool, call: Any) -> None:
        assert (subject, confirm, call.tenant) == (ACCESS, True, data.tenant)
        if self.broken:
            raise AuditUnavailable("the log is away")
        self.batches.append(data)

    def rows(self, tenant: str) -> list[Any]:
        """Everything of a tenant."""
        return [row for batch in self.batches if batch.tenant == tenant for row in batch.rows]


def access(log: Log, *, bound: int = 100, refuse: bool = True, many: int = 10, interval: float = 60.0) -> AccessLog:
    """Records that go to a log."""
    return AccessLog(log, bound=bound, interval=interval, many=many, refuse=refuse)


async def test_rows_are_published_by_tenant_in_their_order() -> None:
    """One batch for each tenant."""
    log = Log()
    found = access(log)
    for number in range(6):
        found.add("north" if number % 2 else "south", str(number))
    assert await found.flush()
    assert [(batch.tenant, batch.rows) for batch in log.batches] == [
        ("south", ["0", "2", "4"]),
        ("north", ["1", "3", "5"]),
    ]
    assert (found.waiting, found.recorded) == (0, 6)


async def test_what_cannot_be_recorded_is_kept_in_order() -> None:
    """Rows that wait, and rows that came meanwhile, are recorded once, in order, when the log is back."""
    log = Log()
    found = access(log)
    log.broken = True
    found.add("north", "1")
    assert not await found.flush()
    assert found.failing == "audit.unavailable"
    found.add("north", "2")
    log.broken = False
    assert await found.flush()
    assert log.rows("north") == ["1", "2"]


async def test_when_there_is_no_room_requests_are_refused_or_rows_are_counted_as_lost() -> None:
    """As the configuration says; the memory is bounded either way (what is under way may still end when refusing)."""
    log = Log()
    log.broken = True
    refusing = access(log, bound=5)
    for number in range(5):
        refusing.add("north", str(number))
    assert refusing.full
    going_on = access(log, bound=5, refuse=False)
    for number in range(8):
        going_on.add("north", str(number))
    assert not going_on.full
    assert (going_on.waiting, going_on.lost) == (5, 3)


async def test_batches_are_never_too_large() -> None:
    """Rows that are large together are split."""
    log = Log()
    found = access(log, bound=10_000)
    rows = [f"{number} {'x' * 300}" for number in range(1000)]
    for row in rows:
        found.add("north", row)
    assert await found.flush()
    assert log.rows("north") == rows
    assert all(len(msgspec.json.encode(batch.rows)) <= BATCH_BYTES for batch in log.batches)


async def test_many_rows_are_published_at_once() -> None:
    """A tenant's batch that is full does not wait for the interval."""
    log = Log()
    told = asyncio.Event()

    async def publish(*args: Any, **more: Any) -> None:
        await log(*args, **more)
        told.set()

    found = AccessLog(publish, bound=100, interval=3600.0, many=3, refuse=True)
    running = asyncio.create_task(found.run())
    for number in range(3):
        found.add("north", str(number))
    async with asyncio.timeout(10):
        await told.wait()
    running.cancel()
    assert log.rows("north") == ["0", "1", "2"]


async def test_what_another_has_published_meanwhile_is_no_fault() -> None:
    """Two that publish the same tenant's rows, one behind the other: they go out once, and neither fails."""
    log = Log()
    go, waiting, last = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def publish(*args: Any, **more: Any) -> None:
        waiting.set()
        await go.wait()
        await log(*args, **more)
        if log.rows("north") == ["2", "3"]:
            last.set()

    found = AccessLog(publish, bound=100, interval=3600.0, many=1, refuse=True)
    found.add("south", "1")
    first = asyncio.create_task(found.flush())
    await waiting.wait()
    found.add("north", "2")
    second = asyncio.create_task(found.flush())
    await asyncio.sleep(0)
    running = asyncio.create_task(found.run())
    await asyncio.sleep(0)
    go.set()
    assert await first
    assert await second
    found.add("north", "3")
    ended, _ = await asyncio.wait(
        {running, asyncio.create_task(last.wait())}, timeout=10, return_when="FIRST_COMPLETED"
    )
    assert last.is_set()
    assert running not in ended
    running.cancel()


async def test_many_tenants_take_turns() -> None:
    """At one interval only a share of many tenants is published, those that waited longest; after some, all of them are."""
    log = Log()
    found = access(log, bound=10_000, interval=1.0)
    names = [f"t{number}" for number in range(2000)]
    for name in names:
        found.add(name, f"first of {name}")
    share = int(len(names) / PATIENCE)
    await found._publish_these(found._turn())
    assert [batch.tenant for batch in log.batches] == names[:share]
    for name in names:
        found.add(name, f"second of {name}")
    turns = 1
    while found.waiting:
        await found._publish_these(found._turn())
        turns += 1
    assert turns < 40
    assert all(log.rows(name) == [f"first of {name}", f"second of {name}"] for name in names)
    assert len(log.batches) < 2 * len(names)  # what waited longer went out together
