"""Finding and reading entries: the index says where they are, the log has them, the keyring opens what is sealed.

A search reads its own writes: the index is brought up to the log's end first. Pages go by the places of entries, so that a
page is not disturbed by what is appended meanwhile. Where a subject's key is destroyed the row says `shredded`, and what
the subject's key sealed stays closed for good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rustcare_sdk.context import Row
from rustcare_sdk.contracts import crypto
from rustcare_sdk.contracts.audit import TAIL, EntryRow, SearchReply, SearchRequest
from rustcare_sdk.contracts.http import ACCESS

from .bundle import Trust
from .entry import Entry, decode
from .errors import InvalidRequest
from .index import token_value
from .sealing import context_of, resource_subject

__all__ = ["MAX_PAGE", "Reader", "check_limit", "moment", "only_asking"]

MAX_PAGE = 1_000
NEAR, WIDE = 16, 1_000  # entries that are so near each other are read in one go, so many at most
ABREAST = 32  # reads at once

_COLUMNS = "e.idx, e.kind, e.tenant, e.outcome, e.code, e.effect, e.outcome_idx, e.head"
_HEAD = "h.outcome AS h_outcome, h.code AS h_code, h.effect AS h_effect, h.outcome_idx AS h_outcome_idx"
_FROM = "FROM audit_index e LEFT JOIN audit_index h ON h.idx = e.head"


def moment(text: str, address: str) -> int:
    """Microseconds since 1970 of an RFC 3339 date or time (without an offset: UTC). Raises InvalidRequest."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(
            "expected a date or time as in RFC 3339", hint="such as 2026-01-31T12:00:00Z", address=address
        ) from None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
    return round((found - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def check_limit(limit: int, address: str) -> int:
    """A page's limit. Raises InvalidRequest."""
    if not 1 <= limit <= MAX_PAGE:
        raise InvalidRequest(f"expected a limit from 1 to {MAX_PAGE}, got {limit}", address=address)
    return limit


def only_asking(row: EntryRow) -> bool:
    """Whether an entry may be there only because somebody asked for entries: the operator's command that did, over HTTP the
    line of the request, and the count of what the asking used."""
    what = row.entry.get("what") or {}
    if what.get("action") == "control.bus.request":
        return (row.entry.get("details") or {}).get("service") == TAIL
    return what.get("action") == "capability.used" or what.get("capability") == f"bus:publish@{ACCESS}"


class Reader:
    """Reads entries for those who may see them."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    async def search(self, asked: SearchRequest, tenant: str) -> SearchReply:
        """One page of what fits. `tenant`: whose entries, empty for everybody's."""
        limit = check_limit(asked.limit, "audit.search:limit")
        size = await self._trust.index.catch_up()
        if not 0 <= asked.size <= size:
            raise InvalidRequest(f"expected a size up to {size}, got {asked.size}", address="audit.search:size")
        found = await self._where(asked, tenant)
        if found is None:
            return SearchReply(size=size)
        where, params = found
        order = "ASC" if asked.oldest_first else "DESC"
        if asked.after:
            where.append(f"e.idx {'>' if asked.oldest_first else '<'} ?")
            params.append(_cursor(asked.after))
        where.append("e.idx < ?")
        params.append(asked.size or size)
        sql = f"SELECT {_COLUMNS}, {_HEAD} {_FROM} WHERE {' AND '.join(where)} ORDER BY e.idx {order} LIMIT ?"
        rows = await self._trust.ctx.db.fetch(sql, [*params, limit + 1])
        page = rows[:limit]
        return SearchReply(await self.read(page), str(page[-1]["idx"]) if len(rows) > limit else "", size)

    async def rows(self, places: Sequence[int], tenant: str = "") -> list[EntryRow]:
        """The entries at these places, in order; those of another tenant and those that do not exist are left out."""
        await self._trust.index.catch_up()
        found: dict[int, Row] = {}
        for start in range(0, len(places), 200):
            some = list(places[start : start + 200])
            marks = ", ".join("?" * len(some))
            sql = f"SELECT {_COLUMNS}, {_HEAD} {_FROM} WHERE e.idx IN ({marks})"
            found.update({int(row["idx"]): row for row in await self._trust.ctx.db.fetch(sql, some)})
        seen = [found[place] for place in places if place in found and tenant in ("", found[place]["tenant"])]
        return await self.read(seen)

    async def after(self, place: int, limit: int, tenant: str, size: int) -> list[EntryRow]:
        """The first entries after a place, below `size`, without those that only say that somebody waits for entries."""
        mine = " AND e.tenant = ?" if tenant else ""
        sql = (
            f"SELECT {_COLUMNS}, {_HEAD} {_FROM} WHERE e.idx > ? AND e.idx < ? AND e.kind NOT IN ('outcome', 'continuation') "
            f"AND e.capability <> 'bus:request@{TAIL}'{mine} ORDER BY e.idx LIMIT ?"
        )
        params = [place, size, *([tenant] if tenant else []), limit]
        return await self.read(await self._trust.ctx.db.fetch(sql, params))

    async def _where(self, asked: SearchRequest, tenant: str) -> tuple[list[str], list[Any]] | None:
        """The conditions; None when nothing can fit."""
        where: list[str] = []
        params: list[Any] = []

        def add(condition: str, *values: Any) -> None:
            where.append(condition)
            params.extend(values)

        if asked.kind:
            add("e.kind = ?" if asked.kind == "use" else "e.kind = ? AND e.kind <> 'use'", asked.kind)
        else:
            add("e.kind NOT IN ('outcome', 'continuation')")
        if tenant:
            add("e.tenant = ?", tenant)
        if asked.since:
            add("e.time >= ?", moment(asked.since, "audit.search:since"))
        if asked.until:
            add("e.time < ?", moment(asked.until, "audit.search:until"))
        if asked.principal:
            add("e.principal = ? AND e.principal <> ''", asked.principal)
        if asked.trace:
            add("e.trace = ? AND e.trace <> ''", asked.trace)
        for column in ("action", "plugin", "capability"):
            if value := getattr(asked, column):
                add(f"e.{column} = ?", value)
        if asked.disclosures:
            add("e.disclosure = 1")
        if asked.type:
            add("(e.type = ? OR e.idx IN (SELECT idx FROM audit_types WHERE type = ?))", asked.type, asked.type)
        if asked.outcome:
            outcome = "" if asked.outcome == "open" else asked.outcome
            if outcome not in ("", "success", "failure", "interrupted"):
                raise InvalidRequest(
                    "expected success, failure, interrupted or open, got another outcome",
                    address="audit.search:outcome",
                )
            add("COALESCE(h.outcome, e.outcome) = ?", outcome)
        owner = tenant or "default"
        if asked.patient:
            pseudonym = await self._trust.crypto.pseudonym(resource_subject(asked.patient), owner)
            if not pseudonym:
                return None  # nobody has a key of this name, or it is destroyed
            add("e.idx IN (SELECT idx FROM audit_subjects WHERE pseudonym = ?)", pseudonym)
        if asked.resource:
            values = [token_value(owner, asked.resource)]
            tokens = (await self._trust.crypto.tokens(values, all_versions=True))[0]
            if not tokens:
                return None
            marks = ", ".join("?" * len(tokens))
            add(f"e.idx IN (SELECT idx FROM audit_resources WHERE token IN ({marks}))", *tokens)
        return where, params

    async def read(self, rows: Sequence[Row]) -> list[EntryRow]:
        """Rows of the index with their entries, opened."""
        found_at = await self._entries([int(row["idx"]) for row in rows])
        entries = [found_at.get(int(row["idx"])) for row in rows]
        decoded: list[Entry | None] = [None if data is None else decode(data) for data in entries]
        items = [
            crypto.OpenItem(sealed, context_of(entry.continues or entry.id))
            for entry in decoded
            if entry is not None
            for sealed in entry.sealed
        ]
        opened = await self._trust.crypto.open(items)
        position = 0
        found = []
        for row, data, entry in zip(rows, entries, decoded, strict=True):
            place = int(row["idx"])
            if data is None or entry is None:
                found.append(EntryRow(place, pruned=True))
                continue
            mine = opened[position : position + len(entry.sealed)]
            position += len(entry.sealed)
            prefix = "h_" if int(row["head"]) >= 0 and row["h_outcome"] is not None else ""
            outcome = row[f"{prefix}outcome"]
            found.append(
                EntryRow(
                    place,
                    msgspec.json.decode(data),
                    "" if outcome == "-" else outcome,
                    row[f"{prefix}code"],
                    row[f"{prefix}effect"],
                    int(row[f"{prefix}outcome_idx"]),
                    [msgspec.json.decode(one.data) if one.state == "open" else {} for one in mine],
                    any(one.state == "shredded" for one in mine) or entry.erased > 0,
                )
            )
        return found

    async def _entries(self, places: Sequence[int]) -> dict[int, bytes | None]:
        """The bytes of entries; those that are near each other are read together."""
        runs: list[list[int]] = []
        for place in sorted(set(places)):
            if runs and place - runs[-1][1] <= NEAR and place - runs[-1][0] < WIDE:
                runs[-1][1] = place
            else:
                runs.append([place, place])
        found: dict[int, bytes | None] = {}
        for start in range(0, len(runs), ABREAST):
            some = runs[start : start + ABREAST]
            read = await asyncio.gather(*(self._trust.log.entries(low, high - low + 1) for low, high in some))
            for (low, _), data in zip(some, read, strict=True):
                found.update(enumerate(data, low))
        return found


def _cursor(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise InvalidRequest("expected the `next` of a page before", address="audit.search:after")
    return int(text)
