"""The names of members and plugins stand in several lists; all of them are the same."""

from __future__ import annotations

import re
from importlib.metadata import entry_points

import pytest

from tests.architecture.project import ROOT, import_name, members, plugins, pyproject


def distribution(member: str) -> str:
    """The name of a member's distribution."""
    return str(pyproject(member)["project"]["name"])


def bare(requirement: str) -> str:
    """The name in a requirement, without extras and versions."""
    return re.split(r"[\[<>=!~; ]", requirement)[0]


def test_the_members_are_the_folders() -> None:
    """Every folder with a `pyproject.toml` that is to be installed is a member of the workspace."""
    assert set(members()) == {"sdk", "kernel", "cli", "registry", *(f"builtin_plugins/{name}" for name in plugins())}


def test_the_product_depends_on_every_member() -> None:
    """The root's dependencies and uv's sources name every member, and nothing else."""
    names = sorted(map(distribution, members()))
    assert sorted(map(bare, pyproject()["project"]["dependencies"])) == names
    assert sorted(pyproject()["tool"]["uv"]["sources"]) == names


def test_mypy_checks_every_member() -> None:
    """mypy's `files` and `mypy_path` are every member's `src`."""
    sources = sorted(f"{member}/src" for member in members())
    mypy = pyproject()["tool"]["mypy"]
    assert sorted(mypy["files"]) == sources
    assert sorted(mypy["mypy_path"]) == sources


def test_import_linter_knows_every_member() -> None:
    """import-linter's root packages and its floors name every member."""
    linter = pyproject()["tool"]["importlinter"]
    packages = sorted(map(import_name, members()))
    assert sorted(linter["root_packages"]) == packages
    (floors,) = (contract for contract in linter["contracts"] if contract["type"] == "layers")
    assert sorted(name for floor in floors["layers"] for name in floor.split(" | ")) == packages


def test_the_cli_may_import_no_plugin() -> None:
    """The contract that keeps the CLI away from plugins names all of them."""
    contracts = pyproject()["tool"]["importlinter"]["contracts"]
    (rule,) = (rule for rule in contracts if rule.get("source_modules") == ["rustcare_cli"])
    assert sorted(rule["forbidden_modules"]) == sorted(f"rustcare_plugin_{name}" for name in plugins())


@pytest.mark.parametrize("name", plugins())
def test_a_plugin_has_one_name(name: str) -> None:
    """Folder, distribution, import name and entry point of a built-in plugin follow from its name."""
    member = f"builtin_plugins/{name}"
    assert distribution(member) == f"rustcare-plugin-{name.replace('_', '-')}"
    assert import_name(member) == f"rustcare_plugin_{name}"
    assert pyproject(member)["project"]["entry-points"]["rustcare.plugins"] == {name: f"rustcare_plugin_{name}"}
    assert (ROOT / member / "src" / f"rustcare_plugin_{name}" / "plugin.toml").is_file()


@pytest.mark.parametrize("name", plugins())
def test_a_plugin_depends_on_the_sdk_alone(name: str) -> None:
    """Of our own distributions, a built-in plugin requires the SDK and no other."""
    requirements = map(bare, pyproject(f"builtin_plugins/{name}")["project"]["dependencies"])
    assert [requirement for requirement in requirements if requirement.startswith("rustcare")] == ["rustcare-sdk"]


def test_the_installed_plugins_are_the_folders() -> None:
    """What the entry point group offers in this environment is what the folders hold."""
    assert sorted(point.name for point in entry_points(group="rustcare.plugins")) == sorted(plugins())


def test_members_agree_on_metadata() -> None:
    """Version, licence and the Python that is needed are the same for all members and the product."""
    keys = ("version", "license", "requires-python")
    found = {tuple(pyproject(member)["project"][key] for key in keys) for member in (".", *members())}
    assert len(found) == 1, found
