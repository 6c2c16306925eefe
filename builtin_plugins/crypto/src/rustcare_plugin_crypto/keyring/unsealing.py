"""Opening the keyring at the start, and changing its root.

The keyring key is made once. A start that cannot open it raises and leaves everything as it is; it never makes another
one beside keys that are there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import msgspec
from rustcare_sdk import Logger, Secrets

from rustcare_plugin_crypto.algorithms.policy import Policy
from rustcare_plugin_crypto.envelope import Envelope
from rustcare_plugin_crypto.refusals import KeyringDamaged, RootRefused
from rustcare_plugin_crypto.roots import Root, RootDescription, describe_root, open_root
from rustcare_plugin_crypto.roots._contract import FIPS_KINDS

from .store import KeyringRow, Store

__all__ = ["make_keyring", "open_keyring", "rewrapped"]


def _admit(kind: str, policy: Policy) -> None:
    if policy.fips and kind not in FIPS_KINDS:
        raise RootRefused(
            f"expected a root of approved algorithms under policy fips, got {kind}",
            hint=f"use one of {', '.join(sorted(FIPS_KINDS))}",
            address=f"root.kind={kind}",
        )


async def open_keyring(
    store: Store, secrets: Secrets, config: Mapping[str, Any], policy: Policy, log: Logger, now: str
) -> tuple[Envelope, KeyringRow]:
    """The keyring as it is stored, or a new one under the configured root when there is none and no key either.

    Raises:
        RootRefused: the root does not open it; nothing was changed.
        KeyringDamaged: there are keys, but nothing to open them with.
    """
    row = await store.keyring()
    configured = config.get("kind", "secret")
    if row is None:
        if await store.all_names():
            raise KeyringDamaged("there are keys, but the keyring key is gone", hint="restore the store from a backup")
        _admit(configured, policy)
        description = describe_root(configured, config)
        root = await open_root(description, secrets, create=True)
        envelope = Envelope(os.urandom(32))
        made = await make_keyring(envelope, root, description, 1, now)
        await store.insert_keyring(made)
        log.info("keyring made", root=description.kind)
        return envelope, made
    description = msgspec.json.decode(row.root, type=RootDescription)
    _admit(description.kind, policy)
    if description.kind != configured:
        log.warning(
            "the keyring's root is not the configured one", root=description.kind, configured=configured,
            hint="crypto.root.rotate changes the root; configure what it was changed to",
        )  # fmt: skip
    root = await open_root(description, secrets)
    return Envelope(await root.unwrap(row.wrapped)), row


async def make_keyring(
    envelope: Envelope, root: Root, description: RootDescription, number: int, now: str
) -> KeyringRow:
    """A keyring key wrapped by a root, tried out before anybody relies on it."""
    wrapped = await root.wrap(envelope.key)
    if await root.unwrap(wrapped) != envelope.key:
        raise RootRefused("the root does not give back what it wrapped", address=f"root.kind={description.kind}")
    return KeyringRow(number, msgspec.json.encode(description).decode(), wrapped, now)


async def rewrapped(
    secrets: Secrets, config: Mapping[str, Any], policy: Policy, kind: Any, secret: str
) -> tuple[Root, RootDescription]:
    """The root to change to."""
    _admit(kind, policy)
    description = describe_root(kind, config, secret)
    return await open_root(description, secrets, create=True), description
