"""The trusted runtime: code runs from verified bytes, versions live side by side, and nothing of them stays."""

from __future__ import annotations

import asyncio
import gc
import io
import linecache
import os
import sys
import textwrap
import threading
import weakref
import zipfile
from dataclasses import dataclass
from typing import Any

import msgspec
import pluggy
import pytest
from rustcare_kernel.errors import StartFailed
from rustcare_kernel.runtimes._contract import Code, Host
from rustcare_kernel.runtimes.python import PythonInstance, PythonRuntime
from rustcare_sdk import hookspecs
from rustcare_sdk.errors import InvalidPayload, StateNotMigrated
from rustcare_sdk.manifest import read_manifest_text
from rustcare_sdk.message import Message

MANIFEST = read_manifest_text("""schema = 1
[plugin]
id = "acme.sample"
version = "1.0.0"
summary = "x"
engine = ">=0.1,<0.2"
[runtime]
python = { entry = "acme_sample.plugin:Sample" }
""")
PLUGIN = """
    from __future__ import annotations
    from rustcare_sdk import Plugin, serve

    class Sample(Plugin):
        @serve("s")
        async def answer(self, message):
            return {answer}
"""


def code(files: dict[str, str], digest: str = "sha256:" + "ab" * 32, entry: str = "acme_sample.plugin:Sample") -> Code:
    """A package's code as the runtime gets it."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in {"__init__.py": "", **files}.items():
            archive.writestr(f"acme_sample/{name}", textwrap.dedent(text))
    return Code(MANIFEST, target.getvalue(), digest, entry)


def runtime() -> PythonRuntime:
    hooks = pluggy.PluginManager("rustcare")
    hooks.add_hookspecs(hookspecs)
    return PythonRuntime(hooks)


async def load(files: dict[str, str], **options: Any) -> PythonInstance:
    """An instance of these files."""
    host = Host(options.pop("ctx", None), lambda kind: True, lambda *used: None, lambda reason: None)
    return await options.pop("runtime", runtime()).load(code(files, **options), host)


async def ask(instance: PythonInstance, data: Any = None, method: str = "answer") -> Any:
    """What a handler answers, through the function that the bus calls."""
    handler = next(item for item in instance.handlers if item.method == method)
    return await instance.bind(handler)(Message(handler.subject, data))


async def test_two_versions_of_one_module_live_side_by_side() -> None:
    """Each version sees its own modules, of whatever digest; closing one leaves the other whole."""
    helper = "VALUE = {value}"
    body = PLUGIN.format(answer="acme_sample.helper.VALUE").replace(
        "from rustcare_sdk", "import acme_sample.helper\n    from rustcare_sdk", 1
    )
    instances = [
        await load({"plugin.py": body, "helper.py": helper.format(value=value)}, digest=f"sha256:{digest * 64}")
        for value, digest in ((1, "a"), (2, "b"), (3, "b"))
    ]
    assert [await ask(instance) for instance in instances] == [1, 2, 3]
    await instances[1].close()
    assert [await ask(instance) for instance in (instances[0], instances[2])] == [1, 3]
    for instance in instances:
        await instance.close()


async def test_every_way_to_import_oneself_means_this_version() -> None:
    """Absolute, relative, `from`, star, nested packages, inside functions and after the start: always the package's own."""
    files = {
        "plugin.py": """
            from __future__ import annotations
            import acme_sample.deep.er as er
            import acme_sample.a
            from acme_sample import b
            from acme_sample.deep import er as er2
            from . import c
            from .deep.er import NAME
            from .star import *
            from rustcare_sdk import Plugin, serve

            class Sample(Plugin):
                @serve("s")
                async def answer(self, message):
                    import acme_sample.lazy
                    from acme_sample.lazy import NAME as lazy_name
                    from .lazy2 import NAME as lazy2_name
                    import json, os.path, collections.abc
                    assert json.loads("1") == 1
                    assert er is er2
                    return [acme_sample.a.NAME, b.NAME, c.NAME, er.NAME, NAME, STAR, acme_sample.lazy.NAME, lazy_name,
                            lazy2_name, __name__.partition("@")[0], __package__ == acme_sample.__name__]
        """,
        "star.py": "STAR = 'star'\n__all__ = ['STAR']",
        "deep/__init__.py": "from .. import a as above\nfrom acme_sample.deep import er",
        "deep/er.py": "from ..a import NAME as A\nNAME = 'er' + A",
        **{f"{name}.py": f"NAME = '{name}'" for name in ("a", "b", "c", "lazy", "lazy2")},
    }
    instance = await load(files)
    assert await ask(instance) == ["a", "b", "c", "era", "era", "star", "lazy", "lazy", "lazy2", "acme_sample", True]
    await instance.close()


