"""From a configuration to a description, from a description to a root."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rustcare_sdk import RustCareError, Secrets

from rustcare_plugin_crypto.refusals import RootRefused

from . import derived
from ._contract import DEFAULT_SECRETS, Kind, Root, RootDescription
from .age import AgeRoot
from .pkcs11 import Pkcs11Root

__all__ = ["describe_root", "open_root"]


def describe_root(kind: Kind, config: Mapping[str, Any], secret: str = "") -> RootDescription:
    """A new root as configured (`config` is the plugin's `root`), with a fresh salt where it has one.

    `secret` names another secret than the configured one; where neither does, it is the kind's own.
    """
    named = secret or (str(config.get("secret", "")) if kind == config.get("kind", "secret") else "")
    name = named or DEFAULT_SECRETS[kind]
    if kind == "passphrase":
        return RootDescription(
            kind, name, salt=os.urandom(16), memory=derived.MEMORY, time=derived.TIME, lanes=derived.LANES
        )
    if kind == "pkcs11":
        token: Mapping[str, Any] = config.get("pkcs11", {})
        return RootDescription(
            kind,
            name,
            module=str(token.get("module", "")),
            token=str(token.get("token", "")),
            label=str(token.get("label", "") or "rustcare-keyring"),
        )
    return RootDescription(kind, name)


async def open_root(description: RootDescription, secrets: Secrets, *, create: bool = False) -> Root:
    """The root of a description. With `create` a random secret that is not there yet is made.

    Raises:
        RootRefused: its secret is missing or not of the right form.
    """
    kind, name = description.kind, description.secret
    if kind == "secret" and create:
        await secrets.create(name)
    try:
        value = await secrets.reveal(name)
    except RustCareError as error:
        raise RootRefused(
            f"the secret {name!r} cannot be had ({error.code})",
            hint="put it into the data folder's secrets/, or into the environment, and start again",
            address=f"root.kind={kind}",
        ) from None
    if kind == "secret":
        return derived.secret_root(value, description)
    value = value.rstrip(b"\r\n")  # an editor's last line end is no part of what a person typed
    if kind == "passphrase":
        return await derived.passphrase_root(value, description)
    if kind == "age":
        return AgeRoot(value, description)
    return Pkcs11Root(value, description)
