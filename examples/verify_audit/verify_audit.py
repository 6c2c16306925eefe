#!/usr/bin/env python3
"""Check an evidence folder of an audit log, with nothing but this file, the `cryptography` package and a public key.

    python verify_audit.py DIR --key FILE [--witness FILE] [--since OLD_CHECKPOINT] [--patient FILE.json]… [--json]
    python verify_audit.py --key FILE --patient FILE.json        (no folder at hand)

It imports nothing of the system that wrote the log. FORMAT.md says what is in a folder. The parts, in order: reading strictly ·
signed notes · the Merkle tree · the map of disclosure counters · proofs in files · the folder · the command.

What is written in a folder is a claim; `--key FILE` (vkeys, one a line, the log's among them) is what is believed.
Everything that is read is checked in full, so that each changed bit of it shows. Exit code: 0 when all is well, 1 when
not, 2 for a wrong command line.

Sources: RFC 6962 section 2.1; C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-tiles, tlog-proof; DSSE v1.0.2.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import os
import re
import struct
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = [
    "Check",
    "Checkpoint",
    "Counters",
    "Fault",
    "Files",
    "Frontier",
    "Head",
    "Key",
    "Keys",
    "Patient",
    "TlogProof",
    "Verifier",
    "check_consistency_file",
    "check_patient",
    "check_statement",
    "disclosure_of",
    "leaf_hash",
    "main",
    "map_leaf",
    "node_hash",
    "read_file",
    "read_keys",
    "split_bundle",
    "tile_path",
    "verify",
    "verify_consistency",
    "verify_count",
    "verify_inclusion",
    "verify_subtree_consistency",
    "verify_subtree_inclusion",
]

WIDTH = 256  # hashes in a full tile, entries in a full bundle
MAX_NOTE = 1 << 18  # bytes; a post-quantum signature line has about 3,300
MAX_JSON = 1 << 28
MAX_BUNDLE = WIDTH * (2 + 0xFFFF)
MAX_FILES = 5_000_000
MAX_DEPTH = 12  # folders in folders
MAX_NAMED = 20  # faults of one sort that are listed one by one
SUBJECTS = "rustcare/subjects"  # the extension line of a checkpoint
PRUNE = "application/vnd.rustcare.prune+json"


class Fault(Exception):
    """Something is not as it must be. `place` says where: leaf, tile, checkpoint or file."""

    def __init__(self, message: str, **place: Any) -> None:
        super().__init__(message)
        self.place = place


# Reading strictly


def unbase64(text: Any, size: int | None = None) -> bytes:
    """Standard base64 in its one canonical form, so that no other text has the same meaning."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True) if isinstance(text, str) else None
    except (ValueError, binascii.Error):
        data = None
    if data is None or base64.b64encode(data).decode() != text or (size is not None and len(data) != size):
        raise Fault(f"expected base64{'' if size is None else f' of {size} bytes'}, got {shown(text)}")
    return data


def unhex(text: Any) -> bytes:
    """32 bytes in lower-case hex."""
    if not isinstance(text, str) or re.fullmatch(r"[0-9a-f]{64}", text) is None:
        raise Fault(f"expected 64 lower-case hex digits, got {shown(text)}")
    return bytes.fromhex(text)


def unjson(data: bytes) -> Any:
    """JSON without duplicate names."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise Fault("expected each name once in a JSON object")
        return found

    def never(text: str) -> Any:
        raise Fault(f"expected JSON, got {text}")

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=once, parse_constant=never)
    except (ValueError, RecursionError) as error:
        raise Fault(f"expected JSON in UTF-8: {shown(str(error), 120)}") from None


def struct_of(value: Any, what: str, optional: Sequence[str] = (), **types: type) -> dict[str, Any]:
    """An object with exactly these fields."""
    if not isinstance(value, dict):
        raise Fault(f"expected {what} to be an object, got {shown(value)}")
    if (wrong := set(value) - set(types)) or (wrong := set(types) - set(value) - set(optional)):
        raise Fault(f"{what}: unknown or missing field {shown(sorted(wrong)[0])}")
    for name, found in value.items():
        if not isinstance(found, types[name]) or (isinstance(found, int) and (isinstance(found, bool) or found < 0)):
            raise Fault(f"{what}.{name}: expected {types[name].__name__}, got {shown(found)}")
    return value


def shown(value: Any, limit: int = 60) -> str:
    """A value of a stranger, safe to print on a terminal."""
    text = ascii(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def label(name: object) -> str:
    """The name of a file or key, safe to print on a terminal."""
    return ascii(str(name))[1:-1][:200]


# Signed notes: https://c2sp.org/signed-note, https://c2sp.org/tlog-checkpoint, https://c2sp.org/tlog-cosignature

ED25519, COSIGNATURE, MLDSA44 = 0x01, 0x04, 0x06
_KEY_SIZES = {ED25519: 32, COSIGNATURE: 32, MLDSA44: 1312}


@dataclass(frozen=True)
class Key:
    """A verifier key."""

    name: str
    id: bytes
    kind: int
    public: bytes

    @classmethod
    def parse(cls, text: str) -> Key:
        """`<name>+<id in hex>+<base64 of kind and key>`; the id binds all of it."""
        name, _, rest = text.partition("+")
        id_, _, material = rest.partition("+")
        data = unbase64(material)
        key = cls(name, hashlib.sha256(name.encode() + b"\n" + data).digest()[:4], data[0] if data else 0, data[1:])
        if not name or re.search(r"\s", name) or key.id.hex() != id_ or _KEY_SIZES.get(key.kind) != len(key.public):
            raise Fault(f"expected a verifier key (vkey) of Ed25519 or ML-DSA-44, got {shown(text)}")
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}"

    @property
    def vkey(self) -> str:
        """Its text, in its one form."""
        return f"{self}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raises InvalidSignature."""
        if self.kind == MLDSA44:
            from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

            MLDSA44PublicKey.from_public_bytes(self.public).verify(signature, data)
        else:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, data)


