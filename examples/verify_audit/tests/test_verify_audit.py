"""What the stand-alone verifier accepts, and what it says of a folder that was changed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from examples.verify_audit import verify_audit
from examples.verify_audit.tests.folder import COSIGNATURE, MLDSA44, Log, Signer, b64, bundle, put

SCRIPT = Path(verify_audit.__file__)
ADA, BOB, EVE = (hashlib.sha256(name).digest() for name in (b"ada", b"bob", b"eve"))


def check(folder: Path | None, log: Log, **options: Any) -> verify_audit.Verifier:
    """Verify with the log's key, which lies beside the folder."""
    where = folder.parent if folder is not None else next(iter(options["patients"])).parent
    key = put(where / "given.vkey", log.key.vkey + "\n")
    return verify_audit.verify(folder, key, **options)


def faults(found: verify_audit.Verifier) -> list[str]:
    """What is wrong."""
    return [check.detail for check in found.checks if check.ok is False]


def filled(size: int = 20, seed: int = 1) -> Log:
    """A log with disclosures of two patients and checkpoints here and there."""
    log, pick = Log(), random.Random(seed)
    for _ in range(size):
        log.add("read", pick.choice([None, None, ADA, BOB]))
        if pick.random() < 0.2:
            log.commit()
    return log


def full(folder: Path, log: Log) -> Path:
    """A folder with one of everything."""
    size = len(log.entries)
    log.write(folder)
    for name, subject in (("ada", ADA), ("bob", BOB), ("eve", EVE)):
        put(folder / "disclosures" / f"{name}.json", log.disclosures(subject, size))
    put(folder / "proofs" / "first.tlog-proof", log.tlog_proof(0, size))
    put(folder / "proofs" / "last.tlog-proof", log.tlog_proof(size - 1, size, extra=False))
    put(
        folder / "proofs" / "grown.consistency.json",
        {
            "old": log.checkpoint(log.sizes[0]),
            "new": log.checkpoint(size),
            "proof": [b64(item) for item in log.consistency(log.sizes[0], 0, size)],
        },
    )
    put(folder / "statements" / "certificate.json", log.key.envelope("application/vnd.rustcare.destroy+json", {"v": 1}))
    return folder


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(0, 700), seed=st.integers(0, 1000), part=st.floats(0, 1))
def test_honest_folders_verify(tmp_path: Path, size: int, seed: int, part: float) -> None:
    """No honest log raises an alarm: whatever its size, and wherever it was exported or pruned."""
    shutil.rmtree(tmp_path / "f", ignore_errors=True)
    log = filled(size, seed)
    before = int(part * size)
    folder = log.write(tmp_path / "f", before=before)
    put(folder / "statements" / "prune.json", log.statement(before, size))
    found = check(folder, log)
    assert faults(found) == []
    assert found.ok


@pytest.mark.parametrize("size", [1, 255, 256, 257, 511, 65_536 + 300])
def test_sizes_around_full_tiles(tmp_path: Path, size: int) -> None:
    """Tiles of every level are checked where they become full."""
    log = Log()
    for _ in range(size):
        log.add()
    found = check(log.write(tmp_path / "f"), log)
    assert faults(found) == []
    assert found.latest is not None
    assert found.latest.size == size


def test_the_command_says_so_and_exits_accordingly(tmp_path: Path) -> None:
    """0 and VERIFIED, 1 and NOT VERIFIED with the leaf, 2 for a wrong command line; the script runs on its own."""
    log = filled()
    folder = full(tmp_path / "f", log)
    key = put(tmp_path / "k", log.key.vkey)

    def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(SCRIPT), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    good = run(folder, "--key", key)
    assert (good.returncode, good.stdout.splitlines()[-1], good.stderr) == (0, "VERIFIED", "")
    path = folder / "tile" / "entries" / "000.p" / str(len(log.entries))
    path.write_bytes(path.read_bytes().replace(b"read", b"edit", 1))
    bad = run(folder, "--key", key)
    assert (bad.returncode, bad.stdout.splitlines()[-1]) == (1, "NOT VERIFIED")
    assert "leaf 0: the entry is not what the tree holds" in bad.stdout
    data = json.loads(run(folder, "--key", key, "--json").stdout)
    assert [row["place"]["leaf"] for row in data["checks"] if row["ok"] is False] == [0]
    assert data["size"] == 20
    for arguments in ((), (folder,), (folder, "--key", tmp_path / "none"), (tmp_path / "none", "--key", key)):
        assert run(*arguments).returncode == 2


