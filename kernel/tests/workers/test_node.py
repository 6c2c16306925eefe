"""What changes in the primary is brought about in every worker."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel import Kernel

from .kit import Line, Office, back, front, made, office


async def codes(desk: Office, do: str, **fields: Any) -> list[str]:
    """What a command comes to in each worker: the code of its failure, or nothing."""
    found = []
    for number in (1, 2):
        told = await (await desk.line(number)).raw(do, **fields)
        found.append(told["failure"]["code"] if "failure" in told else "")
    return found


async def test_a_revoked_right_is_gone_in_every_process(tmp_path: Path) -> None:
    """When `revoke` returns, the next use fails: of what is used in the worker, and of what is asked of the primary."""
    async with office(tmp_path) as desk:
        assert await codes(desk, "token") == ["", ""]
        assert await codes(desk, "request", name="back.who") == ["", ""]
        await desk.kernel.revoke("acme.front", "random:read")
        assert await codes(desk, "token") == ["capability.denied"] * 2
        await desk.kernel.revoke("acme.front", "bus:request@back.*")
        assert await codes(desk, "request", name="back.who") == ["capability.denied"] * 2
        await desk.kernel.grant("acme.front", "random:read")
        assert await codes(desk, "token") == ["", ""]
        await desk.kernel.grant("acme.front", "random:read", deny=True)
        assert await codes(desk, "token") == ["capability.denied"] * 2


async def test_what_a_tenant_says_holds_in_every_process(tmp_path: Path) -> None:
    """A tenant that granted something and took it back is not served by any worker; others are."""
    async with office(tmp_path) as desk:
        north, south = {"tenant": "north"}, {"tenant": "south"}
        await desk.kernel.grant("acme.front", "bus:serve@front.*", tenant="north", issuer="tenant")
        assert await codes(desk, "request", name="front.who", call=south) == ["", ""]
        assert await codes(desk, "request", name="front.config", call=north) == ["capability.denied"] * 2
        await desk.kernel.grant("acme.front", "bus:request@front.*", tenant="north", issuer="tenant")
        assert await codes(desk, "request", name="front.config", call=north) == ["capability.denied"] * 2
        await desk.kernel.grant("acme.front", "bus:originate@*", tenant="north", issuer="tenant")
        assert await codes(desk, "request", name="front.config", call=north) == ["", ""]
        await desk.kernel.revoke("acme.front", "bus:serve@front.*", tenant="north")
        assert await codes(desk, "request", name="front.config", call=north) == ["capability.denied"] * 2
        await desk.kernel.remove("acme.front")
        await desk.kernel.install(front(), consent=True)
        await desk.kernel.converged()
        desk.port = await desk.kernel.request("front.where")
        assert await codes(desk, "request", name="front.config", call=north) == ["", ""], (
            "nothing is left of what it said"
        )


async def test_a_denied_use_in_a_worker_is_told(tmp_path: Path) -> None:
    """The kernel's hook and log say which plugin was denied what, wherever that was; the use is counted as denied."""
    logged: list[dict[str, Any]] = []
    async with office(tmp_path, logged=logged) as desk:
        await desk.kernel.revoke("acme.front", "random:read")
        await codes(desk, "token")
        await desk.kernel.have_on_record()
        assert [line["capability"] for line in logged if line["event"] == "capability denied"] == ["random:read"] * 2
        denied = [row for row in desk.kernel.accounting.rows("acme.front") if row.capability == "random:read"]
        assert [row.errors for row in denied] == [2]


async def who(desk: Office) -> list[str]:
    """The versions that answer in the workers, by new connections."""
    return [(await (await desk.line(number)).raw("pid"))["version"] for number in (1, 2)]


