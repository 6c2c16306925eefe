"""`rustcare crypto …` against a real kernel with the real keyring, over its real socket."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rustcare_kernel.control import ControlClient

from cli.tests.helpers import ENVIRONMENT, command, running_kernel, rustcare, rustcare_json


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The data folder of a running kernel with a keyring."""
    folder = tmp_path_factory.mktemp("kernel") / "data"
    with running_kernel(folder, "--bare"):
        done = rustcare_json("plugin", "install", "installed:crypto", "--yes", "--data", folder)
        assert done["state"] == "active"
        yield folder


def piped(data: Path, *arguments: str | Path, given: bytes = b"", code: int = 0) -> bytes:
    """Run `rustcare crypto …` with something on standard input; what it wrote, as bytes."""
    line = command("crypto", *arguments, "--data", data)
    done = subprocess.run(line, env=ENVIRONMENT, input=given, capture_output=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    return done.stdout


def key(data: Path, *arguments: str | Path, code: int = 0) -> Any:
    """Run `rustcare crypto key … --json`."""
    return rustcare_json("crypto", "key", *arguments, "--data", data, code=code)


def states(found: dict[str, Any]) -> list[str]:
    """The states of a key's versions, in order."""
    return [item["state"] for item in found["versions"]]


def test_a_keys_life(data: Path) -> None:
    """Create, list, rotate, disable and undo it, destroy: only with consent, and then for good."""
    assert states(key(data, "create", "wards", "--algorithm", "chacha20-poly1305")) == ["primary"]
    text = piped(data, "encrypt", "wards", given=b"bed 7")
    assert text.startswith(b"vault:v1:")
    assert states(key(data, "rotate", "wards")) == ["enabled", "primary"]
    assert piped(data, "decrypt", "wards", given=text) == b"bed 7"
    assert states(key(data, "disable", "wards", "--version", "1")) == ["disabled", "primary"]
    piped(data, "decrypt", "wards", given=text, code=1)
    assert states(key(data, "disable", "wards", "--version", "1", "--undo")) == ["enabled", "primary"]
    assert piped(data, "decrypt", "wards", given=text) == b"bed 7"
    listed = {item["name"]: item for item in key(data, "list")}
    assert listed["wards"]["algorithm"] == "chacha20-poly1305"
    assert key(data, "destroy", "wards", code=1)["error"]["code"] == "cli.consent-missing"
    assert states(key(data, "destroy", "wards", "--version", "1", "--yes")) == ["destroyed", "primary"]
    piped(data, "decrypt", "wards", given=text, code=1)
    assert "wards" in rustcare("crypto", "key", "list", "--data", data).stdout


def test_encrypting_files(data: Path, tmp_path: Path) -> None:
    """Any bytes, as text or binary, bound to what `--aad` names, under the key of a context; a file is written whole."""
    key(data, "create", "files", "--derived")
    plain = bytes(range(256)) * 400
    source, sealed, back, aad = (tmp_path / name for name in ("plain", "sealed", "back", "aad"))
    source.write_bytes(plain)
    aad.write_bytes(b"chart 12")
    how = ("--aad", aad, "--context", "ward-7")
    piped(data, "encrypt", "files", "--in", source, "--out", sealed, "--binary", *how)
    assert plain not in sealed.read_bytes()
    assert sealed.stat().st_mode & 0o077 == 0
    piped(data, "decrypt", "files", "--in", sealed, "--out", back, *how)
    assert back.read_bytes() == plain
    for other in ((), ("--aad", aad), ("--context", "ward-7"), ("--aad", source, "--context", "ward-7")):
        where = tmp_path / "never"
        piped(data, "decrypt", "files", "--in", sealed, "--out", where, *other, code=1)
        assert not where.exists()
    found = rustcare_json("crypto", "encrypt", "files", "--in", aad, "--context", "ward-7", "--data", data)
    sealed.write_text(found["ciphertext"])
    found = rustcare_json("crypto", "decrypt", "files", "--in", sealed, "--context", "ward-7", "--data", data)
    assert base64.b64decode(found["data"]) == b"chart 12"


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256", "ml-dsa-65", "ed25519+ml-dsa-65"])
def test_signatures(data: Path, tmp_path: Path, algorithm: str) -> None:
    """A signature verifies for what was signed, and makes the exit code 1 for anything else."""
    name = algorithm.replace("+", "-and-")
    key(data, "create", name, "--algorithm", algorithm)
    signature = tmp_path / "signature"
    piped(data, "sign", name, "--out", signature, given=b"order 1")
    assert piped(data, "verify", name, "--signature", signature, given=b"order 1").startswith(b"good: ")
    assert piped(data, "verify", name, "--signature", signature, given=b"order 2", code=1).startswith(b"BAD: ")
    signature.write_bytes(b"?")
    piped(data, "verify", name, "--signature", signature, given=b"order 1", code=1)


def test_others_can_verify_with_the_public_key(data: Path) -> None:
    """The signature is the algorithm's own, so that any other program can check it."""
    key(data, "create", "public", "--algorithm", "ed25519")
    signature = base64.b64decode(piped(data, "sign", "public", given=b"order 1"))
    with ControlClient(data, timeout=30) as control:
        public = control.call("bus.request", service="crypto.key.public", data={"key": "public"})["raw"]
    Ed25519PublicKey.from_public_bytes(base64.b64decode(public)).verify(signature, b"order 1")


def test_refusals_are_told(data: Path, tmp_path: Path) -> None:
    """An unknown key, an unreadable file, too much input: each an error with a code, nothing written."""
    missing = rustcare_json("crypto", "encrypt", "nobody", "--in", tmp_path / "none", "--data", data, code=1)
    assert missing["error"]["code"] == "cli.failed"
    (tmp_path / "large").write_bytes(bytes(8 * 1024 * 1024 + 1))
    large = rustcare_json("crypto", "encrypt", "nobody", "--in", tmp_path / "large", "--data", data, code=1)
    assert "8,388,608 bytes" in large["error"]["message"]
    (tmp_path / "small").write_bytes(b"x")
    unknown = rustcare_json("crypto", "encrypt", "nobody", "--in", tmp_path / "small", "--data", data, code=1)
    assert unknown["error"]["code"].startswith("crypto.")
    assert rustcare("crypto", "key", "create", "x", "--data", tmp_path).returncode == 1


def test_files_of_any_size(data: Path, tmp_path: Path) -> None:
    """With --stream a file larger than a request goes through; one that was cut off, or is another's, leaves nothing."""
    key(data, "create", "archive", "--algorithm", "aes256-gcm")
    plain = os.urandom(9 * 1024 * 1024 + 17)
    source, sealed, back, aad = (tmp_path / name for name in ("plain", "sealed", "back", "aad"))
    source.write_bytes(plain)
    aad.write_bytes(b"scan 7")
    piped(data, "encrypt", "archive", "--stream", "--in", source, "--out", sealed, "--aad", aad)
    assert plain[:64] not in sealed.read_bytes()
    piped(data, "decrypt", "archive", "--stream", "--out", back, "--aad", aad, given=sealed.read_bytes())
    assert back.read_bytes() == plain
    whole = sealed.read_bytes()
    for bad in (whole[:-1], whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        sealed.write_bytes(bad)
        piped(data, "decrypt", "archive", "--stream", "--in", sealed, "--out", tmp_path / "never", "--aad", aad, code=1)
    assert not list(tmp_path.glob("*never*"))
    assert rustcare("crypto", "encrypt", "archive", "--stream", "--data", data).returncode == 2
