"""The policy fips is asked at every operation, also with keys that were made before it was in force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rustcare_kernel import Kernel
from rustcare_sdk import RustCareError
from rustcare_sdk.contracts import crypto as c

_KEYS = {
    "chacha": "chacha20-poly1305",
    "siv": "aes256-gcm-siv",
    "x": "x25519",
    "h": "hpke-x25519",
    "gcm": "aes256-gcm",
    "ed": "ed25519",
    "m": "hmac-sha256",
    "kem": "ml-kem-768",
    "p": "ecdh-p256",
}


async def code(kernel: Kernel, service: str, request: Any) -> str:
    """The code of the error, empty for none."""
    try:
        await kernel.request(service, request, timeout=30)
    except RustCareError as error:
        return error.code
    return ""


async def test_what_is_not_approved_is_refused_everywhere(tmp_path: Path) -> None:
    """Under fips no operation works with an algorithm that is not approved, and all work with approved ones."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await kernel.install("installed:crypto", consent=True)
        for name, algorithm in _KEYS.items():
            await kernel.request(c.KEY_CREATE, c.KeyCreateRequest(name, algorithm, exportable=True, rotate_after=10**8))
        item = c.PlainItem(b"x")
        sealed = {
            name: (await kernel.request(c.ENCRYPT, c.EncryptRequest(name, [item]), type=c.EncryptReply)).ciphertexts[0]
            for name in ("chacha", "siv", "gcm")
        }
        peer = {
            name: (await kernel.request(c.KEY_PUBLIC, c.KeyPublicRequest(name), type=c.KeyPublicReply)).raw
            for name in ("x", "h", "kem", "p")
        }
    refused = [
        (c.HPKE_SEAL, c.HpkeSealRequest([item], "h")),
        (c.HPKE_SEAL, c.HpkeSealRequest([item], public=peer["h"], algorithm="hpke-x25519")),
        (c.HPKE_OPEN, c.DecryptRequest("h", [c.CipherItem(b"x")])),
        (c.AGREE, c.AgreeRequest("x", peer["x"])),
        (c.KEY_CREATE, c.KeyCreateRequest("new", "x25519")),
        (c.TRANSIT, c.TransitRequest("POST", "encrypt/chacha", {"plaintext": ""})),
    ]
    for name in ("chacha", "siv"):
        refused += [
            (c.ENCRYPT, c.EncryptRequest(name, [item])),
            (c.DECRYPT, c.DecryptRequest(name, [c.CipherItem(sealed[name])])),
            (c.REWRAP, c.RewrapRequest(name, [c.CipherItem(sealed[name])])),
            (c.DATAKEY, c.DatakeyRequest(name)),
            (c.STREAM_SEAL, c.StreamRequest(name, [b"x"])),
            (c.STREAM_OPEN, c.StreamRequest(name, [b"x"])),
            (c.CAMPAIGN_BEGIN, c.CampaignBeginRequest(name)),
            (c.KEY_ROTATE, c.KeyRequest(name)),
            (c.KEY_EXPORT, c.KeyExportRequest(name)),
        ]
    admitted = [
        (c.ENCRYPT, c.EncryptRequest("gcm", [item])),
        (c.DECRYPT, c.DecryptRequest("gcm", [c.CipherItem(sealed["gcm"])])),
        (c.SIGN, c.SignRequest("ed", [b"x"])),
        (c.HMAC, c.HmacRequest("m", [b"x"])),
        (c.TOKEN, c.TokenRequest("m", [b"x"])),
        (c.ENCAPSULATE, c.EncapsulateRequest("kem")),
        (c.AGREE, c.AgreeRequest("p", peer["p"])),
        (c.HKDF, c.HkdfRequest("m")),
        (c.HASH, c.HashRequest([b"x"])),
        (c.PASSWORD_HASH, c.PasswordHashRequest("secret")),
        (c.SUBJECT_SEAL, c.SealRequest([c.SealItem("p", b"x")])),
        (c.SUBJECT_SHRED, c.ShredRequest("p", "test")),
        (c.ROOT_ROTATE, c.RootRotateRequest("secret", renew=True)),
    ]
    async with Kernel(tmp_path, log_level="silent", config={"rustcare.crypto": {"policy": "fips"}}) as kernel:
        for service, request in refused:
            if service == c.TRANSIT:
                assert (await kernel.request(service, request, type=c.TransitReply)).status == 403
            else:
                assert await code(kernel, service, request) == "crypto.algorithm.refused", (service, request)
        for service, request in admitted:
            assert await code(kernel, service, request) == "", (service, request)