async def test_dataclasses_and_type_hints_resolve_inside_the_package() -> None:
    """`from __future__ import annotations` leaves names as text: they resolve in the package's own modules."""
    files = {
        "types.py": """
            from __future__ import annotations
            import enum
            from dataclasses import dataclass, field, fields, replace

            class Sex(enum.Enum):
                FEMALE = "f"

            @dataclass(frozen=True)
            class Name:
                family: str
                given: list[str] = field(default_factory=list)

            @dataclass(frozen=True)
            class Patient:
                name: Name
                sex: Sex = Sex.FEMALE
                next: Patient | None = None
        """,
        "plugin.py": """
            from __future__ import annotations
            import typing
            from acme_sample.types import Name, Patient, Sex
            from rustcare_sdk import Message, Plugin, serve

            class Sample(Plugin):
                @serve("s")
                async def answer(self, message: Message[Patient]) -> Patient:
                    assert typing.get_type_hints(Patient)["next"] == Patient | None
                    assert isinstance(message.data, Patient) and isinstance(message.data.name, Name)
                    return message.data.name.family
        """,
    }
    instance = await load(files)
    raw = b'{"name": {"family": "Chalmers"}, "next": {"name": {"family": "x"}}}'
    assert await ask(instance, msgspec.Raw(raw)) == "Chalmers"
    assert await ask(instance, msgspec.json.decode(raw)) == "Chalmers"

    @dataclass
    class Foreign:
        """Another plugin's class of the same shape."""

        family: str
        given: list[str]

    @dataclass
    class ForeignPatient:
        name: Foreign

    assert await ask(instance, ForeignPatient(Foreign("Chalmers", []))) == "Chalmers"
    await instance.close()


async def test_data_that_does_not_fit_names_the_path_and_never_the_value() -> None:
    """InvalidPayload says which handler, which path, which types; the values stay out of it."""
    files = {
        "plugin.py": """
            from __future__ import annotations
            import enum
            from dataclasses import dataclass
            from rustcare_sdk import Message, Plugin, serve

            class Sex(enum.Enum):
                FEMALE = "f"

            @dataclass
            class Patient:
                age: int
                sex: Sex = Sex.FEMALE

                def __post_init__(self):
                    if self.age < 0:
                        raise ValueError(f"{self.age}")

            class Sample(Plugin):
                @serve("s")
                async def answer(self, message: Message[Patient]) -> int:
                    return message.data.age

                @serve("plain")
                async def plain(self, message: Message[dict[str, int]]) -> int:
                    return message.data["age"]

                @serve("any")
                async def any(self, message: Message) -> object:
                    return message.data
        """
    }
    instance = await load(files)
    for data in (
        {"age": "Jane-4711"},
        {"age": 1, "sex": "Jane-4711"},
        {"age": -4711},
        "Jane-4711",
        msgspec.Raw(b'{"age": "Jane-4711"}'),
        msgspec.Raw(b'{"age": Jane-4711'),
        object(),
    ):
        with pytest.raises(InvalidPayload) as caught:
            await ask(instance, data)
        assert "4711" not in str(caught.value)
        assert "Jane" not in str(caught.value)
        assert caught.value.address == "data of s"
    with pytest.raises(InvalidPayload, match=r"Expected `int`, got `str` - at `\$.age`"):
        await ask(instance, {"age": "x"})

    @dataclass
    class Patient:
        age: int

    assert await ask(instance, Patient(5), "plain") == 5  # as it would be had it crossed a boundary
    value = object()
    assert await ask(instance, value, "any") is value
    assert await ask(instance, msgspec.Raw(b"[1, 2.5]"), "any") == [1, 2.5]
    await instance.close()


