"""The file of tokens: only its owner reads it, it is whole at every moment, and a refresh token is used once."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import stat
import time
from pathlib import Path

import pytest
from rustcare_cli._errors import CommandFailed, NotSignedIn
from rustcare_cli.remote.tokens import SignIn, Tokens, expired

URL = "https://clinic.example.org"
OTHER = "https://other.example.org"


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    """A file in a folder that is not there yet."""
    return Tokens(tmp_path / "config" / "rustcare")


def test_the_file_is_its_owners_alone(tokens: Tokens) -> None:
    """File and folder have no permissions for others, and a file that others can read is refused."""
    tokens.put(URL, SignIn("access", "refresh", 1.0, "admin", ""))
    assert stat.S_IMODE(tokens.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(tokens.folder.stat().st_mode) == 0o700
    assert tokens.get(URL) == SignIn("access", "refresh", 1.0, "admin", "")
    for mode in (0o640, 0o604, 0o666):
        tokens.path.chmod(mode)
        with pytest.raises(CommandFailed, match="only its owner"):
            tokens.get(URL)


def test_servers_are_kept_apart(tokens: Tokens) -> None:
    """Each server has its own tokens; forgetting one leaves the others."""
    assert tokens.get(URL) is None
    tokens.put(URL, SignIn("one"))
    tokens.put(OTHER, SignIn("two"))
    assert tokens.servers() == [URL, OTHER]
    forgotten = tokens.forget(URL)
    assert forgotten is not None
    assert forgotten.access_token == "one"
    assert tokens.forget(URL) is None
    assert tokens.servers() == [OTHER]


def test_tokens_do_not_show(tokens: Tokens) -> None:
    """What is printed of a sign-in holds no token."""
    assert "secret" not in repr(SignIn("secret-access", "secret-refresh"))


def test_a_damaged_file_is_an_error(tokens: Tokens) -> None:
    """Something that is no JSON is told as an error that names the file, and an unknown field is left alone."""
    tokens.put(URL, SignIn("one"))
    found = json.loads(tokens.path.read_text())
    found[URL]["of_a_newer_version"] = 1
    tokens.path.write_text(json.dumps(found))
    known = tokens.get(URL)
    assert known is not None
    assert known.access_token == "one"
    tokens.path.write_text("{")
    with pytest.raises(CommandFailed) as refused:
        tokens.get(URL)
    assert refused.value.address == str(tokens.path)


def test_a_token_that_is_good_is_not_renewed(tokens: Tokens) -> None:
    """Only an access token that has ended, or that the server refused, is renewed; a failure changes nothing."""
    later = time.time() + 1000

    def never(before: SignIn) -> SignIn:
        raise AssertionError("nothing has to be renewed")

    tokens.put(URL, SignIn("a", "r", later))
    assert tokens.refreshed(URL, "", never).access_token == "a"
    assert tokens.refreshed(URL, "another that was refused", never).access_token == "a"
    assert tokens.refreshed(URL, "a", lambda before: SignIn("b", "s", later)).access_token == "b"
    stored = tokens.get(URL)
    assert stored is not None
    assert stored.refresh_token == "s"

    def refused(before: SignIn) -> SignIn:
        raise NotSignedIn("no")

    with pytest.raises(NotSignedIn):
        tokens.refreshed(URL, "b", refused)
    assert tokens.get(URL) == stored
    for nothing in (SignIn("a", "", 0.0), None):
        if nothing is None:
            tokens.forget(URL)
        else:
            tokens.put(URL, nothing)
        with pytest.raises(NotSignedIn):
            tokens.refreshed(URL, "a", never)


def test_expiry_is_early() -> None:
    """An access token counts as ended a little before it does, so that it does not end on the way."""
    assert expired(SignIn("a", expires=1000.0), now=990.0)
    assert not expired(SignIn("a", expires=1000.0), now=980.0)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("https://Clinic.Example.org/", URL),
        ("https://clinic.example.org:443", URL),
        ("https://clinic.example.org:8443", "https://clinic.example.org:8443"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("https://clinic.example.org/north/", "https://clinic.example.org/north"),
        ("https://clinic.example.org/North", "https://clinic.example.org/North"),
    ],
)
def test_a_server_is_known_however_it_is_written(tokens: Tokens, written: str, kept: str) -> None:
    """Letters of the host, the port that is meant anyway and a last slash make no other server of it."""
    tokens.put(written, SignIn("a"))
    assert tokens.servers() == [kept]
    assert tokens.get(kept) == tokens.get(written) == SignIn("a")
    assert tokens.forget(kept) == SignIn("a")


def test_an_interrupt_waits_until_the_next_token_is_kept(tokens: Tokens) -> None:
    """Ctrl-C while the server is asked ends the command after the answer was written down, not before."""
    tokens.put(URL, SignIn("stale", "r", 0.0))

    def renew(before: SignIn) -> SignIn:
        os.kill(os.getpid(), signal.SIGINT)
        return SignIn("fresh", "s", time.time() + 1000)

    with pytest.raises(KeyboardInterrupt):
        tokens.refreshed(URL, "", renew)
    kept = tokens.get(URL)
    assert kept is not None
    assert (kept.access_token, kept.refresh_token) == ("fresh", "s")


def _renew_in_a_process(folder: Path, renewals: Path, results: Path, number: int) -> None:
    def renew(before: SignIn) -> SignIn:
        with open(renewals, "a") as file:
            file.write(f"{before.refresh_token}\n")
        return SignIn("fresh", before.refresh_token + "+", time.time() + 1000)

    found = Tokens(folder).refreshed(URL, "stale", renew)
    (results / str(number)).write_text(found.access_token)


def test_one_of_many_processes_renews(tokens: Tokens, tmp_path: Path) -> None:
    """When many commands find the token ended at once, one uses the refresh token, the others take what it got."""
    tokens.put(URL, SignIn("stale", "r", 0.0))
    results = tmp_path / "results"
    results.mkdir()
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=_renew_in_a_process, args=(tokens.folder, tmp_path / "renewals", results, number))
        for number in range(6)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert (tmp_path / "renewals").read_text() == "r\n"
    assert {path.read_text() for path in results.iterdir()} == {"fresh"}
