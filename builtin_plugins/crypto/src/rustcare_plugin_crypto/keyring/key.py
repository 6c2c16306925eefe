"""A key in memory: its record, and its secrets, unwrapped when first used and prepared for their algorithm."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import msgspec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from rustcare_plugin_crypto.algorithms import Algorithm, Signature, algorithm
from rustcare_plugin_crypto.algorithms.kdf import hkdf
from rustcare_plugin_crypto.algorithms.mac import MACS
from rustcare_plugin_crypto.envelope import Envelope
from rustcare_plugin_crypto.refusals import InvalidRequest, KeyringDamaged, KeyUnsuitable, KeyVersionState

from .model import KeyRecord

__all__ = ["Key", "check_derivable", "purpose"]

_PREPARED = 256  # contexts of a derived key that stay prepared
_DERIVABLE = frozenset({"aead", "mac"})
_DERIVABLE_NAMES = frozenset({"ed25519"})


def purpose(record: KeyRecord, version: int) -> bytes:
    """What a wrapped secret is bound to: the very version of the very key."""
    return b"rustcare/key/1\0" + msgspec.json.encode([record.tenant, record.name, record.algorithm, version])


def check_derivable(record: KeyRecord) -> None:
    """Raise KeyUnsuitable when there can be no keys for contexts: those of an algorithm whose keys are not plain bytes."""
    chosen = algorithm(record.algorithm)
    if chosen.family not in _DERIVABLE and chosen.name not in _DERIVABLE_NAMES:
        raise KeyUnsuitable(
            f"expected an algorithm whose keys can be derived, got {record.algorithm}",
            hint="those of encryption and of codes, and ed25519, can",
            address=record.name,
        )


class Key:
    """A key as it is now. A change of its record gives another `Key`, so nothing prepared outlives it.

    Args:
        record: checked against its code already.
        wrapped: the wrapped secrets by version.
        envelope: what they are wrapped with.
    """

    def __init__(self, record: KeyRecord, wrapped: dict[int, bytes], envelope: Envelope) -> None:
        self.record = record
        self.wrapped = wrapped
        self.algorithm: Algorithm = algorithm(record.algorithm)
        self._envelope = envelope
        self._public: dict[int, bytes] = {}
        self._prepared: OrderedDict[tuple[int, bytes], Any] = OrderedDict()
        self._verifiers: OrderedDict[tuple[int, bytes], Any] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Key {self.record.name} {self.record.algorithm}>"

    def secret(self, version: int) -> bytes:
        """The secret of one version. Raises KeyVersionState (destroyed), KeyringDamaged."""
        if self.record.version(version).state == "destroyed":
            raise KeyVersionState("this version is destroyed", address=f"{self.record.name}/{version}")
        wrapped = self.wrapped.get(version)
        secret = None if wrapped is None else self._envelope.unwrap(wrapped, purpose(self.record, version))
        if secret is None:
            raise KeyringDamaged(
                "what is stored of this version does not open under the keyring",
                hint="restore the store from a backup",
                address=f"{self.record.name}/{version}",
            )
        return secret

    def secret_for(self, version: int, context: bytes = b"") -> bytes:
        """The secret to compute with: of a derived key, the one for a context (HKDF-Expand of the version's own)."""
        if bool(context) != self.record.derived:
            expected = "a context: the key is derived" if self.record.derived else "no context: the key is not derived"
            raise InvalidRequest(f"expected {expected}", address=self.record.name)
        secret = self.secret(version)
        if not self.record.derived:
            return secret
        info = b"rustcare/derived/1\0" + self.record.algorithm.encode() + b"\0" + context
        return HKDFExpand(SHA256(), len(secret), info).derive(secret)

    def prepared(self, version: int, context: bytes = b"") -> Any:
        """The algorithm's prepared object of one version; remembered."""
        place = (version, context)
        found = self._prepared.get(place)
        if found is None:
            prepare = getattr(self.algorithm, "prepare", None)
            if prepare is None:
                raise KeyUnsuitable(f"a key of {self.record.algorithm} cannot do this", address=self.record.name)
            found = self._prepared[place] = prepare(self.secret_for(version, context))
            if len(self._prepared) > _PREPARED:
                self._prepared.popitem(last=False)
        elif context:
            self._prepared.move_to_end(place)
        return found

    def code_key(self, version: int, context: bytes = b"") -> Any:
        """What codes (HMAC-SHA-256) with a key of any algorithm: one derived from its secret. A MAC's own key is itself."""
        if self.algorithm.family == "mac":
            return self.prepared(version, context)
        place = (-version, context)
        found = self._prepared.get(place)
        if found is None:
            secret = hkdf("hkdf-sha256", self.secret_for(version, context), 32, b"", b"rustcare/code/1")
            found = self._prepared[place] = MACS["hmac-sha256"].prepare(secret)
            if len(self._prepared) > _PREPARED:
                self._prepared.popitem(last=False)
        return found

    def verifier(self, version: int, context: bytes = b"") -> Any:
        """What verifies signatures or codes of one version; remembered."""
        if self.algorithm.family == "mac":
            return self.prepared(version, context)
        place = (version, context)
        found = self._verifiers.get(place)
        if found is None:
            if not isinstance(self.algorithm, Signature):
                raise KeyUnsuitable(f"a key of {self.record.algorithm} verifies nothing", address=self.record.name)
            public = self.algorithm.public(self.secret_for(version, context)) if context else self.public(version)
            found = self._verifiers[place] = self.algorithm.verifier(public)
            if len(self._verifiers) > _PREPARED:
                self._verifiers.popitem(last=False)
        return found

    def public(self, version: int) -> bytes:
        """The public part of one version. Raises KeyUnsuitable when there is none."""
        found = self._public.get(version)
        if found is None:
            if self.record.derived:
                raise KeyUnsuitable("a derived key has no one public part", address=self.record.name)
            part = self.algorithm.public(self.secret(version))
            if part is None:
                raise KeyUnsuitable(f"a key of {self.record.algorithm} has no public part", address=self.record.name)
            found = self._public[version] = part
        return found
