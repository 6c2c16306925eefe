"""What every algorithm of keys can do, by family. Pure functions over bytes: no bus, no store, no clock.

A key's secret part is `bytes` in one canonical encoding per algorithm (see each module), so that a keyring can wrap and
store it without knowing what it is. What costs time at every use (parsing, deriving, key schedules) is done once in
`prepare`, which gives an object with the operations; a keyring keeps that object as long as it keeps the key.

There is no cache behind the functions that take a secret: it would keep a key alive that its owner has dropped.

Python does not let us clear memory: `bytes` are immutable, the allocator copies, and `cryptography` copies a key into
OpenSSL's memory, which OpenSSL does clear when the object goes. What we can do, and do: drop references early, keep no
secret in an attribute that `repr`, logging or pickling would show, and take `bytearray` where the caller can clear it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, TypeAlias

from rustcare_plugin_crypto.errors import CryptoFailed, InvalidKey, Unsuitable

from .policy import STANDINGS

__all__ = [
    "Aead",
    "Agreement",
    "Algorithm",
    "Buffer",
    "Hpke",
    "Kem",
    "Mac",
    "MacKey",
    "Sealed",
    "Sealer",
    "Signature",
    "Signer",
    "Verifier",
]

#: Bytes of any kind; a `bytearray` can be cleared by its owner afterwards.
Buffer: TypeAlias = bytes | bytearray | memoryview


class Hidden:
    """An object that holds a secret: it shows nothing of it and cannot be pickled or copied into a log."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce__(self) -> Any:
        raise TypeError(f"{type(self).__name__} holds a key and cannot be serialized")


class Algorithm(ABC):
    """A kind of key. `family`: what its keys are for."""

    family: ClassVar[str]

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<{self.family} {self.name}>"

    @property
    def approved(self) -> bool:
        """Whether FIPS 140-3 approves of it (`policy.STANDINGS` says by which document)."""
        return STANDINGS[self.name].approved

    @abstractmethod
    def generate(self) -> bytes:
        """A new secret, in the canonical encoding."""

    @abstractmethod
    def check(self, secret: Buffer) -> None:
        """Pass when `secret` is a secret of this algorithm in its canonical encoding.

        Raises:
            InvalidKey: it is not.
        """

    def adopt(self, material: Buffer) -> bytes:
        """The canonical encoding of a key that somebody brings: that encoding itself, or PKCS #8 (DER or PEM).

        Raises:
            InvalidKey: it is neither, or a key of another algorithm.
        """
        self.check(material)
        return bytes(material)

    def public(self, secret: Buffer) -> bytes | None:
        """The public part in the algorithm's own encoding; None where there is none (symmetric keys)."""
        return None

    def jwk(self, public: bytes) -> dict[str, Any]:
        """The public part as a JSON Web Key (RFC 7517), without `kid` (see `jwk.thumbprint`).

        Raises:
            Unsuitable: a symmetric key has no public part.
        """
        raise Unsuitable(f"expected an algorithm with public keys, got {self.name}")


class Sealed(Protocol):
    """A ciphertext and what it was bound to. Objects instead of pairs: making pairs costs a tenth of decrypting 4 KiB."""

    @property
    def ciphertext(self) -> bytes: ...
    @property
    def aad(self) -> bytes: ...


class Sealer(Hidden, ABC):
    """A prepared key of an AEAD."""

    __slots__ = ()

    @abstractmethod
    def seal(self, data: Buffer, aad: Buffer = b"") -> bytes:
        """Encrypt; `aad` is authenticated, not stored."""

    @abstractmethod
    def open(self, sealed: Buffer, aad: Buffer = b"") -> bytes:
        """Decrypt.

        Raises:
            CryptoFailed: it was not sealed with this key and `aad`.
        """

    @abstractmethod
    def seal_many(self, data: Sequence[Buffer], aads: Sequence[bytes], before: bytes = b"") -> list[bytes]:
        """Encrypt many: for each `before + seal(data, before + aad)`, at less cost. As many aads as data."""

    @abstractmethod
    def open_many(self, items: Sequence[Sealed], before: bytes = b"") -> tuple[list[bytes | None], list[int]]:
        """Decrypt what `seal_many` made: the data, with None for each that fails, and the places of those."""


class Aead(Algorithm):
    """Authenticated encryption with associated data. Secrets: 32 random bytes."""

    family = "aead"

    @abstractmethod
    def prepare(self, secret: Buffer) -> Sealer:
        """Make a key ready for use (raises InvalidKey)."""

    def seal(self, secret: Buffer, data: Buffer, aad: Buffer = b"") -> bytes:
        """`prepare(secret).seal(data, aad)`, for a key that is used once."""
        return self.prepare(secret).seal(data, aad)

    def open(self, secret: Buffer, sealed: Buffer, aad: Buffer = b"") -> bytes:
        """`prepare(secret).open(sealed, aad)`, for a key that is used once."""
        return self.prepare(secret).open(sealed, aad)


