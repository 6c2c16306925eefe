"""Finding, making and destroying the keys of subjects.

A new subject's key is durable before anything sealed under it is answered; all new ones of a batch share one write.
Names are nowhere in the store: a row is found by HMAC-SHA-256 of tenant and name, under a key of the ring.
"""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import TypeVar

from rustcare_sdk.contracts.crypto import Opened, OpenItem, SealItem, ShredReply

from rustcare_plugin_crypto.certificates import destroyed_subject
from rustcare_plugin_crypto.errors import CryptoFailed
from rustcare_plugin_crypto.keyring import INTERNAL, Caller, Effect, Key, KeyRecord, Keyring
from rustcare_plugin_crypto.refusals import InvalidRequest, KeyForbidden, KeyringDamaged, SubjectUnknown

from .key import ALGORITHM, ID, SECRET, SubjectKey, id_of
from .store import Certificate, SubjectRow, SubjectStore

__all__ = ["Subjects"]

#: A tenant and a subject's name.
Place = tuple[str, str]
_MAX_NAME = 512  # characters
_WRAPPING, _NAMES, _CERTIFICATES = f"{INTERNAL}subjects", f"{INTERNAL}subject-names", f"{INTERNAL}certificates"
_K = TypeVar("_K")


class Subjects:
    """The keys of subjects.

    Args:
        keyring: open; it wraps their keys, hashes their names and signs certificates.
        cached: how many unwrapped keys stay in memory.
    """

    def __init__(self, keyring: Keyring, cached: int) -> None:
        self._keyring = keyring
        self._store = SubjectStore(keyring.store.db)
        self._cached = cached
        self._by_place: OrderedDict[Place, SubjectKey] = OrderedDict()
        self._by_id: OrderedDict[bytes, SubjectKey] = OrderedDict()
        self._destroyed = 0
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Make the ring's own keys for this, the first time."""
        ring = self._keyring
        ring.fixed.add(_NAMES)
        for name, algorithm in ((_WRAPPING, ALGORITHM), (_NAMES, "hmac-sha256"), (_CERTIFICATES, "ed25519")):
            await ring.create(ring.itself, KeyRecord(ring.itself.tenant, name, algorithm, owner=ring.itself.source))

    def close(self) -> None:
        """Forget every key."""
        self._by_place.clear()
        self._by_id.clear()

    # services

    async def seal(self, caller: Caller, items: Sequence[SealItem]) -> tuple[list[bytes], list[str]]:
        """Ciphertexts and pseudonyms, both empty for a subject whose key is destroyed."""
        places = [self._place(caller, item.tenant, item.subject) for item in items]
        keys = await self._keys(dict.fromkeys(places), create=True)
        sealed, pseudonyms = [], []
        for item, place in zip(items, places, strict=True):
            key = keys.get(place)
            sealed.append(b"" if key is None else key.seal(item.data, item.context))
            pseudonyms.append("" if key is None else key.pseudonym)
        return sealed, pseudonyms

    async def unseal(self, caller: Caller, items: Sequence[OpenItem]) -> list[Opened]:
        """What each item says, as far as its key is there, of the caller's tenant, and fits."""
        self._keyring.policy.admit(ALGORITHM)
        named = [id_of(item.sealed) for item in items]
        keys = await self._known({id for id in named if id is not None})
        gone = await self._store.shredded([id for id in set(named) if id is not None and id not in keys])
        opened = []
        for item, id in zip(items, named, strict=True):
            key = None if id is None else keys.get(id)
            data = None
            if key is not None and (caller.system or key.tenant == caller.tenant):
                data = key.open(item.sealed, item.context)
            if data is not None:
                opened.append(Opened("open", data))
            else:
                opened.append(Opened("shredded" if id in gone else "failed"))
        return opened

    async def pseudonyms(self, caller: Caller, subjects: Sequence[str], tenant: str) -> list[str]:
        """For each its pseudonym, empty without a key."""
        places = [self._place(caller, tenant, subject) for subject in subjects]
        keys = await self._keys(dict.fromkeys(places), create=False)
        return [keys[place].pseudonym if place in keys else "" for place in places]

    async def shred(self, caller: Caller, subject: str, tenant: str, reason: str, principal: str) -> ShredReply:
        """Destroy a subject's key. Its certificate is durable with it; the event is the caller's to publish.

        Raises:
            SubjectUnknown: it has no key, or none any more.
        """
        place = self._place(caller, tenant, subject)
        async with self._turn:
            lookup = (await self._lookups([place]))[place]
            row = next(iter(await self._store.by_lookup([lookup])), None)
            if row is None or row.wrapped is None:
                raise SubjectUnknown("the subject has no key, or none any more", address="crypto.subject.shred:subject")
            key = await self._opened(row)
            time = self._keyring.time()
            signer = await self._keyring.key(self._keyring.itself, _CERTIFICATES)
            envelope = destroyed_subject(
                signer,
                pseudonym=key.pseudonym,
                tenant=place[0],
                destroyed_at=time,
                reason=reason,
                principal=principal,
                plugin=caller.source,
            )
            try:
                certificate = Certificate(key.pseudonym, time, envelope)
                await self._store.destroy(row, time[:10], certificate, Effect(caller.attempt, time))
            finally:  # also when it is not known whether it was committed: it is looked up anew
                self._destroyed += 1
                self._by_place.pop(place, None)
                self._by_id.pop(key.id, None)
        await self._keyring.store.scrub()
        return ShredReply(key.pseudonym, time, envelope)

    async def untold(self) -> list[ShredReply]:
        """Certificates whose event may not have been published, after a crash."""
        return [ShredReply(one.pseudonym, one.destroyed, one.envelope) for one in await self._store.untold()]

    async def told(self, reply: ShredReply) -> None:
        """The event of a certificate was published."""
        await self._store.told(reply.pseudonym)

    # keys

    def _place(self, caller: Caller, tenant: str, subject: str) -> Place:
        if tenant not in ("", caller.tenant) and not caller.system:
            raise KeyForbidden("subjects of another tenant are for the system itself only", address="tenant")
        if not 0 < len(subject) <= _MAX_NAME:
            raise InvalidRequest(
                f"expected a subject of 1 to {_MAX_NAME} characters, got {len(subject)}", address="subject"
            )
        return tenant or caller.tenant, subject

    async def _lookups(self, places: Iterable[Place]) -> dict[Place, bytes]:
        """Keyed hashes of names. That key is never rotated: names are not kept, so rows could not be found anew."""
        mac = (await self._keyring.key(self._keyring.itself, _NAMES)).prepared(1)
        return {place: mac.sign(f"{len(place[0])}:{place[0]}{place[1]}".encode()) for place in places}

    async def _keys(self, places: Iterable[Place], *, create: bool) -> dict[Place, SubjectKey]:
        """The keys of subjects, from memory, the store, or (with `create`) new. Destroyed ones are left out."""
        self._keyring.policy.admit(ALGORITHM)
        found: dict[Place, SubjectKey] = {}
        missing: list[Place] = []
        for place in places:
            key = self._by_place.get(place)
            if key is None:
                missing.append(place)
            else:
                found[place] = key
                self._by_place.move_to_end(place)
        if not missing:
            return found
        lookups = await self._lookups(missing)
        destroyed = self._destroyed
        rows = {row.lookup: row for row in await self._store.by_lookup(list(lookups.values()))}
        made: dict[bytes, SubjectKey] = {}
        wanted = [place for place in missing if lookups[place] not in rows]
        if create and wanted:
            made = await self._make(wanted, lookups)
            # Whoever was first with a name has made its key: read who that was.
            rows |= {row.lookup: row for row in await self._store.by_lookup([lookups[place] for place in wanted])}
        for place in missing:
            row = rows.get(lookups[place])
            if row is None or row.id is None:
                continue
            found[place] = key = made.get(row.id) or self._by_id.get(row.id) or await self._opened(row)
            if destroyed == self._destroyed:  # else it may be of before a destruction: for this call only
                self._remember(place, key)
        return found

    async def _make(self, places: Sequence[Place], lookups: dict[Place, bytes]) -> dict[bytes, SubjectKey]:
        wrapping = await self._keyring.key(self._keyring.itself, _WRAPPING)
        created = self._keyring.time()
        made, rows = {}, []
        for place in places:
            id, secret = os.urandom(ID), os.urandom(SECRET)
            made[id] = SubjectKey(id, place[0], secret)
            rows.append(SubjectRow(lookups[place], id, place[0], _wrap(wrapping, id, place[0], secret), created))
        await self._store.add(rows)
        return made

    async def _opened(self, row: SubjectRow) -> SubjectKey:
        wrapping = await self._keyring.key(self._keyring.itself, _WRAPPING)
        assert row.id is not None
        assert row.wrapped is not None
        return SubjectKey(row.id, row.tenant, _unwrap(wrapping, row.id, row.tenant, row.wrapped))

    async def _known(self, ids: Iterable[bytes]) -> dict[bytes, SubjectKey]:
        found: dict[bytes, SubjectKey] = {}
        missing: list[bytes] = []
        for id in ids:
            key = self._by_id.get(id)
            if key is None:
                missing.append(id)
            else:
                found[id] = key
                self._by_id.move_to_end(id)
        if missing:
            destroyed = self._destroyed
            for row in await self._store.by_id(missing):
                if row.id is not None:
                    found[row.id] = key = await self._opened(row)
                    if destroyed == self._destroyed:
                        _put(self._by_id, row.id, key, self._cached)
        return found

    def _remember(self, place: Place, key: SubjectKey) -> None:
        _put(self._by_place, place, key, self._cached)
        _put(self._by_id, key.id, key, self._cached)


def _put(cache: OrderedDict[_K, SubjectKey], place: _K, key: SubjectKey, most: int) -> None:
    cache[place] = key
    cache.move_to_end(place)
    if len(cache) > most:
        cache.popitem(last=False)


def _bound(id: bytes, tenant: str) -> bytes:
    return b"rustcare/subject-key/1\0" + id + tenant.encode()


def _wrap(wrapping: Key, id: bytes, tenant: str, secret: bytes) -> bytes:
    version = wrapping.record.primary
    sealed: bytes = wrapping.prepared(version).seal(secret, _bound(id, tenant))
    return version.to_bytes(4, "big") + sealed


def _unwrap(wrapping: Key, id: bytes, tenant: str, wrapped: bytes) -> bytes:
    version = wrapping.record.for_old_work(int.from_bytes(wrapped[:4], "big"))
    try:
        secret: bytes = wrapping.prepared(version).open(wrapped[4:], _bound(id, tenant))
    except CryptoFailed:
        raise KeyringDamaged(
            "a subject's key does not open under the keyring", hint="restore the store from a backup"
        ) from None
    return secret
