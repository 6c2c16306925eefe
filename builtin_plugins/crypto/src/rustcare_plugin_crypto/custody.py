"""Keys that come and go: import, export, backup.

A key that comes in, or goes out to a recipient, is wrapped as in Vault's transit API: `RSA-OAEP(an AES-256 key) ‖
AES-KWP(the key, RFC 5649)`. A backup is `0x01 ‖ …` wrapped under the keyring, readable by this keyring alone (whatever its
root is by then), or, for another keyring, `0x02 ‖ …`: the same OAEP step to that keyring's wrapping key, then AES-256-GCM.
"""

from __future__ import annotations

import os

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_pem_public_key
from msgspec import Struct
from msgspec.structs import replace

from .algorithms import algorithm
from .algorithms.hashes import hash_algorithm
from .algorithms.keywrap import unwrap_padded, wrap_padded
from .algorithms.rsa import oaep_decrypt
from .envelope import unwrap_with, wrap_with
from .errors import CryptoFailed, InvalidKey
from .keyring import INTERNAL, Caller, Key, KeyRecord, Keyring
from .refusals import InvalidRequest, KeyForbidden

__all__ = ["Custody"]

_WRAPPING = f"{INTERNAL}wrapping"
_ALGORITHM = "rsa-oaep-4096"
_OWN, _FOREIGN = b"\x01", b"\x02"
_BACKUP = b"rustcare/backup/2"
_LEAST_BITS = 2048


class _Backup(Struct, frozen=True):
    """What a backup holds."""

    record: KeyRecord
    secrets: dict[int, bytes]


class Custody:
    """Takes keys in and out of a keyring."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    async def _wrapping(self) -> Key:
        ring = self._keyring
        return await ring.create(
            ring.itself, KeyRecord(ring.itself.tenant, _WRAPPING, _ALGORITHM, owner=ring.itself.source)
        )

    async def wrapping_key(self) -> str:
        """The public key to wrap for this keyring with (PEM). Made when first asked for, which takes a second or so."""
        key = await self._wrapping()
        public = serialization.load_der_private_key(key.secret(key.record.primary), None).public_key()
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return public.public_bytes(serialization.Encoding.PEM, form).decode()

    async def _unwrapped(self, oaep: bytes, digest: str) -> bytes:
        key = await self._wrapping()
        self._keyring.policy.admit(_ALGORITHM)
        private = load_der_private_key(key.secret(key.record.primary), None)
        if not isinstance(private, rsa.RSAPrivateKey):
            raise CryptoFailed
        hashed = hash_algorithm(digest)
        return oaep_decrypt(private, oaep, hashed, hashed)

    async def imported(self, wrapped: bytes, algorithm_name: str, digest: str) -> bytes:
        """The secret that somebody brings, in its algorithm's own encoding.

        Raises:
            CryptoFailed: it was not wrapped for this keyring, or is no key of this algorithm.
        """
        size = 512  # bytes of what RSA-4096 gives
        aes = await self._unwrapped(wrapped[:size], digest)
        material = unwrap_padded(aes, wrapped[size:]) if len(aes) == 32 else b""
        try:
            return algorithm(algorithm_name).adopt(material)
        except InvalidKey:
            raise CryptoFailed from None

    def exported(self, key: Key, version: int, recipient: str) -> bytes:
        """The secret of one version, wrapped for a recipient (PEM) if there is one. Raises KeyForbidden."""
        if not key.record.exportable:
            raise KeyForbidden("the key was not made exportable", address=key.record.name)
        secret = key.secret(key.record.for_old_work(version) if version else key.record.primary)
        if not recipient:
            return secret
        aes = os.urandom(32)
        return _to(recipient, aes) + wrap_padded(aes, secret)

    def backup(self, key: Key, recipient: str) -> bytes:
        """A wrapped copy of a key. Raises KeyForbidden: for a recipient a key must be exportable."""
        content = _Backup(key.record, {number: key.secret(number) for number in key.record.kept()})
        encoded = msgspec.json.encode(content)
        if not recipient:
            return _OWN + self._keyring.envelope.seal_backup(encoded)
        if not key.record.exportable:
            raise KeyForbidden("the key was not made exportable", address=key.record.name)
        aes = os.urandom(32)
        return _FOREIGN + _to(recipient, aes) + wrap_with(aes, encoded, _BACKUP)

    async def restore(self, caller: Caller, backup: bytes, name: str, *, force: bool) -> Key:
        """Put a backup back, as the caller's. A version that was destroyed here since stays destroyed.

        Raises:
            CryptoFailed: it is not a backup for this keyring.
            KeyExists: there is a key of this name, and `force` is not said.
        """
        encoded: bytes | None = None
        if backup[:1] == _OWN:
            encoded = self._keyring.envelope.open_backup(backup[1:])
        elif backup[:1] == _FOREIGN:
            encoded = unwrap_with(await self._unwrapped(backup[1:513], "sha2-256"), backup[513:], _BACKUP)
        if encoded is None:
            raise CryptoFailed
        content = msgspec.json.decode(encoded, type=_Backup)
        record = replace(content.record, tenant=caller.tenant, name=name or content.record.name, owner=caller.source)
        if record.name.startswith(INTERNAL):
            raise KeyForbidden(f"names that begin with {INTERNAL} are the keyring's own", address=record.name)
        self._keyring.policy.admit(record.algorithm)
        secrets = dict(content.secrets)
        there = await self._keyring.find(caller.tenant, record.name)
        if there is not None and force:
            await self._keyring.managed(caller, record.name)
            for version in there.record.versions:
                if version.state == "destroyed" and version.number in secrets:
                    secrets.pop(version.number)
                    record = _destroyed(record, version.number)
        return await self._keyring.put_back(caller, record, secrets, replacing=force)


def _destroyed(record: KeyRecord, number: int) -> KeyRecord:
    versions = list(record.versions)
    versions[number - 1] = replace(versions[number - 1], state="destroyed")
    if all(version.state in ("disabled", "destroyed") for version in versions):
        return replace(record, versions=tuple(replace(version, state="destroyed") for version in versions))
    if not any(version.state == "primary" for version in versions):
        newest = max(index for index, version in enumerate(versions) if version.state == "enabled")
        versions[newest] = replace(versions[newest], state="primary")
    return replace(record, versions=tuple(versions))


def _to(recipient: str, aes: bytes) -> bytes:
    """An AES key for the owner of a public RSA key (PEM). Raises InvalidRequest."""
    try:
        public = load_pem_public_key(recipient.encode())
    except (ValueError, UnsupportedAlgorithm):
        public = None
    if not isinstance(public, rsa.RSAPublicKey) or public.key_size < _LEAST_BITS:
        raise InvalidRequest(f"expected a public RSA key of at least {_LEAST_BITS} bits in PEM", address="recipient")
    hashed = hash_algorithm("sha2-256")
    return public.encrypt(aes, padding.OAEP(padding.MGF1(hashed), hashed, None))
