"""Password hashes: argon2id at OWASP's cost, and PBKDF2-HMAC-SHA256 under the policy `fips`.

| policy | new hashes | form |
|---|---|---|
| `default` | argon2id, 19 MiB, 2 passes, 1 lane (OWASP) | `$argon2id$v=19$m=19456,t=2,p=1$salt$hash` |
| `fips` | PBKDF2-HMAC-SHA256, 600,000 iterations (SP 800-132, OWASP) | `$pbkdf2-sha256$i=600000,l=32$salt$hash` |

Hashing takes tens of milliseconds and, for argon2, 19 MiB: it runs in a few threads, and only so many may wait for one. More
are refused at once with `crypto.overloaded`: a log-in storm costs a bounded amount of memory and time, and who is refused
can come back. The threads have a lower priority than the others (Linux has one for each thread; elsewhere they run as all
do): whoever does not hash comes first. A hash that is to be verified brings its own cost; one beyond our bounds is refused,
uncomputed.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import sys
import threading
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from argon2 import Parameters, Type, extract_parameters
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.low_level import hash_secret, verify_secret

from rustcare_plugin_crypto.errors import CryptoFailed, InvalidParameter, Overloaded

from .policy import Policy

__all__ = ["Passwords", "hash_password", "needs_rehash", "verify_password"]

_T = TypeVar("_T")
#: argon2id: memory in KiB, passes, lanes, and lengths of salt and hash in bytes.
_MEMORY, _PASSES, _LANES, _SALT, _LENGTH = 19456, 2, 1, 16, 32
_ITERATIONS = 600_000
#: The most that a hash to be verified may cost (memory in KiB, passes, lanes; iterations).
_MOST_MEMORY, _MOST_PASSES, _MOST_LANES, _MOST_ITERATIONS = 1 << 18, 16, 8, 5_000_000
#: Longest password in bytes: beyond it there is only work for us.
_LONGEST = 4096


def _checked(password: str | bytes) -> bytes:
    data = password.encode() if isinstance(password, str) else password
    if len(data) > _LONGEST:
        raise InvalidParameter(f"expected a password of at most {_LONGEST} bytes, got {len(data)}")
    return data


def _unpadded(data: bytes) -> str:
    return b64encode(data).rstrip(b"=").decode()


def hash_password(password: str | bytes, policy: Policy) -> str:
    """A new hash with a random salt, as text. Blocks for tens of milliseconds.

    Raises:
        InvalidParameter: the password has more than 4,096 bytes.
    """
    data, salt = _checked(password), os.urandom(_SALT)
    if policy.fips:
        derived = hashlib.pbkdf2_hmac("sha256", data, salt, _ITERATIONS, _LENGTH)
        return f"$pbkdf2-sha256$i={_ITERATIONS},l={_LENGTH}${_unpadded(salt)}${_unpadded(derived)}"
    return hash_secret(data, salt, _PASSES, _MEMORY, _LANES, _LENGTH, Type.ID).decode()


def _pbkdf2(encoded: str) -> tuple[int, bytes, bytes]:
    """Iterations, salt and hash of the `pbkdf2-sha256` form."""
    try:
        _, name, parameters, salt, derived = encoded.split("$")
        cost, length = parameters.split(",")
        iterations, size = int(cost.removeprefix("i=")), int(length.removeprefix("l="))
        found = b64decode(salt + "=" * (-len(salt) % 4)), b64decode(derived + "=" * (-len(derived) % 4))
    except (ValueError, Base64Error):
        raise CryptoFailed from None
    if name != "pbkdf2-sha256" or not 0 < iterations <= _MOST_ITERATIONS or size != len(found[1]) or size < 16:
        raise CryptoFailed
    return iterations, *found


def _argon2(encoded: str) -> Parameters:
    """The parameters of an argon2id hash, within our bounds."""
    try:
        found = extract_parameters(encoded)
    except (InvalidHashError, ValueError):
        raise CryptoFailed from None
    cost = (found.memory_cost, found.time_cost, found.parallelism)
    most = (_MOST_MEMORY, _MOST_PASSES, _MOST_LANES)
    if found.type is not Type.ID or any(value > bound for value, bound in zip(cost, most, strict=True)):
        raise CryptoFailed
    return found


def needs_rehash(encoded: str, policy: Policy) -> bool:
    """Whether a hash should be made anew at the next log-in: another algorithm, or cheaper than we make them now.

    Raises:
        CryptoFailed: it is not a hash of ours, or costs more than we would compute.
    """
    if encoded.startswith("$pbkdf2-sha256$"):
        iterations, salt, derived = _pbkdf2(encoded)
        return not policy.fips or iterations < _ITERATIONS or len(salt) < _SALT or len(derived) < _LENGTH
    found = _argon2(encoded)
    cheap = found.memory_cost < _MEMORY or found.time_cost < _PASSES
    short = found.hash_len < _LENGTH or found.salt_len < _SALT or found.version != 19
    return policy.fips or cheap or short


def verify_password(encoded: str, password: str | bytes, policy: Policy) -> bool:
    """Pass when the password is the one that was hashed; the answer is `needs_rehash`. Blocks.

    Raises:
        CryptoFailed: it is not, or `encoded` is no hash of ours or costs too much; these are not told apart.
        AlgorithmRefused: an argon2id hash under the policy `fips`: the password must be set anew.
    """
    data = _checked(password)
    if encoded.startswith("$pbkdf2-sha256$"):
        iterations, salt, derived = _pbkdf2(encoded)
        policy.admit("pbkdf2-sha256")
        if not hmac.compare_digest(hashlib.pbkdf2_hmac("sha256", data, salt, iterations, len(derived)), derived):
            raise CryptoFailed
    else:
        _argon2(encoded)
        policy.admit("argon2id")
        try:
            verify_secret(encoded.encode(), data, Type.ID)
        except (Argon2Error, UnicodeEncodeError):
            raise CryptoFailed from None
    return needs_rehash(encoded, policy)


class Passwords:
    """Password hashing for asynchronous code: a bounded pool of threads with a bounded queue.

    Args:
        policy: which algorithm new hashes are of.
        workers: threads; each may hold 19 MiB.
        waiting: how many calls may wait for a thread; one more is refused.
        niceness: how far the threads stand back for others: 0 not at all, 19 as far as they can.
    """

    def __init__(self, policy: Policy, workers: int = 2, waiting: int = 32, niceness: int = 10) -> None:
        if workers < 1 or waiting < 0:
            raise InvalidParameter(f"expected at least 1 worker and 0 waiting, got {workers} and {waiting}")
        self._policy = policy
        self._most = workers + waiting
        self._busy = 0
        self._pool = ThreadPoolExecutor(
            workers, thread_name_prefix="rustcare-passwords", initializer=_stand_back, initargs=(niceness,)
        )

    def __repr__(self) -> str:
        return f"<Passwords {self._policy.name}: {self._busy} of {self._most}>"

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._busy >= self._most:
            raise Overloaded(
                f"expected at most {self._most} passwords at once, got one more",
                hint="try again in a moment, or raise the number of workers",
            )
        loop = asyncio.get_running_loop()
        self._busy += 1
        # Not `run_in_executor`: a caller that is cancelled must not free the place of work that still runs.
        future = self._pool.submit(work)
        future.add_done_callback(lambda _: _soon(loop, self._done))
        return await asyncio.wrap_future(future)

    def _done(self) -> None:
        self._busy -= 1

    async def hash(self, password: str | bytes) -> str:
        """A new hash, as text.

        Raises:
            Overloaded: too many are waiting.
            InvalidParameter: the password has more than 4,096 bytes.
        """
        return await self._run(partial(hash_password, _checked(password), self._policy))

    async def verify(self, encoded: str, password: str | bytes) -> bool:
        """Pass when the password is right; True: hash it anew (see `needs_rehash`).

        Raises:
            Overloaded: too many are waiting.
            CryptoFailed: the password is wrong, or the hash is none.
        """
        return await self._run(partial(verify_password, encoded, _checked(password), self._policy))

    def close(self) -> None:
        """Let the running ones end, drop the waiting ones, end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _stand_back(niceness: int) -> None:
    """Lower the priority of the calling thread, where threads have one of their own."""
    if niceness and sys.platform == "linux":
        with suppress(OSError):
            mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, mine + niceness))


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    """Call in the loop's thread; a loop that is closed has nobody left to be told."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call)
