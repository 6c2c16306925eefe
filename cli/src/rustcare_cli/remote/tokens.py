"""The tokens of `rustcare login`: one file under the user's configuration, which only its owner may read.

A refresh token works once, and one that is used twice ends the whole sign-in. So whoever refreshes holds a lock, looks
whether another process has done it meanwhile, and writes the next token to the disk before the lock is given back. Ctrl-C
waits for that too: a token that was taken and not written down would look like a thief's with the next command.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rustcare_cli._errors import CommandFailed, NotSignedIn
from rustcare_cli.trust._files import put, sync_folder

__all__ = ["SignIn", "Tokens", "expired", "sign_in"]

#: Seconds before its end from which an access token counts as expired.
EARLY = 15.0


@dataclass(frozen=True)
class SignIn:
    """One server's tokens. `expires`: of the access token, Unix seconds. `tenant` and `scope` are what was asked for."""

    access_token: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    expires: float = 0.0
    scope: str = ""
    tenant: str = ""


def expired(found: SignIn, now: float | None = None) -> bool:
    """Whether the access token is no longer good for a request."""
    return found.expires - EARLY <= (time.time() if now is None else now)


class Tokens:
    """The file. Args: folder: where it lies; under XDG_CONFIG_HOME if not given."""

    def __init__(self, folder: Path | None = None) -> None:
        base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        self.folder = folder if folder is not None else Path(base) / "rustcare"
        self.path = self.folder / "servers.json"

    def get(self, url: str) -> SignIn | None:
        """What is known of a server. Raises CommandFailed when others could read the file."""
        found = self._read().get(_key(url))
        if not isinstance(found, dict):
            return None
        known = {item.name for item in fields(SignIn)}
        return SignIn(**{name: value for name, value in found.items() if name in known})

    def put(self, url: str, found: SignIn) -> None:
        """Remember a sign-in, durably."""
        with self._locked():
            self._write({**self._read(), _key(url): asdict(found)})

    def forget(self, url: str) -> SignIn | None:
        """Forget a sign-in; what it was."""
        with self._locked():
            found = self.get(url)
            self._write({key: value for key, value in self._read().items() if key != _key(url)})
        return found

    def servers(self) -> list[str]:
        """The servers that there are tokens for."""
        return sorted(self._read())

    def refreshed(self, url: str, refused: str, renew: Callable[[SignIn], SignIn]) -> SignIn:
        """The sign-in with an access token that is good, renewed if need be.

        Args:
            refused: an access token that the server does not take any more, or empty.
            renew: exchanges the refresh token. What it raises, this raises; then nothing was written.

        Raises:
            NotSignedIn: there is nothing to renew with.
        """
        with self._locked(), _uninterrupted():
            found = self.get(url)
            if found is None:
                raise NotSignedIn("Expected a token for this server, there is none", address=url, hint=sign_in(url))
            if found.access_token != refused and not expired(found):
                return found  # another process was faster
            if not found.refresh_token:
                raise NotSignedIn("The sign-in has ended", address=url, hint=sign_in(url))
            found = renew(found)
            self._write({**self._read(), _key(url): asdict(found)})
            return found

    def _read(self) -> dict[str, Any]:
        try:
            with open(self.path, "rb") as file:
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    raise CommandFailed(
                        "Expected a file that only its owner can read, others can too",
                        address=str(self.path),
                        hint=f"chmod 600 {self.path}; if others may have read it: rustcare logout, and login again",
                    )
                found = json.load(file)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise CommandFailed(f"Expected the file of tokens: {error}", address=str(self.path)) from None
        return found if isinstance(found, dict) else {}

    def _write(self, found: dict[str, Any]) -> None:
        put(self.path, json.dumps(found, indent=1).encode() + b"\n")  # whole, synced, mode 0600
        sync_folder(self.folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle = os.open(self.folder / "servers.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CommandFailed(f"Expected a place to write to: {error.strerror}", address=str(self.folder)) from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _key(url: str) -> str:
    """A server's name in the file: however its URL was written, it is the same server."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        return url  # no connection is made to it in any case
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    shown = f":{port}" if port and port != {"https": 443, "http": 80}.get(parts.scheme) else ""
    return f"{parts.scheme}://{host}{shown}{parts.path.rstrip('/')}"


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Signals that end the command wait until the block has. Only the main thread is interrupted by any."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    # Not `pthread_sigmask`: a signal goes to any thread that lets it through, and Python then tells the main thread.
    before = {
        number: signal.signal(number, lambda it, _: caught.append(it)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for caught_one in caught:
            signal.raise_signal(caught_one)


def sign_in(url: str) -> str:
    """What to do about it."""
    return f"sign in: rustcare login {url}"
