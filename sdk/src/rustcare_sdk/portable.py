"""Checks a plugin's sources before it is built: the portable subset, and uses against the capabilities it asks for.

Host only. The sandbox's Python has no C extensions outside of its standard library, no threads, sockets, files, clock or
randomness of its own; what needs them goes through `ctx`. The check reads syntax trees and runs nothing. It finds slips,
not attacks: at run time the sandbox itself is what confines.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ._capability_check import check_uses
from .manifest import Manifest

__all__ = ["ALLOWED_MODULES", "ALLOWED_NAMES", "PORTABLE_SDK", "Finding", "check_capabilities", "check_portable"]

#: Modules of the standard library that work in the sandbox. A module stands for everything below it.
ALLOWED_MODULES = frozenset(
    (
        "__future__", "abc", "array", "ast", "base64", "binascii", "bisect", "calendar", "cmath", "codecs", "collections",
        "colorsys", "contextlib", "contextvars", "copy", "copyreg", "csv", "dataclasses", "datetime", "decimal", "difflib",
        "enum", "errno", "fnmatch", "fractions", "functools", "graphlib", "hashlib", "heapq", "hmac", "html", "inspect",
        "io", "ipaddress", "itertools", "json", "keyword", "math", "numbers", "operator", "pkgutil", "pprint", "quopri",
        "re", "reprlib", "string", "stringprep", "struct", "textwrap", "token", "tokenize", "tomllib", "traceback", "types",
        "typing", "unicodedata", "urllib.parse", "warnings", "weakref", "xml.dom", "xml.etree", "xml.sax.saxutils",
    )
)  # fmt: skip
#: Modules of which only some names work: they are imported by name.
ALLOWED_NAMES: Mapping[str, frozenset[str]] = {
    "uuid": frozenset({"UUID", "uuid3", "uuid5", "NAMESPACE_DNS", "NAMESPACE_OID", "NAMESPACE_URL", "NAMESPACE_X500"}),
    "random": frozenset({"Random"}),
    "sys": frozenset({"intern", "maxsize", "maxunicode", "version_info"}),
    "time": frozenset({"struct_time"}),
    "os.path": frozenset({"basename", "dirname", "join", "normpath", "split", "splitext"}),
}
#: The portable modules of the SDK.
PORTABLE_SDK = frozenset(
    ("capability", "codec", "context", "contracts", "errors", "message", "plugin", "routes", "subjects", "version")
)

_HINTS = {
    "asyncio": "handlers are `async def` and await `ctx` only",
    "logging": "use ctx.log",
    "msgspec": "contracts are plain dataclasses; rustcare_sdk.codec decodes them",
    "os": "the sandbox has no files and no environment; data files are read by pkgutil.get_data at import time",
    "pathlib": "the sandbox has no files; data files are read by pkgutil.get_data at import time",
    "random": "use ctx.random(size), or `from random import Random` with a seed",
    "requests": "ask a plugin over the bus",
    "secrets": "use ctx.random(size)",
    "socket": "ask a plugin over the bus",
    "sqlite3": "use ctx.kv, or ask a plugin over the bus",
    "subprocess": "ask a plugin over the bus",
    "sys": "import by name what works: " + ", ".join(sorted(ALLOWED_NAMES["sys"])),
    "threading": "a sandbox has one thread",
    "time": "use ctx.now()",
    "urllib": "ask a plugin over the bus; urllib.parse works",
    "uuid": "import uuid5 or UUID by name; for a random id use UUID(bytes=ctx.random(16), version=4)",
}
_BUILTINS = {
    "open": "the sandbox has no files; data files are read by pkgutil.get_data at import time",
    "input": "the sandbox has no terminal",
    "breakpoint": "the sandbox has no terminal",
    "__import__": "modules are found when the component is built: use an import statement",
    "print": "use ctx.log",
}
_TRUSTED = {
    "db": "use ctx.kv, or ask a plugin that serves it over the bus",
    "spawn": "a handler does its work before it returns",
    "listen": "ask a plugin that serves it over the bus",
    "serve_protocol": "declare routes with @route",
}
_CONTEXTS = frozenset({"ctx", "_ctx"})
_CLOCKS = frozenset({"now", "utcnow", "today"})


@dataclass(frozen=True, order=True)
class Finding:
    """One thing that the check found. `line` is 0 when it is about a file as a whole."""

    path: str
    line: int
    code: str
    message: str
    hint: str = ""
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}: {self.code}: {self.message}" + (f" ({self.hint})" if self.hint else "")


def check_portable(files: Mapping[str, bytes], package: str = "") -> list[Finding]:
    """What in these sources (`.py` among `files`, by name) leaves the portable subset.

    `package` is the import package that the files are in, when their names do not begin with it.
    """
    own = {name.split("/")[0].removesuffix(".py") for name in files} | {package.split(".")[0]}
    found: list[Finding] = []
    for path, tree in _trees(files):
        if isinstance(tree, SyntaxError):
            found.append(Finding(path, tree.lineno or 0, "portable.syntax", f"it is not Python: {tree.msg}"))
        else:
            found.extend(_Checker(path, frozenset(own)).check(tree))
    return sorted(found)


def check_capabilities(files: Mapping[str, bytes], manifest: Manifest) -> list[Finding]:
    """Uses in these sources that the manifest does not ask for (errors), and what it asks for in vain (warnings)."""
    trees = {path: tree for path, tree in _trees(files) if not isinstance(tree, SyntaxError)}
    return sorted(
        Finding(path, line, code, message, hint, level)
        for path, line, code, message, hint, level in check_uses(trees, manifest)
    )


def _trees(files: Mapping[str, bytes]) -> Iterator[tuple[str, ast.Module | SyntaxError]]:
    for path, data in sorted(files.items()):
        if path.endswith(".py"):
            try:
                yield path, ast.parse(data, path)
            except SyntaxError as error:
                yield path, error
            except (ValueError, RecursionError) as error:
                yield path, SyntaxError(str(error))


class _Checker(ast.NodeVisitor):
    def __init__(self, path: str, own: frozenset[str]) -> None:
        self._path = path
        self._own = own
        self._found: list[Finding] = []

    def check(self, tree: ast.Module) -> list[Finding]:
        self.visit(tree)
        return self._found

    def _add(self, node: ast.expr | ast.stmt, code: str, message: str, hint: str = "") -> None:
        self._found.append(Finding(self._path, node.lineno, code, message, hint))

    # imports

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        """`try: import fast … except ImportError:` has a fallback, so it is portable."""
        caught = {name for handler in node.handlers if handler.type for name in _names(handler.type)}
        skipped = node.body if caught & {"ImportError", "ModuleNotFoundError"} else []
        for child in ast.iter_child_nodes(node):
            if not (child in skipped and isinstance(child, ast.Import | ast.ImportFrom)):
                self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._module(node, alias.name, None)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if not node.level and node.module:
            for alias in node.names:
                self._module(node, node.module, alias.name)

    def _module(self, node: ast.stmt, module: str, name: str | None) -> None:
        top = module.partition(".")[0]
        if top in self._own:
            return
        if top == "rustcare_sdk":
            inner = module.partition(".")[2].partition(".")[0]
            if not inner and name is not None and name[:1].islower() and name not in ("serve", "subscribe"):
                inner = name
            if inner and inner not in PORTABLE_SDK:
                self._add(
                    node, "portable.import", f"rustcare_sdk.{inner} runs on the host only",
                    f"portable are {', '.join(sorted(PORTABLE_SDK))}",
                )  # fmt: skip
            return
        if name is not None and name in ALLOWED_NAMES.get(module, ()):
            return
        full = module if name is None else f"{module}.{name}"
        parts = full.split(".")
        if not any(".".join(parts[: size + 1]) in ALLOWED_MODULES for size in range(len(parts))):
            shown = module if name is None or module not in ALLOWED_NAMES else full
            self._add(
                node, "portable.import", f"{shown} does not exist in the sandbox",
                _HINTS.get(top, "use the portable part of the standard library, or ship the source in the package"),
            )  # fmt: skip

    # uses

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in _TRUSTED and _last_name(node.value) in _CONTEXTS:
            self._add(
                node, "portable.trusted-only", f"ctx.{node.attr} does not exist in the sandbox", _TRUSTED[node.attr]
            )
        if node.attr in _CLOCKS and _last_name(node.value) in ("datetime", "date"):
            self._add(node, "portable.clock", f"{ast.unparse(node)} reads a clock of its own", "use ctx.now()")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name) and node.func.id in _BUILTINS:
            self._add(
                node, "portable.builtin", f"{node.func.id}() does not work in the sandbox", _BUILTINS[node.func.id]
            )
        self.generic_visit(node)


def _names(node: ast.expr) -> Iterator[str]:
    for item in node.elts if isinstance(node, ast.Tuple) else [node]:
        yield _last_name(item)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""
