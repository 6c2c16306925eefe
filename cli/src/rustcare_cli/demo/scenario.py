"""The demo's course of events: feed, hot swap in its middle, hostile plugins beside it, and the judgement."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rustcare_kernel import Kernel
from rustcare_kernel.package import Package, make_package, read_package
from rustcare_sdk.contracts.fhir import COUNT, CountReply, CountRequest
from rustcare_sdk.contracts.hl7 import MESSAGES, STATUS, MessagesReply, MessagesRequest, Status, StatusRequest
from rustcare_sdk.manifest import read_manifest

from rustcare_cli.demo.feed import Item
from rustcare_cli.demo.hostile import HostileRow, run_hostile
from rustcare_cli.demo.ledger import Ledger
from rustcare_cli.demo.mllp import send_all
from rustcare_cli.demo.trust import prove

__all__ = ["Result", "run"]

TRANSFORMER = "rustcare.hl7-to-fhir"
RECEIVER = "rustcare.hl7"
Say = Callable[[str], None]


class Result(dict[str, Any]):
    """What `--json` prints. `ok` tells whether everything the demo promises held."""

    @property
    def ok(self) -> bool:
        """Nothing lost, doubled or reordered, every hostile plugin contained, and all of it proved from the audit log."""
        swap = self["swap"]
        return (
            not (swap["lost"] or swap["duplicated"] or swap["reordered"])
            and swap["error"] == ""
            and all(row["contained"] for row in self["hostile"])
            and self["audit"]["uses_logged"] > 0
            and self["audit"]["verified"]
            and self["audit"]["tamper_detected"]
            and self["audit"]["disclosures_verified"] > 0
            and self["audit"]["shredded_proofs_valid"]
        )


async def run(
    data_dir: Path,
    items: Sequence[Item],
    *,
    runtime: str | None,
    hostile: bool,
    say: Say,
    progress: Callable[[int, int], None],
) -> Result:
    """Run the demo on a data folder; the messages go in over a real MLLP connection.

    Args:
        runtime: `component` (sandboxed), `python` (trusted), or None for what a user would get.
        say: told of each step; `progress(done, total)` of each acknowledgement.
    """
    port = _free_port()
    config = {RECEIVER: {"port": port, "dispatch": {"settle": 0.2}}}
    async with Kernel(data_dir, config=config, log_level="silent") as kernel:
        say("installing the keyring, the audit log, the FHIR store, the transformer and the HL7 receiver")
        if runtime != "python":
            say("the transformer's component is built on first use")
        for name in ("crypto", "audit", "fhir"):
            await kernel.install(f"installed:{name}", consent=True)
        first = await kernel._installer.read(read_package("installed:hl7_to_fhir"), runtime)
        status = await kernel.install(first, consent=True, runtime=runtime)
        await kernel.install("installed:hl7", consent=True)
        for plugin in kernel.plugins():
            if plugin.state != "active":
                raise RuntimeError(f"{plugin.id} is {plugin.state}: {plugin.reason}")
        say(f"feeding {len(items)} messages; the transformer runs as {status.runtime} {status.version}")
        ledger = Ledger()
        kernel.bus.observer = ledger.observe
        swapping: list[asyncio.Task[dict[str, Any]]] = []
        half = max(1, len(items) // 2)

        def before(index: int) -> None:
            if index == half:
                swapping.append(asyncio.create_task(_swap(kernel, first, runtime, say)))

        def acknowledged(answer: Any) -> None:
            ledger.acknowledge(answer)
            progress(ledger.received, len(items))

        beside = asyncio.create_task(run_hostile(kernel, say)) if hostile else None
        started = time.perf_counter()
        await send_all("127.0.0.1", port, items, acknowledged, before)
        if not swapping:
            before(half)
        swap = await swapping[0]
        rows = await beside if beside is not None else []
        await _settled(kernel)
        seconds = time.perf_counter() - started
        kernel.bus.observer = None
        uses = kernel.accounting.capability_uses()
        result = await _judge(kernel, ledger, swap, rows, seconds)
        result["capability_uses"] = uses
        result["audit"] = await prove(kernel, data_dir, say)
        return result


async def _swap(kernel: Kernel, first: Package, runtime: str | None, say: Say) -> dict[str, Any]:
    """Replace the transformer by its next version while messages flow."""
    second = _next_version(first)
    say(f"replacing the transformer {first.version} by {second.version} in the middle of the feed")
    try:
        status = await kernel.upgrade(second, runtime=runtime)
    except Exception as error:
        return {"from": first.version, "to": second.version, "pause_ms": 0.0, "error": str(error)}
    return {"from": first.version, "to": status.version, "pause_ms": status.pause_ms, "error": ""}


def _next_version(package: Package) -> Package:
    """The same code as another version: other bytes, other digest, a real upgrade."""
    major, minor, patch = package.version.split(".")
    line = f'version = "{major}.{minor}.{int(patch) + 1}"'.encode()
    text = re.sub(rb'(?m)^version = "[^"]+"', line, package.manifest_bytes, count=1)
    wasm = {"component": package.component()} if "component" not in package.unbuilt else {}
    return make_package(read_manifest(text), text, package.files(), wasm, source="the next version")


async def _settled(kernel: Kernel) -> None:
    """Wait until the receiver has published everything it stored, or has not got further for a long while."""
    last, since = -1, time.monotonic()
    while True:
        status: Status = await kernel.request(STATUS, StatusRequest(), type=Status)
        if status.pending == 0:
            return
        if status.pending != last:
            last, since = status.pending, time.monotonic()
        if time.monotonic() - since > 60:
            return
        await asyncio.sleep(0.1)


async def _judge(
    kernel: Kernel, ledger: Ledger, swap: dict[str, Any], rows: list[HostileRow], seconds: float
) -> Result:
    stuck, failed, kept = [], [], 0
    page = MessagesReply([], "")
    while True:
        page = await kernel.request(
            MESSAGES, MessagesRequest(limit=1000, after=page.next), type=MessagesReply, timeout=60
        )
        for row in page.messages:
            kept += 1
            if row.status == "received":
                stuck.append(row.key)
            elif row.status == "failed":
                failed.append({"key": row.key, "type": f"{row.type}^{row.event}", "error": row.error})
        if not page.next:
            break
    status: Status = await kernel.request(STATUS, StatusRequest(), type=Status)
    acked = ledger.acked()
    missing = max(0, len(acked) - kept - status.duplicates)
    excused = {row["key"] for row in failed}
    lost = missing + len(stuck)
    for key in ledger.unstored():
        if key not in excused and await _has_resources(kernel, ledger.texts[key]):
            lost += 1
    counts: CountReply = await kernel.request(COUNT, CountRequest(), type=CountReply)
    return Result(
        received=ledger.received,
        acked=len(acked),
        rejected=ledger.rejected(),
        duplicates=status.duplicates,
        unhandled=status.unhandled,
        failed=failed,
        resources=dict(sorted(counts.counts.items())),
        swap={**swap, "lost": lost, "duplicated": len(ledger.duplicated()), "reordered": len(ledger.reordered())},
        hostile=[row.as_dict() for row in rows],
        seconds=round(seconds, 3),
        throughput_per_s=round(len(acked) / seconds, 1) if seconds else 0.0,
        runtime=kernel.plugin(TRANSFORMER).runtime,
    )


async def _has_resources(kernel: Kernel, text: str) -> bool:
    """Whether the transformer makes anything of a message; some events say nothing about a patient."""
    with suppress(Exception):
        made = await kernel.request("hl7.to-fhir", {"text": text}, timeout=30)
        import msgspec

        found = msgspec.json.decode(made) if type(made) is msgspec.Raw else msgspec.to_builtins(made)
        return bool(found["resources"])
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
