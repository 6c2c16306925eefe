"""Which database a kernel's stores use, and what is said when it is not to be had."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from rustcare_kernel.stores import open_driver
from rustcare_kernel.stores.errors import DriverMissing, StoreSpecInvalid, StoreUnavailable


async def test_dialects(tmp_path: Path) -> None:
    """The word `sqlite` or an address of PostgreSQL; anything else is refused without repeating it."""
    assert open_driver("sqlite", tmp_path).dialect == "sqlite"
    assert open_driver("postgresql://localhost/x", tmp_path).dialect == "postgres"
    for spec in ("", "mysql://u:geheim@h/d", "SQLITE", "geheim"):
        with pytest.raises(StoreSpecInvalid) as caught:
            open_driver(spec, tmp_path)
        assert "geheim" not in str(caught.value)


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """The error says where it looked and what to check, and never the password."""
    driver = open_driver(f"postgresql://user:geheim@/data?host={tmp_path}", tmp_path)
    with pytest.raises(StoreUnavailable) as caught:
        await driver.open("acme.lab")
    text = str(caught.value)
    assert str(tmp_path) in text
    assert "is the server running" in text
    assert "geheim" not in text
    await driver.close()


async def test_without_the_driver_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where asyncpg is not installed, the error says what to install."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    for name in [name for name in sys.modules if name.startswith("rustcare_kernel.stores") and "postgres" in name]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(DriverMissing, match=r"rustcare-kernel\[postgres\]"):
        open_driver("postgresql://localhost/x", tmp_path)


def test_does_not_load_postgres_before_it_is_asked_for() -> None:
    """A kernel that starts does not pay for PostgreSQL's driver."""
    code = (
        "import sys, rustcare_kernel.stores; print({'asyncpg', 'rustcare_kernel.stores.postgres'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
