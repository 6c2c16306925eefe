"""Hashes of other systems: right once, then replaced by one of ours."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import Callable

import bcrypt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.errors import Overloaded
from rustcare_plugin_identity.passwords import Hasher
from rustcare_plugin_identity.passwords.foreign import is_foreign, keyring_form, known, verify


def b64(data: bytes) -> str:
    """As Django writes it."""
    return base64.b64encode(data).decode()


def ab64(data: bytes) -> str:
    """As passlib writes it."""
    return b64(data).rstrip("=").replace("+", ".")


def made(form: str, password: str) -> str:
    """A hash as the other system makes it, at a cost that tests can bear."""
    data, salt = password.encode(), b"0123456789abcdef"
    if form == "bcrypt":
        return bcrypt.hashpw(data[:72], bcrypt.gensalt(4)).decode()
    if form == "bcrypt 2y":
        return made("bcrypt", password).replace("$2b$", "$2y$")
    if form == "django bcrypt":
        return "bcrypt$" + made("bcrypt", password)
    if form == "django bcrypt_sha256":
        return "bcrypt_sha256$" + made("bcrypt", hashlib.sha256(data).hexdigest())
    if form.startswith("django pbkdf2"):
        name = form.rpartition("_")[2]
        return f"pbkdf2_{name}$1000${salt.decode()}${b64(hashlib.pbkdf2_hmac(name, data, salt, 1000))}"
    if form == "django scrypt":
        return f"scrypt${salt.decode()}$1024$8$1${b64(hashlib.scrypt(data, salt=salt, n=1024, r=8, p=1, dklen=64))}"
    if form.startswith("passlib pbkdf2"):
        name = form.rpartition("_")[2]
        word = "pbkdf2" if name == "sha1" else f"pbkdf2-{name}"
        return f"${word}$1000${ab64(salt)}${ab64(hashlib.pbkdf2_hmac(name, data, salt, 1000))}"
    assert form == "passlib scrypt"
    return f"$scrypt$ln=10,r=8,p=1${ab64(salt)}${ab64(hashlib.scrypt(data, salt=salt, n=1024, r=8, p=1, dklen=32))}"


FORMS = ["bcrypt", "bcrypt 2y", "django bcrypt", "django bcrypt_sha256", "django pbkdf2_sha256", "django pbkdf2_sha1"]
FORMS += ["django scrypt", "passlib pbkdf2_sha1", "passlib pbkdf2_sha256", "passlib pbkdf2_sha512", "passlib scrypt"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("password", ["secret", "пароль", "a" * 100, ""])
def test_a_hash_is_of_its_password_alone(form: str, password: str) -> None:
    """Every form of every system in the table."""
    encoded = made(form, password)
    assert known(encoded)
    assert is_foreign(encoded)
    assert verify(encoded, password)
    assert not verify(encoded, "x" + password)


PBKDF2 = bytes.fromhex(
    "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
    "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"
)
SCRYPT = bytes.fromhex(
    "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
    "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
)


@pytest.mark.parametrize(
    ("encoded", "password"),
    [
        # jBCrypt's test vectors.
        ("$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe", "a"),
        ("$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i", "abc"),
        # RFC 7914, sections 11 (PBKDF2-HMAC-SHA256) and 12 (scrypt).
        (f"pbkdf2_sha256$1$salt${b64(PBKDF2)}", "passwd"),
        (f"scrypt$SodiumChloride$16384$8$1${b64(SCRYPT)}", "pleaseletmein"),
    ],
)
def test_published_vectors(encoded: str, password: str) -> None:
    """Hashes that others have published."""
    assert verify(encoded, password)
    assert not verify(encoded, password + "x")


@pytest.mark.parametrize(
    "encoded",
    [
        "",
        "x",
        "secret",
        "$2b$31$" + "a" * 53,
        "$2b$04$short",
        "$1$abc$def",
        "pbkdf2_sha256$999999999$salt$" + b64(b"x" * 32),
        "pbkdf2_sha256$1000$salt$!!",
        "$scrypt$ln=29,r=8,p=1$c2FsdA$" + ab64(b"x" * 32),
        "scrypt$salt$1000$8$1$" + b64(b"x" * 64),
        "pbkdf2_sha256$0$salt$" + b64(b"x" * 32),
        "$pbkdf2-sha256$1000$c2FsdA",
        "ünicode$",
        "md5$salt$hash",
        "$2b$04$" + "a" * 2000,
        "scrypt$salt$65536$1$1$" + b64(b"x" * 64),
        "scrypt$salt$2$524288$1$" + b64(b"x" * 64),
        "$argon2id$v=19$m=99999999,t=3,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        "$argon2id$v=19$m=102400,t=999,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
        "$argon2id$a$b$c",
        "$pbkdf2-sha256$i=99999999,l=32$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
    ],
)
def test_what_is_no_hash_or_too_costly_is_of_no_password(encoded: str) -> None:
    """It is refused before anything is computed."""
    assert not known(encoded)
    assert not verify(encoded, "secret")


@given(st.text(max_size=200))
def test_any_text_is_looked_at_without_an_error(text: str) -> None:
    """What an import brings can be anything."""
    known(text)
    assert not verify(f"${text}", "secret")


@pytest.mark.parametrize("form", FORMS)
def test_a_password_that_is_no_text_is_wrong(form: str) -> None:
    """Half of a pair of surrogates can be in a string; nobody's password has it."""
    assert not verify(made(form, "secret"), "\ud800")


