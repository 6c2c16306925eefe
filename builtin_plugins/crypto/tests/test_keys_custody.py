"""Keys that come and go: import, export, backup; and who may do what with a key."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding, aes_key_wrap_with_padding
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_public_key,
)
from rustcare_kernel import Kernel
from rustcare_plugin_crypto.keyring import Caller, KeyRecord
from rustcare_plugin_crypto.plugin import Crypto
from rustcare_sdk import RustCareError
from rustcare_sdk.contracts import crypto as c
from rustcare_sdk.contracts.audit import EffectsReply, EffectsRequest
from rustcare_sdk.testing import PluginHarness, harness


@pytest.fixture
async def plugin() -> AsyncIterator[PluginHarness]:
    """The plugin in the kernel's double, where a test can say who asks and what time it is."""
    async with harness(Crypto, secrets={"crypto.root": bytes(range(32))}) as running:
        yield running


async def code_of(asking: Any) -> str:
    """The code of the error that a request ends in."""
    with pytest.raises(RustCareError) as caught:
        await asking
    return caught.value.code


def wrapped_for(public: str, material: bytes, digest: HashAlgorithm) -> bytes:
    """Wrap as an owner of a key does, with the standard's own steps."""
    key = load_pem_public_key(public.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    aes = os.urandom(32)
    pad = padding.OAEP(padding.MGF1(digest), digest, None)
    return key.encrypt(aes, pad) + aes_key_wrap_with_padding(aes, material)


async def test_a_key_of_ones_own_is_imported(kernel: Kernel) -> None:
    """A raw AES key and a PKCS #8 Ed25519 key come in wrapped; new versions come by import only; garbage is refused."""
    public = (await kernel.request(c.KEY_WRAPPING, c.KeyWrappingRequest(), type=c.KeyWrappingReply, timeout=120)).public
    aes = os.urandom(32)
    request = c.KeyImportRequest("mine", "aes256-gcm", wrapped_for(public, aes, SHA256()), exportable=True)
    info = await kernel.request(c.KEY_IMPORT, request, type=c.KeyInfo)
    assert info.imported
    assert (await kernel.request(c.KEY_EXPORT, c.KeyExportRequest("mine"), type=c.KeyExportReply)).secret == aes
    assert await code_of(kernel.request(c.KEY_ROTATE, c.KeyRequest("mine"))) == "crypto.key-state"
    again = c.KeyImportRequest("mine", "", wrapped_for(public, os.urandom(32), SHA256()), version=True)
    assert len((await kernel.request(c.KEY_IMPORT, again, type=c.KeyInfo)).versions) == 2
    private = ed25519.Ed25519PrivateKey.generate()
    der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    signing = c.KeyImportRequest("signing", "ed25519", wrapped_for(public, der, SHA256()))
    await kernel.request(c.KEY_IMPORT, signing)
    shown = await kernel.request(c.KEY_PUBLIC, c.KeyPublicRequest("signing"), type=c.KeyPublicReply)
    assert shown.raw == private.public_key().public_bytes_raw()
    for wrapped in (b"", bytes(600), wrapped_for(public, b"short", SHA256())):
        assert (
            await code_of(kernel.request(c.KEY_IMPORT, c.KeyImportRequest("x", "aes256-gcm", wrapped)))
            == "crypto.failed"
        )
    assert await code_of(kernel.request(c.KEY_EXPORT, c.KeyExportRequest("signing"))) == "crypto.key-forbidden"


async def test_an_export_for_a_recipient_is_wrapped_for_it(kernel: Kernel) -> None:
    """With a recipient's public key the secret leaves wrapped as imports are, and only its owner reads it."""
    recipient = rsa.generate_private_key(65537, 2048)
    pem = recipient.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("k", "aes256-gcm", exportable=True))
    plain = (await kernel.request(c.KEY_EXPORT, c.KeyExportRequest("k"), type=c.KeyExportReply)).secret
    wrapped = (await kernel.request(c.KEY_EXPORT, c.KeyExportRequest("k", 0, pem), type=c.KeyExportReply)).secret
    aes = recipient.decrypt(wrapped[:256], padding.OAEP(padding.MGF1(SHA256()), SHA256(), None))
    assert aes_key_unwrap_with_padding(aes, wrapped[256:]) == plain
    bad = c.KeyExportRequest("k", 0, "no key")
    assert await code_of(kernel.request(c.KEY_EXPORT, bad)) == "crypto.request-invalid"