async def test_the_method_itself_is_called_where_data_needs_no_conversion() -> None:
    """An object of the declared type passes as it is; so does any object when no type is declared."""
    files = {"plugin.py": PLUGIN.format(answer="message")}
    instance = await load(files)
    handler = instance.handlers[0]
    message: Message[Any] = Message("s", {"a": 1})
    assert await instance.bind(handler)(message) is message
    assert await instance.invoke(handler, message) is message
    await instance.close()


async def test_data_files_are_read_from_the_verified_package() -> None:
    """`pkgutil.get_data(__package__, …)` reads the package's own bytes, never a file of the disk."""
    files = {
        "tables/codes.json": '{"a": 1}',
        "plugin.py": """
            import pkgutil
            from rustcare_sdk import Plugin, serve
            CODES = pkgutil.get_data(__package__, "tables/codes.json")

            class Sample(Plugin):
                @serve("s")
                async def answer(self, message):
                    try:
                        pkgutil.get_data(__package__, message.data)
                    except FileNotFoundError as error:
                        return CODES, str(error)
        """,
    }
    instance = await load(files)
    for name in ("missing.json", "../../../../etc/passwd", "/etc/passwd"):
        codes, error = await ask(instance, name)
        assert codes == b'{"a": 1}'
        assert "has no file" in error
    await instance.close()


async def test_resources_are_read_from_the_verified_package() -> None:
    """`importlib.resources.files(__package__)` lists and reads the package's own files, and no file of the disk."""
    files = {
        "tables/codes.json": '{"a": 1}',
        "tables/more/deep.txt": "x",
        "plugin.py": """
            from importlib.resources import files
            from rustcare_sdk import Plugin, serve

            class Sample(Plugin):
                @serve("s")
                async def answer(self, message):
                    top = files(__package__)
                    tables = top / "tables"
                    names = [(item.name, item.is_file(), item.is_dir()) for item in tables.iterdir()]
                    with tables.joinpath("codes.json").open("rb") as file:
                        assert file.read() == tables.joinpath("codes.json").read_bytes()
                    with tables.joinpath("codes.json").open() as file:
                        text = file.read()
                    try:
                        (top / message.data).read_text("utf-8")
                    except FileNotFoundError as error:
                        return names, text, str(error)
        """,
    }
    instance = await load(files)
    for name in ("missing.json", "../../../../etc/passwd", "/etc/passwd"):
        names, text, error = await ask(instance, name)
        assert names == [("codes.json", True, False), ("more", False, True)]
        assert text == '{"a": 1}'
        assert "has no file" in error
    await instance.close()


@pytest.mark.parametrize(
    ("files", "address", "says"),
    [
        ({"plugin.py": "import nothing_like_it"}, "acme_sample/plugin.py:1", "ModuleNotFoundError.*nothing_like_it"),
        ({"plugin.py": "x = 1\ny = {'Jane': 1}['Doe']"}, "acme_sample/plugin.py:2", "KeyError"),
        ({"plugin.py": "\nraise ValueError('Jane Doe')"}, "acme_sample/plugin.py:2", "ValueError"),
        ({"plugin.py": "import sys\nsys.exit(3)"}, "acme_sample/plugin.py:2", "SystemExit"),
        ({"plugin.py": "x = (\n"}, "acme_sample/plugin.py:1", "SyntaxError"),
        ({"plugin.py": "from .deep import x", "deep.py": "\n\n1/0"}, "acme_sample/deep.py:3", "ZeroDivisionError"),
        ({"plugin.py": "from acme_sample.deep import x", "deep.py": ""}, "acme_sample/plugin.py:1", "ImportError.*x"),
        ({"plugin.py": "x = 1"}, "plugin.toml:runtime.python.entry", "Sample"),
        ({"plugin.py": "class Sample: pass"}, "plugin.toml:runtime.python.entry", "derived from rustcare_sdk.Plugin"),
        ({"plugin.py": "Sample = 5"}, "plugin.toml:runtime.python.entry", "it is int"),
        (
            {"plugin.py": PLUGIN.format(answer="1").replace("message)", "message: Messsage[int])")},
            "plugin.toml:runtime.python.entry",
            "NameError.*Messsage",
        ),
        (
            {
                "plugin.py": "from rustcare_sdk import Plugin\nclass Sample(Plugin):\n"
                " def __init__(self):\n  raise RuntimeError('Jane')"
            },
            "acme_sample/plugin.py:4",
            "RuntimeError",
        ),
        (
            {
                "plugin.py": "from rustcare_sdk import Plugin\nfrom rustcare_sdk.hookspecs import hookimpl\n"
                "class Sample(Plugin):\n @hookimpl\n def rustcare_plugin_started(self, plugin_id, nobody):\n  pass"
            },
            "plugin.toml:runtime.python.entry",
            "PluginValidationError",
        ),
    ],
)
async def test_a_failing_import_says_where_and_leaves_nothing(files: dict[str, str], address: str, says: str) -> None:
    """The error gives the file and line inside the package, no data, and nothing of the attempt stays behind."""
    before = set(sys.modules), list(sys.meta_path), set(linecache.cache)
    manager = runtime()
    with pytest.raises(StartFailed, match=says) as caught:
        await load(files, runtime=manager)
    assert caught.value.address == address
    assert "Jane" not in str(caught.value)
    after = set(sys.modules), list(sys.meta_path), set(linecache.cache)
    assert [name for name in after[0] - before[0] if name.startswith("acme_sample")] == []
    assert after[1] == before[1]
    assert not [name for name in after[2] - before[2] if "acme_sample" in name]
    assert manager._hooks.get_plugins() == set()


