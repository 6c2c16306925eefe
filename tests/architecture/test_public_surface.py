"""The public surface is written down: in each module's `__all__`, in docstrings, and in docs/reference/api.md."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType

import pytest

from tests.architecture.project import REFERENCE, public_modules, pyproject, section, table_names


@pytest.fixture(params=public_modules())
def module(request: pytest.FixtureRequest) -> ModuleType:
    """Each public module of each member, imported."""
    return importlib.import_module(request.param)


def own(module: ModuleType) -> dict[str, object]:
    """The classes and functions that a module defines itself."""
    return {
        name: value
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__
    }


def test_a_public_module_says_what_it_is_for(module: ModuleType) -> None:
    """Every public module has a docstring."""
    assert (module.__doc__ or "").strip(), f"{module.__name__} has no docstring"


def test_all_names_what_is_there(module: ModuleType) -> None:
    """Every public module has an `__all__` without repeats (a package's empty `__init__` needs none), all of it there."""
    names = getattr(module, "__all__", None)
    if names is None:
        assert hasattr(module, "__path__"), f"{module.__name__} has no __all__"
        assert own(module) == {}, f"{module.__name__} has no __all__"
        return
    assert len(set(names)) == len(names), f"{module.__name__}.__all__ repeats a name"
    assert [name for name in names if not hasattr(module, name)] == []


def test_all_is_sorted_by_ruff() -> None:
    """The order within `__all__` is ruff's rule RUF022, which is switched on."""
    lint = pyproject()["tool"]["ruff"]["lint"]
    assert "RUF" in lint["select"]
    assert "RUF022" not in lint.get("ignore", [])


def test_what_is_public_has_a_docstring(module: ModuleType) -> None:
    """Every class and function in `__all__` has a docstring of its own, and so has every public method of a class."""
    missing = []
    for name in getattr(module, "__all__", ()):
        value = own(module).get(name)
        if value is None:
            continue
        if not (vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__):
            missing.append(name)
    assert missing == [], f"{module.__name__}: no docstring on {missing}"


@pytest.mark.parametrize("package", ["rustcare_sdk", "rustcare_kernel"])
def test_the_api_page_lists_the_surface(package: str) -> None:
    """docs/reference/api.md lists exactly the public names of the SDK and of the kernel."""
    documented = table_names(section((REFERENCE / "api.md").read_text(), f"`{package}`"))
    assert sorted(documented) == sorted(importlib.import_module(package).__all__)


def test_the_api_page_lists_the_facade() -> None:
    """docs/reference/api.md lists exactly the public methods of `Kernel`, the embedder's facade."""
    from rustcare_kernel import Kernel

    documented = table_names(section((REFERENCE / "api.md").read_text(), "Methods of `Kernel`"))
    methods = {
        name for name, value in inspect.getmembers(Kernel) if inspect.isfunction(value) and not name.startswith("_")
    }
    assert {name.partition("(")[0] for name in documented} == methods
