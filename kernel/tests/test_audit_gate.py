"""What must be audited has no effect unless its entry is durable, whoever does it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel import Kernel
from rustcare_sdk.errors import AuditUnavailable, CapabilityDenied, HandlerFailed, RustCareError, StoreError

from .plugins import Board, board, package, quiet, v2
from .recorder import RECORDER, recorder

DISK_FULL = StoreError("the disk is full")


@pytest.fixture
def desk() -> Iterator[Board]:
    with board() as made:
        yield made


async def entries(kernel: Kernel, kind: str = "", action: str = "") -> list[dict[str, Any]]:
    """What is on record, outcomes included."""
    await kernel._gate.flush()
    rows: list[dict[str, Any]] = await kernel.request("recorder.entries")
    return [row for row in rows if kind in ("", row["kind"]) and action in ("", row["action"])]


def broken(desk: Board, step: str = "record", error: BaseException | None = DISK_FULL) -> None:
    """From now on the recorder cannot write (or, with None, can again)."""
    desk.on[RECORDER, "1.0.0", step] = error


class TestUses:
    async def test_a_request_is_on_record_before_it_is_handled(self, tmp_path: Path, desk: Board) -> None:
        """When the provider's handler runs, the entry is in the recorder's database; its outcome follows."""
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder("bus:request@sample.*"), consent=True)
            await kernel.install(package(), consent=True)
            seen: list[int] = []

            async def look() -> None:
                rows = await kernel.request("recorder.entries")
                seen.append(sum(row["capability"] == "bus:request@sample.ask" for row in rows))

            desk.on["acme.sample", "1.0.0", "answer"] = look
            await kernel.request("sample.ask", principal="jane")
            assert seen == [1]
            (entry,) = await entries(kernel, "use")
            assert (entry["principal"], entry["plugin"], entry["outcome"]) == ("jane", "", "success")

    async def test_without_an_entry_nothing_happens(self, tmp_path: Path, desk: Board) -> None:
        """When the log cannot be written, the request fails with audit.unavailable and the handler never ran."""
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder("bus:request@sample.ask"), consent=True)
            await kernel.install(package(), consent=True)
            broken(desk)
            with pytest.raises(AuditUnavailable) as caught:
                await kernel.request("sample.ask")
            assert "disk is full" in str(caught.value)
            assert desk.steps["acme.sample", "1.0.0", "answer"] == 0
            broken(desk, error=None)
            await kernel.request("sample.ask")
            assert desk.steps["acme.sample", "1.0.0", "answer"] == 1

    async def test_an_entry_whose_answer_was_lost_is_settled(self, tmp_path: Path, desk: Board) -> None:
        """The entry was written, the answer did not come: the request failed, and the log says that nothing followed."""
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder("bus:request@sample.ask"), consent=True)
            await kernel.install(package(), consent=True)
            broken(desk, "recorded")
            with pytest.raises(AuditUnavailable):
                await kernel.request("sample.ask")
            assert desk.steps["acme.sample", "1.0.0", "answer"] == 0
            (entry,) = await entries(kernel, "use")
            assert (entry["outcome"], entry["code"], entry["effect"]) == ("failure", "audit.unavailable", "no")

    @pytest.mark.parametrize("how", ["disabled", "quarantined", "failed to start"])
    async def test_without_a_recorder_nothing_happens(self, tmp_path: Path, desk: Board, how: str) -> None:
        """The policy stays in force while its recorder is away, over a restart too."""
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder("bus:request@sample.ask"), consent=True)
            await kernel.install(package(), consent=True)
            if how == "disabled":
                await kernel.disable(RECORDER)
            elif how == "quarantined":
                for _ in range(50):
                    kernel._fleet[RECORDER].trapped(kernel._fleet[RECORDER].running, "test")  # type: ignore[arg-type]
            else:
                desk.on[RECORDER, "1.0.0", "start"] = RuntimeError("no")
            if how != "failed to start":
                with pytest.raises(AuditUnavailable, match="does not serve"):
                    await kernel.request("sample.ask")
        async with quiet(tmp_path) as kernel:
            with pytest.raises(AuditUnavailable, match="does not serve"):
                await kernel.request("sample.ask")
            assert desk.steps["acme.sample", "1.0.0", "answer"] == 0
            desk.on.clear()
            await kernel.enable(RECORDER)
            await kernel.request("sample.ask")

    async def test_what_a_plugin_does_is_held_like_what_the_operator_does(self, tmp_path: Path, desk: Board) -> None:
        """A plugin's request, publish, key-value and database access are recorded with its id, or fail."""
        more = """
        @serve("busy.go")
        async def go(self, message):
            what = message.data
            if what == "request":
                return await self.ctx.request("sample.ask")
            if what == "publish":
                return await self.ctx.publish("busy.said", 1)
            if what == "kv":
                return await self.ctx.kv.put("k", b"v")
            return await self.ctx.db.execute("INSERT INTO t (n) VALUES (1)")
        """
        uses = ("bus:request@sample.ask", "bus:publish@busy.said", "kv:write@*", "db:write@*", "bus:serve@busy.go")
        busy = package(
            "acme.busy",
            asks=dict.fromkeys(uses, "required"),
            more=more,
            files={"migrations/0001_t.sql": b"CREATE TABLE t (n BIGINT)"},
        )
        async with quiet(tmp_path) as kernel:
            await kernel.install(
                recorder("bus:request@sample.*", "bus:publish@busy.>", "kv:write@*", "db:write@*"), consent=True
            )
            await kernel.install(package(), consent=True)
            await kernel.install(busy, consent=True)
            for what in ("request", "publish", "kv", "db"):
                await kernel.request("busy.go", what)
            found = [row["capability"] for row in await entries(kernel, "use") if row["plugin"] == "acme.busy"]
            assert found == ["bus:request@sample.ask", "bus:publish@busy.said", "kv:write@k", "db:write@*"]
            broken(desk)
            for what in ("request", "publish", "kv", "db"):
                with pytest.raises(AuditUnavailable):
                    await kernel.request("busy.go", what)
            assert desk.steps["acme.sample", "1.0.0", "answer"] == 1

    async def test_outcomes_say_how_it_went(self, tmp_path: Path, desk: Board) -> None:
        """A failure is recorded with its code, a cancellation as such."""
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder("bus:request@sample.ask"), consent=True)
            await kernel.install(package(), consent=True)
            desk.on["acme.sample", "1.0.0", "answer"] = RuntimeError("Jane Doe")
            with pytest.raises(HandlerFailed):
                await kernel.request("sample.ask")
            started = asyncio.Event()

            async def hang() -> None:
                started.set()
                await asyncio.Event().wait()

            desk.on["acme.sample", "1.0.0", "answer"] = hang
            task = asyncio.create_task(kernel.request("sample.ask"))
            await started.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            found = [(row["outcome"], row["code"]) for row in await entries(kernel, "use")]
            assert found == [("failure", "bus.handler-failed"), ("failure", "cancelled")]

    async def test_what_is_not_allowed_is_a_denial_and_no_attempt(self, tmp_path: Path, desk: Board) -> None:
        """A plugin without the right gets CapabilityDenied; the log has a fact of it, and no attempt."""
        more = """
        @serve("busy.go")
        async def go(self, message):
            return await self.ctx.request("sample.ask")
        """
        busy = package(
            "acme.busy", asks={"bus:request@sample.ask": "optional", "bus:serve@busy.go": "required"}, more=more
        )
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder("bus:request@sample.ask"), consent=True)
            await kernel.install(package(), consent=True)
            await kernel.install(
                busy, consent=["bus:serve@busy.go", "bus:serve@busy.ask", "bus:subscribe@busy.event.*"]
            )
            with pytest.raises(RustCareError, match="may not use"):
                await kernel.request("busy.go")
            await asyncio.gather(*kernel._gate._tasks)
            assert await entries(kernel, "use") == []
            (fact,) = await entries(kernel, "fact", "capability.denied")
            assert json.loads(fact["details"])["capability"] == "bus:request@sample.ask"

    @pytest.mark.parametrize("service", ["audit.record", "audit.settle"])
    async def test_only_the_kernel_writes_the_log(self, tmp_path: Path, desk: Board, service: str) -> None:
        """Neither the operator nor a plugin with the right can state what somebody else did."""
        more = f"""
        @serve("busy.go")
        async def go(self, message):
            return await self.ctx.request("{service}", message.data)
        """
        busy = package(
            "acme.busy", asks={f"bus:request@{service}": "required", "bus:serve@busy.go": "required"}, more=more
        )
        forged = {"attempts": [{"id": "x", "time": 1, "kind": "use", "principal": "somebody else"}], "outcomes": []}
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder(), consent=True)
            await kernel.install(busy, consent=True)
            with pytest.raises(CapabilityDenied, match="only the kernel"):
                await kernel.request(service, forged)
            with pytest.raises(CapabilityDenied, match="only the kernel"):
                await kernel.request("busy.go", forged)
            assert not [row for row in await entries(kernel) if row["principal"] == "somebody else"]


