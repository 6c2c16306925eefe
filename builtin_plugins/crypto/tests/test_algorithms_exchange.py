"""Agreement, encapsulation, encrypting to public keys, and wrapping keys."""

from __future__ import annotations

import os
from functools import cache

import pytest
from rustcare_plugin_crypto.algorithms import ALGORITHMS, Agreement, Hpke, Kem, RsaOaep, algorithm
from rustcare_plugin_crypto.algorithms.kdf import expand, hkdf, label
from rustcare_plugin_crypto.algorithms.keywrap import unwrap, unwrap_padded, wrap, wrap_padded
from rustcare_plugin_crypto.errors import CryptoFailed, InvalidKey, InvalidParameter, UnknownAlgorithm

AGREEMENTS = [name for name, item in ALGORITHMS.items() if isinstance(item, Agreement)]
HPKES = [name for name, item in ALGORITHMS.items() if isinstance(item, Hpke)]


@pytest.mark.parametrize("name", AGREEMENTS)
def test_both_sides_agree(name: str) -> None:
    """Each side, with its secret and the other's public key, has the same 32 bytes."""
    suite = algorithm(name, Agreement)
    one, two = suite.generate(), suite.generate()
    shared = suite.agree(one, suite.public(two))
    assert shared == suite.agree(two, suite.public(one))
    assert len(shared) == 32


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("x25519", bytes(32)),
        ("x25519", b"\1" + bytes(31)),
        ("x25519", bytes(31)),
        ("ecdh-p256", b""),
        ("ecdh-p256", b"\0"),
        ("ecdh-p256", b"\4" + b"\1" * 64),
    ],
)
def test_bad_peers_are_refused(name: str, peer: bytes) -> None:
    """Points of low order, points that are not on the curve and other lengths fail."""
    suite = algorithm(name, Agreement)
    with pytest.raises(CryptoFailed):
        suite.agree(suite.generate(), peer)


def test_x25519_follows_the_standard() -> None:
    """The example of RFC 7748, section 6.1."""
    suite = algorithm("x25519", Agreement)
    alice = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
    assert suite.public(alice).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    bob = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    assert suite.agree(alice, bob).hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"


@cache
def kem() -> tuple[Kem, bytes]:
    """ML-KEM-768 and a secret."""
    suite = algorithm("ml-kem-768", Kem)
    return suite, suite.generate()


def test_encapsulated_secrets_come_back() -> None:
    """Decapsulating gives the secret, and another one every time."""
    suite, secret = kem()
    one, two = suite.encapsulate(suite.public(secret)), suite.encapsulate(suite.public(secret))
    assert suite.decapsulate(secret, one[1]) == one[0]
    assert one[0] != two[0]
    assert (len(one[0]), len(one[1])) == (32, 1088)


def test_a_changed_encapsulation_gives_another_secret() -> None:
    """Implicit rejection: a changed ciphertext is no error, and no oracle; a wrong length is an error."""
    suite, secret = kem()
    shared, ciphertext = suite.encapsulate(suite.public(secret))
    changed = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    assert suite.decapsulate(secret, changed) != shared
    with pytest.raises(CryptoFailed):
        suite.decapsulate(secret, ciphertext[:-1])


def test_bad_encapsulation_keys_are_refused() -> None:
    """A key whose coefficients are not reduced (FIPS 203, section 7.2) or of another length fails."""
    suite, _ = kem()
    for public in (b"\xff" * 1184, b"", bytes(1183)):
        with pytest.raises(CryptoFailed):
            suite.encapsulate(public)


@pytest.mark.parametrize("name", HPKES)
def test_hpke_opens_what_was_sealed(name: str) -> None:
    """Only the owner of the secret opens it, and only with the same info."""
    suite = algorithm(name, Hpke)
    secret, other = suite.generate(), suite.generate()
    sealed = suite.seal(suite.public(secret), b"data", b"info")
    assert suite.open(secret, sealed, b"info") == b"data"
    middle = len(sealed) // 2
    changed = sealed[:middle] + bytes([sealed[middle] ^ 1]) + sealed[middle + 1 :]
    for key, text, info in ((other, sealed, b"info"), (secret, sealed, b"x"), (secret, sealed[:-1], b"info")):
        with pytest.raises(CryptoFailed):
            suite.open(key, text, info)
    for text in (changed, b""):
        with pytest.raises(CryptoFailed):
            suite.open(secret, text, b"info")
    with pytest.raises(CryptoFailed):
        suite.seal(b"no key", b"data")


