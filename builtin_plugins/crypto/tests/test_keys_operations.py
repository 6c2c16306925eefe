"""The operations, asked for over the bus."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from rustcare_kernel import Kernel
from rustcare_sdk import RustCareError
from rustcare_sdk.contracts import crypto as c

AEADS = ("aes256-gcm", "chacha20-poly1305", "aes256-gcm-siv")


async def made(kernel: Kernel, name: str, algorithm: str, **settings: Any) -> c.KeyInfo:
    """A key."""
    info: c.KeyInfo = await kernel.request(
        c.KEY_CREATE, c.KeyCreateRequest(name, algorithm, **settings), type=c.KeyInfo, timeout=60
    )
    return info


async def code_of(kernel: Kernel, service: str, request: Any, **call: Any) -> str:
    """The code of the error that a request ends in."""
    with pytest.raises(RustCareError) as caught:
        await kernel.request(service, request, **call)
    return caught.value.code


async def encrypted(kernel: Kernel, key: str, *items: c.PlainItem, **settings: Any) -> list[bytes]:
    """Ciphertexts."""
    request = c.EncryptRequest(key, list(items), **settings)
    reply: c.EncryptReply = await kernel.request(c.ENCRYPT, request, type=c.EncryptReply)
    return reply.ciphertexts


async def decrypted(kernel: Kernel, key: str, *items: c.CipherItem, partial: bool = False) -> list[bytes | None]:
    """Plaintexts."""
    request = c.DecryptRequest(key, list(items), partial)
    reply: c.DecryptReply = await kernel.request(c.DECRYPT, request, type=c.DecryptReply)
    return reply.data


@pytest.mark.parametrize("algorithm", AEADS)
@pytest.mark.parametrize("text", [False, True])
async def test_encryption_is_undone_by_the_right_request_only(kernel: Kernel, algorithm: str, text: bool) -> None:
    """What was encrypted, in either form, opens with its associated data; every change of it is the one error."""
    await made(kernel, "k", algorithm)
    (sealed,) = await encrypted(kernel, "k", c.PlainItem(b"plain", b"aad"), text=text)
    assert sealed.startswith(b"vault:v1:") is text
    assert await decrypted(kernel, "k", c.CipherItem(sealed, b"aad")) == [b"plain"]
    wrong = [
        c.CipherItem(sealed, b"other"),
        c.CipherItem(sealed[:-1], b"aad"),
        c.CipherItem(sealed[:-1] + bytes([sealed[-1] ^ 1]), b"aad"),
        c.CipherItem(sealed.replace(b"v1", b"v2") if text else b"\1\0\0\0\2" + sealed[5:], b"aad"),
        c.CipherItem(sealed, b"aad", b"context"),
        c.CipherItem(b"", b"aad"),
        c.CipherItem(b"vault:v1:", b"aad"),
        c.CipherItem(b"vault:v0:AAAA", b"aad"),
    ]
    for item in wrong:
        assert await code_of(kernel, c.DECRYPT, c.DecryptRequest("k", [item])) == "crypto.failed"
    assert await decrypted(kernel, "k", *wrong, c.CipherItem(sealed, b"aad"), partial=True) == [None] * 8 + [b"plain"]


async def test_a_derived_key_is_another_for_each_context(kernel: Kernel) -> None:
    """A derived key needs a context, and what was encrypted for one opens for no other."""
    await made(kernel, "k", "aes256-gcm", derived=True)
    (sealed,) = await encrypted(kernel, "k", c.PlainItem(b"plain", context=b"ward 1"))
    assert await decrypted(kernel, "k", c.CipherItem(sealed, context=b"ward 1")) == [b"plain"]
    assert (
        await code_of(kernel, c.DECRYPT, c.DecryptRequest("k", [c.CipherItem(sealed, b"", b"ward 2")]))
        == "crypto.failed"
    )
    assert await code_of(kernel, c.DECRYPT, c.DecryptRequest("k", [c.CipherItem(sealed)])) == "crypto.failed"
    request = c.EncryptRequest("k", [c.PlainItem(b"plain")])
    assert await code_of(kernel, c.ENCRYPT, request) == "crypto.request-invalid"
    assert (
        await code_of(kernel, c.KEY_CREATE, c.KeyCreateRequest("s", "ecdsa-p256", derived=True))
        == "crypto.key-unsuitable"
    )
    await made(kernel, "m", "hmac-sha256", derived=True)
    one = await kernel.request(c.HMAC, c.HmacRequest("m", [b"x"], context=b"a"), type=c.HmacReply)
    two = await kernel.request(c.HMAC, c.HmacRequest("m", [b"x"], context=b"b"), type=c.HmacReply)
    assert one.macs != two.macs


async def test_rotation_keeps_old_ciphertexts_readable_until_the_minimum_shuts_them_out(kernel: Kernel) -> None:
    """After a rotation both versions open; rewrap brings the old one up; a raised minimum and a trim end it."""
    await made(kernel, "k", "aes256-gcm")
    (old,) = await encrypted(kernel, "k", c.PlainItem(b"plain"))
    await kernel.request(c.KEY_ROTATE, c.KeyRequest("k"))
    (new,) = await encrypted(kernel, "k", c.PlainItem(b"plain"))
    assert await decrypted(kernel, "k", c.CipherItem(old), c.CipherItem(new)) == [b"plain", b"plain"]
    rewrapped = await kernel.request(c.REWRAP, c.RewrapRequest("k", [c.CipherItem(old)]), type=c.EncryptReply)
    assert rewrapped.version == 2
    assert await code_of(kernel, c.KEY_TRIM, c.KeyTrimRequest("k", 2)) == "crypto.key-state"
    await kernel.request(c.KEY_CONFIGURE, c.KeyConfigureRequest("k", min_decryption_version=2))
    assert await decrypted(kernel, "k", c.CipherItem(old), c.CipherItem(rewrapped.ciphertexts[0]), partial=True) == [
        None,
        b"plain",
    ]
    info = await kernel.request(c.KEY_TRIM, c.KeyTrimRequest("k", 2), type=c.KeyInfo)
    assert [version.state for version in info.versions] == ["destroyed", "primary"]
    assert (
        await code_of(kernel, c.KEY_CONFIGURE, c.KeyConfigureRequest("k", min_decryption_version=3))
        == "crypto.key-state"
    )


async def test_a_disabled_version_is_kept_and_a_destroyed_one_is_not(kernel: Kernel) -> None:
    """Disabling shuts out and can be undone; destroying is for good; a destroyed key's name is never another key's."""
    await made(kernel, "k", "aes256-gcm")
    (old,) = await encrypted(kernel, "k", c.PlainItem(b"plain"))
    assert await code_of(kernel, c.KEY_STATE, c.KeyStateRequest("k", 1, "disabled")) == "crypto.key-state"
    await kernel.request(c.KEY_ROTATE, c.KeyRequest("k"))
    await kernel.request(c.KEY_STATE, c.KeyStateRequest("k", 1, "disabled"))
    assert await decrypted(kernel, "k", c.CipherItem(old), partial=True) == [None]
    await kernel.request(c.KEY_STATE, c.KeyStateRequest("k", 1, "enabled"))
    assert await decrypted(kernel, "k", c.CipherItem(old)) == [b"plain"]
    await kernel.request(c.KEY_DESTROY, c.KeyDestroyRequest("k", 1))
    assert await code_of(kernel, c.KEY_STATE, c.KeyStateRequest("k", 1, "enabled")) == "crypto.key-state"
    await kernel.request(c.KEY_DESTROY, c.KeyDestroyRequest("k"))
    assert await code_of(kernel, c.ENCRYPT, c.EncryptRequest("k", [c.PlainItem(b"x")])) == "crypto.key-state"
    assert await code_of(kernel, c.KEY_CREATE, c.KeyCreateRequest("k", "aes256-gcm")) == "crypto.key-exists"


async def test_a_data_key_comes_in_clear_and_wrapped(kernel: Kernel) -> None:
    """The wrapped form of a data key decrypts to it; without plaintext only that form comes."""
    await made(kernel, "k", "aes256-gcm")
    reply = await kernel.request(c.DATAKEY, c.DatakeyRequest("k", 32), type=c.DatakeyReply)
    assert await decrypted(kernel, "k", c.CipherItem(reply.ciphertext)) == [reply.plaintext]
    assert len(reply.plaintext) == 32
    wrapped = await kernel.request(c.DATAKEY, c.DatakeyRequest("k", plaintext=False), type=c.DatakeyReply)
    assert wrapped.plaintext == b""
    assert await code_of(kernel, c.DATAKEY, c.DatakeyRequest("k", 7)) == "crypto.request-invalid"


async def test_a_large_object_streams_in_chunks_cut_anywhere(kernel: Kernel) -> None:
    """Chunks in, chunks out; opened in other pieces it is the same; cut off, or continued by another, it is an error."""
    await made(kernel, "k", "aes256-gcm")
    chunks = [bytes([number]) * 50_000 for number in range(5)]
    sealed, stream = b"", ""
    for number, chunk in enumerate(chunks):
        request = c.StreamRequest("k", [chunk], stream, number == 4, b"object 7")
        reply = await kernel.request(c.STREAM_SEAL, request, type=c.StreamReply)
        sealed, stream = sealed + b"".join(reply.chunks), reply.stream
        assert bool(stream) == (number < 4)
    await kernel.request(c.KEY_ROTATE, c.KeyRequest("k"))

    async def opened(data: bytes, aad: bytes) -> bytes:
        plain, stream = b"", ""
        for start in range(0, len(data), 33_333):
            last = start + 33_333 >= len(data)
            request = c.StreamRequest("k", [data[start : start + 33_333]], stream, last, aad)
            reply = await kernel.request(c.STREAM_OPEN, request, type=c.StreamReply)
            plain, stream = plain + b"".join(reply.chunks), reply.stream
        return plain

    assert await opened(sealed, b"object 7") == b"".join(chunks)
    for data, aad in (
        (sealed[:-1], b"object 7"),
        (sealed[:-40_000], b"object 7"),
        (sealed, b"object 8"),
        (b"x" * 9, b""),
    ):
        with pytest.raises(RustCareError) as caught:
            await opened(data, aad)
        assert caught.value.code == "crypto.failed"
    begun = await kernel.request(c.STREAM_SEAL, c.StreamRequest("k", [b"x"]), type=c.StreamReply)
    request = c.StreamRequest("k", [b"x"], begun.stream)
    assert await code_of(kernel, c.STREAM_OPEN, request) == "crypto.stream-unknown"
    assert await code_of(kernel, c.STREAM_SEAL, request, tenant="other") == "crypto.stream-unknown"


@pytest.mark.parametrize(
    "algorithm", ["ed25519", "ecdsa-p256", "ecdsa-p384", "rsa-pss-3072", "ml-dsa-44", "ml-dsa-65", "ed25519+ml-dsa-65"]
)
async def test_signatures_verify_under_the_version_that_made_them(kernel: Kernel, algorithm: str) -> None:
    """Every signature algorithm signs and verifies, before and after a rotation; other data does not verify."""
    await made(kernel, "k", algorithm)
    old = await kernel.request(c.SIGN, c.SignRequest("k", [b"data"]), type=c.SignReply)
    await kernel.request(c.KEY_ROTATE, c.KeyRequest("k"), timeout=60)
    new = await kernel.request(c.SIGN, c.SignRequest("k", [b"data"]), type=c.SignReply)
    items = [c.VerifyItem(b"data", old.signatures[0]), c.VerifyItem(b"data", new.signatures[0])]
    reply = await kernel.request(c.VERIFY, c.VerifyRequest("k", items), type=c.VerifyReply)
    assert reply.versions == [1, 2]
    wrong = c.VerifyItem(b"other", new.signatures[0])
    assert await code_of(kernel, c.VERIFY, c.VerifyRequest("k", [wrong])) == "crypto.failed"
    reply = await kernel.request(c.VERIFY, c.VerifyRequest("k", [wrong, *items], partial=True), type=c.VerifyReply)
    assert reply.versions == [0, 1, 2]
    jwks = await kernel.request(c.JWKS, c.JwksRequest(["k"]), type=c.JwksReply)
    assert [key["kid"] for key in jwks.keys] == ["k/1", "k/2"]


async def test_codes_verify(kernel: Kernel) -> None:
    """An HMAC of either version verifies, another does not."""
    await made(kernel, "k", "hmac-sha256")
    macs = (await kernel.request(c.HMAC, c.HmacRequest("k", [b"a", b"b"]), type=c.HmacReply)).macs
    await kernel.request(c.KEY_ROTATE, c.KeyRequest("k"))
    items = [c.VerifyItem(b"a", macs[0]), c.VerifyItem(b"a", macs[1])]
    request = c.VerifyRequest("k", items, partial=True)
    assert (await kernel.request(c.HMAC_VERIFY, request, type=c.VerifyReply)).versions == [1, 0]


@pytest.mark.parametrize("algorithm", ["hpke-x25519", "hpke-p256", "hpke-ml-kem-768", "hpke-x25519+ml-kem-768"])
async def test_anybody_can_encrypt_to_a_key_and_only_the_ring_decrypts(kernel: Kernel, algorithm: str) -> None:
    """HPKE to a key by name and to its public part; both open, also after a rotation; other info does not."""
    await made(kernel, "k", algorithm)
    public = await kernel.request(c.KEY_PUBLIC, c.KeyPublicRequest("k"), type=c.KeyPublicReply)
    item = c.PlainItem(b"plain", context=b"info")
    named = await kernel.request(c.HPKE_SEAL, c.HpkeSealRequest([item], "k"), type=c.EncryptReply)
    request = c.HpkeSealRequest([item], public=public.raw, algorithm=algorithm)
    foreign = await kernel.request(c.HPKE_SEAL, request, type=c.EncryptReply)
    assert (named.version, foreign.version) == (1, 0)
    await kernel.request(c.KEY_ROTATE, c.KeyRequest("k"))
    sealed = [*named.ciphertexts, *foreign.ciphertexts]
    opened = c.DecryptRequest("k", [c.CipherItem(one, context=b"info") for one in sealed])
    assert (await kernel.request(c.HPKE_OPEN, opened, type=c.DecryptReply)).data == [b"plain", b"plain"]
    assert await code_of(kernel, c.HPKE_OPEN, c.DecryptRequest("k", [c.CipherItem(sealed[0])])) == "crypto.failed"


async def test_two_sides_agree(kernel: Kernel) -> None:
    """X25519 and P-256 give both sides the same secret, other info gives another, a bad peer is the one error."""
    for algorithm in ("x25519", "ecdh-p256"):
        await made(kernel, f"a-{algorithm}", algorithm)
        await made(kernel, f"b-{algorithm}", algorithm)
        publics = {
            side: (
                await kernel.request(c.KEY_PUBLIC, c.KeyPublicRequest(f"{side}-{algorithm}"), type=c.KeyPublicReply)
            ).raw
            for side in "ab"
        }
        one = await kernel.request(c.AGREE, c.AgreeRequest(f"a-{algorithm}", publics["b"], b"i"), type=c.SecretReply)
        two = await kernel.request(c.AGREE, c.AgreeRequest(f"b-{algorithm}", publics["a"], b"i"), type=c.SecretReply)
        other = await kernel.request(c.AGREE, c.AgreeRequest(f"b-{algorithm}", publics["a"]), type=c.SecretReply)
        assert one.secret == two.secret != other.secret
    assert await code_of(kernel, c.AGREE, c.AgreeRequest("a-x25519", bytes(32))) == "crypto.failed"
    outside = X25519PrivateKey.generate().public_key().public_bytes_raw()
    assert len((await kernel.request(c.AGREE, c.AgreeRequest("a-x25519", outside), type=c.SecretReply)).secret) == 32


async def test_an_encapsulated_secret_is_the_same_on_both_sides(kernel: Kernel) -> None:
    """ML-KEM-768 to a key by name and to its public part; an older version is named after a rotation."""
    await made(kernel, "k", "ml-kem-768")
    public = await kernel.request(c.KEY_PUBLIC, c.KeyPublicRequest("k"), type=c.KeyPublicReply)
    one = await kernel.request(c.ENCAPSULATE, c.EncapsulateRequest("k", info=b"i"), type=c.EncapsulateReply)
    request = c.EncapsulateRequest(public=public.raw, algorithm="ml-kem-768", info=b"i")
    two = await kernel.request(c.ENCAPSULATE, request, type=c.EncapsulateReply)
    await kernel.request(c.KEY_ROTATE, c.KeyRequest("k"))
    for side in (one, two):
        opened = c.DecapsulateRequest("k", side.encapsulated, b"i", version=1)
        assert (await kernel.request(c.DECAPSULATE, opened, type=c.SecretReply)).secret == side.secret
    assert await code_of(kernel, c.DECAPSULATE, c.DecapsulateRequest("k", b"short")) == "crypto.failed"


async def test_derivation_random_bytes_and_hashes(kernel: Kernel) -> None:
    """HKDF gives RFC 5869's first test case; random bytes have their size; hashes are those of the standard."""
    request = c.HkdfRequest(secret=bytes([11] * 22), salt=bytes(range(13)), info=bytes(range(0xF0, 0xFA)), size=42)
    okm = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    assert (await kernel.request(c.HKDF, request, type=c.SecretReply)).secret.hex() == okm
    await made(kernel, "k", "hmac-sha256")
    one = await kernel.request(c.HKDF, c.HkdfRequest("k", info=b"a"), type=c.SecretReply)
    two = await kernel.request(c.HKDF, c.HkdfRequest("k", info=b"b"), type=c.SecretReply)
    assert one.secret != two.secret
    assert len((await kernel.request(c.RANDOM, c.RandomRequest(100), type=c.SecretReply)).secret) == 100
    assert await code_of(kernel, c.RANDOM, c.RandomRequest(0)) == "crypto.request-invalid"
    (digest,) = (await kernel.request(c.HASH, c.HashRequest([b"abc"]), type=c.HashReply)).digests
    assert digest.hex().startswith("ba7816bf")


