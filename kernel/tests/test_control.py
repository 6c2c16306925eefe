"""The operator's API: a real kernel, a real socket, a real plugin."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from rustcare_kernel import Kernel
from rustcare_kernel.control import (
    METHODS,
    SOCKET_NAME,
    ControlClient,
    ControlError,
    ControlServer,
    ControlUnavailable,
    DigestNotConsented,
)
from rustcare_kernel.errors import ConsentRequired, DataFolderInUse, PluginUnknown
from rustcare_kernel.package import PackageNotFound
from rustcare_sdk.errors import CapabilityDenied, NoProvider, ServiceError

MANIFEST = """schema = 1
[plugin]
id = "acme.echo"
version = "{version}"
summary = "Says it back"
engine = ">=0.1,<0.2"
[runtime]
python = {{ entry = "acme_echo.plugin:Echo" }}
[[capability]]
use = "bus:serve@echo.say"
reason = "answers"
[[capability]]
use = "bus:publish@echo.said"
reason = "tells others"
[[capability]]
use = "kv:read@count"
reason = "counts"
[[capability]]
use = "kv:write@count"
reason = "counts"
{more}
"""
CODE = """
from rustcare_sdk import Plugin, ServiceError, serve


class Echo(Plugin):
    @serve("echo.say")
    async def say(self, message):
        if message.data == "fail":
            raise ServiceError("acme.refused", "Expected anything but fail", hint="say something else")
        if message.data == "crash":
            raise ValueError("a patient's name")
        await self.ctx.kv.put("count", b"1")
        await self.ctx.publish("echo.said", {"text": message.data})
        self.ctx.log.info("said", size=len(message.data))
        return {"text": message.data, "tenant": message.tenant, "principal": message.principal}
"""
MORE = '[[capability]]\nuse = "clock:read"\nreason = "tells the time"\n'
USES = ["bus:serve@echo.say", "bus:publish@echo.said", "kv:read@count", "kv:write@count"]


def write_plugin(root: Path, version: str = "1.0.0", more: str = "") -> Path:
    """A plugin's folder."""
    package = root / "src" / "acme_echo"
    package.mkdir(parents=True, exist_ok=True)
    (package / "plugin.toml").write_text(MANIFEST.format(version=version, more=more))
    (package / "__init__.py").write_text("")
    (package / "plugin.py").write_text(CODE)
    return root


@pytest_asyncio.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Kernel]:
    """A running kernel with its control socket."""
    async with Kernel(tmp_path / "data", log_level="silent") as kernel, ControlServer(kernel):
        yield kernel


@pytest.fixture
def call(kernel: Kernel) -> Callable[..., Any]:
    """`await call(method, **params)`, through the synchronous client in a thread, as the CLI does it."""

    def once(method: str, params: dict[str, Any]) -> Any:
        with ControlClient(kernel.data_dir, timeout=30) as client:
            return client.call(method, **params)

    async def run(method: str, **params: Any) -> Any:
        return await asyncio.to_thread(once, method, params)

    return run


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    """The folder of the plugin, version 1.0.0."""
    return str(write_plugin(tmp_path / "v1"))


async def test_the_socket_is_the_operators_alone(kernel: Kernel) -> None:
    """Mode 0600 in a folder of mode 0700; gone when the server is gone."""
    path = kernel.data_dir / SOCKET_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(kernel.data_dir.stat().st_mode) == 0o700


