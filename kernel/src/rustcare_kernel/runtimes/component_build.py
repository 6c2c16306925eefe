"""Builds a component from the Python source of a plugin, with componentize-py. Needs no network.

Bundled are the plugin's package, the portable modules of `rustcare_sdk` and its guest library. The world is made from the
manifest: an interface that no capability asks for is not part of the component, so it cannot be imported by mistake. The
package is imported while the component is made and the interpreter's memory becomes the component's image; what a module
computes when it is imported costs nothing at run time, and what fails then fails here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from rustcare_sdk.errors import RustCareError
from rustcare_sdk.manifest import Manifest
from rustcare_sdk.portable import PORTABLE_SDK

from ._interface import IMPORTS

__all__ = ["BuildFailed", "build_component", "build_key", "world_of"]

_APP = "rustcare_component"
_WORLD = "package-of-this-plugin"
_TIMEOUT = 300.0
#: The bus is imported for these only; what a plugin subscribes to and serves reaches it as messages.
_BUS_ACTIONS = {"publish", "request"}


class BuildFailed(RustCareError):
    """The source of a plugin could not be made into a component."""

    code = "build.failed"


def world_of(manifest: Manifest) -> str:
    """The WIT world of a package: the interfaces its capabilities need, and those that are always there."""
    asked = [each.capability for each in manifest.capability]
    kinds = {each.kind for each in asked if each.kind != "bus" or each.action in _BUS_ACTIONS}
    names = [name for name, interface in IMPORTS.items() if not interface.kind or interface.kind in kinds]
    imports = "".join(f"    import {name};\n" for name in sorted(names))
    return f"world {_WORLD} {{\n{imports}    export guest;\n}}\n"


def _wit_file() -> Path:
    import rustcare_sdk

    package = Path(rustcare_sdk.__file__).parent
    # Inside the wheel, or beside `src` in a checkout.
    for candidate in (package / "wit" / "plugin.wit", package.parent.parent / "wit" / "plugin.wit"):
        if candidate.is_file():
            return candidate
    raise BuildFailed("rustcare_sdk has no wit/plugin.wit", hint="install rustcare-sdk again")


def build_key(package_dir: Path, manifest: Manifest) -> str:
    """A SHA-256 over everything that goes into a build. componentize-py's output differs from run to run for the same
    input, so whoever wants to build once keeps the component under this key.
    """
    found = hashlib.sha256(f"{version('componentize-py')}\n{world_of(manifest)}\n{manifest.runtime.python}".encode())
    found.update(_wit_file().read_bytes())
    files = {f"package/{path.relative_to(package_dir).as_posix()}": path for path in _sources(package_dir)}
    files.update({f"sdk/{name}": path for name, path in _sdk_files().items()})
    for name in sorted(files):
        data = files[name].read_bytes()
        found.update(f"{name} {len(data)}\n".encode() + data)
    return found.hexdigest()


def _sdk_files() -> dict[str, Path]:
    """What of `rustcare_sdk` exists in the sandbox: the portable modules, the private ones they share, the guest side."""
    import rustcare_sdk

    root = Path(rustcare_sdk.__file__).parent
    found: dict[str, Path] = {}
    for path in root.iterdir():
        name = path.stem
        if name in PORTABLE_SDK or name in ("__init__", "guest") or (path.is_file() and name.startswith("_")):
            found.update({each.relative_to(root).as_posix(): each for each in _sources(path)})
    return found


def _sources(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    return sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".wasm", ".pyc")
    )


def _copy_sdk(target: Path) -> None:
    for name, path in _sdk_files().items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target / name)


def _entry(manifest: Manifest, entry: str, package: str) -> tuple[str, str]:
    if not entry and manifest.runtime.python is not None:
        entry = manifest.runtime.python.entry
    module, colon, name = entry.partition(":")
    if not colon:
        raise BuildFailed(
            f"expected to know the class of {manifest.plugin.id}, got none",
            hint=f'add python = {{ entry = "{package}.plugin:YourClass" }} to [runtime]',
            address="plugin.toml:runtime.python",
        )
    if module.partition(".")[0] != package:
        raise BuildFailed(
            f"the entry {entry} is not in the package {package}",
            hint="plugin.toml lies inside the import package that its entry names",
            address="plugin.toml:runtime.python.entry",
        )
    return module, name


def build_component(package_dir: Path, manifest: Manifest, out: Path, *, entry: str = "") -> None:
    """Build the import package in `package_dir` (the folder that holds `plugin.toml`) into the component `out`.

    Args:
        entry: `module:Class`; else the manifest's `runtime.python.entry`.

    Raises:
        BuildFailed: componentize-py is not installed, or the source fails when it is imported (with its traceback).
    """
    if importlib.util.find_spec("componentize_py") is None:
        raise BuildFailed("componentize-py is not installed", hint="pip install componentize-py")
    package_dir = package_dir.resolve()
    module, name = _entry(manifest, entry, package_dir.name)
    with tempfile.TemporaryDirectory(prefix="rustcare-build-") as folder:
        root = Path(folder)
        (root / "wit").mkdir()
        (root / "wit" / "plugin.wit").write_text(
            _wit_file().read_text("utf-8") + "\n" + world_of(manifest), encoding="utf-8"
        )
        app = root / "app"
        app.mkdir()
        shutil.copytree(
            package_dir, app / package_dir.name, ignore=shutil.ignore_patterns("__pycache__", "*.wasm", "*.pyc")
        )
        _copy_sdk(app / "rustcare_sdk")
        # The guest library comes first: it guards the clock before the plugin's modules take it by name.
        (app / f"{_APP}.py").write_text(
            "from rustcare_sdk import guest\n"
            f"from {module} import {name} as plugin_class\n"
            "Guest = guest.guest_of(plugin_class)\n"
            "guest.seal()\n",
            encoding="utf-8",
        )
        made = root / "out.wasm"
        _componentize(root, app, made, manifest.plugin.id)
        out.parent.mkdir(parents=True, exist_ok=True)
        # Beside the target first, so that a reader of `out` never sees half of it.
        with tempfile.NamedTemporaryFile(dir=out.parent, prefix=".build-", suffix=".wasm", delete=False) as beside:
            temporary = Path(beside.name)
        try:
            shutil.copyfile(made, temporary)
            temporary.chmod(0o644)
            os.replace(temporary, out)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def _componentize(root: Path, app: Path, made: Path, plugin: str) -> None:
    # A process of its own: it uses all cores for seconds, and what goes wrong in it stays in it. `-I` and an environment
    # without a virtual environment, because it would add that one's site-packages to what the plugin can import.
    environment = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH")}
    environment["PATH"] = os.defpath
    command = [
        sys.executable, "-I", "-c", "import sys; from componentize_py import script; sys.exit(script())",
        "--quiet", "--wit-path", str(root / "wit"), "--world", _WORLD,
        "componentize", "--stub-wasi", "--python-path", str(app), "--output", str(made), _APP,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command, cwd=root, env=environment, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        raise BuildFailed(
            f"building {plugin} took longer than {_TIMEOUT:.0f} s", hint="does a module do endless work on import?"
        ) from None
    if done.returncode != 0 or not made.is_file():
        raise BuildFailed(
            f"the source of {plugin} could not be made into a component:\n{_tidy(done.stderr or done.stdout, app)}",
            hint="its modules are imported while it is built; only the standard library without C extensions, "
            "its own package and the portable part of rustcare_sdk are there",
        )


def _tidy(output: str, app: Path) -> str:
    """The guest's own traceback when there is one; without the frames of the tools and the build folder's name."""
    marker = "Traceback (most recent call last)"
    # The tool wraps the guest's traceback into one of its own, behind the name of an error.
    start = output.find("Error: " + marker)
    text = output[start + len("Error: ") :] if start >= 0 else output
    return text.partition("\nCaused by:")[0].replace('File "/0/', 'File "').replace(f"{app}/", "").strip()[-4000:]
