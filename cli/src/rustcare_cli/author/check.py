"""`plugin check`: what a program can find out about a plugin without running it."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rustcare_kernel.package import Package
from rustcare_sdk.capability import Capability, covers, parse
from rustcare_sdk.errors import InvalidCapability, RustCareError

from rustcare_cli._render import say, table

from .project import Project
from .uses import Use, foreign_imports, uses_of

__all__ = ["Finding", "check_project", "show_findings"]

#: Capabilities whose use shows in code only as data (a wildcard scope), or that the kernel uses for the plugin.
_UNSEEN = {"plugin", "http", "fs"}


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
                Finding("error", f"{project.show(path)}:{line}", f"Expected Python: {text}", code="cli.syntax")
            )
    try:
        package = project.read()
    except RustCareError as error:
        where = error.address.replace(str(project.root) + "/", "") or project.show(project.package / "plugin.toml")
        findings.append(Finding("error", where, error.message, error.hint, error.code))
        return findings
    if package.manifest.runtime.python is not None:
        findings += _check_entry(project, package, trees)
        findings += _check_uses(project, package, trees)
        findings += _check_imports(project, package, trees)
    findings += _check_config(project, package)
    findings += _check_pyproject(project, package)
    if package.manifest.runtime.component is not None and package.manifest.runtime.python is not None and trees:
        findings += _check_portable(project, package)
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
            code="cli.entry-missing",
        )


def _check_uses(project: Project, package: Package, trees: dict[Path, ast.Module]) -> Iterator[Finding]:
    """What the code uses is asked for; what is asked for is used; what is provided is served."""
    asked = [request.capability for request in package.manifest.capabilities]
    used: list[Use] = []
    for path, tree in trees.items():
        used += uses_of(tree, project.show(path))
    for use in used:
        if use.trusted_only and package.manifest.runtime.component is not None:
            yield Finding(
                "error",
                use.where,
                f"ctx.{use.trusted_only} exists for trusted plugins only, this one is also a component",
                hint="use ctx.kv, or leave the component out",
                code="package.not-portable",
            )
        if use.kind and not any(_allows(item, use) for item in asked):
            wanted = f"{use.kind}:{use.action}" + (f"@{use.scope}" if use.scope else "")
            yield Finding(
                "error",
                use.where,
                f"The code uses {wanted}, the manifest does not ask for it",
                hint=f'[[capability]] use = "{wanted if use.scope or use.kind in ("clock", "random") else wanted + "@…"}"',
                code="cli.capability-missing",
            )
    for number, item in enumerate(asked):
        if item.kind not in _UNSEEN and not any(_allows(item, use) for use in used):
            yield Finding(
                "warning",
                _manifest(project, f"capability[{number}].use"),
                f"The manifest asks for {item}, the code does not seem to use it",
                hint="ask for less: operators read this list",
                code="cli.capability-unused",
            )
    served = {use.scope for use in used if (use.kind, use.action) == ("bus", "serve")}
    for service in sorted(set(package.manifest.provides) - served):
        if "" not in served:  # a service whose name is computed may be any
            yield Finding(
                "error",
                _manifest(project, "provides"),
                f"The manifest provides {service}, no handler serves it",
                hint=f'@serve("{service}")',
                code="cli.service-missing",
            )


def _allows(item: Capability, use: Use) -> bool:
    """Whether a capability covers a use; of a use whose scope is computed only kind and action are known."""
    if (item.kind, item.action) != (use.kind, use.action):
        return False
    if not use.scope:
        return True
    bare = Capability(item.kind, item.action, item.scope)
    try:
        return covers(bare, parse(f"{use.kind}:{use.action}@{use.scope}"))
    except InvalidCapability:
        return covers(bare, Capability(use.kind, use.action, use.scope))


def _check_imports(project: Project, package: Package, trees: dict[Path, ast.Module]) -> Iterator[Finding]:
    """Imports that reach around the context: the kernel, other plugins, sockets, processes."""
    kinds = {request.capability.kind for request in package.manifest.capabilities}
    own = project.package.name
    for path, tree in trees.items():
        for name, line, kind, why in foreign_imports(tree, own):
            where = f"{project.show(path)}:{line}"
            if kind is None:
                yield Finding("error", where, f"The code imports {name}: {why}", code="cli.import-forbidden")
            elif not kinds & set(kind):
                yield Finding(
                    "error",
                    where,
                    f"The code imports {name}, which {why}; the manifest asks for no capability of kind {' or '.join(kind)}",
                    hint="ask for it with a reason, so that operators see it; or go through the context",
                    code="cli.import-undeclared",
                )


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
            "warning", project.show(path), "There is no pyproject.toml, so no wheel can be built", code="cli.no-project"
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
            code="cli.versions-differ",
        )
    points = about.get("entry-points", {}).get("rustcare.plugins", {})
    if project.package.name not in points.values():
        yield Finding(
            "warning",
            f"{project.show(path)}:project.entry-points",
            "The plugin has no entry point, so installed:NAME does not find it",
            hint=f'[project.entry-points."rustcare.plugins"] NAME = "{project.package.name}"',
            code="cli.no-entry-point",
        )


def _check_portable(project: Project, package: Package) -> Iterator[Finding]:
    """The source stays in the portable subset, so that it runs in the sandbox."""
    from rustcare_sdk.portable import check_portable

    for problem in check_portable(project.package):
        yield Finding("error", problem.address, problem.message, problem.hint, problem.code)


def show_findings(findings: list[Finding], folder: Path) -> None:
    """What was found, for people."""
    rows = [(item.level, item.where, item.message + (f" ({item.hint})" if item.hint else "")) for item in findings]
    if not rows:
        say(f"{folder}: nothing to complain about", "green")
        return
    table(("", "where", "what"), rows)
    errors = sum(item.level == "error" for item in findings)
    say(f"{errors} errors, {len(findings) - errors} warnings", "red" if errors else "yellow")
