"""Subjects' keys when many ask at once, with hardly any memory, and while they are destroyed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rustcare_kernel import Kernel
from rustcare_plugin_crypto import operations
from rustcare_plugin_crypto.errors import CryptoFailed
from rustcare_plugin_crypto.plugin import Crypto
from rustcare_sdk.contracts import crypto as c
from rustcare_sdk.testing import harness


async def sealed(kernel: Kernel, names: list[str]) -> c.SealReply:
    """Seal something for each."""
    request = c.SealRequest([c.SealItem(name, name.encode()) for name in names])
    reply: c.SealReply = await kernel.request(c.SUBJECT_SEAL, request, type=c.SealReply)
    return reply


async def states(kernel: Kernel, items: list[bytes]) -> list[c.Opened]:
    """Open each."""
    request = c.OpenRequest([c.OpenItem(one) for one in items])
    reply: c.OpenReply = await kernel.request(c.SUBJECT_OPEN, request, type=c.OpenReply)
    return reply.items


async def test_many_who_ask_at_once_get_one_key(kernel: Kernel) -> None:
    """Requests for the same new subjects at the same moment end in one key for each: one pseudonym, all readable."""
    names = [f"p/{number}" for number in range(20)]
    replies = await asyncio.gather(*(sealed(kernel, names[start:] + names[:start]) for start in range(20)))
    found: dict[str, set[str]] = {}
    for start, reply in enumerate(replies):
        for name, pseudonym in zip(names[start:] + names[:start], reply.pseudonyms, strict=True):
            found.setdefault(name, set()).add(pseudonym)
        assert {item.state for item in await states(kernel, reply.sealed)} == {"open"}
    assert all(len(pseudonyms) == 1 for pseudonyms in found.values())


async def test_a_cache_of_one_key_is_enough(tmp_path: Path) -> None:
    """With room for one key in memory a batch of many subjects seals and opens all the same."""
    config = {"rustcare.crypto": {"subjects": {"cache": 1}}}
    async with Kernel(tmp_path, log_level="silent", config=config) as kernel:
        await kernel.install("installed:crypto", consent=True)
        names = [f"p/{number}" for number in range(1000)]
        first, again = await sealed(kernel, names), await sealed(kernel, names)
        assert first.pseudonyms == again.pseudonyms
        assert len(set(first.pseudonyms)) == 1000
        opened = await states(kernel, first.sealed + again.sealed)
        assert [item.data.decode() for item in opened] == names * 2


async def test_sealing_while_a_key_is_destroyed_never_makes_another(kernel: Kernel) -> None:
    """Whatever is sealed beside a shred is either empty or unreadable afterwards, and no new key comes to be."""
    for number in range(10):
        name = f"p/{number}"
        await sealed(kernel, [name])
        shred = kernel.request(c.SUBJECT_SHRED, c.ShredRequest(name, "test"), type=c.ShredReply)
        replies = await asyncio.gather(
            *(sealed(kernel, [name]) for _ in range(5)), shred, *(sealed(kernel, [name]) for _ in range(5))
        )
        pseudonym = replies[5].pseudonym
        for reply in replies[:5] + replies[6:]:
            assert reply.pseudonyms in ([pseudonym], [""])
            assert [item.state for item in await states(kernel, [one for one in reply.sealed if one])] in (
                [],
                ["shredded"],
            )
        assert (await sealed(kernel, [name])).sealed == [b""]


async def test_one_shred_of_two_at_once_succeeds(kernel: Kernel) -> None:
    """Asked twice at the same time, one gets the certificate and the other learns that there is no key."""
    await sealed(kernel, ["p"])
    request = c.ShredRequest("p", "test")
    answers = await asyncio.gather(
        *(kernel.request(c.SUBJECT_SHRED, request, type=c.ShredReply) for _ in range(3)), return_exceptions=True
    )
    assert [type(answer) for answer in answers].count(c.ShredReply) == 1


async def test_a_certificate_is_told_after_a_crash() -> None:
    """A destroyed key whose event was not published before the process ended is told at the next start."""
    async with harness(Crypto, secrets={"crypto.root": bytes(range(32))}) as running:
        await running.request(c.SUBJECT_SEAL, c.SealRequest([c.SealItem("p", b"x")]))
        await running.request(c.SUBJECT_SHRED, c.ShredRequest("p", "test"))
        assert len(running.assert_published(c.SHREDDED)) == 1
        await running.database.execute("UPDATE certificates SET told = 0")
        told = asyncio.Event()
        running.subscribe(c.SHREDDED, lambda message: told.set())
        await running.restart()
        async with asyncio.timeout(5):
            await told.wait()


@given(version=st.integers(1, 10**8), body=st.binary(min_size=1, max_size=200))
def test_both_forms_of_a_ciphertext_say_the_same(version: int, body: bytes) -> None:
    """Native to text and back: version and content are kept."""
    native = b"\x01" + version.to_bytes(4, "big") + body
    assert operations.split(native) == (version, body, False)
    assert operations.split(operations.as_text(native)) == (version, body, True)


@given(data=st.one_of(st.binary(max_size=40), st.from_regex(rb"vault:v[0-9]*:[A-Za-z0-9+/=]*", fullmatch=True)))
def test_what_is_no_ciphertext_is_the_one_error(data: bytes) -> None:
    """Arbitrary bytes are split, or they are CryptoFailed; nothing else comes out."""
    try:
        version, body, _ = operations.split(data)
    except CryptoFailed:
        return
    assert version >= 0
    assert isinstance(body, bytes)
