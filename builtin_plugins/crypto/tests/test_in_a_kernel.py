"""The plugin in a real kernel: what other plugins rely on."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rustcare_kernel import Kernel
from rustcare_sdk import RustCareError
from rustcare_sdk.contracts import crypto as c
from rustcare_sdk.plugin import Handler


async def test_a_key_signs_and_its_public_part_verifies(kernel: Kernel) -> None:
    """A signature of crypto.sign is one of the key that crypto.key.public shows."""
    made = await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("audit-log", "ed25519"), type=c.KeyInfo)
    assert [version.state for version in made.versions] == ["primary"]
    public = await kernel.request(c.KEY_PUBLIC, c.KeyPublicRequest("audit-log"), type=c.KeyPublicReply)
    signed = await kernel.request(c.SIGN, c.SignRequest("audit-log", [b"a", b"b"]), type=c.SignReply)
    for data, signature in zip((b"a", b"b"), signed.signatures, strict=True):
        Ed25519PublicKey.from_public_bytes(public.raw).verify(signature, data)


async def test_making_a_key_twice_makes_one(kernel: Kernel) -> None:
    """The same name and algorithm again is answered as it is; another algorithm is an error."""
    first = await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("k", "ed25519"), type=c.KeyInfo)
    assert await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("k", "ed25519"), type=c.KeyInfo) == first
    with pytest.raises(RustCareError) as caught:
        await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("k", "aes256-gcm"))
    assert caught.value.code == "crypto.key-exists"


async def test_tokens_are_equal_for_equal_values_and_found_after_a_rotation(kernel: Kernel) -> None:
    """With all versions, a token made before a rotation is among those to search for."""
    await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("index", "hmac-sha256"))
    ask = c.TokenRequest("index", [b"x", b"y", b"x"])
    old = (await kernel.request(c.TOKEN, ask, type=c.TokenReply)).tokens
    assert old[0] == old[2] != old[1]
    assert len(old[0][0]) == 32
    await kernel.request(c.KEY_ROTATE, c.KeyRequest("index"))
    new = (await kernel.request(c.TOKEN, c.TokenRequest("index", [b"x"], True), type=c.TokenReply)).tokens
    assert len(new[0]) == 2
    assert new[0][1] == old[0][0]


async def seal(kernel: Kernel, *items: c.SealItem, **call: Any) -> c.SealReply:
    """Ask to seal."""
    return await kernel.request(c.SUBJECT_SEAL, c.SealRequest(list(items)), type=c.SealReply, **call)  # type: ignore[no-any-return]


async def states(kernel: Kernel, sealed: list[bytes], context: bytes = b"", **call: Any) -> list[c.Opened]:
    """Ask to open."""
    request = c.OpenRequest([c.OpenItem(one, context) for one in sealed])
    return (await kernel.request(c.SUBJECT_OPEN, request, type=c.OpenReply, **call)).items  # type: ignore[no-any-return]


async def test_what_is_sealed_opens_with_its_context_only(kernel: Kernel) -> None:
    """Sealed data opens; with another context, or cut, it fails."""
    reply = await seal(kernel, c.SealItem("patient/1", b"secret", b"ctx"), c.SealItem("patient/2", b"other", b"ctx"))
    assert len(set(reply.pseudonyms)) == 2
    assert all(len(name) == 64 for name in reply.pseudonyms)
    assert [one.data for one in await states(kernel, reply.sealed, b"ctx")] == [b"secret", b"other"]
    assert [one.state for one in await states(kernel, reply.sealed)] == ["failed", "failed"]
    assert [one.state for one in await states(kernel, [reply.sealed[0][:-1], b"", b"x"], b"ctx")] == ["failed"] * 3


async def test_shredding_leaves_nothing_readable_and_certifies_it(kernel: Kernel, tmp_path: Path) -> None:
    """After a shred: shredded, no pseudonym, never sealed again, a signed certificate, an event, no name in the files."""
    reply = await seal(kernel, c.SealItem("patient/secret-name", b"data"), c.SealItem("patient/other", b"data"))
    events: list[Any] = []

    async def note(message: Any) -> None:
        events.append(message.data)

    kernel.bus.subscribe(Handler("subscribe", c.SHREDDED), note)
    request = c.ShredRequest("patient/secret-name", "asked for erasure")
    done = await kernel.request(c.SUBJECT_SHRED, request, type=c.ShredReply, principal="dpo")
    assert done.pseudonym == reply.pseudonyms[0]
    assert [one.state for one in await states(kernel, reply.sealed)] == ["shredded", "open"]
    again = await seal(kernel, c.SealItem("patient/secret-name", b"new"))
    assert (again.sealed, again.pseudonyms) == ([b""], [""])
    named = await kernel.request(
        c.SUBJECT_PSEUDONYM, c.PseudonymRequest(["patient/secret-name", "patient/other", "x"]), type=c.PseudonymReply
    )
    assert named.pseudonyms == ["", reply.pseudonyms[1], ""]
    envelope = json.loads(done.certificate)
    payload = base64.b64decode(envelope["payload"])
    content = json.loads(payload)
    assert (content["pseudonym"], content["principal"]) == (done.pseudonym, "dpo")
    public = await kernel.request(c.KEY_PUBLIC, c.KeyPublicRequest("crypto-certificates"), type=c.KeyPublicReply)
    kind = envelope["payloadType"].encode()
    covered = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    Ed25519PublicKey.from_public_bytes(public.raw).verify(signature, covered)
    with pytest.raises(RustCareError) as caught:
        await kernel.request(c.SUBJECT_SHRED, request)
    assert caught.value.code == "crypto.subject-unknown"
    for file in (tmp_path / "plugins" / "rustcare.crypto").iterdir():
        assert b"secret-name" not in file.read_bytes()
    await kernel.publish("test.done", confirm=True)
    assert [event.pseudonym for event in events] == [done.pseudonym]


async def test_a_tenant_cannot_open_what_is_anothers(kernel: Kernel) -> None:
    """A ciphertext of one tenant fails for another; the system itself may seal for any tenant and open it."""
    reply = await seal(kernel, c.SealItem("patient/1", b"a", tenant="north"))
    assert (await states(kernel, reply.sealed, tenant="north"))[0].state == "open"
    assert (await states(kernel, reply.sealed))[0].state == "open"
    assert (await states(kernel, reply.sealed, tenant="south"))[0].state == "failed"
    with pytest.raises(RustCareError) as caught:
        await seal(kernel, c.SealItem("patient/1", b"a", tenant="north"), tenant="south")
    assert caught.value.code == "crypto.key-forbidden"


async def test_keys_are_there_after_a_restart(tmp_path: Path) -> None:
    """Another start opens the same keyring: signatures' keys, tokens and sealed data are the same."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await kernel.install("installed:crypto", consent=True)
        await kernel.request(c.KEY_CREATE, c.KeyCreateRequest("k", "ed25519"))
        before = await kernel.request(c.KEY_PUBLIC, c.KeyPublicRequest("k"), type=c.KeyPublicReply)
        sealed = await seal(kernel, c.SealItem("p", b"data"))
    async with Kernel(tmp_path, log_level="silent") as kernel:
        assert await kernel.request(c.KEY_PUBLIC, c.KeyPublicRequest("k"), type=c.KeyPublicReply) == before
        assert (await states(kernel, sealed.sealed))[0].data == b"data"
        assert (await seal(kernel, c.SealItem("p", b"x"))).pseudonyms == sealed.pseudonyms
