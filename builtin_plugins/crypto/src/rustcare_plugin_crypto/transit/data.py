"""What is done with keys: encrypt, decrypt, rewrap, datakey, sign, verify, hmac, hash, random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rustcare_sdk import RustCareError
from rustcare_sdk.contracts.crypto import CipherItem, PlainItem, VerifyItem

from rustcare_plugin_crypto import operations
from rustcare_plugin_crypto.algorithms import Policy
from rustcare_plugin_crypto.algorithms.hashes import digest
from rustcare_plugin_crypto.errors import CryptoFailed
from rustcare_plugin_crypto.keyring import Caller, Key, Keyring
from rustcare_plugin_crypto.refusals import InvalidRequest, KeyUnsuitable

from .forms import Body, Reply, b64, binary, data, flag, number, prefixed, text, unprefixed

__all__ = ["Data"]

_MAX_ITEMS = 10_000
_MAX_RANDOM = 65536
#: The hash that each algorithm signs with; another one asked for is refused.
_HASHES = {"ecdsa-p256": "sha2-256", "ecdsa-p384": "sha2-384", "rsa-pss-3072": "sha2-256", "rsa-pss-4096": "sha2-384"}


class Data:
    """The operations' handlers. Each takes caller, the path's last parts, and the body."""

    def __init__(self, keyring: Keyring, policy: Policy, random: Callable[[int], bytes]) -> None:
        self._keyring = keyring
        self._policy = policy
        self._random = random

    async def _key(self, caller: Caller, name: str, family: str) -> Key:
        key = await self._keyring.key(caller, name)
        if key.algorithm.family != family:
            raise KeyUnsuitable(f"expected a key for {family}, got {key.record.algorithm}", address=name)
        return key

    async def encrypt(self, caller: Caller, name: str, body: Body) -> Reply:
        """`POST encrypt/:name`."""
        key = await self._key(caller, name, "aead")

        def one(item: Body) -> dict[str, Any]:
            plain = PlainItem(
                binary(item, "plaintext"), binary(item, "associated_data", b""), binary(item, "context", b"")
            )
            (sealed,), version = operations.encrypt(key, [plain], number(item, "key_version"), text=True)
            return {"ciphertext": sealed.decode(), "key_version": version}

        return _each(body, one)

    async def decrypt(self, caller: Caller, name: str, body: Body) -> Reply:
        """`POST decrypt/:name`."""
        key = await self._key(caller, name, "aead")
        return _each(body, lambda item: {"plaintext": b64(operations.decrypt(key, _cipher(item)))})

    async def rewrap(self, caller: Caller, name: str, body: Body) -> Reply:
        """`POST rewrap/:name`."""
        key = await self._key(caller, name, "aead")

        def one(item: Body) -> dict[str, Any]:
            return {"ciphertext": operations.rewrap(key, _cipher(item)).decode(), "key_version": key.record.primary}

        return _each(body, one)

    async def datakey(self, caller: Caller, kind: str, name: str, body: Body) -> Reply:
        """`POST datakey/plaintext/:name` and `datakey/wrapped/:name`."""
        bits = number(body, "bits", 256)
        if kind not in ("plaintext", "wrapped") or bits not in (128, 256, 512):
            raise InvalidRequest("expected plaintext or wrapped, and 128, 256 or 512 bits", address="datakey")
        key = await self._key(caller, name, "aead")
        plain = self._random(bits // 8)
        item = PlainItem(plain, binary(body, "associated_data", b""), binary(body, "context", b""))
        (sealed,), version = operations.encrypt(key, [item], text=True)
        answer: dict[str, Any] = {"ciphertext": sealed.decode(), "key_version": version}
        return data(answer | {"plaintext": b64(plain)} if kind == "plaintext" else answer)

    async def sign(self, caller: Caller, name: str, body: Body) -> Reply:
        """`POST sign/:name(/:hash)`."""
        key = await self._key(caller, name, "signature")
        _plain_signature(key, body)
        return self._signed(key, body, "signature")

    async def hmac(self, caller: Caller, name: str, body: Body) -> Reply:
        """`POST hmac/:name(/:algorithm)`, with a key of any type, as Vault does it."""
        key = await self._keyring.key(caller, name)
        _check_code_hash(key, body)
        return self._signed(key, body, "hmac")

    def _signed(self, key: Key, body: Body, field: str) -> Reply:
        def one(item: Body) -> dict[str, Any]:
            version = key.record.for_new_work(number(item, "key_version", number(body, "key_version")))
            context = binary(item, "context", b"")
            signer = key.code_key(version, context) if field == "hmac" else key.prepared(version, context)
            return {field: prefixed(version, signer.sign(binary(item, "input"))), "key_version": version}

        return _each(body, one)

    async def verify(self, caller: Caller, name: str, body: Body) -> Reply:
        """`POST verify/:name(/:hash)`, of signatures and of codes."""
        items = body.get("batch_input")
        first = items[0] if isinstance(items, list) and items and isinstance(items[0], dict) else body
        field = "hmac" if "hmac" in first else "signature"
        if field == "hmac":
            key = await self._keyring.key(caller, name)
            _check_code_hash(key, body)
        else:
            key = await self._keyring.seen(caller, name)
            self._policy.admit(key.record.algorithm)
            if key.algorithm.family != "signature":
                raise KeyUnsuitable(f"expected a key for signature, got {key.record.algorithm}", address=name)
            _plain_signature(key, body)

        def one(item: Body) -> dict[str, Any]:
            message, context = binary(item, "input"), binary(item, "context", b"")
            try:
                version, signature = unprefixed(item.get(field))
                check = operations.verify_code if field == "hmac" else operations.verify
                check(key, VerifyItem(message, signature), version, context)
            except (CryptoFailed, ValueError):
                return {"valid": False}
            return {"valid": version > 0}

        return _each(body, one)

    async def hash(self, name: str, body: Body) -> Reply:
        """`POST hash(/:algorithm)`."""
        chosen = name or text(body, "algorithm", "sha2-256")
        self._policy.admit(chosen)
        return data({"sum": _format(digest(chosen, binary(body, "input")), text(body, "format", "hex"))})

    async def random(self, size: str, body: Body) -> Reply:
        """`POST random(/:bytes)`."""
        count = number({"bytes": size} if size else body, "bytes", 32)
        if not 1 <= count <= _MAX_RANDOM:
            raise InvalidRequest(f"expected 1 to {_MAX_RANDOM} bytes, got {count}", address="bytes")
        return data({"random_bytes": _format(self._random(count), text(body, "format", "base64"))})


def _cipher(item: Body) -> CipherItem:
    sealed = text(item, "ciphertext")
    if not sealed.isascii():
        raise CryptoFailed
    return CipherItem(sealed.encode(), binary(item, "associated_data", b""), binary(item, "context", b""))


def _format(value: bytes, form: str) -> str:
    if form not in ("hex", "base64"):
        raise InvalidRequest("expected hex or base64", address="format")
    return value.hex() if form == "hex" else b64(value)


def _plain_signature(key: Key, body: Body) -> None:
    if flag(body, "prehashed"):
        raise InvalidRequest("expected the data itself: prehashed input is not signed", address="prehashed")
    asked = body.get("hash_algorithm", body.get("algorithm"))
    fixed = _HASHES.get(key.record.algorithm)
    if asked is not None and fixed is not None and asked != fixed:
        raise InvalidRequest(f"expected {fixed}, which {key.record.algorithm} signs with", address="hash_algorithm")


def _check_code_hash(key: Key, body: Body) -> None:
    fixed = "sha2-512" if key.record.algorithm == "hmac-sha512" else "sha2-256"
    asked = body.get("hash_algorithm", body.get("algorithm")) or fixed
    if asked != fixed:
        raise InvalidRequest(f"expected {fixed}, which {key.record.algorithm} codes with", address="algorithm")


def _each(body: Body, one: Callable[[Body], dict[str, Any]]) -> Reply:
    """One item, or a batch: then failures stand beside successes, and the status says whether there were any."""
    items = body.get("batch_input")
    if items is None:
        return data(one(body))
    if not isinstance(items, list) or len(items) > _MAX_ITEMS or not all(isinstance(item, dict) for item in items):
        raise InvalidRequest(f"expected a list of at most {_MAX_ITEMS} objects", address="batch_input")
    results: list[dict[str, Any]] = []
    failed = False
    for item in items:
        try:
            result = one(item)
        except RustCareError as error:
            failed = True
            result = {"error": error.message}
        if "reference" in item:
            result["reference"] = item["reference"]
        results.append(result)
    status, answer = data({"batch_results": results})
    return (number(body, "partial_failure_response_code", 400) if failed else status), answer
