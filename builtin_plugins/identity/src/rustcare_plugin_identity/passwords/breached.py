"""Whether a password stands in a file of breached passwords, without asking anybody.

The file is one that Have I Been Pwned gives away: sorted lines `HASH:COUNT`, with SHA-1 or NTLM hashes in capitals. It has
tens of gigabytes, so it is searched where it lies, by halves: about forty reads. Instead it may be a folder with a file for
each prefix of five digits (`21BD1.txt`), whose lines are the rest of the hash: what the k-anonymity service answers.
"""

from __future__ import annotations

import hashlib
import os
import struct
from pathlib import Path

from rustcare_sdk.errors import RustCareError

__all__ = ["BreachFileInvalid", "Breached", "ntlm"]

_SIZES = {40: "sha1", 32: "ntlm"}
_PREFIX = 5


class BreachFileInvalid(RustCareError):
    """What the configuration calls a file of breached passwords is none."""

    code = "identity.breach-file"


class Breached:
    """Looks passwords up.

    Raises BreachFileInvalid when there is no such file or folder, or its lines are not what they should be.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._folder = self._path.is_dir()
        try:
            if self._folder:
                first = min(entry.name for entry in os.scandir(self._path) if entry.name.endswith(".txt"))
                with (self._path / first).open("rb") as file:
                    self._kind = _kind(len(file.readline().split(b":")[0]) + _PREFIX)
            else:
                with self._path.open("rb") as file:
                    self._kind = _kind(len(file.readline().split(b":")[0]))
        except (OSError, ValueError) as error:
            raise _invalid(error) from None

    def has(self, password: str) -> bool:
        """Whether it stands there. Blocks. Raises BreachFileInvalid when it cannot be read any more."""
        digest = _hash(password, self._kind)
        try:
            return self._in_folder(digest) if self._folder else self._in_file(digest)
        except OSError as error:
            raise _invalid(error) from None

    def _in_folder(self, digest: bytes) -> bool:
        path = self._path / f"{digest[:_PREFIX].decode()}.txt"
        if not path.exists():
            return False
        with path.open("rb") as file:
            return any(line.split(b":")[0].strip().upper() == digest[_PREFIX:] for line in file)

    def _in_file(self, digest: bytes) -> bool:
        with self._path.open("rb") as file:
            low, high = 0, os.fstat(file.fileno()).st_size
            # The line that is sought begins in [low, high).
            while low < high:
                middle = (low + high) // 2
                if middle > low:
                    # The first line that begins at `middle` or later: none begins in between.
                    file.seek(middle - 1)
                    file.readline()
                else:
                    file.seek(low)
                begin = file.tell()
                if begin >= high:
                    high = middle
                    continue
                line = file.readline()
                found = line.split(b":")[0].strip().upper()
                if found == digest:
                    return True
                if found < digest:
                    low = begin + len(line)
                else:
                    high = middle
        return False


def _invalid(error: Exception) -> BreachFileInvalid:
    return BreachFileInvalid(
        f"expected a file of HASH:COUNT lines or a folder of such files, got {type(error).__name__}",
        hint="see passwords.breached in the README of identity",
        address="config.passwords.breached",
    )


def _kind(size: int) -> str:
    if size not in _SIZES:
        raise ValueError
    return _SIZES[size]


def _hash(password: str, kind: str) -> bytes:
    if kind == "ntlm":
        return ntlm(password)
    return hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper().encode()


def ntlm(password: str) -> bytes:
    """The NTLM hash in hex: MD4 (RFC 1320) of the password in UTF-16. OpenSSL does not give MD4 any more."""
    message = password.encode("utf-16-le")
    padded = message + b"\x80" + b"\0" * ((55 - len(message)) % 64) + struct.pack("<Q", 8 * len(message))
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    for start in range(0, len(padded), 64):
        words = struct.unpack("<16I", padded[start : start + 64])
        a, b, c, d = state
        for turn, order, shifts, constant in _ROUNDS:
            for step, index in enumerate(order):
                mixed = (a + turn(b, c, d) + words[index] + constant) & 0xFFFFFFFF
                shift = shifts[step % 4]
                a, b, c, d = d, (mixed << shift | mixed >> (32 - shift)) & 0xFFFFFFFF, b, c
        state = [(old + new) & 0xFFFFFFFF for old, new in zip(state, (a, b, c, d), strict=True)]
    return struct.pack("<4I", *state).hex().upper().encode()


def _choose(x: int, y: int, z: int) -> int:
    return (x & y) | (~x & z)


def _most(x: int, y: int, z: int) -> int:
    return (x & y) | (x & z) | (y & z)


def _odd(x: int, y: int, z: int) -> int:
    return x ^ y ^ z


# RFC 1320, section 3.4: function, order of the words, shifts, constant of each round.
_ROUNDS = (
    (_choose, tuple(range(16)), (3, 7, 11, 19), 0),
    (_most, (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13), 0x5A827999),
    (_odd, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15), 0x6ED9EBA1),
)
