"""Compiled code on disk is machine code the kernel runs: only what verifies is used."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel.runtimes._contract import Code
from rustcare_kernel.runtimes.compile_cache import CompileCache
from rustcare_kernel.runtimes.component import ComponentRuntime

KEY = b"k" * 32


def only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_was_stored_is_loaded(tmp_path: Path) -> None:
    """A file is there whole, under no temporary name, for the owner's eyes only."""
    cache = CompileCache(tmp_path / "new", KEY, "settings")
    assert cache.load("sha256:a") is None
    cache.store("sha256:a", b"machine code")
    loaded = cache.load("sha256:a")
    assert loaded is not None
    assert bytes(loaded) == b"machine code"
    assert stat.S_IMODE(os.stat(only(tmp_path / "new")).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "new").st_mode) == 0o700


@pytest.mark.parametrize("where", [0, 30, 60, -1])
def test_a_changed_byte_is_noticed(tmp_path: Path, where: int, caplog: pytest.LogCaptureFixture) -> None:
    """A file that was changed anywhere is not used, and the log says so."""
    cache = CompileCache(tmp_path, KEY, "settings")
    cache.store("sha256:a", b"machine code")
    path = only(tmp_path)
    data = bytearray(path.read_bytes())
    data[where] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert cache.load("sha256:a") is None
    assert "wrong authentication tag" in caplog.text


def test_a_truncated_file_is_noticed(tmp_path: Path) -> None:
    """Half a file is no file."""
    cache = CompileCache(tmp_path, KEY, "settings")
    cache.store("sha256:a", b"machine code")
    for size in (0, 10, 40, 60):
        only(tmp_path).write_bytes(only(tmp_path).read_bytes()[:size])
        assert cache.load("sha256:a") is None


def test_a_file_of_another_code_key_or_setting_is_not_used(tmp_path: Path) -> None:
    """A file counts for one code, one compiler with its settings, and one kernel's key; renaming it does not help."""
    CompileCache(tmp_path, KEY, "settings").store("sha256:a", b"machine code")
    assert CompileCache(tmp_path, KEY, "other settings").load("sha256:a") is None
    assert CompileCache(tmp_path, b"x" * 32, "settings").load("sha256:a") is None
    assert CompileCache(tmp_path, KEY, "settings").load("sha256:b") is None
    cache = CompileCache(tmp_path, KEY, "settings")
    only(tmp_path).rename(tmp_path / cache._name("sha256:b"))
    assert cache.load("sha256:b") is None


def test_without_a_key_nothing_is_kept(tmp_path: Path) -> None:
    """No key, no cache: unauthenticated code is never written, so it is never read."""
    cache = CompileCache(tmp_path / "none", b"", "settings")
    cache.store("sha256:a", b"machine code")
    assert not (tmp_path / "none").exists()
    assert CompileCache(None, KEY, "settings").load("sha256:a") is None


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The cache is a convenience: without room the plugin still runs."""
    (tmp_path / "file").write_text("")
    CompileCache(tmp_path / "file" / "below", KEY, "settings").store("sha256:a", b"machine code")
    assert "cannot be written" in caplog.text


async def test_a_forged_file_is_compiled_again_and_overwritten(
    tmp_path: Path, wat: Any, manifest: Any, fixture: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """The runtime uses the cache; a forged file costs a compilation, and the good one takes its place."""
    fixture.cache, fixture.cache_key = tmp_path, KEY
    code = Code(manifest(), wat(), "sha256:code")

    async def load() -> None:
        runtime = ComponentRuntime()
        await runtime.load(code, fixture.host)
        await runtime.close()

    await load()
    good = only(tmp_path).read_bytes()
    await load()
    assert only(tmp_path).read_bytes() == good
    only(tmp_path).write_bytes(good[:-1] + b"!")
    await load()
    assert "wrong authentication tag" in caplog.text
    restored = CompileCache(tmp_path, KEY, _settings()).load("sha256:code")
    assert restored is not None


def _settings() -> str:
    from rustcare_kernel.runtimes._wasm_engine import SETTINGS

    return SETTINGS
