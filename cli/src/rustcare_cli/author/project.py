"""A plugin's folder: where its parts are, what it is called, how its sandboxed code is built."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rustcare_kernel.package import Package, PackageNotFound, find_folder, read_package
from rustcare_sdk.manifest import Manifest

from rustcare_cli._errors import BuildFailed, CommandFailed

__all__ = ["Project"]


@dataclass(frozen=True)
class Project:
    """A plugin's folder. `root` holds `pyproject.toml` (or is `package`), `package` holds `plugin.toml`."""

    root: Path
    package: Path
    pyproject: dict[str, Any]

    @staticmethod
    def find(folder: Path | str) -> Project:
        """The plugin in a folder: the project's, or the import package's.

        Raises:
            PackageNotFound: there is no `plugin.toml`.
        """
        start = Path(folder).resolve()
        if not start.is_dir():
            raise PackageNotFound(
                "Expected a plugin's folder", address=str(folder), hint="rustcare plugin new NAME makes one"
            )
        package = find_folder(start)
        root = next((item for item in (start, *start.parents[:2]) if (item / "pyproject.toml").is_file()), start)
        if not package.is_relative_to(root):
            root = package
        path = root / "pyproject.toml"
        try:
            pyproject = tomllib.loads(path.read_text()) if path.is_file() else {}
        except tomllib.TOMLDecodeError as error:
            raise CommandFailed(f"Expected TOML: {error}", address=str(path)) from None
        return Project(root, package, pyproject)

    def read(self) -> Package:
        """The package as the folder has it now."""
        return read_package(self.package)

    def manifest(self) -> Manifest:
        """The manifest, without reading the rest."""
        path = self.package / "plugin.toml"
        return Manifest.read(path.read_bytes(), str(path))

    @property
    def sources(self) -> list[Path]:
        """The Python files of the import package, sorted."""
        return sorted(
            path
            for path in self.package.rglob("*.py")
            if not any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(self.package).parts)
        )

    def show(self, path: Path) -> str:
        """A file's name as the author knows it."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def stamps(self) -> dict[Path, tuple[int, int]]:
        """Time and size of every file that a change of should be seen; what builds write is left out."""
        wasm = set(self._wasm_files())
        found: dict[Path, tuple[int, int]] = {}
        todo = [self.root]
        while todo:
            folder = todo.pop()
            try:
                entries = list(os.scandir(folder))
            except OSError:
                continue  # deleted meanwhile
            for entry in entries:
                if entry.name.startswith(".") or entry.name in ("__pycache__", "dist", "build", "target"):
                    continue
                path = Path(entry.path)
                try:
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(path)
                    elif path not in wasm:
                        status = entry.stat(follow_symlinks=False)
                        found[path] = (status.st_mtime_ns, status.st_size)
                except OSError:
                    continue
        return found

    def _wasm_files(self) -> list[Path]:
        """The files that builds write; none is left out when the manifest cannot be read."""
        try:
            runtime = tomllib.loads((self.package / "plugin.toml").read_text()).get("runtime", {})
            return [
                self.package / str(item["path"])
                for item in runtime.values()
                if isinstance(item, dict) and "path" in item
            ]
        except (OSError, ValueError, AttributeError):
            return []

    # building

    @property
    def extism_command(self) -> list[str]:
        """The command that builds the Extism module: `[tool.rustcare] build` in pyproject.toml."""
        command = self.pyproject.get("tool", {}).get("rustcare", {}).get("build", [])
        if not isinstance(command, list) or not all(isinstance(item, str) for item in command):
            raise CommandFailed(
                "Expected a list of words as tool.rustcare.build",
                address=f"{self.show(self.root / 'pyproject.toml')}:tool.rustcare.build",
                hint='build = ["python", "-m", "ziglang", "cc", …]',
            )
        return command

    def build_extism(self) -> None:
        """Run the project's own build command.

        Raises:
            BuildFailed: it is not there, or fails; with the end of what it said.
        """
        command = self.extism_command
        if not command:
            return
        words = [sys.executable if command[0] == "python" else command[0], *command[1:]]
        try:
            # PYTHON: what a Makefile's `PYTHON ?= python3` takes, so that ziglang is found where this runs.
            environment = {**os.environ, "PYTHON": sys.executable}
            done = subprocess.run(words, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        except OSError as error:
            raise BuildFailed(
                f"{words[0]} cannot be run: {error.strerror}",
                address=f"{self.show(self.root / 'pyproject.toml')}:tool.rustcare.build",
                hint="install it, or change the command",
            ) from None
        if done.returncode:
            said = (done.stderr or done.stdout)[-4000:].strip()
            raise BuildFailed(
                f"{' '.join(command[:3])} … ended with exit code {done.returncode}:\n{said}",
                address=f"{self.show(self.root / 'pyproject.toml')}:tool.rustcare.build",
            )

    def build_component(self, package: Package) -> bytes:
        """Build the component from the Python source, as it is now."""
        import tempfile

        from rustcare_kernel.runtimes.component_build import build_component

        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "component.wasm"
            build_component(self.package, package.manifest, target)
            return target.read_bytes()

    # testing

    def run_tests(self, arguments: list[str], *, quiet: bool) -> tuple[int, float]:
        """Run pytest in the folder with its sources in reach; the exit code and the time it took."""
        import importlib.util

        if importlib.util.find_spec("pytest") is None:
            raise CommandFailed("Expected pytest to be installed", hint="pip install pytest pytest-asyncio")
        if self.manifest().runtime.extism is not None:
            self.build_extism()
        path = os.pathsep.join(filter(None, [str(self.package.parent), os.environ.get("PYTHONPATH", "")]))
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "--rootdir", str(self.root), "-p", "no:cacheprovider", *arguments],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=sys.stderr if quiet else None,
            check=False,
        )
        return done.returncode, time.monotonic() - started
