"""Authenticated encryption that commits to its key."""

from __future__ import annotations

import os
import pickle
from hmac import digest as hmac_digest

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from rustcare_plugin_crypto.algorithms import ALGORITHMS, Aead, Sealer, aead, algorithm
from rustcare_plugin_crypto.algorithms.aead import AEADS, OVERHEAD, Cipher
from rustcare_plugin_crypto.errors import CryptoFailed, InvalidKey, UnknownAlgorithm, Unsuitable
from rustcare_sdk.contracts.crypto import CipherItem

every = pytest.mark.parametrize("name", list(AEADS))


@every
@given(data=st.binary(max_size=300), aad=st.binary(max_size=40))
@settings(max_examples=25)
def test_what_is_sealed_opens(name: str, data: bytes, aad: bytes) -> None:
    """Opening gives back what was sealed, by the same prepared key and by another one of the same secret."""
    secret = AEADS[name].generate()
    sealer = AEADS[name].prepare(secret)
    sealed = sealer.seal(data, aad)
    assert len(sealed) == len(data) + OVERHEAD
    assert sealer.open(sealed, aad) == data
    assert AEADS[name].open(secret, sealed, aad) == data


def items(sealed: list[bytes], aads: list[bytes] | None = None) -> list[CipherItem]:
    """As they come in a request."""
    return [CipherItem(text, aad) for text, aad in zip(sealed, aads or [b""] * len(sealed), strict=True)]


@every
def test_many_at_once_are_as_one_by_one(name: str) -> None:
    """`seal_many` gives what `seal` gives, with something in front that is authenticated; those that fail spoil no other."""
    suite, secret = AEADS[name], os.urandom(32)
    sealer, other = suite.prepare(secret), suite.prepare(secret)
    data, aads = [b"one", b"", b"three" * 1000], [b"", b"aad", b"x"]
    sealed = sealer.seal_many(data, aads, b"front")
    assert len({text[53:65] for text in sealed}) == 3
    for text, item, aad in zip(sealed, data, aads, strict=True):
        assert text.startswith(b"front")
        assert other.open(text[5:], b"front" + aad) == item
    assert other.open_many(items(sealed, aads), b"front") == (data, [])
    elsewhere = other.seal_many([b"four"], [b""], b"front")
    assert sealer.open_many(items(sealed + elsewhere, [*aads, b""]), b"front") == ([*data, b"four"], [])
    broken = [sealed[0], b"tnorf" + sealed[0][5:], b"", sealed[2][:-1], sealed[1], sealed[2]]
    expected: list[bytes | None] = [b"one", None, None, None, None, data[2]]
    assert other.open_many(items(broken, [b"", b"", b"", b"x", b"other", b"x"]), b"front") == (expected, [1, 2, 3, 4])
    assert other.open_many(items(broken[::-1], [b"x", b"other", b"x", b"", b"", b""]), b"front")[0] == expected[::-1]
    assert sealer.seal_many([], []) == []
    assert sealer.open_many([]) == ([], [])


@every
def test_a_forged_commitment_is_seen_among_many(name: str) -> None:
    """Right bodies under another salt or commitment than their own fail, whatever stands beside them."""
    sealer = AEADS[name].prepare(os.urandom(32))
    right, other = sealer.seal_many([b"a", b"b"], [b"", b""])
    for at in (0, 16, 47):
        forged = other[:at] + bytes([other[at] ^ 1]) + other[at + 1 :]
        assert sealer.open_many(items([right, forged])) == ([b"a", None], [1])
        assert sealer.open_many(items([forged, right])) == ([None, b"a"], [0])


