"""The examples in documents run as they are printed."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

from rustcare_sdk.testing import harness

from tests.architecture.project import DOCS, ROOT, fenced

MANIFEST = """
schema = 1
[plugin]
id = "acme.ward-bell"
version = "1.0.0"
summary = "as in the README"
engine = ">=0.1,<0.2"
[runtime]
python = { entry = "plugin:WardBell" }
"""


def module_of(code: str, path: Path) -> ModuleType:
    """Printed code as a module."""
    path.write_text(code)
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


async def test_the_plugin_of_the_readme_works(tmp_path: Path) -> None:
    """The README's plugin handles an admission with the capabilities that the README names, in both tiers."""
    text = (ROOT / "README.md").read_text()
    (code,) = fenced(text, "python")
    assert len(code.strip().splitlines()) <= 15
    uses = re.findall(r"`((?:bus|kv):[a-z]+@[^`]+)`", text)
    manifest = MANIFEST + "".join(f'[[capability]]\nuse = "{use}"\nreason = "as in the README"\n' for use in uses)
    plugin = module_of(code, tmp_path / "plugin.py").WardBell
    fields = ("key", "type", "event", "control_id", "sending_facility", "version", "received", "text")
    for sandboxed in (False, True):
        async with harness(plugin, manifest=manifest, round_trip=sandboxed) as h:
            await h.send("hl7.adt.a01", dict.fromkeys(fields, "x"))
            h.assert_published("ward.admitted", times=1)
            assert h.kv == {"admissions": b"1"}
            assert {str(use.capability).split("@")[0] for use in h.capabilities_used} >= {"kv:read", "kv:write"}


def test_the_embedded_kernel_of_the_guide_works(tmp_path: Path) -> None:
    """The program of docs/how-to/embed-the-kernel.md answers with a plugin as `rustcare plugin new` writes it."""
    (program, *_) = fenced((DOCS / "how-to" / "embed-the-kernel.md").read_text(), "python")
    (tmp_path / "embedded.py").write_text(program)
    rustcare = [sys.executable, "-m", "rustcare_cli"]
    subprocess.run([*rustcare, "plugin", "new", "hello"], cwd=tmp_path, check=True, capture_output=True)
    command = [sys.executable, "embedded.py", "data", "hello"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Hello, ward 7!" in result.stdout