def test_it_needs_nothing_of_ours() -> None:
    """The script imports the standard library and `cryptography` only."""
    code = (
        f"import sys, runpy; runpy.run_path({str(SCRIPT)!r}); print(*sorted(m.partition('.')[0] for m in sys.modules))"
    )
    loaded = set(
        subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not {name for name in loaded if name.startswith(("rustcare", "msgspec", "pluggy"))}
    assert loaded - set(sys.stdlib_module_names) <= {
        "cryptography",
        "_cffi_backend",
        "_distutils_hack",
        "__main__",
        "sitecustomize",
    } | {name for name in loaded if name.startswith(("_", "__editable__"))}


def test_every_bit_of_a_folder_counts(tmp_path: Path) -> None:
    """Each single bit of each file, changed alone, is found, and the report says where.

    But for an accounting of nothing: with another pseudonym it says of another one who is absent what is true.
    """
    log = filled(9, 1)
    assert {ADA, BOB} <= set(log.counts(9))
    log.witnesses = [Signer("witness.example/w1", COSIGNATURE)]
    folder = full(tmp_path / "f", log)
    (folder / "disclosures" / "eve.json").unlink()
    witness = put(tmp_path / "w.vkey", log.witnesses[0].vkey)
    assert faults(check(folder, log, witness=witness)) == []
    pick, tried = random.Random(5), 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for at in pick.sample(range(len(data)), min(len(data), 60)):
            flipped = bytearray(data)
            flipped[at] ^= 1 << pick.randrange(8)
            path.write_bytes(flipped)
            found = check(folder, log, witness=witness)
            name = path.relative_to(folder)
            assert not found.ok, f"{name}, byte {at}"
            assert all(row.place for row in found.checks if row.ok is False), f"{name}, byte {at}"
            tried += 1
        path.write_bytes(data)
    print(f"\n{tried} flips, all found")


def _rows(change: Callable[[dict[str, Any]], Any]) -> Callable[[Log], dict[str, Any]]:
    def made(log: Log) -> dict[str, Any]:
        data = log.disclosures(ADA, len(log.entries))
        change(data)
        return data

    return made


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["entries"].pop(),
        lambda data: data["entries"].pop(0),
        lambda data: data["entries"].pop(1),
        lambda data: data["entries"].append(data["entries"][-1]),
        lambda data: data["entries"].reverse(),
        lambda data: (data["entries"].pop(), data.update(count=data["count"] - 1)),
        lambda data: (data["entries"].pop(0), data.update(pruned=1)),
        lambda data: (data["entries"].clear(), data.update(count=0), data["map_proof"].update(leaf=None)),
    ],
)
def test_an_omitted_disclosure_shows(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Whatever is left out, added or put in another order, with the counts made to fit or not."""
    log = filled(30, 7)
    path = put(tmp_path / "ada.json", _rows(lambda data: None)(log))
    assert check(None, log, patients=[path]).ok
    put(path, _rows(change)(log))
    assert not check(None, log, patients=[path]).ok
    assert not check(log.write(tmp_path / "f"), log, patients=[path]).ok


def test_a_log_that_skips_a_counter_is_found(tmp_path: Path) -> None:
    """A writer that leaves out a disclosure and counts on, or forgets to count, is found though it signed everything."""
    for n in (1, 3):
        log = Log(f"log.example/{n}")
        log.add("read", ADA)
        text = json.dumps({"disclosure": {"n": n, "subject": ADA.hex()}}).encode()
        log.add_raw(text, (ADA, n))
        found = check(log.write(tmp_path / str(n)), log)
        assert faults(found)[0] == f"leaf 1: disclosure {n} of a subject, expected 2"


def test_a_checkpoint_with_other_counters_is_found(tmp_path: Path) -> None:
    """The map is made anew from the entries: a signed map root that they do not give is named."""
    log = filled(12, 2)
    folder = log.write(tmp_path / "f")
    log.subjects = [None] * 12  # what the checkpoint then commits to
    put(folder / "checkpoint", log.checkpoint(12))
    assert "checkpoint: its counters are not those of the entries" in faults(check(folder, log))


def test_a_forged_checkpoint_is_found(tmp_path: Path) -> None:
    """Another key of the same name, even when the folder presents it as the log's own."""
    log = filled()
    folder = log.write(tmp_path / "f")
    true = put(tmp_path / "true.vkey", log.key.vkey)
    log.key = Signer(log.key.name)
    log.write(folder)
    found = verify_audit.verify(folder, true)
    assert not found.ok
    assert any("not signed by a given key" in text for text in faults(found))


def test_a_rolled_back_folder_is_found(tmp_path: Path) -> None:
    """By a checkpoint kept from before, by a witness's cosignature, and by an accounting that is newer."""
    log = filled(30, 4)
    late = put(tmp_path / "late", log.checkpoint(30))
    ada = put(tmp_path / "ada.json", log.disclosures(ADA, 30))
    folder = log.write(tmp_path / "f", size=20)
    assert check(folder, log).ok
    for options in ({"since": [late]}, {"patients": [ada]}):
        (text,) = faults(check(folder, log, **options))
        assert "rolled back" in text
        assert "30 entries" in text
    other = filled(30, 4)
    other.key = log.key
    other.entries[25] = other.entries[25].replace(b"read", b"edit")
    (text,) = faults(check(other.write(tmp_path / "g", kept=()), log, since=[late]))
    assert "the leaves do not lead to its root; among leaves 0 to 29" in text


@pytest.mark.parametrize("kind", [COSIGNATURE, MLDSA44])
def test_witnesses(tmp_path: Path, kind: int) -> None:
    """A given witness must have cosigned the latest checkpoint; what it did cosign last is said."""
    log = filled(20, 1)
    log.witnesses = [Signer("witness.example/w1", kind)]
    key = put(tmp_path / "w.vkey", log.witnesses[0].vkey)
    folder = log.write(tmp_path / "f")
    assert check(folder, log, witness=key).ok
    log.witnesses = []
    put(folder / "checkpoint", log.checkpoint(20))
    (text,) = faults(check(folder, log, witness=key))
    assert text.startswith("0 of 1 given witnesses cosigned the latest checkpoint, expected 1")
    assert text.endswith(f"the newest that any did has {log.sizes[-1]} entries")
    assert check(folder, log, witness=key, quorum=0).ok


def test_a_splice_of_two_logs_is_found(tmp_path: Path) -> None:
    """Entries and tiles of another log of the same key, from some leaf on."""
    ours, theirs = filled(300, 1), filled(300, 2)
    theirs.key = ours.key
    folder, other = ours.write(tmp_path / "f"), theirs.write(tmp_path / "g", kept=())
    for name in ("tile/0/001.p/44", "tile/entries/001.p/44"):
        shutil.copy(other / name, folder / name)
    found = check(folder, ours)
    kept = [size for size in ours.sizes if size <= 256][-1]
    assert any(f"among leaves {kept} to " in text for text in faults(found))
    shutil.copytree(folder / "tile", other / "tile", dirs_exist_ok=True)
    assert not check(other, ours).ok


def test_reordered_and_truncated_files_are_found(tmp_path: Path) -> None:
    """Two entries exchanged; a bundle, a tile or a checkpoint cut short or missing; the first bad leaf is named."""
    log = filled(12, 1)
    folder = log.write(tmp_path / "f")
    path = folder / "tile/entries/000.p/12"
    path.write_bytes(bundle([*log.entries[:4], log.entries[5], log.entries[4], *log.entries[6:]]))
    assert faults(check(folder, log))[0] == "leaf 4: the entry is not what the tree holds"
    for name in ("tile/entries/000.p/12", "tile/0/000.p/12", "checkpoint", f"checkpoints/{log.sizes[0]}"):
        log.write(folder)
        data = (folder / name).read_bytes()
        for cut in (0, 1, len(data) // 2, len(data) - 1):
            (folder / name).write_bytes(data[:cut])
            assert not check(folder, log).ok, (name, cut)
        (folder / name).unlink()
        assert check(folder, log).ok == name.startswith("checkpoints/"), name


def test_pruned_entries_need_a_signed_statement(tmp_path: Path) -> None:
    """Without it the first missing leaf is named; with it the heads are proved by the tiles; it covers no more than it says."""
    log = filled(600, 1)
    folder = log.write(tmp_path / "f", before=300)
    text = faults(check(folder, log))
    assert text[0].startswith("tile/entries/000 (leaves 0 to 255): 'tile/entries/000' is missing")
    put(folder / "statements/prune.json", log.statement(300, 500))
    put(folder / "disclosures/ada.json", pruned_accounting(log, 300))
    found = check(folder, log)
    assert faults(found) == []
    assert any("300 entries were disposed of" in item.detail for item in found.checks)
    put(folder / "disclosures/ada.json", pruned_accounting(log, 400))
    assert any("is left out or extra" in text for text in faults(check(folder, log)))
    log.write(folder, before=310)
    put(folder / "disclosures/ada.json", pruned_accounting(log, 310))
    assert faults(check(folder, log))[0].startswith("leaf 300: the entry is missing")
    put(folder / "statements/prune.json", Signer(log.key.name).envelope(verify_audit.PRUNE, {"before": 300}))
    assert not check(folder, log).ok


def pruned_accounting(log: Log, before: int) -> dict[str, Any]:
    """Ada's accounting when what lies below the line is gone."""
    data = log.disclosures(ADA, 600)
    gone = [row for row in data["entries"] if row["index"] < before]
    return {**data, "entries": data["entries"][len(gone) :], "pruned": len(gone)}


def test_a_statement_by_a_key_that_was_not_given_is_not_believed(tmp_path: Path) -> None:
    """A certificate by a key that only the folder names is a remark; a prune statement by it, or an unknown key, a fault."""
    log, other = filled(8), Signer("certificates")
    folder = log.write(tmp_path / "f")
    put(folder / "key.vkey", f"{log.key.vkey}\n{other.vkey}\n")
    path = put(folder / "statements/c.json", other.envelope("application/vnd.example+json", {"v": 1}, "certificates/1"))
    found = check(folder, log)
    assert found.ok
    assert any("not believed" in row.detail for row in found.checks if row.ok is None)
    root = b64(log.tree(0, 8))
    put(path, other.envelope(verify_audit.PRUNE, {"origin": log.key.name, "before": 1, "size": 8, "root": root}))
    assert not check(folder, log).ok
    put(path, Signer("certificates").envelope("application/vnd.example+json", {"v": 1}, "certificates/1"))
    assert not check(folder, log).ok


def test_tiles_beyond_the_checkpoint_show(tmp_path: Path) -> None:
    """An older checkpoint that is put into a longer folder, or an export that was cut off, is no evidence."""
    log = filled(300, 2)
    folder = log.write(tmp_path / "f", kept=())
    put(folder / "checkpoint", log.checkpoint(256))
    (text,) = [text for text in faults(check(folder, log)) if "beyond" in text]
    assert "tile/0/001.p/44" in text


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("disclosures/x.json", b"\xff\xfe"),
        ("disclosures/x.json", b"[" * 100_000),
        ("disclosures/x.json", b'{"count": 1, "count": 1}'),
        ("disclosures/x.json", b'{"count": 1' + b"0" * 5000 + b"}"),
        ("disclosures/x.json", b'{"count": NaN}'),
        ("disclosures/x.json", b"null"),
        ("proofs/x.tlog-proof", b"c2sp.org/tlog-proof@v1\nindex 01\n\n"),
        ("proofs/x.tlog-proof", b"c2sp.org/tlog-proof@v1\nindex " + b"9" * 5000 + b"\n\n"),
        ("proofs/x.consistency.json", b"{}"),
        ("statements/x.json", b'{"payloadType": "", "payload": "", "signatures": []}'),
        ("checkpoints/5", b"a\n5\n\x1b[2J\n\n\xe2\x80\x94 a AAAA\n"),
        ("checkpoints/0x5", b""),
        ("checkpoint", b"x\n" * 200_000),
        ("checkpoint", b""),
        ("key.vkey", b"\xff"),
        ("key.vkey", b"a+00000000+AQ==\n"),
        ("witnesses.vkey", b"\n"),
        ("tile/0/000.p/8", b""),
        ("tile/0/000.p/9", b"x"),
        ("tile/entries/000.p/8", b"\xff\xff"),
        ("tile/entries/000.p/8", b"\x00" * 20),
    ],
)
def test_hostile_files_are_faults_not_crashes(tmp_path: Path, name: str, data: bytes) -> None:
    """Whatever bytes a file holds, the answer is a fault with its place, and nothing of it reaches the terminal as it is."""
    log = filled(8)
    folder = log.write(tmp_path / "f", kept=())
    put(folder / name, data)
    found = check(folder, log)
    assert not found.ok
    assert all(text.isprintable() for text in faults(found))


