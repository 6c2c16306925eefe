"""What a new password must keep."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rustcare_plugin_identity.errors import PasswordRefused
from rustcare_plugin_identity.passwords import Breached, Rules
from rustcare_plugin_identity.passwords.guessable import ENOUGH, common, weight, words_of
from rustcare_plugin_identity.passwords.rules import normal
from rustcare_plugin_identity.settings import PasswordSettings

SETTINGS = PasswordSettings()
WHO = ("anna.schmidt", "anna@clinic.example", "Anna Schmidt", "Sankt Georg")


async def refused(password: str, *, factor: bool = False) -> PasswordRefused:
    """Why a password is refused."""
    with pytest.raises(PasswordRefused) as found:
        await Rules().check(password, SETTINGS, factor=factor, context=WHO)
    assert password not in str(found.value)
    return found.value


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "die alte Uhr tickt leise",
        "zx9!kd0$pw2@rm5",
        "пять старых дубов шумят",
        "🦓🪕🧭🥐🪁🛶🧮🪴🦜🧿🪂🛷🪢🧵🦔",
    ],
)
async def test_long_passwords_of_any_kind_are_taken(password: str) -> None:
    """No composition is prescribed: words, signs, any script, spaces, all count alike."""
    assert await Rules().check(password, SETTINGS, context=WHO) == normal(password)


async def test_fifteen_alone_eight_with_a_factor() -> None:
    """A password that is the only factor has 15 characters at least, one with a second factor 8 (section 3.1.1.2)."""
    assert "at least 15" in (await refused("xk7 vp2 qr9 mw"[:14])).message
    assert "at least 8" in (await refused("xk7vp2q", factor=True)).message
    assert await Rules().check("xk7vp2qr", SETTINGS, factor=True) == "xk7vp2qr"


async def test_characters_are_counted_not_bytes() -> None:
    """A code point is one character, after NFKC."""
    await Rules().check("ä" * 0 + "äöüßéàçñøåþðŋœæ", SETTINGS)
    assert "at least 15" in (await refused("äöüßéàçñøåþðŋœ")).message


async def test_very_long_ones_are_taken_up_to_a_bound() -> None:
    """256 characters and no more."""
    long = "".join(chr(0x4E00 + 7 * number) for number in range(257))
    assert len(await Rules().check(long[:256], SETTINGS)) == 256
    assert "at most 256" in (await refused(long)).message


@pytest.mark.parametrize(
    "password",
    [
        "passwordpassword",
        "Password2024!!!!",
        "P@ssw0rd12345678",
        "qwertyuiopasdfgh",
        "1qaz2wsx3edc4rfv",
        "aaaaaaaaaaaaaaaa",
        "123456789012345",
        "annaschmidtclinic",
        "anna.schmidt@clinic.example",
        "rustcare-2026-anna",
        "sanktgeorgsanktgeorg",
        "iloveyouiloveyou1",
        "abcdefghijklmnop",
        "zyxwvutsrqponmlk",
        "letmein-letmein-letmein",
    ],
)
async def test_what_is_tried_first_is_refused(password: str) -> None:
    """Common words, names from around, runs, walks and repetitions do not become good by being long."""
    assert "guessed early" in (await refused(password)).message


@pytest.mark.parametrize("password", ["12345678", "password1", "Trustno1", "baseball", "PASSWORD"])
async def test_common_ones_are_refused_with_a_factor_too(password: str) -> None:
    """The blocklist holds for short ones as well."""
    assert "guessed early" in (await refused(password, factor=True)).message


async def test_control_characters_are_refused() -> None:
    """What cannot be typed is no password."""
    assert "control" in (await refused("several\x00odd zebras walk")).message


def test_the_list_is_the_one_that_is_shipped() -> None:
    """It can be read, and has tens of thousands of words."""
    assert len(common()) > 25_000
    assert {"123456", "password", "qwerty"} <= common()


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=15, max_size=40))
def test_a_password_weighs_no_more_than_its_length(password: str) -> None:
    """Known pieces count less than their characters, never more, and nothing counts nothing."""
    assert 0 < weight(password) <= len(password)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(word for word in common() if word.isalpha() and len(word) > 3)), st.integers(0, 9999))
def test_a_common_word_with_decorations_is_not_enough(word: str, number: int) -> None:
    """A common word, capitalised, with a year and a repeated sign, is refused whatever the word."""
    assert weight(f"{word.capitalize()}{1900 + number % 200}!!!!") < ENOUGH


@given(st.binary(min_size=12, max_size=12))
def test_random_ones_are_enough(data: bytes) -> None:
    """What a password manager makes is nearly never made of known pieces."""
    text = hashlib.sha256(data).hexdigest()[:4] + "".join(
        chr(33 + byte % 94) for byte in hashlib.sha256(data).digest()[:16]
    )
    assert weight(text) >= ENOUGH


def test_words_of_names_and_addresses() -> None:
    """The parts, the whole, and the whole without signs."""
    assert {"anna", "schmidt", "clinic", "example", "annaschmidtclinicexample"} <= words_of(
        ["Anna.Schmidt@Clinic.example"]
    )


async def test_a_breached_password_is_refused(tmp_path: Path) -> None:
    """When a file is given, a password that stands in it is refused."""
    password = "several odd zebras walk"
    path = tmp_path / "breached.txt"
    path.write_text(hashlib.sha1(password.encode()).hexdigest().upper() + ":17\n")
    rules = Rules(Breached(str(path)))
    with pytest.raises(PasswordRefused, match="breach"):
        await rules.check(password, SETTINGS)
    assert await rules.check(password + " home", SETTINGS) == password + " home"
