"""Decides and writes: requests that arrive together share one transaction and one durable commit.

Each request is carried out whole or not at all. Requests are decided one after the other, in the order of their arrival,
against what the database holds and what those before them changed; one that is refused changes nothing and hurts no other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

import msgspec
from rustcare_sdk.context import Logger
from rustcare_sdk.contracts.fhir import StoreReply
from rustcare_sdk.errors import BusClosed, RustCareError, StoreError

from .errors import DuplicateResource, ResourceNotFound, UnresolvedReference, VersionConflict
from .merging import MERGED, merged
from .resource import Prepared, stored_form
from .store import Current, ResourceStore, Version

__all__ = ["Change", "Done", "Engine", "Request"]

BATCH = 128
ATTEMPTS = 3
_reply = msgspec.json.Decoder(StoreReply)

ChangeKind = Literal["created", "updated", "deleted"]


@dataclass(frozen=True, slots=True)
class Change:
    """One resource that was changed."""

    kind: ChangeKind
    type: str
    id: str
    version: int


@dataclass(frozen=True, slots=True)
class Request:
    """A wish to write. With a `key`: once only. `delete` names a resource instead of giving one (`type`, `id`).

    `merge`: see `merging`. `attempt`: the id under which the wish is on record, to say later that it was granted.
    """

    tenant: str
    resources: tuple[Prepared, ...] = ()
    key: str = ""
    source: str = ""
    delete: tuple[str, str] | None = None
    if_match: int | None = None
    merge: bool = False
    attempt: str = ""


@dataclass(frozen=True, slots=True)
class Done:
    """What was done: the answer, what changed, and the stored text of the last resource."""

    reply: StoreReply
    changes: tuple[Change, ...] = ()
    content: str = ""
    version: int = 0


@dataclass(slots=True)
class _Tenant:
    """What one transaction knows of one tenant's resources, and what it will write."""

    replies: dict[str, str] = field(default_factory=dict)
    current: dict[str, Current] = field(default_factory=dict)


@dataclass(slots=True)
class _Plan:
    """Everything one transaction will write."""

    versions: list[Version] = field(default_factory=list)
    answers: list[tuple[str, str, str, str]] = field(default_factory=list)


_Entry = tuple[Request, "asyncio.Future[Done]"]


