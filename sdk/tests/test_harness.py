"""The kernel's double: what a plugin does in it, it does in the kernel."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import pytest
from rustcare_sdk import Message, Plugin, ServiceError, serve, subscribe
from rustcare_sdk.context import Delivery
from rustcare_sdk.errors import (
    CapabilityDenied,
    DeadlineExceeded,
    HandlerFailed,
    InvalidManifest,
    InvalidPayload,
    NoProvider,
    NotPortable,
    RustCareError,
    StoreError,
)
from rustcare_sdk.testing import PluginHarness, harness

from .sample.plugin import Admission, Beds, WardBoard

BOTH = pytest.mark.parametrize("round_trip", [False, True], ids=["trusted", "sandboxed"])
BED = Admission("12", "Smith", ("a", "b"))

ECHO = """
schema = 1
[plugin]
id = "acme.echo"
version = "1.0.0"
summary = "echo"
engine = "^0.1"
[runtime]
python = { entry = "x:Echo" }
[[capability]]
use = "bus:serve@echo.*"
reason = "echo"
[[capability]]
use = "bus:publish@>"
reason = "echo"
[[capability]]
use = "bus:subscribe@loop.>"
reason = "echo"
[[capability]]
use = "bus:request@echo.*"
reason = "echo"
[[capability]]
use = "db:write@*"
reason = "data"
[[capability]]
use = "db:read@*"
reason = "data"
"""


@BOTH
async def test_events_reach_the_handler_and_what_it_publishes_is_seen(round_trip: bool) -> None:
    """An event is handled as the declared type; the plugin's own messages carry the call's tenant and its headers."""
    async with harness(WardBoard, round_trip=round_trip) as h:
        await h.send("hl7.adt.a01", BED, tenant="north")
        (message,) = h.assert_published("ward.*", times=1)
        assert (message.tenant, message.source) == ("north", "acme.ward-board")
        assert message.headers == {"partitionkey": "x"}
        assert message.data == ({"taken": ["12"], "tenant": "north"} if round_trip else Beds(["12"], "north"))
        assert h.kv == {"bed.12": b"Smith"}
        h.assert_capabilities_within_manifest()


@BOTH
async def test_requests_are_answered_with_types(round_trip: bool) -> None:
    """A service's answer has the type that the caller asks for, in both tiers."""
    async with harness(WardBoard, round_trip=round_trip, tenant="north") as h:
        await h.send("hl7.adt.a01", {"bed": "7", "person": "x"})
        assert await h.request("ward.beds", type=Beds) == Beds(["7"], "north")
        untyped = await h.request("ward.beds", tenant="south")
        assert untyped == ({"taken": ["7"], "tenant": "south"} if round_trip else Beds(["7"], "south"))


@BOTH
async def test_other_plugins_are_answered_for(round_trip: bool) -> None:
    """What the plugin requests is answered by a value, a function, an async function, or an error."""
    async with harness(WardBoard, round_trip=round_trip) as h:
        with pytest.raises(NoProvider, match=r"h\.answer\('ward\.names'"):
            await h.request("ward.name", "3B")
        h.answer("ward.names", {"3B": "Surgery"})
        assert await h.request("ward.name", "3B") == "Surgery"
        h.answer("ward.names", lambda message: {message.data["code"]: "Function"})
        assert await h.request("ward.name", "3B") == "Function"

        async def later(message: Message[Any]) -> dict[str, str]:
            await asyncio.sleep(0)
            return {message.data["code"]: "Async"}

        h.answer("ward.names", later, type=dict[str, str])
        assert await h.request("ward.name", "3B") == "Async"
        h.answer("ward.names", ServiceError("acme.closed", "closed"))
        with pytest.raises(ServiceError) as caught:
            await h.request("ward.name", "3B")
        assert caught.value.code == "acme.closed"
        h.answer("ward.names", {"3B": 1})
        with pytest.raises(InvalidPayload, match=r"got `?int`?"):
            await h.request("ward.name", "3B")
        assert [message.subject for message in h.requested] == ["ward.names"] * 6


@BOTH
async def test_data_of_another_type_is_refused(round_trip: bool) -> None:
    """Data that does not fit the handler's type raises InvalidPayload before the handler runs."""
    async with harness(WardBoard, round_trip=round_trip) as h:
        with pytest.raises(InvalidPayload, match="bed"):
            await h.send("hl7.adt.a01", {"person": "x"})
        assert h.plugin.seen == 0  # type: ignore[attr-defined]


