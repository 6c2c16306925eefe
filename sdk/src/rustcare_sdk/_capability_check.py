"""Finds uses of capabilities in syntax trees and holds them against a manifest.

Literal subjects, services and keys are checked exactly, with constants of the same module and of the contracts resolved;
of what is computed at run time it is only asked that there is some capability of the kind.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Mapping
from typing import Literal

from .capability import Capability, covers, net_scope
from .errors import InvalidCapability
from .manifest import Manifest

__all__ = ["check_uses"]

_Level = Literal["error", "warning"]
_Found = tuple[str, int, str, str, str, _Level]
_Use = tuple[str, int, str, str | None]  # path, line, kind:action, the scope if it is known

#: Names under which sources hold the context. `self.ctx` is the SDK's own.
_CONTEXTS = frozenset({"ctx", "_ctx"})
_KV = {"get": "read", "keys": "read", "put": "write", "delete": "write"}
_BUS = {"publish": "publish", "request": "request", "forward": "request"}
_DB = {
    **{"fetch": "read", "fetch_one": "read"},
    **dict.fromkeys(("execute", "execute_many", "transaction", "scrub"), "write"),
}
_SECRETS = {"hmac_sha256": "use", "reveal": "reveal", "create": "create"}
_WHOLE = {"kv": "kv", "db": "db", "secrets": "secret"}
#: What a plugin may use without the syntax tree showing it.
_INVISIBLE = frozenset({"net:connect", "http:request", "fs:read", "fs:write", "plugin:observe"})


def check_uses(trees: Mapping[str, ast.Module], manifest: Manifest) -> Iterator[_Found]:
    """What is missing in the manifest, and what it asks for in vain."""
    if not trees:
        return  # nothing to look at, as in a package of another language
    uses = [use for path, tree in trees.items() for use in _Finder(path, tree).find()]
    asked = [(item.use, _bare(item.capability)) for item in manifest.capabilities]
    used: set[str] = set()
    for path, line, action, scope in uses:
        kind, _, name = action.partition(":")
        same = [(text, item) for text, item in asked if item.kind == kind and name in (item.action, "*")]
        wanted = Capability(kind, name, scope or "")
        fits = [text for text, item in same if scope is None or covers(item, wanted)]
        used.update(fits)
        if not fits:
            exact = scope is not None or kind in ("clock", "random")
            shown = str(wanted) if exact else f"{action.replace('*', 'read')}@…"
            yield (
                path, line, "capability.missing", f"it uses {shown}, which plugin.toml does not ask for",
                f'add [[capability]] use = "{shown}" with a reason', "error",
            )  # fmt: skip
    for index, (text, item) in enumerate(asked):
        if text not in used and f"{item.kind}:{item.action}" not in _INVISIBLE and item.kind != "plugin":
            yield (
                "plugin.toml", 0, "capability.unused", f"capability[{index}].use: {text} is asked for, no use was found",
                "ask for no more than the code needs", "warning",
            )  # fmt: skip
    for action, services, level in (("serve", manifest.provides, "error"), ("request", manifest.requires, "warning")):
        for service in services:
            if not any(covers(item, Capability("bus", action, service)) for _, item in asked):
                table = "provides" if action == "serve" else "requires"
                yield (
                    "plugin.toml", 0, "capability.missing",
                    f'{table}."{service}" needs bus:{action}@{service}, which is not asked for',
                    f'add [[capability]] use = "bus:{action}@{service}" with a reason',
                    "error" if level == "error" else "warning",
                )  # fmt: skip


def _bare(capability: Capability) -> Capability:
    return Capability(capability.kind, capability.action, capability.scope)


class _Finder(ast.NodeVisitor):
    """The uses in one module."""

    def __init__(self, path: str, tree: ast.Module) -> None:
        self._path = path
        self._tree = tree
        self._uses: list[_Use] = []
        self._constants: dict[str, str] = {}
        self._modules: dict[str, str] = {}
        self._seen: set[ast.expr] = set()

    def find(self) -> list[_Use]:
        for node in self._tree.body:
            self._remember(node)
        self.visit(self._tree)
        return self._uses

    def _remember(self, node: ast.stmt) -> None:
        """Names that stand for a text: constants of this module, and what is imported from the contracts."""
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                    self._constants[target.id] = node.value.value
        elif isinstance(node, ast.ImportFrom) and node.module == "rustcare_sdk.contracts":
            for alias in node.names:
                self._modules[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rustcare_sdk.contracts."):
            for alias in node.names:
                value = _of_contract((node.module or "").rpartition(".")[2], alias.name)
                if value is not None:
                    self._constants[alias.asname or alias.name] = value

    def _text(self, node: ast.expr | None) -> str | None:
        """The text that an expression stands for, when that can be told."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.Name):
            return self._constants.get(node.id)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in self._modules:
            return _of_contract(self._modules[node.value.id], node.attr)
        return None

    def _add(self, node: ast.expr, action: str, scope: str | None) -> None:
        self._uses.append((self._path, node.lineno, action, scope))

    def _handlers(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and mark.args and _last_name(mark.func) in ("subscribe", "serve"):
                self._add(mark, f"bus:{_last_name(mark.func)}", self._text(mark.args[0]))
            elif isinstance(mark, ast.Call) and len(mark.args) > 1 and _last_name(mark.func) == "route":
                method, path = self._text(mark.args[0]), self._text(mark.args[1])
                self._add(mark, "http:route", f"{method} {path}" if method and path else None)
        self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._handlers(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._handlers(node)

    def visit_Call(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Attribute):
            holder = _last_name(function.value)
            part = function.value
            if holder in _CONTEXTS and function.attr in _BUS:
                self._add(node, f"bus:{_BUS[function.attr]}", self._text(_argument(node, 0, "subject", "service")))
                if any(keyword.arg == "call" for keyword in node.keywords):
                    self._add(node, "bus:originate", None)
            elif holder in _CONTEXTS and function.attr in ("listen", "serve_protocol"):
                self._add(node, "net:listen", self._address(node))
            elif isinstance(part, ast.Attribute) and _last_name(part.value) in _CONTEXTS:
                self._part(node, part, function.attr)
        self.generic_visit(node)

    def _part(self, node: ast.Call, part: ast.Attribute, method: str) -> None:
        """`ctx.kv.get("key")` and its like."""
        if part.attr == "kv" and method in _KV:
            key = self._text(_argument(node, 0, "key", "prefix"))
            if method == "keys":
                key = f"{key}*" if key is not None else "*" if not node.args and not node.keywords else None
            self._add(node, f"kv:{_KV[method]}", key)
            self._seen.add(part)
        elif part.attr == "db" and method in _DB:
            self._add(node, f"db:{_DB[method]}", "*")
            self._seen.add(part)
        elif part.attr == "secrets" and method in _SECRETS:
            self._add(node, f"secret:{_SECRETS[method]}", self._text(_argument(node, 0, "name")))
            self._seen.add(part)

    def _address(self, node: ast.Call) -> str | None:
        host, port = self._text(_argument(node, 0, "host")), _argument(node, 1, "port")
        if host is None or not isinstance(port, ast.Constant):
            return None
        try:
            return net_scope(host, port.value if isinstance(port.value, int) else str(port.value))
        except InvalidCapability:
            return None

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if _last_name(node.value) in _CONTEXTS and node not in self._seen:
            if node.attr == "now":
                self._add(node, "clock:read", None)
            elif node.attr == "random":
                self._add(node, "random:read", None)
            elif node.attr in _WHOLE:  # handed on whole: what is done with it is out of sight
                self._add(node, f"{_WHOLE[node.attr]}:*", None)
        self.generic_visit(node)


def _of_contract(module: str, name: str) -> str | None:
    try:
        value = getattr(importlib.import_module(f"rustcare_sdk.contracts.{module}"), name, None)
    except ImportError:
        return None
    return value if isinstance(value, str) else None


def _argument(node: ast.Call, position: int, *names: str) -> ast.expr | None:
    if len(node.args) > position:
        return node.args[position]
    return next((keyword.value for keyword in node.keywords if keyword.arg in names), None)


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""
