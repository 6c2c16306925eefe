"""The manifest: what it reads to, what it refuses and how it says so, and the schema that editors use."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_sdk._manifest_reader import format_duration, format_size
from rustcare_sdk.errors import InvalidManifest
from rustcare_sdk.manifest import Lifecycle, Limits, manifest_keys, read_manifest, read_manifest_text
from rustcare_sdk.schema import manifest_schema, manifest_schema_text
from rustcare_sdk.version import Version

SCHEMA_FILE = Path(__file__).parents[2] / "docs" / "reference" / "manifest.schema.json"

FULL = """
schema = 1
[plugin]
id = "acme.lab-router"
version = "2.1.0"
summary = "Routes lab results to the ordering ward"
engine = ">=0.1,<0.2"
license = "Apache-2.0"
homepage = "https://acme.example"
authors = ["A. Cme"]
[runtime]
python = { entry = "acme_lab_router.plugin:LabRouter" }
component = { path = "lab_router.wasm" }
instance = "per-message"
pool = 4
[limits]
memory = "32MiB"
fuel = 50_000_000
timeout = "200ms"
concurrency = 8
output = "64 KiB"
[[capability]]
use = "bus:subscribe@hl7.oru.*"
reason = "reads lab results"
[[capability]]
use = "net:connect@https://lab.example.org"
availability = "optional"
reason = "asks the lab for units"
[provides]
"lab.route" = "1.0.0"
[requires]
"authz.check" = "^1"
[lifecycle]
drain = "5s"
start_timeout = "1.5m"
state_version = 3
trap_budget = 2
scale = "each"
central = ["lab.route"]
[config]
schema = "config.schema.json"
"""
LEAST = """
schema = 1
[plugin]
id = "acme.x"
version = "1.0.0"
summary = "x"
engine = "^0.1"
[runtime]
python = { entry = "acme_x:X" }
"""


def test_a_full_manifest() -> None:
    """Every key is read to a typed value: bytes, seconds, versions, ranges, canonical capabilities."""
    found = read_manifest(FULL.encode(), "plugin.toml")
    assert found.plugin.id == "acme.lab-router"
    assert found.version == Version(2, 1, 0)
    assert found.plugin.engine.contains("0.1.7")
    assert found.runtime.names == ("component", "python")
    assert found.runtime.default == "component"
    assert found.runtime.python is not None
    assert found.runtime.python.entry == "acme_lab_router.plugin:LabRouter"
    assert (found.limits.memory, found.limits.output) == (32 * 1024 * 1024, 64 * 1024)
    assert (found.limits.timeout, found.lifecycle.drain, found.lifecycle.start_timeout) == (0.2, 5.0, 90.0)
    assert [item.use for item in found.capabilities] == [
        "bus:subscribe@hl7.oru.*",
        "net:connect@https://lab.example.org:443",
    ]
    assert [item.optional for item in found.capabilities] == [False, True]
    assert found.capabilities[0].capability.scope == "hl7.oru.*"
    assert (found.lifecycle.scale, found.lifecycle.central) == ("each", ("lab.route",))
    assert found.provides == {"lab.route": Version(1, 0, 0)}
    assert found.requires["authz.check"].contains("1.4.0")
    assert found.config is not None
    assert found.config.schema == "config.schema.json"


def test_defaults_are_those_of_the_structs() -> None:
    """What is left out has the default that the struct states; a byte-order mark does no harm."""
    found = read_manifest(b"\xef\xbb\xbf" + LEAST.encode())
    assert found.limits == Limits()
    assert found.lifecycle == Lifecycle()
    assert found.capabilities == ()
    assert found.config is None


def changed(old: str, new: str, text: str = FULL) -> str:
    assert old in text
    return text.replace(old, new)


WRONG = [
    (changed("memory", "memroy"), "limits.memroy: unknown key 'memroy'", "did you mean memory?"),
    (changed("[limits]", "[limit]"), "limit: unknown key 'limit'", "did you mean limits?"),
    (changed('"32MiB"', "32"), 'limits.memory: expected a size such as "32MiB", got 32', "in quotes"),
    (changed('"32MiB"', '"32MB"'), "limits.memory: expected a size", "KiB, MiB, GiB"),
    (changed('"200ms"', '"fast"'), "limits.timeout: expected a duration", "ms, s, m, h"),
    (changed("schema = 1\n", "schema = 2\n"), "schema: expected one of 1, got 2", ""),
    (changed("schema = 1\n", ""), "schema: expected this key, got nothing", "required"),
    (changed('version = "2.1.0"\n', ""), "plugin.version: expected this key, got nothing", "required"),
    (changed('version = "2.1.0"', 'version = "2.1"'), "plugin.version: expected a version", "three numbers"),
    (changed("acme.lab-router", "Lab"), "plugin.id: expected publisher.name: lower-case letters, digits and", ""),
    (changed("concurrency = 8", "concurrency = 0"), "limits.concurrency: expected int >= 1, got 0", ""),
    (changed("concurrency = 8", 'concurrency = "8"'), "limits.concurrency: expected int, got str", ""),
    (changed('"per-message"', '"pool"'), 'runtime.instance: expected one of "pooled", "per-message", got "pool"', ""),
    (changed('"lab_router.wasm"', '"../x.wasm"'), "runtime.component.path: expected a relative path", ""),
    (changed('"lab_router.wasm"', '"/x.wasm"'), "runtime.component.path: expected a relative path", ""),
    (changed("plugin:LabRouter", "plugin"), "runtime.python.entry: expected module:Class", ""),
    (changed("bus:subscribe", "bus:subscrbe"), "capability[0].use: unknown action of bus", "did you mean subscribe?"),
    (changed('reason = "reads lab results"\n', ""), "capability[0].reason: expected this key", "required"),
    (changed('"optional"', '"maybe"'), "capability[1].availability: expected one of", ""),
    (changed('"lab.route"', '"lab route"'), 'provides."lab route": expected the name of a service', "tokens"),
    (changed('"^1"', '"1.x"'), 'requires."authz.check": expected a range', "commas"),
    (changed('"^1"', "1"), 'requires."authz.check": expected text, got 1', "quotes"),
    (changed('"each"', '"all"'), 'lifecycle.scale: expected one of "one", "each", got "all"', ""),
    (changed('["lab.route"]', '["lab route"]'), 'lifecycle.central."lab route": expected the name of a service', ""),
    (
        changed("bus:subscribe@hl7.oru.*", "db:write@*"),
        'lifecycle.scale: expected "one" for a plugin that keeps',
        "leave",
    ),
    (
        changed("bus:subscribe@hl7.oru.*", "kv:read@x*"),
        'lifecycle.scale: expected "one" for a plugin that keeps',
        "leave",
    ),
    (changed('"config.schema.json"', '"config.toml"'), "config.schema: expected a relative path", ""),
    (changed('python = { entry = "acme_x:X" }', "", LEAST), "runtime: expected python, component or extism", "such as"),
    (LEAST + 'instance = "per-message"', 'runtime.instance: expected "pooled" for trusted Python', "sandboxes"),
    (LEAST + "[capability]\nuse = 'clock:read'", "capability: expected array, got table", "[[capability]]"),
    (LEAST + "[capability]\nuse =", "expected TOML", ""),
]


@pytest.mark.parametrize(("text", "message", "hint"), WRONG, ids=[message.partition(" ")[0] for _, message, _ in WRONG])
def test_errors_say_where_what_and_what_to_do(text: str, message: str, hint: str) -> None:
    """An error gives the file, the path in it, what was expected, what came, and a hint where there is one."""
    with pytest.raises(InvalidManifest) as caught:
        read_manifest_text(text, "acme/plugin.toml")
    shown = str(caught.value)
    assert shown.startswith("acme/plugin.toml:")
    assert message in shown
    assert hint in caught.value.hint


def test_a_capability_is_asked_for_once() -> None:
    """The same capability twice is an error, however it is written."""
    twice = LEAST + '[[capability]]\nuse="clock:read"\nreason="a"\n[[capability]]\nuse="clock:read@*"\nreason="b"\n'
    with pytest.raises(InvalidManifest, match=r"capability\[1\]\.use: expected each capability once"):
        read_manifest_text(twice)


def test_bytes_that_are_no_text() -> None:
    """A manifest that is not UTF-8 is refused with the place."""
    with pytest.raises(InvalidManifest, match="0xff at 0"):
        read_manifest(b"\xff")


@given(st.text(max_size=60))
def test_any_text_reads_or_is_refused(text: str) -> None:
    """Whatever follows a valid manifest, the reader answers with a manifest or with InvalidManifest, nothing else."""
    try:
        read_manifest_text(LEAST + text)
    except InvalidManifest as error:
        assert error.address.startswith("plugin.toml")  # noqa: PT017


@given(st.integers(1, 2**32))
def test_sizes_are_written_as_they_are_read(size: int) -> None:
    """A size that is shown in an error or a schema reads back to itself."""
    if size >= 1024:
        again = read_manifest_text(LEAST + f'[limits]\nmemory = "{format_size(size)}"')
        assert again.limits.memory == size


@given(st.integers(1, 86_400_000))
def test_durations_are_written_as_they_are_read(milliseconds: int) -> None:
    """A duration reads back to itself."""
    seconds = milliseconds / 1000
    again = read_manifest_text(LEAST + f'[limits]\ntimeout = "{format_duration(seconds)}"')
    assert again.limits.timeout == pytest.approx(seconds, rel=1e-5)


def test_no_plugin_can_keep_the_operator_waiting_for_long() -> None:
    """Start, health, hand-over and drain end within two minutes, whatever a manifest would like."""
    for key in ("drain", "start_timeout"):
        with pytest.raises(InvalidManifest, match="from 1ms to 2m"):
            read_manifest_text(LEAST + f'[lifecycle]\n{key} = "121s"')


def test_the_keys() -> None:
    """The list of keys holds every leaf, dotted."""
    keys = manifest_keys()
    assert len(set(keys)) == len(keys)
    assert {"schema", "plugin.id", "runtime.python.entry", "capability.use", "provides", "config.schema"} <= set(keys)


# the schema


def test_the_published_schema_is_current() -> None:
    """`docs/reference/manifest.schema.json` is what `python -m rustcare_sdk.schema` prints."""
    assert SCHEMA_FILE.read_text() == manifest_schema_text(), "run: python -m rustcare_sdk.schema > " + str(SCHEMA_FILE)


def test_the_schema_is_a_schema() -> None:
    """It is valid itself, and knows every key."""
    schema = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for key in manifest_keys():
        found = schema
        for name in key.split("."):
            found = found.get("items", found)["properties"][name]
        assert found.get("description") or found.get("enum") or key in ("provides", "requires")


@pytest.mark.parametrize("text", [FULL, LEAST])
def test_the_schema_accepts_what_the_reader_accepts(text: str) -> None:
    """A valid manifest validates."""
    jsonschema.Draft202012Validator(manifest_schema()).validate(tomllib.loads(text))


@pytest.mark.parametrize(("text", "message", "hint"), WRONG, ids=[message.partition(" ")[0] for _, message, _ in WRONG])
def test_the_schema_refuses_what_the_reader_refuses(text: str, message: str, hint: str) -> None:
    """A wrong manifest does not validate, but for what only the reader can know."""
    beyond = ("expected TOML", "unknown action", "for trusted Python", "lifecycle.central.", "that keeps")
    if any(item in message for item in beyond):
        return
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(manifest_schema()).validate(tomllib.loads(text))


def test_defaults_in_the_schema_are_the_real_ones() -> None:
    """A manifest that spells out every default of the schema reads as one that leaves them out."""

    def lines(table: dict[str, Any]) -> list[str]:
        return [
            f"{key} = {json.dumps(item['default'])}" for key, item in table["properties"].items() if "default" in item
        ]

    schema = manifest_schema()["properties"]
    text = LEAST + "\n".join(
        [*lines(schema["runtime"]), "[limits]", *lines(schema["limits"]), "[lifecycle]", *lines(schema["lifecycle"])]
    )
    assert read_manifest_text(text) == read_manifest_text(LEAST)


def test_two_threads_may_read_the_first_manifest_at_once() -> None:
    """Two kernels of one process start at the same time. msgspec crashes when two threads meet a type for the first time."""
    script = """
import sys, threading
import msgspec
from rustcare_sdk._manifest_reader import convert
sys.setswitchinterval(1e-6)

def read(struct, ready):
    ready.wait()
    convert({"name": "a", "parts": [{"sizes": [1]}]}, struct, "plugin.toml")

for number in range(500):
    part = msgspec.defstruct("Part", [("sizes", list[int]), ("title", "str | None", None)], module=__name__)
    fields = [("name", "str"), ("parts", list[part]), ("also", "dict[str, int]", {})]
    struct = msgspec.defstruct("Whole", fields, module=__name__)
    ready = threading.Barrier(2)
    threads = [threading.Thread(target=read, args=(struct, ready)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
