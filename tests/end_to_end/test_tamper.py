"""The tamper campaign: a real log, written by the real plugins; then its evidence and its database, changed in every way.

Whatever is changed must be found and named, by somebody who has the log's public key and nothing else of ours: the
stand-alone verifier for the evidence folder; the log's own check for its database (a database file that SQLite itself
cannot read names nothing). Nothing honest may raise an alarm.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rustcare_cli._errors import EvidenceContradicted
from rustcare_cli.trust.export import export_evidence
from rustcare_kernel import Kernel
from rustcare_kernel.control import ControlClient, ControlServer
from rustcare_kernel.stores import open_driver
from rustcare_plugin_audit.errors import LogCorrupt
from rustcare_plugin_audit.log import AuditLog
from rustcare_plugin_audit.notes import VerifierKey
from rustcare_sdk.contracts import audit

from examples.verify_audit import verify_audit
from examples.verify_audit.tests.folder import COSIGNATURE, Signer, bundle

PATIENTS = {"ada": "Patient/ada", "bob": "Patient/bob"}
ENTRIES = 300  # more than one tile
AUDIT = "rustcare.audit"
FILE_FLIPS = 60
PLACED = ("leaf", "tile", "checkpoint", "file")


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[Kernel]:
    """A kernel with keyring and audit log, and its control socket."""
    async with Kernel(data, log_level="silent") as kernel:
        if not kernel.plugins():
            for name in ("crypto", "audit"):
                status = await kernel.install(f"installed:{name}", consent=True)
                assert status.state == "active", status.reason
        async with ControlServer(kernel):
            yield kernel


async def disclose(kernel: Kernel, patient: str) -> None:
    """One disclosure of a patient, on record."""
    asked = audit.DisclosureRequest(patient, "Dr. Grey, 1 Elm Street", "laboratory results", "TREAT")
    await kernel.request(audit.DISCLOSE, asked)


async def export(kernel: Kernel, folder: Path, **options: Any) -> dict[str, Any]:
    """What `rustcare audit export` does."""

    def work() -> dict[str, Any]:
        with ControlClient(kernel.data_dir, timeout=60) as control:
            return export_evidence(control, folder, **options)

    return await asyncio.to_thread(work)


@dataclass
class Campaign:
    """The folder of the log's kernel, its evidence, an earlier state of both, and what an auditor holds."""

    data: Path
    evidence: Path
    earlier_data: Path
    earlier: Path
    key: Path
    witness: Path
    cosigned: Path
    size: int = 0
    figures: dict[str, int] = field(default_factory=dict)

    @property
    def vkey(self) -> VerifierKey:
        """The log's public key."""
        return VerifierKey.parse(self.key.read_text().strip())

    def count(self, what: str) -> None:
        """One more change was found."""
        kind = what.partition(":")[0]
        self.figures[kind] = self.figures.get(kind, 0) + 1

    def verify(self, folder: Path, **options: Any) -> verify_audit.Verifier:
        """As an outsider does."""
        return verify_audit.verify(folder, self.key, **options)

    def found(self, folder: Path, what: str, **options: Any) -> list[verify_audit.Check]:
        """What is wrong with a folder: something must be, and all of it with its place."""
        wrong = [check for check in self.verify(folder, **options).checks if check.ok is False]
        assert wrong, f"{what}: not found"
        assert all(any(name in check.place for name in PLACED) for check in wrong), f"{what}: {wrong}"
        self.count(what)
        return wrong


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """A log of some hundred entries, exported twice; a witness has cosigned the latest checkpoint."""
    top = tmp_path_factory.mktemp("tamper")
    names = ("data", "evidence", "earlier-data", "earlier", "log.vkey", "witness.vkey", "cosigned")
    made = Campaign(*(top / name for name in names))
    asyncio.run(_build(made))
    witness = Signer("witness.example/w1", COSIGNATURE)
    note = made.evidence / "checkpoint"
    body = note.read_text().rpartition("\n\n")[0] + "\n"
    note.write_text(note.read_text() + witness.line(body))
    for path in (made.witness, made.evidence / "witnesses.vkey"):
        path.write_text(witness.vkey + "\n")
    shutil.copy(note, made.cosigned)
    began = time.monotonic()
    yield made
    total = sum(made.figures.values())
    print(f"\n{total} changes in {time.monotonic() - began:.0f} s, all found: {json.dumps(made.figures)}")