@dataclass(frozen=True)
class Checkpoint:
    """A signed tree head. `subjects`: count and root of the map, if it has one. `lines`: (key name, key id, signature)."""

    origin: str
    size: int
    root: bytes
    subjects: tuple[int, bytes] | None
    body: str
    lines: tuple[tuple[str, bytes, bytes], ...]

    @classmethod
    def parse(cls, data: bytes) -> Checkpoint:
        """The text of a signed note. Nothing of it is to be believed before `Keys.check`."""
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            raise Fault("expected a signed note in UTF-8") from None
        body, gap, signatures = text.rpartition("\n\n")
        if len(data) > MAX_NOTE or not gap or not signatures.endswith("\n") or re.search(r"[\x00-\x09\x0b-\x1f]", text):
            raise Fault("expected a signed note: a text, an empty line, signature lines")
        lines = []
        for line in signatures[:-1].split("\n"):
            found = re.fullmatch(r"— ([^\s+]+) (\S+)", line)
            if found is None or len(raw := unbase64(found[2])) < 5:
                raise Fault(f"expected a signature line, got {shown(line)}")
            lines.append((found[1], raw[:4], raw[4:]))
        if len(set(lines)) != len(lines) or len(lines) > 64:
            raise Fault("expected at most 64 signature lines, each once")
        origin, *rest = body.split("\n")
        if len(rest) < 2 or not origin or not all(rest) or re.fullmatch(r"0|[1-9][0-9]{0,17}", rest[0]) is None:
            raise Fault("expected a checkpoint: origin, size in decimal, root in base64")
        subjects = None
        for line in rest[2:]:
            if line.partition(" ")[0] == SUBJECTS:
                found = re.fullmatch(rf"{SUBJECTS} (0|[1-9][0-9]{{0,17}}) (\S+)", line)
                if found is None or subjects is not None:
                    raise Fault(f"expected one line '{SUBJECTS} <count> <root>', got {shown(line)}")
                subjects = int(found[1]), unbase64(found[2], 32)
        return cls(origin, int(rest[0]), unbase64(rest[1], 32), subjects, body + "\n", tuple(lines))


class Keys:
    """What is believed (`given`, `witnesses`), and what a folder names besides, which only explains signature lines."""

    def __init__(self, given: Iterable[Key], witnesses: Iterable[Key] = ()) -> None:
        self.given = list(given)
        self.witnesses = list(witnesses)
        self.named: list[Key] | None = None

    def check(self, note: Checkpoint, name: str) -> set[Key]:
        """All keys that signed. Raises Fault when the log's given key did not, or a known key's signature is wrong."""
        known = {(key.name, key.id): key for key in (*(self.named or ()), *self.witnesses, *self.given)}
        signed = set()
        for who, id_, signature in note.lines:
            key = known.get((who, id_))
            if key is None:
                if self.named is None:
                    continue  # signed-note: unknown keys are ignored
                raise Fault(
                    f"{name}: signed by {shown(who)}, a key that the folder does not name", checkpoint=note.size
                )
            try:
                self._verify(key, signature, note)
            except (InvalidSignature, ValueError):
                raise Fault(f"{name}: the signature of {shown(str(key))} is wrong", checkpoint=note.size) from None
            signed.add(key)
        if not any(key.kind == ED25519 and key.name == note.origin for key in signed & set(self.given)):
            raise Fault(f"{name}: not signed by a given key of {shown(note.origin)}", checkpoint=note.size)
        return signed

    @staticmethod
    def _verify(key: Key, signature: bytes, note: Checkpoint) -> None:
        if key.kind == ED25519:
            key.verify(signature, note.body.encode())
            return
        (time,), rest = struct.unpack(">Q", signature[:8].ljust(8, b"\0")), signature[8:]
        if key.kind == COSIGNATURE:
            key.verify(rest, f"cosignature/v1\ntime {time}\n{note.body}".encode())
            return
        names = b"".join(
            bytes([len(text)]) + text + middle
            for text, middle in ((key.name.encode(), signature[:8]), (note.origin.encode(), b""))
        )
        key.verify(rest, b"subtree/v1\n\0" + names + struct.pack(">QQ", 0, note.size) + note.root)


# The Merkle tree: RFC 6962 section 2.1

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """The hash of an entry."""
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of two subtrees."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """A tree that grows: only the roots of its perfect subtrees are kept."""

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    def append(self, leaf: bytes) -> None:
        """One more leaf hash."""
        grown = self.size
        while grown & 1:
            leaf = node_hash(self._roots.pop(), leaf)
            grown >>= 1
        self._roots.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root now."""
        if not self._roots:
            return EMPTY_ROOT
        found = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            found = node_hash(left, found)
        return found


def _fold(start: int, end: int, size: int, whole: bool, known: bytes, proof: list[bytes]) -> tuple[bytes, bytes]:
    """The roots of [start, end) and of [0, size) that a subtree proof leads to; takes its hashes from the end.

    draft-ietf-plants-merkle-tree-certs, SUBTREE_SUBPROOF; RFC 6962's PROOF is start = 0, its PATH is end = start + 1.
    """
    if start == 0 and end == size:
        found = known if whole else _last(proof)
        return found, found
    half = 1 << (size - 1).bit_length() - 1
    other = _last(proof)
    if end <= half:
        part, all_ = _fold(start, end, half, whole, known, proof)
        return part, node_hash(all_, other)
    if start >= half:
        part, all_ = _fold(start - half, end - half, size - half, whole, known, proof)
        return part, node_hash(other, all_)
    part, all_ = _fold(0, end - half, size - half, False, known, proof)
    return node_hash(other, part), node_hash(other, all_)


def _last(proof: list[bytes]) -> bytes:
    if not proof:
        raise Fault("the proof is too short")
    return proof.pop()