async def test_passwords_are_hashed_and_checked(kernel: Kernel) -> None:
    """A hash is a PHC string of argon2id; the right password is valid, another, or a hash that is none, is not."""
    hashed = await kernel.request(c.PASSWORD_HASH, c.PasswordHashRequest("secret"), type=c.PasswordHashReply)
    assert hashed.hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    for password, text, valid in (("secret", hashed.hash, True), ("other", hashed.hash, False), ("secret", "x", False)):
        request = c.PasswordVerifyRequest(text, password)
        reply = await kernel.request(c.PASSWORD_VERIFY, request, type=c.PasswordVerifyReply)
        assert (reply.valid, reply.stale) == (valid, False)


async def test_an_envelope_needs_as_many_keys_as_was_asked(kernel: Kernel) -> None:
    """A DSSE envelope verifies with its keys; too few of them, or changed content, is the one error."""
    for name in "abc":
        await made(kernel, name, "ed25519")
    signed = await kernel.request(c.DSSE_SIGN, c.DsseSignRequest(b"{}", "t", ["a", "b"]), type=c.DsseSignReply)
    await kernel.request(c.KEY_ROTATE, c.KeyRequest("a"))
    request = c.DsseVerifyRequest(signed.envelope, ["a", "b", "c"], 2)
    reply = await kernel.request(c.DSSE_VERIFY, request, type=c.DsseVerifyReply)
    assert (reply.payload, sorted(reply.signers)) == (b"{}", ["a/1", "b/1"])
    assert (
        await code_of(kernel, c.DSSE_VERIFY, c.DsseVerifyRequest(signed.envelope, ["a", "b", "c"], 3))
        == "crypto.failed"
    )
    changed = json.loads(signed.envelope) | {"payload": base64.b64encode(b"[]").decode()}
    assert await code_of(kernel, c.DSSE_VERIFY, c.DsseVerifyRequest(json.dumps(changed), ["a"])) == "crypto.failed"


async def test_many_signatures_leave_the_event_loop_alone(kernel: Kernel) -> None:
    """A batch that takes long is made beside the loop, in order; other requests are answered meanwhile."""
    await made(kernel, "k", "rsa-pss-3072")
    await made(kernel, "e", "ed25519")
    data = [bytes([number]) for number in range(60)]
    order: list[str] = []

    async def sign() -> c.SignReply:
        reply: c.SignReply = await kernel.request(c.SIGN, c.SignRequest("k", data), type=c.SignReply, timeout=60)
        order.append("rsa")
        return reply

    async def quick() -> None:
        await kernel.request(c.SIGN, c.SignRequest("e", [b"x"]))
        order.append("quick")

    reply, _ = await asyncio.gather(sign(), quick())
    assert order == ["quick", "rsa"]
    items = [c.VerifyItem(one, signature) for one, signature in zip(data, reply.signatures, strict=True)]
    assert (await kernel.request(c.VERIFY, c.VerifyRequest("k", items), type=c.VerifyReply)).versions == [1] * 60
