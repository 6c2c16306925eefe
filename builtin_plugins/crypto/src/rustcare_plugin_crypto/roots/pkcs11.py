"""A root inside a PKCS#11 token (OASIS PKCS #11 v3.0): an AES-256 key that the token made and never gives out.

The keyring key is encrypted by the token itself (CKM_AES_GCM): `0x01 ‖ nonce (12 bytes) ‖ ciphertext and tag`. Whoever
has the database and this machine's disk, but not the token and its PIN, has nothing.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rustcare_plugin_crypto.refusals import RootRefused

from ._contract import PURPOSE, RootDescription

__all__ = ["Pkcs11Root"]

_FORMAT = b"\x01"
_NONCE = 12
_TURN = threading.Lock()  # a token's login state is the process's: one session at a time


class Pkcs11Root:
    """A root of a key in a token, by the token's label and the key's; the key is made when it is wrapped with first.

    Args:
        pin: the user PIN.
        description: `module` (path of the PKCS#11 library), `token` and `label`.
    """

    def __init__(self, pin: bytes, description: RootDescription) -> None:
        if not description.module or not description.token:
            raise RootRefused(
                "expected the path of a PKCS#11 library and the label of a token",
                hint="set root.pkcs11.module and root.pkcs11.token",
                address="root.kind=pkcs11",
            )
        self._pin = pin.decode(errors="replace")
        self._description = description

    def __repr__(self) -> str:
        return f"Pkcs11Root({self._description.token})"

    async def wrap(self, key: bytes) -> bytes:
        return await asyncio.to_thread(self._wrap, key)

    async def unwrap(self, wrapped: bytes) -> bytes:
        return await asyncio.to_thread(self._unwrap, wrapped)

    def _wrap(self, key: bytes) -> bytes:
        import pkcs11

        nonce = os.urandom(_NONCE)

        def encrypt(session: Any) -> bytes:
            inside = self._find(session)
            if inside is None:
                inside = session.generate_key(
                    pkcs11.KeyType.AES,
                    256,
                    label=self._description.label,
                    store=True,
                    capabilities=pkcs11.MechanismFlag.ENCRYPT | pkcs11.MechanismFlag.DECRYPT,
                    template={
                        pkcs11.Attribute.SENSITIVE: True,
                        pkcs11.Attribute.EXTRACTABLE: False,
                        pkcs11.Attribute.PRIVATE: True,
                    },
                )
            return bytes(inside.encrypt(key, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=_gcm(nonce)))

        return _FORMAT + nonce + self._with_session(encrypt, write=True)

    def _unwrap(self, wrapped: bytes) -> bytes:
        import pkcs11

        nonce, sealed = wrapped[1 : 1 + _NONCE], wrapped[1 + _NONCE :]

        def decrypt(session: Any) -> bytes:
            inside = self._find(session)
            if inside is None or wrapped[:1] != _FORMAT:
                raise self._refused("the token has no key that opens the keyring")
            try:
                return bytes(inside.decrypt(sealed, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=_gcm(nonce)))
            except pkcs11.PKCS11Error as error:
                raise self._refused(f"the token's key does not open the keyring ({type(error).__name__})") from None

        return self._with_session(decrypt, write=False)

    def _find(self, session: Any) -> Any:
        import pkcs11

        try:
            return session.get_key(object_class=pkcs11.ObjectClass.SECRET_KEY, label=self._description.label)
        except pkcs11.NoSuchKey:
            return None
        except pkcs11.MultipleObjectsReturned:
            raise self._refused(f"the token has more than one key labelled {self._description.label!r}") from None

    def _with_session(self, work: Callable[[Any], bytes], *, write: bool) -> bytes:
        with _TURN, self._opened(write) as session:
            return work(session)

    @contextmanager
    def _opened(self, write: bool) -> Iterator[Any]:
        try:
            import pkcs11
        except ImportError:
            raise RootRefused(
                "python-pkcs11 is not installed",
                hint="install rustcare-plugin-crypto with its extra `pkcs11`",
                address="root.kind=pkcs11",
            ) from None
        try:
            library = pkcs11.lib(self._description.module)
            try:
                token = library.get_token(token_label=self._description.token)
            except pkcs11.NoSuchToken:
                library.reinitialize()  # a token that was put in after the library was loaded is not seen otherwise
                token = library.get_token(token_label=self._description.token)
            session = token.open(rw=write, user_pin=self._pin)
        except (pkcs11.PKCS11Error, OSError, RuntimeError) as error:
            # The library's own texts may name the PIN's state, never the PIN.
            raise self._refused(f"the token cannot be opened ({type(error).__name__})") from None
        try:
            yield session
        except pkcs11.PKCS11Error as error:
            raise self._refused(f"the token refused ({type(error).__name__})") from None
        finally:
            session.close()

    def _refused(self, text: str) -> RootRefused:
        return RootRefused(
            text,
            hint="check root.pkcs11.*, the token, and its PIN in the secret; nothing was changed",
            address=f"root.kind=pkcs11;token={self._description.token}",
        )


def _gcm(nonce: bytes) -> Any:
    import pkcs11

    return pkcs11.GCMParams(nonce, PURPOSE, 128)