async def test_a_backup_comes_back_but_not_what_was_destroyed(kernel: Kernel) -> None:
    """A backup restores all versions, under another name or by force over the key; destroyed versions stay destroyed."""
    await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("k", "aes256-gcm"))
    request = c.EncryptRequest("k", [c.PlainItem(b"plain")])
    (old,) = (await kernel.request(c.ENCRYPT, request, type=c.EncryptReply)).ciphertexts
    await kernel.request(c.KEY_ROTATE, c.KeyRequest("k"))
    backup = (await kernel.request(c.KEY_BACKUP, c.KeyBackupRequest("k"), type=c.KeyBackupReply)).backup
    copy = await kernel.request(c.KEY_RESTORE, c.KeyRestoreRequest(backup, "copy"), type=c.KeyInfo)
    assert len(copy.versions) == 2
    opened = c.DecryptRequest("copy", [c.CipherItem(old)])
    assert (await kernel.request(c.DECRYPT, opened, type=c.DecryptReply)).data == [b"plain"]
    assert await code_of(kernel.request(c.KEY_RESTORE, c.KeyRestoreRequest(backup))) == "crypto.key-exists"
    await kernel.request(c.KEY_DESTROY, c.KeyDestroyRequest("k", 1))
    back = await kernel.request(c.KEY_RESTORE, c.KeyRestoreRequest(backup, force=True), type=c.KeyInfo)
    assert [version.state for version in back.versions] == ["destroyed", "primary"]
    assert await code_of(kernel.request(c.KEY_RESTORE, c.KeyRestoreRequest(backup[:-1]))) == "crypto.failed"
    assert await code_of(kernel.request(c.KEY_RESTORE, c.KeyRestoreRequest(b""))) == "crypto.failed"


async def test_a_backup_for_another_keyring_is_read_there_only(tmp_path: Path) -> None:
    """An exportable key moves to another system under that one's wrapping key; this one cannot read that backup."""
    async with Kernel(tmp_path / "a", log_level="silent") as here, Kernel(tmp_path / "b", log_level="silent") as there:
        await here.install("installed:crypto", consent=True)
        await there.install("installed:crypto", consent=True)
        public = await there.request(c.KEY_WRAPPING, c.KeyWrappingRequest(), type=c.KeyWrappingReply, timeout=120)
        await here.request(c.KEY_CREATE, c.KeyCreateRequest("k", "aes256-gcm", exportable=True))
        await here.request(c.KEY_CREATE, c.KeyCreateRequest("fixed", "aes256-gcm"))
        request = c.EncryptRequest("k", [c.PlainItem(b"plain")])
        (sealed,) = (await here.request(c.ENCRYPT, request, type=c.EncryptReply)).ciphertexts
        moved = c.KeyBackupRequest("k", public.public)
        backup = (await here.request(c.KEY_BACKUP, moved, type=c.KeyBackupReply)).backup
        await there.request(c.KEY_RESTORE, c.KeyRestoreRequest(backup))
        opened = c.DecryptRequest("k", [c.CipherItem(sealed)])
        assert (await there.request(c.DECRYPT, opened, type=c.DecryptReply)).data == [b"plain"]
        own = (await here.request(c.KEY_BACKUP, c.KeyBackupRequest("k"), type=c.KeyBackupReply)).backup
        assert await code_of(there.request(c.KEY_RESTORE, c.KeyRestoreRequest(own, "x"))) == "crypto.failed"
        fixed = c.KeyBackupRequest("fixed", public.public)
        assert await code_of(here.request(c.KEY_BACKUP, fixed)) == "crypto.key-forbidden"


async def test_a_key_is_for_its_maker_and_its_users(plugin: PluginHarness) -> None:
    """Another plugin may see a public key and verify; it may sign only when it is among the users."""
    ask = plugin.request
    await ask(c.KEY_CREATE, c.KeyCreateRequest("k", "ed25519"), source="acme.maker")
    signed = await ask(c.SIGN, c.SignRequest("k", [b"x"]), source="acme.maker", type=c.SignReply)
    assert await code_of(ask(c.SIGN, c.SignRequest("k", [b"x"]), source="acme.other")) == "crypto.key-forbidden"
    item = c.VerifyItem(b"x", signed.signatures[0])
    await ask(c.VERIFY, c.VerifyRequest("k", [item]), source="acme.other")
    for service, request in (
        (c.KEY_ROTATE, c.KeyRequest("k")),
        (c.KEY_DESTROY, c.KeyDestroyRequest("k")),
        (c.KEY_CONFIGURE, c.KeyConfigureRequest("k", users=["acme.other"])),
        (c.KEY_CREATE, c.KeyCreateRequest("k", "ed25519")),
        (c.KEY_BACKUP, c.KeyBackupRequest("k")),
    ):
        assert await code_of(ask(service, request, source="acme.other")) == "crypto.key-forbidden"
    await ask(c.KEY_CONFIGURE, c.KeyConfigureRequest("k", users=["acme.other"]), source="acme.maker")
    await ask(c.SIGN, c.SignRequest("k", [b"x"]), source="acme.other")
    shown = await ask(c.KEY_LIST, c.KeyListRequest(), source="acme.third", type=c.KeyListReply)
    assert shown.keys == []
    await ask(c.SIGN, c.SignRequest("k", [b"x"]), source="operator")


