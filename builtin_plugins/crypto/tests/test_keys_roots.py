"""Roots: each kind opens what it wrapped, a wrong one damages nothing, and changing it re-encrypts no data."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyrage
import pytest
from rustcare_kernel import Kernel
from rustcare_sdk import RustCareError
from rustcare_sdk.contracts import crypto as c

from tests.support.softhsm import SoftHsm, softhsm

__all__ = ["softhsm"]


def put(folder: Path, name: str, value: str) -> None:
    """Write a secret down."""
    (folder / "secrets").mkdir(mode=0o700, exist_ok=True, parents=True)
    file = folder / "secrets" / name
    file.write_text(value)
    file.chmod(0o600)


async def sealed_with(folder: Path, root: Mapping[str, Any]) -> bytes:
    """A new system under a root, with a key and something encrypted."""
    async with Kernel(folder, log_level="silent", config={"rustcare.crypto": {"root": dict(root)}}) as kernel:
        await kernel.install("installed:crypto", consent=True)
        await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("k", "aes256-gcm"))
        return await encrypted(kernel)


async def encrypted(kernel: Kernel) -> bytes:
    """Something under the key."""
    request = c.EncryptRequest("k", [c.PlainItem(b"data")])
    ciphertext: bytes = (await kernel.request(c.ENCRYPT, request, type=c.EncryptReply)).ciphertexts[0]
    return ciphertext


async def opened(kernel: Kernel, ciphertext: bytes) -> bytes | None:
    """What it says."""
    request = c.DecryptRequest("k", [c.CipherItem(ciphertext)])
    data: bytes | None = (await kernel.request(c.DECRYPT, request, type=c.DecryptReply)).data[0]
    return data


async def opens(folder: Path, root: Mapping[str, Any], ciphertext: bytes) -> None:
    """Another start with the root reads what the first wrote."""
    async with Kernel(folder, log_level="silent", config={"rustcare.crypto": {"root": dict(root)}}) as kernel:
        assert await opened(kernel, ciphertext) == b"data"


def dump(folder: Path) -> list[str]:
    """Everything in the plugin's database."""
    connection = sqlite3.connect(folder / "plugins" / "rustcare.crypto" / "store.sqlite3")
    try:
        return list(connection.iterdump())
    finally:
        connection.close()


async def refused(folder: Path, root: Mapping[str, Any]) -> str:
    """A start with the root fails and changes nothing; why."""
    before = dump(folder)
    async with Kernel(folder, log_level="silent", config={"rustcare.crypto": {"root": dict(root)}}) as kernel:
        status = kernel.plugin("rustcare.crypto")
        assert status.state not in ("active", "degraded")
        with pytest.raises(RustCareError):
            await kernel.request(c.KEY_READ, c.KeyRequest("k"), timeout=0.5)
        reason = status.reason
    assert dump(folder) == before
    return reason


async def test_a_new_system_makes_its_root(tmp_path: Path) -> None:
    """Without any configuration a random secret is made, kept readable by the owner alone, and opens the next start."""
    ciphertext = await sealed_with(tmp_path, {})
    secret = tmp_path / "secrets" / "crypto.root"
    assert len(secret.read_bytes()) >= 32
    assert secret.stat().st_mode & 0o077 == 0
    await opens(tmp_path, {}, ciphertext)


async def test_a_wrong_secret_is_refused_and_damages_nothing(tmp_path: Path) -> None:
    """With another root secret the plugin does not start; with the right one again everything is there."""
    ciphertext = await sealed_with(tmp_path, {})
    secret = tmp_path / "secrets" / "crypto.root"
    right = secret.read_bytes()
    secret.write_bytes(bytes(32))
    assert "crypto.root" in await refused(tmp_path, {})
    secret.unlink()
    await refused(tmp_path, {})
    assert not secret.exists()
    secret.write_bytes(right)
    await opens(tmp_path, {}, ciphertext)


async def test_a_passphrase_opens_the_keyring(tmp_path: Path) -> None:
    """A passphrase through argon2id; a final line end does not matter; a wrong one is refused."""
    put(tmp_path, "crypto.passphrase", "correct horse battery")
    ciphertext = await sealed_with(tmp_path, {"kind": "passphrase"})
    put(tmp_path, "crypto.passphrase", "correct horse battery\n")
    await opens(tmp_path, {"kind": "passphrase"}, ciphertext)
    put(tmp_path, "crypto.passphrase", "incorrect horse")
    await refused(tmp_path, {"kind": "passphrase"})


async def test_an_age_identity_opens_the_keyring(tmp_path: Path) -> None:
    """An identity file as age-keygen writes it; another identity is refused, and so is what is none."""
    identity = pyrage.x25519.Identity.generate()
    put(tmp_path, "crypto.age", f"# created: today\n# public key: {identity.to_public()}\n{identity}\n")
    ciphertext = await sealed_with(tmp_path, {"kind": "age"})
    await opens(tmp_path, {"kind": "age"}, ciphertext)
    put(tmp_path, "crypto.age", str(pyrage.x25519.Identity.generate()))
    await refused(tmp_path, {"kind": "age"})
    put(tmp_path, "crypto.age", "nothing of the kind")
    await refused(tmp_path, {"kind": "age"})


