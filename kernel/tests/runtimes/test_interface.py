"""The WIT file, the host's table of it, and what links and builds against it say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import rustcare_sdk
from rustcare_kernel.runtimes import _wasm_values as wit
from rustcare_kernel.runtimes._hostcalls import HostCalls
from rustcare_kernel.runtimes._interface import GUEST, IMPORTS, VERSION
from rustcare_kernel.runtimes.component_build import world_of

WIT = re.sub(
    r"//[^\n]*", "", (Path(rustcare_sdk.__file__).parent.parent.parent / "wit" / "plugin.wit").read_text("utf-8")
)


def interfaces() -> dict[str, dict[str, tuple[list[str], str]]]:
    """Each interface's functions: the parameters' names and the result's text."""
    found: dict[str, dict[str, tuple[list[str], str]]] = {}
    for name, body in re.findall(r"interface ([a-z0-9-]+) \{(.*?)\n\}", WIT, re.S):
        functions = {}
        for function, parameters, result in re.findall(r"([a-z0-9-]+): func\((.*?)\)\s*(?:->\s*(.*?))?;", body, re.S):
            names = re.findall(r"([a-z0-9-]+): ", parameters)
            functions[function] = (names, result.strip())
        found[name] = functions
    return found


def shape(kind: wit.Type | None) -> str:
    """A type of the host's table as the WIT file writes it."""
    if kind is None:
        return ""
    if isinstance(kind, wit.ResultOf):
        return f"result<{shape(kind.ok)}, failure>"
    if isinstance(kind, wit.OptionOf):
        return f"option<{shape(kind.some)}>"
    if isinstance(kind, wit.ListOf):
        return f"list<{shape(kind.element)}>"
    if isinstance(kind, wit.Record):
        fields = " ".join(kind.fields)
        for name, body in re.findall(r"record ([a-z-]+) \{(.*?)\}", WIT, re.S):
            if fields == " ".join(re.findall(r"([a-z-]+): ", body)):
                return str(name)
    for name in ("STRING", "BYTES", "U32", "U64", "F64", "BOOL", "UNIT"):
        if kind is getattr(wit, name):
            return {"BYTES": "list<u8>", "UNIT": "_", "STRING": "string"}.get(name, name.lower())
    raise AssertionError(kind)


def test_the_hosts_table_is_the_wit_file() -> None:
    """Every interface, function, parameter and result of `plugin.wit` is in the host's table, and nothing else."""
    written = interfaces()
    written.pop("types")
    table = {name: each.functions for name, each in IMPORTS.items()} | {"guest": GUEST}
    assert written.keys() == table.keys()
    for name, functions in table.items():
        assert functions.keys() == written[name].keys()
        for function, signature in functions.items():
            names, result = written[name][function]
            assert list(signature.parameters) == names, (name, function)
            assert shape(signature.result) == result.replace("json", "string"), (name, function)


def test_every_function_is_implemented(fixture: Any) -> None:
    """The kernel has an implementation for each function that it links."""
    calls = HostCalls(fixture.host, 1024)
    assert {name: set(functions) for name, functions in calls.table.items()} == {
        name: set(each.functions) for name, each in IMPORTS.items()
    }


def test_the_version_is_that_of_the_file() -> None:
    """The package's version in the WIT file is the one the kernel links."""
    assert f"package rustcare:plugin@{VERSION};" in WIT


@pytest.mark.parametrize(
    ("capabilities", "imports"),
    [
        ("", {"log", "config"}),
        ("bus:subscribe@a.b bus:serve@c", {"log", "config"}),
        ("bus:publish@a.b", {"log", "config", "bus"}),
        ("bus:request@a.b kv:read@* clock:read", {"log", "config", "bus", "kv", "clock"}),
        ("random:read secret:use@k", {"log", "config", "random", "secrets"}),
    ],
)
def test_a_packages_world_imports_what_it_asks_for(manifest: Any, capabilities: str, imports: set[str]) -> None:
    """The world of a build has log, config and the interfaces that the manifest's capabilities need."""
    world = world_of(manifest(capabilities=capabilities))
    assert set(re.findall(r"import ([a-z]+);", world)) == imports
    assert "export guest;" in world


def test_values_lay_out_as_wasmtimes() -> None:
    """The structures that values are read from and written to have the offsets of wasmtime's own."""
    from wasmtime import _ffi

    assert wit.Val.of.offset == _ffi.wasmtime_component_val_t.of.offset
    assert wit.Entry.val.offset == _ffi.wasmtime_component_valrecord_entry_t.val.offset


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (wit.STRING, ""),
        (wit.STRING, "ü€😀"),
        (wit.BYTES, b""),
        (wit.BYTES, bytes(range(256)) * 40),
        (wit.U32, 2**32 - 1),
        (wit.U64, 2**64 - 1),
        (wit.F64, -0.1),
        (wit.BOOL, True),
        (wit.OptionOf(wit.STRING), None),
        (wit.OptionOf(wit.BYTES), b"x"),
        (wit.ListOf(wit.TupleOf(wit.STRING, wit.U32)), [("a", 1), ("b", 2)]),
        (wit.ResultOf(wit.UNIT, wit.STRING), (True, None)),
        (wit.ResultOf(wit.UNIT, wit.STRING), (False, "no")),
        (wit.Record(first_one=wit.STRING, second=wit.ListOf(wit.STRING)), {"first-one": "x", "second": ["y", ""]}),
    ],
)
def test_values_survive_the_way_there_and_back(kind: wit.Type, value: Any) -> None:
    """What is lowered with wasmtime's allocator is lifted unchanged, and freed by wasmtime."""
    val = wit.Val()
    kind.lower(val, value)
    assert kind.lift(val) == value
    wit.delete(val)


def test_a_guests_list_is_bounded() -> None:
    """A list of a million headers is refused before the host walks it."""
    val = wit.Val()
    wit.ListOf(wit.U32).lower(val, list(range(20)))
    with pytest.raises(ValueError, match="at most 10 elements, got 20"):
        wit.ListOf(wit.U32, limit=10).lift(val)
    wit.delete(val)
