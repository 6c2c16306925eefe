"""A real PKCS#11 token for tests: the fixture `softhsm`, a SoftHSM2 token of its own in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.packages import Missing, give_up, installed

_PLACES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
PIN = "7391"


@dataclass(frozen=True)
class Token:
    """A token: the path of the library, its label, the user PIN."""

    module: str
    label: str
    pin: str = PIN


class SoftHsm:
    """Makes tokens. The library reads its configuration once for a process, so all tokens lie in one folder."""

    def __init__(self, module: str, folder: Path) -> None:
        self.module = module
        self._settings = folder / "softhsm2.conf"
        (folder / "tokens").mkdir()
        self._settings.write_text(
            f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
        )
        os.environ["SOFTHSM2_CONF"] = str(self._settings)

    def token(self, label: str) -> Token:
        """A new, empty token."""
        done = subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "00000000"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return Token(self.module, label)


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    """SoftHSM2 with a folder of its own."""
    pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
    try:
        module = installed("softhsm2", _module)
    except Missing as error:
        give_up(f"no SoftHSM2: {error}")
    before = os.environ.get("SOFTHSM2_CONF")
    yield SoftHsm(module, tmp_path_factory.mktemp("softhsm"))
    if before is None:
        os.environ.pop("SOFTHSM2_CONF", None)
    else:
        os.environ["SOFTHSM2_CONF"] = before


def _module() -> str | None:
    if shutil.which("softhsm2-util") is None:
        return None
    return next((place for place in _PLACES if Path(place).exists()), None)
