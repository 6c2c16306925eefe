"""The errors of the crypto plugin. Every failed decryption or verification is one and the same error.

An attacker who can tell *why* a ciphertext was refused (padding, tag, key, length) has an oracle. So nothing that depends
on a ciphertext, a signature or a key's bytes reaches the message of `CryptoFailed`; nor does what the library raised.
"""

from __future__ import annotations

from rustcare_sdk.errors import RustCareError

__all__ = [
    "AlgorithmRefused",
    "CryptoFailed",
    "InvalidKey",
    "InvalidParameter",
    "Overloaded",
    "UnknownAlgorithm",
    "Unsuitable",
]


class CryptoFailed(RustCareError):
    """A decryption or verification failed. Which of the possible reasons it was is not told, to anybody."""

    code = "crypto.failed"

    def __init__(
        self,
        message: str = "expected a ciphertext or signature made with this key and context, got one that is not",
        *,
        hint: str = "the reason is withheld on purpose; check key, version, context and that nothing was cut off",
        address: str = "",
    ) -> None:
        super().__init__(message, hint=hint, address=address)


class UnknownAlgorithm(RustCareError):
    """There is no algorithm of that name."""

    code = "crypto.algorithm.unknown"


class Unsuitable(RustCareError):
    """The algorithm cannot do what was asked: a signature algorithm cannot encrypt."""

    code = "crypto.algorithm.unsuitable"


class AlgorithmRefused(RustCareError):
    """The policy in force does not admit the algorithm."""

    code = "crypto.algorithm.refused"


class InvalidKey(RustCareError):
    """Key material is not what its algorithm takes. The message says what was expected, never what came but its length."""

    code = "crypto.key.invalid"


class InvalidParameter(RustCareError):
    """A parameter that is no secret is outside its bounds: a length, a count, a name."""

    code = "crypto.parameter.invalid"


class Overloaded(RustCareError):
    """More work is waiting than is allowed to wait; nothing was begun."""

    code = "crypto.overloaded"
