"""HMAC, digests, and which algorithms a policy admits."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from rustcare_plugin_crypto.algorithms import ALGORITHMS, Mac, algorithm
from rustcare_plugin_crypto.algorithms.hashes import HASHES, digest, hash_algorithm
from rustcare_plugin_crypto.algorithms.kdf import KDFS
from rustcare_plugin_crypto.algorithms.policy import STANDINGS, Policy
from rustcare_plugin_crypto.errors import AlgorithmRefused, CryptoFailed, InvalidKey, InvalidParameter, UnknownAlgorithm


@pytest.mark.parametrize("name", ["hmac-sha256", "hmac-sha512"])
def test_tags_are_hmac(name: str) -> None:
    """A tag is that of the standard library, and a prepared key can be used again and again."""
    suite = algorithm(name, Mac)
    secret = suite.generate()
    key = suite.prepare(secret)
    for data in (b"", b"one", b"two" * 1000):
        tag = hmac.digest(secret, data, name.removeprefix("hmac-"))
        assert key.sign(data) == suite.sign(secret, data) == tag
        key.verify(tag, data)
        suite.verify(secret, tag, data)


def test_wrong_tags_are_refused() -> None:
    """A changed, cut, prolonged or empty tag, and the tag of other data, fail."""
    suite = algorithm("hmac-sha256", Mac)
    key = suite.prepare(suite.generate())
    tag = key.sign(b"data")
    for bad in (bytes(32), tag[:-1], tag[:16], tag + b"\0", b"", key.sign(b"date")):
        with pytest.raises(CryptoFailed):
            key.verify(bad, b"data")


def test_mac_keys_have_bounds() -> None:
    """Keys below 112 bits are refused; `repr` of a prepared one says nothing."""
    suite = algorithm("hmac-sha256", Mac)
    with pytest.raises(InvalidKey, match="got 13"):
        suite.prepare(bytes(13))
    assert repr(suite.prepare(b"k" * 32)) == "<HmacKey>"


@pytest.mark.parametrize("name", list(HASHES))
def test_digests_are_the_standard_ones(name: str) -> None:
    """Both libraries mean the same hash by a name."""
    found = digest(name, bytearray(b"abc"))
    assert found == hashlib.new(name.replace("sha2-", "sha").replace("-", "_"), b"abc").digest()
    assert hash_algorithm(name).digest_size == len(found)


def test_weak_hashes_are_not_offered() -> None:
    """MD5 and SHA-1 are no names here."""
    for name in ("md5", "sha1", "sha-1", ""):
        with pytest.raises(UnknownAlgorithm):
            digest(name, b"")


def test_every_algorithm_has_a_standing() -> None:
    """Whether it is approved is stated, with its source, for every algorithm, hash and derivation; and for nothing else."""
    others = {"aes256-kw", "aes256-kwp", "argon2id", "pbkdf2-sha256"}
    assert set(STANDINGS) == {*ALGORITHMS, *HASHES, *KDFS, *others}
    assert all(standing.source for standing in STANDINGS.values())
    assert all(item.approved == STANDINGS[name].approved for name, item in ALGORITHMS.items())


NOT_APPROVED = {
    "chacha20-poly1305", "aes256-gcm-siv", "x25519", "argon2id",
    "hpke-x25519", "hpke-p256", "hpke-ml-kem-768", "hpke-x25519+ml-kem-768",
}  # fmt: skip


@pytest.mark.parametrize("name", list(STANDINGS))
def test_fips_admits_approved_algorithms_only(name: str) -> None:
    """Under `fips` exactly the approved ones pass; under `default` all do."""
    Policy().admit(name)
    fips = Policy("fips")
    assert fips.admits(name) == (name not in NOT_APPROVED)
    if name in NOT_APPROVED:
        with pytest.raises(AlgorithmRefused, match="approved"):
            fips.admit(name)
    else:
        fips.admit(name)


@pytest.mark.parametrize("policy", ["default", "fips"])
def test_no_policy_admits_what_is_unknown(policy: str) -> None:
    """A name that is none is an error, never let through."""
    assert not Policy(policy).admits("rot13")
    with pytest.raises(UnknownAlgorithm, match="rot13"):
        Policy(policy).admit("rot13")


def test_a_policy_that_does_not_exist_is_refused() -> None:
    """A misspelt policy must not mean the weaker one."""
    with pytest.raises(InvalidParameter, match="FIPS"):
        Policy("FIPS")
