"""Names and addresses: when two are the same, and which are refused."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.accounts.names import checked_display_name, checked_email, checked_name, folded, key
from rustcare_plugin_identity.errors import InvalidAccount

TEXTS = st.text(max_size=40)


@given(TEXTS)
def test_a_key_is_the_key_of_itself(text: str) -> None:
    """What is compared does not change when it is compared again: an account is found by what it was stored under."""
    assert key(key(text)) == key(text)


@given(TEXTS)
def test_folding_is_done_once(text: str) -> None:
    """A folded text is folded, and in NFKC."""
    assert folded(folded(text)) == folded(text)
    assert unicodedata.is_normalized("NFKC", folded(text))


@given(TEXTS)
def test_neither_case_nor_form_makes_another_name(text: str) -> None:
    """Capitals, small letters, composed and decomposed forms of a text have one key."""
    assert key(text) == key(text.casefold()) == key(unicodedata.normalize("NFD", text))


@given(TEXTS)
def test_a_name_that_is_taken_is_found_again(text: str) -> None:
    """A name that is kept has the key of what was typed, and would be taken again as it is."""
    try:
        kept = checked_name(text)
    except InvalidAccount:
        return
    assert key(kept) == key(text)
    assert checked_name(kept) == kept


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Anna", "anna"),
        ("straße", "STRASSE"),
        ("ﬁona", "fiona"),
        ("paypal", "раураӏ"),  # Cyrillic
        ("coco", "сосо"),
        ("vova", "νονα"),  # Greek
        ("ＡＤＭＩＮ", "admin"),
        ("dennis", "Dennıs"),
        ("anna@münchen.example", "Anna@XN--MNCHEN-3YA.example"),
        ("anna@почта.example", "anna@xn--80a1acny.example"),
    ],
)
def test_what_looks_the_same_is_the_same(first: str, second: str) -> None:
    """Names that differ in case, width, ligatures or script alone are one name."""
    assert key(first) == key(second)


def test_digits_are_no_letters() -> None:
    """`user1` and `userl` are two names."""
    assert key("user1") != key("userl")


@pytest.mark.parametrize(
    "name",
    [
        *("anna", "o'neil", "anna.schmidt-2", "müller", "山田たろう", "김철수", "мария", "a+b@c.example"),
        "ada_home.example#EXT#@clinic.example",
    ],
)
def test_names_that_are_taken(name: str) -> None:
    """Letters of one script, digits and a few signs."""
    assert checked_name(f"  {name} ") == unicodedata.normalize("NFKC", name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "two words",
        "-anna",
        "#anna",
        ".x",
        "аnna",
        "annα",
        "a" * 129,
        "a\u202eb",
        "a\x00b",
        "0123456789abcdef" * 2,
        "0123456789авсеԁ0" * 2,
        "😀",
    ],
)
def test_names_that_are_refused(name: str) -> None:
    """No spaces, no signs at the beginning, no mix of scripts, nothing invisible, nothing that looks like an id."""
    with pytest.raises(InvalidAccount) as refused:
        checked_name(name)
    assert refused.value.code == "identity.invalid-account"
    assert name.strip() == "" or name not in str(refused.value)


@pytest.mark.parametrize(
    ("email", "kept"),
    [
        ("Anna@Clinic.Example", "Anna@clinic.example"),
        (" a@b.example ", "a@b.example"),
        ("a@exämple.org", "a@xn--exmple-cua.org"),
        ("", ""),
        ("josé@x.example", "josé@x.example"),
    ],
)
def test_addresses_that_are_taken(email: str, kept: str) -> None:
    """The domain is kept in its ASCII form and in small letters, the rest as it was given."""
    assert checked_email(email) == kept


@pytest.mark.parametrize(
    "email",
    [
        "a",
        "@b.example",
        "a@",
        "a b@c.example",
        "a@b@c.example",
        "a@-b.example",
        ".a@b.example",
        "a..b@c.example",
        "a@b.example\nBcc: x@y.example",
        "a@b.example>",
        "a" * 65 + "@b.example",
        "a@" + "b" * 260,
        "a\u200b@b.example",
    ],
)
def test_addresses_that_are_refused(email: str) -> None:
    """What is no address, or could be a line of a mail's head, is refused."""
    with pytest.raises(InvalidAccount):
        checked_email(email)


@given(TEXTS)
def test_an_address_never_breaks_a_line(text: str) -> None:
    """Whatever is taken for an address is one line without control characters."""
    for tried in (text, f"{text}@b.example", f"a@{text}"):
        try:
            kept = checked_email(tried)
        except InvalidAccount:
            continue
        assert kept.isprintable()
        assert " " not in kept


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_an_address_that_is_kept_is_found_as_it_was_typed(local: str, domain: str) -> None:
    """The domain is kept in another form than people type it in; both are one key."""
    for tried in (f"{local}@{domain}.example", f"a@{domain}.example", f"{local}@b.example"):
        try:
            kept = checked_email(tried)
        except InvalidAccount:
            continue
        assert key(kept) == key(tried)


def test_shown_names() -> None:
    """One line of printable text; white space is put in order; what turns writing around is refused."""
    assert checked_display_name("  Anna \n Schmidt ") == "Anna Schmidt"
    for refused in ("a\u202eb", "a\u2066b", "a\x07b", "a" * 257):
        with pytest.raises(InvalidAccount):
            checked_display_name(refused)
