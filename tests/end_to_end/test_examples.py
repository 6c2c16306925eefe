"""The examples, as they lie there, in a kernel of the user's."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel import Kernel
from rustcare_kernel.errors import ConsentRequired
from rustcare_sdk.errors import CapabilityDenied

from tests.support.follow import Reader, blocks_of
from tests.support.plugins import write_plugin

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TUTORIAL = ROOT / "docs" / "tutorials" / "first-plugin.md"


def files_of(folder: Path) -> dict[str, str]:
    """An example's files, without what tests and builds leave there."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix not in (".wasm", ".bak")
        and not any(part in ("__pycache__", "dist") or part[0] == "." for part in path.relative_to(folder).parts[:-1])
    }


# The tutorial's


def test_hello_plugin_is_what_the_tutorial_ends_with(tmp_path: Path) -> None:
    """What `plugin new` writes, with the tutorial's edits, is the example, file by file."""
    with Reader(tmp_path / "empty") as reader:
        for block in blocks_of(TUTORIAL):
            if block.language != "console":
                reader.follow([block])
                continue
            for step in block.steps:
                if step.command.startswith(("rustcare plugin new ", "sed ")):
                    reader.do(step, block.place)
    assert files_of(EXAMPLES / "hello_plugin") == files_of(tmp_path / "empty" / "ward-bell")


async def test_hello_plugin_greets(tmp_path: Path) -> None:
    """The example runs as it lies there."""
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        await kernel.install(EXAMPLES / "hello_plugin", consent=True, runtime="python")
        answer = await kernel.request("ward-bell.greet", {"name": "Ada"}, type=dict[str, Any])
        assert re.fullmatch(r"Good (morning|day), Ada!", answer["text"])
        assert answer["count"] == 1


# Sandboxed, in other languages


async def test_the_plugin_in_c_answers(tmp_path: Path) -> None:
    """The shipped package installs as it is, serves, hears events and publishes, and loses a right on the next use."""
    heard: list[Any] = []
    listener = write_plugin(
        tmp_path,
        """
        from rustcare_sdk import Message, Plugin, serve, subscribe

        class Subject(Plugin):
            def __init__(self):
                self.heard = []

            @subscribe("vitals.flagged")
            async def flagged(self, message: Message):
                self.heard.append(message.data)

            @serve("test.heard")
            async def answer(self, message: Message):
                return self.heard
        """,
        capabilities=("bus:subscribe@vitals.flagged", "bus:serve@test.heard"),
    )
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        await kernel.install(listener, consent=True)
        status = await kernel.install(EXAMPLES / "extism_c", consent=True)
        assert (status.id, status.runtime, status.state) == ("example.vitals", "extism", "active")
        person = {"weight_kg": 70, "height_m": 1.75}
        assert await kernel.request("vitals.bmi", person, type=dict[str, Any]) == {"bmi": 22.9, "class": "normal"}
        for temperature in (36.6, 40.2):
            delivery = await kernel.publish("vitals.measured", {"temperature_c": temperature}, confirm=True)
            assert delivery is not None
            assert delivery.failures == ()
        while not heard:  # the plugin publishes without waiting for who hears it
            heard = await kernel.request("test.heard")
        assert heard == [{"reason": "fever", "temperature_c": 40.2}]
        await kernel.revoke("example.vitals", "bus:publish@vitals.flagged")
        delivery = await kernel.publish("vitals.measured", {"temperature_c": 40.2}, confirm=True)
        assert delivery is not None
        assert delivery.failures
        assert await kernel.request("test.heard") == heard


async def test_the_plugin_in_go_answers(tmp_path: Path) -> None:
    """The shipped package installs as it is, answers and counts; its counts outlive the kernel, a revoked right does not."""
    signs = {"heart_rate": 72, "breaths_per_min": 14, "oxygen_saturation": 98, "temperature_c": 36.8, "alert": True}
    for count in (1, 2):
        async with Kernel(tmp_path / "data", log_level="silent") as kernel:
            status = await kernel.install(EXAMPLES / "extism_go", consent=True)
            assert (status.id, status.runtime, status.state) == ("example.triage", "extism", "active"), status.reason
            answer = await kernel.request("triage.assess", signs, type=dict[str, Any])
            assert answer == {"level": "routine", "score": 0, "reasons": [], "count": count}
            if count == 2:
                await kernel.revoke("example.triage", "kv:write@count.*")
                with pytest.raises(CapabilityDenied):
                    await kernel.request("triage.assess", signs)


# Embedded