async def test_another_user_gets_no_answer(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is neither this user nor root is hung up on, even when the socket's mode were wide open."""
    path = kernel.data_dir / SOCKET_NAME
    line = b'{"jsonrpc":"2.0","id":1,"method":"plugin.list"}\n'
    if os.geteuid():
        monkeypatch.setattr(os, "geteuid", lambda: -1)
        assert await exchange(kernel, line) == []
        return
    path.chmod(0o666)
    folder = os.open(kernel.data_dir, os.O_RDONLY | os.O_DIRECTORY)
    script = (
        "import os, socket, sys\n"
        "os.fchdir(int(sys.argv[1])); s = socket.socket(socket.AF_UNIX)\n"
        f"s.connect({SOCKET_NAME!r}); os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "t = socket.socket(socket.AF_UNIX); t.connect('control.sock')\n"
        "t.sendall(sys.stdin.buffer.read()); print(t.recv(100))\n"
    )
    kernel.data_dir.chmod(0o711)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-Sc", script, str(folder), pass_fds=[folder], stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    out, err = await child.communicate(line)
    os.close(folder)
    assert out.strip() == b"b''" or b"ConnectionResetError" in err or b"BrokenPipeError" in err, err


async def test_installing_takes_what_was_seen(call: Callable[..., Any], plugin: str) -> None:
    """Inspect, consent to what was shown, install: the plugin runs, holds exactly that, and answers."""
    seen = await call("plugin.inspect", source=plugin)
    assert [item["use"] for item in seen["capabilities"]] == USES
    assert all(item["reason"] for item in seen["capabilities"])
    assert seen["change"] is None
    status = await call("plugin.install", source=plugin, digest=seen["digest"], consent=USES)
    assert (status["id"], status["state"], status["digest"]) == ("acme.echo", "active", seen["digest"])
    assert await call("bus.request", service="echo.say", data="hi", tenant="ward-3", principal="ana") == {
        "text": "hi",
        "tenant": "ward-3",
        "principal": "ana",
    }
    caps = await call("plugin.caps", id="acme.echo")
    rows = {item["use"]: item for item in caps["capabilities"]}
    assert [rows[use]["right"] for use in USES] == ["granted"] * 4
    assert rows["bus:publish@echo.said"]["used"] == 1
    assert rows["kv:read@count"]["used"] == 0
    info = await call("plugin.info", id="acme.echo")
    assert info["manifest"]["plugin"]["summary"] == "Says it back"
    assert info["size"] > 0
    assert [line["event"] for line in await call("plugin.logs", id="acme.echo")][-1] == "said"
    assert sum(row["calls"] for row in await call("accounting.read", plugin="acme.echo") if not row["capability"]) == 1


async def test_consent_is_bound_to_the_digest(call: Callable[..., Any], plugin: str) -> None:
    """A package that changed after it was shown is refused; so is one that asks for more than was consented to."""
    seen = await call("plugin.inspect", source=plugin)
    (Path(plugin) / "src/acme_echo/plugin.py").write_text(CODE + "# changed\n")
    with pytest.raises(DigestNotConsented, match="inspect it again"):
        await call("plugin.install", source=plugin, digest=seen["digest"], consent=USES)
    with pytest.raises(ConsentRequired, match="kv:write@count"):
        await call("plugin.install", source=plugin, consent=USES[:3])
    with pytest.raises(ConsentRequired):
        await call("plugin.install", source=plugin)
    assert await call("plugin.list") == []


async def test_an_upgrade_shows_what_is_new(call: Callable[..., Any], plugin: str, tmp_path: Path) -> None:
    """The difference comes with the inspection; without consent v1 stays; with it v2 runs, and can be rolled back."""
    await call("plugin.install", source=plugin, consent=True)
    newer = str(write_plugin(tmp_path / "v2", "1.1.0", MORE))
    seen = await call("plugin.inspect", source=newer)
    assert seen["installed_version"] == "1.0.0"
    assert seen["change"] == {"added": ["clock:read"], "widened": [], "narrowed": [], "removed": []}
    with pytest.raises(ConsentRequired):
        await call("plugin.upgrade", source=newer)
    assert (await call("plugin.list"))[0]["version"] == "1.0.0"
    assert (await call("plugin.upgrade", source=newer, consent=[*USES, "clock:read"]))["version"] == "1.1.0"
    assert (await call("plugin.rollback", id="acme.echo"))["version"] == "1.0.0"


async def test_a_plugin_can_be_switched_off_and_on_and_removed(call: Callable[..., Any], plugin: str) -> None:
    """Disable, enable, restart, remove: each answers with the state it led to."""
    await call("plugin.install", source=plugin, consent=True, enable=False)
    assert (await call("plugin.enable", id="acme.echo"))["state"] == "active"
    assert (await call("plugin.restart", id="acme.echo"))["state"] == "active"
    assert (await call("plugin.disable", id="acme.echo"))["state"] == "stopped"
    assert (await call("system.status"))["plugins"] == {"stopped": 1}
    assert await call("plugin.remove", id="acme.echo", purge=True) == {
        "id": "acme.echo",
        "removed": True,
        "purged": True,
    }
    with pytest.raises(PluginUnknown):
        await call("plugin.info", id="acme.echo")


async def test_a_revoked_right_fails_on_the_next_use(call: Callable[..., Any], plugin: str) -> None:
    """Revoke, deny and grant through the API take effect at once, and `plugin.caps` shows them."""
    await call("plugin.install", source=plugin, consent=True)
    await call("bus.request", service="echo.say", data="hi")
    await call("plugin.revoke", id="acme.echo", capability="kv:write@count")
    with pytest.raises(CapabilityDenied):
        await call("bus.request", service="echo.say", data="hi")
    caps = {item["use"]: item for item in (await call("plugin.caps", id="acme.echo"))["capabilities"]}
    assert caps["kv:write@count"]["right"] == "not granted"
    assert sum(item["denied"] for item in caps.values()) == 1
    await call("plugin.grant", id="acme.echo", capability="kv:write@count")
    await call("bus.request", service="echo.say", data="hi")
    await call("plugin.grant", id="acme.echo", capability="kv:write@count", tenant="ward-3", deny=True)
    with pytest.raises(CapabilityDenied):
        await call("bus.request", service="echo.say", data="hi", tenant="ward-3")
    caps = (await call("plugin.caps", id="acme.echo"))["capabilities"]
    assert [item["tenant"] for item in caps if item["right"] == "denied"] == ["ward-3"]


async def test_errors_keep_their_type_code_and_hint(call: Callable[..., Any], plugin: str, tmp_path: Path) -> None:
    """What the kernel or a plugin raises arrives as the same typed error; a foreign exception tells no content."""
    await call("plugin.install", source=plugin, consent=True)
    with pytest.raises(NoProvider, match=r"echo\.say"):
        await call("bus.request", service="echo.sai")
    with pytest.raises(ServiceError) as refused:
        await call("bus.request", service="echo.say", data="fail")
    assert (refused.value.code, refused.value.hint) == ("acme.refused", "say something else")
    with pytest.raises(Exception, match="ValueError") as crashed:
        await call("bus.request", service="echo.say", data="crash")
    assert "patient" not in str(crashed.value)
    with pytest.raises(PackageNotFound) as missing:
        await call("plugin.inspect", source=str(tmp_path / "nowhere"))
    assert missing.value.address == str(tmp_path / "nowhere")


async def exchange(kernel: Kernel, *lines: bytes) -> list[dict[str, Any]]:
    """Send raw lines; the answers."""
    reader, writer = await asyncio.open_unix_connection(str(kernel.data_dir / SOCKET_NAME))
    writer.write(b"".join(lines))
    writer.write_eof()
    answers = [json.loads(line) for line in (await reader.read()).splitlines()]
    writer.close()
    await writer.wait_closed()
    return answers


@pytest.mark.parametrize(
    ("line", "number"),
    [
        (b"{nonsense\n", -32700),
        (b"[]\n", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"plugin.list"}\n', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"plugin.lisst"}\n', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"plugin.info"}\n', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"plugin.info","params":{"id":3}}\n', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"plugin.info","params":{"id":"a","x":1}}\n', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"events.watch","params":{"kinds":["all"]}}\n', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"plugin.info","params":{"id":"a.b"}}\n', -32000),
        (b'{"jsonrpc":"2.0","id":1,"method":"plugin.list","params":[1]}\n', -32600),
        (b"\xff\n", -32700),
    ],
)
async def test_malformed_requests_get_json_rpc_errors(kernel: Kernel, line: bytes, number: int) -> None:
    """Each kind of mistake has its number, a code and a message; the connection goes on."""
    good = b'{"jsonrpc":"2.0","id":"x","method":"plugin.list"}\n'
    bad, after = await exchange(kernel, line, good)
    assert bad["jsonrpc"] == "2.0"
    assert bad["error"]["code"] == number
    assert bad["error"]["data"]["code"]
    assert after == {"jsonrpc": "2.0", "id": "x", "result": []}


