"""Secrets come from the data folder or the environment; what is made is made once, durably, for the owner only."""

from __future__ import annotations

from pathlib import Path

import pytest
from rustcare_kernel.secret_files import SecretFiles


def test_a_file_goes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`secrets/<name>` is used, else the variable RUSTCARE_SECRET_<NAME> with `.` and `-` as `_`."""
    secrets = SecretFiles(tmp_path / "secrets")
    assert secrets.get("crypto.root-key") is None
    monkeypatch.setenv("RUSTCARE_SECRET_CRYPTO_ROOT_KEY", "from outside")
    assert secrets.get("crypto.root-key") == b"from outside"
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "crypto.root-key").write_bytes(b"from the file")
    assert secrets.get("crypto.root-key") == b"from the file"


@pytest.mark.parametrize("name", ["", ".hidden", "../outside", "a/b", "a" * 200])
def test_a_name_cannot_leave_the_folder(name: str, tmp_path: Path) -> None:
    """Names are letters, digits, dots, hyphens; whatever else is no secret, and cannot be made one."""
    (tmp_path / "outside").write_bytes(b"x")
    secrets = SecretFiles(tmp_path / "secrets")
    assert secrets.get(name) is None
    assert not secrets.create(name, b"x" * 32)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside"]


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    """`create` writes a file with mode 0600 in a folder with mode 0700, and never over one that is there."""
    secrets = SecretFiles(tmp_path / "secrets")
    assert secrets.create("root", b"a" * 32)
    assert not secrets.create("root", b"b" * 32)
    assert secrets.get("root") == b"a" * 32
    assert (tmp_path / "secrets" / "root").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (tmp_path / "secrets").iterdir()] == ["root"]
