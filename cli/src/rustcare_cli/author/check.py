"""`plugin check`: what a program can find out about a plugin without running it."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rustcare_kernel.package import Package
from rustcare_sdk.errors import RustCareError

from rustcare_cli._render import say

from .project import Project

__all__ = ["Finding", "check_project", "show_findings"]

_PROGRAMS = frozenset({"subprocess", "multiprocessing", "ctypes", "cffi", "pty"})
_NETWORK = frozenset(
    (
        "aiohttp",
        "asyncpg",
        "ftplib",
        "grpc",
        "http.client",
        "http.server",
        "httpx",
        "redis",
        "requests",
        "smtplib",
        "socket",
        "socketserver",
        "urllib.request",
        "urllib3",
    )
)
_FILES = frozenset({"shutil", "tempfile", "fileinput"})
_INTERESTING = _NETWORK  # names of two parts: `from urllib import request`


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (`error`), or odd (`warning`). `where` is a file, with a line or a key."""

    level: Literal["error", "warning"]
    where: str
    message: str
    hint: str = ""
    code: str = ""

    def plain(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def check_project(folder: Path) -> list[Finding]:
    """Everything that is wrong with a plugin's folder; errors first, then by place.

    Raises:
        PackageNotFound: there is no plugin.
    """
    project = Project.find(folder)
    findings: list[Finding] = []
    trees: dict[Path, ast.Module] = {}
    for path in project.sources:
        try:
            trees[path] = ast.parse(path.read_text(), str(path))
        except (SyntaxError, ValueError) as error:
            line = getattr(error, "lineno", None) or 1
            text = getattr(error, "msg", None) or str(error)
            findings.append(
                Finding("error", f"{project.show(path)}:{line}", f"Expected Python: {text}", code="portable.syntax")
            )
    try:
        package = project.read()
    except RustCareError as error:
        where = error.address.replace(str(project.root) + "/", "") or project.show(project.package / "plugin.toml")
        findings.append(Finding("error", where, error.message, error.hint, error.code))
        return findings
    if package.manifest.runtime.python is not None:
        findings += _check_entry(project, package, trees)
        findings += _check_sources(project, package)
        findings += _check_imports(project, package, trees)
    findings += _check_config(project, package)
    findings += _check_pyproject(project, package)
    return sorted(findings, key=lambda item: (item.level != "error", item.where))


def _manifest(project: Project, key: str = "") -> str:
    return project.show(project.package / "plugin.toml") + (f":{key}" if key else "")


def _check_entry(project: Project, package: Package, trees: dict[Path, ast.Module]) -> Iterator[Finding]:
    """The class that the manifest names is there."""
    assert package.manifest.runtime.python is not None
    entry = package.manifest.runtime.python.entry
    module, _, name = entry.partition(":")
    base = project.package.parent.joinpath(*module.split("."))
    tree = trees.get(base.with_suffix(".py")) or trees.get(base / "__init__.py")
    if tree is None:
        return  # reading the package has told, or the syntax is wrong
    names = {
        alias
        for node in ast.walk(tree)
        for alias in (
            [node.name]
            if isinstance(node, ast.ClassDef)
            else [item.asname or item.name for item in node.names]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    if name not in names:
        classes = ", ".join(sorted(node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef))) or "none"
        yield Finding(
            "error",
            _manifest(project, "runtime.python.entry"),
            f"Expected the class {name} in {module}, there are: {classes}",
            code="manifest.entry-missing",
        )


def _check_sources(project: Project, package: Package) -> Iterator[Finding]:
    """What the code uses is asked for; what is to run in the sandbox stays in the portable subset."""
    from rustcare_sdk.portable import check_capabilities, check_portable

    files = {name: data for name, data in package.files().items() if name.endswith(".py")}
    found = check_capabilities(files, package.manifest)
    if package.manifest.runtime.component is not None:
        found += check_portable(files, project.package.name)
    for item in found:
        where = project.show(project.package / item.path) + (f":{item.line}" if item.line else "")
        yield Finding(item.level, where, item.message, item.hint, item.code)


def _check_imports(project: Project, package: Package, trees: dict[Path, ast.Module]) -> Iterator[Finding]:
    """Imports that reach around the context: the kernel, other plugins, sockets, processes."""
    kinds = {request.capability.kind for request in package.manifest.capabilities}
    for path, tree in trees.items():
        for node in ast.walk(tree):
            for name in _imported(node):
                where = f"{project.show(path)}:{getattr(node, 'lineno', 1)}"
                if (why := _forbidden(name, project.package.name)) is not None:
                    yield Finding("error", where, f"It imports {name}: {why}", code="import.forbidden")
                elif (wanted := _explained_by(name)) and not kinds & set(wanted):
                    yield Finding(
                        "error",
                        where,
                        f"It imports {name}, but asks for no capability of kind {' or '.join(wanted)}",
                        hint="ask for one with a reason, so that operators see it; or go through ctx",
                        code="import.undeclared",
                    )


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [item.name for item in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level and node.module:
        return sorted({node.module, *(f"{node.module}.{item.name}" for item in node.names)} & _INTERESTING) or [
            node.module
        ]
    return []


def _forbidden(name: str, own: str) -> str | None:
    top = name.partition(".")[0]
    if top in _PROGRAMS:
        return "no capability allows to start programs or to reach past Python"
    if top in ("rustcare_kernel", "rustcare_cli", "rustcare_registry"):
        return "plugins are written against rustcare_sdk only"
    if top.startswith("rustcare_plugin_") and top != own:
        return "plugins do not import each other, they talk on the bus"
    return None


def _explained_by(name: str) -> tuple[str, ...]:
    """The kinds of capability that would explain an import."""
    if name in _NETWORK or name.partition(".")[0] in _NETWORK:
        return ("net", "http")
    return ("fs",) if name.partition(".")[0] in _FILES else ()


def _check_config(project: Project, package: Package) -> Iterator[Finding]:
    """The configuration's schema is a JSON Schema."""
    section = package.manifest.config
    if section is None:
        return
    import msgspec

    try:
        schema = msgspec.json.decode(package.files()[section.schema])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        schema, problem = None, f"Expected JSON: {error}"
    else:
        problem = "" if isinstance(schema, dict) else f"Expected a JSON object, got {type(schema).__name__}"
    if problem:
        yield Finding("error", project.show(project.package / section.schema), problem, code="config.invalid")


def _check_pyproject(project: Project, package: Package) -> Iterator[Finding]:
    """`pyproject.toml` says the same as the manifest."""
    path = project.root / "pyproject.toml"
    if not path.is_file():
        yield Finding(
            "warning",
            project.show(path),
            "There is no pyproject.toml, so no wheel can be built",
            code="project.missing",
        )
        return
    data: dict[str, Any] = tomllib.loads(path.read_text())
    about = data.get("project", {})
    version = about.get("version")
    if version is not None and str(version) != package.version:
        yield Finding(
            "error",
            f"{project.show(path)}:project.version",
            f"Expected the manifest's version {package.version}, got {version}",
            hint="change both together",
            code="project.version-differs",
        )
    points = about.get("entry-points", {}).get("rustcare.plugins", {})
    if project.package.name not in points.values():
        yield Finding(
            "warning",
            f"{project.show(path)}:project.entry-points",
            "The plugin has no entry point, so installed:NAME does not find it",
            hint=f'[project.entry-points."rustcare.plugins"] NAME = "{project.package.name}"',
            code="project.no-entry-point",
        )


def show_findings(findings: list[Finding], folder: Path) -> None:
    """What was found, for people, one line each as compilers write them, so that editors can jump there."""
    if not findings:
        say(f"{folder}: nothing to complain about", "green")
        return
    for item in findings:
        say(f"{item.where}: {item.level}: {item.message} [{item.code}]", "red" if item.level == "error" else "yellow")
        if item.hint:
            say(f"    {item.hint}", "dim")
    errors = sum(item.level == "error" for item in findings)
    counts = [(errors, "error"), (len(findings) - errors, "warning")]
    said = ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts if count)
    say(said, "red" if errors else "yellow")
