"""Building a component from Python: what the author gets to know, and what is left on the disk."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel.runtimes.component_build import BuildFailed, build_component, build_key

ENTRY = 'component = { path = "x.wasm" }\npython = { entry = "acme_bad.plugin:Bad" }'


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "acme_bad"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "plugin.py").write_text("from rustcare_sdk import Plugin\n\n\nclass Bad(Plugin):\n    pass\n")
    return folder


def test_a_source_that_fails_on_import_shows_the_guests_traceback(
    package: Path, manifest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error holds the traceback with the author's own files and lines; nothing is written, nothing left over."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    (package / "plugin.py").write_text("from .tables import codes\n")
    (package / "tables.py").write_text("import msgspec\n")
    out = tmp_path / "out" / "bad.wasm"
    with pytest.raises(BuildFailed) as caught:
        build_component(package, manifest(runtime=ENTRY), out)
    text = caught.value.message
    assert 'File "acme_bad/plugin.py", line 1' in text
    assert 'File "acme_bad/tables.py", line 1' in text
    assert "No module named 'msgspec'" in text
    assert caught.value.code == "build.failed"
    assert not out.exists()
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        ('component = { path = "x.wasm" }', "the class of acme.test, got none"),
        ('python = { entry = "other.plugin:Bad" }', "the entry other.plugin:Bad is not in the package acme_bad"),
    ],
)
def test_an_entry_that_cannot_be_is_named(
    package: Path, manifest: Any, tmp_path: Path, runtime: str, words: str
) -> None:
    """A manifest without a class, or with one outside of the package, is refused before anything is built."""
    with pytest.raises(BuildFailed, match=words):
        build_component(package, manifest(runtime=runtime), tmp_path / "out.wasm")


def test_without_componentize_py_the_error_says_what_to_install(
    package: Path, manifest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only authors need the builder; who lacks it learns its name."""
    monkeypatch.setitem(sys.modules, "componentize_py", None)
    with pytest.raises(BuildFailed) as caught:
        build_component(package, manifest(runtime=ENTRY), tmp_path / "out.wasm")
    assert caught.value.hint == "pip install componentize-py"


def test_the_key_of_a_build_is_that_of_its_inputs(package: Path, manifest: Any) -> None:
    """The key changes with a source, a data file or the capabilities, and with nothing else."""
    first = build_key(package, manifest(runtime=ENTRY))
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "plugin.cpython-311.pyc").write_bytes(b"x")
    (package / "x.wasm").write_bytes(b"built before")
    assert build_key(package, manifest("[limits]\ntimeout = '1s'", runtime=ENTRY)) == first
    keys = {first, build_key(package, manifest(runtime=ENTRY, capabilities="clock:read"))}
    (package / "tables.json").write_text("{}")
    keys.add(build_key(package, manifest(runtime=ENTRY)))
    (package / "plugin.py").write_text("")
    keys.add(build_key(package, manifest(runtime=ENTRY)))
    assert len(keys) == 4
