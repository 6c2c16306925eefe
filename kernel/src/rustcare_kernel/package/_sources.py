"""`read_package`: one door for every form in which a package can lie around."""

from __future__ import annotations

import re
from pathlib import Path

from rustcare_sdk.manifest import Manifest

from ._errors import PackageInvalid, PackageNotFound, PackageUnsafe
from ._files import Budget, check_name, ignored, read_file, read_tree, unzip
from ._layout import read_layout, read_layout_tar
from ._model import Package, check_manifest_paths, make_package, python_prefix, wanted_files, wasm_paths

__all__ = ["find_folder", "read_package"]

ENTRY_POINTS = "rustcare.plugins"
_PINNED = re.compile(r"(?P<path>.+)@(?P<digest>sha256:[0-9a-f]{64})")
_FORMS = (
    "expected a plugin's folder, a .whl, a plugin.toml or .wasm (side by side), an OCI layout (folder or .tar), "
    "or installed:NAME"
)


def read_package(source: Path | str | Package) -> Package:
    """Read a package from wherever it lies. Nothing is imported, built, or written.

    Args:
        source: a plugin's folder (the project, or the import package that holds `plugin.toml`), a `.whl`, a
            `plugin.toml` beside a `.wasm` (or that `.wasm`), an OCI image layout (folder or `.tar`; `PATH@sha256:…`
            chooses one of several), or `installed:NAME` for the entry point of an installed distribution in the group
            `rustcare.plugins`.

    Raises:
        PackageError: one of its kinds, naming the file and what to do.
        InvalidManifest: `plugin.toml` is not valid.
    """
    if isinstance(source, Package):
        return source
    text, digest = str(source), ""
    if text.startswith("installed:"):
        return _from_folder(_installed(text.removeprefix("installed:")), text)
    if (pinned := _PINNED.fullmatch(text)) is not None and not Path(text).exists():
        text, digest = pinned["path"], pinned["digest"]
    path = Path(text)
    package = _read(path, digest)
    if digest and package.digest != digest:
        raise PackageInvalid(f"Expected the package {digest}, got {package.digest}", address=text)
    return package


def _read(path: Path, digest: str) -> Package:
    if path.is_dir():
        if (path / "oci-layout").exists():
            return read_layout(path, digest)
        return _from_folder(find_folder(path), str(path))
    if not path.exists():
        raise PackageNotFound("Expected a package, found nothing", address=str(path), hint=_FORMS)
    if path.suffix == ".whl":
        return _from_wheel(path)
    if path.suffix == ".tar":
        return read_layout_tar(path, digest)
    if path.name == "plugin.toml":
        return _from_folder(path.parent, str(path))
    if path.suffix == ".wasm":
        return _from_folder(path.parent, str(path), only=path.name)
    raise PackageNotFound("Expected a package, got a file of another kind", address=str(path), hint=_FORMS)


def find_folder(path: Path | str) -> Path:
    """The folder that holds `plugin.toml`: the given one, or the only one under its `src/`."""
    folder = Path(path)
    if (folder / "plugin.toml").is_file():
        return folder
    found = sorted(item.parent for item in folder.glob("src/*/plugin.toml"))
    if len(found) != 1:
        raise PackageNotFound(
            f"Expected one plugin.toml, here or in src/<import package>/, found {len(found)}",
            address=str(folder),
            hint=_FORMS,
        )
    return found[0]


def _installed(name: str) -> Path:
    """The folder of an installed plugin's import package, found without importing it."""
    import importlib.metadata  # here, because it takes as long to import as a good part of the kernel
    import importlib.util

    points = importlib.metadata.entry_points(group=ENTRY_POINTS)
    found = [point for point in points if point.name == name]
    if not found:
        known = ", ".join(sorted({point.name for point in points})) or "none"
        raise PackageNotFound(
            f"No installed distribution has a plugin named {name!r}",
            address=f"installed:{name}",
            hint=f"installed: {known}",
        )
    modules = {point.module for point in found}
    if len(modules) != 1 or "." in (module := modules.pop()):
        raise PackageInvalid(
            f"Expected one entry point {name!r} that names a top-level import package",
            address=f"installed:{name}",
            hint=f'[project.entry-points."{ENTRY_POINTS}"] {name} = "<import package>"',
        )
    spec = importlib.util.find_spec(module)  # a top-level name: nothing is imported to find it
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        if (Path(location) / "plugin.toml").is_file():
            return Path(location)
    raise PackageNotFound(f"The import package {module} has no plugin.toml", address=f"installed:{name}")