async def test_an_upgrade_is_a_hand_over_in_every_worker(tmp_path: Path) -> None:
    """While requests and events go on, no connection is refused and no event lost, and all end on the new version."""
    async with office(tmp_path) as desk:
        pids = desk.pids()
        stop = asyncio.Event()
        versions: set[str] = set()
        served = 0

        async def knock() -> None:
            nonlocal served
            while not stop.is_set():
                line = None
                try:
                    line = await Line.to(desk.port)
                    versions.add((await line.ask("front.who"))[1])
                    served += 1
                except ConnectionResetError:
                    pass  # its version has gone meanwhile: this plugin's connections end with it
                if line is not None:
                    await line.close()

        async def tell() -> int:
            told = 0
            while not stop.is_set():
                found = await desk.kernel.publish("news.x", told, confirm=True)
                assert found is not None
                assert (found.receivers, found.handled) == (4, 4)
                told += 1
            return told

        work = [asyncio.ensure_future(knock()), asyncio.ensure_future(knock()), asyncio.ensure_future(tell())]
        for version in ("1.1.0", "1.2.0", "2.0.0"):
            await desk.kernel.upgrade(front(version), consent=True)
            await desk.kernel.converged()
            assert set(await who(desk)) == {version}
        stop.set()
        *_, told = await asyncio.gather(*work)
        assert told
        assert served > 10
        assert versions >= {"2.0.0"}
        assert desk.pids() == pids, "no process was replaced"
        await desk.kernel.rollback("acme.front")
        await desk.kernel.converged()
        assert await who(desk) == ["1.2.0", "1.2.0"]


async def test_workers_stop_and_start_what_is_disabled_and_enabled(tmp_path: Path) -> None:
    """A disabled plugin is in no process; enabled, restarted and configured it is as new in all of them."""
    async with office(tmp_path) as desk:
        line = await desk.line()
        await line.do("publish", name="news.x", data=1, confirm=True)
        await desk.kernel.disable("acme.front")
        await desk.kernel.converged()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", desk.port)
        await desk.kernel.enable("acme.front")
        await desk.kernel.converged()
        desk.port = await desk.kernel.request("front.where")
        assert await (await desk.line()).do("seen") == []
        await (await desk.line()).do("publish", name="news.x", data=2, confirm=True)
        await desk.kernel.restart("acme.front")
        await desk.kernel.converged()
        desk.port = await desk.kernel.request("front.where")
        assert await (await desk.line()).do("seen") == []
        await desk.kernel.remove("acme.front")
        await desk.kernel.converged()
        await desk.kernel.install(front(), consent=True)
        await desk.kernel.converged()
        desk.port = await desk.kernel.request("front.where")
        assert await codes(desk, "request", name="front.who") == ["", ""]


async def test_what_is_under_way_ends_with_its_rights(tmp_path: Path) -> None:
    """A plugin that is disabled finishes in a worker what it has begun, with the rights that it holds."""
    logged: list[dict[str, Any]] = []
    async with office(tmp_path, logged=logged) as desk:
        line = await desk.line()
        asking = asyncio.ensure_future(line.ask("front.linger"))
        await desk.kernel.request("back.began")
        disabling = asyncio.ensure_future(desk.kernel.disable("acme.front"))
        while not any(  # noqa: ASYNC110
            entry.get("new") == "draining" and entry.get("worker") == 1 for entry in logged
        ):
            await asyncio.sleep(0)
        await desk.kernel.request("back.free")
        assert len(await asking) == 8
        await disabling


async def test_a_configuration_reaches_every_worker(tmp_path: Path) -> None:
    """`configure` hands over to the same version with the new configuration, in each process."""
    async with office(tmp_path, config={"acme.front": {"over": 1}}) as desk:
        assert await (await desk.line()).ask("front.config") == {"over": 1}
        await desk.kernel.configure("acme.front", {"colour": "green"})
        await desk.kernel.converged()
        for number in (1, 2):
            assert await (await desk.line(number)).ask("front.config") == {"colour": "green", "over": 1}


