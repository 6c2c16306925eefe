"""Writes the evidence folder (examples/verify_audit/FORMAT.md), whole or as an addition to an earlier export.

Every file is written under a temporary name, synced and moved to its place; `checkpoint`, which says what the folder is, is
the last one: an export that was cut off shows as such when it is checked, and the next one completes it. Before anything
is added to an earlier export, the log must prove that it extends it: evidence is never overwritten by a log that
contradicts it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rustcare_sdk.errors import RustCareError

from rustcare_cli._errors import CommandFailed, EvidenceContradicted

from . import verify_audit
from ._ask import Ask, asker
from ._files import put, sync_folder
from .verify_audit import (
    ED25519,
    MAX_NOTE,
    MLDSA44,
    WIDTH,
    Checkpoint,
    Fault,
    Key,
    read_file,
    read_keys,
    tile_path,
    verify_consistency,
)

if TYPE_CHECKING:
    from rustcare_cli._client import Control

__all__ = ["export_evidence"]

#: Keys of the keyring that sign what is in the folder, and the name that they sign in (empty: the log's).
LOG_KEYS = {"audit-log": "", "audit-log-ml-dsa": "", "crypto-certificates": "crypto-certificates"}
KINDS = {"ed25519": ED25519, "ml-dsa-44": MLDSA44}
#: Facts of the log that hold a statement.
STATEMENTS = ("audit.prune", "audit.pruned", "audit.shred", "audit.shredded")


def export_evidence(
    control: Control,
    folder: Path,
    patients: Sequence[str] | Mapping[str, str] = (),
    checkpoints: int = 1000,
    tenant: str = "",
    witnessed: bool = False,
) -> dict[str, Any]:
    """Write the folder, or bring it up to date. Raises EvidenceContradicted, CommandFailed, and what services refuse with.

    Args:
        patients: references such as `Patient/123`, whose accountings are written too; a mapping gives them names.
        checkpoints: how many earlier checkpoints to write at most.
        witnessed: only up to the largest checkpoint that a quorum of witnesses has cosigned.

    Returns:
        `size`, `root` (hex), `first`, `checkpoints` (how many earlier ones lie there), `written` (files), `key` (vkey).
    """
    named = list(patients.items()) if isinstance(patients, Mapping) else [("", reference) for reference in patients]
    return Exporter(asker(control), folder, tenant).run(named, checkpoints, witnessed)


class Exporter:
    """One export. `written` counts the files."""

    def __init__(self, ask: Ask, folder: Path, tenant: str = "") -> None:
        self.ask = ask
        self.folder = folder
        self.tenant = tenant
        self.written = 0
        self._touched: set[Path] = set()
        self._named: set[tuple[str, bytes]] = set()

    def run(self, patients: Sequence[tuple[str, str]], checkpoints: int, witnessed: bool) -> dict[str, Any]:
        """Write everything up to the latest checkpoint. Raises EvidenceContradicted, CommandFailed."""
        size = self.ask("audit.witnesses")["size"] if witnessed else 0
        if witnessed and not size:
            raise CommandFailed("Expected a checkpoint that witnesses have cosigned, there is none yet")
        latest = self.ask("audit.checkpoint", size=size)
        status = self.ask("audit.status")
        new = Checkpoint.parse(latest["text"].encode())
        old = self._before(new)
        self._keys(new.origin, latest["key"], status)
        self._tiles(old.size if old else 0, new.size, status["first"])
        kept = self._checkpoints(old, new, checkpoints)
        for name, reference in patients:
            self._patient(name, reference, new.size)
        self._statements()
        self._sync()  # what the checkpoint speaks of is there before it is
        self._put("checkpoint", self._signed(latest["text"]))
        self._sync()
        self._tidy(new.size, status["first"])
        return {
            "size": new.size,
            "root": new.root.hex(),
            "first": status["first"],
            "checkpoints": kept,
            "written": self.written,
            "key": latest["key"],
        }

    def _put(self, name: str, data: bytes) -> None:
        put(self.folder / name, data)
        self._touched.add((self.folder / name).parent)
        self.written += 1

    def _sync(self) -> None:
        """Make the names of what was written durable."""
        for folder in self._touched:
            sync_folder(folder)
        self._touched.clear()

    def _before(self, new: Checkpoint) -> Checkpoint | None:
        """The checkpoint of an earlier export, which the log must extend."""
        path = self.folder / "checkpoint"
        if not path.exists():
            if self.folder.is_dir() and any(self.folder.iterdir()) and not (self.folder / "tile").is_dir():
                raise CommandFailed("Expected an empty folder, or an earlier export", address=str(self.folder))
            return None
        try:
            old = Checkpoint.parse(read_file(path, MAX_NOTE))
            if old.origin != new.origin:
                raise Fault(f"it is of the log {old.origin}, this one is {new.origin}")
            if old.size > new.size:
                raise Fault(f"it has {old.size} entries, the log only {new.size}: the log was rolled back")
            if old.size:
                proof = self.ask("audit.prove", old=old.size, size=new.size)
                hashes = [base64.b64decode(item) for item in proof["hashes"]]
                verify_consistency(old.size, new.size, old.root, new.root, hashes)
        except Fault as fault:
            raise EvidenceContradicted(
                f"Expected a log that extends the earlier export: {fault}",
                address=str(path),
                hint="keep that folder: it is evidence; export to another one",
            ) from None
        return old

    def _tiles(self, old: int, new: int, first: int) -> None:
        """The tiles and bundles that are not there yet: what an earlier export has in full never changes."""
        level, span = 0, 1
        while span <= new:
            count, done = new // span, old // span
            for number in range(done // WIDTH, -(-count // WIDTH)):
                width = min(WIDTH, count - number * WIDTH)
                self._fetch(tile_path(level, number, width), "audit.tile", level=level, index=number, width=width)
            level, span = level + 1, span * WIDTH
        for number in range(old // WIDTH, -(-new // WIDTH)):
            width = min(WIDTH, new - number * WIDTH)
            if number * WIDTH + width > first:
                self._fetch(tile_path("entries", number, width), "audit.entries", index=number, width=width)

    def _fetch(self, path: str, service: str, **fields: Any) -> None:
        self._put(path, base64.b64decode(self.ask(service, **fields)["data"]))

    def _checkpoints(self, old: Checkpoint | None, new: Checkpoint, limit: int) -> int:
        """Earlier checkpoints: all of them, or `limit` spread evenly; that of the earlier export in any case."""
        after = old.size if old else 0
        if old is not None and old.size < new.size:
            self._put(f"checkpoints/{old.size}", (self.folder / "checkpoint").read_bytes())
        found: dict[int, str] = {}
        page = self.ask("audit.checkpoints", after=after, limit=min(limit + 1, 1000))["checkpoints"] if limit else []
        if len(page) <= limit and len(page) < 1000:
            found = {item["size"]: item["text"] for item in page}
        else:
            step = (new.size - after) / limit
            for number in range(limit):
                near = self.ask("audit.checkpoints", after=after + int(number * step), limit=1)["checkpoints"]
                found.update({item["size"]: item["text"] for item in near})
        for size, text in found.items():
            if 0 < size < new.size:
                self._put(f"checkpoints/{size}", self._signed(text))
        folder = self.folder / "checkpoints"
        return len(list(folder.iterdir())) if folder.is_dir() else 0

    def _patient(self, name: str, reference: str, size: int) -> None:
        evidence = self.ask("audit.disclosures", patient=reference, tenant=self.tenant, size=size)["evidence"]
        if not evidence:
            raise CommandFailed(
                "Expected a patient that the log knows, got one without a key",
                address=reference,
                hint="nothing of them was ever on record, or their key is destroyed",
            )
        data = json.dumps(evidence, indent=2).encode()
        self._put(f"disclosures/{name or evidence['pseudonym']}.json", data)

    def _statements(self) -> None:
        """Signed statements of what was disposed of: the log's own entries hold them."""
        for action in STATEMENTS:
            after = ""
            while True:
                page = self.ask("audit.search", action=action, after=after, oldest_first=True)
                for row in page["rows"]:
                    statement = row["entry"].get("details", {}).get("statement")
                    if isinstance(statement, dict):
                        self._put(f"statements/{row['index']}.json", json.dumps(statement, indent=2).encode())
                after = page["next"]
                if not after:
                    break

    def _keys(self, origin: str, key: str, status: dict[str, Any]) -> None:
        """The log's keys, all versions of them, the keyring's key for certificates, and witnesses'; earlier ones stay."""
        lines = [key.strip()]
        for name, owner in LOG_KEYS.items():
            lines += self._versions(name, owner or origin)
        witnesses = [str(each) for row in status["witnesses"] for each in row.get("keys", ())]
        for name, found in (("key.vkey", lines), ("witnesses.vkey", witnesses)):
            keys = list(dict.fromkeys([*map(Key.parse, found), *self._named_before(name)]))
            self._named.update((key.name, key.id) for key in keys)
            if keys:
                self._put(name, "".join(f"{key.vkey}\n" for key in keys).encode())

    def _named_before(self, name: str) -> list[Key]:
        """What an earlier export says; signatures in it are by these keys."""
        path = self.folder / name
        try:
            return read_keys(read_file(path, MAX_NOTE)) if path.exists() else []
        except Fault:
            return []

    def _signed(self, text: str) -> bytes:
        """A note without the lines of keys that the folder does not name, such as those of former witnesses."""
        body, _, lines = text.rpartition("\n\n")
        kept = [
            f"{line}\n"
            for line, (name, id_, _) in zip(lines.splitlines(), Checkpoint.parse(text.encode()).lines, strict=True)
            if (name, id_) in self._named
        ]
        return f"{body}\n\n{''.join(kept)}".encode()

    def _versions(self, name: str, owner: str) -> list[str]:
        try:
            versions = self.ask("crypto.key.read", key=name)["versions"]
        except RustCareError:  # there is none: the log has no second key, or another keyring signs
            return []
        lines = []
        for version in (item["version"] for item in reversed(versions) if item["state"] != "destroyed"):
            found = self.ask("crypto.key.public", key=name, version=version)
            kind = KINDS.get(found["algorithm"])
            if kind is not None:
                public = base64.b64decode(found["raw"])
                id_ = hashlib.sha256(owner.encode() + b"\n" + bytes([kind]) + public).digest()[:4]
                lines.append(Key(owner, id_, kind, public).vkey)
        return lines

    def _tidy(self, size: int, first: int) -> None:
        """Partial tiles that a longer one has replaced, and entries that were disposed of since."""
        try:
            files = verify_audit.Files(self.folder)
        except Fault as fault:
            raise CommandFailed(str(fault), address=str(self.folder)) from None
        level, span, wanted = 0, 1, set()
        while span <= size:
            wanted.add(tile_path(level, size // span // WIDTH, size // span % WIDTH or WIDTH))
            level, span = level + 1, span * WIDTH
        wanted.add(tile_path("entries", size // WIDTH, size % WIDTH or WIDTH))
        gone = {tile_path("entries", number) for number in range(first // WIDTH)}
        for name in files.under("tile/"):
            if (".p/" in name and name not in wanted) or name in gone:
                (self.folder / name).unlink()