@pytest.mark.parametrize(("cost", "block"), [(32768, 1), (65536, 8), (131072, 8), (1024, 1024)])
def test_every_scrypt_that_is_taken_can_be_computed(cost: int, block: int) -> None:
    """What an import takes is compared, up to the bound of 128 MiB."""
    derived = hashlib.scrypt(b"secret", salt=b"salt", n=cost, r=block, p=1, maxmem=300 << 20, dklen=32)
    encoded = f"scrypt$salt${cost}${block}$1${b64(derived)}"
    assert known(encoded)
    assert verify(encoded, "secret")


def test_argon2_is_the_keyrings() -> None:
    """Also in the form of Django, which puts a word before it."""
    encoded = "$argon2id$v=19$m=102400,t=2,p=8$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA"
    assert known(encoded)
    assert known("argon2" + encoded)
    assert not is_foreign("argon2" + encoded)
    assert keyring_form("argon2" + encoded) == encoded


class Keyring:
    """Hashes that say what they are of, and counts what it is asked."""

    def __init__(self, wait: Callable[[], None] = lambda: None) -> None:
        self.made: list[str] = []
        self.compared: list[str] = []

    async def make(self, password: str) -> str:
        await asyncio.sleep(0)
        self.made.append(password)
        return f"$ours${password}"

    async def compare(self, encoded: str, password: str) -> tuple[bool, bool]:
        self.compared.append(encoded)
        return encoded == f"$ours${password}", encoded.startswith("$argon2id$")


async def test_a_foreign_hash_is_replaced_when_it_was_right() -> None:
    """A right foreign hash is to be made anew; a wrong one stays, as does one of ours."""
    keyring = Keyring()
    hasher = Hasher(keyring.make, keyring.compare, lambda size: b"r" * size)
    try:
        foreign = made("bcrypt", "secret")
        assert await hasher.verify(foreign, "secret") == (True, True)
        assert await hasher.verify(foreign, "wrong") == (False, False)
        assert await hasher.verify("$ours$secret", "secret") == (True, False)
    finally:
        hasher.close()


async def test_one_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many wait for the thread, no more; a caller that gives up does not make room for work that still waits."""
    keyring = Keyring()
    hasher = Hasher(keyring.make, keyring.compare, lambda size: b"r" * size)
    entered, go = threading.Event(), threading.Event()

    def slow(encoded: str, password: str) -> bool:
        entered.set()
        assert go.wait(20)
        return True

    monkeypatch.setattr("rustcare_plugin_identity.passwords.foreign.verify", slow)
    try:
        await hasher.verify("", "secret")  # what is made once is made
        encoded = made("bcrypt", "secret")
        calls = [asyncio.ensure_future(hasher.verify(encoded, "secret")) for _ in range(32)]
        await asyncio.to_thread(entered.wait, 20)
        with pytest.raises(Overloaded):
            await hasher.verify(encoded, "secret")
        calls[0].cancel()
        await asyncio.wait(calls[:1])
        with pytest.raises(Overloaded):
            await hasher.verify(encoded, "secret")
        assert await hasher.verify("$ours$secret", "secret") == (True, False)
        go.set()
        assert await asyncio.gather(*calls[1:]) == [(True, True)] * 31
        assert await hasher.verify(encoded, "secret") == (True, True)
    finally:
        go.set()
        hasher.close()


async def test_nobody_costs_what_somebody_costs() -> None:
    """Without a hash the keyring compares all the same, once; what it compares with is made once, by whoever comes first."""
    keyring = Keyring()
    hasher = Hasher(keyring.make, keyring.compare, lambda size: b"r" * size)
    try:
        await asyncio.gather(*(hasher.verify("", "secret") for _ in range(5)), hasher.verify("$ours$x", "x"))
        assert len(keyring.made) == 1
        assert len(keyring.compared) == 6
        assert await hasher.verify("", (b"r" * 24).hex()) == (False, False)
    finally:
        hasher.close()


async def test_what_is_too_long_for_a_password_is_wrong_whatever_it_begins_with() -> None:
    """It is compared with nobody's, cut to what the keyring takes; marks that are typed apart count with their letters."""
    keyring = Keyring()
    hasher = Hasher(keyring.make, keyring.compare, lambda size: b"r" * size)
    try:
        longest = "\u00e9" * 1024
        assert await hasher.verify(f"$ours${longest}", "e\u0301" * 1024) == (True, False)
        for typed in (longest + "x", "x" * 5000, "\ufdfa" * 1000):
            encoded = f"$ours${typed[:1024]}"
            assert await hasher.verify(encoded, typed) == (False, False)
            assert keyring.compared[-1] != encoded
        foreign = made("bcrypt", longest)
        assert await hasher.verify(foreign, longest) == (True, True)
        assert await hasher.verify(foreign, longest + "x") == (False, False)
    finally:
        hasher.close()


async def test_passwords_are_normal_before_they_are_hashed() -> None:
    """However a keyboard composes it; a foreign hash is tried as typed too, since others did not compose."""
    keyring = Keyring()
    hasher = Hasher(keyring.make, keyring.compare, lambda size: b"r" * size)
    try:
        assert await hasher.hash("e\u0301") == "$ours$\u00e9"
        assert await hasher.verify("$ours$\u00e9", "e\u0301") == (True, False)
        assert await hasher.verify(made("bcrypt", "e\u0301"), "e\u0301") == (True, True)
        assert await hasher.verify(made("bcrypt", "\u00e9"), "e\u0301") == (True, True)
    finally:
        hasher.close()