def gateway(cwd: Path, *arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the gateway to its end."""
    main = EXAMPLES / "embedded_edge" / "main.py"
    program = [sys.executable, str(main)] if not code else [sys.executable, "-c", code, str(main)]
    return subprocess.run([*program, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def said(text: str, bed: str) -> list[str]:
    """What a bed said, but for the figures."""
    lines = [line.removeprefix(f"{bed}: ") for line in text.splitlines() if line.startswith(f"{bed}: ")]
    return [re.sub(r"(after )?[\d.]+ ms, |[; ]*\d+ MiB", "", line) for line in lines]


def test_the_gateways_page_is_true(tmp_path: Path) -> None:
    """Every command of the README prints what it says: the alarms, the restart, two kernels in a process, the C plugin."""
    for name in ("embedded_edge", "extism_c"):
        shutil.copytree(EXAMPLES / name, tmp_path / name)
    with Reader(tmp_path / "embedded_edge") as reader:
        reader.follow(blocks_of(EXAMPLES / "embedded_edge" / "README.md"))


NO_NETWORK = """
import runpy, socket, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
        raise SystemExit(f"{event} {arguments[1:]}")

sys.addaudithook(refuse)
sys.argv = sys.argv[1:]
sys.path[0] = ""
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_gateway_starts_in_a_blink_and_needs_no_network(tmp_path: Path) -> None:
    """It binds and connects nothing, is ready within a second and in less than 60 MiB, on a busy machine too."""
    runs = [gateway(tmp_path, f"bed-1=simulate:{count}", code=NO_NETWORK) for count in (100, 150, 199)]
    ready = []
    for done in runs:
        assert done.returncode == 0, done.stderr
        found = re.search(r"ready after (\d+) ms, (\d+) MiB", done.stdout)
        assert found is not None, done.stdout
        ready.append((int(found[1]), int(found[2])))
    print(f"\nready after (ms, MiB): {ready}")
    assert min(milliseconds for milliseconds, _ in ready) < 1000
    assert max(size for _, size in ready) < 60
    assert said(runs[-1].stdout, "bed-1")[-1] == "199 readings, 1 alarms"


def reading(number: int, oxygen: int = 97) -> str:
    """A line of a device."""
    return json.dumps({"number": number, "heart_rate": 72, "oxygen_saturation": oxygen}) + "\n"


async def test_a_power_cut_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """Killed with SIGKILL while it works, and fed again from the start: each reading counts once, each alarm is told."""
    device = tmp_path / "device"
    os.mkfifo(device)
    main = EXAMPLES / "embedded_edge" / "main.py"
    command = [sys.executable, str(main), f"bed-1={device}"]
    lines = [reading(number, 88 if number in range(40, 50) else 97) for number in range(1, 301)]
    process = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=subprocess.PIPE)
    assert process.stdout is not None
    pipe = await asyncio.to_thread(os.open, device, os.O_WRONLY)  # waits until the gateway reads
    try:
        os.write(pipe, "".join(lines[:60]).encode())  # and no more, so that it is killed at work
        before = b""
        async for line in process.stdout:  # it ends with the process
            before += line
            if b'"raised":true' in line:
                process.kill()
        await process.wait()
    finally:
        os.close(pipe)

    again = tmp_path / "again"
    again.write_text("".join(lines))
    done = gateway(tmp_path, f"bed-1={again}")
    assert done.returncode == 0, done.stderr
    after = said(done.stdout, "bed-1")
    match = re.search(r"goes on after reading (\d+)", after[0])
    assert match is not None
    assert 41 <= int(match[1]) <= 60
    assert after[-1] == "300 readings, 1 alarms"
    assert '"number":50' in before.decode() + done.stdout, "the alarm's end was told before the cut or after it"


def test_beds_share_a_process_and_nothing_else(tmp_path: Path) -> None:
    """Two kernels in one process: each has its own readings, alarms, catalog and data."""
    calm, ill = tmp_path / "calm", tmp_path / "ill"
    calm.write_text("".join(reading(number) for number in range(1, 31)) + "neither JSON nor shown\n")
    ill.write_text("".join(reading(number, 80) for number in range(1, 21)))
    done = gateway(tmp_path, f"bed-1={calm}", f"bed-2={ill}", "--data", "both")
    assert done.returncode == 0, done.stderr
    assert said(done.stdout, "bed-1")[1:] == ["line 31 is no reading, it is left out", "30 readings, 0 alarms"]
    assert said(done.stdout, "bed-2")[-1] == "20 readings, 1 alarms"
    assert "shown" not in done.stdout + done.stderr
    for bed in ("bed-1", "bed-2"):
        assert (tmp_path / "both" / bed / "kernel.sqlite3").is_file()


def test_the_gateway_refuses_what_wants_the_network(tmp_path: Path) -> None:
    """The box's policy is the consent: a plugin that asks for the network does not get in."""
    asking = write_plugin(
        tmp_path, "from rustcare_sdk import Plugin as Subject\n", capabilities=("net:connect@example.org:443",)
    )
    done = gateway(tmp_path, "bed-1=simulate:1", "--plugin", str(asking))
    assert done.returncode != 0
    assert ConsentRequired.code in done.stderr or "nobody has granted" in done.stderr
