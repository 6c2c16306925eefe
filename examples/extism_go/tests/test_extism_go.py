"""The Go example: the shipped module answers as its README says, and its source still builds."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rustcare_kernel.runtimes._contract import Code, Host, LinkRefused
from rustcare_kernel.runtimes.extism import ExtismRuntime
from rustcare_sdk.errors import CapabilityDenied, InvalidPayload
from rustcare_sdk.manifest import read_manifest
from rustcare_sdk.message import Message

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "triage"
ALL = frozenset({"bus", "kv", "clock", "random"})


class Keys:
    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    async def put(self, key: str, value: bytes) -> None:
        self.values[key] = value


class Context:
    """The part of a context that this plugin uses."""

    def __init__(self) -> None:
        self.kv = Keys()
        self.published: list[tuple[str, Any]] = []
        self.denied = False

    async def publish(self, subject: str, data: Any = None, **options: Any) -> None:
        if self.denied:
            raise CapabilityDenied("bus:publish@triage.assessed was revoked")
        self.published.append((subject, msgspec.json.decode(data)))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiling Go's runtime takes seconds: once for all tests."""
    return tmp_path_factory.mktemp("compiled")


async def load(runtime: ExtismRuntime, context: Context, wasm: bytes, cache: Path, kinds: frozenset[str] = ALL) -> Any:
    manifest = read_manifest((PACKAGE / "plugin.toml").read_bytes())
    host = Host(
        context,  # type: ignore[arg-type]  # the parts this plugin uses
        kinds.__contains__,
        lambda *counts: None,
        lambda reason: None,
        cache=cache,
        cache_key=b"k" * 32,
    )
    instance = await runtime.load(Code(manifest, wasm, f"sha256:{hashlib.sha256(wasm).hexdigest()}"), host)
    await instance.start()
    return instance


@pytest.fixture
def context() -> Context:
    return Context()


@pytest.fixture
async def triage(context: Context, cache: Path) -> AsyncIterator[Any]:
    runtime = ExtismRuntime()
    yield await load(runtime, context, (PACKAGE / "triage.wasm").read_bytes(), cache)
    await runtime.close()


SIGNS = {"heart_rate": 72, "breaths_per_min": 14, "oxygen_saturation": 98, "temperature_c": 36.8, "alert": True}


async def ask(triage: Any, **changed: Any) -> Any:
    (handler,) = triage.handlers
    return msgspec.json.decode(await triage.invoke(handler, Message("triage.assess", {**SIGNS, **changed})))


async def test_it_sorts_by_urgency_and_counts(triage: Any, context: Context) -> None:
    """triage.assess answers with level, score and reasons, counts each level in its own keys, and publishes it."""
    assert await ask(triage) == {"level": "routine", "score": 0, "reasons": [], "count": 1}
    assert (await ask(triage))["count"] == 2
    found = await ask(triage, heart_rate=140, oxygen_saturation=90, alert=False)
    assert found == {
        "level": "emergency", "score": 9, "reasons": ["heart rate", "oxygen saturation", "not alert"], "count": 1,
    }  # fmt: skip
    assert context.kv.values == {"count.routine": b"2", "count.emergency": b"1"}
    assert [subject for subject, _ in context.published] == ["triage.assessed"] * 3
    assert context.published[-1][1] == found


async def test_it_says_what_was_wrong(triage: Any) -> None:
    """Data of another shape is a typed error that does not repeat the data."""
    with pytest.raises(InvalidPayload, match="vital signs") as caught:
        await ask(triage, heart_rate="Ada Lovelace")
    assert "Ada" not in str(caught.value)


async def test_a_revoked_right_reaches_the_caller(triage: Any, context: Context) -> None:
    """The kernel's refusal passes through the plugin as the typed error it is; the plugin serves on."""
    context.denied = True
    with pytest.raises(CapabilityDenied):
        await ask(triage)
    context.denied = False
    assert (await ask(triage))["level"] == "routine"


async def test_it_survives_many_messages(triage: Any) -> None:
    """Memory that Go and Extism collect does not run into the limit."""
    for count in range(1, 1501):
        assert (await ask(triage))["count"] == count


@pytest.mark.parametrize("missing", sorted(ALL))
async def test_without_a_capability_it_is_not_linked(context: Context, cache: Path, missing: str) -> None:
    """It imports the bus, the store and WASI, so each of those capabilities is needed to load it."""
    runtime = ExtismRuntime()
    with pytest.raises(LinkRefused):
        await load(runtime, context, (PACKAGE / "triage.wasm").read_bytes(), cache, ALL - {missing})
    await runtime.close()


def _go() -> bool:
    """Whether Go 1.24 or newer is there."""
    if shutil.which("go") is None:
        return False
    found = re.search(r"go1\.(\d+)", subprocess.run(["go", "version"], capture_output=True, text=True).stdout)
    return found is not None and int(found[1]) >= 24


@pytest.mark.skipif(not _go(), reason="needs Go 1.24 or newer")
async def test_the_source_builds_to_a_module_that_answers(tmp_path: Path, context: Context, cache: Path) -> None:
    """What `make` makes of the source today answers like the shipped module."""
    for name in ("Makefile", "go.mod", "go.sum", "src/triage/main.go", "src/triage/rustcare.go"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    making = await asyncio.create_subprocess_exec(
        "make", cwd=tmp_path, env={**os.environ, "GOFLAGS": ""}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, said = await making.communicate()
    if b"dial tcp" in said or b"GOPROXY=off" in said:
        pytest.skip("the Extism PDK is not in Go's cache, and there is no network to get it")
    assert making.returncode == 0, said.decode()
    runtime = ExtismRuntime()
    built = await load(runtime, context, (tmp_path / "src" / "triage" / "triage.wasm").read_bytes(), cache)
    assert (await ask(built))["level"] == "routine"
    await runtime.close()
