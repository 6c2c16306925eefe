"""Which algorithms are approved, by which standard, and the policy that is enforced at every operation.

What the `fips` policy is: only algorithms that FIPS 140-3 lists as approved (SP 800-140C, SP 800-140D and the documents
they point to) are admitted, and the code that runs them passes public test vectors. What it is not: a validated module.
The wheels of `cryptography` bring an OpenSSL of their own that has no validation; who needs one builds `cryptography`
against an OpenSSL whose FIPS provider is validated, which changes nothing in this code.

Two remarks on approved use, which the other modules hold to:

- *AES-GCM*: nonces come from the system's random generator at 96 bits, inside the module, and one key is used for at most
  2^32 of them (SP 800-38D sections 8.2.2 and 8.3; FIPS 140-3 IG C.H scenario 2). `aead` counts and changes keys by itself.
- *Key derivation*: where the input is a uniformly random key, only HKDF's expansion is used, which is the feedback mode of
  SP 800-108; where it is a shared secret, the whole of HKDF, the two-step derivation of SP 800-56C section 5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from rustcare_plugin_crypto.errors import AlgorithmRefused, InvalidParameter, UnknownAlgorithm

__all__ = ["POLICIES", "STANDINGS", "Policy", "Standing"]

POLICIES = ("default", "fips")


@dataclass(frozen=True)
class Standing:
    """Whether an algorithm is approved in the sense of FIPS 140-3, and the document that says so (or why it is not)."""

    approved: bool
    source: str


def _yes(source: str) -> Standing:
    return Standing(True, source)


def _no(source: str) -> Standing:
    return Standing(False, source)


#: Every name that an operation can ask for: key algorithms, hashes, derivations, wraps, password hashes.
STANDINGS: Mapping[str, Standing] = MappingProxyType(
    {
        "aes256-gcm": _yes("SP 800-38D; nonces per IG C.H, scenario 2"),
        "chacha20-poly1305": _no("RFC 8439; not in SP 800-140C"),
        "aes256-gcm-siv": _no("RFC 8452; not in SP 800-140C"),
        "ed25519": _yes("FIPS 186-5, section 7"),
        "ecdsa-p256": _yes("FIPS 186-5, section 6; SP 800-186"),
        "ecdsa-p384": _yes("FIPS 186-5, section 6; SP 800-186"),
        "rsa-pss-3072": _yes("FIPS 186-5, section 5.4"),
        "rsa-pss-4096": _yes("FIPS 186-5, section 5.4"),
        "ml-dsa-44": _yes("FIPS 204"),
        "ml-dsa-65": _yes("FIPS 204"),
        "ed25519+ml-dsa-65": _yes("FIPS 186-5 and FIPS 204; each part is approved and both must verify"),
        "hmac-sha256": _yes("FIPS 198-1"),
        "hmac-sha512": _yes("FIPS 198-1"),
        "x25519": _no("RFC 7748; not in SP 800-56A or SP 800-186 for key agreement"),
        "ecdh-p256": _yes("SP 800-56A revision 3, section 5.7.1.2"),
        "ml-kem-768": _yes("FIPS 203"),
        "hpke-x25519": _no("RFC 9180 over X25519"),
        "hpke-p256": _no("RFC 9180; no NIST document approves the scheme, though its parts are"),
        "hpke-ml-kem-768": _no("HPKE over ML-KEM; no NIST document approves the scheme, though its parts are"),
        "hpke-x25519+ml-kem-768": _no("HPKE over X-Wing, which has X25519 inside"),
        "rsa-oaep-3072": _yes("SP 800-56B revision 2, section 9"),
        "rsa-oaep-4096": _yes("SP 800-56B revision 2, section 9"),
        "aes256-kw": _yes("SP 800-38F, section 6.2"),
        "aes256-kwp": _yes("SP 800-38F, section 6.3"),
        "hkdf-sha256": _yes("SP 800-56C revision 2, section 5"),
        "hkdf-sha384": _yes("SP 800-56C revision 2, section 5"),
        "hkdf-sha512": _yes("SP 800-56C revision 2, section 5"),
        "sha2-256": _yes("FIPS 180-4"),
        "sha2-384": _yes("FIPS 180-4"),
        "sha2-512": _yes("FIPS 180-4"),
        "sha3-256": _yes("FIPS 202"),
        "sha3-384": _yes("FIPS 202"),
        "sha3-512": _yes("FIPS 202"),
        "argon2id": _no("RFC 9106; not in SP 800-132"),
        "pbkdf2-sha256": _yes("SP 800-132"),
    }
)


@dataclass(frozen=True)
class Policy:
    """What may be used: `default` (everything here) or `fips` (approved algorithms only).

    Raises:
        InvalidParameter: at making, for another name.
    """

    name: Literal["default", "fips"] | str = "default"

    def __post_init__(self) -> None:
        if self.name not in POLICIES:
            raise InvalidParameter(
                f"expected a policy of {', '.join(POLICIES)}, got {self.name!r}", address="config:policy"
            )

    @property
    def fips(self) -> bool:
        """Whether only approved algorithms are admitted."""
        return self.name == "fips"

    def admits(self, algorithm: str) -> bool:
        """Whether `admit` would let the algorithm pass (an unknown one does not)."""
        standing = STANDINGS.get(algorithm)
        return standing is not None and (standing.approved or not self.fips)

    def admit(self, algorithm: str) -> None:
        """Pass, or say why not. To be called at every operation, not only where a key is made.

        Raises:
            UnknownAlgorithm: there is none of that name.
            AlgorithmRefused: it is not approved, and the policy is `fips`.
        """
        standing = STANDINGS.get(algorithm)
        if standing is None:
            raise UnknownAlgorithm(
                f"expected an algorithm, got {algorithm!r}", hint=f"there are: {', '.join(sorted(STANDINGS))}"
            )
        if self.fips and not standing.approved:
            raise AlgorithmRefused(
                f"expected an approved algorithm under policy 'fips', got {algorithm} ({standing.source})",
                hint=f"approved are: {', '.join(name for name in STANDINGS if STANDINGS[name].approved)}",
            )
