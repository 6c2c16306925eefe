"""`plugin build`: sandboxed code, wheel, OCI layout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rustcare_kernel.package import Package, read_package, write_layout, write_layout_tar

from rustcare_cli._errors import BuildFailed, CheckFailed
from rustcare_cli._render import busy, fields, say, size

from .check import check_project
from .project import Project

__all__ = ["build_project", "show_built"]


def build_project(folder: Path, out: Path | None = None, *, tar: bool = False, wheel: bool = True) -> dict[str, Any]:
    """Check and build; what was written.

    Raises:
        CheckFailed, BuildFailed, PackageError.
    """
    project = Project.find(folder)
    errors = [item for item in check_project(project.root) if item.level == "error"]
    if errors:
        raise CheckFailed(
            f"{len(errors)} error{'s' if len(errors) > 1 else ''}, the first: {errors[0].message}",
            address=errors[0].where,
            hint=errors[0].hint or "rustcare plugin check shows them all",
        )
    package = build_code(project)
    target = out if out is not None else project.root / "dist"
    target.mkdir(parents=True, exist_ok=True)
    built: dict[str, Any] = {
        "id": package.id,
        "version": package.version,
        "digest": package.digest,
        "runtimes": [name for name in package.runtimes if name not in package.unbuilt],
        "size": package.size,
        "wheel": None,
        "tar": None,
    }
    name = f"{package.id}-{package.version}.oci"
    with tempfile.TemporaryDirectory(dir=target) as temporary:
        layout = write_layout(package, Path(temporary) / name)
        shutil.rmtree(target / name, ignore_errors=True)
        layout.replace(target / name)
    built["layout"] = str(target / name)
    if tar:
        built["tar"] = str(write_layout_tar(package, target / f"{name}.tar"))
    if wheel and (project.root / "pyproject.toml").is_file():
        with busy("Building the wheel"):
            built["wheel"] = str(_build_wheel(project, target))
        found = read_package(built["wheel"])
        if found.digest != package.digest:
            raise BuildFailed(
                f"Expected the wheel to hold the package {package.digest}, it holds {found.digest}",
                address=built["wheel"],
                hint=_difference(package, found),
            )
    return built


def build_code(project: Project) -> Package:
    """Build what the manifest names from its sources, write it where the manifest says; the package then."""
    manifest = project.manifest()
    if manifest.runtime.extism is not None:
        with busy("Building the Extism module"):
            project.build_extism()
    package = project.read()
    if manifest.runtime.component is not None and manifest.runtime.python is not None:
        with busy("Building the component (some seconds)"):
            wasm = project.build_component(package)
        path = project.package / manifest.runtime.component.path
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_bytes(wasm)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        package = project.read()
    for name in package.unbuilt:
        package.code(name)  # raises PackageNotBuilt, which names the file
    return package


def _build_wheel(project: Project, target: Path) -> Path:
    """Ask the project's own build backend for a wheel, in this environment: nothing is downloaded."""
    system = project.pyproject.get("build-system", {})
    backend = str(system.get("build-backend", "hatchling.build"))
    script = (
        "import importlib, sys\n"
        "module, _, attribute = sys.argv[1].partition(':')\n"
        "backend = importlib.import_module(module)\n"
        "for name in filter(None, attribute.split('.')): backend = getattr(backend, name)\n"
        "print('\\n' + backend.build_wheel(sys.argv[2]))\n"
    )
    with tempfile.TemporaryDirectory(dir=target) as folder:
        done = subprocess.run(
            [sys.executable, "-c", script, backend, folder],
            cwd=project.root,
            capture_output=True,
            text=True,
            check=False,
        )
        made = [] if done.returncode else sorted(Path(folder).glob("*.whl"))
        if len(made) != 1:
            raise BuildFailed(
                f"The build backend {backend} made no wheel:\n{done.stderr[-4000:].strip()}",
                address=project.show(project.root / "pyproject.toml"),
                hint="it must be installed here; for hatchling: pip install hatchling",
            )
        return made[0].replace(target / made[0].name)


def _difference(package: Package, wheel: Package) -> str:
    """Which files the wheel lacks or has in addition."""
    ours, theirs = package.files(), wheel.files()
    missing = sorted(set(ours) - set(theirs)) or sorted(
        set(package.runtimes) - set(package.unbuilt) - set(wheel.runtimes)
    )
    if wheel.unbuilt:
        return f"the wheel lacks the .wasm: list it under artifacts in pyproject.toml ({', '.join(wheel.unbuilt)})"
    return (
        f"missing: {', '.join(missing) or 'none'}; in addition: {', '.join(sorted(set(theirs) - set(ours))) or 'none'}"
    )


def show_built(built: dict[str, Any]) -> None:
    """What was built, for people."""
    say(f"Built {built['id']} {built['version']}", "green")
    rows = [("digest", built["digest"]), ("runtimes", ", ".join(built["runtimes"])), ("size", size(built["size"]))]
    rows += [(name, built[name]) for name in ("wheel", "layout", "tar") if built[name]]
    fields(rows)
    say(f"Install it with: rustcare plugin install {built['layout']}", "dim")