def _from_folder(folder: Path, source: str, only: str = "") -> Package:
    """Read the folder that holds `plugin.toml`; with `only`, the manifest must name that `.wasm`."""
    manifest_bytes = read_file(folder / "plugin.toml")
    manifest = Manifest.read(manifest_bytes, str(folder / "plugin.toml"))
    check_manifest_paths(manifest, str(folder))
    _check_prefix(manifest, folder.resolve().name, str(folder))
    paths = wasm_paths(manifest)
    if only and only not in paths.values():
        raise PackageInvalid(
            f"Expected a manifest that names {only}, it names {', '.join(paths.values()) or 'no .wasm'}",
            address=str(folder / "plugin.toml"),
            hint=f'[runtime] component = {{ path = "{only}" }}',
        )
    if manifest.runtime.python is not None:
        tree = read_tree(folder, lambda name: ignored(name) or name in paths.values())
    else:
        # A folder without Python code may be anything, a build folder too: take what the manifest names.
        tree = {name: _named(folder, name) for name in wanted_files(manifest) if (folder / name).exists()}
    wasm = {name: _named(folder, path) for name, path in paths.items() if (folder / path).exists()}
    budget = Budget(str(folder))
    for name, data in {**tree, **wasm}.items():
        budget.take(name, len(data))
    return make_package(manifest, manifest_bytes, tree, wasm, source=source, folder=folder.absolute())


def _check_prefix(manifest: Manifest, name: str, source: str) -> None:
    """The entry lies in the import package that holds the manifest."""
    if python_prefix(manifest) not in ("", name + "/"):
        entry = manifest.runtime.python.entry if manifest.runtime.python is not None else ""
        raise PackageInvalid(
            f"Expected an entry in the import package that holds plugin.toml ({name}), got {entry}",
            address=f"{source}:plugin.toml:runtime.python.entry",
            hint=f"rename the folder to {python_prefix(manifest)} or correct the entry",
        )


def _named(folder: Path, name: str) -> bytes:
    """A file that the manifest names; no part of the way to it may be a link."""
    path = folder
    for part in name.split("/"):
        path /= part
        if path.is_symlink():
            raise PackageUnsafe("Expected a file or a folder, got a symbolic link", address=str(path))
    return read_file(path)


def _from_wheel(path: Path) -> Package:
    """Read a wheel: the import package that holds `plugin.toml`, and nothing else of it."""
    source = str(path)
    files = unzip(read_file(path), source)
    roots = sorted({name.partition("/")[0] for name in files if name.count("/") == 1 and name.endswith("/plugin.toml")})
    if len(roots) != 1:
        raise PackageInvalid(
            f"Expected one <import package>/plugin.toml in the wheel, found {len(roots)}",
            address=source,
            hint="an editable wheel has none; build one with: rustcare plugin build",
        )
    prefix = roots[0] + "/"
    inside = {name[len(prefix) :]: data for name, data in files.items() if name.startswith(prefix)}
    manifest_bytes = inside["plugin.toml"]
    manifest = Manifest.read(manifest_bytes, f"{source}:{prefix}plugin.toml")
    check_manifest_paths(manifest, source)
    _check_prefix(manifest, roots[0], source)
    paths = wasm_paths(manifest)
    if manifest.runtime.python is not None:
        tree = {name: data for name, data in inside.items() if not ignored(name) and name not in paths.values()}
    else:
        tree = {name: inside[name] for name in wanted_files(manifest) if name in inside}
    for name in tree:
        check_name(name, source)
    wasm = {name: inside[item] for name, item in paths.items() if item in inside}
    return make_package(manifest, manifest_bytes, tree, wasm, source=source)
