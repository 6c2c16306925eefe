"""The operator's API on the bus: the socket's methods, in the name of the message's principal."""

from __future__ import annotations

import asyncio
import io
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel.bus import current_message
from rustcare_kernel.control import ControlError, ControlServer, DigestNotConsented
from rustcare_kernel.errors import PluginUnknown
from rustcare_kernel.package._layout import write_layout_tar
from rustcare_sdk.contracts.plugin import CONTROL, ControlReply, ControlRequest
from rustcare_sdk.errors import AuditUnavailable, DeadlineExceeded, NoProvider

from .plugins import Board, package, quiet
from .recorder import recorder


async def command(kernel: Any, method: str, package: bytes = b"", **params: Any) -> Any:
    """Run a method as somebody."""
    reply: ControlReply = await kernel.request(CONTROL, ControlRequest(method, params, package), principal="user/1")
    return reply.result


async def test_commands_are_those_of_the_socket(tmp_path: Path, desk: Board) -> None:
    """They answer plain data and raise the same typed errors; there is no such service without a control server."""
    async with quiet(tmp_path / "data") as kernel:
        await kernel.install(package(), consent=True)
        with pytest.raises(NoProvider):
            await command(kernel, "plugin.list")
        async with ControlServer(kernel):
            (row,) = await command(kernel, "plugin.list")
            assert (row["id"], row["state"]) == ("acme.sample", "active")
            with pytest.raises(PluginUnknown):
                await command(kernel, "plugin.info", id="acme.nobody")
            for method, params in (("plugin.lst", {}), ("plugin.info", {"name": "x"}), ("events.watch", {})):
                with pytest.raises(ControlError):
                    await command(kernel, method, **params)
        with pytest.raises(NoProvider):
            await command(kernel, "plugin.list")


async def test_a_package_comes_as_bytes(tmp_path: Path, desk: Board) -> None:
    """An uploaded package is inspected and installed under the digest that was seen; nothing of the upload stays behind."""
    made = package()
    data = write_layout_tar(made, tmp_path / "sample.tar").read_bytes()
    async with quiet(tmp_path / "data") as kernel, ControlServer(kernel):
        seen = await command(kernel, "plugin.inspect", data, source="")
        assert seen["digest"] == made.digest
        uses = [item["use"] for item in seen["capabilities"]]
        with pytest.raises(DigestNotConsented):
            await command(kernel, "plugin.install", data, source="", consent=uses, digest="sha256:" + "0" * 64)
        status = await command(kernel, "plugin.install", data, source="", consent=uses, digest=made.digest)
        assert status["state"] == "active"
        with pytest.raises(ControlError, match="takes a package"):
            await command(kernel, "plugin.list", data)
        assert not list((tmp_path / "data").glob("upload-*"))


async def test_a_plugin_that_a_command_starts_inherits_nothing(tmp_path: Path, desk: Board) -> None:
    """What is started by a command runs for the system: not for the tenant, nor under the deadline, of who commanded it."""
    above: list[Any] = []
    async with quiet(tmp_path) as kernel, ControlServer(kernel):
        await kernel.install(package(), consent=True)
        desk.on["acme.sample", "1.0.0", "start"] = lambda: above.append(current_message.get())
        await command(kernel, "plugin.restart", id="acme.sample")
        assert above == [None]


async def test_nobody_speaks_for_another(tmp_path: Path, desk: Board) -> None:
    """Through this door a bus request is made in the name of the message's principal, whatever the parameters say."""
    asked: list[str] = []

    async def serve(message: Any) -> None:
        asked.append(message.principal)

    async with quiet(tmp_path) as kernel, ControlServer(kernel):
        kernel.bus.serve("who.asks", serve)
        await command(kernel, "bus.request", service="who.asks", principal="user/2")
        assert asked == ["user/1"]


async def test_a_wheel_comes_as_bytes_too(tmp_path: Path, desk: Board) -> None:
    """An upload that is a zip is read as a wheel: the package in it has the same digest as in a layout."""
    made = package()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in {**made.files(), "plugin.toml": made.manifest_bytes}.items():
            archive.writestr(f"sample/{name}", data)
    async with quiet(tmp_path / "data") as kernel, ControlServer(kernel):
        seen = await command(kernel, "plugin.inspect", file.getvalue())
        assert (seen["id"], seen["digest"]) == (made.id, made.digest)


async def test_what_was_begun_is_brought_to_its_end(tmp_path: Path, desk: Board) -> None:
    """A restart whose caller's deadline passes in the middle goes on, and is on record with what became of it."""
    async with quiet(tmp_path) as kernel, ControlServer(kernel):
        await kernel.install(recorder(), consent=True)
        await kernel.install(package(), consent=True)
        gate: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        desk.on["acme.sample", "1.0.0", "start"] = lambda: asyncio.shield(gate)
        asked = ControlRequest("plugin.restart", {"id": "acme.sample"})
        with pytest.raises(DeadlineExceeded):
            await kernel.request(CONTROL, asked, principal="user/1", timeout=0.1)
        assert kernel.plugin("acme.sample").state != "active"
        gate.set_result(None)
        rows: list[dict[str, Any]] = []
        async with asyncio.timeout(10):
            while not rows or rows[0]["outcome"] is None:
                rows = await kernel.request("recorder.entries")
                rows = [row for row in rows if row["action"] == "control.plugin.restart"]
        assert [(row["outcome"], row["principal"]) for row in rows] == [("success", "user/1")]
        assert kernel.plugin("acme.sample").state == "active"


async def test_a_stop_that_is_not_on_record_stops_nothing(tmp_path: Path, desk: Board) -> None:
    """When the entry of the command cannot be written the kernel goes on."""
    stopped: list[bool] = []
    async with quiet(tmp_path) as kernel, ControlServer(kernel, stop=lambda: stopped.append(True)):
        await kernel.install(recorder(), consent=True)
        with sqlite3.connect(tmp_path / "kernel.sqlite3") as other:
            other.execute("CREATE TRIGGER full BEFORE INSERT ON audit_journal BEGIN SELECT RAISE(ABORT, 'full'); END")
        other.close()
        with pytest.raises(AuditUnavailable):
            await command(kernel, "system.stop")
        told = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0.3, told.set_result, None)  # a stop is put off until the answer is out
        await told
        assert stopped == []
        with sqlite3.connect(tmp_path / "kernel.sqlite3") as other:
            other.execute("DROP TRIGGER full")
        other.close()


async def test_what_a_killed_process_left_of_an_upload_goes(tmp_path: Path, desk: Board) -> None:
    """A package that was being read when the process was killed does not lie in the data folder for ever."""
    left = tmp_path / "upload-abc"
    left.mkdir()
    (left / "package.tar").write_bytes(b"x")
    async with quiet(tmp_path) as kernel, ControlServer(kernel):
        assert not left.exists()
