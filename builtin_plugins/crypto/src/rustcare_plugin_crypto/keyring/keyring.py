"""The keyring: finds keys, lets those use them who may, and changes them. A change is durable before it is answered."""

from __future__ import annotations

import asyncio
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace
from rustcare_sdk import Database, Logger, Secrets

from rustcare_plugin_crypto.algorithms import Algorithm, algorithm
from rustcare_plugin_crypto.algorithms.policy import Policy
from rustcare_plugin_crypto.envelope import Envelope
from rustcare_plugin_crypto.refusals import (
    InvalidRequest,
    KeyExists,
    KeyForbidden,
    KeyringDamaged,
    KeyUnknown,
    KeyVersionState,
)

from .caller import DEFAULT_TENANT, Caller
from .effects import Effect
from .key import Key, check_derivable, purpose
from .model import KeyRecord
from .store import KeyringRow, Store, StoredKey
from .unsealing import make_keyring, open_keyring, rewrapped

__all__ = ["INTERNAL", "Keyring", "timestamp"]

#: Keys that the keyring makes for itself begin with this; nobody else makes or uses such keys.
INTERNAL = "crypto-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CACHED = 4096  # keys that stay unwrapped in memory
_SLOW = ("rsa-",)  # making these takes long enough to leave the event loop alone


def timestamp(now: datetime) -> str:
    """RFC 3339, UTC, microseconds."""
    return now.isoformat(timespec="microseconds").replace("+00:00", "Z")


