"""The plugin in a real kernel with the real keyring: fail closed, replaced under load, restarted, all on record once."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from rustcare_kernel import Kernel
from rustcare_plugin_audit.entry import decode
from rustcare_sdk.contracts import audit, crypto, fhir
from rustcare_sdk.errors import AuditUnavailable

AUDIT = "rustcare.audit"
ROOT = Path(__file__).parents[1]


def version(folder: Path, number: str, broken: str = "", name: str = "audit") -> Path:
    """Another version of a plugin, as a folder to install. `broken`: code at the end of its module."""
    target = folder / f"{name}-{number}"
    shutil.copytree(ROOT.parent / name, target, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    package = target / "src" / f"rustcare_plugin_{name}"
    manifest = package / "plugin.toml"
    manifest.write_text(manifest.read_text().replace('version = "0.1.0"', f'version = "{number}"', 1))
    if broken:
        source = package / "plugin.py"
        source.write_text(source.read_text() + f"\n{broken}\n")
    return target


async def running(kernel: Kernel, *names: str) -> None:
    """Install plugins."""
    for name in names:
        await kernel.install(f"installed:{name}", consent=True)


async def entries(kernel: Kernel) -> list[Any]:
    """Every entry of the log, decoded, from its bundles."""
    size = (await status(kernel)).size
    found: list[Any] = []
    while len(found) < size:
        width = min(256, size - len(found))
        asked = audit.EntriesRequest(len(found) // 256, width)
        data = (await kernel.request(audit.ENTRIES, asked, type=audit.TileReply)).data
        while data:
            length = int.from_bytes(data[:2], "big")
            found.append(decode(data[2 : 2 + length]))
            data = data[2 + length :]
    return found


async def status(kernel: Kernel) -> audit.LogStatus:
    """What the log says of itself."""
    reply: audit.LogStatus = await kernel.request(audit.STATUS, audit.StatusRequest(), type=audit.LogStatus)
    return reply


async def sound(kernel: Kernel) -> audit.VerifyReply:
    """The log's own check."""
    reply: audit.VerifyReply = await kernel.request(audit.VERIFY, audit.VerifyRequest(), type=audit.VerifyReply)
    assert reply.ok, reply
    return reply


def store(name: str) -> fhir.StoreRequest:
    """One patient."""
    return fhir.StoreRequest(name, [{"resourceType": "Patient", "id": name}], "test")


class Load:
    """Stores patients in several tasks until it is told to stop; what was acknowledged is in `done`."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.done: list[str] = []
        self._going = True
        self._enough = asyncio.Event()
        self._wanted = 0
        self._tasks = [asyncio.create_task(self._work(number)) for number in range(8)]

    async def _work(self, number: int) -> None:
        count = 0
        while self._going:
            name = f"p{number}-{count}"
            count += 1
            await self.kernel.request(fhir.STORE, store(name))
            self.done.append(name)
            if len(self.done) >= self._wanted:
                self._enough.set()

    async def more(self, count: int) -> None:
        """Return when so many more were acknowledged."""
        self._wanted = len(self.done) + count
        self._enough.clear()
        await self._enough.wait()

    async def end(self, *, failing: bool = False) -> None:
        """Stop. Raises what a request raised, unless it may fail."""
        self._going = False
        await asyncio.gather(*self._tasks, return_exceptions=failing)


async def stores(kernel: Kernel) -> list[audit.EntryRow]:
    """The entries of all stores."""
    rows: list[audit.EntryRow] = []
    after = ""
    while True:
        asked = audit.SearchRequest(capability="bus:request@fhir.store", limit=1000, after=after, oldest_first=True)
        page: audit.SearchReply = await kernel.request(audit.SEARCH, asked, type=audit.SearchReply)
        rows += page.rows
        after = page.next
        if not after:
            return rows


async def check_stores(kernel: Kernel, done: list[str]) -> None:
    """Each acknowledged store is on record exactly once."""
    rows = await stores(kernel)
    assert sorted(row.opened[0]["patient"] for row in rows) == sorted(f"Patient/{name}" for name in done)
    assert len({row.entry["id"] for row in rows}) == len(rows)


async def test_replaced_under_load_it_loses_nothing(tmp_path: Path) -> None:
    """While patients are stored the plugin is replaced, twice; every store is on record once, and the log is sound."""
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        await running(kernel, "crypto", "audit", "fhir")
        load = Load(kernel)
        await load.more(30)
        for number in ("0.1.1", "0.1.2"):
            await kernel.upgrade(version(tmp_path, number), consent=True)
            assert kernel.plugin(AUDIT).version == number
            await load.more(30)
        await load.end()
        await check_stores(kernel, load.done)
        await sound(kernel)


async def test_its_keyring_is_replaced_under_load(tmp_path: Path) -> None:
    """While patients are stored the keyring is replaced: no store fails, every one is on record once."""
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        await running(kernel, "crypto", "audit", "fhir")
        load = Load(kernel)
        await load.more(20)
        await kernel.upgrade(version(tmp_path, "0.1.1", name="crypto"), consent=True)
        await load.more(20)
        await load.end()
        await check_stores(kernel, load.done)
        await sound(kernel)


async def test_the_kernel_stops_under_load(tmp_path: Path) -> None:
    """What was acknowledged before a kernel stopped in the middle is on record once after the restart, settled."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await running(kernel, "crypto", "audit", "fhir")
        load = Load(kernel)
        await load.more(40)
    await load.end(failing=True)
    async with Kernel(tmp_path, log_level="silent") as kernel:
        rows = await stores(kernel)
        names = [row.opened[0]["patient"].removeprefix("Patient/") for row in rows]
        assert len(set(names)) == len(names)
        assert set(load.done) <= set(names)
        assert {row.outcome for row in rows if row.opened[0]["patient"][8:] in load.done} == {"success"}
        assert all(row.outcome for row in rows)
        await sound(kernel)