async def test_typed_errors_pass_and_others_are_wrapped() -> None:
    """A plugin's typed error reaches the caller; any other exception becomes HandlerFailed without its text."""
    async with harness(WardBoard) as h:
        h.answer("ward.names", {})
        with pytest.raises(ServiceError) as caught:
            await h.request("ward.name", "3B")
        assert caught.value.code == "acme.no-such-ward"
        with pytest.raises(HandlerFailed, match="KeyError") as failed:
            await h.request("ward.fail")
        assert "Smith" not in str(failed.value)


async def test_deadlines_are_kept() -> None:
    """A request whose time is over raises DeadlineExceeded, and the handler was cancelled."""
    async with harness(WardBoard) as h:
        with pytest.raises(DeadlineExceeded):
            await h.request("ward.slow", timeout=0.01)


async def test_what_was_not_asked_for_is_denied() -> None:
    """A use outside of the manifest raises CapabilityDenied, and is remembered even when the plugin swallows that."""
    async with harness(WardBoard) as h:
        assert await h.request("ward.sly") == "swallowed"
        assert h.published == []
        with pytest.raises(AssertionError, match=r"bus:publish@secret\.subject"):
            h.assert_capabilities_within_manifest()


async def test_denied_and_revoked_capabilities() -> None:
    """What the operator did not grant, or took back, is denied although the manifest asks for it."""
    async with harness(WardBoard, denied=["bus:publish@ward.changed"]) as h:
        with pytest.raises(CapabilityDenied, match="operator"):
            await h.send("hl7.adt.a01", BED)
    async with harness(WardBoard) as h:
        await h.send("hl7.adt.a01", BED)
        h.revoke("kv:write@*")
        with pytest.raises(CapabilityDenied, match="kv:write"):
            await h.send("hl7.adt.a01", BED)
    with pytest.raises(CapabilityDenied, match="bus:subscribe"):
        async with harness(WardBoard, denied=["bus:subscribe@>"]):
            pass


async def test_uses_are_listed() -> None:
    """Every use is written down, and what the manifest asks for in vain is known."""
    async with harness(WardBoard) as h:
        await h.send("hl7.adt.a01", BED, tenant="north")
        used = [(use.action, use.scope, use.tenant) for use in h.capabilities_used if use.action.startswith("kv")]
        assert used == [("kv:write", "bed.12", "north")]
        assert str(h.capabilities_used[-1]) == "bus:publish@ward.changed"
        assert "db:read@*" in h.capabilities_unused
        assert "kv:write@bed.*" not in h.capabilities_unused


async def test_database_clock_and_randomness() -> None:
    """`ctx.db` is real SQL with the package's migrations; the clock stands still; randomness repeats itself."""
    rows = []
    for _ in range(2):
        async with harness(WardBoard, seed=7, now=datetime(2026, 5, 1, tzinfo=UTC)) as h:
            assert await h.request("ward.note", "1") == 1
            h.advance(60)
            assert await h.request("ward.note", "2") == 2
            rows.append(await h.database.fetch("SELECT * FROM history ORDER BY at"))
    assert rows[0] == rows[1]
    assert [row["at"] for row in rows[0]] == ["2026-05-01T00:00:00+00:00", "2026-05-01T00:01:00+00:00"]


async def test_secrets_are_used() -> None:
    """A secret is computed with; one that is granted but missing is a StoreError."""
    async with harness(WardBoard, secrets={"board-key": b"k"}) as h:
        assert await h.request("ward.sign", "x") == hmac.digest(b"k", b"x", "sha256")
    async with harness(WardBoard) as h:
        with pytest.raises(StoreError, match="does not exist"):
            await h.request("ward.sign", "x")


