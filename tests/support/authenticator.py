"""An authenticator in software: makes passkeys and signs with them, with flags and counters as a test wants them.

What a browser would put around it is here too (`PublicKeyCredential.toJSON()`), so that what comes out is what a page posts.
A real browser with its own authenticator is in `tests/end_to_end`; this one can also do what a real one would refuse.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url, encode_cbor

__all__ = ["Authenticator", "SoftPasskey"]

UP, UV, BE, BS, AT = 1, 4, 8, 16, 64


@dataclass
class SoftPasskey:
    """One passkey: its key, for whom, and how often it signed."""

    id: bytes
    rp: str
    user: bytes
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    count: int = 0


@dataclass
class Authenticator:
    """A device at `origin`. `synced`: its passkeys are shared by devices. `verifies`: its user shows who they are.

    `counts`: by how much the counter grows with each signature (0: it has none).
    """

    origin: str
    synced: bool = False
    verifies: bool = True
    counts: int = 1
    cross_origin: bool = False
    passkeys: list[SoftPasskey] = field(default_factory=list)

    def create(self, options: dict[str, Any]) -> str:
        """`navigator.credentials.create`: a new passkey, as the JSON that a page posts."""
        key = ec.generate_private_key(ec.SECP256R1())
        number = len(self.passkeys)
        identity = hashlib.sha256(f"{self.origin}/{number}/{options['challenge']}".encode()).digest()
        made = SoftPasskey(identity, options["rp"]["id"], base64url_to_bytes(options["user"]["id"]), key)
        self.passkeys.append(made)
        point = key.public_key().public_numbers()
        cose = encode_cbor({1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")})
        attested = bytes(16) + len(made.id).to_bytes(2, "big") + made.id + cose
        data = self._data(made, AT) + attested
        return self._answer(
            made,
            {
                "clientDataJSON": bytes_to_base64url(self._client("webauthn.create", options["challenge"])),
                "attestationObject": bytes_to_base64url(encode_cbor({"fmt": "none", "attStmt": {}, "authData": data})),
                "transports": ["internal"],
            },
        )

    def get(self, options: dict[str, Any], passkey: SoftPasskey | None = None) -> str:
        """`navigator.credentials.get`: a signature by a passkey (or the newest that fits), as the JSON that a page posts."""
        allowed = {base64url_to_bytes(item["id"]) for item in options.get("allowCredentials", [])}
        fits = [item for item in self.passkeys if item.rp == options["rpId"] and (not allowed or item.id in allowed)]
        chosen = passkey or fits[-1]
        client = self._client("webauthn.get", options["challenge"])
        data = self._data(chosen, 0)
        signed = chosen.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        return self._answer(
            chosen,
            {
                "clientDataJSON": bytes_to_base64url(client),
                "authenticatorData": bytes_to_base64url(data),
                "signature": bytes_to_base64url(signed),
                "userHandle": bytes_to_base64url(chosen.user),
            },
        )

    def _data(self, passkey: SoftPasskey, extra: int) -> bytes:
        passkey.count += self.counts
        flags = UP | extra | (UV if self.verifies else 0) | (BE | BS if self.synced else 0)
        return hashlib.sha256(passkey.rp.encode()).digest() + bytes([flags]) + passkey.count.to_bytes(4, "big")

    def _client(self, kind: str, challenge: str) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": self.cross_origin}
        return json.dumps(said).encode()

    def _answer(self, passkey: SoftPasskey, response: dict[str, Any]) -> str:
        name = bytes_to_base64url(passkey.id)
        return json.dumps({"id": name, "rawId": name, "type": "public-key", "response": response})