class Engine:
    """The one writer of this process.

    Args:
        now: the time of versions.
        refuse_dangling: refuse references to resources that are neither stored nor in the same request.
    """

    def __init__(
        self, store: ResourceStore, log: Logger, now: Callable[[], datetime], *, refuse_dangling: bool
    ) -> None:
        self._store = store
        self._log = log
        self._now = now
        self._refuse_dangling = refuse_dangling
        self._queue: deque[_Entry] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self.running = False
        self.last_error = ""

    async def submit(self, request: Request) -> Done:
        """Carry a request out; returns when it is durable.

        Raises:
            DuplicateResource, UnresolvedReference, VersionConflict, ResourceNotFound: nothing was changed.
            StoreError: the database refused.
        """
        if self._closed:
            raise BusClosed("the resource store has stopped", hint="try again later")
        done: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        self._queue.append((request, done))
        self._wake.set()
        return await done

    def close(self) -> None:
        """Take no more; tell those who wait."""
        self._closed = True
        self._refuse(self._queue)
        self._queue.clear()

    async def run(self) -> None:
        """The background task."""
        self.running = True
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    batch: list[_Entry] = []
                    while self._queue and len(batch) < BATCH:
                        entry = self._queue.popleft()
                        if not entry[1].done():  # its caller may have given up
                            batch.append(entry)
                    try:
                        await self._carry_out(batch)
                    except BaseException:
                        self._refuse(batch)
                        raise
        finally:
            self.running = False

    @staticmethod
    def _refuse(entries: Iterable[_Entry]) -> None:
        for _, done in entries:
            if not done.done():
                done.set_exception(BusClosed("the resource store stopped before it wrote this", hint="send it again"))

    async def _carry_out(self, batch: Sequence[_Entry]) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                results = await self._write([request for request, _ in batch])
                break
            except StoreError as error:
                # Most likely another process wrote a version of the same resource first: look again.
                self.last_error = error.code
                if len(batch) > 1:
                    for entry in batch:
                        await self._carry_out((entry,))
                    return
                if attempt == ATTEMPTS:
                    self._log.error("not stored", error=error.code)
                    results = [error]
        for (_, done), result in zip(batch, results, strict=True):
            if done.done():
                continue
            if isinstance(result, RustCareError):
                done.set_exception(result)
            else:
                done.set_result(result)

    async def _write(self, requests: Sequence[Request]) -> list[Done | RustCareError]:
        plan = _Plan()
        results: list[Done | RustCareError] = []
        updated = self._now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        async with self._store.db.transaction() as tx:
            known: dict[str, _Tenant] = {}
            for tenant in dict.fromkeys(request.tenant for request in requests):
                mine = [request for request in requests if request.tenant == tenant]
                keys = dict.fromkeys(request.key for request in mine if request.key)
                replies = await self._store.replies(tx, tenant, list(keys)) if keys else {}
                refs: dict[str, None] = {}
                for request in mine:
                    if request.key in replies:
                        continue
                    for resource in request.resources:
                        refs[resource.ref] = None
                        if self._refuse_dangling:
                            refs.update(dict.fromkeys(resource.targets))
                    if request.delete is not None:
                        refs["/".join(request.delete)] = None
                current = await self._store.current(tx, tenant, list(refs)) if refs else {}
                if changing := _to_merge(mine, replies, current):
                    for ref, content in (await self._store.contents(tx, tenant, changing)).items():
                        current[ref] = replace(current[ref], content=content)
                known[tenant] = _Tenant(replies, current)
            for request in requests:
                try:
                    results.append(self._decide(request, known[request.tenant], plan, updated))
                except RustCareError as error:
                    results.append(error)
            if plan.versions:
                await self._store.write(tx, plan.versions)
            if plan.answers:
                await self._store.answer(tx, plan.answers)
            done = [
                request.attempt
                for request, result in zip(requests, results, strict=True)
                if request.attempt and isinstance(result, Done)
            ]
            if done:
                await self._store.took_effect(tx, done, updated)
        return results

    def _decide(self, request: Request, known: _Tenant, plan: _Plan, updated: str) -> Done:
        """What to do about one request. Raises before it has changed anything."""
        if request.key and (answer := known.replies.get(request.key)) is not None:
            reply = _reply.decode(answer)
            return Done(StoreReply(reply.stored, reply.versions, duplicate=True))
        if request.delete is not None:
            return self._delete(request, request.delete, known, plan, updated)
        resources: dict[str, Prepared] = {}
        for resource in request.resources:
            if resources.setdefault(resource.ref, resource).digest != resource.digest:
                raise DuplicateResource(
                    f"the request holds two different resources under one {resource.type} id",
                    hint="give each its own id, or merge them",
                    address=request.key,
                )
        self._check(request, resources, known)
        changes: list[Change] = []
        content, version = "", 0
        for resource in resources.values():
            before = known.current.get(resource.ref)
            version = before.version if before is not None else 0
            if before is not None and not before.deleted and before.digest == resource.digest:
                continue  # the same content makes no new version
            if before is not None and before.content and request.merge and resource.type in MERGED:
                resource = merged(resource, before.content)
                if before.digest == resource.digest:
                    continue
            version += 1
            content = stored_form(resource, version, updated)
            known.current[resource.ref] = Current(version, False, resource.digest, content)
            plan.versions.append(
                Version(
                    request.tenant,
                    resource.ref,
                    resource.type,
                    version,
                    False,
                    resource.digest,
                    updated,
                    request.source,
                    content,
                )
            )
            created = before is None or before.deleted
            changes.append(Change("created" if created else "updated", resource.type, resource.id, version))
        versions = [f"{one.ref}/_history/{known.current[one.ref].version}" for one in request.resources]
        reply = StoreReply(len(changes), versions, duplicate=False)
        if request.key:
            text = msgspec.json.encode(reply).decode()
            known.replies[request.key] = text
            plan.answers.append((request.tenant, request.key, text, updated))
        return Done(reply, tuple(changes), content, version)

    def _check(self, request: Request, resources: dict[str, Prepared], known: _Tenant) -> None:
        for resource in resources.values():
            _match(request, known.current.get(resource.ref), resource.ref)
            if self._refuse_dangling:
                for target in resource.targets:
                    at = known.current.get(target)
                    if target not in resources and (at is None or at.deleted):
                        raise UnresolvedReference(
                            f"{resource.type} refers to a {target.split('/')[0]} that is neither stored nor in the "
                            "request",
                            hint="send it in the same request, or before",
                            address=request.key or resource.ref,
                        )

    def _delete(self, request: Request, named: tuple[str, str], known: _Tenant, plan: _Plan, updated: str) -> Done:
        type, id = named
        ref = f"{type}/{id}"
        before = known.current.get(ref)
        _match(request, before, ref)
        if before is None or before.deleted:
            return Done(StoreReply(0, [], duplicate=False))
        version = before.version + 1
        content = msgspec.json.encode(
            {
                "resourceType": type,
                "id": id,
                "meta": {
                    "versionId": str(version),
                    "lastUpdated": updated,
                    "tag": [{"system": "urn:rustcare:fhir", "code": "deleted"}],
                },
            }
        ).decode()
        known.current[ref] = Current(version, True, "")
        plan.versions.append(Version(request.tenant, ref, type, version, True, "", updated, request.source, content))
        change = Change("deleted", type, id, version)
        return Done(StoreReply(1, [f"{ref}/_history/{version}"], duplicate=False), (change,), content, version)


def _to_merge(requests: Iterable[Request], done: Mapping[str, str], current: Mapping[str, Current]) -> list[str]:
    """What is stored and would be changed by a request that merges."""
    found: dict[str, None] = {}
    for request in requests:
        if request.merge and request.key not in done:
            for resource in request.resources:
                if resource.type in MERGED:
                    at = current.get(resource.ref)
                    if at is not None and not at.deleted and at.digest != resource.digest:
                        found[resource.ref] = None
    return list(found)


def _match(request: Request, current: Current | None, ref: str) -> None:
    if request.if_match is None:
        return
    if current is None or current.deleted:
        raise ResourceNotFound(
            f"version {request.if_match} was expected, and there is no such {ref.split('/')[0]}", address=ref
        )
    if current.version != request.if_match:
        raise VersionConflict(
            f"version {request.if_match} was expected, the current one is {current.version}",
            hint="read it again, and repeat the change on what you find",
            address=ref,
        )
