"""Password hashes: their cost, their bounds, and the pool's."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading

import pytest
from argon2.low_level import Type, hash_secret
from rustcare_plugin_crypto.algorithms import passwords
from rustcare_plugin_crypto.algorithms.passwords import Passwords, hash_password, needs_rehash, verify_password
from rustcare_plugin_crypto.algorithms.policy import Policy
from rustcare_plugin_crypto.errors import AlgorithmRefused, CryptoFailed, InvalidParameter, Overloaded

DEFAULT, FIPS = Policy(), Policy("fips")


def cheap(memory: int = 64, passes: int = 1, kind: Type = Type.ID) -> str:
    """An argon2 hash of `secret` below today's cost."""
    return hash_secret(b"secret", b"s" * 16, passes, memory, 1, 32, kind).decode()


def test_the_cost_is_the_recommended_one() -> None:
    """argon2id with 19 MiB, 2 passes, 1 lane; under `fips` PBKDF2-HMAC-SHA256 with 600,000 iterations."""
    assert re.match(r"\$argon2id\$v=19\$m=19456,t=2,p=1\$", hash_password("secret", DEFAULT))
    assert re.match(r"\$pbkdf2-sha256\$i=600000,l=32\$", hash_password("secret", FIPS))


@pytest.mark.parametrize("policy", [DEFAULT, FIPS], ids=["default", "fips"])
def test_the_right_password_passes_and_others_do_not(policy: Policy) -> None:
    """Verification answers that no rehash is needed, or raises; equal passwords have different hashes."""
    one, two = hash_password("pässword", policy), hash_password("pässword".encode(), policy)
    assert one != two
    assert verify_password(one, "pässword", policy) is False
    for wrong in ("password", "", "pässword "):
        with pytest.raises(CryptoFailed):
            verify_password(one, wrong, policy)


def test_old_hashes_are_to_be_renewed() -> None:
    """A right password whose hash is cheaper than today's, or of the other algorithm, passes and says so."""
    assert verify_password(cheap(), "secret", DEFAULT) is True
    fips = hash_password("secret", FIPS)
    assert verify_password(fips, "secret", DEFAULT) is True
    assert needs_rehash(hash_password("secret", DEFAULT), FIPS) is True


def test_fips_computes_no_argon2() -> None:
    """Under `fips` an argon2id hash is refused with the policy's error, whatever the password."""
    for password in ("secret", "wrong"):
        with pytest.raises(AlgorithmRefused):
            verify_password(cheap(), password, FIPS)


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "secret",
        "$argon2id$v=19$m=19456,t=2,p=1$",
        "$argon2id$v=19$m=4194304,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$" + "A" * 43,
        "$argon2id$v=19$m=64,t=4000000,p=1$c2FsdHNhbHRzYWx0c2FsdA$" + "A" * 43,
        "$pbkdf2-sha256$i=600000,l=32$c2FsdA",
        "$pbkdf2-sha256$i=999999999999,l=32$c2FsdA$" + "A" * 43,
        "$pbkdf2-sha256$i=-1,l=32$c2FsdA$" + "A" * 43,
        "$pbkdf2-sha256$i=1,l=0$c2FsdA$",
        "$pbkdf2-sha256$i=1,l=32$c2FsdA$ä",
        cheap(kind=Type.I),
        cheap() + "ä",
    ],
)
def test_what_is_no_hash_of_ours_fails(encoded: str) -> None:
    """Garbage, other kinds and hashes that would cost too much fail like a wrong password, uncomputed."""
    with pytest.raises(CryptoFailed) as failure:
        verify_password(encoded, "secret", DEFAULT)
    assert str(failure.value) == str(CryptoFailed())


def test_passwords_have_a_longest_length() -> None:
    """Beyond 4,096 bytes a password is refused before any work; the error does not quote it."""
    with pytest.raises(InvalidParameter, match="got 4097") as failure:
        hash_password("x" * 4097, DEFAULT)
    assert "xx" not in str(failure.value)


async def test_the_pool_hashes_and_verifies() -> None:
    """What the pool hashed it verifies, in other threads than the caller's."""
    pool = Passwords(DEFAULT, workers=2, waiting=8)
    try:
        encoded = await pool.hash("secret")
        assert await pool.verify(encoded, "secret") is False
        with pytest.raises(CryptoFailed):
            await pool.verify(encoded, "wrong")
    finally:
        pool.close()


async def test_one_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one thread and one place to wait, a third call is refused at once; when the first is done there is room again."""
    entered, go = threading.Event(), threading.Event()

    def blocked(password: bytes, policy: Policy) -> str:
        entered.set()
        assert go.wait(10)
        return "hash"

    monkeypatch.setattr(passwords, "hash_password", blocked)
    pool = Passwords(DEFAULT, workers=1, waiting=1)
    try:
        calls = [asyncio.ensure_future(pool.hash("a")), asyncio.ensure_future(pool.hash("b"))]
        await asyncio.to_thread(entered.wait, 10)
        with pytest.raises(Overloaded, match="at most 2") as failure:
            await pool.hash("c")
        assert failure.value.code == "crypto.overloaded"
        go.set()
        assert await asyncio.gather(*calls) == ["hash", "hash"]
        assert await pool.hash("d") == "hash"
    finally:
        go.set()
        pool.close()


async def test_a_cancelled_caller_keeps_its_place_until_the_work_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that runs cannot be stopped: cancelling its caller does not let more in; a waiting one is given up."""
    entered, go = threading.Event(), threading.Event()

    def blocked(password: bytes, policy: Policy) -> str:
        entered.set()
        assert go.wait(10)
        return "hash"

    monkeypatch.setattr(passwords, "hash_password", blocked)
    pool = Passwords(DEFAULT, workers=1, waiting=0)
    try:
        call = asyncio.ensure_future(pool.hash("a"))
        await asyncio.to_thread(entered.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises(Overloaded):
            await pool.hash("b")
    finally:
        go.set()
        pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priority of their own")
async def test_the_threads_stand_back_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashing runs at a lower priority than the thread of the event loop, as far lower as was asked for."""

    def priority(password: bytes, policy: Policy) -> str:
        return str(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    monkeypatch.setattr(passwords, "hash_password", priority)
    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    for niceness in (0, 7):
        pool = Passwords(DEFAULT, workers=1, niceness=niceness)
        try:
            assert int(await pool.hash("a")) == min(19, mine + niceness)
        finally:
            pool.close()
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine


async def test_closing_ends_the_threads() -> None:
    """After `close` no thread of the pool is left."""
    pool = Passwords(DEFAULT, workers=2)
    await pool.hash("secret")
    pool.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rustcare-passwords")]


def test_a_pool_has_at_least_one_worker() -> None:
    """No workers, and a negative number of places, are refused."""
    for workers, waiting in ((0, 1), (1, -1)):
        with pytest.raises(InvalidParameter):
            Passwords(DEFAULT, workers, waiting)
