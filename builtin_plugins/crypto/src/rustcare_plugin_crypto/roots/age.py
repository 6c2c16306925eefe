"""A root that is an age identity (age-encryption.org/v1, X25519): the keyring key is an age file to its recipient."""

from __future__ import annotations

import asyncio

from rustcare_plugin_crypto.refusals import RootRefused

from ._contract import RootDescription

__all__ = ["AgeRoot"]


class AgeRoot:
    """A root of an identity file's text: comments, and one line `AGE-SECRET-KEY-1…`.

    Raises:
        RootRefused: there is no such line, or more than one.
    """

    def __init__(self, identity: bytes, description: RootDescription) -> None:
        import pyrage

        lines = [line.strip() for line in identity.decode(errors="replace").splitlines()]
        keys = [line for line in lines if line and not line.startswith("#")]
        try:
            (only,) = keys
            self._identity = pyrage.x25519.Identity.from_str(only)
        except (ValueError, pyrage.IdentityError):
            raise RootRefused(
                f"expected an age identity in the secret {description.secret!r}: one line AGE-SECRET-KEY-1…",
                hint="age-keygen writes such a file",
                address="root.kind=age",
            ) from None
        self._description = description

    def __repr__(self) -> str:
        return "AgeRoot(…)"

    async def wrap(self, key: bytes) -> bytes:
        import pyrage

        wrapped: bytes = await asyncio.to_thread(pyrage.encrypt, key, [self._identity.to_public()])
        return wrapped

    async def unwrap(self, wrapped: bytes) -> bytes:
        import pyrage

        try:
            key: bytes = await asyncio.to_thread(pyrage.decrypt, wrapped, [self._identity])
        except pyrage.DecryptError:
            raise RootRefused(
                f"the age identity in {self._description.secret!r} does not open the keyring",
                hint="give the identity it was made with; nothing was changed",
                address="root.kind=age",
            ) from None
        return key