async def _build(made: Campaign) -> None:
    async with running(made.data) as kernel:
        for number in range(20):
            await disclose(kernel, list(PATIENTS.values())[number % 2])
        done = await export(kernel, made.earlier, patients=PATIENTS, checkpoints=4)
        made.key.write_text(done["key"] + "\n")
    shutil.copytree(made.data, made.earlier_data, ignore=shutil.ignore_patterns("*.sock", "*.lock"))
    async with running(made.data) as kernel:
        while (await kernel.request(audit.STATUS, audit.StatusRequest(), type=audit.LogStatus)).size < ENTRIES:
            await asyncio.gather(*(disclose(kernel, patient) for patient in PATIENTS.values()))
        made.size = (await export(kernel, made.evidence, patients=PATIENTS, checkpoints=4))["size"]
        shown = await kernel.request(audit.SHOW, audit.ShowRequest(7, made.size), type=audit.ShowReply)
        (made.evidence / "proofs").mkdir()
        (made.evidence / "proofs" / "seventh.tlog-proof").write_text(shown.proof)


@pytest.fixture
def copy(campaign: Campaign, tmp_path: Path) -> Path:
    """A copy of the evidence, to be changed."""
    return shutil.copytree(campaign.evidence, tmp_path / "copy")


def test_the_honest_log_verifies(campaign: Campaign) -> None:
    """Before anything is changed, nothing is wrong: with the witness, and with the earlier export's checkpoint."""
    found = campaign.verify(campaign.evidence, witness=campaign.witness, since=[campaign.earlier / "checkpoint"])
    assert [check for check in found.checks if check.ok is False] == []
    assert found.latest is not None
    assert found.latest.size == campaign.size > 256


def test_every_bit_of_the_evidence_counts(campaign: Campaign, copy: Path) -> None:
    """Each bit of sampled bytes of every file, changed alone; a changed entry is named by its leaf."""
    pick = random.Random(1)
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        name, data = str(path.relative_to(copy)), path.read_bytes()
        for at in pick.sample(range(len(data)), min(len(data), 6)):
            for bit in range(8):
                changed = bytearray(data)
                changed[at] ^= 1 << bit
                path.write_bytes(changed)
                wrong = campaign.found(
                    copy, f"bit flips of files: {name} byte {at} bit {bit}", witness=campaign.witness
                )
                if name.startswith("tile/entries/"):
                    assert any("leaf" in check.place for check in wrong)
        path.write_bytes(data)


