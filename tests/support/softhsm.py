"""A real PKCS#11 token for tests: the fixture `softhsm`, a SoftHSM2 token of its own in a temporary folder.

Uses the installed softhsm2; as root on Debian it installs the package. Where neither can be, the tests are skipped with
the reason. With `CI=true` they fail instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

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
    module = _module() or _install()
    before = os.environ.get("SOFTHSM2_CONF")
    yield SoftHsm(module, tmp_path_factory.mktemp("softhsm"))
    if before is None:
        os.environ.pop("SOFTHSM2_CONF", None)
    else:
        os.environ["SOFTHSM2_CONF"] = before


def _module() -> str:
    if shutil.which("softhsm2-util") is None:
        return ""
    return next((place for place in _PLACES if Path(place).exists()), "")


def _install() -> str:
    why = "its binaries are not installed, and only root on Debian can install them here"
    if os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "softhsm2"]):
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=600, check=False
            )
            if done.returncode != 0:
                why = f"`{' '.join(command[:2])}` ended with {done.returncode}"
                break
        else:
            module = _module()
            if module:
                return module
            why = "it was installed, and its library is not where it was expected"
    text = f"no SoftHSM2: {why}"
    if os.environ.get("CI") == "true":
        pytest.fail(text, pytrace=False)
    pytest.skip(text)
