"""The SDK's double of the kernel does what the kernel does: the same plugin, the same steps, the same outcomes."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rustcare_kernel import Kernel
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.message import Message
from rustcare_sdk.plugin import Handler
from rustcare_sdk.testing import harness

SAMPLE = Path(__file__).parents[2] / "sdk" / "tests" / "sample"
PLUGIN = "acme.ward-board"
BED = {"bed": "12", "person": "Smith", "notes": ["a"]}

Ask = Callable[..., Awaitable[Any]]


async def names(message: Message[Any]) -> Any:
    """Stands for another plugin."""
    if message.data["code"] == "bad":
        return {"bad": 1}
    return {"3B": "Surgery"}


@asynccontextmanager
async def in_kernel(folder: Path, denied: str) -> AsyncIterator[tuple[Ask, Ask, list[Any], Any]]:
    async with Kernel(folder / "data", log_level="silent") as kernel:
        kernel.bus.serve("ward.names", names)
        published: list[Any] = []

        async def note(message: Message[Any]) -> None:
            published.append(
                (message.subject, msgspec.to_builtins(message.data), message.tenant, dict(message.headers))
            )

        kernel.bus.subscribe(Handler("subscribe", "ward.>"), note)
        await kernel.install(folder / "plugin", consent=True, config={"beds": 3})
        if denied:
            await kernel.grant(PLUGIN, denied, deny=True)

        async def send(subject: str, data: Any, tenant: str) -> None:
            delivery = await kernel.publish(subject, data, confirm=True, tenant=tenant)
            for code in delivery.failures if delivery else ():
                raise LookupError(code)

        async def request(service: str, data: Any, tenant: str) -> Any:
            return await kernel.request(service, data, timeout=patience(service), tenant=tenant)

        yield send, request, published, lambda: kernel.plugin(PLUGIN).state


@asynccontextmanager
async def in_harness(folder: Path, denied: str) -> AsyncIterator[tuple[Ask, Ask, list[Any], Any]]:
    from sdk.tests.sample.plugin import WardBoard  # noqa: TID251  # a folder of tests, not the distribution

    async with harness(WardBoard, config={"beds": 3}, denied=[denied] if denied else []) as h:
        h.answer("ward.names", names)

        async def send(subject: str, data: Any, tenant: str) -> None:
            try:
                await h.send(subject, data, tenant=tenant)
            except RustCareError as error:
                raise LookupError(error.code) from None

        async def request(service: str, data: Any, tenant: str) -> Any:
            return await h.request(service, data, timeout=patience(service), tenant=tenant)

        published: list[Any] = []
        h.subscribe(
            "ward.>",
            lambda message: published.append(
                (message.subject, msgspec.to_builtins(message.data), message.tenant, dict(message.headers))
            ),
        )
        yield send, request, published, lambda: "active"
        await h.settle()


def patience(service: str) -> float:
    """Only the request that never ends is given little time."""
    return 0.05 if service == "ward.slow" else 30.0


async def outcome(work: Awaitable[Any]) -> Any:
    """An answer as JSON's types, or the code of the error."""
    try:
        return msgspec.to_builtins(await work)
    except (RustCareError, LookupError) as error:
        return error.code if isinstance(error, RustCareError) else str(error)


async def story(send: Ask, request: Ask) -> list[Any]:
    return [
        await outcome(send("hl7.adt.a01", BED, "north")),
        await outcome(send("hl7.adt.a08", {**BED, "bed": "13"}, "south")),
        await outcome(send("hl7.adt.a01", {"person": "Smith"}, "north")),
        await outcome(request("ward.beds", None, "north")),
        await outcome(request("ward.name", "3B", "north")),
        await outcome(request("ward.name", "9Z", "north")),
        await outcome(request("ward.name", "bad", "north")),
        await outcome(request("ward.name", 5, "north")),
        await outcome(request("ward.note", "12", "north")),
        await outcome(request("ward.note", "13", "south")),
        await outcome(request("ward.sign", "x", "north")),
        await outcome(request("ward.sly", None, "north")),
        await outcome(request("ward.slow", None, "north")),
        await outcome(request("ward.fail", None, "north")),
    ]


@pytest.mark.parametrize("denied", ["", "bus:publish@ward.*", "kv:write@bed.12", "db:write@*", "bus:request@>"])
async def test_the_same_story_has_the_same_outcomes(tmp_path: Path, denied: str) -> None:
    """Answers, error codes, published events with tenant and headers agree, whatever the operator denies."""
    shutil.copytree(SAMPLE, tmp_path / "plugin" / "src" / "sample", ignore=shutil.ignore_patterns("__pycache__"))
    seen = []
    for place in (in_kernel, in_harness):
        async with place(tmp_path, denied) as (send, request, published, state):
            outcomes = await story(send, request)
            assert state() == "active"
        seen.append((outcomes, published))
    assert seen[0] == seen[1]