async def test_an_upgrade_that_fails_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    """A new version that does not take over is refused under load; the old one goes on, nothing is lost or written twice."""
    broken = """
async def _refuse(self, state):
    await self.trust.wake()
    raise RuntimeError("no")

Audit.import_state = _refuse
"""
    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        await running(kernel, "crypto", "audit", "fhir")
        load = Load(kernel)
        await load.more(20)
        with pytest.raises(Exception, match="stays at"):
            await kernel.upgrade(version(tmp_path, "0.1.1", broken), consent=True)
        await load.more(20)
        await load.end()
        assert kernel.plugin(AUDIT).version == "0.1.0"
        await check_stores(kernel, load.done)
        await sound(kernel)


async def test_a_restart_of_the_kernel_goes_on_with_the_same_log(tmp_path: Path) -> None:
    """After a restart the log goes on where it was: same origin and key, every entry still there, what was open is settled."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await running(kernel, "crypto", "audit", "fhir")
        await kernel.request(fhir.STORE, store("a"))
        before = await status(kernel)
        first = await entries(kernel)
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await kernel.request(fhir.STORE, store("b"))
        after = await status(kernel)
        assert (after.origin, after.key) == (before.origin, before.key)
        assert after.size > before.size
        assert (await entries(kernel))[: len(first)] == first
        proof = audit.ProveRequest(old=before.size)
        reply = await kernel.request(audit.PROVE, proof, type=audit.ProveReply)
        assert reply.size >= after.size
        await sound(kernel)
        left = await kernel.request(audit.UNSETTLED, audit.UnsettledRequest(), type=audit.UnsettledReply)
        assert [one for one in left.attempts if one.index < before.size] == []


async def test_without_the_log_nothing_happens(tmp_path: Path) -> None:
    """While the plugin is disabled a store is refused and has no effect; reading the log is on record itself."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await running(kernel, "crypto", "audit", "fhir")
        await kernel.disable(AUDIT)
        with pytest.raises(AuditUnavailable):
            await kernel.request(fhir.STORE, store("a"))
        await kernel.enable(AUDIT)
        asked = audit.SearchRequest(capability="bus:request@fhir.store")
        assert (await kernel.request(audit.SEARCH, asked, type=audit.SearchReply)).rows == []
        searches = audit.SearchRequest(capability="bus:request@audit.search")
        assert len((await kernel.request(audit.SEARCH, searches, type=audit.SearchReply)).rows) == 2


