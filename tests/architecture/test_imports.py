"""Who may import whom, checked by import-linter and by running a plugin where nothing but the SDK is installed."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.architecture.project import ROOT, import_name, members, plugins, pyproject

KERNEL = ROOT / "kernel" / "src" / "rustcare_kernel"
# Bindings that componentize-py makes: they exist inside a component only.
GENERATED = ("wit_world", "componentize_py_types")
# What a plugin's author has beside the SDK: the tools that its tests are written with.
TEST_TOOLS = ("pytest", "pytest-asyncio", "hypothesis", "trustme")


def test_the_floors_hold() -> None:
    """import-linter finds every import allowed."""
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def imported(path: Path) -> set[str]:
    """The first names of all absolute imports in a file, those in functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("member", members())
def test_what_is_imported_is_declared(member: str) -> None:
    """Every package that a member imports is of the standard library, of the sandbox, or declared as its dependency."""
    project = pyproject(member)["project"]
    extras = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
    declared = {canonical(Requirement(line).name) for line in [*project["dependencies"], *extras]}
    owners = importlib.metadata.packages_distributions()
    known = {*sys.stdlib_module_names, import_name(member), *GENERATED}
    for path in sorted((ROOT / member / "src").rglob("*.py")):
        for name in imported(path) - known:
            found = {canonical(owner) for owner in owners.get(name, [name])}
            assert found & declared, (
                f"{path.relative_to(ROOT)} imports {name}, {member}/pyproject.toml does not name it"
            )


def rooms() -> list[str]:
    """The kernel's rooms, lowest floor first, as its `__init__` lists them."""
    text = ast.get_docstring(ast.parse((KERNEL / "__init__.py").read_text())) or ""
    return re.findall(r"^ +(\w+)/? {2,}\S", text, re.M)


def test_the_kernels_map_is_complete() -> None:
    """The map of rooms in the kernel's `__init__`, and the one in docs/explanation/architecture.md, list all of them."""
    found = {path.stem for path in KERNEL.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert sorted(rooms()) == sorted(name for name in found if not name.startswith("_"))
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text()
    assert re.findall(r"^\| `rustcare_kernel\.(\w+)` \|", page, re.M) == rooms()


def test_the_kernels_rooms_stand_on_those_below() -> None:
    """When a room of the kernel is imported, it imports only rooms that the map lists above it."""
    order = rooms()
    wrong = []
    for room in order:
        single = KERNEL / f"{room}.py"
        for path in [single] if single.is_file() else sorted((KERNEL / room).rglob("*.py")):
            depth = len(path.relative_to(KERNEL).parts)
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.ImportFrom):
                    module = (node.module or "").removeprefix("rustcare_kernel.") if node.level in (0, depth) else ""
                    target = module.partition(".")[0]
                    if target in order and order.index(target) > order.index(room):
                        wrong.append(f"{path.relative_to(KERNEL)}:{node.lineno} imports {target}")
    assert wrong == []


def canonical(name: str) -> str:
    """The one way to write a distribution's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(names: tuple[str, ...]) -> set[str]:
    """These distributions of the current environment and all that they require here."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        found.add(name)
        for line in importlib.metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(requirement.name)
    return found


def link(distribution: str, target: Path) -> None:
    """Put an installed distribution into another environment: hard links where they can be, else copies."""
    found = importlib.metadata.distribution(distribution)
    root = Path(str(found.locate_file(""))).resolve()
    for file in found.files or ():
        source = Path(str(file.locate())).resolve()
        if not source.is_relative_to(root) or source.suffix == ".pyc" or not source.is_file():
            continue
        place = target / source.relative_to(root)
        if place.exists():
            continue  # linked for another plugin before
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, place)
        except OSError:
            shutil.copy2(source, place)


def unpack(member: str, target: Path, wheels: Path) -> None:
    """Build a member's wheel and install it: what a wheel lacks, the tests will miss."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(command, cwd=ROOT / member, check=True, capture_output=True)
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(target)
        wheel.unlink()


@pytest.fixture(scope="module")
def sdk_only(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The Python of a new environment that has the SDK and test tools, and its folder of packages. No network."""
    folder = tmp_path_factory.mktemp("sdk-only")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    packages = Path(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip())
    needed = closure(("rustcare-sdk", *TEST_TOOLS))
    for distribution in sorted(name for name in needed if not name.startswith("rustcare")):
        link(distribution, packages)
    unpack("sdk", packages, folder)
    return python, packages


@pytest.mark.parametrize("package", ["rustcare_kernel", "rustcare_cli", "wasmtime", "structlog"])
def test_the_environment_has_no_kernel(sdk_only: tuple[Path, Path], package: str) -> None:
    """In the environment that has only the SDK, the SDK imports and the kernel does not."""
    python, packages = sdk_only
    subprocess.run([python, "-I", "-c", "import rustcare_sdk.testing"], check=True)
    result = subprocess.run([python, "-I", "-c", f"import {package}"], capture_output=True, text=True)
    assert f"No module named '{package}'" in result.stderr
    assert not list(packages.glob("*.pth")), "a path file could lead back to this checkout"


IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
"""


@pytest.mark.parametrize("name", plugins())
def test_a_plugin_imports_the_sdk_alone(sdk_only: tuple[Path, Path], name: str, tmp_path: Path) -> None:
    """Every module of a built-in plugin can be imported where it and the SDK are installed and nothing else of ours."""
    python, packages = sdk_only
    declared = (Requirement(line).name for line in pyproject(f"builtin_plugins/{name}")["project"]["dependencies"])
    for distribution in sorted(closure(tuple(declared))):
        if not distribution.startswith("rustcare"):
            link(distribution, packages)
    unpack(f"builtin_plugins/{name}", packages, tmp_path)
    subprocess.run([python, "-I", "-c", IMPORT_ALL, f"rustcare_plugin_{name}"], check=True)
    assert (packages / f"rustcare_plugin_{name}" / "plugin.toml").is_file()


def test_a_plugin_works_with_the_sdk_alone(sdk_only: tuple[Path, Path], tmp_path: Path) -> None:
    """A built-in plugin's own tests pass where it and the SDK are installed and nothing else of ours."""
    python, packages = sdk_only
    unpack("builtin_plugins/hl7", packages, tmp_path)
    shutil.copytree(ROOT / "builtin_plugins" / "hl7" / "tests", tmp_path / "tests")
    settings = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n"
    (tmp_path / "pytest.ini").write_text(settings)
    command = [python, "-I", "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider", "tests"]
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTEST"))}
    result = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"\d+ passed", result.stdout), result.stdout
