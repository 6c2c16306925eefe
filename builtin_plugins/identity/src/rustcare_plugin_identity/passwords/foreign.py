"""Hashes that other systems made, so that their users need not notice a move: right once, then replaced by one of ours.

| form | made by |
|---|---|
| `$2a$`, `$2b$`, `$2y$` | bcrypt, nearly everywhere |
| `bcrypt_sha256$$2b$…`, `bcrypt$$2b$…` | Django |
| `pbkdf2_sha256$N$salt$hash`, `pbkdf2_sha1$…` | Django |
| `scrypt$salt$N$r$p$hash` | Django |
| `argon2$argon2id$…` | Django (the hash itself is for the keyring) |
| `$pbkdf2$N$…`, `$pbkdf2-sha256$N$…`, `$pbkdf2-sha512$N$…` | passlib |
| `$scrypt$ln=…,r=…,p=…$salt$hash` | passlib |

A hash brings its own cost. One beyond our bounds is refused when it is imported: nobody can make the server toil by it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error

import bcrypt

__all__ = ["is_foreign", "keyring_form", "known", "verify"]

_MOST_ROUNDS, _MOST_ITERATIONS, _MOST_MEMORY = 14, 2_000_000, 128 << 20
#: What the keyring compares, and the most that it computes: memory in KiB, passes, lanes; iterations.
_ARGON2 = re.compile(
    r"\$argon2id(?:\$v=(?:16|19))?\$m=(\d{1,9}),t=(\d{1,9}),p=(\d{1,9})\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}"
)
_ARGON2_MOST = (1 << 18, 16, 8)
_PBKDF2 = re.compile(r"\$pbkdf2-sha256\$i=(\d{1,9}),l=\d{1,3}\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+")
_PBKDF2_MOST = 5_000_000
_DJANGO_PBKDF2 = {"pbkdf2_sha256": "sha256", "pbkdf2_sha1": "sha1", "pbkdf2_sha512": "sha512"}
_PASSLIB_PBKDF2 = {"pbkdf2": "sha1", "pbkdf2-sha256": "sha256", "pbkdf2-sha512": "sha512"}


def keyring_form(encoded: str) -> str:
    """The hash without the word that Django puts before argon2's own form."""
    return encoded.removeprefix("argon2") if encoded.startswith("argon2$argon2") else encoded


def is_foreign(encoded: str) -> bool:
    """Whether this module is to compare it; else the keyring is."""
    try:
        _parse(encoded)
    except (ValueError, Base64Error):
        return False
    return True


def known(encoded: str) -> bool:
    """Whether it is a hash that can be compared, here or by the keyring, at a cost within our bounds."""
    if not encoded.isascii() or not 0 < len(encoded) <= 1024:
        return False
    return is_foreign(encoded) or _is_the_keyrings(keyring_form(encoded))


def _is_the_keyrings(form: str) -> bool:
    if found := _ARGON2.fullmatch(form):
        return all(0 < int(cost) <= most for cost, most in zip(found.groups(), _ARGON2_MOST, strict=True))
    found = _PBKDF2.fullmatch(form)
    return found is not None and 0 < int(found[1]) <= _PBKDF2_MOST


def verify(encoded: str, password: str) -> bool:
    """Whether it is the hash of this password. Blocks for as long as the hash says. What is no hash is of no password."""
    try:
        kind, arguments = _parse(encoded)
        data = password.encode()
        if kind == "bcrypt":
            return _bcrypt(data, arguments[0])
        if kind == "bcrypt-sha256":
            return _bcrypt(hashlib.sha256(data).hexdigest().encode(), arguments[0])
        if kind == "pbkdf2":
            name, iterations, salt, derived = arguments
            found = hashlib.pbkdf2_hmac(name, data, salt, iterations, len(derived))
        else:
            cost, block, lanes, salt, derived = arguments
            found = hashlib.scrypt(
                data, salt=salt, n=cost, r=block, p=lanes, maxmem=_memory(cost, block, lanes), dklen=len(derived)
            )
    except (ValueError, Base64Error):  # also parameters that the library refuses, and text that is no UTF-8
        return False
    return hmac.compare_digest(found, derived)


