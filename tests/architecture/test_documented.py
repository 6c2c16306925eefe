"""What is public is documented, and what is documented is there: both ways, for each list in docs/reference."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rustcare_sdk.capability import KINDS, parse
from rustcare_sdk.errors import InvalidCapability, RustCareError

from tests.architecture.project import (
    DOCS,
    REFERENCE,
    ROOT,
    documents,
    fenced,
    import_everything,
    members,
    plugins,
    section,
    source_files,
    table_names,
)

FINDINGS = "Findings of `rustcare plugin check`"
CONTRACTS = ("audit", "authz", "compliance", "crypto", "fhir", "hl7", "http", "identity", "plugin")


def page(name: str) -> str:
    """The text of one page of the reference."""
    return (REFERENCE / name).read_text()


def subclasses(cls: type) -> Iterator[type]:
    """A class's subclasses, theirs included."""
    for child in cls.__subclasses__():
        yield child
        yield from subclasses(child)


# capabilities


def test_every_capability_is_documented() -> None:
    """docs/reference/capabilities.md lists every kind and action with the code's own summary, and no other."""
    rows = re.findall(r"^\| `([a-z]+:[a-z]+)` \| ([^|]+?) \|", page("capabilities.md"), re.M)
    assert dict(rows) == {
        f"{kind}:{action}": rule.summary for kind, actions in KINDS.items() for action, rule in actions.items()
    }


def test_every_option_is_documented() -> None:
    """The options of capabilities that are documented are those that are understood."""
    options = {option for actions in KINDS.values() for rule in actions.values() for option in rule.options}
    assert set(table_names(section(page("capabilities.md"), "Options"))) == options


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_capability_in_a_document_parses(path: Path) -> None:
    """Capabilities in documents follow the grammar; placeholders are written in capitals."""
    wrong = []
    for text in re.findall(rf"[`\"']((?:{'|'.join(KINDS)}):[a-z]+(?:@[^`\"']*)?)[`\"']", path.read_text()):
        if "@" in text and not re.search(r"@.*[A-Z]{3,}\*?$", text):
            try:
                parse(text)
            except InvalidCapability as error:
                wrong.append(f"{text}: {error}")
    assert wrong == []


# errors


def error_codes() -> set[str]:
    """The codes of the product's error classes (tests define some too), and those that plugins give to `ServiceError`."""
    import_everything()
    codes = {
        cls.__dict__["code"]
        for cls in subclasses(RustCareError)
        if isinstance(cls.__dict__.get("code"), str) and cls.__module__.startswith("rustcare_")
    }
    for path in source_files():
        if "tests" in path.parts or "examples" in path.parts or "templates" in path.parts:
            continue
        tree = ast.parse(path.read_text())
        named = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ServiceError":
                codes.update(argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant))
                codes.update(named[argument.id] for argument in node.args[:1] if getattr(argument, "id", "") in named)
            if isinstance(node, ast.Dict):  # failures that cross a boundary as records
                pairs = zip(node.keys, node.values, strict=True)
                found = [value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "code"]
                codes.update(
                    str(value.value) for value in found if isinstance(value, ast.Constant) and "." in str(value.value)
                )
    return codes | {RustCareError.code}


def test_every_error_code_is_documented() -> None:
    """docs/reference/errors.md lists every code that can occur, and no other."""
    documented = table_names(page("errors.md").partition(f"## {FINDINGS}")[0])
    assert len(set(documented)) == len(documented), "a code stands twice"
    codes = error_codes()
    assert set(documented) - codes == set(), "documented, but no such code exists"
    assert codes - set(documented) == set(), "not documented"