def verify_subtree_consistency(
    start: int, end: int, size: int, part: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """That the subtree [start, end) with the root `part` is in the tree of `size` leaves. Raises Fault."""
    aligned = start % (1 << (end - start - 1).bit_length()) == 0 if end > start else True
    if not 0 <= start <= end <= size < 1 << 64 or not aligned or any(len(item) != 32 for item in (part, *proof)):
        raise Fault(f"expected a subtree within {size} leaves and hashes of 32 bytes, got [{start}, {end})")
    if start == end:
        if proof or part != EMPTY_ROOT:
            raise Fault("expected the root of nothing, and no proof")
        return
    rest = list(proof)
    found = _fold(start, end, size, True, part, rest)
    if rest or found != (part, root):
        raise Fault("the proof is too long" if rest else "the proof leads to another root")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """That the tree of `new` leaves extends that of `old` leaves, at least 1. Raises Fault."""
    if old < 1:
        raise Fault("every log extends the empty one: that proves nothing")
    verify_subtree_consistency(0, old, new, old_root, new_root, proof)


def verify_inclusion(index: int, size: int, leaf: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """That the leaf hash is at `index` in the tree of `size` leaves. Raises Fault."""
    verify_subtree_consistency(index, index + 1, size, leaf, root, proof)


def verify_subtree_inclusion(
    index: int, start: int, end: int, leaf: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """That the leaf hash is at `index` in the subtree [start, end) with that root. Raises Fault."""
    if not 0 <= start <= index < end or start % (1 << (end - start - 1).bit_length()):
        raise Fault(f"expected a leaf within a subtree, got {index} in [{start}, {end})")
    verify_inclusion(index - start, end - start, leaf, root, proof)


# The map of disclosure counters: see FORMAT.md

NOBODY = bytes(32)


def map_leaf(key: bytes, count: int) -> bytes:
    """The hash of a subtree with one key."""
    return hashlib.sha256(b"\0" + key + struct.pack(">Q", count)).digest()


def verify_count(key: bytes, root: bytes, siblings: Sequence[bytes], leaf: tuple[bytes, int] | None) -> int:
    """The count of a key that a proof leads to, 0 when it is absent. Raises Fault."""
    depth, path = len(siblings), int.from_bytes(key, "big")
    if depth > 256 or any(len(item) != 32 for item in siblings):
        raise Fault(f"expected at most 256 siblings of 32 bytes, got {depth}")
    found = NOBODY if leaf is None else map_leaf(*leaf)
    if leaf is not None and (int.from_bytes(leaf[0], "big") ^ path) >> (256 - depth):
        raise Fault("the map proof ends in a leaf that is not on the path of this key")
    for level, sibling in enumerate(siblings):
        right = path >> (256 - depth + level) & 1
        found = node_hash(sibling, found) if right else node_hash(found, sibling)
    if found != root:
        raise Fault("the map proof leads to another root")
    return leaf[1] if leaf is not None and leaf[0] == key else 0


class Counters:
    """The map, made anew from the entries. A node: None, (key, count), or [left, right, hash or None]."""

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}
        self._tree: Any = None

    def set(self, key: bytes, count: int) -> None:
        """Another count of a key."""
        self.counts[key] = count
        self._tree = self._put(self._tree, int.from_bytes(key, "big"), count, 255)

    def root(self) -> bytes:
        """The root now."""
        return self._hash(self._tree)

    def _put(self, node: Any, path: int, count: int, bit: int) -> Any:
        if node is None or (isinstance(node, tuple) and node[0] == path):
            return path, count
        if isinstance(node, tuple):
            other, node = node, [None, None, None]
            node[other[0] >> bit & 1] = other
        side = path >> bit & 1
        node[side] = self._put(node[side], path, count, bit - 1)
        node[2] = None
        return node

    def _hash(self, node: Any) -> bytes:
        if node is None:
            return NOBODY
        if isinstance(node, tuple):
            return map_leaf(node[0].to_bytes(32, "big"), node[1])
        if node[2] is None:
            node[2] = node_hash(self._hash(node[0]), self._hash(node[1]))
        found: bytes = node[2]
        return found


# Proofs in files


@dataclass(frozen=True)
class Patient:
    """A checked accounting of one subject's disclosures. `indices`: of those listed, of which `pruned` are missing."""

    checkpoint: Checkpoint
    pseudonym: bytes
    count: int
    pruned: int
    indices: tuple[int, ...]


def disclosure_of(entry: bytes) -> tuple[bytes, int] | None:
    """The subject and counter of an entry that is a disclosure."""
    if b'"disclosure"' not in entry:
        return None
    found = unjson(entry)
    if not isinstance(found, dict) or "disclosure" not in found:
        return None
    item = found["disclosure"]
    if not isinstance(item, dict) or type(item.get("n")) is not int or not 0 < item["n"] < 1 << 63:
        raise Fault("expected a disclosure with a subject and a counter")
    return unhex(item.get("subject")), item["n"]


def check_patient(data: bytes, keys: Keys, name: str) -> Patient:
    """`disclosures/<name>.json`: counters 1 to n, each entry proved, and the map says n. Raises Fault."""
    types = {"checkpoint": str, "pseudonym": str, "count": int, "map_proof": dict, "entries": list, "pruned": int}
    found = struct_of(unjson(data), "accounting", ["pruned"], **types)
    note = Checkpoint.parse(found["checkpoint"].encode("utf-8", "replace"))
    keys.check(note, name)
    pseudonym, count, pruned = unhex(found["pseudonym"]), found["count"], found.get("pruned", 0)
    proof = struct_of(found["map_proof"], "map_proof", siblings=list, leaf=object)
    leaf = None
    if proof["leaf"] is not None:
        end = struct_of(proof["leaf"], "leaf", key=str, count=int)
        if not 0 < end["count"] < 1 << 63:
            raise Fault(f"expected a count from 1 on in the map, got {shown(end['count'])}")
        leaf = unhex(end["key"]), end["count"]
    if note.subjects is None:
        raise Fault("the checkpoint does not commit to counters", checkpoint=note.size)
    proved = verify_count(pseudonym, note.subjects[1], [unbase64(item, 32) for item in proof["siblings"]], leaf)
    if proved != count or not 0 <= pruned <= count:
        raise Fault(f"the checkpoint of {note.size} entries counts {proved} disclosures, the file says {count}")
    if len(found["entries"]) != count - pruned:
        raise Fault(
            f"expected disclosures {pruned + 1} to {count}, got {len(found['entries'])} entries: one is left out or extra"
        )
    indices: list[int] = []
    for n, row in enumerate(found["entries"], pruned + 1):
        item = struct_of(row, f"disclosure {n}", index=int, n=int, entry=str, proof=list)
        entry = unbase64(item["entry"])
        try:
            hashes = [unbase64(each, 32) for each in item["proof"]]
            verify_inclusion(item["index"], note.size, leaf_hash(entry), note.root, hashes)
            said = disclosure_of(entry)
        except Fault as fault:
            raise Fault(f"disclosure {n}, leaf {item['index']}: {fault}", leaf=item["index"]) from None
        if said != (pseudonym, n) or item["n"] != n or (indices and item["index"] <= indices[-1]):
            raise Fault(f"leaf {item['index']} is not disclosure {n} of this subject", leaf=item["index"])
        indices.append(item["index"])
    return Patient(note, pseudonym, count, pruned, tuple(indices))


@dataclass(frozen=True)
class TlogProof:
    """https://c2sp.org/tlog-proof; `extra`: the entry, if it is there."""

    extra: bytes | None
    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, data: bytes) -> TlogProof:
        """Its text. Raises Fault."""
        head, gap, note = data.partition(b"\n\n")
        try:
            first, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError:
            first, lines = "", []
        extra = unbase64(lines.pop(0)[6:]) if lines and lines[0].startswith("extra ") else None
        index = re.fullmatch(r"index (0|[1-9][0-9]{0,17})", lines.pop(0)) if lines else None
        if not gap or first != "c2sp.org/tlog-proof@v1" or index is None or len(lines) > 64:
            raise Fault("expected a text of the form c2sp.org/tlog-proof@v1")
        return cls(extra, int(index[1]), tuple(unbase64(line, 32) for line in lines), Checkpoint.parse(note))


def check_consistency_file(data: bytes, keys: Keys, name: str) -> tuple[Checkpoint, Checkpoint]:
    """`proofs/<name>.consistency.json`. Raises Fault."""
    found = struct_of(unjson(data), "consistency proof", old=str, new=str, proof=list)
    old, new = (Checkpoint.parse(found[which].encode("utf-8", "replace")) for which in ("old", "new"))
    for note in (old, new):
        keys.check(note, name)
    hashes = [unbase64(item, 32) for item in found["proof"]]
    verify_consistency(old.size, new.size, old.root, new.root, hashes)
    return old, new


def check_statement(data: bytes, keys: Iterable[Key]) -> tuple[str, Any]:
    """The payload of a DSSE envelope all of whose signatures are by these keys. Raises Fault."""
    found = struct_of(unjson(data), "envelope", payloadType=str, payload=str, signatures=list)
    kind, payload = found["payloadType"], unbase64(found["payload"])
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind.encode()), kind.encode(), len(payload), payload)
    if not found["signatures"] or len(found["signatures"]) > 16:
        raise Fault("expected 1 to 16 signatures")
    for item in found["signatures"]:
        row = struct_of(item, "signature", ["keyid"], keyid=str, sig=str)
        hint, signature = row.get("keyid", ""), unbase64(row["sig"])
        if not any(_verifies(key, signature, encoded) for key in keys if key.kind == ED25519 and _hinted(hint, key)):
            raise Fault(f"a signature of the statement is not by a given key (keyid {shown(hint)})")
    return kind, unjson(payload)