class Signer(Hidden, ABC):
    """A prepared signing key."""

    __slots__ = ()

    @abstractmethod
    def sign(self, data: Buffer) -> bytes:
        """The signature of `data`, in the algorithm's own encoding."""


class Verifier(ABC):
    """A prepared public key."""

    __slots__ = ()

    @abstractmethod
    def verify(self, signature: Buffer, data: Buffer) -> None:
        """Pass when `signature` is one of `data`.

        Raises:
            CryptoFailed: it is not.
        """


class Signature(Algorithm):
    """Digital signatures."""

    family = "signature"

    @abstractmethod
    def prepare(self, secret: Buffer) -> Signer:
        """Make a signing key ready for use (raises InvalidKey)."""

    @abstractmethod
    def verifier(self, public: Buffer) -> Verifier:
        """Make a public key ready for use (raises InvalidKey)."""

    @abstractmethod
    def public(self, secret: Buffer) -> bytes:
        """The public key in the algorithm's own encoding."""

    def sign(self, secret: Buffer, data: Buffer) -> bytes:
        """`prepare(secret).sign(data)`, for a key that is used once."""
        return self.prepare(secret).sign(data)

    def verify(self, public: Buffer, signature: Buffer, data: Buffer) -> None:
        """`verifier(public).verify(signature, data)`; a public key that is none fails like a wrong signature.

        Raises:
            CryptoFailed: the signature is not one of `data` by this key.
        """
        try:
            verifier = self.verifier(public)
        except InvalidKey:
            raise CryptoFailed from None
        verifier.verify(signature, data)


class MacKey(Signer):
    """A prepared key of a MAC."""

    __slots__ = ()

    @abstractmethod
    def verify(self, tag: Buffer, data: Buffer) -> None:
        """Pass when `tag` is the one of `data`; compared in constant time.

        Raises:
            CryptoFailed: it is not.
        """


class Mac(Algorithm):
    """Message authentication codes."""

    family = "mac"

    @abstractmethod
    def prepare(self, secret: Buffer) -> MacKey:
        """Make a key ready for use (raises InvalidKey)."""

    def sign(self, secret: Buffer, data: Buffer) -> bytes:
        """The tag of `data`."""
        return self.prepare(secret).sign(data)

    def verify(self, secret: Buffer, tag: Buffer, data: Buffer) -> None:
        """Pass when `tag` is the one of `data` (raises CryptoFailed)."""
        self.prepare(secret).verify(tag, data)


class Agreement(Algorithm):
    """Diffie-Hellman key agreement."""

    family = "agreement"

    @abstractmethod
    def public(self, secret: Buffer) -> bytes:
        """The public key in the algorithm's own encoding."""

    @abstractmethod
    def agree(self, secret: Buffer, peer: Buffer) -> bytes:
        """The shared secret with the owner of the public key `peer`: input for `kdf.hkdf`, never a key itself.

        Raises:
            InvalidKey: `secret` is none.
            CryptoFailed: `peer` is not a valid public key (or the result would be all zero).
        """


class Kem(Algorithm):
    """Key encapsulation."""

    family = "kem"

    @abstractmethod
    def public(self, secret: Buffer) -> bytes:
        """The encapsulation key."""

    @abstractmethod
    def encapsulate(self, public: Buffer) -> tuple[bytes, bytes]:
        """A fresh shared secret and its ciphertext for the owner of `public`.

        Raises:
            CryptoFailed: `public` is not a valid encapsulation key.
        """

    @abstractmethod
    def decapsulate(self, secret: Buffer, ciphertext: Buffer) -> bytes:
        """The shared secret. A ciphertext of right length that was tampered with gives another secret, not an error.

        Raises:
            InvalidKey: `secret` is none.
            CryptoFailed: the ciphertext's length is wrong.
        """


class Hpke(Algorithm):
    """Hybrid public key encryption (RFC 9180, base mode): anybody can encrypt to a public key."""

    family = "hpke"

    @abstractmethod
    def public(self, secret: Buffer) -> bytes:
        """The recipient's public key."""

    @abstractmethod
    def seal(self, public: Buffer, data: Buffer, info: Buffer = b"") -> bytes:
        """Encrypt to `public`; `info` is bound into the key schedule (raises CryptoFailed for a bad public key)."""

    @abstractmethod
    def open(self, secret: Buffer, sealed: Buffer, info: Buffer = b"") -> bytes:
        """Decrypt (raises CryptoFailed)."""


def expect_length(secret: Buffer, expected: int, name: str) -> None:
    """Raise InvalidKey unless `secret` has `expected` bytes."""
    if len(secret) != expected:
        raise InvalidKey(f"expected {expected} bytes of key for {name}, got {len(secret)}")