@pytest.mark.parametrize("name", [*AGREEMENTS, *HPKES, "ml-kem-768"])
def test_secrets_of_other_lengths_are_refused(name: str) -> None:
    """Bytes that are no secret of the algorithm are refused before anything is done with them."""
    with pytest.raises(InvalidKey):
        ALGORITHMS[name].check(b"\1" * 5)


def test_keys_can_be_brought_wrapped() -> None:
    """RSA-OAEP: a key wrapped to the public key comes back; a changed one, another label and too long a key fail alike."""
    suite = algorithm("rsa-oaep-3072", RsaOaep)
    secret = suite.generate()
    public = suite.public(secret)
    wrapped = suite.wrap(public, b"k" * 32, b"label")
    assert suite.unwrap(secret, wrapped, b"label") == b"k" * 32
    for text, name in ((wrapped[:-1] + b"\0", b"label"), (wrapped, b"other"), (b"", b"label")):
        with pytest.raises(CryptoFailed):
            suite.unwrap(secret, text, name)
    with pytest.raises(CryptoFailed):
        suite.wrap(public, b"k" * 4000)
    with pytest.raises(InvalidKey):
        suite.wrap(b"no key", b"k")


def test_hkdf_follows_the_standard() -> None:
    """Test case 1 of RFC 5869."""
    okm = hkdf("hkdf-sha256", b"\x0b" * 22, 42, bytes(range(13)), bytes(range(0xF0, 0xFA)))
    assert okm.hex() == ("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")


def test_hkdf_has_bounds() -> None:
    """Nothing, and more than 255 blocks, cannot be derived; a name that is none is refused."""
    for length in (0, 255 * 32 + 1):
        with pytest.raises(InvalidParameter, match=str(length)):
            expand(bytes(32), length, b"")
    with pytest.raises(UnknownAlgorithm):
        hkdf("hkdf-md5", bytes(32), 32)


def test_labels_keep_their_parts_apart() -> None:
    """Lists of parts that read alike when joined give different labels."""
    assert label("ab", "c") != label("a", "bc")
    assert label("ab") != label("a", "b")
    assert label("x") == label(b"x")


def test_key_wrap_follows_the_standards() -> None:
    """RFC 3394 section 4.6 (KW, 256 bits under 256) and RFC 5649 section 6 (KWP, 7 bytes under 192)."""
    key = bytes(range(32))
    material = bytes.fromhex("00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f")
    wrapped = wrap(key, material)
    assert wrapped.hex() == "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
    assert unwrap(key, wrapped) == material
    key = bytes.fromhex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
    assert wrap_padded(key, bytes.fromhex("466f7250617369")).hex() == "afbeb0f07dfbf5419200f2ccb50bb24f"
    assert unwrap_padded(key, bytes.fromhex("afbeb0f07dfbf5419200f2ccb50bb24f")) == b"ForPasi"


@pytest.mark.parametrize(("close", "reveal"), [(wrap, unwrap), (wrap_padded, unwrap_padded)])
def test_wrapped_keys_are_authentic(close: object, reveal: object) -> None:
    """Every changed byte, another key and other lengths fail."""
    assert callable(close)
    assert callable(reveal)
    key = os.urandom(32)
    wrapped = close(key, b"k" * 32)
    for at in range(len(wrapped)):
        with pytest.raises(CryptoFailed):
            reveal(key, wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :])
    for text in (b"", wrapped[:-1], wrapped[:8]):
        with pytest.raises(CryptoFailed):
            reveal(key, text)
    with pytest.raises(CryptoFailed):
        reveal(os.urandom(32), wrapped)


def test_what_cannot_be_wrapped_is_refused() -> None:
    """KW takes multiples of 8 bytes from 16 on, KWP anything but nothing; wrapping keys are AES keys."""
    for length in (0, 8, 17):
        with pytest.raises(InvalidParameter):
            wrap(bytes(32), bytes(length))
    with pytest.raises(InvalidParameter):
        wrap_padded(bytes(32), b"")
    with pytest.raises(InvalidKey, match="got 5"):
        wrap(bytes(5), bytes(16))
