"""The keys of an issuer: read once at a time, not too often, and good for a while when they cannot be read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rustcare_plugin_gateway.authenticate.jws import TokenRefused
from rustcare_plugin_gateway.authenticate.key_set import KeysAway, KeySet, Loaded
from rustcare_plugin_gateway.errors import IdentityUnavailable

from tests.support.tokens import Signer

A, B = Signer("ES256", "a"), Signer("EdDSA", "b")


class Source:
    """Where keys are read from, and the set of them."""

    def __init__(self, *signers: Signer, **options: Any) -> None:
        self.keys: list[Any] | None = [signer.jwk for signer in signers]
        self.away = False
        self.read = 0
        self.now = 0.0
        self.gate: asyncio.Event | None = None
        self.gone: list[str] = []
        self.told: list[str] = []
        self.set = KeySet(self.load, lambda: self.now, gone=self.gone.extend, failed=self.told.append, **options)

    async def load(self) -> Loaded:
        """Read."""
        self.read += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.away:
            raise KeysAway("no answer")
        return Loaded(self.keys, 600.0)


async def test_keys_are_read_when_first_asked_for_and_when_their_time_is_over() -> None:
    """While they are fresh nothing is read."""
    source = Source(A, B)
    for moment, read in ((0, 1), (599, 1), (600, 2), (1199, 2), (1200, 3)):
        source.now = moment
        assert (await source.set.find("a")).kid == "a"
        assert source.read == read


async def test_keys_that_have_not_changed_are_good_again() -> None:
    """An answer without keys says that those that are known last on."""
    source = Source(A)
    await source.set.find("a")
    source.keys = None
    source.now = 600
    assert (await source.set.find("a")).kid == "a"
    assert source.set.fresh


async def test_a_key_that_is_missing_is_looked_for_once_in_a_pause() -> None:
    """A new key is found at once when the pause is over; names that do not exist cost one reading in a pause."""
    source = Source(A, pause=30)
    await source.set.find("a")
    for number in range(20):
        with pytest.raises(TokenRefused):
            await source.set.find(f"x{number}")
    assert source.read == 1
    source.keys = [A.jwk, B.jwk]
    source.now = 30
    assert (await source.set.find("b")).kid == "b"
    assert source.read == 2


async def test_a_key_that_was_missing_is_not_looked_for_again_soon() -> None:
    """One name that does not exist costs one reading in the time that is set for it, not one in every pause."""
    source = Source(A, pause=30, absent=300)
    await source.set.find("a")
    for moment in range(30, 600, 30):
        source.now = moment
        source.set.expires = moment + 100
        with pytest.raises(TokenRefused):
            await source.set.find("x")
    assert source.read == 1 + 2


async def test_a_key_that_was_not_looked_for_is_not_missing() -> None:
    """A name that was refused within the pause, without a look, is looked for when the pause is over."""
    source = Source(A, pause=30)
    await source.set.find("a")
    source.keys = [A.jwk, B.jwk]
    source.now = 29
    with pytest.raises(TokenRefused):
        await source.set.find("b")
    source.now = 30
    assert (await source.set.find("b")).kid == "b"


async def test_what_is_remembered_as_missing_is_bounded_and_forgotten() -> None:
    """Names that are missing take bounded room; one that is among keys that were read is missing no more."""
    source = Source(A, pause=0)
    await source.set.find("a")
    for number in range(1000):
        with pytest.raises(TokenRefused):
            await source.set.find(f"x{number}")
    assert len(source.set._absent) == 256
    source.set.put([A.jwk, {**B.jwk, "kid": "x999"}], 600)
    assert len(source.set._absent) == 255
    assert (await source.set.find("x999")).kid == "x999"


async def test_many_who_ask_read_once() -> None:
    """While keys are read everybody waits for that; one who gives up does not end it."""
    source = Source(A)
    source.gate = asyncio.Event()
    waiting = [asyncio.create_task(source.set.find("a")) for _ in range(30)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    source.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert {key.kid for key in found[1:] if not isinstance(key, BaseException)} == {"a"}
    assert source.read == 1


async def test_stale_keys_are_good_for_a_while() -> None:
    """Keys that cannot be read again are used on, and tried again after a pause, until that is too long."""
    source = Source(A, stale=1000, again=15)
    await source.set.find("a")
    source.away = True
    for moment, read in ((600, 2), (601, 2), (614, 2), (615, 3), (1599, 4)):
        source.now = moment
        assert (await source.set.find("a")).kid == "a"
        assert source.read == read
    source.now = 1600
    with pytest.raises(IdentityUnavailable):
        await source.set.find("a")
    source.away = False
    source.now = 1615
    assert (await source.set.find("a")).kid == "a"
    assert source.told == ["no answer"] * 3


async def test_without_any_keys_it_is_nobodys_fault_but_ours() -> None:
    """That keys were never read is no reason to call a token bad; a key that is missing while they cannot be read, neither."""
    source = Source(A)
    source.away = True
    with pytest.raises(IdentityUnavailable):
        await source.set.find("a")
    source.away = False
    source.now = 15
    await source.set.find("a")
    source.away = True
    source.now = 620
    with pytest.raises(IdentityUnavailable):
        await source.set.find("new")


async def test_a_token_must_name_its_key_where_there_are_several() -> None:
    """Without an id only the one key there is can be meant."""
    assert (await Source(A).set.find("")).kid == "a"
    with pytest.raises(TokenRefused, match="name"):
        await Source(A, B).set.find("")


async def test_keys_that_are_not_understood_are_left_out() -> None:
    """RFC 7517, section 5: other keys in a set do not matter; how many there were is told."""
    source = Source(A)
    source.keys = [
        {"kty": "oct", "k": "AAAA", "kid": "a"},
        A.jwk,
        {"kty": "new", "kid": "b"},
        5,
        None,
        "x",
        [],
        {**B.jwk, "use": "enc"},
    ]
    assert (await source.set.find("a")).thumbprint
    assert len(source.set) == 1
    assert source.told == ["7 keys were not accepted"]


async def test_an_id_that_two_keys_have_is_no_id() -> None:
    """Which of two keys an id means cannot be known: none. The same key twice is one."""
    source = Source(A, B)
    source.set.put([{**A.jwk, "kid": "x"}, {**B.jwk, "kid": "x"}, A.jwk, A.jwk], 600)
    assert source.set.get("x") is None
    assert len(source.set) == 1


async def test_keys_that_go_are_told() -> None:
    """Whoever remembers what a key vouched for learns that it is gone, or is another; not when it stays."""
    source = Source(A, B)
    await source.set.find("a")
    source.set.put([A.jwk], 600)
    assert source.gone == ["b"]
    source.set.put([Signer("ES256", "a").jwk], 600)
    assert source.gone == ["b", "a"]


async def test_a_set_of_many_keys_is_cut() -> None:
    """No more keys are read than any issuer has."""
    source = Source(A)
    source.set.put([{**A.jwk, "kid": str(number)} for number in range(200)], 600)
    assert len(source.set) == 100


async def test_closing_ends_what_is_read() -> None:
    """A reading that is under way ends with the set."""
    source = Source(A)
    source.gate = asyncio.Event()
    waiting = asyncio.create_task(source.set.find("a"))
    await asyncio.sleep(0)
    await source.set.close()
    assert (await asyncio.gather(waiting, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_a_key_that_is_withdrawn_while_keys_are_read_does_not_come_back() -> None:
    """What is told may be newer than an answer that was under way."""
    source = Source(A, B)
    source.gate = asyncio.Event()
    looking = asyncio.create_task(source.set.find("b"))
    for _ in range(3):
        await asyncio.sleep(0)
    assert source.read == 1
    source.set.put([A.jwk], 600)
    source.gate.set()
    with pytest.raises(TokenRefused):
        await looking
    assert source.set.get("a") is not None
    assert source.set.get("b") is None
