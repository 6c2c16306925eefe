"""What is left of a statement whose caller was cancelled."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from rustcare_kernel.stores import open_driver

from tests.support.stores import ITEMS

LOCKS = """SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE application_name = 'rustcare' AND relation = '"rustcare_acme.cancelled".items'::regclass"""


@pytest.mark.parametrize("times", [1, 3])
async def test_a_cancelled_statement_holds_no_lock(times: int, postgres_dsn: str, tmp_path: Path) -> None:
    """Wherever it is cut off, and however often: nobody who changes or removes its table later waits for it, and its
    connection is there for others."""
    driver = open_driver(postgres_dsn, tmp_path)
    watcher = await asyncpg.connect(postgres_dsn)
    try:
        store = await driver.open("acme.cancelled")
        await store.migrate([ITEMS])
        for number in range(300):
            # A statement of its own each time, so that it is prepared anew; cut off ever later.
            work = asyncio.create_task(store.db.fetch(f"SELECT id FROM items WHERE id = {number}"))
            await asyncio.wait({work}, timeout=number * 5e-6)
            for _ in range(times):
                work.cancel()
                await asyncio.wait({work}, timeout=0)
            with suppress(asyncio.CancelledError):
                await work
            async with asyncio.timeout(10):  # what was cut off is ended behind the back of who was cancelled
                while await watcher.fetchval(LOCKS):
                    pass
        async with asyncio.timeout(10):
            many = [store.db.fetch("SELECT id FROM items") for _ in range(50)]
            assert await asyncio.gather(*many) == [[]] * 50
        await store.close()
        await driver.drop("acme.cancelled")
    finally:
        await watcher.close()
        await driver.close()
