"""What the tests here look at: the repository's files, members, modules and documents."""

from __future__ import annotations

import importlib
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"


@cache
def pyproject(folder: str = ".") -> dict[str, Any]:
    """The parsed `pyproject.toml` of a member (`.`: the root's)."""
    return tomllib.loads((ROOT / folder / "pyproject.toml").read_text())


@cache
def members() -> tuple[str, ...]:
    """The folders of the workspace's members, as the root's `pyproject.toml` names them."""
    found: list[str] = []
    for pattern in pyproject()["tool"]["uv"]["workspace"]["members"]:
        found += sorted(str(path.parent.relative_to(ROOT)) for path in ROOT.glob(f"{pattern}/pyproject.toml"))
    return tuple(found)


def plugins() -> tuple[str, ...]:
    """The folder names of the built-in plugins."""
    return tuple(sorted(path.parent.name for path in ROOT.glob("builtin_plugins/*/pyproject.toml")))


def import_name(member: str) -> str:
    """The import name of a member's package."""
    (package,) = (path.parent for path in (ROOT / member / "src").glob("*/__init__.py"))
    return package.name


def all_files() -> tuple[Path, ...]:
    """Every file of the project: what git tracks and what it would, never what it ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return tuple(path for name in listing.split("\0") if name and (path := ROOT / name).is_file())


def source_files() -> tuple[Path, ...]:
    """Every Python file of the project."""
    return tuple(path for path in all_files() if path.suffix == ".py")


def files_with_tests() -> tuple[Path, ...]:
    """Every Python file that holds tests."""
    return tuple(path for path in source_files() if path.name.startswith("test_"))


def documents() -> tuple[Path, ...]:
    """Every Markdown file of the project, but for the templates that the CLI fills in."""
    return tuple(path for path in all_files() if path.suffix == ".md" and "templates" not in path.parts)


def module_names(member: str) -> Iterator[str]:
    """The dotted names of a member's modules, the package itself first.

    Found by their files: a folder without an `__init__` must not hide its modules. Left out are `__main__`, which runs,
    and guest folders, whose modules run in the sandbox's Python only.
    """
    source = ROOT / member / "src"
    for path in sorted(source.rglob("*.py")):
        parts = path.relative_to(source).with_suffix("").parts
        if "templates" in parts or "guest" in parts or parts[-1] == "__main__":
            continue
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def public_modules() -> list[str]:
    """The dotted names of all members' modules that have no part with a leading underscore."""
    names = (name for member in members() for name in module_names(member))
    return [name for name in names if not any(part.startswith("_") for part in name.split("."))]


def import_everything() -> None:
    """Import every module of every member, so that subclasses and registries are complete."""
    for member in members():
        for name in module_names(member):
            importlib.import_module(name)


def table_names(text: str) -> list[str]:
    """What stands in backquotes in the first column of the Markdown tables of a text."""
    return [name for row in re.findall(r"^\|([^|]*)\|", text, re.M) for name in re.findall(r"`([^`]+)`", row)]


def section(text: str, heading: str) -> str:
    """The text under one Markdown heading, up to the next one of the same or a higher level."""
    match = re.search(rf"^(#+) {re.escape(heading)} *$", text, re.M)
    assert match, f"there is no heading {heading!r}"
    rest = text[match.end() :]
    end = re.search(rf"^#{{1,{len(match[1])}}} ", rest, re.M)
    return rest[: end.start()] if end else rest


def fenced(text: str, language: str) -> list[str]:
    """The fenced code blocks of one language."""
    return [match[1] for match in re.finditer(rf"^```{language}\b[^\n]*\n(.*?)^```", text, re.M | re.S)]
