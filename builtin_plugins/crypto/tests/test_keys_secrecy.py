"""Nothing secret in logs, errors or representations; nothing destroyed in files."""

from __future__ import annotations

import base64
import sqlite3
from pathlib import Path
from typing import Any

from rustcare_kernel import Kernel
from rustcare_plugin_crypto.plugin import Crypto
from rustcare_sdk import RustCareError
from rustcare_sdk.contracts import crypto as c
from rustcare_sdk.testing import harness

PLAIN = b"plaintext-that-nobody-may-see"
NAME = "patient/name-that-nobody-may-see"


def forms(secret: bytes) -> list[bytes]:
    """How a secret would show: as it is, in hex, in base64, as Python writes bytes."""
    return [secret, secret.hex().encode(), base64.b64encode(secret)[:-4], repr(secret)[2:-1].encode()]


def assert_silent(text: bytes, *secrets: bytes) -> None:
    """None of the secrets is in the text in any form."""
    for secret in secrets:
        for form in forms(secret):
            assert form not in text, form


async def test_operations_leave_nothing_secret_in_logs_and_errors(tmp_path: Path) -> None:
    """Right and wrong requests of every kind, at the most talkative log level: no key, plaintext or name comes out."""
    lines: list[bytes] = []
    errors: list[str] = []
    async with Kernel(tmp_path, log_level="debug", log_sink=lines.append) as kernel:
        await kernel.install("installed:crypto", consent=True)

        async def ask(service: str, request: Any) -> Any:
            try:
                return await kernel.request(service, request)
            except RustCareError as error:
                errors.append(f"{error} {error!r} {error.hint} {error.address}")
                return None

        await ask(c.KEY_CREATE, c.KeyCreateRequest("k", "aes256-gcm", exportable=True))
        await ask(c.KEY_CREATE, c.KeyCreateRequest("s", "ed25519", exportable=True))
        await ask(c.KEY_CREATE, c.KeyCreateRequest("m", "hmac-sha256", exportable=True))
        secrets = [(await ask(c.KEY_EXPORT, c.KeyExportRequest(name))).secret for name in "ksm"]
        sealed = (await ask(c.ENCRYPT, c.EncryptRequest("k", [c.PlainItem(PLAIN)]))).ciphertexts[0]
        for request in (
            c.DecryptRequest("k", [c.CipherItem(sealed)]),
            c.DecryptRequest("k", [c.CipherItem(sealed, b"x")]),
            c.DecryptRequest("k", [c.CipherItem(PLAIN)]),
            c.DecryptRequest("m", [c.CipherItem(sealed)]),
        ):
            await ask(c.DECRYPT, request)
        await ask(c.ENCRYPT, c.EncryptRequest("k", [c.PlainItem(PLAIN, context=b"x")]))
        await ask(c.SIGN, c.SignRequest("k", [PLAIN]))
        await ask(c.VERIFY, c.VerifyRequest("s", [c.VerifyItem(PLAIN, PLAIN)]))
        await ask(c.HKDF, c.HkdfRequest(secret=PLAIN, size=10**6))
        await ask(c.KEY_IMPORT, c.KeyImportRequest("x", "aes256-gcm", PLAIN))
        await ask(c.PASSWORD_VERIFY, c.PasswordVerifyRequest("x", PLAIN.decode()))
        await ask(c.PASSWORD_HASH, c.PasswordHashRequest(PLAIN.decode() * 1000))
        await ask(c.TRANSIT, c.TransitRequest("POST", "encrypt/k", {"plaintext": PLAIN.decode()}))
        made = await ask(c.SUBJECT_SEAL, c.SealRequest([c.SealItem(NAME, PLAIN)]))
        await ask(c.SUBJECT_OPEN, c.OpenRequest([c.OpenItem(made.sealed[0], b"x")]))
        await ask(c.SUBJECT_SEAL, c.SealRequest([c.SealItem(NAME * 100, PLAIN)]))
        await ask(c.SUBJECT_SHRED, c.ShredRequest(NAME, "test"))
        await ask(c.SUBJECT_SHRED, c.ShredRequest(NAME, "test"))
        await ask(c.KEY_ROTATE, c.KeyRequest("k"))
        await ask(c.ROOT_ROTATE, c.RootRotateRequest("secret", renew=True))
        secrets.append((tmp_path / "secrets" / "crypto.root").read_bytes())
    assert len(errors) >= 10
    for text in (b"".join(lines), "\n".join(errors).encode()):
        assert_silent(text, PLAIN, NAME.encode(), *secrets)


