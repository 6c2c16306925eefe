"""Algorithms, lowest floor first. Everything works on bytes; nothing here knows the bus, the store or a key's name.

| module | one idea |
|---|---|
| `policy` | what is approved, by which document; the policy `fips` |
| `base` | what each family of keys can do |
| `hashes`, `kdf` | digests; HKDF |
| `aead` | key-committing AES-256-GCM, ChaCha20-Poly1305, AES-256-GCM-SIV |
| `stream` | the same for objects too large for memory |
| `jwk` | public keys as JSON Web Keys |
| `signature`, `rsa`, `hybrid` | Ed25519, ECDSA, ML-DSA; RSA-PSS and OAEP; Ed25519 and ML-DSA-65 together |
| `mac` | HMAC |
| `agreement`, `kem`, `hpke` | X25519 and P-256; ML-KEM-768; encrypting to a public key |
| `keywrap` | AES-KW and AES-KWP |
| `dsse` | signed envelopes |
| `passwords` | password hashes, in a bounded pool of threads |

`ALGORITHMS` has those that keys are of; `algorithm(name, Aead)` finds one and makes sure of its family.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeVar, overload

from rustcare_plugin_crypto.errors import UnknownAlgorithm, Unsuitable

from .aead import AEADS
from .agreement import AGREEMENTS
from .base import Aead, Agreement, Algorithm, Hpke, Kem, Mac, MacKey, Sealer, Signature, Signer, Verifier
from .hpke import HPKES
from .hybrid import HYBRID
from .kem import KEMS
from .mac import MACS
from .policy import Policy
from .rsa import OAEPS, RSA_SIGNATURES, RsaOaep
from .signature import SIGNATURES

__all__ = [
    "ALGORITHMS",
    "Aead",
    "Agreement",
    "Algorithm",
    "Hpke",
    "Kem",
    "Mac",
    "MacKey",
    "Policy",
    "RsaOaep",
    "Sealer",
    "Signature",
    "Signer",
    "Verifier",
    "algorithm",
]

#: Every algorithm that a key can be of, by name.
ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        **AEADS,
        **SIGNATURES,
        **RSA_SIGNATURES,
        HYBRID.name: HYBRID,
        **MACS,
        **AGREEMENTS,
        **KEMS,
        **HPKES,
        **OAEPS,
    }
)

_Kind = TypeVar("_Kind", bound=Algorithm)


@overload
def algorithm(name: str) -> Algorithm: ...
@overload
def algorithm(name: str, kind: type[_Kind]) -> _Kind: ...
def algorithm(name: str, kind: type[Algorithm] = Algorithm) -> Algorithm:
    """The algorithm of that name, which must be of the family `kind` (`algorithm("ed25519", Signature)`).

    Raises:
        UnknownAlgorithm: there is none.
        Unsuitable: it is of another family.
    """
    found = ALGORITHMS.get(name)
    if found is None:
        raise UnknownAlgorithm(
            f"expected an algorithm of keys, got {name!r}", hint=f"there are: {', '.join(ALGORITHMS)}"
        )
    if not isinstance(found, kind):
        raise Unsuitable(f"expected an algorithm of the family {kind.family}, got {name} ({found.family})")
    return found
