"""The plugin: services that read, and services that write through the engine and tell about it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import msgspec
from rustcare_sdk import Health, Message, Plugin, serve
from rustcare_sdk.contracts import fhir
from rustcare_sdk.contracts.audit import EffectsReply, EffectsRequest

from .engine import Done, Engine, Request
from .errors import InvalidRequest, ResourceGone, ResourceNotFound
from .resource import check_identity, prepare
from .store import ResourceStore

__all__ = ["Fhir"]

#: Services whose effects are noted with the id under which they are on record.
WRITES = (fhir.STORE, fhir.CREATE, fhir.UPDATE, fhir.DELETE)
MAX_KEY = 1024
MAX_PAGE = 10_000
_NEWEST = 2**31 - 1


class Fhir(Plugin):
    """The FHIR R4 resource store."""

    state_version = 1
    engine: Engine | None = None

    async def start(self) -> None:
        """Open the store and start writing."""
        config: Mapping[str, Any] = self.ctx.config
        self.started = self.ctx.now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        self.store = ResourceStore(self.ctx.db)
        self.events = bool(config.get("events", True))
        self.engine = Engine(
            self.store,
            self.ctx.log,
            self.ctx.now,
            refuse_dangling=config.get("dangling_references", "refuse") == "refuse",
        )
        self.ctx.spawn(self.engine.run(), name="engine")

    async def stop(self) -> None:
        """Tell those who still wait; what was answered is on disk."""
        if self.engine is not None:
            self.engine.close()

    async def health(self) -> Health:
        """Whether the database answers."""
        await self.ctx.db.fetch_one("SELECT seq FROM versions WHERE seq = 0")
        return Health(details={"last_error": self.engine.last_error if self.engine is not None else ""})

    async def _write(self, request: Request) -> Done:
        """Carry a request out, then publish what changed, in the caller's own context."""
        assert self.engine is not None
        done = await self.engine.submit(request)
        if self.events:
            for change in done.changes:
                event = fhir.ResourceEvent(change.kind, change.type, change.id, str(change.version), request.source)
                await self.ctx.publish(fhir.subject_of(change.type, change.kind), event)
        return done

    # writing

    @serve(fhir.STORE)
    async def store_message(self, message: Message[fhir.StoreRequest]) -> fhir.StoreReply:
        """Store all resources of one message, in one transaction, once."""
        asked = message.data
        if not asked.key or len(asked.key) > MAX_KEY:
            raise InvalidRequest(
                f"expected a key of 1 to {MAX_KEY} characters, got {len(asked.key)}",
                hint="the key of the message that the resources come from",
                address="fhir.store:key",
            )
        prepared = tuple(
            prepare(one, f"resources[{index}]", merge=asked.merge) for index, one in enumerate(asked.resources)
        )
        return (
            await self._write(
                Request(message.tenant, prepared, asked.key, asked.source, merge=asked.merge, attempt=message.uid)
            )
        ).reply

    @serve(fhir.CREATE)
    async def create(self, message: Message[fhir.CreateRequest]) -> fhir.ResourceReply:
        """Store a new resource under a new id."""
        id = str(uuid.UUID(bytes=self.ctx.random(16), version=4))
        prepared = prepare({**message.data.resource, "id": id}, "resource")
        done = await self._write(Request(message.tenant, (prepared,), attempt=message.uid))
        return fhir.ResourceReply(msgspec.json.decode(done.content), str(done.version), created=True)

    @serve(fhir.UPDATE)
    async def update(self, message: Message[fhir.UpdateRequest]) -> fhir.ResourceReply:
        """Store a new version; the same content again makes none, and answers the current one."""
        asked = message.data
        prepared = prepare(asked.resource, "resource")
        wanted = _version(asked.if_match, "fhir.update:if_match")
        done = await self._write(Request(message.tenant, (prepared,), if_match=wanted, attempt=message.uid))
        content = done.content
        if not content:
            row = await self.store.read(message.tenant, prepared.ref, done.version)
            content = row["content"] if row is not None else "{}"
        created = any(change.kind == "created" for change in done.changes)
        return fhir.ResourceReply(msgspec.json.decode(content), str(done.version), created)

    @serve(fhir.DELETE)
    async def delete(self, message: Message[fhir.DeleteRequest]) -> fhir.DeleteReply:
        """Delete a resource: a version that says so. References to it are left as they are."""
        asked = message.data
        check_identity(asked.type, asked.id, "fhir.delete")
        wanted = _version(asked.if_match, "fhir.delete:if_match")
        done = await self._write(
            Request(message.tenant, delete=(asked.type, asked.id), if_match=wanted, attempt=message.uid)
        )
        return fhir.DeleteReply(str(done.version) if done.changes else "")

    @serve(fhir.EFFECTS)
    async def effects(self, message: Message[EffectsRequest]) -> EffectsReply:
        """Which recorded attempts to write took effect, for the kernel after a crash."""
        if message.data.forget:
            await self.store.forget_effects(self.started)
            return EffectsReply()
        return EffectsReply(list(WRITES), await self.store.effects(message.data.attempts))

    # reading

    @serve(fhir.READ)
    async def read(self, message: Message[fhir.ReadRequest]) -> fhir.ResourceReply:
        """The current or a named version of a resource."""
        asked = message.data
        ref = check_identity(asked.type, asked.id, "fhir.read")
        row = await self.store.read(message.tenant, ref, _version(asked.version, "fhir.read:version"))
        if row is None:
            raise ResourceNotFound(f"there is no such {asked.type}, or not in this version", address=ref)
        if row["deleted"]:
            raise ResourceGone(
                f"the {asked.type} was deleted with version {row['version']}",
                hint="older versions can be read by their number",
                address=ref,
            )
        return fhir.ResourceReply(msgspec.json.decode(row["content"]), str(row["version"]))

    @serve(fhir.HISTORY)
    async def history(self, message: Message[fhir.HistoryRequest]) -> fhir.HistoryReply:
        """The versions of a resource, newest first. A deletion is a version with the tag `deleted`."""
        asked = message.data
        ref = check_identity(asked.type, asked.id, "fhir.history")
        limit = _limit(asked.limit, "fhir.history:limit")
        named = _version(asked.before, "fhir.history:before")
        before = _NEWEST if named is None else named
        rows = await self.store.history(message.tenant, ref, before, limit + 1)
        if not rows and named is None:
            raise ResourceNotFound(f"there is no such {asked.type}", address=ref)
        versions = [msgspec.json.decode(row["content"]) for row in rows[:limit]]
        return fhir.HistoryReply(versions, len(rows) > limit)

    @serve(fhir.EXPORT)
    async def export(self, message: Message[fhir.ExportRequest]) -> fhir.ExportReply:
        """All current resources in the order they were written last, page by page."""
        asked = message.data
        limit = _limit(asked.limit, "fhir.export:limit")
        types = _types(asked.types, "fhir.export:types")
        if asked.after and not (asked.after.isascii() and asked.after.isdecimal() and len(asked.after) < 19):
            raise InvalidRequest("expected the `next` of a page before", address="fhir.export:after")
        rows = await self.store.export(message.tenant, types, int(asked.after or 0), limit + 1)
        page = rows[:limit]
        following = str(page[-1]["seq"]) if len(rows) > limit else ""
        return fhir.ExportReply([msgspec.json.decode(row["content"]) for row in page], following)

    @serve(fhir.COUNT)
    async def count(self, message: Message[fhir.CountRequest]) -> fhir.CountReply:
        """How many resources there are of each type."""
        types = _types(message.data.types, "fhir.count:types")
        return fhir.CountReply(await self.store.count(message.tenant, types))


def _types(types: list[str], address: str) -> list[str]:
    for type in types:
        check_identity(type, "x", address)
    return sorted(set(types))


def _limit(limit: int, address: str) -> int:
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"expected a limit from 1 to {MAX_PAGE}, got {limit}", address=address)
    return limit


def _version(text: str, address: str) -> int | None:
    """A version number; the form of an ETag (`W/"3"`) is understood as well."""
    text = text.removeprefix("W/").strip('"')
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidRequest("expected a version, a number such as 3", address=address)
    return int(text)
