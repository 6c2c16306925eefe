"""Files of breached passwords: searched where they lie."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rustcare_plugin_identity.passwords.breached import Breached, BreachFileInvalid, ntlm


def sha1(password: str) -> str:
    """As the file has it."""
    return hashlib.sha1(password.encode()).hexdigest().upper()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(max_size=12), max_size=40, unique=True),
    st.lists(st.text(max_size=12), max_size=10),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_exactly_those_in_the_file_are_found(
    tmp_path_factory: pytest.TempPathFactory, listed: list[str], others: list[str], end: str, last: bool
) -> None:
    """Whatever its size, with either line end, with or without one at the end; counts of any width."""
    path = tmp_path_factory.mktemp("breached") / "file"
    lines = sorted(f"{sha1(password)}:{len(password) ** 5 + 1}" for password in [*listed, "always"])
    path.write_bytes((end.join(lines) + (end if last else "")).encode())
    breached = Breached(str(path))
    for password in [*listed, "always", *others]:
        assert breached.has(password) is (password in listed or password == "always")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=12), max_size=30, unique=True), st.lists(st.text(max_size=12), max_size=10))
def test_a_folder_by_prefix_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, listed: list[str], others: list[str]
) -> None:
    """A file for each five digits, as the k-anonymity service answers them."""
    folder = tmp_path_factory.mktemp("breached")
    for password in [*listed, "always"]:
        digest = sha1(password)
        with (folder / f"{digest[:5]}.txt").open("a") as file:
            file.write(f"{digest[5:]}:3\r\n")
    breached = Breached(str(folder))
    for password in [*listed, "always", *others]:
        assert breached.has(password) is (password in listed or password == "always")


@pytest.mark.parametrize(
    ("password", "digest"),
    [
        ("", "31D6CFE0D16AE931B73C59D7E0C089C0"),
        ("password", "8846F7EAEE8FB117AD06BDD830B7586C"),
        ("P@ssw0rd", "E19CCF75EE54E06B06A5907AF13CEF42"),
        ("123456", "32ED87BDB5FDC5E9CBA88547376818D4"),
    ],
)
def test_ntlm(password: str, digest: str) -> None:
    """NTLM hashes as they are known: MD4 (RFC 1320) of UTF-16."""
    assert ntlm(password).decode() == digest


@given(st.text(min_size=20, max_size=120))
def test_ntlm_takes_any_length(password: str) -> None:
    """More than one block of MD4 too: thirty-two digits, and another hash for another text."""
    assert len(ntlm(password)) == 32
    assert ntlm(password) != ntlm(password + "x")


def test_an_ntlm_file(tmp_path: Path) -> None:
    """Which hash it has is seen by its length."""
    path = tmp_path / "file"
    path.write_text("\n".join(sorted(f"{ntlm(word).decode()}:1" for word in ("one", "two", "three"))) + "\n")
    assert [Breached(str(path)).has(word) for word in ("one", "two", "three", "four")] == [True, True, True, False]


@pytest.mark.parametrize("content", [None, b"", b"hello\n", b"ABC:1\n"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """At the start, not when the first password is set."""
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BreachFileInvalid) as refused:
        Breached(str(path))
    assert refused.value.code == "identity.breach-file"


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """There is nothing to look into."""
    with pytest.raises(BreachFileInvalid):
        Breached(str(tmp_path))


def test_a_file_that_is_gone_lets_no_password_pass(tmp_path: Path) -> None:
    """Nor is it an error that nobody knows: it has a code, and says where to look."""
    path = tmp_path / "file"
    path.write_bytes(ntlm("one") + b":1\n")
    breached = Breached(str(path))
    path.unlink()
    with pytest.raises(BreachFileInvalid) as refused:
        breached.has("two")
    assert refused.value.address == "config.passwords.breached"
