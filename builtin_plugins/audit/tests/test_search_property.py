"""Search against a model: what is found is what a reading of the whole log would find, however the entries came about."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rustcare_plugin_audit.plugin import Audit
from rustcare_sdk.contracts import audit, fhir
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.keyring import MemoryKeyring

PRINCIPALS, PATIENTS, TENANTS = ("", "dr", "nurse"), ("a", "b", "c"), ("default", "ward")
PURPOSES, OUTCOMES = ("", "TREAT", "PUBHLTH"), ("", "success", "failure")


@dataclass(frozen=True)
class Case:
    """One attempt, and what becomes of it."""

    kind: str
    principal: str
    patient: str
    tenant: str
    purpose: str
    outcome: str
    time: int

    def fits(self, asked: audit.SearchRequest) -> bool:
        """Whether a reader of the log would say that the entry fits."""
        disclosure = self.kind == "use" and bool(self.principal) and self.purpose == "PUBHLTH"
        outcome = self.outcome if self.kind == "use" else "-"
        return all(
            (
                not asked.kind or asked.kind == self.kind,
                not asked.principal or asked.principal == self.principal,
                not asked.tenant or asked.tenant == self.tenant,
                not asked.patient or (self.kind == "use" and asked.patient == f"Patient/{self.patient}"),
                not asked.resource or (self.kind == "use" and asked.resource == f"Patient/{self.patient}"),
                not asked.disclosures or disclosure,
                not asked.outcome or (asked.outcome == (outcome or "open")),
                not asked.since or self.time >= 30,
                not asked.until or self.time < 60,
            )
        )


cases = st.builds(
    Case,
    st.sampled_from(["use", "use", "fact"]),
    st.sampled_from(PRINCIPALS),
    st.sampled_from(PATIENTS),
    st.sampled_from(TENANTS),
    st.sampled_from(PURPOSES),
    st.sampled_from(OUTCOMES),
    st.integers(0, 99),
)


@st.composite
def searches(draw: st.DrawFn) -> audit.SearchRequest:
    """Any conditions together. Who asks for a patient or a resource names the tenant."""
    patient = draw(st.sampled_from(["", "", "Patient/a", "Patient/z"]))
    resource = draw(st.sampled_from(["", "", "Patient/b"]))
    tenant = draw(st.sampled_from(TENANTS if patient or resource else ("", *TENANTS)))
    return audit.SearchRequest(
        since=draw(st.sampled_from(["", "1970-01-01T00:00:00.000030Z"])),
        until=draw(st.sampled_from(["", "1970-01-01T00:00:00.000060Z"])),
        principal=draw(st.sampled_from(PRINCIPALS)),
        patient=patient,
        resource=resource,
        tenant=tenant,
        outcome=draw(st.sampled_from(["", "", "open", "success", "failure"])),
        kind=draw(st.sampled_from(["", "use", "fact"])),
        disclosures=draw(st.booleans()),
        oldest_first=draw(st.booleans()),
        limit=draw(st.integers(1, 7)),
    )


async def _places(h: PluginHarness, asked: audit.SearchRequest) -> list[int]:
    """All pages of a search."""
    found: list[int] = []
    while True:
        page: audit.SearchReply = await h.request(audit.SEARCH, asked)
        found += [row.index for row in page.rows]
        if not page.next:
            return found
        asked = audit.SearchRequest(**{**vars(asked), "after": page.next})


async def _write(h: PluginHarness, batches: list[list[Case]]) -> dict[int, Case]:
    """Record batches one after the other, settle each; where each case is."""
    known: dict[int, Case] = {}
    for number, batch in enumerate(batches):
        attempts = []
        for each, case in enumerate(batch):
            more: dict[str, Any] = {"action": "acme.fact"}
            if case.kind == "use":
                read = fhir.ReadRequest("Patient", case.patient)
                more = {"capability": "bus:request@fhir.read", "purpose": case.purpose, "data": read}
            attempts.append(
                audit.Attempt(
                    f"{number}-{each}", case.time, case.kind, principal=case.principal, tenant=case.tenant, **more
                )
            )
        places = (await h.request(audit.RECORD, audit.RecordRequest(attempts))).indices
        known.update(zip(places, batch, strict=True))
        outcomes = [
            audit.Outcome("", place, case.outcome, "x" if case.outcome == "failure" else "")
            for place, case in zip(places, batch, strict=True)
            if case.kind == "use" and case.outcome
        ]
        await h.request(audit.SETTLE, audit.SettleRequest(outcomes))
    return known


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(cases, min_size=1, max_size=12), max_size=4),
    st.lists(searches(), min_size=1, max_size=6),
    st.booleans(),
)
def test_a_search_finds_what_a_reader_would(
    batches: list[list[Case]], asked: list[audit.SearchRequest], again: bool
) -> None:
    """Every search, page by page and in either order, gives exactly the entries that fit; also after the index was made
    again, and after a restart."""

    async def run() -> None:
        double = harness(Audit)
        MemoryKeyring().attach(double)
        async with double as h:
            known = await _write(h, batches)
            if again:
                await h.request(audit.REINDEX, audit.ReindexRequest())
                await h.restart()
            for search in asked:
                expected = sorted(
                    (place for place, case in known.items() if case.fits(search)), reverse=not search.oldest_first
                )
                assert await _places(h, search) == expected

    asyncio.run(run())