async def test_listening_is_real() -> None:
    """`ctx.listen` opens a real socket, and closes it with its connections at the end."""
    async with harness(WardBoard) as h:
        port = await h.request("ward.listen")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\n")
        assert await reader.readline() == b"hello\n"
        writer.close()
        await writer.wait_closed()
        _, idle = await asyncio.open_connection("127.0.0.1", port)
    idle.close()
    with pytest.raises(OSError):  # noqa: PT011  # refused; which error depends on the system
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_crashed_task_fails_the_test() -> None:
    """An error of a background task is raised at the end, unless the test expected it."""
    with pytest.raises(RuntimeError, match="background"):  # noqa: PT012  # it is raised on leaving the inner block
        async with harness(WardBoard) as h:
            await h.request("ward.crash")
            await asyncio.sleep(0)
    async with harness(WardBoard) as h:
        await h.request("ward.crash")
        while not h.crashes:  # noqa: ASYNC110  # the event is the harness noticing
            await asyncio.sleep(0)
        assert isinstance(h.crashes.pop(), RuntimeError)


async def test_what_the_sandbox_lacks() -> None:
    """With `round_trip`, what only trusted plugins have raises NotPortable."""
    async with harness(WardBoard, round_trip=True) as h:
        assert h.ctx.plugin.runtime == "component"
        for service in ("ward.note", "ward.listen", "ward.crash"):
            with pytest.raises(NotPortable, match="does not exist in the sandbox"):
                await h.request(service, "x" if service == "ward.note" else None)


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"ward": ""}, "config.ward"),
        ({"beds": 0}, "config.beds"),
        ({"beds": True}, "config.beds"),
        ({"colour": "red"}, "config.colour"),
        ({"show": {"name": True}}, "config.show.name"),
    ],
)
async def test_configuration_is_checked(config: dict[str, Any], place: str) -> None:
    """A configuration that breaks the schema is refused, with the place and without the value."""
    with pytest.raises(RustCareError) as caught:
        async with harness(WardBoard, config=config):
            pass
    assert caught.value.code == "config.invalid"
    assert caught.value.address == f"acme.ward-board:{place}"


async def test_configuration_has_its_defaults() -> None:
    """Defaults are filled in, as deep as objects go; the plugin cannot change it."""
    async with harness(WardBoard, config={"beds": 3}) as h:
        assert h.ctx.config == {"ward": "3B", "beds": 3, "show": {"names": False}}
        with pytest.raises(TypeError):
            h.ctx.config["beds"] = 4  # type: ignore[index]
        await h.restart(config={"beds": 5})
        assert h.ctx.config["beds"] == 5


async def test_an_upgrade_hands_state_over() -> None:
    """State is exported by the old version and imported by the new one; data stays."""
    async with harness(WardBoard) as h:
        await h.send("hl7.adt.a01", BED)

        class Next(WardBoard):
            state_version: ClassVar[int] = 3

            async def migrate(self, version: int, state: Any) -> Any:
                return {"seen": state["seen"] * 10 + version}

        text = (Path(__file__).parent / "sample" / "plugin.toml").read_text()
        await h.upgrade(Next, text.replace("state_version = 2", "state_version = 3"))
        assert h.plugin.seen == 12  # type: ignore[attr-defined]
        assert h.kv == {"bed.12": b"Smith"}


class Echo(Plugin):
    @serve("echo.confirm")
    async def confirm(self, message: Message[Any]) -> Delivery:
        return await self.ctx.publish(message.data, 1, confirm=True)

    @serve("echo.again")
    async def again(self, message: Message[Any]) -> Any:
        return await self.ctx.request("echo.value", message.data, timeout=0.01)

    @serve("echo.value")
    async def value(self, message: Message[Any]) -> Any:
        if message.data == "hang":
            await asyncio.Event().wait()
        return message.data

    @serve("echo.publish")
    async def publish(self, message: Message[Any]) -> None:
        await self.ctx.publish(message.data)

    @subscribe("loop.>")
    async def loop(self, message: Message[Any]) -> None:
        if message.subject == "loop.bad":
            raise ValueError


async def test_confirmed_publishing_reports_what_subscribers_did() -> None:
    """`confirm=True` counts those who subscribed here and the plugin's own handlers, with the codes of failures."""
    async with harness(Echo, manifest=ECHO) as h:
        assert await h.request("echo.confirm", "other.x") == Delivery(0, 0)
        got: list[Any] = []
        h.subscribe("other.*", lambda message: got.append(message.data))

        async def refuse(message: Message[Any]) -> None:
            raise ServiceError("acme.full", "full")

        h.subscribe("other.y", refuse)
        assert await h.request("echo.confirm", "other.x") == Delivery(1, 1)
        assert await h.request("echo.confirm", "other.y") == Delivery(2, 1, ("acme.full",))
        assert await h.request("echo.confirm", "loop.ok") == Delivery(1, 1)
        assert await h.request("echo.confirm", "loop.bad") == Delivery(1, 0, ("bus.handler-failed",))
        assert got == [1, 1]
        await h.request("echo.publish", "other.x")
        await h.settle()
        assert got == [1, 1, None]


