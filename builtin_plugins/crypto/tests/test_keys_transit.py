"""The transit HTTP API, by calling its handlers with what a client sends."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from rustcare_kernel import Kernel
from rustcare_sdk.contracts import crypto as c


def b64(data: bytes) -> str:
    """Base64."""
    return base64.b64encode(data).decode()


class Client:
    """What a client of the API does, without the wire."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    async def __call__(self, method: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        request = c.TransitRequest(method, path, body)
        reply: c.TransitReply = await self._kernel.request(c.TRANSIT, request, type=c.TransitReply, timeout=120)
        assert (reply.status == 204) == (not reply.body)
        return reply.status, reply.body.get("data", reply.body)


@pytest.fixture
def transit(kernel: Kernel) -> Client:
    """The API of a new keyring."""
    return Client(kernel)


async def test_encrypt_decrypt_and_rewrap(transit: Client) -> None:
    """The round of a ciphertext: made under v1, read, brought to v2; the errors have Vault's shape."""
    assert (await transit("POST", "keys/orders"))[0] == 200
    status, made = await transit("POST", "encrypt/orders", plaintext=b64(b"plain"), associated_data=b64(b"aad"))
    assert status == 200
    assert made["ciphertext"].startswith("vault:v1:")
    status, opened = await transit("POST", "decrypt/orders", ciphertext=made["ciphertext"], associated_data=b64(b"aad"))
    assert (status, opened["plaintext"]) == (200, b64(b"plain"))
    status, error = await transit("POST", "decrypt/orders", ciphertext=made["ciphertext"])
    assert status == 400
    assert list(error) == ["errors"]
    assert (await transit("PUT", "keys/orders/rotate"))[1]["latest_version"] == 2
    moved = await transit("POST", "rewrap/orders", ciphertext=made["ciphertext"], associated_data=b64(b"aad"))
    assert moved[1]["ciphertext"].startswith("vault:v2:")
    assert (await transit("POST", "encrypt/orders", plaintext="no base64!"))[0] == 400
    assert (await transit("POST", "encrypt/nothing", plaintext=""))[0] == 404
    assert (await transit("POST", "nowhere/orders"))[0] == 404


async def test_batches_say_what_failed_beside_what_did_not(transit: Client) -> None:
    """A batch answers each item with its reference; one failure makes the status 400, or what the client asked for."""
    await transit("POST", "keys/k", type="chacha20-poly1305")
    items = [{"plaintext": b64(b"a"), "reference": "r1"}, {"plaintext": b64(b"b")}]
    status, made = await transit("POST", "encrypt/k", batch_input=items)
    assert status == 200
    assert made["batch_results"][0]["reference"] == "r1"
    sealed = [{"ciphertext": one["ciphertext"]} for one in made["batch_results"]] + [{"ciphertext": "vault:v1:AAAA"}]
    status, opened = await transit("POST", "decrypt/k", batch_input=sealed)
    assert status == 400
    assert [one.get("plaintext") for one in opened["batch_results"]] == [b64(b"a"), b64(b"b"), None]
    assert "error" in opened["batch_results"][2]
    assert (await transit("POST", "decrypt/k", batch_input=sealed, partial_failure_response_code=200))[0] == 200
    assert (await transit("POST", "decrypt/k", batch_input="x"))[0] == 400


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa-p256", "rsa-3072", "ml-dsa"])
async def test_signatures(transit: Client, kind: str) -> None:
    """A signature verifies with its version's prefix, other input or a broken signature is not valid."""
    await transit("POST", "keys/s", type=kind)
    signature = (await transit("POST", "sign/s", input=b64(b"data")))[1]["signature"]
    assert signature.startswith("vault:v1:")
    for data, given, valid in (
        (b"data", signature, True),
        (b"other", signature, False),
        (b"data", "vault:v1:AA==", False),
    ):
        status, reply = await transit("POST", "verify/s", input=b64(data), signature=given)
        assert (status, reply) == (200, {"valid": valid})
    assert (await transit("POST", "verify/s", input=b64(b"data"), signature="nonsense"))[1] == {"valid": False}
    assert (await transit("POST", "sign/s", input=b64(b"data"), prehashed=True))[0] == 400


async def test_codes_hashes_random_bytes_and_data_keys(transit: Client) -> None:
    """hmac with verify, hash in hex, random in base64, datakey in both kinds."""
    await transit("POST", "keys/m", type="hmac")
    code = (await transit("POST", "hmac/m/sha2-256", input=b64(b"data")))[1]["hmac"]
    assert (await transit("POST", "verify/m", input=b64(b"data"), hmac=code))[1] == {"valid": True}
    assert (await transit("POST", "hmac/m/sha2-512", input=b64(b"data")))[0] == 400
    await transit("POST", "keys/any")
    code = (await transit("POST", "hmac/any", input=b64(b"data")))[1]["hmac"]
    assert (await transit("POST", "verify/any", input=b64(b"data"), hmac=code))[1] == {"valid": True}
    assert (await transit("POST", "verify/any", input=b64(b"x"), hmac=code))[1] == {"valid": False}
    assert (await transit("POST", "hash/sha2-256", input=b64(b"abc")))[1]["sum"].startswith("ba7816bf")
    assert len(base64.b64decode((await transit("POST", "random/20"))[1]["random_bytes"])) == 20
    await transit("POST", "keys/k")
    made = (await transit("POST", "datakey/plaintext/k", bits=512))[1]
    opened = (await transit("POST", "decrypt/k", ciphertext=made["ciphertext"]))[1]
    assert opened["plaintext"] == made["plaintext"]
    assert "plaintext" not in (await transit("POST", "datakey/wrapped/k"))[1]


async def test_the_life_of_a_key(transit: Client) -> None:
    """Read, list, rotate, config, trim, export where allowed, backup and restore, delete."""
    await transit("POST", "keys/k", exportable=True, auto_rotate_period="24h")
    status, shown = await transit("GET", "keys/k")
    assert (status, shown["type"], shown["auto_rotate_period"]) == (200, "aes256-gcm96", 86400)
    assert "k" in (await transit("LIST", "keys"))[1]["keys"]
    await transit("POST", "keys/k/rotate")
    assert set((await transit("GET", "export/encryption-key/k"))[1]["keys"]) == {"1", "2"}
    backup = (await transit("GET", "backup/k"))[1]["backup"]
    assert (await transit("POST", "restore/copy", backup=backup))[0] == 204
    assert (await transit("POST", "restore", backup=backup))[0] == 400
    assert (await transit("POST", "keys/k/trim", min_available_version=2))[0] == 400
    assert (await transit("POST", "keys/k/config", min_decryption_version=2))[1]["min_decryption_version"] == 2
    assert (await transit("POST", "keys/k/trim", min_available_version=2))[0] == 204
    assert (await transit("GET", "keys/k"))[1]["min_available_version"] == 2
    assert (await transit("DELETE", "keys/k"))[0] == 204
    assert (await transit("POST", "encrypt/k", plaintext=""))[0] == 400
    assert (await transit("GET", "export/encryption-key/crypto-subjects"))[0] == 403
    assert (await transit("DELETE", "keys/crypto-subjects"))[0] == 403
    assert (await transit("GET", "keys/none"))[0] == 404
    assert "BEGIN PUBLIC KEY" in (await transit("GET", "wrapping_key"))[1]["public_key"]
