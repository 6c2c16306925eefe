"""Encrypting and signing 4 KiB against the bare calls of `cryptography` that do the same.

The floor has its key object ready and draws a fresh random nonce for each message, as we must. `primitive` is an algorithm
of the plugin called directly; `service` is a request on the bus of a running kernel, with its deadline, rights checks and
accounting, one item at a time or 100 in one request (then the figures are for one item).
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV, ChaCha20Poly1305
from rustcare_kernel import Kernel
from rustcare_plugin_crypto.algorithms import Aead, Signature, algorithm
from rustcare_sdk.contracts import crypto

from tests.benchmarks.harness import Row, paired, paired_async

_DATA = os.urandom(4096)
_AAD = b"4 KiB"
_BATCH = 100
_SINGLE, _BATCHED = 1.5, 1.15
_BARE: dict[str, Any] = {"aes256-gcm": AESGCM, "chacha20-poly1305": ChaCha20Poly1305, "aes256-gcm-siv": AESGCMSIV}
_SIGNERS: dict[str, tuple[Callable[[bytes], Any], int]] = {
    "ed25519": (Ed25519PrivateKey.from_private_bytes, 1000),
    "ml-dsa-65": (MLDSA65PrivateKey.from_seed_bytes, 40),
}


def rows() -> Iterator[Row]:
    """The primitives, then the services."""
    for name in _BARE:
        yield from _cipher(name)
    for name in _SIGNERS:
        yield from _signature(name)
    yield from asyncio.run(_services())


def _row(name: str, times: tuple[float, float], calls: int, aim: float, note: str = "") -> Row:
    mine, theirs = (seconds / calls * 1e6 for seconds in times)
    return Row(f"{name}, 4 KiB", mine, theirs, "µs", aim=aim, note=note)


def _repeat(work: Callable[[], Any], calls: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(calls):
            work()

    return run


def _cipher(name: str) -> Iterator[Row]:
    """Seal and open against the bare cipher."""
    suite, key = algorithm(name, Aead), os.urandom(32)
    sealer, bare, calls = suite.prepare(key), _BARE[name](key), 5000

    def floor() -> bytes:
        nonce = os.urandom(12)
        return nonce + bare.encrypt(nonce, _DATA, _AAD)  # type: ignore[no-any-return]

    sealed, theirs = sealer.seal(_DATA, _AAD), floor()
    assert sealer.open(sealed, _AAD) == _DATA
    times = paired(_repeat(lambda: sealer.seal(_DATA, _AAD), calls), _repeat(floor, calls))
    yield _row(f"primitive: {name} encrypt", times, calls, _SINGLE, "with key commitment")
    times = paired(
        _repeat(lambda: sealer.open(sealed, _AAD), calls),
        _repeat(lambda: bare.decrypt(theirs[:12], theirs[12:], _AAD), calls),
    )
    yield _row(f"primitive: {name} decrypt", times, calls, _SINGLE, "commitment checked")


def _signature(name: str) -> Iterator[Row]:
    """Sign and verify against the bare key."""
    load, calls = _SIGNERS[name]
    suite, secret = algorithm(name, Signature), os.urandom(32)
    signer, verifier = suite.prepare(secret), suite.verifier(suite.public(secret))
    bare = load(secret)
    public, signature = bare.public_key(), bare.sign(_DATA)
    times = paired(_repeat(lambda: signer.sign(_DATA), calls), _repeat(lambda: bare.sign(_DATA), calls))
    yield _row(f"primitive: {name} sign", times, calls, _SINGLE)
    times = paired(
        _repeat(lambda: verifier.verify(signature, _DATA), calls),
        _repeat(lambda: public.verify(signature, _DATA), calls),
    )
    yield _row(f"primitive: {name} verify", times, calls, _SINGLE)


async def _services() -> list[Row]:
    """`crypto.encrypt`, `crypto.decrypt`, `crypto.sign` and `crypto.verify` of a running kernel."""
    with tempfile.TemporaryDirectory() as folder:
        async with Kernel(Path(folder), log_level="silent") as kernel:
            await kernel.install("installed:crypto", consent=True)
            for name in ("aes256-gcm", "ed25519"):
                await kernel.request(crypto.KEY_CREATE, crypto.KeyCreateRequest(name, name))
            rows = [
                row
                for size in (1, _BATCH)
                for row in [*await _service_cipher(kernel, size), *await _service_signature(kernel, size)]
            ]
            return [*rows, await _empty(kernel)]


async def _empty(kernel: Kernel) -> Row:
    """What a request costs that asks the plugin for next to nothing: the least that a single item can cost as a service."""
    calls, request = 2000, crypto.RandomRequest(1)

    async def ours() -> None:
        for _ in range(calls):
            await kernel.request(crypto.RANDOM, request)

    mine, _ = await paired_async(ours, ours)
    return Row(
        "service: a request for one random byte", mine / calls * 1e6, None, "µs", note="the bus, without a cipher"
    )


async def _measured(kernel: Kernel, service: str, data: Any, size: int, floor: Callable[[], Any], key: str) -> Row:
    """One service against bare calls for the same number of items, whose results are kept until all are there."""
    requests = max(1, 1000 // size)

    async def ours() -> None:
        for _ in range(requests):
            await kernel.request(service, data)

    async def theirs() -> None:
        for _ in range(requests):
            floor()

    times = await paired_async(ours, theirs, rounds=21)
    one = size == 1
    name = f"service: {service}, {'one' if one else f'{size} in a request'}"
    return _row(name, times, requests * size, _SINGLE if one else _BATCHED, key)


async def _service_cipher(kernel: Kernel, size: int) -> list[Row]:
    """The data differ from item to item, on both sides: what lies in the processor's cache is the same.

    Both sides bind five bytes to each: the service the version of its key.
    """
    bare, data = AESGCM(os.urandom(32)), [os.urandom(4096) for _ in range(size)]

    def encrypt() -> list[bytes]:
        done = []
        for item in data:
            nonce = os.urandom(12)
            done.append(nonce + bare.encrypt(nonce, item, _AAD))
        return done

    plain = crypto.EncryptRequest("aes256-gcm", [crypto.PlainItem(item) for item in data])
    reply = await kernel.request(crypto.ENCRYPT, plain, type=crypto.EncryptReply)
    sealed = crypto.DecryptRequest("aes256-gcm", [crypto.CipherItem(item) for item in reply.ciphertexts])
    theirs = encrypt()

    def decrypt() -> list[bytes]:
        return [bare.decrypt(item[:12], item[12:], _AAD) for item in theirs]

    return [
        await _measured(kernel, crypto.ENCRYPT, plain, size, encrypt, "aes256-gcm"),
        await _measured(kernel, crypto.DECRYPT, sealed, size, decrypt, "aes256-gcm"),
    ]


async def _service_signature(kernel: Kernel, size: int) -> list[Row]:
    bare, data = Ed25519PrivateKey.generate(), [os.urandom(4096) for _ in range(size)]
    public, theirs = bare.public_key(), [bare.sign(item) for item in data]
    request = crypto.SignRequest("ed25519", data)
    reply = await kernel.request(crypto.SIGN, request, type=crypto.SignReply)
    items = [crypto.VerifyItem(item, signature) for item, signature in zip(data, reply.signatures, strict=True)]

    def verify() -> None:
        for item, signature in zip(data, theirs, strict=True):
            public.verify(signature, item)

    return [
        await _measured(kernel, crypto.SIGN, request, size, lambda: [bare.sign(item) for item in data], "ed25519"),
        await _measured(kernel, crypto.VERIFY, crypto.VerifyRequest("ed25519", items), size, verify, "ed25519"),
    ]