class Keyring:
    """All keys of a system.

    Args:
        db: the plugin's database.
        secrets: where roots have their secrets.
        log: for what an operator should know.
        policy: which algorithms may be used, asked at every use.
        now: the clock.
        owner: the plugin's own id, which internal keys belong to.
    """

    def __init__(
        self, db: Database, secrets: Secrets, log: Logger, policy: Policy, now: Callable[[], datetime], owner: str
    ) -> None:
        self.policy = policy
        self.store = Store(db, log)
        self.itself = Caller(DEFAULT_TENANT, owner, True)
        self._secrets = secrets
        self._log = log
        self._now = now
        self._envelope: Envelope | None = None
        self._row: KeyringRow | None = None
        self._root: Mapping[str, Any] = {}
        self._keys: OrderedDict[tuple[str, str], Key] = OrderedDict()
        self._changes = 0
        self._turn = asyncio.Lock()
        #: Keys that must neither be rotated nor destroyed.
        self.fixed: set[str] = set()

    def __repr__(self) -> str:
        return "<Keyring>"

    # opening and closing

    async def open(self, root: Mapping[str, Any]) -> None:
        """Unseal with the root (`root`: that part of the configuration). Raises RootRefused, KeyringDamaged."""
        self._root = root
        self._envelope, self._row = await open_keyring(
            self.store, self._secrets, root, self.policy, self._log, self.time()
        )

    def close(self) -> None:
        """Forget every key. Overwrites what can be; see the plugin's documentation for what cannot."""
        self._keys.clear()
        if self._envelope is not None:
            self._envelope.clear()
            self._envelope = None

    @property
    def envelope(self) -> Envelope:
        """What is open. Raises KeyringDamaged before `open` and after `close`."""
        if self._envelope is None:
            raise KeyringDamaged("the keyring is sealed")
        return self._envelope

    @property
    def row(self) -> KeyringRow:
        """How the keyring key is stored."""
        if self._row is None:
            raise KeyringDamaged("the keyring is sealed")
        return self._row

    def time(self) -> str:
        """Now, RFC 3339."""
        return timestamp(self._now())

    # finding

    async def find(self, tenant: str, name: str) -> Key | None:
        """A tenant's own key, or None. Raises KeyringDamaged when its record is not what was written."""
        place = (tenant, name)
        found = self._keys.get(place)
        if found is not None:
            self._keys.move_to_end(place)
            return found
        while True:
            changes = self._changes
            stored = await self.store.key(tenant, name)
            if stored is None:
                return None
            if changes == self._changes:  # else: what was read may be of before the change
                return self._remember(self._checked(tenant, name, stored))

    def _checked(self, tenant: str, name: str, stored: StoredKey) -> Key:
        if self.envelope.check(stored.record.encode(), stored.mac):
            record = msgspec.json.decode(stored.record, type=KeyRecord)
            if (record.tenant, record.name) == (tenant, name):
                return Key(record, stored.wrapped, self.envelope)
        raise KeyringDamaged(
            "the key's record was changed by something else than the keyring",
            hint="restore the store from a backup",
            address=name,
        )

    def _remember(self, key: Key) -> Key:
        self._keys[key.record.tenant, key.record.name] = key
        if len(self._keys) > _CACHED:
            self._keys.popitem(last=False)
        return key

    async def key(self, caller: Caller, name: str) -> Key:
        """A key for use: the tenant's own, else the default tenant's.

        Raises:
            KeyUnknown: there is none.
            KeyForbidden: the caller is not among its users.
            AlgorithmRefused: the policy does not admit its algorithm.
        """
        found = await self.seen(caller, name)
        if not self.may_use(caller, found.record):
            raise KeyForbidden(
                f"{caller.source or 'the operator'} is not among the key's users",
                hint="the key's maker or the operator can add it (crypto.key.configure)",
                address=name,
            )
        self.policy.admit(found.record.algorithm)
        return found

    def at_hand(self, caller: Caller, name: str) -> Key | None:
        """What `key` would give, when the tenant's own key is in memory and may be used; else None, and `key` says why."""
        place = (caller.tenant, name)
        found = self._keys.get(place)
        if found is None or not self.may_use(caller, found.record) or not self.policy.admits(found.record.algorithm):
            return None
        self._keys.move_to_end(place)
        return found

    async def seen(self, caller: Caller, name: str) -> Key:
        """A key to look at its public side; anybody may. Raises KeyUnknown."""
        found = await self.find(caller.tenant, name)
        if found is None and caller.tenant != DEFAULT_TENANT:
            found = await self.find(DEFAULT_TENANT, name)
        if found is None:
            raise KeyUnknown("there is no such key", hint="crypto.key.create makes one", address=_shown(name))
        return found

    def may_use(self, caller: Caller, record: KeyRecord) -> bool:
        """Whether a caller is the key's maker, among its users, or the operator (but for internal keys)."""
        if record.name.startswith(INTERNAL):
            return caller is self.itself
        return caller.operator or caller.source == record.owner or "*" in record.users or caller.source in record.users

    async def managed(self, caller: Caller, name: str) -> Key:
        """A key to be changed: the tenant's own, by its maker or the operator. Raises KeyUnknown, KeyForbidden."""
        found = await self.find(caller.tenant, name)
        if found is None:
            raise KeyUnknown("there is no such key of this tenant", address=_shown(name))
        if not (caller.operator or caller.source == found.record.owner):
            raise KeyForbidden("only the key's maker and the operator may change it", address=name)
        return found

    # changing

    async def create(self, caller: Caller, wanted: KeyRecord, secret: bytes | None = None) -> Key:
        """The key of this name when it is of the same algorithm, else a new one (with `secret`, if given).

        Raises:
            KeyExists: there is one of another algorithm, or it was destroyed.
            KeyForbidden: the one there is is not for this caller.
        """
        name = wanted.name
        if not _NAME.fullmatch(name):
            raise InvalidRequest(
                "expected a name of 1 to 128 letters, digits, dots, dashes and underscores",
                address=_shown(name),
            )
        if name.startswith(INTERNAL) and caller is not self.itself:
            raise KeyForbidden(f"names that begin with {INTERNAL} are the keyring's own", address=name)
        chosen = algorithm(wanted.algorithm)
        self.policy.admit(chosen.name)
        if wanted.derived:
            check_derivable(wanted)
        if wanted.rotate_after < 0:
            raise InvalidRequest(
                f"expected seconds from 0 on, got {wanted.rotate_after}", address=f"{name}:rotate_after"
            )
        fresh = secret
        async with self._turn:
            try:
                found = await self.seen(caller, name)
            except KeyUnknown:
                if fresh is None:
                    fresh = await generate(chosen)
                return await self._insert(wanted, fresh, self._effect(caller))
        if not self.may_use(caller, found.record):
            raise KeyForbidden("there is a key of this name, and it is not for this caller", address=name)
        same = (wanted.algorithm, wanted.derived) == (found.record.algorithm, found.record.derived)
        if not same or found.record.destroyed or secret is not None:
            raise KeyExists(
                f"there is a key of this name: {found.record.algorithm}"
                f"{', derived' if found.record.derived else ''}{', destroyed' if found.record.destroyed else ''}",
                hint="choose another name",
                address=name,
            )
        return found

    async def _insert(self, wanted: KeyRecord, secret: bytes, effect: Effect) -> Key:
        record = replace(wanted, versions=()).with_new_version(self.time())
        wrapped = {1: self.envelope.wrap(secret, purpose(record, 1))}
        await self.store.insert_key(record.tenant, record.name, self._stored(record, wrapped), effect)
        self._changes += 1
        return self._remember(Key(record, wrapped, self.envelope))

    async def put_back(
        self, caller: Caller, record: KeyRecord, secrets: Mapping[int, bytes], *, replacing: bool
    ) -> Key:
        """A whole key with its versions, from a backup, in one commit. Raises KeyExists."""
        async with self._turn:
            there = await self.find(record.tenant, record.name) is not None
            if there and not replacing:
                raise KeyExists("there is a key of this name", hint="restore it with force", address=record.name)
            wrapped = {
                number: self.envelope.wrap(secret, purpose(record, number)) for number, secret in secrets.items()
            }
            put = self.store.replace_key if there else self.store.insert_key
            try:
                await put(record.tenant, record.name, self._stored(record, wrapped), self._effect(caller))
            finally:
                self._forget(record)
            return self._remember(Key(record, wrapped, self.envelope))

    async def rotate(self, caller: Caller, name: str, secret: bytes | None = None) -> Key:
        """A new primary version, fresh or given. Raises KeyUnknown, KeyForbidden, KeyVersionState."""
        async with self._turn:
            old = await self.managed(caller, name)
            return await self._rotate(old, secret, self._effect(caller))

    async def rotate_if_due(self, tenant: str, name: str) -> Key | None:
        """A new primary version when the present one is older than the key's `rotate_after`, else None."""
        async with self._turn:
            old = await self.find(tenant, name)
            if old is None or (due := self.due(old.record)) is None or due > self._now():
                return None
            return await self._rotate(old, None, self._effect(self.itself))

    @staticmethod
    def due(record: KeyRecord) -> datetime | None:
        """When a key's next rotation is due, or None for never."""
        if not record.rotate_after or record.destroyed or record.imported:
            return None
        created = datetime.fromisoformat(record.version(record.primary).created)
        return datetime.fromtimestamp(created.timestamp() + record.rotate_after, created.tzinfo)

    async def _rotate(self, old: Key, secret: bytes | None, effect: Effect) -> Key:
        self.policy.admit(old.record.algorithm)
        if old.record.imported and secret is None:
            raise KeyVersionState(
                "an imported key gets new versions by import only",
                hint="crypto.key.import with version",
                address=old.record.name,
            )
        record = old.record.with_new_version(self.time())
        fresh = secret if secret is not None else await generate(old.algorithm)
        number = len(record.versions)
        added = {number: self.envelope.wrap(fresh, purpose(record, number))}
        return await self._change(old, record, added, effect)

    async def change(self, caller: Caller, name: str, change: Callable[[KeyRecord], KeyRecord]) -> Key:
        """Another record; the secrets of versions that it calls destroyed are destroyed."""
        async with self._turn:
            old = await self.managed(caller, name)
            record = change(old.record)
            return old if record == old.record else await self._change(old, record, {}, self._effect(caller))

    async def _change(self, old: Key, record: KeyRecord, added: Mapping[int, bytes], effect: Effect) -> Key:
        kept = set(record.kept())
        gone = [number for number in old.wrapped if number not in kept]
        wrapped = {number: blob for number, blob in old.wrapped.items() if number in kept} | dict(added)
        stored = self._stored(record, wrapped)
        try:
            await self.store.update_key(record.tenant, record.name, stored, added, gone, effect)
        finally:
            self._forget(record)  # also when it is not known whether it was committed: it is read anew
        return self._remember(Key(record, wrapped, self.envelope))

    def _effect(self, caller: Caller) -> Effect:
        return Effect(caller.attempt, self.time())

    def _stored(self, record: KeyRecord, wrapped: dict[int, bytes]) -> StoredKey:
        text = msgspec.json.encode(record)
        return StoredKey(text.decode(), self.envelope.code(text), wrapped)

    def _forget(self, record: KeyRecord) -> None:
        self._changes += 1
        self._keys.pop((record.tenant, record.name), None)

    # the root

    async def change_root(self, caller: Caller, kind: str, secret: str, *, renew: bool) -> KeyringRow:
        """Wrap the keyring key with another root; with `renew` a new keyring key, and every key's wrapping anew.

        Nothing that was encrypted under a key of the ring changes, nor does a key. Raises RootRefused.
        """
        async with self._turn:
            root, description = await rewrapped(self._secrets, self._root, self.policy, kind, secret)
            envelope = Envelope(os.urandom(32)) if renew else self.envelope
            row = await make_keyring(envelope, root, description, self.row.id + 1, self.time())
            anew: list[tuple[str, str, StoredKey]] = []
            if renew:
                for tenant, name in await self.store.all_names():
                    stored = await self.store.key(tenant, name)
                    if stored is not None:
                        anew.append((tenant, name, self._under(envelope, self._checked(tenant, name, stored), stored)))
            try:
                await self.store.replace_keyring(self.row.id, row, anew, self._effect(caller))
            except BaseException:
                # It is not known whether it was committed: what is stored counts.
                self._changes += 1
                self._keys.clear()
                self._envelope, self._row = await open_keyring(
                    self.store, self._secrets, self._root, self.policy, self._log, self.time()
                )
                raise
            self._row = row
            if renew:
                self._envelope = envelope
                self._changes += 1
                self._keys.clear()
            await self.store.scrub()
            return row

    @staticmethod
    def _under(envelope: Envelope, key: Key, stored: StoredKey) -> StoredKey:
        wrapped = {number: envelope.wrap(key.secret(number), purpose(key.record, number)) for number in key.wrapped}
        return StoredKey(stored.record, envelope.code(stored.record.encode()), wrapped)

    async def page(self, tenants: Iterable[str], after: str, limit: int) -> list[Key]:
        """Keys by name."""
        found = [await self.find(tenant, name) for tenant, name in await self.store.names(list(tenants), after, limit)]
        return [key for key in found if key is not None]


async def generate(chosen: Algorithm) -> bytes:
    """A new secret; in a thread where that takes long."""
    return await asyncio.to_thread(chosen.generate) if chosen.name.startswith(_SLOW) else chosen.generate()


def _shown(name: str) -> str:
    return name if _NAME.fullmatch(name) else "key"