def test_every_finding_is_documented() -> None:
    """docs/reference/errors.md lists every code that `rustcare plugin check` reports, and no other."""
    form = re.compile(r"(?:portable|capability|import|manifest|config|project)\.[a-z-]+")
    sources = ("sdk/src/rustcare_sdk/portable.py", "sdk/src/rustcare_sdk/_capability_check.py")
    codes = {
        node.value
        for source in (*sources, "cli/src/rustcare_cli/author/check.py")
        for node in ast.walk(ast.parse((ROOT / source).read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and form.fullmatch(node.value)
    }
    assert set(table_names(section(page("errors.md"), FINDINGS))) == codes


def test_the_portable_subset_is_documented() -> None:
    """docs/explanation/portable-subset.md lists the modules and names that the check lets through, and no other."""
    from rustcare_sdk.portable import ALLOWED_MODULES, ALLOWED_NAMES, PORTABLE_SDK

    text = section((DOCS / "explanation" / "portable-subset.md").read_text(), "What you may use")
    items = re.split(r"^- ", text, flags=re.M)
    modules, names, sdk = (
        next(item for item in items if item.startswith(start))
        for start in ("Of the standard library", "Of these modules", "From the SDK")
    )
    assert set(re.findall(r"`([\w.]+)`", modules)) == ALLOWED_MODULES
    rows = re.findall(r"^\| `([\w.]+)` \| (.*) \|$", names, re.M)
    assert {module: set(re.findall(r"`(\w+)`", row)) for module, row in rows} == dict(ALLOWED_NAMES)
    assert set(re.findall(r"`([\w.]+)`", sdk)) - {"rustcare_sdk"} == PORTABLE_SDK


def test_error_codes_are_unique() -> None:
    """No two error classes share a code (a subclass that adds no code of its own has its parent's)."""
    import_everything()
    found: dict[str, str] = {}
    for cls in set(subclasses(RustCareError)):
        code = cls.__dict__.get("code")
        if isinstance(code, str) and cls.__module__.startswith("rustcare_"):
            assert code not in found, f"{code}: {found[code]} and {cls.__qualname__}"
            found[code] = cls.__qualname__
            assert re.fullmatch(r"[a-z0-9]+([.-][a-z0-9]+)*", code)


# contracts, services and events


def contract(name: str) -> Any:
    """The module of a contract."""
    return importlib.import_module(f"rustcare_sdk.contracts.{name}")


@pytest.mark.parametrize("name", CONTRACTS)
def test_every_contract_is_documented(name: str) -> None:
    """docs/reference/contracts.md lists each contract's types with all their fields, in order, and no other."""
    text = section(page("contracts.md"), f"`rustcare_sdk.contracts.{name}`")
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", text, re.M)
    documented = {row[0]: re.findall(r"`(\w+)`", row[1]) for row in rows}
    module = contract(name)
    types = {item: getattr(module, item) for item in module.__all__ if dataclasses.is_dataclass(getattr(module, item))}
    assert documented == {item: [field.name for field in dataclasses.fields(cls)] for item, cls in types.items()}


def test_the_contracts_are_all_there() -> None:
    """Every module of `rustcare_sdk.contracts` is a contract that is documented."""
    assert sorted(importlib.import_module("rustcare_sdk.contracts").__all__) == sorted(CONTRACTS)
    assert re.findall(r"^## `rustcare_sdk\.contracts\.(\w+)`", page("contracts.md"), re.M) == list(CONTRACTS)


def test_every_service_is_documented() -> None:
    """docs/reference/services-and-events.md has a heading for every subject of a contract or a built-in plugin."""
    subjects = {
        value
        for name in CONTRACTS
        for item, value in vars(contract(name)).items()
        if item.isupper() and isinstance(value, str)
    }
    for manifest in ROOT.glob("builtin_plugins/*/src/*/plugin.toml"):
        subjects |= set(tomllib.loads(manifest.read_text()).get("provides", {}))
    headings = set(re.findall(r"^### `([^`]+)`", page("services-and-events.md"), re.M))
    patterns = {heading for heading in headings if "<" in heading}
    assert subjects - headings == set(), "not documented"
    assert headings - subjects - patterns == set(), "documented, but nobody serves or publishes it"


# the manifest


def test_every_manifest_key_is_documented() -> None:
    """docs/reference/manifest.md lists every key of `plugin.toml`, and no other."""
    from rustcare_sdk.manifest import manifest_keys

    documented = table_names(page("manifest.md"))
    assert len(set(documented)) == len(documented), "a key stands twice"
    keys = set(manifest_keys())
    assert set(documented) - keys == set(), "documented, but there is no such key"
    assert keys - set(documented) == set(), "not documented"


def test_the_manifest_defaults_are_documented() -> None:
    """The defaults in docs/reference/manifest.md are those of a manifest that leaves everything out."""
    from rustcare_sdk.manifest import read_manifest_text

    smallest = """
        schema = 1
        plugin = {id = "acme.x", version = "1.0.0", summary = "x", engine = "^0.1"}
        runtime = {component = {path = "x.wasm"}}
    """
    least = read_manifest_text(smallest)
    rows = re.findall(r"^\| `([\w.]+)` \| `([^`]+)` \|", page("manifest.md"), re.M)
    assert {"limits.memory", "runtime.pool", "lifecycle.drain"} <= {key for key, _ in rows}
    for key, default in rows:
        table, _, name = key.partition(".")
        if name and key != "capability.availability":
            given = f"{smallest}\n[{table}]\n{name} = {default}\n" if table in ("limits", "lifecycle") else smallest
            value = getattr(getattr(read_manifest_text(given), table), name)
            assert value == getattr(getattr(least, table), name), key
            if given is smallest:
                assert default == json.dumps(value), key


def test_the_manifests_in_documents_are_valid() -> None:
    """Every complete `plugin.toml` that a document shows can be read."""
    from rustcare_sdk.manifest import read_manifest_text

    for path in documents():
        for block in fenced(path.read_text(), "toml"):
            if re.search(r"^schema = 1$", block, re.M):
                read_manifest_text(block, path.name)


# hooks


def test_every_hook_is_documented() -> None:
    """docs/reference/hooks.md has a heading for every hook specification, and no other, with the hook's arguments."""
    import pluggy
    from rustcare_sdk import hookspecs

    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    specifications = {name: caller.spec.argnames for name, caller in vars(manager.hook).items() if caller.spec}
    headings = re.findall(r"^### `(\w+)\(([^)]*)\)`", page("hooks.md"), re.M)
    documented = {name: tuple(filter(None, arguments.split(", "))) for name, arguments in headings}
    assert documented == {name: tuple(arguments) for name, arguments in specifications.items()}


# the lifecycle and the operator's API


def test_every_state_is_documented() -> None:
    """docs/reference/lifecycle.md lists every state and the states that may follow it, as the code allows them."""
    from rustcare_kernel.states import ALLOWED

    rows = re.findall(r"^\| `([a-z]+)` \| [^|]+ \|([^|]*)\|", page("lifecycle.md"), re.M)
    documented = {state: set(re.findall(r"`([a-z]+)`", after)) for state, after in rows}
    assert documented == {str(state): set(map(str, after)) for state, after in ALLOWED.items()}


def test_every_control_method_is_documented() -> None:
    """docs/reference/control-api.md lists every method of the control socket with its parameters, and no other."""
    import msgspec
    from rustcare_kernel.control import METHODS

    rows = re.findall(r"^\| `([a-z]+\.[a-z]+)` \| ([^|]*) \|", page("control-api.md"), re.M)
    documented = {name: re.findall(r"`(\w+)`", parameters) for name, parameters in rows}
    assert documented == {
        name: [field.name for field in msgspec.structs.fields(method.params)] for name, method in METHODS.items()
    }


# configuration


def leaves(schema: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The keys of a schema with dots between levels; of nested objects their keys, not themselves."""
    for key, value in schema.get("properties", {}).items():
        if "properties" in value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize("name", plugins())
def test_every_configuration_key_is_documented(name: str) -> None:
    """docs/reference/configuration.md lists every key of each built-in's schema with its default, and no other."""
    schema_file = ROOT / "builtin_plugins" / name / "src" / f"rustcare_plugin_{name}" / "config.schema.json"
    schema = json.loads(schema_file.read_text()) if schema_file.is_file() else {}
    text = section(page("configuration.md"), f"`{name}`")
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]*) \|", text, re.M)
    defaults = {key: json.dumps(value["default"]) if "default" in value else "" for key, value in leaves(schema)}
    assert {key: default.strip("` ") for key, default in rows} == defaults


def settings(cls: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The settings that a tenant may have, with dots between levels, and what holds without them."""
    import msgspec

    for field in msgspec.structs.fields(cls):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from settings(field.type, f"{prefix}{field.name}.")
        else:
            yield (
                prefix + field.name,
                field.default if field.default is not msgspec.NODEFAULT else field.default_factory(),
            )


def test_every_setting_of_tenants_is_documented() -> None:
    """docs/reference/configuration.md lists every setting of tenants with what holds without it, and no other."""
    from rustcare_plugin_identity.settings import Settings

    rows = re.findall(
        r"^\| \*([\w.]+)\* \| ([^|]*) ?\|", section(page("configuration.md"), "Settings of tenants"), re.M
    )
    documented = {name: json.loads(default.strip("` ")) if default.strip() else None for name, default in rows}
    assert documented == json.loads(json.dumps(dict(settings(Settings))))


# the guest interface


def test_the_whole_guest_interface_is_documented() -> None:
    """docs/reference/wit.md has a heading for every interface of `plugin.wit` and a row for each of its functions."""
    wit = re.sub(r"//.*", "", (ROOT / "sdk" / "wit" / "plugin.wit").read_text())
    interfaces = {}
    for match in re.finditer(r"^interface ([a-z-]+) \{(.*?)^\}", wit, re.M | re.S):
        interfaces[match[1]] = re.findall(r"^    ([a-z0-9-]+): func", match[2], re.M)
    headings = re.findall(r"^### `([a-z-]+)`", page("wit.md"), re.M)
    assert headings == list(interfaces)
    for name, functions in interfaces.items():
        assert table_names(section(page("wit.md"), f"`{name}`")) == functions


# commands


def command_of(line: str, commands: set[str]) -> str | None:
    """The longest command that a shell line runs, or None for a line that does not run `rustcare`."""
    words = line.split()
    if not words or words[0].rpartition("/")[2] != "rustcare":
        return None
    plain = [word for word in words[1:] if not word.startswith("-")]
    for length in range(len(plain), 0, -1):
        if " ".join(plain[:length]) in commands:
            return " ".join(plain[:length])
    return "" if plain else None


def test_every_command_is_documented() -> None:
    """docs/reference/cli.md has a heading for every command of `rustcare`, and no other."""
    from rustcare_cli.app import command_names

    headings = re.findall(r"^### `rustcare ([a-z -]+)`", page("cli.md"), re.M)
    assert sorted(headings) == sorted(command_names())


def click_command(name: str) -> Any:
    """The object behind a command. `demo` is loaded when it is called, so that the others start quickly."""
    import typer
    from rustcare_cli.app import app

    if name == "demo":
        from rustcare_cli.demo.command import demo

        inner = typer.Typer()
        inner.command()(demo)
        return typer.main.get_command(inner)
    command: Any = typer.main.get_command(app)
    for word in name.split():
        command = command.get_command(typer.Context(command), word)
    return command


def test_every_option_of_a_command_is_documented() -> None:
    """docs/reference/cli.md lists the options of each command, and no other."""
    from rustcare_cli.app import command_names

    for name in command_names():
        options = {
            option
            for parameter in click_command(name).params
            if parameter.param_type_name == "option"
            for option in (*parameter.opts, *parameter.secondary_opts)
            if option.startswith("--")
        }
        text = section(page("cli.md"), f"`rustcare {name}`")
        rows = re.findall(r"^\|([^|]*)\|", text, re.M)
        documented = {option for row in rows for option in re.findall(r"--[a-z-]+", row) if option.strip("-")}
        assert documented == options - {"--help", "--install-completion", "--show-completion"}, name


def test_documents_name_only_commands_that_exist() -> None:
    """Every `rustcare …` in a console block, or alone in backquotes, is a command."""
    from rustcare_cli.app import command_names

    commands = set(command_names())
    groups = {command.split()[0] for command in commands}
    for path in documents():
        text = path.read_text()
        lines = [line[2:] for block in fenced(text, "console") for line in block.splitlines() if line.startswith("$ ")]
        lines += re.findall(r"`(rustcare [a-z][^`]*)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
        for line in lines:
            found = command_of(line, commands)
            alone = line.split()[1:2] and line.split()[1] in groups and len(line.split()) == 2
            assert found != "" or alone, f"{path.relative_to(ROOT)}: {line}"


# names in prose


def test_documents_name_only_python_that_exists() -> None:
    """Every dotted name of ours in backquotes (`rustcare_sdk.capability`) can be imported."""
    for path in documents():
        for name in re.findall(
            r"`(rustcare_(?:sdk|kernel|cli|registry|plugin_\w+)(?:\.\w+)*)(?:\(\))?`", path.read_text()
        ):
            assert resolves(name), f"{path.relative_to(ROOT)} names {name}"


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False


def test_documents_name_only_files_that_exist() -> None:
    """Every path in backquotes that begins with a folder of ours exists (but for those with a placeholder)."""
    folders = "|".join(sorted({member.split("/")[0] for member in members()} | {"docs", "tests", "examples"}))
    for path in [*ROOT.glob("*.md"), *DOCS.rglob("*.md")]:
        for name in re.findall(rf"`((?:{folders})/[\w./-]+)`", path.read_text()):
            assert (ROOT / name).exists(), f"{path.relative_to(ROOT)} names {name}"
