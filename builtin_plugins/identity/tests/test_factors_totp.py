"""Codes of authenticator apps, against the vectors of RFC 6238 and RFC 4226."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.factors.totp import (
    PERIOD,
    SECRET_SIZE,
    code_at,
    matching_step,
    otpauth_uri,
    qr_svg,
    step_of,
    to_base32,
)

SEED = b"1234567890"
SECRETS = {"sha1": SEED * 2, "sha256": (SEED * 4)[:32], "sha512": (SEED * 7)[:64]}
#: RFC 6238, appendix B: time, and the codes of eight digits under SHA-1, SHA-256 and SHA-512.
VECTORS = [
    (59, "94287082", "46119246", "90693936"),
    (1111111109, "07081804", "68084774", "25091201"),
    (1111111111, "14050471", "67062674", "99943326"),
    (1234567890, "89005924", "91819424", "93441116"),
    (2000000000, "69279037", "90698825", "38618901"),
    (20000000000, "65353130", "77737706", "47863826"),
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector[0]))
def test_the_codes_of_rfc_6238(vector: tuple[int, str, str, str]) -> None:
    """Every vector of RFC 6238, appendix B, under each of its three hashes."""
    moment, *codes = vector
    found = [code_at(SECRETS[name], step_of(moment), digits=8, algorithm=name) for name in ("sha1", "sha256", "sha512")]
    assert found == codes


def test_the_codes_of_rfc_4226() -> None:
    """Every vector of RFC 4226, appendix D: six digits for the counters 0 to 9."""
    codes = ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"]
    assert [code_at(SEED * 2, counter) for counter in range(10)] == codes


@given(st.binary(min_size=SECRET_SIZE, max_size=SECRET_SIZE), st.integers(100, 10**10), st.integers(-3, 3))
def test_one_step_before_and_after_is_taken_and_no_more(secret: bytes, now: int, distance: int) -> None:
    """RFC 6238, section 5.2: a code of the step before, this one or the next is right, one further off is not."""
    answer = code_at(secret, step_of(now) + distance)
    near = {code_at(secret, step_of(now) + away) for away in (-1, 0, 1)}
    assert (matching_step(secret, answer, now, -1) is not None) == (answer in near)


@given(st.binary(min_size=SECRET_SIZE, max_size=SECRET_SIZE), st.integers(100, 10**10))
def test_a_step_that_was_taken_does_not_match_again(secret: bytes, now: int) -> None:
    """A code whose step is not later than the last one taken is refused, unless a later step has the same code."""
    step = matching_step(secret, code_at(secret, step_of(now)), now, -1)
    assert step is not None
    again = matching_step(secret, code_at(secret, step), now, step_of(now) + 1)
    assert again is None


@pytest.mark.parametrize("answer", ["", "12345", "1234567", "12345a", "١٢٣٤٥٦", "-12345", "1" * 100_000])
def test_what_is_no_code_matches_nothing(answer: str) -> None:
    """Only six ASCII digits are looked at; anything else is wrong, whatever its length."""
    assert matching_step(SEED * 2, answer, 59, -1) is None


def test_spaces_between_digits_do_not_matter() -> None:
    """Apps show `287 082`: typed so it is right."""
    assert matching_step(SEED * 2, " 287 082 ", PERIOD * 1, -1) == 1


def test_the_uri_says_what_apps_read() -> None:
    """The address in the QR code: issuer and account in the label, secret, digits and period in the query."""
    split = urlsplit(otpauth_uri(SEED * 2, "ann lee/7", "St. Mary & Co"))
    assert (split.scheme, split.netloc) == ("otpauth", "totp")
    assert split.path == "/St.%20Mary%20%26%20Co:ann%20lee%2F7"
    assert parse_qs(split.query) == {
        "secret": [to_base32(SEED * 2)],
        "issuer": ["St. Mary & Co"],
        "digits": ["6"],
        "period": ["30"],
    }


def test_the_picture_is_an_element_for_a_strict_policy() -> None:
    """The QR code is one SVG element with a title, and has neither script nor style that the page's policy would refuse."""
    root = ElementTree.fromstring(qr_svg("otpauth://totp/x?secret=A", "QR code"))
    assert root.tag.rpartition("}")[2] == "svg"
    assert [child.text for child in root if child.tag.rpartition("}")[2] == "title"] == ["QR code"]
    assert not [item for item in root.iter() if "style" in item.attrib or item.tag.rpartition("}")[2] == "script"]