class TestOperations:
    async def test_every_operation_is_an_entry(self, tmp_path: Path, desk: Board) -> None:
        """Install, consent, grant, revoke, upgrade, rollback, disable, enable, configure, remove: each is on record, done."""
        asks = {"kv:read@*": "required"}
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder(), consent=True)
            await kernel.install(package(asks=asks), consent=True)
            await kernel.grant("acme.sample", "kv:read@a*")
            await kernel.revoke("acme.sample", "kv:read@a*")
            await kernel.upgrade(v2(asks=asks), consent=True)
            await kernel.rollback("acme.sample")
            await kernel.disable("acme.sample")
            await kernel.enable("acme.sample")
            await kernel.configure("acme.sample", {})
            await kernel.restart("acme.sample")
            await kernel.remove("acme.sample")
            await asyncio.gather(*kernel._gate._tasks)
            found = await entries(kernel, "operation")
            # The recorder's own installation came first: it was journaled before there was a log.
            assert [row["action"] for row in found] == [
                *(
                    "plugin.install",
                    "plugin.install",
                    "grant.give",
                    "grant.revoke",
                    "plugin.upgrade",
                    "plugin.rollback",
                ),
                *("plugin.disable", "plugin.enable", "plugin.configure", "plugin.restart", "plugin.enable"),
                "plugin.remove",
            ]
            assert {(row["outcome"], row["effect"]) for row in found} == {("success", "yes")}
            consents = [json.loads(row["details"]) for row in await entries(kernel, "fact", "plugin.consent")]
            rights = [item["rights"] for item in consents if "kv:read@*" in item["rights"]]
            assert len(rights) == 2, "one for the installation, one for the upgrade's digest"
            states = [json.loads(row["details"])["to"] for row in await entries(kernel, "fact", "plugin.state")]
            assert {"active", "stopped", "removed"} <= set(states)

    async def test_an_operation_that_cannot_be_recorded_changes_nothing(self, tmp_path: Path, desk: Board) -> None:
        """Install, upgrade, grant fail with audit.unavailable and the catalog is as it was."""
        asks = {"kv:read@*": "required"}
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder(), consent=True)
            await kernel.install(package(asks=asks), consent=True)
            before = (kernel.catalog.entries(), kernel.catalog.grants())
            broken(desk)
            for work in (
                lambda: kernel.install(package("acme.other"), consent=True),
                lambda: kernel.upgrade(v2(asks=asks), consent=True),
                lambda: kernel.grant("acme.sample", "kv:read@a*"),
                lambda: kernel.remove("acme.sample"),
                lambda: kernel.configure("acme.sample", {}),
            ):
                with pytest.raises(AuditUnavailable):
                    await work()  # type: ignore[no-untyped-call]
            assert (kernel.catalog.entries(), kernel.catalog.grants()) == before

    async def test_what_takes_rights_away_waits_for_no_log(self, tmp_path: Path, desk: Board) -> None:
        """Revoking and disabling work without the log; they are in it when it is back, in their order."""
        asks = {"kv:read@*": "optional"}
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder(), consent=True)
            await kernel.install(package(asks=asks), consent=True)
            broken(desk)
            await kernel.revoke("acme.sample", "kv:read@*")
            await kernel.disable("acme.sample")
            broken(desk, error=None)
            await kernel._gate.forward()
            found = await entries(kernel, "operation")
            assert [row["action"] for row in found][-2:] == ["grant.revoke", "plugin.disable"]
            assert {row["outcome"] for row in found} == {"success"}

    async def test_a_broken_recorder_can_be_mended(self, tmp_path: Path, desk: Board) -> None:
        """The recorder can be upgraded, restarted and disabled without the log, and all of it is on record afterwards."""
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder(), consent=True)
            broken(desk)
            await kernel.upgrade(recorder("bus:request@sample.ask", version="1.0.1"), consent=True)
            await kernel._gate.forward()
            assert "plugin.upgrade" in [row["action"] for row in await entries(kernel, "operation")]
            await kernel.install(package(), consent=True)
            await kernel.request("sample.ask")
            assert len(await entries(kernel, "use")) == 1, "the policy of the new version is in force"

    async def test_removing_the_recorder_is_on_record_and_lifts_its_policy(self, tmp_path: Path, desk: Board) -> None:
        """The last entry says that it is removed; then nothing is held any more."""
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder("bus:request@sample.ask"), consent=True)
            await kernel.install(package(), consent=True)
            await kernel.remove(RECORDER)
            await kernel.request("sample.ask")
            assert not kernel._gate.in_force
            await kernel.install(recorder(), consent=True)
            assert [row["action"] for row in await entries(kernel, "operation")][-2:] == [
                "plugin.remove",
                "plugin.install",
            ]
        async with quiet(tmp_path) as kernel:
            assert kernel._gate.ready

    async def test_counted_uses_add_up(self, tmp_path: Path, desk: Board) -> None:
        """The counts in the log, summed up, are the uses that the kernel counted."""
        more = """
        @serve("busy.go")
        async def go(self, message):
            await self.ctx.kv.get("k")
        """
        uses = {"kv:read@*": "required", "bus:serve@busy.go": "required"}
        async with quiet(tmp_path) as kernel:
            await kernel.install(recorder(), consent=True)
            await kernel.install(package("acme.busy", asks=uses, more=more), consent=True)
            for round_ in range(3):
                for _ in range(5 * (round_ + 1)):
                    await kernel.request("busy.go")
                await kernel._count_uses()
                await asyncio.gather(*kernel._gate._tasks)
            counted = {
                row.capability: row.calls for row in kernel.accounting.rows("acme.busy") if row.capability and row.calls
            }
            logged: dict[str, int] = {}
            for fact in await entries(kernel, "fact", "capability.used"):
                for plugin, digest, _, capability, count, _ in json.loads(fact["details"])["rows"]:
                    if plugin == "acme.busy":
                        assert digest == kernel.plugin("acme.busy").digest
                        logged[capability] = logged.get(capability, 0) + count
            assert logged == counted
            assert logged["kv:read@*"] == 30