async def test_the_accounting_of_a_patient(tmp_path: Path) -> None:
    """Disclosures stated by hand are counted for their patient, proved, and unreadable once the patient is shredded."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await running(kernel, "crypto", "audit")
        for what in ("lab results", "discharge letter"):
            asked = audit.DisclosureRequest("Patient/1", "Health Department", what, "PUBHLTH", "2026-01-31")
            await kernel.request(audit.DISCLOSE, asked)
        found = await kernel.request(
            audit.DISCLOSURES, audit.DisclosuresRequest("Patient/1"), type=audit.DisclosuresReply
        )
        assert found.count == 2
        assert [row.opened[0]["what"] for row in found.rows] == ["lab results", "discharge letter"]
        assert [one["n"] for one in found.evidence["entries"]] == [1, 2]
        await kernel.request(crypto.SUBJECT_SHRED, crypto.ShredRequest("patient/1", "asked for"))
        gone = await kernel.request(
            audit.DISCLOSURES, audit.DisclosuresRequest("Patient/1"), type=audit.DisclosuresReply
        )
        assert gone.count == 0
        row = (await kernel.request(audit.SHOW, audit.ShowRequest(found.rows[0].index), type=audit.ShowReply)).row
        assert row.shredded
        assert row.opened == [{}]
        await sound(kernel)


async def test_what_the_store_knows_is_in_the_entries(tmp_path: Path) -> None:
    """An update's entry has the values before and after; a disclosure of an Observation counts for its patient. What the
    plugin asks the store for that is not on record itself."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        await running(kernel, "crypto", "audit", "fhir")
        patient = {"resourceType": "Patient", "id": "p", "gender": "male"}
        observation = {
            "resourceType": "Observation",
            "id": "o",
            "status": "final",
            "code": {"text": "x"},
            "subject": {"reference": "Patient/p"},
        }
        await kernel.request(fhir.STORE, fhir.StoreRequest("k", [patient, observation], "test"))
        await kernel.request(fhir.UPDATE, fhir.UpdateRequest({**patient, "gender": "female"}))
        await kernel.request(fhir.READ, fhir.ReadRequest("Observation", "o"), principal="dr", purpose="PUBHLTH")
        asked = audit.SearchRequest(patient="Patient/p", tenant="default")
        found: audit.SearchReply = await kernel.request(audit.SEARCH, asked, type=audit.SearchReply)
        search, read, update, _ = found.rows
        assert search.entry["what"]["subject"] == audit.SEARCH
        (change,) = update.opened[0]["changes"]
        assert (change["field"], change["old"], change["new"]) == ("gender", "male", "female")
        assert read.entry["disclosure"]["n"] == 1
        assert read.opened[0]["recipient"] == "dr"
        reads = audit.SearchRequest(capability="bus:request@fhir.read")
        assert len((await kernel.request(audit.SEARCH, reads, type=audit.SearchReply)).rows) == 1


async def test_on_postgresql(tmp_path: Path, postgres_dsn: str) -> None:
    """On PostgreSQL the plugin does the same: on record, found, counted, made again, sound after a restart."""
    connection = await asyncpg.connect(postgres_dsn)
    name = f"audit_{uuid.uuid4().hex[:12]}"
    await connection.execute(f'CREATE DATABASE "{name}"')
    server = urlsplit(postgres_dsn)
    address = server._replace(path=f"/{name}").geturl()
    try:
        async with Kernel(tmp_path, store=address, log_level="silent") as kernel:
            await running(kernel, "crypto", "audit", "fhir")
            await asyncio.gather(*(kernel.request(fhir.STORE, store(f"p{number}")) for number in range(20)))
            disclosed = audit.DisclosureRequest("Patient/p1", "Health Department", "lab results", "PUBHLTH")
            await kernel.request(audit.DISCLOSE, disclosed)
            await check_stores(kernel, [f"p{number}" for number in range(20)])
            await kernel.request(audit.REINDEX, audit.ReindexRequest())
        async with Kernel(tmp_path, store=address, log_level="silent") as kernel:
            await check_stores(kernel, [f"p{number}" for number in range(20)])
            asked = audit.SearchRequest(patient="Patient/p1", resource="Patient/p1", type="Patient", tenant="default")
            found = await kernel.request(audit.SEARCH, asked, type=audit.SearchReply)
            assert [row.entry["kind"] for row in found.rows] == ["disclosure", "use"]
            accounting = audit.DisclosuresRequest("Patient/p1")
            assert (await kernel.request(audit.DISCLOSURES, accounting, type=audit.DisclosuresReply)).count == 1
            await sound(kernel)
    finally:
        await connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        await connection.close()
