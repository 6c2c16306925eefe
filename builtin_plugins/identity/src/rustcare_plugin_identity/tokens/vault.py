"""The keyring as tokens need it: sign, verify, code. Requests are in the plugin's own name, whoever it works for.

Keys: `identity-token-es256` and `identity-token-eddsa` sign access tokens, `identity-refresh` computes refresh tokens.
All are of the default tenant, so a request must not be on behalf of the message that is being handled.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from rustcare_sdk import RustCareError
from rustcare_sdk.contracts import crypto

from rustcare_plugin_identity.own_name import in_own_name

__all__ = ["REFRESH_KEY", "SIGNATURES", "Vault"]

#: The keyring's algorithms of JWS algorithms, and the names of their keys.
SIGNATURES = {"ES256": ("identity-token-es256", "ecdsa-p256"), "EdDSA": ("identity-token-eddsa", "ed25519")}
REFRESH_KEY = "identity-refresh"
#: What the keyring says of a signature that does not fit.
_WRONG = "crypto.failed"

T = TypeVar("T")


class Vault:
    """Requests to the keyring.

    Args:
        request: `Context.request`.
    """

    def __init__(self, request: Callable[..., Awaitable[Any]]) -> None:
        self._request = request

    async def _ask(self, service: str, data: Any, type_: type[T]) -> T:
        return await in_own_name(self._request, service, data, type_)

    async def make(self, name: str, algorithm: str) -> None:
        """Make a key unless it is there."""
        await self._ask(crypto.KEY_CREATE, crypto.KeyCreateRequest(name, algorithm), crypto.KeyInfo)

    async def primary(self, name: str) -> int:
        """The number of the version that new work is done with."""
        info = await self._ask(crypto.KEY_READ, crypto.KeyRequest(name), crypto.KeyInfo)
        return next(version.version for version in info.versions if version.state == "primary")

    async def public(self, name: str, version: int = 0) -> tuple[int, dict[str, Any]]:
        """The number of a version (0: the primary one) and its JWK, without `kid`."""
        asked = crypto.KeyPublicRequest(name, version)
        found = await self._ask(crypto.KEY_PUBLIC, asked, crypto.KeyPublicReply)
        return found.version, {member: value for member, value in found.jwk.items() if member != "kid"}

    async def rotate(self, name: str) -> None:
        """A new primary version; the others stay as they are."""
        await self._ask(crypto.KEY_ROTATE, crypto.KeyRequest(name), crypto.KeyInfo)

    async def destroy(self, name: str, version: int) -> None:
        """Destroy a version for good."""
        await self._ask(crypto.KEY_DESTROY, crypto.KeyDestroyRequest(name, version), crypto.KeyInfo)

    async def sign(self, name: str, version: int, data: bytes) -> bytes:
        """A signature in the keyring's encoding."""
        reply = await self._ask(crypto.SIGN, crypto.SignRequest(name, [data], version), crypto.SignReply)
        return reply.signatures[0]

    async def verify(self, name: str, version: int, data: bytes, signature: bytes) -> bool:
        """Whether a signature, in the keyring's encoding, is one of this version over this data."""
        asked = crypto.VerifyRequest(name, [crypto.VerifyItem(data, signature)], version, partial=True)
        try:
            return bool((await self._ask(crypto.VERIFY, asked, crypto.VerifyReply)).versions[0])
        except RustCareError as error:
            if error.code != _WRONG:
                raise
            return False

    async def codes(self, name: str, version: int, data: Sequence[bytes]) -> list[bytes]:
        """A message authentication code for each."""
        return (await self._ask(crypto.HMAC, crypto.HmacRequest(name, list(data), version), crypto.HmacReply)).macs