def test_a_huge_size_ends_at_once(tmp_path: Path) -> None:
    """A checkpoint of 10^17 entries, signed or not, with nothing behind it, is refused without a long walk."""
    log = filled(8)
    folder = log.write(tmp_path / "f", kept=())
    body = f"{log.key.name}\n{10**17}\n{b64(bytes(32))}\nrustcare/subjects 0 {b64(bytes(32))}\n"
    put(folder / "checkpoint", f"{body}\n{log.key.line(body)}")
    put(folder / "statements/p.json", log.statement(10**16, 8))
    assert not check(folder, log).ok


def test_links_are_not_followed(tmp_path: Path) -> None:
    """A link in the folder is a fault, wherever it leads."""
    log = filled(8)
    folder = log.write(tmp_path / "f", kept=())
    (folder / "loop").symlink_to(folder)
    (text,) = faults(check(folder, log))
    assert text == "'loop' is neither a file nor a folder that can be read"
    (folder / "loop").unlink()
    entries = folder / "tile/entries/000.p/8"
    entries.rename(tmp_path / "elsewhere")
    entries.symlink_to(tmp_path / "elsewhere")
    assert not check(folder, log).ok


def test_strange_names_are_printable(tmp_path: Path) -> None:
    """A name that is no UTF-8, or would move the cursor, and folders without end: told in plain characters, as JSON too."""
    log = filled(8)
    folder = log.write(tmp_path / "f", kept=())
    os.mkfifo(os.fsencode(folder) + b"/\xff\x1b[2J")
    (folder / "/".join("d" * 20)).mkdir(parents=True)
    put(folder / "tile/9/\u202e", b"")
    found = check(folder, log)
    assert len(faults(found)) == 3
    assert all(text.isascii() and text.isprintable() for text in faults(found))
    json.dumps([row.place for row in found.checks], ensure_ascii=False).encode()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_crash_the_readers(data: bytes) -> None:
    """Every reader of the script answers any bytes with a result or a Fault."""
    keys = verify_audit.Keys([])
    readers: list[Callable[[bytes], Any]] = [
        verify_audit.Checkpoint.parse,
        verify_audit.TlogProof.parse,
        verify_audit.split_bundle,
        verify_audit.read_keys,
        verify_audit.unjson,
        verify_audit.disclosure_of,
        lambda raw: verify_audit.check_patient(raw, keys, "x"),
        lambda raw: verify_audit.check_statement(raw, []),
        lambda raw: verify_audit.check_consistency_file(raw, keys, "x"),
    ]
    for reader in readers:
        with suppress(verify_audit.Fault):
            reader(data)


def test_the_command_line_has_the_same_bytes() -> None:
    """What `rustcare audit verify` runs is this script, byte for byte."""
    copy = SCRIPT.parents[2] / "cli" / "src" / "rustcare_cli" / "trust" / "verify_audit.py"
    assert copy.read_bytes() == SCRIPT.read_bytes()