async def test_a_token_opens_the_keyring(tmp_path: Path, softhsm: SoftHsm) -> None:
    """A key inside a PKCS#11 token; a wrong PIN, and another token, are refused."""
    token, other = softhsm.token("hospital"), softhsm.token("elsewhere")
    root = {"kind": "pkcs11", "pkcs11": {"module": token.module, "token": token.label}}
    put(tmp_path, "crypto.pin", token.pin)
    ciphertext = await sealed_with(tmp_path, root)
    await opens(tmp_path, root, ciphertext)
    put(tmp_path, "crypto.pin", "9999")
    await refused(tmp_path, root)
    put(tmp_path, "crypto.pin", token.pin)
    await opens(tmp_path, root, ciphertext)
    assert other.label != token.label


async def test_the_root_changes_without_touching_data(tmp_path: Path, softhsm: SoftHsm) -> None:
    """From secret to passphrase to age to token: old ciphertexts open, keys' rows stay; the old root opens nothing."""
    token = softhsm.token("rotation")
    config = {"pkcs11": {"module": token.module, "token": token.label}}
    put(tmp_path, "crypto.passphrase", "correct horse battery")
    put(tmp_path, "crypto.age", str(pyrage.x25519.Identity.generate()))
    put(tmp_path, "crypto.pin", token.pin)
    ciphertext = await sealed_with(tmp_path, config)

    def keys() -> list[str]:
        return [line for line in dump(tmp_path) if "INTO keys" in line or 'INTO "keys' in line or "versions" in line]

    before = keys()
    for number, kind in enumerate(("passphrase", "age", "pkcs11", "secret"), 2):
        async with Kernel(tmp_path, log_level="silent", config={"rustcare.crypto": {"root": config}}) as kernel:
            status = await kernel.request(c.ROOT_ROTATE, c.RootRotateRequest(kind), type=c.RootStatus)  # type: ignore[arg-type]
            assert (status.kind, status.keyring) == (kind, number)
            assert await opened(kernel, ciphertext) == b"data"
        await opens(tmp_path, config, ciphertext)
    assert keys() == before


async def test_renewing_wraps_every_key_anew(tmp_path: Path) -> None:
    """With renew every stored key is wrapped under a new keyring key, and nothing else changes for its users."""
    ciphertext = await sealed_with(tmp_path, {})
    before = [line for line in dump(tmp_path) if "versions" in line and "INSERT" in line]
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await kernel.request(c.ROOT_ROTATE, c.RootRotateRequest("secret", renew=True))
        assert await opened(kernel, ciphertext) == b"data"
    after = [line for line in dump(tmp_path) if "versions" in line and "INSERT" in line]
    assert len(before) == len(after)
    assert not set(before) & set(after)
    await opens(tmp_path, {}, ciphertext)


async def test_an_unusable_new_root_changes_nothing(tmp_path: Path) -> None:
    """Changing to a root whose secret is missing fails, and the old one stays in force."""
    ciphertext = await sealed_with(tmp_path, {})
    async with Kernel(tmp_path, log_level="silent") as kernel:
        with pytest.raises(RustCareError) as caught:
            await kernel.request(c.ROOT_ROTATE, c.RootRotateRequest("passphrase"))
        assert caught.value.code == "crypto.root-refused"
        assert (await kernel.request(c.ROOT_STATUS, c.RootStatusRequest(), type=c.RootStatus)).kind == "secret"
    await opens(tmp_path, {}, ciphertext)


async def test_fips_admits_roots_of_approved_algorithms_only(tmp_path: Path) -> None:
    """Under policy fips a passphrase (argon2id) and age (X25519, ChaCha20) are refused as roots."""
    put(tmp_path, "crypto.passphrase", "correct horse battery")
    config = {"rustcare.crypto": {"policy": "fips"}}
    async with Kernel(tmp_path, log_level="silent", config=config) as kernel:
        await kernel.install("installed:crypto", consent=True)
        with pytest.raises(RustCareError) as caught:
            await kernel.request(c.ROOT_ROTATE, c.RootRotateRequest("passphrase"))
        assert caught.value.code == "crypto.root-refused"
        with pytest.raises(RustCareError) as caught:
            await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("k", "chacha20-poly1305"))
        assert caught.value.code == "crypto.algorithm.refused"


async def test_a_changed_row_is_noticed(tmp_path: Path) -> None:
    """A record changed in the database (made exportable, say) is refused, and so is a version put in another's place."""
    ciphertext = await sealed_with(tmp_path, {})
    store = tmp_path / "plugins" / "rustcare.crypto" / "store.sqlite3"
    connection = sqlite3.connect(store)
    with connection:
        connection.execute(
            "UPDATE keys SET record = replace(record, '\"exportable\":false', '\"exportable\":true') WHERE name = 'k'"
        )
    connection.close()
    async with Kernel(tmp_path, log_level="silent") as kernel:
        with pytest.raises(RustCareError) as caught:
            await opened(kernel, ciphertext)
        assert caught.value.code == "crypto.keyring-damaged"