def _hinted(hint: str, key: Key) -> bool:
    return hint in ("", str(key)) or re.fullmatch(r"[A-Za-z0-9._-]+/[1-9][0-9]{0,5}", hint) is not None


def _verifies(key: Key, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


# The folder


@dataclass
class Check:
    """One line of the report; `ok` None: a remark."""

    check: str
    ok: bool | None
    detail: str
    place: dict[str, Any] = field(default_factory=dict)


class Files:
    """The regular files of a folder, found without following a link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sizes: dict[str, int] = {}
        self.strange: list[str] = []
        self.partial: dict[str, list[str]] = {}  # below each `<N>.p/`
        waiting = [""]
        while waiting:
            below = waiting.pop()
            try:
                with os.scandir(folder / below) as found:
                    waiting += self._listed(below, found)
            except OSError:
                self.strange.append(below)

    def _listed(self, below: str, found: Iterable[os.DirEntry[str]]) -> list[str]:
        """Take note of what is in one folder; the folders in it."""
        folders = []
        for item in found:
            path = below + item.name
            if item.is_dir(follow_symlinks=False) and path.count("/") < MAX_DEPTH:
                folders.append(path + "/")
            elif item.is_file(follow_symlinks=False):
                self.sizes[path] = item.stat(follow_symlinks=False).st_size
                if below.endswith(".p/"):
                    self.partial.setdefault(below, []).append(path)
            else:
                self.strange.append(path)
            if len(self.sizes) + len(self.strange) > MAX_FILES:
                raise Fault(f"expected at most {MAX_FILES} files")
        return folders

    def __contains__(self, path: str) -> bool:
        return path in self.sizes

    def under(self, prefix: str) -> list[str]:
        """The paths below a folder, sorted."""
        return sorted(path for path in self.sizes if path.startswith(prefix))

    def read(self, path: str, limit: int, size: int | None = None) -> bytes:
        """A whole file of at most `limit` bytes, or of exactly `size`. Raises Fault."""
        if path not in self.sizes:
            raise Fault(f"{shown(path)} is missing", file=path)
        return read_file(self.folder / path, limit, size, path)


def read_file(path: Path, limit: int, size: int | None = None, name: str = "") -> bytes:
    """A whole regular file. Raises Fault."""
    name = name or str(path)
    try:
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb") as file:
            data = file.read((limit if size is None else size) + 1)
    except OSError as error:
        raise Fault(f"{shown(name)} cannot be read: {error.strerror}", file=name) from None
    if len(data) > limit if size is None else len(data) != size:
        raise Fault(f"{shown(name)}: expected {f'{size}' if size is not None else f'at most {limit}'} bytes", file=name)
    return data


def tile_path(kind: str | int, index: int, width: int = WIDTH) -> str:
    """The path of a tile, or with kind `entries` of a bundle."""
    digits = str(index).zfill(3 * ((len(str(index)) + 2) // 3))
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join([*("x" + part for part in parts[:-1]), parts[-1]])
    return f"tile/{kind}/{path}" + ("" if width == WIDTH else f".p/{width}")


def split_bundle(data: bytes) -> list[bytes]:
    """The entries of a bundle, each behind its length of 16 bits. Raises Fault."""
    entries, at = [], 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data) or at + 2 > len(data):
            raise Fault("the bundle ends within an entry")
        entries.append(data[at + 2 : end])
        at = end
    return entries


@dataclass
class Head:
    """A tree head that the folder must lead to, and who says so."""

    name: str
    origin: str
    size: int
    root: bytes
    subjects: tuple[int, bytes] | None = None


@dataclass(frozen=True)
class _Roots:
    tiles: bytes
    entries: bytes
    subjects: tuple[int, bytes] | None


class Verifier:
    """All checks of one folder. `checks` is the report."""

    def __init__(self, folder: Path | None, keys: Keys, quorum: int | None = None) -> None:
        self.keys = keys
        self.quorum = len(keys.witnesses) if quorum is None else quorum
        self.checks: list[Check] = []
        self.files = None if folder is None else Files(folder)
        self.latest: Checkpoint | None = None
        self.heads: list[Head] = []
        self.before = 0  # the prune line
        self.missing = 0  # entries below it that are gone
        self._patients: list[tuple[str, Patient]] = []
        self._proofs: list[tuple[str, TlogProof]] = []
        self._roots: dict[int, _Roots] = {}
        self._leaves: dict[int, bytes] = {}  # hashes of entries that proofs speak of
        self._seen: dict[bytes, list[int]] = {}  # disclosures of the patients with a file
        self._used: set[str] = set()

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(check.ok is not False for check in self.checks)

    def fail(self, check: str, fault: Fault | str, **place: Any) -> None:
        """Report a fault."""
        place = {**(fault.place if isinstance(fault, Fault) else {}), **place}
        safe = {name: label(value) if isinstance(value, str) else value for name, value in place.items()}
        self.checks.append(Check(check, False, str(fault), safe))

    def good(self, check: str, detail: str) -> None:
        """Report what is as it must be."""
        self.checks.append(Check(check, True, detail))

    def note(self, check: str, detail: str) -> None:
        """Report what is neither."""
        self.checks.append(Check(check, None, detail))

    def run(self, since: Sequence[Path] = (), patients: Sequence[Path] = (), proofs: Sequence[Path] = ()) -> None:
        """Everything, in order."""
        if self.files is not None:
            self._read_keys(self.files)
            self._read_checkpoints(self.files)
        for path in since:
            self._guard("since", self._read_since, path)
        if self.files is not None:
            for name in self.files.under("statements/"):
                self._used.add(name)
                self._guard("statement", self._read_statement, name, self.files.read)
        for name, read in self._sources("disclosures/", ".json", patients):
            self._guard("disclosures", self._read_patient, name, read)
        for name, read in self._sources("proofs/", "", proofs):
            self._guard("proof", self._read_proof, name, read)
        if self.files is not None and self.latest is not None and self._walk(self.files, self.latest):
            self._compare(self.latest)
            self._leftovers(self.files)
        self._finish_patients()
        self._finish_proofs()

    def _guard(self, check: str, step: Any, name: Any, *rest: Any) -> None:
        try:
            step(name, *rest)
        except Fault as fault:
            said = label(name)
            self.fail(check, f"{said}: {fault}", **{"file": str(name), **fault.place})

    def _sources(self, prefix: str, suffix: str, given: Sequence[Path]) -> Iterator[tuple[str, Any]]:
        for name in self.files.under(prefix) if self.files is not None else []:
            if name.endswith(suffix) and self.files is not None:
                self._used.add(name)
                yield name, self.files.read
        for path in given:
            yield str(path), lambda name, limit: read_file(Path(name), limit)

    # what the folder says of keys and heads

    def _read_keys(self, files: Files) -> None:
        named: list[Key] = []
        for name in ("key.vkey", "witnesses.vkey"):
            if name in files:
                self._used.add(name)
                try:
                    data = files.read(name, MAX_NOTE)
                    found = read_keys(data)
                    if "".join(f"{key.vkey}\n" for key in found).encode() != data:
                        raise Fault("expected one verifier key a line, and nothing else")
                    named += found
                except Fault as fault:
                    self.fail("keys", f"{name}: {fault}", file=name)
        self.keys.named = named
        log = [key for key in self.keys.given if key in named]
        if not log:
            self.fail("keys", "key.vkey: none of the given keys is in it", file="key.vkey")

    def _read_checkpoints(self, files: Files) -> None:
        names = ["checkpoint", *sorted(files.under("checkpoints/"), key=lambda name: (len(name), name))]
        kept = 0
        signed: set[Key] = set()
        last = ""  # the newest checkpoint that witnesses signed
        for name in names:
            self._used.add(name)
            try:
                note = Checkpoint.parse(files.read(name, MAX_NOTE))
                by = self.keys.check(note, label(name))
            except Fault as fault:
                self.fail("checkpoint", f"{label(name)}: {fault}", **{"checkpoint": name, **fault.place})
                if name == "checkpoint":
                    return
                continue
            if name == "checkpoint":
                self.latest, signed = note, by
            elif name != f"checkpoints/{note.size}":
                self.fail("checkpoint", f"{shown(name)} has the checkpoint of {note.size} entries", checkpoint=name)
            kept += 1
            if by & set(self.keys.witnesses):
                last = f"{note.size}" if name != "checkpoint" else last
            self._expect(name, note)
        assert self.latest is not None
        self.good(
            "checkpoint",
            f"{self.latest.origin}: {self.latest.size} entries, signed by the given key; {kept} checkpoints",
        )
        if self.keys.witnesses:
            found = len(signed & set(self.keys.witnesses))
            text = f"{found} of {len(self.keys.witnesses)} given witnesses cosigned the latest checkpoint"
            if found < self.quorum:
                older = f"; the newest that any did has {last} entries" if last else ""
                self.fail("witness", f"{text}, expected {self.quorum}{older}", checkpoint=self.latest.size)
            else:
                self.good("witness", text)

    def _expect(self, name: str, note: Checkpoint) -> None:
        """A head that the tree must lead to."""
        if self.latest is not None and note.origin != self.latest.origin:
            text = f"{label(name)} is of {shown(note.origin)}, another log than {shown(self.latest.origin)}"
            self.fail("checkpoint", text, checkpoint=note.size, file=name)
        elif self.latest is not None and note.size > self.latest.size:
            text = f"rolled back: {label(name)} has {note.size} entries, the latest checkpoint only {self.latest.size}"
            self.fail("checkpoint", text, checkpoint=note.size, file=name)
        else:
            self.heads.append(Head(name, note.origin, note.size, note.root, note.subjects))

    def _read_since(self, path: Path) -> None:
        note = Checkpoint.parse(read_file(path, MAX_NOTE))
        named, self.keys.named = self.keys.named, None  # it is not from the folder
        try:
            self.keys.check(note, "the earlier checkpoint")
        finally:
            self.keys.named = named
        self._expect(str(path), note)

    def _read_statement(self, name: str, read: Any) -> None:
        data = read(name, MAX_JSON)
        try:
            kind, payload = check_statement(data, self.keys.given)
        except Fault:
            kind, payload = check_statement(data, self.keys.named or ())
            if kind == PRUNE:
                raise
            self.note("statement", f"{name}: signed by a key of the folder that you did not give: not believed")
            return
        if not isinstance(payload, dict):
            raise Fault("expected the payload to be an object")
        if kind != PRUNE:
            self.good("statement", f"{name}: signed by a given key")
            return
        fields = {key: payload.get(key) for key in ("origin", "before", "size", "root")}
        struct_of(fields, "prune statement", origin=str, before=int, size=int, root=str)
        before, size = int(payload["before"]), int(payload["size"])
        if self.latest is None or fields["origin"] != self.latest.origin or before > size:
            raise Fault("the statement is of another log, or disposes of more than there was")
        if size > self.latest.size:
            raise Fault(f"rolled back: it was made when the log had {size} entries", checkpoint=size)
        self.heads.append(Head(name, self.latest.origin, size, unbase64(fields["root"], 32)))
        self.before = max(self.before, before)
        self.good("statement", f"{name}: entries below {before} were disposed of, signed by a given key")

    def _read_patient(self, name: str, read: Any) -> None:
        found = check_patient(read(name, MAX_JSON), self.keys, name)
        if found.pruned and self.files is None:
            raise Fault(f"disclosures 1 to {found.pruned} were disposed of: that can be checked only with the folder")
        self._seen[found.pseudonym] = []
        self._patients.append((name, found))
        self._expect(name, found.checkpoint)

    def _read_proof(self, name: str, read: Any) -> None:
        if name.endswith(".consistency.json"):
            for note in check_consistency_file(read(name, MAX_JSON), self.keys, name):
                self._expect(name, note)
            self.good("proof", f"{name}: one checkpoint extends the other")
            return
        proof = TlogProof.parse(read(name, MAX_NOTE))
        self.keys.check(proof.checkpoint, name)
        self._expect(name, proof.checkpoint)
        self._proofs.append((name, proof))
        self._leaves[proof.index] = b""

    # the tree, leaf by leaf

    def _walk(self, files: Files, latest: Checkpoint) -> bool:
        """Read every tile and bundle once. False when the folder ends too early to go on."""
        from_tiles, from_entries, counters = Frontier(), Frontier(), Counters()
        levels = _Levels(self, files, latest.size)
        sizes = {head.size for head in self.heads}
        differing: list[int] = []
        before = len(self.checks)
        self._mark(0, sizes, from_tiles, from_entries, counters)
        for number in range((latest.size + WIDTH - 1) // WIDTH):
            first = number * WIDTH
            width = min(WIDTH, latest.size - first)
            entries = self._bundle(files, number, width)
            hashes = levels.read(0, number, width)
            if hashes is None and (entries is None or not all(entries)):
                self.fail(
                    "tree", f"leaves {first} to {latest.size - 1}: neither tile nor entries are whole", leaf=first
                )
                return False
            for at in range(width):
                entry = entries[at] if entries is not None else b""
                held = hashes[at] if hashes is not None else leaf_hash(entry)
                own = held
                if entry:
                    own = leaf_hash(entry)
                    if own != held:
                        differing.append(first + at)
                    self._count(first + at, entry, counters)
                elif first + at >= self.before:
                    self.fail(
                        "entries",
                        f"leaf {first + at}: the entry is missing, and no signed statement disposes of it",
                        leaf=first + at,
                    )
                    self.before = latest.size  # said once
                    self.missing += 1
                else:
                    self.missing += 1
                if first + at in self._leaves and entry:
                    self._leaves[first + at] = own
                from_tiles.append(held)
                from_entries.append(own)
                self._mark(first + at + 1, sizes, from_tiles, from_entries, counters)
            levels.full(
                number, width, hashes, [leaf_hash(item) for item in entries] if entries and all(entries) else None
            )
        levels.end()
        self._differ(differing, latest)
        if len(self.checks) == before:
            self.good("tiles", f"{levels.count} tiles are what the leaves make of them")
        return True

    def _mark(self, size: int, sizes: set[int], tiles: Frontier, entries: Frontier, counters: Counters) -> None:
        if size in sizes:
            known = None if self.missing else (len(counters.counts), counters.root())
            self._roots[size] = _Roots(tiles.root(), entries.root(), known)

    def _bundle(self, files: Files, number: int, width: int) -> list[bytes] | None:
        path = tile_path("entries", number, width)
        self._used.add(path)
        if path not in files and number * WIDTH + width <= self.before:
            return None
        try:
            data = files.read(path, MAX_BUNDLE)
            entries = split_bundle(data)
            if len(entries) != width:
                raise Fault(f"expected {width} entries, got {len(entries)}")
        except Fault as fault:
            place = {"tile": path, "leaf": number * WIDTH, **fault.place}
            self.fail("entries", f"{path} (leaves {number * WIDTH} to {number * WIDTH + width - 1}): {fault}", **place)
            self.before = max(self.before, number * WIDTH + width)  # said once
            return None
        self._older(files, path, data, [0, *_ends(entries)])
        return entries

    def _older(self, files: Files, path: str, data: bytes, ends: Sequence[int]) -> None:
        """Partial ones of an earlier export that still lie there must be beginnings of this one."""
        folder = path.partition(".p/")[0] + ".p/"
        for other in files.partial.get(folder, ()):
            width = other[len(folder) :]
            if other != path and re.fullmatch(r"[1-9][0-9]{0,2}", width) and int(width) < len(ends):
                self._used.add(other)
                if files.read(other, MAX_BUNDLE) != data[: ends[int(width)]]:
                    self.fail("tiles", f"{other} is not the beginning of {path}", tile=other)

    def _count(self, index: int, entry: bytes, counters: Counters) -> None:
        try:
            found = disclosure_of(entry)
        except Fault as fault:
            self.fail("counters", f"leaf {index}: {fault}", leaf=index)
            return
        if found is None:
            return
        key, n = found
        expected = counters.counts.get(key, 0) + 1
        if n != expected and (expected > 1 or not self.missing):
            self.fail("counters", f"leaf {index}: disclosure {n} of a subject, expected {expected}", leaf=index)
        counters.set(key, n)
        if key in self._seen:
            self._seen[key].append(index)

    def _differ(self, leaves: list[int], latest: Checkpoint) -> None:
        roots = self._roots[latest.size]
        for index in leaves[:MAX_NAMED]:
            tile = tile_path(0, index // WIDTH, min(WIDTH, latest.size - index // WIDTH * WIDTH))
            if roots.tiles != latest.root and roots.entries == latest.root:
                self.fail("tiles", f"{tile}: hash {index % WIDTH} is not that of leaf {index}", tile=tile, leaf=index)
            else:
                self.fail("entries", f"leaf {index}: the entry is not what the tree holds", leaf=index)
        if len(leaves) > MAX_NAMED:
            self.fail("entries", f"{len(leaves) - MAX_NAMED} more leaves, up to {leaves[-1]}", leaf=leaves[MAX_NAMED])

    def _compare(self, latest: Checkpoint) -> None:
        """Every head, smallest first: the first that differs tells between which leaves the change is."""
        proved, bad = [0], 0
        for head in sorted(self.heads, key=lambda item: item.size):
            found = self._roots[head.size]
            name = label(head.name)
            if head.root not in (found.tiles, found.entries):
                bad += 1
                if bad <= MAX_NAMED:
                    first = max((size for size in proved if size < head.size), default=0)
                    text = f"{name}: the leaves do not lead to its root; among leaves {first} to {head.size - 1}"
                    self.fail("consistency", text, checkpoint=head.size, leaf=first, file=head.name)
                continue
            proved = [*proved[-1:], head.size] if head.size != proved[-1] else proved
            if head.subjects is not None and found.subjects is not None and head.subjects != found.subjects:
                self.fail("counters", f"{name}: its counters are not those of the entries", checkpoint=head.size)
            if (
                head.subjects is None
                and found.subjects
                and found.subjects[0]
                and not head.name.startswith("statements/")
            ):
                self.fail("counters", f"{name}: it does not commit to the counters", checkpoint=head.size)
        if not bad:
            self.good(
                "consistency", f"{len(self.heads)} tree heads, each a beginning of the same {latest.size} entries"
            )
        if self.missing:
            self.note("entries", f"{self.missing} entries were disposed of; the counters of before are not made anew")
        elif not any(check.check == "counters" and not check.ok for check in self.checks):
            subjects = self._roots[latest.size].subjects
            self.good(
                "counters", f"the disclosures of {subjects[0] if subjects else 0} subjects, counted without a gap"
            )

    def _leftovers(self, files: Files) -> None:
        for name in files.strange:
            self.fail("files", f"{shown(name)} is neither a file nor a folder that can be read", file=name)
        other = sorted(set(files.sizes) - self._used)
        beyond = [name for name in other if name.startswith("tile/") and "/." not in name]
        if beyond:
            text = f"{len(beyond)} tiles beyond the checkpoint, such as {shown(beyond[0])}"
            why = "an export was cut off (export again), or an older checkpoint put in its place"
            self.fail("files", f"{text}: {why}", file=beyond[0])
        if len(other) > len(beyond):
            self.note("files", f"{len(other) - len(beyond)} other files were not checked")

    # what proofs say, beside the tree

    def _finish_patients(self) -> None:
        for name, found in self._patients:
            said = label(name)
            if found.checkpoint.size in self._roots:
                seen = [index for index in self._seen[found.pseudonym] if index < found.checkpoint.size]
                listed = [index for index in found.indices if index >= self.before or index in seen]
                if differing := sorted(set(seen) ^ set(listed)):
                    self.fail("disclosures", f"{said}: leaf {differing[0]} is left out or extra", leaf=differing[0])
                    continue
                if found.pruned and not self.before:
                    self.fail("disclosures", f"{said}: nothing was disposed of, but {found.pruned} are left out")
                    continue
            text = f"{found.count} disclosures under the checkpoint of {found.checkpoint.size} entries, none left out"
            self.good("disclosures", f"{said}: {text}" + (f"; {found.pruned} disposed of" if found.pruned else ""))

    def _finish_proofs(self) -> None:
        for name, proof in self._proofs:
            held = self._leaves.get(proof.index)
            leaf = held if proof.extra is None else leaf_hash(proof.extra)
            try:
                if not leaf:
                    raise Fault("the entry is neither in the proof nor in the folder")
                verify_inclusion(proof.index, proof.checkpoint.size, leaf, proof.checkpoint.root, proof.hashes)
            except Fault as fault:
                self.fail("proof", f"{label(name)}: leaf {proof.index}: {fault}", leaf=proof.index, file=name)
            else:
                self.good("proof", f"{label(name)}: leaf {proof.index} is in the log")


def _ends(entries: Iterable[bytes]) -> Iterator[int]:
    at = 0
    for entry in entries:
        at += 2 + len(entry)
        yield at


class _Levels:
    """The tiles above the leaves: each hash in them is the root of a full tile below."""

    def __init__(self, verifier: Verifier, files: Files, size: int) -> None:
        self.verifier, self.files, self.size = verifier, files, size
        self.count = 0
        self._made: list[list[tuple[bytes, ...]]] = []  # of each level above 0, in the tile that is being filled
        self._numbers: list[int] = []

    def read(self, level: int, number: int, width: int) -> list[bytes] | None:
        """The hashes of a tile."""
        path = tile_path(level, number, width)
        self.verifier._used.add(path)
        self.count += 1
        try:
            data = self.files.read(path, 0, 32 * width)
            self.verifier._older(self.files, path, data, range(0, 32 * width + 1, 32))
        except Fault as fault:
            self.verifier.fail("tiles", fault, **{"tile": path, "leaf": number * WIDTH ** (level + 1)})
            return None
        return [data[at : at + 32] for at in range(0, len(data), 32)]

    def full(self, number: int, width: int, hashes: list[bytes] | None, own: list[bytes] | None) -> None:
        """A tile of leaves is read: its root, of the tile's hashes and of the entries' own where these differ."""
        if width == WIDTH:
            self._push(1, tuple(dict.fromkeys(_root(each) for each in (hashes, own) if each is not None)))

    def _push(self, level: int, roots: tuple[bytes, ...]) -> None:
        if len(self._made) < level:
            self._made.append([])
            self._numbers.append(0)
        made = self._made[level - 1]
        made.append(roots)
        if len(made) == WIDTH:
            self._push(level + 1, (self._settle(level),))

    def _settle(self, level: int) -> bytes:
        """Compare what was made with the tile; its root."""
        made, number = self._made[level - 1], self._numbers[level - 1]
        held = self.read(level, number, len(made))
        chosen = []
        for at, roots in enumerate(made):
            if held is not None and held[at] not in roots:
                path = tile_path(level, number, len(made))
                first = (number * WIDTH + at) * WIDTH**level
                text = f"{path}: hash {at} is not that of leaves {first} to {first + WIDTH**level - 1}"
                self.verifier.fail("tiles", text, tile=path, leaf=first)
            chosen.append(held[at] if held is not None and held[at] in roots else roots[0])
        self._made[level - 1] = []
        self._numbers[level - 1] += 1
        return _root(chosen)

    def end(self) -> None:
        """The partial tiles at the right edge."""
        for level in range(1, len(self._made) + 1):
            if self._made[level - 1]:
                self._settle(level)


def _root(hashes: Sequence[bytes]) -> bytes:
    tree = Frontier()
    for item in hashes:
        tree.append(item)
    return tree.root()


# The command


def read_keys(data: bytes) -> list[Key]:
    """Verifier keys, one a line; empty lines and lines with `#` are passed over. Raises Fault."""
    try:
        lines = data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise Fault("expected verifier keys in UTF-8") from None
    found = [Key.parse(line.strip()) for line in lines if line.strip() and not line.startswith("#")]
    if not found:
        raise Fault("expected a verifier key")
    return found


def verify(
    folder: Path | None,
    key: Path,
    witness: Path | None = None,
    since: Sequence[Path] = (),
    patients: Sequence[Path] = (),
    proofs: Sequence[Path] = (),
    quorum: int | None = None,
) -> Verifier:
    """Check a folder, or single files. `Verifier.ok` and `Verifier.checks` say how it is. Raises Fault for a bad key file."""
    witnesses = read_keys(read_file(witness, MAX_NOTE)) if witness is not None else []
    keys = Keys(read_keys(read_file(key, MAX_NOTE)), witnesses)
    verifier = Verifier(folder, keys, quorum)
    verifier.run(since, patients, proofs)
    return verifier


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Check an evidence folder of an audit log.", allow_abbrev=False)
    parser.add_argument("folder", metavar="DIR", nargs="?", type=Path, help="the evidence folder")
    parser.add_argument("--key", metavar="FILE", type=Path, required=True, help="the keys that you believe (vkeys)")
    parser.add_argument("--witness", metavar="FILE", type=Path, help="witnesses that must have cosigned (vkeys)")
    parser.add_argument("--quorum", metavar="N", type=int, help="how many of them must have (all)")
    for name, text in (
        ("since", "a checkpoint that you kept from earlier"),
        ("patient", "an accounting of disclosures"),
        ("proof", "a proof of one entry, or of consistency"),
    ):
        parser.add_argument(f"--{name}", metavar="FILE", type=Path, action="append", default=[], help=text)
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    options = parser.parse_args(arguments)
    if options.folder is None and not (options.patient or options.proof):
        parser.error("expected a folder, or --patient or --proof")
    if options.folder is not None and not options.folder.is_dir():
        parser.error(f"expected a folder, got {options.folder}")
    try:
        found = verify(
            options.folder, options.key, options.witness, options.since, options.patient, options.proof, options.quorum
        )
    except Fault as fault:
        parser.error(str(fault))
    if options.json:
        latest = found.latest
        head = {"origin": latest.origin, "size": latest.size, "root": latest.root.hex()} if latest else {}
        print(json.dumps({"ok": found.ok, **head, "checks": [asdict(check) for check in found.checks]}))
    else:
        for check in found.checks:
            print(f"{ {True: 'ok  ', False: 'FAIL', None: 'note'}[check.ok] }  {check.check:<12} {check.detail}")
        print("VERIFIED" if found.ok else "NOT VERIFIED")
    return 0 if found.ok else 1


if __name__ == "__main__":
    sys.exit(main())