async def test_requests_are_answered_in_order_and_notifications_are_not(kernel: Kernel) -> None:
    """Several lines in one packet are several requests; one without an id gets no answer."""
    lines = [b'{"jsonrpc":"2.0","id":%d,"method":"plugin.list"}\n' % number for number in range(5)]
    lines.insert(2, b'{"jsonrpc":"2.0","method":"plugin.list"}\n\n')
    assert [answer["id"] for answer in await exchange(kernel, *lines)] == [0, 1, 2, 3, 4]


async def test_a_mistyped_method_gets_a_hint(call: Callable[..., Any]) -> None:
    """The nearest method is suggested."""
    with pytest.raises(ControlError) as caught:
        await call("plugin.instal")
    assert caught.value.hint == "did you mean plugin.install?"


async def test_watching_shows_states_messages_and_uses(kernel: Kernel, call: Callable[..., Any], plugin: str) -> None:
    """One stream tells what happens; the content of messages only when it was asked for."""
    wanted = {("state", "active"), ("message", "echo.say"), ("message", "echo.said"), ("capability", "kv:write@count")}

    def collect(events: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        found, left = [], set(wanted)
        while left:
            event = next(events)
            found.append(event)
            left.discard((event["kind"], event.get("to") or event.get("subject") or event.get("capability")))
        return found

    await call("plugin.install", source=plugin, consent=True)
    for data in (False, True):
        with ControlClient(kernel.data_dir, timeout=30) as client:
            events = await asyncio.to_thread(client.watch, data=data)
            await call("plugin.restart", id="acme.echo")
            await call("bus.request", service="echo.say", data="secret")
            found = await asyncio.to_thread(collect, events)
        said = [event for event in found if event.get("subject") == "echo.said"]
        assert said[0]["plugin"] == "acme.echo"
        assert ("secret" in json.dumps(found)) is data


async def test_nobody_watching_costs_nothing(kernel: Kernel, call: Callable[..., Any]) -> None:
    """The bus is observed only while a watcher is connected."""

    def observed() -> bool:
        return kernel.bus.observer is not None

    assert not observed()
    reader, writer = await asyncio.open_unix_connection(str(kernel.data_dir / SOCKET_NAME))
    writer.write(b'{"jsonrpc":"2.0","id":1,"method":"events.watch"}\n')
    assert json.loads(await reader.readline())["result"] == {"watching": ["state", "message", "capability"]}
    assert observed()
    await call("plugin.list")
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(10):
        while observed():
            await call("plugin.list")


async def test_stop_is_answered_and_then_done(tmp_path: Path) -> None:
    """`system.stop` answers first; the client is told by the end of its connection."""
    stopped = asyncio.Event()
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:

        def stop() -> None:
            with ControlClient(kernel.data_dir, timeout=30) as client:
                assert client.call("system.stop") == {"stopping": True}
                client.wait_closed()

        async with ControlServer(kernel, stop=stopped.set):
            asking = asyncio.create_task(asyncio.to_thread(stop))
            await stopped.wait()
        await asking
    assert not (tmp_path / "data" / SOCKET_NAME).exists()


async def test_a_second_kernel_is_refused(kernel: Kernel) -> None:
    """One kernel for each data folder, and one control socket: the second is told who has it."""
    with pytest.raises(DataFolderInUse, match="Another kernel"):
        await Kernel(kernel.data_dir, log_level="silent").__aenter__()
    with pytest.raises(DataFolderInUse, match="answers on"):
        await ControlServer(kernel).__aenter__()
    assert (kernel.data_dir / SOCKET_NAME).exists()


async def test_a_dead_kernels_socket_is_replaced(tmp_path: Path) -> None:
    """A socket without a listener is what kill -9 leaves; a file that is no socket is not touched."""
    data = tmp_path / "data"
    data.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(data / SOCKET_NAME))
    with pytest.raises(ControlUnavailable, match="rustcare up"):
        ControlClient(data)
    async with Kernel(data, log_level="silent") as kernel:
        async with ControlServer(kernel):
            with ControlClient(data, timeout=30) as client:
                assert client is not None
        (data / SOCKET_NAME).write_text("not a socket")
        with pytest.raises(ControlError, match="found a file"):
            await ControlServer(kernel).__aenter__()