async def test_closing_leaves_nothing_in_the_process() -> None:
    """No module, finder, hook, traceback line, task, thread, descriptor or object of the plugin survives its close."""
    files = {
        "plugin.py": """
            from __future__ import annotations
            import acme_sample.other
            from dataclasses import dataclass
            from rustcare_sdk import Message, Plugin, serve
            from rustcare_sdk.hookspecs import hookimpl

            @dataclass
            class Data:
                a: int

            class Marker:
                pass

            class Sample(Plugin):
                def __init__(self):
                    self.marker = Marker()

                @serve("s")
                async def answer(self, message: Message[Data]) -> Marker:
                    import acme_sample.lazy
                    return self.marker

                @serve("fails")
                async def fails(self, message):
                    raise ValueError

                @hookimpl
                def rustcare_plugin_started(self, plugin_id):
                    pass
        """,
        "other.py": "",
        "lazy.py": "",
    }
    manager = runtime()

    def state() -> Any:
        gc.collect()
        return (
            {name for name in sys.modules if "acme_sample" in name},
            list(sys.meta_path),
            {name for name in linecache.cache if "acme_sample" in name},
            {task.get_name() for task in asyncio.all_tasks()},
            threading.active_count(),
            len(os.listdir("/proc/self/fd")),
            len(manager._hooks.get_plugins()),
        )

    before = state()
    instance = await load(files, runtime=manager)
    marker = weakref.ref(await ask(instance, {"a": 1}))
    cls = weakref.ref(type(instance.plugin))
    try:
        await ask(instance, None, "fails")
    except ValueError as error:
        import traceback

        traceback.format_exception(error)
        del error
    assert state() != before
    await instance.close()
    await instance.close()  # a second time does nothing
    del instance
    assert state() == before
    assert marker() is None
    assert cls() is None


async def test_state_is_decoded_migrated_and_imported() -> None:
    """State of the same version is imported as it is; of another one it is migrated first, or refused by name."""
    body = """
        from rustcare_sdk import Plugin

        class Sample(Plugin):
            state_version = 2
            seen = None

            async def export_state(self):
                return self.seen

            async def import_state(self, state):
                self.seen = state
    """
    instance = await load({"plugin.py": body})
    await instance.import_state(2, msgspec.Raw(b'{"a": [1]}'))
    assert await instance.export_state() == {"a": [1]}
    with pytest.raises(StateNotMigrated, match="version 1 cannot become version 2"):
        await instance.import_state(1, {})
    await instance.close()
    migrates = (
        body + "\n            async def migrate(self, version, state):\n                return [version, state]\n"
    )
    instance = await load({"plugin.py": migrates})
    await instance.import_state(1, {"b": 2})
    assert await instance.export_state() == [1, {"b": 2}]
    await instance.close()
