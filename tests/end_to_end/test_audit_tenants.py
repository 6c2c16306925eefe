"""The audit log keeps tenants apart, and knows what a change was in each of them."""

from __future__ import annotations

from pathlib import Path

from rustcare_kernel import Kernel
from rustcare_sdk.contracts.audit import SEARCH, SearchReply, SearchRequest
from rustcare_sdk.contracts.fhir import UPDATE, UpdateRequest


async def test_changes_and_searches_stay_in_their_tenant(tmp_path: Path) -> None:
    """A change's old value is that of its own tenant; a person of one tenant finds nothing of another."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        for name in ("crypto", "audit", "fhir"):
            await kernel.install(f"installed:{name}", consent=True)
        for tenant, families in (("north", ("Aaa", "Bbb")), ("south", ("Yyy", "Zzz"))):
            for family in families:
                patient = {"resourceType": "Patient", "id": "p1", "name": [{"family": family}]}
                await kernel.request(UPDATE, UpdateRequest(patient), tenant=tenant, principal=f"dr.{tenant}")
        for tenant, (old, new) in (("north", ("Aaa", "Bbb")), ("south", ("Yyy", "Zzz"))):
            asked = SearchRequest(patient="Patient/p1", capability=f"bus:request@{UPDATE}")
            found: SearchReply = await kernel.request(
                SEARCH, asked, type=SearchReply, tenant=tenant, principal=f"auditor.{tenant}"
            )
            assert {row.entry["which"]["tenant"] for row in found.rows} == {tenant}
            assert len(found.rows) == 2
            newest = str(found.rows[0].opened)
            assert old in newest
            assert new in newest
            assert found.rows[0].entry["changes"][0]["field"] == "name"
            for other in {"Aaa", "Bbb", "Yyy", "Zzz"} - {old, new}:
                assert other not in str([row.opened for row in found.rows])