async def test_a_long_path_works(tmp_path: Path) -> None:
    """Socket addresses have about 100 bytes; data folders may have longer names."""
    data = tmp_path / ("a" * 60) / ("b" * 60)
    async with Kernel(data, log_level="silent") as kernel, ControlServer(kernel):

        def ask() -> Any:
            with ControlClient(data, timeout=30) as client:
                return client.call("plugin.list")

        assert await asyncio.to_thread(ask) == []
    with pytest.raises(ControlUnavailable):
        ControlClient(data)
    with pytest.raises(ControlUnavailable):
        ControlClient(data / "nowhere")


async def test_a_client_that_leaves_hurts_nobody(kernel: Kernel, call: Callable[..., Any], plugin: str) -> None:
    """A connection that is cut in the middle of a request, or sends half of one, is just closed."""
    for part in (b'{"jsonrpc":"2.0","id":1,"met', b'{"jsonrpc":"2.0","id":1,"method":"plugin.list"}\n'):
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as cut:
            cut.connect(str(kernel.data_dir / SOCKET_NAME))
            cut.sendall(part)
    assert await call("plugin.list") == []


def test_every_method_says_what_it_does() -> None:
    """The docstrings of the methods are their documentation."""
    assert all(method.summary.endswith(".") for method in METHODS.values())
    assert {name.partition(".")[0] for name in METHODS} == {"system", "plugin", "accounting", "bus", "events"}
