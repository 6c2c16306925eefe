"""What a worker says of itself is held against what it was told to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .kit import Line, Office, front, office

FOREVER = 1e18
NORTH = {"tenant": "north", "principal": "dr-a"}


def ask(plugin: str, digest: str, service: str = "back.call", call: Any = None) -> dict[str, Any]:
    """A forged request."""
    return {"frame": "Ask", "fields": ["ID", plugin, digest, service, call or {}, FOREVER, None, ""]}


def tell(plugin: str, digest: str, call: Any = None) -> dict[str, Any]:
    """A forged event."""
    return {"frame": "Tell", "fields": ["ID", plugin, digest, "news.forged", call or {}, None, True, ""]}


async def code(line: Line, **forged: Any) -> str:
    """What came of a forged frame: the code of its failure, or nothing."""
    told = await line.raw("forge", **forged)
    return str(told["failure"]["code"]) if "failure" in told else ""


def digest(desk: Office, plugin: str) -> str:
    """The digest of what is installed."""
    return desk.kernel.plugin(plugin).digest


async def test_a_worker_speaks_for_no_plugin_that_it_was_not_told_to_run(tmp_path: Path) -> None:
    """Requests, events, entries of the audit log and sockets in the name of a plugin of the primary are refused."""
    async with office(tmp_path) as desk:
        line = await desk.line()
        front, back = digest(desk, "acme.front"), digest(desk, "acme.back")
        assert await code(line, **ask("acme.front", front)) == ""
        assert await code(line, **tell("acme.front", front)) == ""
        for forged in (
            ask("acme.back", back),
            tell("acme.back", back),
            {"frame": "Listen", "fields": ["ID", "acme.back", "127.0.0.1", 0]},
            ask("acme.front", back),
            ask("acme.front", "sha256:none"),
        ):
            assert await code(line, **forged) == "capability.denied", forged
        assert await line.ask("back.seen") == [None], "only the front's own event came"


async def test_a_worker_speaks_for_a_tenant_by_right_or_for_what_it_was_given(tmp_path: Path) -> None:
    """Without `bus:originate` it does not; for an event that it was given to handle it does, as a plugin there would."""
    async with office(tmp_path, workers=1) as desk:
        line, front = await desk.line(), digest(desk, "acme.front")
        assert await code(line, **ask("acme.front", front, call=NORTH)) == ""
        await desk.kernel.revoke("acme.front", "bus:originate@*")
        for forged in (ask, tell):
            assert await code(line, **forged("acme.front", front)) == ""
            assert await code(line, **forged("acme.front", front, call=NORTH)) == "capability.denied"
            assert await code(line, **forged("acme.front", front, call={"principal": "admin"})) == "capability.denied"
        delivery = await desk.kernel.publish("news.x", "ask", confirm=True, tenant="north", principal="dr-a")
        assert delivery is not None
        assert delivery.failures == ()
        assert (await line.do("seen"))[-1] == ["north", "dr-a"]
        assert await code(line, **ask("acme.front", front, call={"tenant": "south"})) == "capability.denied"


async def test_what_a_plugin_may_not_hear_does_not_cross(tmp_path: Path) -> None:
    """When the right to an event is taken, the event is not sent to any worker, and the denial is counted; later it is."""
    async with office(tmp_path) as desk:
        await desk.kernel.publish("news.x", 1, confirm=True)
        await desk.kernel.revoke("acme.front", "bus:subscribe@news.>")
        pool = desk.kernel._pool
        assert pool is not None
        sent = [attendant._number for attendant in pool._attendants.values()]
        delivery = await desk.kernel.publish("news.x", 2, confirm=True)
        assert delivery is not None
        assert (delivery.receivers, delivery.handled) == (4, 1)
        assert delivery.failures == ("capability.denied",) * 3
        assert [attendant._number for attendant in pool._attendants.values()] == sent
        rows = [row for row in desk.kernel.accounting.rows("acme.front") if row.capability == "bus:subscribe"]
        assert [row.errors for row in rows] == [3]
        await desk.kernel.grant("acme.front", "bus:subscribe@news.>")
        assert (await desk.kernel.publish("news.x", 3, confirm=True)).handled == 4  # type: ignore[union-attr]


async def test_a_process_that_lies_about_itself_is_ended(tmp_path: Path) -> None:
    """Subscriptions, traps, counts and log entries in another plugin's name have no effect but its end."""
    async with office(tmp_path, workers=1, log_level="silent") as desk:
        back = digest(desk, "acme.back")
        for frame, fields in (
            ("Wire", [999, "acme.back", "news.>", "", 10, "block"]),
            ("Trap", ["acme.back", back, "on purpose"]),
            ("Counts", [0, [], [["acme.back", "default", "bus:serve@back.*", 1_000_000, 0]], []]),
            ("Log", ["acme.back", "error", "it was not me", "e30="]),
        ):
            line = await desk.line()
            await line.raw("forge", frame=frame, fields=fields)
            await desk.replaced(line.pid)
        assert desk.kernel.plugin("acme.back").traps == 0
        assert sum(row.calls for row in desk.kernel.accounting.rows("acme.back")) < 1_000_000
        assert desk.kernel.logs("acme.back")[-1]["event"] != "it was not me"
        assert (await desk.kernel.publish("news.x", 1, confirm=True)).receivers == 3  # type: ignore[union-attr]


async def test_a_worker_that_takes_no_descriptors_holds_up_nobody(tmp_path: Path) -> None:
    """Sockets that are asked for and not fetched are refused after a few; the primary goes on, and so does the worker."""
    async with office(tmp_path, workers=1, log_level="silent") as desk:
        line = await desk.line()
        listen = {"frame": "Listen", "fields": ["ID", "acme.front", "127.0.0.1", 0]}
        answers = [await code(line, **listen) for _ in range(500)]
        assert set(answers) == {"", "worker.link-broken"}
        assert await line.ask("back.echo", 1) == 1
        before = await line.do("files")
        await desk.kernel.upgrade(front("2.0.0"), consent=True)
        await desk.kernel.converged()
        assert desk.kernel.workers()[0].missing == ()
        line = await desk.line()
        assert (await line.raw("pid"))["version"] == "2.0.0"
        assert await line.do("files") <= before + 2, "what nobody waited for is closed"
