"""What is left of a statement whose caller was cancelled."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import asyncpg
from rustcare_kernel.stores import open_driver

from tests.support.stores import ITEMS

LOCKS = """SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE application_name = 'rustcare' AND relation = '"rustcare_acme.cancelled".items'::regclass"""


async def test_a_cancelled_statement_holds_no_lock(postgres_dsn: str, tmp_path: Path) -> None:
    """Wherever it is cut off: nobody who changes or removes its table later waits for it."""
    driver = open_driver(postgres_dsn, tmp_path)
    watcher = await asyncpg.connect(postgres_dsn)
    try:
        store = await driver.open("acme.cancelled")
        await store.migrate([ITEMS])
        for number in range(300):
            # A statement of its own each time, so that it is prepared anew; cut off ever later.
            work = asyncio.create_task(store.db.fetch(f"SELECT id FROM items WHERE id = {number}"))
            await asyncio.wait({work}, timeout=number * 5e-6)
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            assert await watcher.fetchval(LOCKS) == 0, number
        assert await store.db.fetch("SELECT id FROM items") == []
        await store.close()
        await driver.drop("acme.cancelled")
    finally:
        await watcher.close()
        await driver.close()