async def test_representations_show_nothing() -> None:
    """repr of requests, replies, keys and the plugin's own objects holds no secret."""
    shown = [
        c.PlainItem(PLAIN),
        c.EncryptRequest("k", [c.PlainItem(PLAIN)]),
        c.DecryptReply([PLAIN]),
        c.SignRequest("k", [PLAIN]),
        c.VerifyItem(PLAIN, b""),
        c.HmacRequest("k", [PLAIN]),
        c.TokenRequest("k", [PLAIN]),
        c.SealRequest([c.SealItem("x", PLAIN)]),
        c.OpenReply([c.Opened("open", PLAIN)]),
        c.SecretReply(PLAIN),
        c.DatakeyReply(b"", 1, PLAIN),
        c.HkdfRequest(secret=PLAIN),
        c.EncapsulateReply(b"", 1, PLAIN),
        c.KeyExportReply("k", 1, "a", PLAIN),
        c.PasswordHashRequest(PLAIN.decode()),
        c.PasswordVerifyRequest("x", PLAIN.decode()),
        c.StreamRequest("k", [PLAIN]),
        c.StreamReply("x", [PLAIN]),
        c.HashRequest([PLAIN]),
        c.TransitRequest("POST", "x", {"plaintext": PLAIN.decode()}),
    ]
    assert_silent(repr(shown).encode(), PLAIN)
    async with harness(Crypto, secrets={"crypto.root": PLAIN + bytes(16)}) as running:
        await running.request(c.KEY_CREATE, c.KeyCreateRequest("k", "aes256-gcm"))
        ring = running.plugin.keyring  # type: ignore[attr-defined]
        key = await ring.find("default", "k")
        secret = key.secret(1)
        texts = [ring, ring.envelope, key, key.prepared(1), running.plugin, running.plugin.__dict__]
        assert_silent(repr(texts).encode(), PLAIN, secret, ring.envelope.key)


async def test_what_was_destroyed_is_in_no_file(tmp_path: Path) -> None:
    """After a shred and after a version was destroyed, what wrapped them is in no file of the plugin's store."""
    folder = tmp_path / "plugins" / "rustcare.crypto"

    def content() -> bytes:
        return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))

    async with Kernel(tmp_path, log_level="silent") as kernel:
        await kernel.install("installed:crypto", consent=True)
        await kernel.request(c.SUBJECT_SEAL, c.SealRequest([c.SealItem(f"p/{number}", b"x") for number in range(50)]))
        await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("k", "aes256-gcm"))
        await kernel.request(c.KEY_ROTATE, c.KeyRequest("k"))
        reader = sqlite3.connect(folder / "store.sqlite3")
        subjects = {bytes(row[0]) for row in reader.execute("SELECT wrapped FROM subjects")}
        (version,) = reader.execute("SELECT wrapped FROM versions WHERE name = 'k' AND version = 1").fetchone()
        reader.close()
        assert all(wrapped in content() for wrapped in (*subjects, version))
        await kernel.request(c.SUBJECT_SHRED, c.ShredRequest("p/7", "test"))
        await kernel.request(c.KEY_DESTROY, c.KeyDestroyRequest("k", 1))
        left = content()
        assert version not in left
        assert sum(wrapped in left for wrapped in subjects) == 49


async def test_the_same_on_postgresql(tmp_path: Path, postgres_dsn: str) -> None:
    """Keys, subjects, shredding, campaigns and root renewal work on PostgreSQL, and are there after a restart."""
    async with Kernel(tmp_path, log_level="silent", store=postgres_dsn) as kernel:
        await kernel.install("installed:crypto", consent=True)
        await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("k", "aes256-gcm"))
        request = c.EncryptRequest("k", [c.PlainItem(PLAIN)])
        (sealed,) = (await kernel.request(c.ENCRYPT, request, type=c.EncryptReply)).ciphertexts
        items = [c.SealItem(f"p/{number}", b"x") for number in range(500)]
        made = await kernel.request(c.SUBJECT_SEAL, c.SealRequest(items), type=c.SealReply)
        await kernel.request(c.SUBJECT_SHRED, c.ShredRequest("p/7", "test"))
        await kernel.request(c.KEY_ROTATE, c.KeyRequest("k"))
        await kernel.request(c.ROOT_ROTATE, c.RootRotateRequest("secret", renew=True))
        begun = await kernel.request(c.CAMPAIGN_BEGIN, c.CampaignBeginRequest("k"), type=c.CampaignStatus)
        report = c.CampaignReportRequest(begun.campaign, 0, [c.CipherItem(sealed)])
        assert (await kernel.request(c.CAMPAIGN_REPORT, report, type=c.CampaignReportReply)).status.below == 1
    async with Kernel(tmp_path, log_level="silent", store=postgres_dsn) as kernel:
        opened = c.DecryptRequest("k", [c.CipherItem(sealed)])
        assert (await kernel.request(c.DECRYPT, opened, type=c.DecryptReply)).data == [PLAIN]
        request = c.OpenRequest([c.OpenItem(one) for one in made.sealed])
        states = [item.state for item in (await kernel.request(c.SUBJECT_OPEN, request, type=c.OpenReply)).items]
        assert states == ["open"] * 7 + ["shredded"] + ["open"] * 492
        await kernel.remove("rustcare.crypto", purge=True)