def _bcrypt(data: bytes, encoded: bytes) -> bool:
    # bcrypt has never looked beyond 72 bytes; those who made the hash did not either.
    return bcrypt.checkpw(data[:72], encoded)


def _parse(encoded: str) -> tuple[str, tuple]:  # type: ignore[type-arg]  # each kind has arguments of its own
    """What kind of hash it is, and what it is made of. Raises ValueError."""
    first, _, rest = encoded.partition("$")
    if first in ("bcrypt", "bcrypt_sha256"):
        _rounds(rest)
        return ("bcrypt" if first == "bcrypt" else "bcrypt-sha256"), (rest.encode(),)
    if first in _DJANGO_PBKDF2:
        count, salt, derived = rest.split("$")
        return _pbkdf2(_DJANGO_PBKDF2[first], count, salt.encode(), b64decode(derived, validate=True))
    if first == "scrypt":
        salt, cost, block, lanes, derived = rest.split("$")
        return _scrypt(int(cost), int(block), int(lanes), salt.encode(), b64decode(derived, validate=True))
    if first:
        raise ValueError
    name, _, rest = rest.partition("$")
    if name in ("2a", "2b", "2y"):
        _rounds(encoded)
        return "bcrypt", (encoded.encode(),)
    if name in _PASSLIB_PBKDF2:
        count, salt, derived = rest.split("$")
        return _pbkdf2(_PASSLIB_PBKDF2[name], count, _adapted(salt), _adapted(derived))
    if name == "scrypt":
        parameters, salt, derived = rest.split("$")
        found = dict(part.split("=") for part in parameters.split(","))
        exponent = int(found["ln"]) if found.get("ln", "").isdigit() else -1
        if not 0 < exponent < 30:
            raise ValueError
        return _scrypt(1 << exponent, int(found.get("r", 0)), int(found.get("p", 0)), _adapted(salt), _adapted(derived))
    raise ValueError


def _rounds(encoded: str) -> None:
    parts = encoded.split("$")
    if len(parts) != 4 or parts[1] not in ("2a", "2b", "2y") or len(parts[3]) != 53:
        raise ValueError
    if not 4 <= int(parts[2]) <= _MOST_ROUNDS:
        raise ValueError


def _pbkdf2(name: str, count: str, salt: bytes, derived: bytes) -> tuple[str, tuple[str, int, bytes, bytes]]:
    iterations = int(count)
    if not 0 < iterations <= _MOST_ITERATIONS or not 16 <= len(derived) <= 64 or not salt:
        raise ValueError
    return "pbkdf2", (name, iterations, salt, derived)


def _scrypt(
    cost: int, block: int, lanes: int, salt: bytes, derived: bytes
) -> tuple[str, tuple[int, int, int, bytes, bytes]]:
    power = cost > 1 and cost & (cost - 1) == 0
    if not power or block < 1 or not 1 <= lanes <= 16 or 128 * cost * block * lanes > _MOST_MEMORY:
        raise ValueError
    # RFC 7914, section 2, and what the library wants beside the block that is counted above.
    if cost >= 1 << 16 * min(block, 4) or _memory(cost, block, lanes) > 2 * _MOST_MEMORY:
        raise ValueError
    if not 16 <= len(derived) <= 64:
        raise ValueError
    return "scrypt", (cost, block, lanes, salt, derived)


def _memory(cost: int, block: int, lanes: int) -> int:
    return 128 * block * (cost + lanes + 2) + 1024


def _adapted(text: str) -> bytes:
    """passlib's base64: a dot for the plus, no padding."""
    data = text.replace(".", "+")
    found = b64decode(data + "=" * (-len(data) % 4), validate=True)
    if b64encode(found).rstrip(b"=").decode() != data:
        raise ValueError
    return found
