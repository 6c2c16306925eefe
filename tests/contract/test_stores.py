"""What every plugin may rely on in its database, whichever it is: the same rules against SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from rustcare_kernel.stores import Migration, open_driver
from rustcare_kernel.stores.errors import (
    ConstraintViolated,
    StatementInvalid,
    StatementRefused,
    StoreBusy,
    StoreClosed,
    StoreError,
    TransactionAborted,
    TransactionNested,
    ValueUnsupported,
)
from rustcare_sdk.context import Database

from tests.support.stores import ITEMS, Stores

INSERT = "INSERT INTO items (id, label) VALUES (?, ?)"


async def ids(db: Database) -> list[int]:
    return [row["id"] for row in await db.fetch("SELECT id FROM items ORDER BY id")]


class TestStatements:
    async def test_values_come_back_as_they_were_given(self, stores: Stores) -> None:
        """int, float, str, bytes and None make the round trip with their types."""
        db = (await stores.open()).db
        sql = "INSERT INTO items (id, label, raw, weight) VALUES (?, ?, ?, ?)"
        assert await db.execute(sql, (2**62, "Zoë 💉\n'?'", b"\x00\xff", 0.1)) == 1
        assert await db.execute(sql, (-1, "", None, None)) == 1
        rows = await db.fetch("SELECT * FROM items ORDER BY id")
        assert [dict(row) for row in rows] == [
            {"id": -1, "label": "", "raw": None, "weight": None},
            {"id": 2**62, "label": "Zoë 💉\n'?'", "raw": b"\x00\xff", "weight": 0.1},
        ]
        assert isinstance(rows[1]["raw"], bytes)

    async def test_counts_rows_touched(self, stores: Stores) -> None:
        """`execute` says how many rows it touched, also behind WITH, and 0 for a statement that only reads."""
        db = (await stores.open()).db
        await db.execute_many(INSERT, [(n, "a") for n in range(10)])
        assert await db.execute("UPDATE items SET label = ? WHERE id < ?", ("b", 4)) == 4
        assert await db.execute("WITH edge AS (SELECT 5 AS n) DELETE FROM items WHERE id > (SELECT n FROM edge)") == 4
        assert await db.execute("DELETE FROM items WHERE id = ?", (99,)) == 0
        assert await db.execute("INSERT INTO items (id, label) VALUES (?, ?) ON CONFLICT DO NOTHING", (1, "x")) == 0
        assert await db.execute("SELECT id FROM items") == 0

    async def test_fetch_one_and_returning(self, stores: Stores) -> None:
        """`fetch_one` gives a row or None; a write that returns rows is durable like any other."""
        db = (await stores.open()).db
        assert await db.fetch_one("SELECT id FROM items") is None
        row = await db.fetch_one("INSERT INTO items (id, label) VALUES (?, ?) RETURNING id, label", (7, "seven"))
        assert row == {"id": 7, "label": "seven"}
        assert await db.fetch("UPDATE items SET label = 'x' RETURNING label") == [{"label": "x"}]
        assert await ids(db) == [7]

    async def test_sums_and_averages_are_numbers(self, stores: Stores) -> None:
        """What a database calls decimal arrives as int or float."""
        db = (await stores.open()).db
        await db.execute_many(INSERT, [(1, "a"), (2, "b")])
        assert await db.fetch_one("SELECT sum(id) AS s, avg(id) AS a, count(*) AS n FROM items") == {
            "s": 3,
            "a": 1.5,
            "n": 2,
        }

    async def test_question_marks_that_are_no_placeholders(self, stores: Stores) -> None:
        """Only a `?` outside of strings, comments and quoted names is a parameter."""
        db = (await stores.open()).db
        sql = """SELECT '?''?' AS "a?", ? AS b /* ? */ -- ?
                 FROM counter WHERE value = ? AND name <> '--?'"""
        assert await db.fetch(sql.replace("? AS b", "value AS b"), (0,)) == [{"a?": "?'?", "b": 0}]

    async def test_many_rows_are_all_or_nothing(self, stores: Stores) -> None:
        """A row of `execute_many` that fails takes the others with it, few or many."""
        db = (await stores.open()).db
        for size in (3, 500):
            rows = [(n, "a") for n in range(size)]
            with pytest.raises(ConstraintViolated):
                await db.execute_many(INSERT, [*rows, (0, "again")])
            assert await ids(db) == []
        await db.execute_many(INSERT, [(n, "a") for n in range(500)])
        assert len(await ids(db)) == 500

    @pytest.mark.parametrize(
        "sql",
        [
            "BEGIN",
            "COMMIT",
            "rollback",
            "/* hidden */ ROLLBACK",
            "PRAGMA synchronous = OFF",
            "SET search_path TO public",
            "ATTACH 'other' AS o",
            "VACUUM",
            "CREATE TABLE t (id BIGINT)",
            "DROP TABLE items",
            "INSERT OR ROLLBACK INTO items (id, label) VALUES (1, 'a')",
            "SELECT 1; DELETE FROM items",
            "SELECT id INTO copied FROM items",
            "COPY items TO PROGRAM 'cat'",
            "",
            "-- nothing",
        ],
    )
    async def test_refuses_what_is_the_kernels(self, stores: Stores, sql: str) -> None:
        """One statement of rows at a time: no transactions, settings or schema by hand."""
        db = (await stores.open()).db
        for call in (db.execute, db.fetch, db.fetch_one):
            with pytest.raises(StatementRefused) as refused:
                await call(sql)
            assert refused.value.hint

    @pytest.mark.parametrize("value", [object(), {"a": 1}, [1], float("nan"), "a\0b", "\ud800", 2**63, complex(1)])
    async def test_refuses_values_that_one_database_lacks(self, stores: Stores, value: Any) -> None:
        """A parameter outside of the common types is an error on both, never a silent conversion."""
        db = (await stores.open()).db
        sql = "UPDATE items SET label = ?" if isinstance(value, str) else "UPDATE items SET id = ?"
        with pytest.raises(ValueUnsupported):
            await db.execute(sql, (value,))

    async def test_number_of_parameters(self, stores: Stores) -> None:
        """Placeholders and parameters must agree, and the error names both numbers."""
        db = (await stores.open()).db
        with pytest.raises(StatementInvalid, match="2 placeholders were expected for 1 parameters"):
            await db.execute(INSERT, (1,))
        with pytest.raises(StatementInvalid, match="2 placeholders were expected for 3 parameters"):
            await db.execute_many(INSERT, [(1, "a"), (1, "b", "c")])

    async def test_errors_name_the_schema_and_no_values(self, stores: Stores) -> None:
        """An error has a code and says which constraint or table; it never repeats a value, not even one in the SQL."""
        db = (await stores.open()).db
        await db.execute(INSERT, (1, "Sekret"))
        failing: list[tuple[str, tuple[Any, ...], type[StoreError], str]] = [
            (INSERT, (1, "Sekret"), ConstraintViolated, "items"),
            ("INSERT INTO items (id, label) VALUES (2, NULL)", (), ConstraintViolated, "label"),
            ("SELECT * FROM nowhere", (), StatementInvalid, "nowhere"),
            ("SELECT 'Sekret' FROM items WHERE", (), StatementInvalid, ""),
            ("SELECT 'Sekret' 'Sekret' Sekret FROM FROM", (), StatementInvalid, ""),
        ]
        for sql, params, kind, named in failing:
            with pytest.raises(kind) as caught:
                await db.execute(sql, params)
            assert named in str(caught.value)
            assert "Sekret" not in str(caught.value)
            assert caught.value.code.startswith("store.")

    async def test_a_failing_statement_fails_alone(self, stores: Stores) -> None:
        """Among statements that run together, one that fails does not touch the others."""
        db = (await stores.open()).db
        await db.execute(INSERT, (0, "a"))
        outcomes = await asyncio.gather(
            *(db.execute(INSERT, (0 if n % 5 == 0 else n, "a")) for n in range(50)), return_exceptions=True
        )
        assert [isinstance(outcome, ConstraintViolated) for outcome in outcomes] == [n % 5 == 0 for n in range(50)]
        assert await ids(db) == [0, *(n for n in range(50) if n % 5)]


class TestTransactions:
    async def test_commit(self, stores: Stores) -> None:
        """A transaction reads its own writes, nobody else does before its end, everybody after it."""
        db = (await stores.open()).db
        async with db.transaction() as tx:
            assert await tx.execute(INSERT, (1, "a")) == 1
            await tx.execute_many(INSERT, [(2, "b"), (3, "c")])
            assert await tx.fetch_one("SELECT count(*) AS n FROM items") == {"n": 3}
            assert len(await tx.fetch("SELECT id FROM items")) == 3
            assert await ids(db) == []
        assert await ids(db) == [1, 2, 3]

    async def test_rollback(self, stores: Stores) -> None:
        """A block that raises leaves nothing, and the exception goes on."""
        db = (await stores.open()).db

        async def transact() -> None:
            async with db.transaction() as tx:
                await tx.execute(INSERT, (1, "a"))
                raise KeyError("x")

        with pytest.raises(KeyError):
            await transact()
        assert await ids(db) == []
        await db.execute(INSERT, (1, "b"))
        assert await ids(db) == [1]

    async def test_a_rollback_leaves_its_neighbours(self, stores: Stores) -> None:
        """Transactions and statements that run at the same time stand or fall one by one."""
        db = (await stores.open()).db

        async def transact(n: int) -> None:
            async with db.transaction() as tx:
                await tx.execute(INSERT, (n, "a"))
                await tx.execute(INSERT, (1000 + n, "a"))
                if n % 3 == 0:
                    raise KeyError(n)

        work = [transact(n) if n % 2 else db.execute(INSERT, (n, "a")) for n in range(60)]
        outcomes = await asyncio.gather(*work, return_exceptions=True)
        assert sum(isinstance(outcome, KeyError) for outcome in outcomes) == 10
        kept = [n for n in range(60) if not (n % 2 and n % 3 == 0)]
        assert await ids(db) == [*kept, *(1000 + n for n in kept if n % 2)]

    async def test_cancelled_in_the_middle(self, stores: Stores) -> None:
        """A cancelled transaction is rolled back, and the next writer gets its turn."""
        db = (await stores.open()).db
        inside = asyncio.Event()

        async def transact() -> None:
            async with db.transaction() as tx:
                await tx.execute(INSERT, (1, "a"))
                inside.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(transact())
        await inside.wait()
        waiting = asyncio.create_task(write_in_transaction(db, 2))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await waiting
        assert await ids(db) == [2]

    async def test_cancelled_at_any_step(self, stores: Stores) -> None:
        """Wherever the cancellation strikes, a transaction is there whole or not at all, and nothing is stuck."""
        db = (await stores.open()).db

        async def transact(n: int) -> None:
            async with db.transaction() as tx:
                for part in range(4):
                    await tx.execute(INSERT, (n * 10 + part, "a"))
                    await asyncio.sleep(0)

        for steps in range(40):
            tasks = [asyncio.create_task(transact(steps * 3 + k)) for k in range(3)]
            for _ in range(steps):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await write_in_transaction(db, 100_000)
        kept = [n for n in await ids(db) if n < 100_000]
        assert len(kept) == 4 * len({n // 10 for n in kept})

    async def test_cancelled_while_waiting_for_its_turn(self, stores: Stores) -> None:
        """Who gives up in the queue is skipped."""
        db = (await stores.open()).db
        async with db.transaction() as tx:
            tasks = [asyncio.create_task(write_in_transaction(db, n)) for n in range(5)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            tasks[3].cancel()
            await tx.execute(INSERT, (10, "a"))
        await asyncio.gather(*tasks, return_exceptions=True)
        assert await ids(db) == [1, 2, 4, 10]

    async def test_a_failed_statement_spoils_the_transaction(self, stores: Stores) -> None:
        """After an error nothing else runs in it, and a block that hides the error does not commit."""
        db = (await stores.open()).db
        await db.execute(INSERT, (1, "a"))

        async def transact() -> None:
            async with db.transaction() as tx:
                await tx.execute(INSERT, (2, "b"))
                with pytest.raises(ConstraintViolated):
                    await tx.execute(INSERT, (1, "again"))
                with pytest.raises(TransactionAborted, match="given up"):
                    await tx.execute(INSERT, (3, "c"))

        with pytest.raises(TransactionAborted):
            await transact()
        assert await ids(db) == [1]

    async def test_a_task_cannot_wait_for_itself(self, stores: Stores) -> None:
        """A write beside the own open transaction is an error at once, not a wait for ever; reads are free."""
        store = await stores.open()
        db = store.db
        async with db.transaction() as tx:
            await tx.execute(INSERT, (1, "a"))
            with pytest.raises(TransactionNested):
                await db.execute(INSERT, (2, "b"))
            with pytest.raises(TransactionNested):
                await store.kv.put("k", b"v")
            with pytest.raises(TransactionNested):
                async with db.transaction():
                    pass
            assert await ids(db) == []
            assert await store.kv.get("k") is None
        assert await ids(db) == [1]

    async def test_over_is_over(self, stores: Stores) -> None:
        """`tx` outside of its block is refused."""
        db = (await stores.open()).db
        async with db.transaction() as tx:
            pass
        with pytest.raises(TransactionAborted, match="over"):
            await tx.execute(INSERT, (1, "a"))
        assert await ids(db) == []

    async def test_fifty_writers_lose_no_update(self, stores: Stores) -> None:
        """Transactions follow each other: reading a value and writing it back one higher never loses a step."""
        db = (await stores.open()).db

        async def count(times: int) -> None:
            for _ in range(times):
                async with db.transaction() as tx:
                    row = await tx.fetch_one("SELECT value FROM counter WHERE name = 'n'")
                    assert row is not None
                    await asyncio.sleep(0)
                    await tx.execute("UPDATE counter SET value = ? WHERE name = 'n'", (row["value"] + 1,))

        await asyncio.gather(*(count(4) for _ in range(50)))
        assert await db.fetch_one("SELECT value FROM counter") == {"value": 200}

    async def test_statements_of_one_transaction_at_the_same_time(self, stores: Stores) -> None:
        """Statements of one transaction that are sent together run one after the other."""
        db = (await stores.open()).db
        async with db.transaction() as tx:
            await asyncio.gather(*(tx.execute(INSERT, (n, "a")) for n in range(20)))
        assert await ids(db) == list(range(20))

    async def test_an_idle_transaction_loses_its_turn(self, stores: Stores) -> None:
        """A transaction that only waits is ended after its lease, so that it cannot keep the others for ever."""
        short = short_lease(stores, 0.2)
        store = await short.open(stores.new_id())
        await store.migrate([ITEMS])
        release = asyncio.Event()

        async def forget() -> None:
            async with store.db.transaction() as tx:
                await tx.execute(INSERT, (1, "a"))
                await release.wait()
                await tx.execute(INSERT, (2, "b"))

        task = asyncio.create_task(forget())
        await asyncio.sleep(0)
        await asyncio.wait_for(write_in_transaction(store.db, 3), timeout=10)
        release.set()
        with pytest.raises(TransactionAborted, match="did nothing"):
            await task
        assert await ids(store.db) == [3]
        await short.close()

    async def test_closed_under_an_open_transaction(self, stores: Stores) -> None:
        """Closing the driver rolls an open transaction back and does not wait for it."""
        plugin_id = stores.new_id()
        store = await stores.driver.open(plugin_id)
        await store.migrate([ITEMS])
        inside, release = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with store.db.transaction() as tx:
                await tx.execute(INSERT, (1, "a"))
                inside.set()
                await release.wait()
                await tx.execute(INSERT, (2, "b"))

        task = asyncio.create_task(hold())
        await inside.wait()
        await asyncio.wait_for(stores.driver.close(), timeout=20)
        release.set()
        with pytest.raises(StoreError):
            await task
        again = open_driver(stores.spec, stores.folder)
        assert await ids((await again.open(plugin_id)).db) == []
        await again.close()


async def write_in_transaction(db: Database, n: int) -> None:
    async with db.transaction() as tx:
        await tx.execute(INSERT, (n, "a"))


def short_lease(stores: Stores, seconds: float) -> Any:
    if stores.dialect == "sqlite":
        from rustcare_kernel.stores.sqlite import SqliteDriver

        return SqliteDriver(stores.folder, lease=seconds)
    from rustcare_kernel.stores.postgres import PostgresDriver

    return PostgresDriver(stores.spec, lease=seconds)


class TestPlugins:
    async def test_plugins_do_not_see_each_other(self, stores: Stores) -> None:
        """The same tables and keys in two plugins are different tables and keys."""
        one, two = await stores.open(), await stores.open()
        await asyncio.gather(*(one.db.execute(INSERT, (n, "one")) for n in range(20)))
        await asyncio.gather(*(two.db.execute(INSERT, (n, "two")) for n in range(10)))
        await one.kv.put("k", b"1")
        assert await two.kv.get("k") is None
        for _ in range(10):  # over shared connections, in any order
            rows: tuple[list[Mapping[str, Any]], ...] = await asyncio.gather(
                one.db.fetch("SELECT DISTINCT label FROM items"), two.db.fetch("SELECT DISTINCT label FROM items")
            )
            assert list(rows) == [[{"label": "one"}], [{"label": "two"}]]

    async def test_same_statement_on_different_schemas(self, stores: Stores) -> None:
        """The same SQL text means each plugin's own columns and types."""
        as_text = await stores.open(Migration(1, "t", "CREATE TABLE t (v TEXT)"))
        as_number = await stores.open(Migration(1, "t", "CREATE TABLE t (w BIGINT, v BIGINT)"))
        for _ in range(3):
            await as_text.db.execute("INSERT INTO t (v) VALUES (?)", ("x",))
            await as_number.db.execute("INSERT INTO t (v) VALUES (?)", (1,))
        assert (await as_text.db.fetch("SELECT * FROM t"))[0] == {"v": "x"}
        assert (await as_number.db.fetch("SELECT * FROM t"))[0] == {"w": None, "v": 1}

    async def test_two_handles_share_a_store(self, stores: Stores) -> None:
        """Two versions of a plugin work on one store; closing one leaves the other."""
        plugin_id = stores.new_id()
        old = await stores.driver.open(plugin_id)
        await old.migrate([ITEMS])
        new = await stores.driver.open(plugin_id)
        await asyncio.gather(
            *(store.db.execute(INSERT, (n * 2 + k, "a")) for k, store in enumerate((old, new)) for n in range(20))
        )
        await old.close()
        await old.close()
        assert len(await ids(new.db)) == 40
        await new.close()

    async def test_closed_is_closed(self, stores: Stores) -> None:
        """A closed store refuses everything; opened again it has everything."""
        plugin_id = stores.new_id()
        store = await stores.driver.open(plugin_id)
        await store.migrate([ITEMS])
        await store.db.execute(INSERT, (1, "a"))
        await store.close()
        with pytest.raises(StoreClosed):
            await store.db.execute(INSERT, (2, "a"))
        with pytest.raises(StoreClosed):
            await store.db.fetch("SELECT 1 AS one")
        with pytest.raises(StoreClosed):
            async with store.db.transaction():
                pass
        assert await ids((await stores.driver.open(plugin_id)).db) == [1]

    async def test_drop(self, stores: Stores) -> None:
        """Dropping deletes for good, not under an open plugin, and not twice an error."""
        plugin_id = stores.new_id()
        store = await stores.driver.open(plugin_id)
        await store.migrate([ITEMS])
        await store.db.execute(INSERT, (1, "a"))
        with pytest.raises(StoreBusy):
            await stores.driver.drop(plugin_id)
        await store.close()
        await stores.driver.drop(plugin_id)
        await stores.driver.drop(plugin_id)
        again = await stores.driver.open(plugin_id)
        with pytest.raises(StatementInvalid):
            await again.db.fetch("SELECT id FROM items")
        assert await again.migrate([ITEMS]) == 1
        assert await ids(again.db) == []

    @pytest.mark.parametrize(
        "plugin_id", ["a", "ACME.Lab", "x" * 150, "..", "a/../b", "q\"uo'te", "sträße.löö", "a%2e"]
    )
    async def test_any_id_has_a_store_of_its_own(self, stores: Stores, plugin_id: str) -> None:
        """No plugin's id leaves the data folder, breaks the SQL, or falls together with another one."""
        one, two = f"{plugin_id}", f"{plugin_id}.2"
        stores.used += [one, two]
        for name in (one, two):
            await stores.driver.drop(name)
        first, second = await stores.driver.open(one), await stores.driver.open(two)
        await first.kv.put("k", b"1")
        assert await second.kv.get("k") is None
        outside = [path for path in stores.folder.iterdir() if path.name != "plugins"]
        assert outside == []
