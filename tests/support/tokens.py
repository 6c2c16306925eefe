"""Keys that sign tokens, and whatever else may be put together in the form of one. Nothing here is of the gateway."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384

__all__ = ["NOW", "Signer", "b64u", "claims_of", "compact"]

#: When tests of tokens take place, Unix seconds.
NOW = 1_800_000_000
_CURVES = {"ES256": ("P-256", ec.SECP256R1(), SHA256(), 32), "ES384": ("P-384", ec.SECP384R1(), SHA384(), 48)}


def b64u(data: bytes | str) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()


def compact(header: Any, claims: Any, signature: bytes = b"") -> str:
    """A token of these parts; text and bytes go in as they are, all else as JSON."""
    parts = (
        part if isinstance(part, str | bytes) else json.dumps(part, separators=(",", ":")) for part in (header, claims)
    )
    return ".".join([*(b64u(part) for part in parts), b64u(signature)])


def claims_of(**more: Any) -> dict[str, Any]:
    """Claims as identity writes them; `more` change or add some, None takes one away."""
    claims = {
        "iss": "rustcare",
        "sub": "user/ada",
        "aud": "rustcare",
        "exp": NOW + 300,
        "iat": NOW,
        "nbf": NOW,
        "jti": "jti-1",
        "client_id": "user/ada",
        "tenant": "default",
        "scope": "lab.read lab.write",
        "roles": ["clinician"],
        "acr": "aal2",
        "auth_time": NOW - 60,
        "sid": "sid-1",
        "name": "Ada Example",
        **more,
    }
    return {name: value for name, value in claims.items() if value is not None}


class Signer:
    """A key pair of an algorithm. `jwk` is its public half."""

    def __init__(self, algorithm: str, kid: str = "") -> None:
        self.algorithm = algorithm
        self.kid = kid or f"key-{algorithm}"
        self.private: Any
        if algorithm in _CURVES:
            self.private = ec.generate_private_key(_CURVES[algorithm][1])
        elif algorithm in ("EdDSA", "Ed25519"):
            self.private = ed25519.Ed25519PrivateKey.generate()
        else:
            self.private = rsa.generate_private_key(65537, 2048)
        self.jwk = {"kid": self.kid, "alg": algorithm, "use": "sig", **self._public()}

    def _public(self) -> dict[str, str]:
        public = self.private.public_key()
        if self.algorithm in _CURVES:
            name, _, _, size = _CURVES[self.algorithm]
            numbers = public.public_numbers()
            x, y = (b64u(number.to_bytes(size, "big")) for number in (numbers.x, numbers.y))
            return {"kty": "EC", "crv": name, "x": x, "y": y}
        if self.algorithm in ("EdDSA", "Ed25519"):
            return {"kty": "OKP", "crv": "Ed25519", "x": b64u(public.public_bytes_raw())}
        numbers = public.public_numbers()
        return {"kty": "RSA", "n": b64u(numbers.n.to_bytes(256, "big")), "e": "AQAB"}

    def signature(self, data: bytes) -> bytes:
        """The signature in the form of JWS."""
        if self.algorithm in _CURVES:
            _, _, digest, size = _CURVES[self.algorithm]
            r, s = decode_dss_signature(self.private.sign(data, ec.ECDSA(digest)))
            return r.to_bytes(size, "big") + s.to_bytes(size, "big")
        if self.algorithm in ("EdDSA", "Ed25519"):
            return bytes(self.private.sign(data))
        pad = padding.PSS(padding.MGF1(SHA256()), 32) if self.algorithm == "PS256" else padding.PKCS1v15()
        return bytes(self.private.sign(data, pad, SHA256()))

    def sign(self, claims: Any, **header: Any) -> str:
        """A token; `header` changes or adds members, None takes one away."""
        members = {"alg": self.algorithm, "kid": self.kid, "typ": "at+jwt", **header}
        return self.sign_raw({name: value for name, value in members.items() if value is not None}, claims)

    def sign_raw(self, header: Any, claims: Any) -> str:
        """A token with exactly this header."""
        signed = compact(header, claims).rpartition(".")[0]
        return f"{signed}.{b64u(self.signature(signed.encode()))}"
