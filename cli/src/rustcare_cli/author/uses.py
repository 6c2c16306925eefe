"""What a plugin's source uses of its context, and what it imports around it. Read from the syntax, nothing is run."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

__all__ = ["Use", "foreign_imports", "uses_of"]

_CALLS = {
    "publish": ("bus", "publish"),
    "request": ("bus", "request"),
    "now": ("clock", "read"),
    "random": ("random", "read"),
}
_KV = {"get": "read", "keys": "read", "put": "write", "delete": "write"}
_DB = {"fetch": "read", "fetch_one": "read", "execute": "write", "execute_many": "write", "transaction": "write"}
_MARKS = {"subscribe": ("bus", "subscribe"), "serve": ("bus", "serve")}

_NET = ("net", "http")
_OUTSIDE: dict[str, tuple[tuple[str, ...], str]] = {
    **dict.fromkeys(
        ("socket", "ssl", "socketserver", "smtplib", "ftplib", "telnetlib", "asyncpg", "grpc"),
        (_NET, "opens connections"),
    ),
    **dict.fromkeys(
        ("urllib.request", "http.client", "http.server", "requests", "httpx", "aiohttp", "urllib3"),
        (_NET, "speaks HTTP"),
    ),
    **dict.fromkeys(("shutil", "tempfile", "glob", "fileinput"), (("fs",), "reaches into the file system")),
}
_FORBIDDEN = {
    **dict.fromkeys(
        ("subprocess", "multiprocessing", "ctypes", "cffi", "pty"), "no capability allows to start programs"
    ),
    "rustcare_kernel": "plugins are written against rustcare_sdk only",
    "rustcare_cli": "plugins are written against rustcare_sdk only",
    "rustcare_registry": "plugins are written against rustcare_sdk only",
}


@dataclass(frozen=True)
class Use:
    """One place that uses a right. `scope` is empty when it is computed; `trusted_only` names what no sandbox has."""

    where: str
    kind: str
    action: str
    scope: str = ""
    trusted_only: str = ""


def uses_of(tree: ast.Module, file: str) -> Iterator[Use]:
    """The uses of the context, and the handlers, in one file."""
    constants = _constants(tree)
    for node in ast.walk(tree):
        if isinstance(node, (ast.AsyncFunctionDef, ast.FunctionDef)):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and (name := _last(mark.func)) in _MARKS:
                    yield Use(f"{file}:{mark.lineno}", *_MARKS[name], _text(mark.args, constants))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield from _call(node, node.func, f"{file}:{node.lineno}", constants)


def _call(node: ast.Call, called: ast.Attribute, where: str, constants: dict[str, str]) -> Iterator[Use]:
    name, owner = called.attr, called.value
    if _is_context(owner):
        if name in _CALLS:
            scope = _text(node.args, constants) if _CALLS[name][0] == "bus" else ""
            yield Use(where, *_CALLS[name], scope)
        elif name == "listen":
            yield Use(where, "net", "listen", trusted_only=name)
        elif name == "spawn":
            yield Use(where, "", "", trusted_only=name)
    elif isinstance(owner, ast.Attribute) and _is_context(owner.value):
        if owner.attr == "kv" and name in _KV:
            scope = _text(node.args, constants)
            yield Use(where, "kv", _KV[name], f"{scope}*" if scope and name == "keys" else scope)
        elif owner.attr == "db" and name in _DB:
            yield Use(where, "db", _DB[name], trusted_only="db")
        elif owner.attr == "secrets":
            yield Use(where, "secret", "use", _text(node.args, constants))
    elif name in _DB and _last(owner) in ("tx", "transaction", "db"):
        yield Use(where, "db", _DB[name], trusted_only="db")


def _is_context(node: ast.expr) -> bool:
    """`self.ctx`, or a variable of that name."""
    return _last(node) in ("ctx", "context", "_ctx")


def _last(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _text(arguments: list[ast.expr], constants: dict[str, str]) -> str:
    """The first argument, if it is known before the program runs."""
    if not arguments:
        return ""
    first = arguments[0]
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        return first.value
    return constants.get(ast.unparse(first), "") if isinstance(first, (ast.Name, ast.Attribute)) else ""


def _constants(tree: ast.Module) -> dict[str, str]:
    """Names that stand for a text: assigned once in the module, or imported from the SDK's contracts."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                found.update({item.id: node.value.value for item in targets if isinstance(item, ast.Name)})
        elif (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and (node.module or "").startswith("rustcare_sdk.contracts")
        ):
            for item in node.names:
                found.update(_imported(node.module or "", item.name, item.asname or item.name))
    return found


def _imported(module: str, name: str, known_as: str) -> dict[str, str]:
    """The texts behind one import from the contracts: a constant, or the constants of a module."""
    try:
        value = getattr(importlib.import_module(module), name, None)
        if value is None:
            value = importlib.import_module(f"{module}.{name}")
    except ImportError:
        return {}
    if isinstance(value, str):
        return {known_as: value}
    if not isinstance(value, ModuleType):
        return {}
    return {f"{known_as}.{key}": item for key, item in vars(value).items() if key.isupper() and isinstance(item, str)}


def foreign_imports(tree: ast.Module, own: str) -> Iterator[tuple[str, int, tuple[str, ...] | None, str]]:
    """Imports that reach around the context: name, line, the kinds of capability that would explain it, and why."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [item.name for item in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{item.name}" for item in node.names]
        else:
            continue
        for name in names:
            for prefix in (".".join(name.split(".")[:count]) for count in (1, 2)):
                if prefix in _FORBIDDEN:
                    yield prefix, node.lineno, None, _FORBIDDEN[prefix]
                    break
                if prefix in _OUTSIDE:
                    yield prefix, node.lineno, *_OUTSIDE[prefix]
                    break
                if prefix.startswith("rustcare_plugin_") and prefix != own:
                    yield prefix, node.lineno, None, "plugins do not import each other, they talk on the bus"
                    break
