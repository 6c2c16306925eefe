"""The C example: the shipped module answers as its README says, and its source still builds to the same."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rustcare_kernel.runtimes._contract import Code, Host, LinkRefused
from rustcare_kernel.runtimes.extism import ExtismRuntime
from rustcare_sdk.errors import InvalidPayload, ServiceError
from rustcare_sdk.manifest import read_manifest
from rustcare_sdk.message import Message

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "vitals"


class Bus:
    """The part of a context that this plugin uses."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Any]] = []

    async def publish(self, subject: str, data: Any = None, **options: Any) -> None:
        self.published.append((subject, msgspec.json.decode(data)))


@pytest.fixture
def bus() -> Bus:
    return Bus()


@pytest.fixture
async def vitals(bus: Bus) -> AsyncIterator[Any]:
    async with asyncio.timeout(60):
        runtime = ExtismRuntime()
        yield await load(runtime, bus, {"bus"})
        await runtime.close()


async def load(runtime: ExtismRuntime, bus: Bus, kinds: set[str]) -> Any:
    manifest = read_manifest((PACKAGE / "plugin.toml").read_bytes())
    host = Host(bus, kinds.__contains__, lambda *counts: None, lambda reason: None)  # type: ignore[arg-type]
    instance = await runtime.load(Code(manifest, (PACKAGE / "vitals.wasm").read_bytes(), "sha256:vitals"), host)
    await instance.start()
    return instance


async def ask(vitals: Any, subject: str, data: Any) -> Any:
    handler = next(each for each in vitals.handlers if each.subject == subject)
    return msgspec.json.decode(await vitals.invoke(handler, Message(subject, data)))


@pytest.mark.parametrize(
    ("weight", "height", "bmi", "group"),
    [
        (50, 1.8, 15.4, "underweight"),
        (70, 1.75, 22.9, "normal"),
        (85.5, 1.75, 27.9, "overweight"),
        (110, 1.7, 38.1, "obese"),
    ],
)
async def test_it_computes_the_body_mass_index(
    vitals: Any, weight: float, height: float, bmi: float, group: str
) -> None:
    """vitals.bmi answers with the index to one decimal and its class."""
    found = await ask(vitals, "vitals.bmi", {"weight_kg": weight, "height_m": height})
    assert found == {"bmi": bmi, "class": group}


async def test_it_refuses_what_it_cannot_compute(vitals: Any) -> None:
    """Missing numbers and impossible ones are typed errors, each with a hint."""
    with pytest.raises(InvalidPayload, match="weight_kg and height_m"):
        await ask(vitals, "vitals.bmi", {"weight_kg": 70})
    with pytest.raises(ServiceError) as caught:
        await ask(vitals, "vitals.bmi", {"weight_kg": 70, "height_m": 175})
    assert (caught.value.code, caught.value.hint) == ("vitals.out-of-range", "mind the units")


async def test_it_flags_a_fever(vitals: Any, bus: Bus) -> None:
    """A temperature from 38.0 °C up is published as vitals.flagged, a lower one is not."""
    for temperature in (36.6, 37.9, 38.0, 40.2):
        await ask(vitals, "vitals.measured", {"temperature_c": temperature})
    assert bus.published == [
        ("vitals.flagged", {"reason": "fever", "temperature_c": 38.0}),
        ("vitals.flagged", {"reason": "fever", "temperature_c": 40.2}),
    ]


async def test_without_the_bus_it_is_not_linked(bus: Bus) -> None:
    """It imports the bus, so without that capability it does not load."""
    runtime = ExtismRuntime()
    with pytest.raises(LinkRefused, match="bus:publish"):
        await load(runtime, bus, set())
    await runtime.close()


def test_the_module_is_small() -> None:
    """A module in C has a few kilobytes."""
    assert (PACKAGE / "vitals.wasm").stat().st_size < 10_000


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs the package ziglang")
def test_the_source_builds_to_the_shipped_module(tmp_path: Path) -> None:
    """The shipped module is what `make` makes of the source, byte for byte."""
    shipped = (PACKAGE / "vitals.wasm").read_bytes()
    for name in ("Makefile", "src/vitals/vitals.c", "src/vitals/rustcare.h"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        ["make", f"PYTHON={sys.executable}", "src/vitals/vitals.wasm"], cwd=tmp_path, check=True, capture_output=True
    )
    assert (tmp_path / "src" / "vitals" / "vitals.wasm").read_bytes() == shipped