async def test_counters_add_up_over_all_processes(tmp_path: Path) -> None:
    """Calls and uses in workers are in the primary's accounts: each use of a right once, wherever it was."""
    async with office(tmp_path) as desk:
        for number in (1, 2):
            line = await desk.line(number)
            assert (
                await line.do("many", name="front.who", count=300) == 0
            )  # it answers something else than it was asked
            assert await line.do("many", name="back.echo", count=200) == 200
            for _ in range(50):
                await line.do("publish", name="news.x", data=1, confirm=True)
        for _ in range(7):
            await desk.kernel.request("front.who")
        await desk.kernel.have_on_record()
        used = {(row.plugin, row.capability): row.calls for row in desk.kernel.accounting.rows() if row.capability}
        assert used["acme.front", "bus:request@front.*"] == 600
        assert used["acme.front", "bus:serve@front.*"] == 608  # and one to find out where it listens
        assert used["acme.front", "bus:request@back.*"] == 400
        assert used["acme.back", "bus:serve@back.*"] == 400
        assert used["acme.front", "bus:publish@news.>"] == 100
        assert used["acme.front", "bus:subscribe@news.>"] == 300  # one in each process
        assert used["acme.back", "bus:subscribe@news.>"] == 100
        calls = {row.plugin: row.calls for row in desk.kernel.accounting.rows() if not row.capability}
        assert calls["acme.front"] == 608 + 300
        assert calls["acme.back"] == 400 + 100


async def test_counts_of_a_worker_that_stops_are_not_lost(tmp_path: Path) -> None:
    """The last thing that a worker does is to tell what it counted."""
    async with office(tmp_path, workers=1) as desk:
        kernel = desk.kernel
        await (await desk.line()).do("many", name="front.who", count=300)
    rows = [row for row in kernel.accounting.rows("acme.front") if row.capability == "bus:request@front.*"]
    assert [row.calls for row in rows] == [300]


async def test_secrets_are_used_in_workers(tmp_path: Path) -> None:
    """A secret gives the same there as here."""
    (tmp_path / "secrets").mkdir(mode=0o700)
    (tmp_path / "secrets" / "door").write_bytes(b"key")
    async with office(tmp_path) as desk:
        found = {await (await desk.line(number)).do("secret") for number in (1, 2)}
        assert len(found) == 1


async def test_logs_of_workers_are_the_kernels(tmp_path: Path) -> None:
    """What a plugin in a worker logs is in its log, with the worker's number."""
    async with office(tmp_path, log_level="silent") as desk:
        await (await desk.line(2)).raw("trap")
        await desk.kernel.have_on_record()
        traps = [line for line in desk.kernel.logs("acme.front") if line["event"] == "trapped" and "worker" in line]
        assert [line["worker"] for line in traps] == [2]


async def test_a_central_service_is_the_primarys(tmp_path: Path) -> None:
    """What a plugin's processes have in common is answered by the primary's, also for those in workers."""
    async with office(tmp_path) as desk:
        for number in (1, 2):
            line = await desk.line(number)
            assert await line.do("worker") == number
            assert await line.ask("front.central") == [os.getpid(), 0]
            assert (await line.ask("front.who"))[0] == line.pid


@pytest.mark.parametrize("kept", ["db:write@*", "kv:read@*"])
def test_what_keeps_data_cannot_be_each(kept: str) -> None:
    """A store has one writer: a manifest that asks for one and is `each` is refused, and says where."""
    with pytest.raises(Exception, match=r"plugin\.toml:lifecycle\.scale") as caught:
        made("acme.keeper", "", "keeper.plugin:Keeper", (kept,), scale="each")
    assert getattr(caught.value, "code", "") == "manifest.invalid"


async def test_a_kernel_without_workers_serves_itself(tmp_path: Path) -> None:
    """`each` means nothing there: the one process accepts connections."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await kernel.install(back(), consent=True)
        await kernel.install(front(), consent=True)
        await kernel.converged()
        assert kernel.workers() == []
        line = await Line.to(await kernel.request("front.where"))
        assert line.pid == os.getpid()
        assert await line.ask("back.who") == os.getpid()
        await line.close()


async def test_state_of_a_worker_is_handed_from_version_to_version(tmp_path: Path) -> None:
    """Inside each process what a version exports is imported by the next."""
    async with office(tmp_path) as desk:
        for number in (1, 2):
            line = await desk.line(number)
            await line.do("remember", value=line.pid)
        await desk.kernel.upgrade(front("1.1.0"), consent=True)
        await desk.kernel.converged()
        for number in (1, 2):
            line = await desk.line(number)
            assert await line.do("recall") == line.pid
