"""Every command of the control socket is on record, with the account that gave it."""

from __future__ import annotations

import asyncio
import getpass
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel import Kernel
from rustcare_kernel.control import METHODS, SOCKET_NAME, ControlClient, ControlServer
from rustcare_sdk.errors import AuditUnavailable, RustCareError, StoreError

from .plugins import Board, board, package, quiet
from .recorder import RECORDER, recorder


@pytest.fixture
def desk() -> Iterator[Board]:
    with board() as made:
        yield made


async def commands(kernel: Kernel) -> list[dict[str, Any]]:
    """The commands on record."""
    await kernel._gate.flush()
    rows = await kernel.request("recorder.entries")
    return [row for row in rows if row["action"].startswith("control.")]


async def call(folder: Path, method: str, **params: Any) -> Any:
    """Give one command over the socket."""

    def work() -> Any:
        with ControlClient(folder / SOCKET_NAME) as client:
            return client.call(method, **params)

    return await asyncio.to_thread(work)


#: What to give each command; those that are not here take nothing.
PARAMETERS: dict[str, dict[str, Any]] = {
    **{f"plugin.{name}": {"id": "acme.sample"} for name in ("info", "caps", "logs", "enable", "restart", "rollback")},
    "plugin.disable": {"id": "acme.sample"},
    "plugin.remove": {"id": "acme.other"},
    "plugin.configure": {"id": "acme.sample", "config": {}},
    "plugin.grant": {"id": "acme.sample", "capability": "kv:read@a*"},
    "plugin.revoke": {"id": "acme.sample", "capability": "kv:read@a*"},
    "plugin.inspect": {"source": "/nowhere"},
    "plugin.install": {"source": "/nowhere"},
    "plugin.upgrade": {"source": "/nowhere"},
    "bus.publish": {"subject": "a.b"},
    "bus.request": {"service": "sample.ask", "data": "a patient's name"},
}


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"events.watch"}))
async def test_a_command_is_on_record(tmp_path: Path, desk: Board, method: str) -> None:
    """The entry names the command, the account and what it concerns, and whether it failed; never what a message says."""
    async with quiet(tmp_path) as kernel, ControlServer(kernel):
        await kernel.install(recorder(), consent=True)
        await kernel.install(package(asks={"kv:read@*": "required"}), consent=True)
        parameters = PARAMETERS.get(method, {})
        failed = ""
        try:
            await call(tmp_path, method, **parameters)
        except RustCareError as error:
            failed = error.code
        (entry,) = await commands(kernel)
        assert entry["action"] == f"control.{method}"
        assert entry["principal"] == f"unix:{getpass.getuser()}"
        assert (entry["outcome"], entry["code"]) == (("failure", failed) if failed else ("success", ""))
        assert "a patient's name" not in json.dumps(entry)
        for name in ("id", "service", "subject", "capability", "source"):
            if name in parameters:
                assert json.loads(entry["details"])[name] == parameters[name]


async def test_watching_is_on_record_and_held(tmp_path: Path, desk: Board) -> None:
    """`events.watch` shows content as it passes: without a log it is refused; the kernel's own state can be looked at."""
    async with quiet(tmp_path) as kernel, ControlServer(kernel):
        await kernel.install(recorder(), consent=True)
        desk.on[RECORDER, "1.0.0", "record"] = StoreError("the disk is full")
        with pytest.raises(AuditUnavailable):
            await call(tmp_path, "events.watch")
        assert (await call(tmp_path, "system.status"))["plugins"] == {"active": 1}
        desk.on.clear()
        await kernel._gate.forward()
        found = [(row["action"], row["outcome"]) for row in await commands(kernel)]
        assert found == [("control.events.watch", "failure"), ("control.system.status", "success")]


async def test_what_a_command_does_is_tied_to_it(tmp_path: Path, desk: Board) -> None:
    """The operation that a command leads to names the command's entry."""
    async with quiet(tmp_path) as kernel, ControlServer(kernel):
        await kernel.install(recorder(), consent=True)
        await kernel.install(package(), consent=True)
        await call(tmp_path, "plugin.disable", id="acme.sample")
        (command,) = await commands(kernel)
        rows = await kernel.request("recorder.entries")
        (operation,) = [row for row in rows if row["action"] == "plugin.disable"]
        assert json.loads(operation["details"])["within"] == command["id"]
        assert operation["principal"] == command["principal"]


async def test_uses_of_a_plugin_that_is_installed_again_are_all_counted(tmp_path: Path, desk: Board) -> None:
    """What is on record as used is what was used, also when a plugin goes and comes back and does more than before."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(recorder(), consent=True)
        for uses in (2, 7):
            await kernel.install(package(), consent=True)
            for _ in range(uses):
                await kernel.request("sample.ask")
            await kernel.remove("acme.sample")
        await kernel.have_on_record()
        rows = [row for row in await kernel.request("recorder.entries") if row["action"] == "capability.used"]
        counted = [use for row in rows for use in json.loads(row["details"])["rows"] if use[0] == "acme.sample"]
        assert sum(count for *_, use, count, _ in counted if use.startswith("bus:serve")) == 9