async def test_a_plugin_can_ask_itself() -> None:
    """A request to one of the plugin's own services goes through its handler, deadlines included."""
    async with harness(Echo, manifest=ECHO) as h:
        assert await h.request("echo.again", 5) == 5
        with pytest.raises(DeadlineExceeded):
            await h.request("echo.again", "hang")


async def test_the_database_has_the_rules_of_the_stores() -> None:
    """Own transactions, no nesting, no schema changes, typed values, and the stores' codes."""
    files = {
        "migrations/0001_t.sqlite.sql": b"CREATE TABLE t (a INTEGER PRIMARY KEY);",
        "migrations/0001_t.postgres.sql": b"!",
    }
    async with harness(Echo, manifest=ECHO, files=files) as h:
        db = h.ctx.db

        async def code(sql: str, *params: Any) -> str:
            with pytest.raises(StoreError) as caught:
                await db.execute(sql, params)
            return caught.value.code

        assert await db.execute("INSERT INTO t (a) VALUES (?)", (1,)) == 1
        assert await code("INSERT INTO t (a) VALUES (?)", 1) == "store.constraint"
        assert await code("DROP TABLE t") == "store.statement-refused"
        assert await code("INSERT INTO nowhere (a) VALUES (1)") == "store.statement-invalid"
        assert await code("INSERT INTO t (a) VALUES (?)", datetime.now(UTC)) == "store.value-unsupported"
        with pytest.raises(StoreError) as caught:  # noqa: PT012
            async with db.transaction() as tx:
                await tx.execute("INSERT INTO t (a) VALUES (2)")
                await db.execute("INSERT INTO t (a) VALUES (3)")
        assert caught.value.code == "store.transaction-nested"
        with pytest.raises(StoreError) as caught:  # noqa: PT012  # it is raised on leaving the inner block
            async with db.transaction() as tx:
                await tx.execute_many("INSERT INTO t (a) VALUES (?)", [(4,), (5,)])
                with pytest.raises(StoreError):
                    await tx.execute("INSERT INTO t (a) VALUES (4)")
        assert caught.value.code == "store.transaction-aborted"
        started = asyncio.Event()

        async def read() -> int:
            await started.wait()
            return len(await db.fetch("SELECT a FROM t"))

        reader = asyncio.create_task(read())
        async with db.transaction() as tx:
            await tx.execute("INSERT INTO t (a) VALUES (6)")
            started.set()
            await asyncio.sleep(0)
            await tx.execute("INSERT INTO t (a) VALUES (7)")
        assert await reader == 3
        assert await db.fetch_one("SELECT a FROM t WHERE a = ?", (99,)) is None


async def test_mistakes_of_a_test_are_explained() -> None:
    """An event that no handler wants, a service that is not there, a manifest that is missing: each says so."""
    async with harness(WardBoard) as h:
        with pytest.raises(AssertionError, match=r"subscribes to hl7\.adt\.\*"):
            await h.send("hl7.oru.r01")
        with pytest.raises(NoProvider, match=r"serves ward\.beds"):
            await h.request("ward.bed")
        with pytest.raises(AssertionError, match="expected at least one message on ward"):
            h.assert_published("ward.>")
        with pytest.raises(AssertionError, match="published: nothing"):
            h.assert_published("ward.>", times=2)
    with pytest.raises(InvalidManifest, match=r"no plugin\.toml beside"):
        harness(Echo)
    with pytest.raises(InvalidManifest, match="state_version"):
        async with harness(Echo, manifest=ECHO + "[lifecycle]\nstate_version = 2\n"):
            pass


async def test_the_fixture(plugin_harness: Callable[..., PluginHarness]) -> None:
    """The SDK's pytest plugin gives every test the fixture `plugin_harness`."""
    async with plugin_harness(Echo, manifest=ECHO) as h:
        assert await h.request("echo.value", {"a": 1}) == {"a": 1}
        assert (await h.health()).ok
