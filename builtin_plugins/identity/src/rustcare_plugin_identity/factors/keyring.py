"""What factors need of the keyring and the kernel's secrets: encryption of what is stored, and a keyed hash.

The key `identity-factors` is of the default tenant and asked for in the plugin's own name, whoever it works for; tenant and
account are bound to each ciphertext, so that a row that was moved to another account cannot be opened.
"""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from rustcare_sdk.context import Secrets
from rustcare_sdk.contracts import crypto

from rustcare_plugin_identity.own_name import in_own_name

__all__ = ["FACTORS_KEY", "SECRET", "KeyedHash", "KeyringSealer"]

#: The key under which secrets of authenticator apps are stored.
FACTORS_KEY = "identity-factors"
#: The secret of the keyed hash under which recovery codes and challenges are known again.
SECRET = "identity.factors"

T = TypeVar("T")


class KeyringSealer:
    """Encrypts and decrypts for accounts.

    Args:
        request: `Context.request`.
    """

    def __init__(self, request: Callable[..., Awaitable[Any]]) -> None:
        self._request = request
        self._made = False

    async def seal(self, tenant: str, account: str, data: bytes) -> bytes:
        """A ciphertext that only this account's row can hold."""
        if not self._made:  # it is made when first needed; the keyring answers an old one as it is
            await self._ask(crypto.KEY_CREATE, crypto.KeyCreateRequest(FACTORS_KEY, "aes256-gcm"), crypto.KeyInfo)
            self._made = True
        asked = crypto.EncryptRequest(FACTORS_KEY, [crypto.PlainItem(data, _bound(tenant, account))])
        return (await self._ask(crypto.ENCRYPT, asked, crypto.EncryptReply)).ciphertexts[0]

    async def unseal(self, tenant: str, account: str, data: bytes) -> bytes:
        """What `seal` was given."""
        asked = crypto.DecryptRequest(FACTORS_KEY, [crypto.CipherItem(data, _bound(tenant, account))])
        found = (await self._ask(crypto.DECRYPT, asked, crypto.DecryptReply)).data[0]
        assert found is not None  # only `partial` leaves any out
        return found

    async def _ask(self, service: str, data: Any, type_: type[T]) -> T:
        return await in_own_name(self._request, service, data, type_)


class KeyedHash:
    """A hash that only this system can compute."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def open(self) -> None:
        """Make the secret, unless there is one."""
        await self._secrets.create(SECRET)

    async def __call__(self, data: bytes) -> bytes:
        return await self._secrets.hmac_sha256(SECRET, data)


def _bound(tenant: str, account: str) -> bytes:
    parts = (b"totp", tenant.encode(), account.encode())
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)
