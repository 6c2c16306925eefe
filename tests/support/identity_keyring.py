"""A keyring in memory for tests of the identity plugin under the harness: real algorithms, no store, crypto's contract."""

from __future__ import annotations

import hmac
import os
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from rustcare_sdk import Message
from rustcare_sdk.contracts import crypto
from rustcare_sdk.errors import ServiceError
from rustcare_sdk.testing import PluginHarness

__all__ = ["IdentityKeyring"]

_SECRET = {
    "ecdsa-p256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "hmac-sha256": lambda: os.urandom(32),
    "aes256-gcm": lambda: os.urandom(32),
}


class _Key:
    """A key and its versions; a destroyed one is None."""

    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self.versions: list[Any] = [_SECRET[algorithm]()]

    def info(self, name: str) -> crypto.KeyInfo:
        last = len(self.versions)
        return crypto.KeyInfo(
            name,
            self.algorithm,
            [
                crypto.KeyVersion(
                    number,
                    "destroyed" if secret is None else "primary" if number == last else "enabled",
                    "2026-01-01T12:00:00Z",
                )
                for number, secret in enumerate(self.versions, 1)
            ],
        )


class IdentityKeyring:
    """Answers `crypto.*` of a harness. It outlives the harness, so that a plugin can be started again with its keys."""

    def __init__(self) -> None:
        self.keys: dict[str, _Key] = {}

    def attach(self, harness: PluginHarness) -> PluginHarness:
        """Answer the requests of this harness's plugin; do it before it is entered."""
        for service, method in (
            (crypto.KEY_CREATE, self.create),
            (crypto.KEY_READ, self.read),
            (crypto.KEY_PUBLIC, self.public),
            (crypto.KEY_ROTATE, self.rotate),
            (crypto.KEY_DESTROY, self.destroy),
            (crypto.SIGN, self.sign),
            (crypto.VERIFY, self.verify),
            (crypto.HMAC, self.hmac),
            (crypto.ENCRYPT, self.encrypt),
            (crypto.DECRYPT, self.decrypt),
            (crypto.PASSWORD_HASH, self.password_hash),
            (crypto.PASSWORD_VERIFY, self.password_verify),
        ):
            harness.answer(service, method)
        return harness

    def _secret(self, name: str, version: int) -> tuple[int, Any]:
        key = self.keys[name]
        number = version or len(key.versions)
        secret = key.versions[number - 1]
        if secret is None:
            raise ServiceError("crypto.key-state", "this version is destroyed")
        return number, secret

    def create(self, message: Message[crypto.KeyCreateRequest]) -> crypto.KeyInfo:
        """The key, new if there is none."""
        key = self.keys.setdefault(message.data.name, _Key(message.data.algorithm))
        return key.info(message.data.name)

    def read(self, message: Message[crypto.KeyRequest]) -> crypto.KeyInfo:
        """What is known of it."""
        return self.keys[message.data.key].info(message.data.key)

    def rotate(self, message: Message[crypto.KeyRequest]) -> crypto.KeyInfo:
        """A new version."""
        key = self.keys[message.data.key]
        key.versions.append(_SECRET[key.algorithm]())
        return key.info(message.data.key)

    def destroy(self, message: Message[crypto.KeyDestroyRequest]) -> crypto.KeyInfo:
        """One version is gone."""
        key = self.keys[message.data.key]
        key.versions[message.data.version - 1] = None
        return key.info(message.data.key)

    def public(self, message: Message[crypto.KeyPublicRequest]) -> crypto.KeyPublicReply:
        """As JWK."""
        name = message.data.key
        number, secret = self._secret(name, message.data.version)
        if isinstance(secret, ec.EllipticCurvePrivateKey):
            point = secret.public_key().public_bytes(
                serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
            )
            jwk = {"kty": "EC", "crv": "P-256", "x": _b64u(point[1:33]), "y": _b64u(point[33:])}
            return crypto.KeyPublicReply(name, number, "ecdsa-p256", point, {**jwk, "kid": f"{name}/{number}"})
        raw = secret.public_key().public_bytes_raw()
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": _b64u(raw)}
        return crypto.KeyPublicReply(name, number, "ed25519", raw, {**jwk, "kid": f"{name}/{number}"})

    def sign(self, message: Message[crypto.SignRequest]) -> crypto.SignReply:
        """ECDSA as DER, Ed25519 as it is."""
        number, secret = self._secret(message.data.key, message.data.version)
        if isinstance(secret, ec.EllipticCurvePrivateKey):
            made = [secret.sign(data, ec.ECDSA(hashes.SHA256())) for data in message.data.data]
            return crypto.SignReply(made, number, "ecdsa-p256")
        return crypto.SignReply([secret.sign(data) for data in message.data.data], number, "ed25519")

    def verify(self, message: Message[crypto.VerifyRequest]) -> crypto.VerifyReply:
        """Of one version."""
        number, secret = self._secret(message.data.key, message.data.version)
        found = []
        for item in message.data.items:
            try:
                if isinstance(secret, ec.EllipticCurvePrivateKey):
                    secret.public_key().verify(item.signature, item.data, ec.ECDSA(hashes.SHA256()))
                else:
                    secret.public_key().verify(item.signature, item.data)
                found.append(number)
            except InvalidSignature:
                found.append(0)
        return crypto.VerifyReply(found)

    def hmac(self, message: Message[crypto.HmacRequest]) -> crypto.HmacReply:
        """HMAC-SHA-256."""
        number, secret = self._secret(message.data.key, message.data.version)
        return crypto.HmacReply([hmac.digest(secret, data, "sha256") for data in message.data.data], number)

    def encrypt(self, message: Message[crypto.EncryptRequest]) -> crypto.EncryptReply:
        """AES-256-GCM, the nonce in front."""
        number, secret = self._secret(message.data.key, message.data.version)
        made = []
        for item in message.data.items:
            nonce = os.urandom(12)
            made.append(nonce + AESGCM(secret).encrypt(nonce, item.data, item.aad + b"\0" + item.context))
        return crypto.EncryptReply(made, number)

    def decrypt(self, message: Message[crypto.DecryptRequest]) -> crypto.DecryptReply:
        """What `encrypt` made."""
        found: list[bytes | None] = []
        for item in message.data.items:
            for secret in self.keys[message.data.key].versions:
                try:
                    nonce, sealed = item.ciphertext[:12], item.ciphertext[12:]
                    found.append(AESGCM(secret).decrypt(nonce, sealed, item.aad + b"\0" + item.context))
                    break
                except InvalidTag:
                    continue
            else:
                if not message.data.partial:
                    raise ServiceError("crypto.failed", "cryptographic check failed")
                found.append(None)
        return crypto.DecryptReply(found)

    def password_hash(self, message: Message[crypto.PasswordHashRequest]) -> crypto.PasswordHashReply:
        """Cheap scrypt, in a form of its own."""
        salt = os.urandom(8)
        return crypto.PasswordHashReply(f"$test${salt.hex()}${_scrypt(message.data.password, salt)}")

    def password_verify(self, message: Message[crypto.PasswordVerifyRequest]) -> crypto.PasswordVerifyReply:
        """Whether it is the one that was hashed."""
        _, _, salt, found = message.data.hash.split("$")
        right = hmac.compare_digest(found, _scrypt(message.data.password, bytes.fromhex(salt)))
        return crypto.PasswordVerifyReply(right)


def _scrypt(password: Any, salt: bytes) -> str:
    data = password if isinstance(password, bytes) else str(password).encode()
    return Scrypt(salt=salt, length=16, n=16, r=1, p=1).derive(data).hex()


def _b64u(data: bytes) -> str:
    from base64 import urlsafe_b64encode

    return urlsafe_b64encode(data).rstrip(b"=").decode()