async def test_the_keyrings_own_keys_are_nobodys(plugin: PluginHarness) -> None:
    """Names that begin with crypto- are refused; the internal keys sign for nobody and are never destroyed."""
    ask = plugin.request
    assert await code_of(ask(c.KEY_CREATE, c.KeyCreateRequest("crypto-x", "ed25519"))) == "crypto.key-forbidden"
    assert await code_of(ask(c.SIGN, c.SignRequest("crypto-certificates", [b"x"]))) == "crypto.key-forbidden"
    for name in ("crypto-subjects", "crypto-subject-names", "crypto-certificates"):
        assert await code_of(ask(c.KEY_DESTROY, c.KeyDestroyRequest(name))) == "crypto.key-forbidden"
        change = c.KeyConfigureRequest(name, min_decryption_version=1, users=["*"])
        assert await code_of(ask(c.KEY_CONFIGURE, change)) == "crypto.key-forbidden"
    assert await code_of(ask(c.KEY_ROTATE, c.KeyRequest("crypto-subject-names"))) == "crypto.key-forbidden"
    sealed = await ask(c.SUBJECT_SEAL, c.SealRequest([c.SealItem("p", b"x")]), type=c.SealReply)
    await ask(c.KEY_ROTATE, c.KeyRequest("crypto-subjects"))
    await plugin.restart()
    opened = await ask(c.SUBJECT_OPEN, c.OpenRequest([c.OpenItem(sealed.sealed[0])]), type=c.OpenReply)
    assert opened.items[0].data == b"x"


async def test_tenants_have_keys_of_their_own(plugin: PluginHarness) -> None:
    """A tenant uses its own key before the default tenant's; another's it does not see, the default's it cannot change."""
    ask = plugin.request
    await ask(c.KEY_CREATE, c.KeyCreateRequest("north-only", "ed25519"), tenant="north")
    assert await code_of(ask(c.KEY_READ, c.KeyRequest("north-only"), tenant="south")) == "crypto.key-unknown"
    assert await code_of(ask(c.KEY_READ, c.KeyRequest("north-only"))) == "crypto.key-unknown"
    await ask(c.KEY_CREATE, c.KeyCreateRequest("shared", "ed25519"))
    await ask(c.SIGN, c.SignRequest("shared", [b"x"]), tenant="north")
    assert await code_of(ask(c.KEY_ROTATE, c.KeyRequest("shared"), tenant="north")) == "crypto.key-unknown"


async def test_keys_rotate_when_they_are_due(plugin: PluginHarness) -> None:
    """A key with rotate_after gets a new version once that time has passed, by the plugin's clock, and an event tells."""
    ask = plugin.request
    await ask(c.KEY_CREATE, c.KeyCreateRequest("hourly", "aes256-gcm", rotate_after=3600))
    await ask(c.KEY_CREATE, c.KeyCreateRequest("never", "aes256-gcm"))
    schedule = plugin.plugin.schedule  # type: ignore[attr-defined]
    assert await schedule.rotate_due() == 3600
    plugin.now += timedelta(seconds=3601)
    rotated = asyncio.Event()
    plugin.subscribe(c.ROTATED, lambda message: rotated.set())
    schedule.changed()
    async with asyncio.timeout(5):
        await rotated.wait()
    info = await ask(c.KEY_READ, c.KeyRequest("hourly"), type=c.KeyInfo)
    assert [version.state for version in info.versions] == ["enabled", "primary"]
    assert len((await ask(c.KEY_READ, c.KeyRequest("never"), type=c.KeyInfo)).versions) == 1


async def test_a_keys_exportability_is_never_widened(plugin: PluginHarness) -> None:
    """What was made non-exportable stays so; exportability can be taken away."""
    ask = plugin.request
    await ask(c.KEY_CREATE, c.KeyCreateRequest("k", "aes256-gcm"))
    widen = c.KeyConfigureRequest("k", exportable=True)
    assert await code_of(ask(c.KEY_CONFIGURE, widen)) == "crypto.key-forbidden"
    assert await code_of(ask(c.KEY_EXPORT, c.KeyExportRequest("k"))) == "crypto.key-forbidden"


async def test_a_change_notes_under_which_id_it_is_on_record(plugin: PluginHarness) -> None:
    """What took effect is known by the attempt's id after a crash; what failed, or changed nothing, is not."""
    ring = plugin.plugin.keyring  # type: ignore[attr-defined]
    wanted = KeyRecord("default", "k", "ed25519")
    await ring.create(Caller("default", "", True, "made"), wanted)
    await ring.create(Caller("default", "", True, "there already"), wanted)
    assert await code_of(ring.rotate(Caller("north", "", False, "refused"), "k")) == "crypto.key-unknown"
    await ring.rotate(Caller("default", "", True, "rotated"), "k")
    ask = EffectsRequest(["made", "there already", "refused", "rotated"])
    reply = await plugin.request(c.EFFECTS, ask, type=EffectsReply)
    assert sorted(reply.happened) == ["made", "rotated"]
    assert c.SUBJECT_SHRED in reply.services
    plugin.now += timedelta(seconds=1)
    await plugin.restart()
    await plugin.request(c.EFFECTS, EffectsRequest(forget=True))
    assert (await plugin.request(c.EFFECTS, ask, type=EffectsReply)).happened == []