def test_a_changed_entry_is_named_by_its_leaf(campaign: Campaign, copy: Path) -> None:
    """A bit in each of many entries, and the leaf that is named is the one that was changed."""
    for number, path in enumerate(_bundles(copy)):
        entries = verify_audit.split_bundle(path.read_bytes())
        for at in random.Random(2).sample(range(len(entries)), 12):
            changed = bytearray(entries[at])
            changed[len(changed) // 2] ^= 1
            path.write_bytes(bundle([*entries[:at], bytes(changed), *entries[at + 1 :]]))
            wrong = campaign.found(copy, "changed entries")
            assert number * 256 + at in [check.place.get("leaf") for check in wrong]
        path.write_bytes(bundle(entries))


def test_truncated_and_missing_files(campaign: Campaign, copy: Path) -> None:
    """Every file that the checkpoint needs, cut at its begin, in the middle, before its end, and missing."""
    for path in sorted(path for path in copy.rglob("*") if path.is_file()):
        data, name = path.read_bytes(), str(path.relative_to(copy))
        for cut in {0, 1, len(data) // 2, len(data) - 1}:
            path.write_bytes(data[:cut])
            campaign.found(copy, f"truncated files: {name} at {cut}")
        path.unlink()
        if name.startswith("tile/") or name in ("checkpoint", "key.vkey", "witnesses.vkey"):
            campaign.found(copy, f"missing files: {name}")
        path.write_bytes(data)


def test_reordered_dropped_and_doubled_entries(campaign: Campaign, copy: Path) -> None:
    """Neighbours exchanged, one entry taken out, one twice: the first leaf that is wrong is named."""
    path = _bundles(copy)[0]
    entries = verify_audit.split_bundle(path.read_bytes())
    for at in (0, 17, 200):
        after = entries[at + 1 :]
        for changed in ([after[0], entries[at], *after[1:]], after, [entries[at], entries[at], *after]):
            path.write_bytes(bundle([*entries[:at], *changed]))
            wrong = campaign.found(copy, "reordered, dropped, doubled entries")
            assert min(check.place["leaf"] for check in wrong) in (at, 0), "the bundle has another number of entries"


def test_entries_and_tiles_changed_together(campaign: Campaign, copy: Path) -> None:
    """Someone who rewrites an entry and every tile above it is stopped by the signed root, between two checkpoints."""
    path = _bundles(copy)[0]
    entries = verify_audit.split_bundle(path.read_bytes())
    for at in (0, 100, 255):
        forged = [*entries[:at], entries[at].replace(b'"v":1', b'"v":2'), *entries[at + 1 :]]
        assert forged != entries
        hashes = [verify_audit.leaf_hash(entry) for entry in forged]
        path.write_bytes(bundle(forged))
        (copy / "tile/0/000").write_bytes(b"".join(hashes))
        tree = verify_audit.Frontier()
        for item in hashes:
            tree.append(item)
        (copy / "tile/1/000.p/1").write_bytes(tree.root())
        wrong = campaign.found(copy, "rewritten trees")
        low, high = (int(part) for part in wrong[0].detail.rpartition("among leaves ")[2].split(" to "))
        assert low <= at <= high


def test_a_splice_of_two_logs(campaign: Campaign, copy: Path, tmp_path: Path) -> None:
    """Files of another log, one kind after the other and all together, signed by that log's own key."""
    other = tmp_path / "other"

    async def build() -> None:
        async with running(tmp_path / "other-data") as kernel:
            for _ in range(150):
                await disclose(kernel, "Patient/ada")
            await export(kernel, other, patients={"ada": "Patient/ada"}, checkpoints=4)

    asyncio.run(build())
    number = verify_audit.Checkpoint.parse((other / "checkpoint").read_bytes()).size // 256
    assert number >= 1
    for names in (["tile/entries/000"], ["tile/0/000"], ["tile/entries/000", "tile/0/000"], ["disclosures/ada.json"]):
        for name in names:
            shutil.copy(other / name, copy / name)
        campaign.found(copy, f"splices: {names}")
        for name in names:
            shutil.copy(campaign.evidence / name, copy / name)
    shutil.copy(other / "checkpoint", copy / "checkpoint")
    campaign.found(copy, "splices: checkpoint")
    campaign.found(other, "splices: the whole folder")


def test_forged_checkpoints(campaign: Campaign, copy: Path) -> None:
    """Another root, size, origin or map; signatures taken from another checkpoint, by another key of the same name."""
    text = (copy / "checkpoint").read_text()
    body, _, lines = text.rpartition("\n\n")
    origin, size, root, subjects = body.split("\n")
    key = Signer(origin)
    other = base64.b64encode(bytes(32)).decode()
    for changed in (
        [origin, size, other, subjects],
        [origin, str(int(size) - 1), root, subjects],
        [origin + "x", size, root, subjects],
        [origin, size, root],
        [origin, size, root, subjects.replace(" 2 ", " 1 ")],
        [origin, size, root, subjects.rpartition(" ")[0] + " " + other],
    ):
        forged = "\n".join(changed) + "\n"
        for signed in (lines, key.line(forged), lines + key.line(forged)):
            (copy / "checkpoint").write_text(f"{forged}\n{signed}")
            campaign.found(copy, "forged checkpoints")
            (copy / "key.vkey").write_text(key.vkey + "\n")
            campaign.found(copy, "forged checkpoints")
            shutil.copy(campaign.evidence / "key.vkey", copy / "key.vkey")


def test_an_omitted_disclosure(campaign: Campaign, copy: Path) -> None:
    """Any one of a patient's disclosures left out, in every way that the file's form allows; no folder is needed to see it."""
    path = copy / "disclosures" / "ada.json"
    data = json.loads(path.read_text())
    pick = random.Random(3)
    for at in (0, len(data["entries"]) - 1, *pick.sample(range(len(data["entries"])), 6)):
        rest = [row for number, row in enumerate(data["entries"]) if number != at]
        renumbered = [{**row, "n": n} for n, row in enumerate(rest, 1)]
        less = {"count": len(rest)}
        leaf = {"map_proof": {**data["map_proof"], "leaf": {"key": data["pseudonym"], "count": len(rest)}}}
        for change in (
            {"entries": rest},
            {"entries": rest, **less},
            {"entries": rest, **less, **leaf},
            {"entries": renumbered, **less, **leaf},
            {"entries": rest, "pruned": 1},
            {"entries": [*rest, rest[-1]]},
        ):
            path.write_text(json.dumps({**data, **change}))
            campaign.found(copy, "omitted disclosures")
            single = verify_audit.verify(None, campaign.key, patients=[path])
            assert not single.ok, f"disclosure {at + 1} without the folder: {change.keys()}"


def test_a_rolled_back_folder(campaign: Campaign, tmp_path: Path) -> None:
    """An older export is true in itself: a checkpoint kept from later shows it, or the witness that did not sign it."""
    assert campaign.verify(campaign.earlier).ok
    wrong = campaign.found(campaign.earlier, "roll-backs: since", since=[campaign.cosigned])
    assert "rolled back" in wrong[0].detail
    assert wrong[0].place["checkpoint"] == campaign.size
    campaign.found(campaign.earlier, "roll-backs: witness", witness=campaign.witness)
    mixed = shutil.copytree(campaign.evidence, tmp_path / "mixed")
    shutil.copy(campaign.earlier / "checkpoint", mixed / "checkpoint")
    campaign.found(mixed, "roll-backs: an old checkpoint in a new folder")


async def test_a_rolled_back_data_folder(campaign: Campaign, tmp_path: Path) -> None:
    """A log that was put back and written on, with the real keys: evidence from before contradicts it, at both sizes."""
    data = shutil.copytree(campaign.earlier_data, tmp_path / "data")
    kept = shutil.copytree(campaign.evidence, tmp_path / "kept")
    async with running(data) as kernel:
        with pytest.raises(EvidenceContradicted, match="rolled back"):
            await export(kernel, kept)
        while (
            await kernel.request(audit.STATUS, audit.StatusRequest(), type=audit.LogStatus)
        ).size < campaign.size + 5:
            await asyncio.gather(*(disclose(kernel, "Patient/bob") for _ in range(10)))
        with pytest.raises(EvidenceContradicted, match="another root"):
            await export(kernel, kept)
        fork = tmp_path / "fork"
        await export(kernel, fork, checkpoints=50)
    assert campaign.verify(fork).ok, "nothing in it shows that there was another history"
    wrong = campaign.found(fork, "roll-backs: a fork", since=[campaign.cosigned])
    assert wrong[0].place["checkpoint"] == campaign.size
    campaign.found(fork, "roll-backs: a fork without its witness", witness=campaign.witness)


# the database


def store(data: Path) -> Path:
    """The log's database file."""
    return data / "plugins" / AUDIT / "store.sqlite3"


async def check_database(data: Path, vkey: VerifierKey) -> None:
    """Open the log on its database and read all of it again. Raises LogCorrupt."""

    async def never(body: bytes) -> list[bytes]:
        raise AssertionError("an existing log is not signed anew")

    driver = open_driver("sqlite", data)
    try:
        opened = await driver.open(AUDIT)
        log = AuditLog(opened.db, never, vkey.name, [vkey])
        await log.open()
        await log.verify()
    finally:
        await driver.close()


@pytest.fixture
def database(campaign: Campaign, tmp_path: Path) -> Path:
    """A copy of the log's data folder, to be changed."""
    return shutil.copytree(campaign.data, tmp_path / "data", ignore=shutil.ignore_patterns("*.sock", "*.lock"))


async def test_every_bit_of_the_stored_log_counts(campaign: Campaign, database: Path) -> None:
    """One bit of one value of the log's tables: the check names the leaf or the checkpoint."""
    pick = random.Random(4)
    await check_database(database, campaign.vkey)
    with closing(sqlite3.connect(store(database), isolation_level=None)) as db:
        rows = db.execute("SELECT place, data FROM audit_log").fetchall()
        for place, data in pick.sample(rows, 120):
            at = pick.randrange(len(data) * 8)
            changed = bytearray(data)
            changed[at // 8] ^= 1 << at % 8
            db.execute("UPDATE audit_log SET data = ? WHERE place = ?", (bytes(changed), place))
            await _refused(campaign, database, f"bit flips of rows: {place:x} bit {at}")
            db.execute("UPDATE audit_log SET data = ? WHERE place = ?", (data, place))
        told = db.execute("SELECT pseudonym, n, place FROM audit_disclosures").fetchall()
        for pseudonym, n, place in pick.sample(told, 15):
            other = bytearray(pseudonym)
            other[pick.randrange(32)] ^= 1 << pick.randrange(8)
            row = (bytes(other), n, place)
            db.execute("UPDATE audit_disclosures SET pseudonym = ?, n = ? WHERE place = ?", row)
            await _refused(campaign, database, "bit flips of counters")
            db.execute("UPDATE audit_disclosures SET pseudonym = ? WHERE place = ?", (pseudonym, place))
    await check_database(database, campaign.vkey)


async def _refused(campaign: Campaign, database: Path, what: str) -> None:
    with pytest.raises(LogCorrupt) as caught:
        await check_database(database, campaign.vkey)
    assert caught.value.address.startswith(("leaf ", "checkpoint ", "tile ", "subject ")), what
    campaign.count(what)


async def test_rows_taken_out_moved_and_exchanged(campaign: Campaign, database: Path) -> None:
    """A row of entries, a tile or the latest checkpoint that is missing, two rows exchanged, a row of another log."""
    with closing(sqlite3.connect(store(database), isolation_level=None)) as db:
        entries = db.execute("SELECT place, data FROM audit_log WHERE place >= ? ORDER BY place", (7 << 56,)).fetchall()
        tiles = db.execute("SELECT place, data FROM audit_log WHERE place < ?", (2 << 56,)).fetchall()
        last = db.execute(
            "SELECT place, data FROM audit_log WHERE place >= ? AND place < ? ORDER BY place DESC LIMIT 1",
            (2 << 56, 3 << 56),
        ).fetchall()
        for place, data in (*random.Random(5).sample(entries, 10), *tiles, *last, entries[-1]):
            db.execute("DELETE FROM audit_log WHERE place = ?", (place,))
            await _refused(campaign, database, "missing rows")
            db.execute("INSERT INTO audit_log (place, data) VALUES (?, ?)", (place, data))
        for (first, one), (second, two) in zip(entries[3:40:6], entries[5:40:6], strict=False):
            for place, data in ((first, two), (second, one)):
                db.execute("UPDATE audit_log SET data = ? WHERE place = ?", (data, place))
            await _refused(campaign, database, "exchanged rows")
            for place, data in ((first, one), (second, two)):
                db.execute("UPDATE audit_log SET data = ? WHERE place = ?", (data, place))
        extra = (entries[-1][0] + 1000, entries[0][1])
        db.execute("INSERT INTO audit_log (place, data) VALUES (?, ?)", extra)
        await _refused(campaign, database, "rows beyond the checkpoint")
        db.execute("DELETE FROM audit_log WHERE place = ?", extra[:1])
    await check_database(database, campaign.vkey)


async def test_no_bit_of_the_database_file_changes_the_log_in_silence(campaign: Campaign, database: Path) -> None:
    """One bit anywhere in the file: it is found, or it was where nothing of the log is and every entry reads as before."""
    with closing(sqlite3.connect(store(database), isolation_level=None)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path, pick = store(database), random.Random(6)
    whole, original = _rows(path), path.read_bytes()
    harmless = 0
    for _ in range(FILE_FLIPS):
        changed = bytearray(original)
        at = pick.randrange(len(original) * 8)
        changed[at // 8] ^= 1 << at % 8
        path.write_bytes(changed)
        for beside in (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            beside.unlink(missing_ok=True)
        try:
            await check_database(database, campaign.vkey)
        except Exception:  # the log's own check, or SQLite's: `file is not a database`, `malformed`, …
            campaign.count("bit flips of the database file")
        else:
            assert _rows(path) == whole
            harmless += 1
    print(f"\n{harmless} of {FILE_FLIPS} flips were where nothing of the log is")
    assert harmless < FILE_FLIPS


async def test_a_truncated_database(campaign: Campaign, database: Path) -> None:
    """A database file that was cut anywhere does not open as a whole log."""
    with closing(sqlite3.connect(store(database), isolation_level=None)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = store(database)
    whole, original = _rows(path), path.read_bytes()
    for cut in range(1, 12):
        path.write_bytes(original[: len(original) * cut // 12])
        for beside in (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
            beside.unlink(missing_ok=True)
        try:
            await check_database(database, campaign.vkey)
        except Exception:  # the log's own check, or SQLite's
            campaign.count("truncated databases")
        else:
            assert _rows(path) == whole


def _rows(path: Path) -> list[bytes]:
    """The stored entries."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT data FROM audit_log WHERE place >= ? ORDER BY place", (7 << 56,)).fetchall()
    return [row[0] for row in rows]


# honest logs


async def test_no_false_alarms(tmp_path: Path) -> None:
    """Honest exports of a growing log: new or incremental, with few or many checkpoints and patients. None is an alarm."""
    pick = random.Random(7)
    runs = 24
    key = tmp_path / "key"
    folder, number, kept = tmp_path / "0", 0, []
    async with running(tmp_path / "data") as kernel:
        for run in range(runs):
            for _ in range(pick.randrange(8)):
                await asyncio.gather(
                    *(disclose(kernel, f"Patient/{pick.randrange(12)}") for _ in range(pick.randrange(4)))
                )
            if pick.random() < 0.3:
                number += 1
                folder = tmp_path / str(number)
            patients = {f"p{name}": f"Patient/{name}" for name in pick.sample(range(12), pick.randrange(3))}
            done = await export(kernel, folder, patients=patients, checkpoints=pick.choice([0, 1, 3, 30]))
            key.write_text(done["key"])
            found = verify_audit.verify(folder, key, since=kept[-2:])
            assert [check for check in found.checks if check.ok is False] == [], run
            kept.append(tmp_path / f"kept-{run}")
            shutil.copy(folder / "checkpoint", kept[-1])
    print(f"\n{runs} honest exports of up to {done['size']} entries into {number + 1} folders, no alarm")


def _bundles(folder: Path) -> list[Path]:
    """The bundles of entries, in order."""
    return sorted(path for path in (folder / "tile" / "entries").rglob("*") if path.is_file())