@every
def test_every_changed_bit_is_refused(name: str) -> None:
    """One flipped bit anywhere in salt, commitment, nonce, ciphertext or tag fails, with the one error."""
    sealer = AEADS[name].prepare(os.urandom(32))
    sealed = sealer.seal(b"blood group 0", b"context")
    for at in range(8 * len(sealed)):
        broken = bytearray(sealed)
        broken[at // 8] ^= 1 << at % 8
        with pytest.raises(CryptoFailed):
            sealer.open(bytes(broken), b"context")


@every
def test_other_keys_contexts_and_lengths_fail_alike(name: str) -> None:
    """A wrong key, wrong associated data, a cut ciphertext and no ciphertext give errors that do not differ in a letter."""
    suite, secret = AEADS[name], os.urandom(32)
    sealed = suite.seal(secret, b"data", b"context")
    attempts = [
        (os.urandom(32), sealed, b"context"),
        (secret, sealed, b"other"),
        (secret, sealed[:-1], b"context"),
        (secret, sealed[: OVERHEAD - 1], b"context"),
        (secret, b"", b"context"),
    ]
    said = set()
    for key, text, aad in attempts:
        with pytest.raises(CryptoFailed) as failure:
            suite.open(key, text, aad)
        said.add(str(failure.value))
        assert failure.value.__cause__ is None
        assert failure.value.code == "crypto.failed"
    assert len(said) == 1


def test_a_ciphertext_opens_under_one_key_only() -> None:
    """The commitment is a function of the key: with another key's commitment put in its place nothing opens."""
    one, two = os.urandom(32), os.urandom(32)
    suite = AEADS["aes256-gcm"]
    sealed, other = suite.seal(one, b"data"), suite.seal(two, b"data")
    assert sealed[16:48] != other[16:48]
    for key in (one, two):
        with pytest.raises(CryptoFailed):
            suite.open(key, sealed[:16] + other[16:48] + sealed[48:])


def test_the_form_is_the_stated_one() -> None:
    """A ciphertext can be opened from its description alone: HKDF-Expand by hand, then bare AES-GCM."""
    secret = os.urandom(32)
    sealed = AEADS["aes256-gcm"].seal(secret, b"data", b"aad")
    info = b"rustcare aead v1\0aes256-gcm\0" + sealed[:16]
    commitment = hmac_digest(secret, info + b"\1", "sha256")
    key = hmac_digest(secret, commitment + info + b"\2", "sha256")
    assert sealed[16:48] == commitment
    assert AESGCM(key).decrypt(sealed[48:60], sealed[60:], b"aad") == b"data"


def test_nonces_and_salts_differ() -> None:
    """No nonce repeats among a thousand messages, and two prepared keys draw different salts."""
    suite, secret = AEADS["aes256-gcm"], os.urandom(32)
    one, two = suite.prepare(secret), suite.prepare(secret)
    nonces = {one.seal(b"")[48:60] for _ in range(1000)}
    assert len(nonces) == 1000
    assert one.seal(b"")[:16] != two.seal(b"")[:16]


def test_a_key_is_changed_before_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many messages the next one is under another derived key; older ones still open."""
    monkeypatch.setattr(aead, "_USES", 5)
    sealer = AEADS["aes256-gcm"].prepare(os.urandom(32))
    sealed = [sealer.seal(bytes([number])) for number in range(12)]
    assert len({text[:16] for text in sealed}) == 3
    assert [sealer.open(text) for text in sealed] == [bytes([number]) for number in range(12)]


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening ciphertexts of many salts keeps a bounded number of derived keys, and forged ones none."""
    monkeypatch.setattr(aead, "_REMEMBERED", 4)
    suite, secret = AEADS["aes256-gcm"], os.urandom(32)
    sealer = suite.prepare(secret)
    for _ in range(10):
        assert sealer.open(suite.seal(secret, b"x")) == b"x"
        with pytest.raises(CryptoFailed):
            sealer.open(os.urandom(100))
    assert len(sealer._known) <= 4


@every
def test_keys_of_other_lengths_are_refused(name: str) -> None:
    """A key has 32 bytes; the error says the length that came and nothing of the key."""
    for length in (0, 16, 31, 33):
        with pytest.raises(InvalidKey, match=f"got {length}"):
            AEADS[name].prepare(b"\7" * length)


def test_prepared_keys_show_nothing() -> None:
    """`repr` has no key, and a prepared key cannot be pickled."""
    secret = os.urandom(32)
    for thing in (AEADS["aes256-gcm"].prepare(secret), Cipher("aes256-gcm", secret)):
        assert secret.hex() not in repr(thing).lower()
        assert repr(secret)[2:-1] not in repr(thing)
    with pytest.raises(TypeError):
        pickle.dumps(AEADS["aes256-gcm"].prepare(secret))


def test_bytearrays_are_taken() -> None:
    """A caller can keep key and data where it can clear them."""
    sealer: Sealer = AEADS["aes256-gcm"].prepare(bytearray(os.urandom(32)))
    assert sealer.open(bytearray(sealer.seal(bytearray(b"data"), bytearray(b"aad"))), memoryview(b"aad")) == b"data"


def test_algorithms_are_found_by_name_and_family() -> None:
    """A name that is none, and one of another family, are told apart."""
    assert algorithm("aes256-gcm", Aead) is ALGORITHMS["aes256-gcm"]
    with pytest.raises(UnknownAlgorithm, match="aes256-ecb"):
        algorithm("aes256-ecb")
    with pytest.raises(Unsuitable, match="signature"):
        algorithm("ed25519", Aead)


def test_algorithms_say_what_they_are() -> None:
    """Every algorithm is listed under its own name, and its family's name is not empty."""
    assert all(name == item.name and item.family for name, item in ALGORITHMS.items())
