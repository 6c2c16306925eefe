"""Writes evidence folders by the definitions of RFC 6962, C2SP and FORMAT.md, in the slowest and plainest way.

It shares no line with the verifier nor with the log, so that the tests do not compare a thing with itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

ED25519, COSIGNATURE, MLDSA44 = 1, 4, 6


def b64(data: bytes) -> str:
    """Standard base64."""
    return base64.b64encode(data).decode()


def sha256(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


class Signer:
    """A key that signs notes: a log's (1) or a witness's (4, 6)."""

    def __init__(self, name: str, kind: int = ED25519) -> None:
        self.name, self.kind = name, kind
        self.secret: Any = MLDSA44PrivateKey.generate() if kind == MLDSA44 else Ed25519PrivateKey.generate()
        self.public = bytes([kind]) + self.secret.public_key().public_bytes_raw()
        self.id = sha256(name.encode() + b"\n" + self.public)[:4]
        self.vkey = f"{name}+{self.id.hex()}+{b64(self.public)}"

    def line(self, body: str, time: int = 1_763_900_000) -> str:
        """The signature line under the body of a checkpoint."""
        origin, size, root = body.split("\n")[:3]
        stamp = struct.pack(">Q", time)
        if self.kind == ED25519:
            signature = self.secret.sign(body.encode())
        elif self.kind == COSIGNATURE:
            signature = stamp + self.secret.sign(f"cosignature/v1\ntime {time}\n{body}".encode())
        else:
            message = b"subtree/v1\n\0" + bytes([len(self.name)]) + self.name.encode() + stamp
            message += (
                bytes([len(origin)]) + origin.encode() + struct.pack(">QQ", 0, int(size)) + base64.b64decode(root)
            )
            signature = stamp + self.secret.sign(message)
        return f"— {self.name} {b64(self.id + signature)}\n"

    def envelope(self, kind: str, payload: Mapping[str, Any], keyid: str = "") -> dict[str, Any]:
        """A DSSE envelope."""
        data = json.dumps(payload).encode()
        encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(data), data)
        signature = {"keyid": keyid or f"{self.name}+{self.id.hex()}", "sig": b64(self.secret.sign(encoded))}
        return {"payloadType": kind, "payload": b64(data), "signatures": [signature]}


class Log:
    """A log in memory. `sizes`: those of its checkpoints."""

    def __init__(self, origin: str = "rustcare.example/audit") -> None:
        self.key = Signer(origin)
        self.witnesses: list[Signer] = []
        self.entries: list[bytes] = []
        self.subjects: list[tuple[bytes, int] | None] = []  # of each entry: whose disclosure, and which
        self.sizes: list[int] = []
        self._trees: dict[tuple[int, int], bytes] = {}

    def add(self, text: str = "read", subject: bytes | None = None) -> int:
        """One more entry, the disclosure of a subject if one is given; its index."""
        entry: dict[str, Any] = {"id": len(self.entries), "kind": "use", "v": 1, "what": {"action": text}}
        said = None
        if subject is not None:
            n = sum(1 for item in self.subjects if item is not None and item[0] == subject) + 1
            said = subject, n
            entry = {"disclosure": {"n": n, "subject": subject.hex()}, **entry}
        return self.add_raw(json.dumps(entry, separators=(",", ":")).encode(), said)

    def add_raw(self, entry: bytes, said: tuple[bytes, int] | None = None) -> int:
        """An entry as it is."""
        self.entries.append(entry)
        self.subjects.append(said)
        return len(self.entries) - 1

    def commit(self) -> int:
        """Keep a checkpoint of this size."""
        self.sizes.append(len(self.entries))
        return len(self.entries)

    # RFC 6962, section 2.1, by its definitions

    def tree(self, start: int, end: int) -> bytes:
        """MTH(D[start:end])."""
        if end - start < 2:
            return sha256(b"\0" + self.entries[start]) if end > start else sha256(b"")
        if (start, end) not in self._trees:
            k = self._half(end - start)
            self._trees[start, end] = sha256(b"\1" + self.tree(start, start + k) + self.tree(start + k, end))
        return self._trees[start, end]

    def path(self, index: int, start: int, end: int) -> list[bytes]:
        """PATH(index, D[start:end]), the index counted from 0."""
        if end - start < 2:
            return []
        k = start + self._half(end - start)
        if index < k:
            return [*self.path(index, start, k), self.tree(k, end)]
        return [*self.path(index, k, end), self.tree(start, k)]

    def consistency(self, old: int, start: int, end: int, whole: bool = True) -> list[bytes]:
        """SUBPROOF(old, D[start:end], whole)."""
        if old == end:
            return [] if whole else [self.tree(start, end)]
        k = start + self._half(end - start)
        if old <= k:
            return [*self.consistency(old, start, k, whole), self.tree(k, end)]
        return [*self.consistency(old, k, end, False), self.tree(start, k)]

    @staticmethod
    def _half(count: int) -> int:
        k = 1
        while k * 2 < count:
            k *= 2
        return k

    # the map of counters, by FORMAT.md

    def counts(self, size: int) -> dict[bytes, int]:
        """The counters after so many entries."""
        return {said[0]: said[1] for said in self.subjects[:size] if said is not None}

    def map(self, counts: Mapping[bytes, int], depth: int = 0) -> bytes:
        """The root of a subtree of the map with these keys."""
        if len(counts) < 2:
            return next((sha256(b"\0" + key + struct.pack(">Q", n)) for key, n in counts.items()), bytes(32))
        left, right = self._sides(counts, depth)
        return sha256(b"\1" + self.map(left, depth + 1) + self.map(right, depth + 1))

    def map_proof(self, key: bytes, counts: Mapping[bytes, int], depth: int = 0) -> dict[str, Any]:
        """The siblings, lowest first, and the leaf."""
        if len(counts) < 2:
            leaf = next(({"key": each.hex(), "count": n} for each, n in counts.items()), None)
            return {"siblings": [], "leaf": leaf}
        sides = self._sides(counts, depth)
        side = self._bit(key, depth)
        found = self.map_proof(key, sides[side], depth + 1)
        return {"siblings": [*found["siblings"], b64(self.map(sides[1 - side], depth + 1))], "leaf": found["leaf"]}

    def _sides(self, counts: Mapping[bytes, int], depth: int) -> list[dict[bytes, int]]:
        return [{key: n for key, n in counts.items() if self._bit(key, depth) == side} for side in (0, 1)]

    @staticmethod
    def _bit(key: bytes, depth: int) -> int:
        return key[depth // 8] >> (7 - depth % 8) & 1

    # files

    def checkpoint(self, size: int) -> str:
        """The signed note."""
        counts = self.counts(size)
        body = f"{self.key.name}\n{size}\n{b64(self.tree(0, size))}\n"
        body += f"rustcare/subjects {len(counts)} {b64(self.map(counts))}\n"
        return body + "\n" + "".join(key.line(body) for key in (self.key, *self.witnesses))

    def disclosures(self, subject: bytes, size: int) -> dict[str, Any]:
        """The accounting of one subject."""
        counts = self.counts(size)
        rows = [
            {"index": index, "n": said[1], "entry": b64(self.entries[index]), "proof": self._proof(index, size)}
            for index, said in enumerate(self.subjects[:size])
            if said is not None and said[0] == subject
        ]
        return {
            "checkpoint": self.checkpoint(size),
            "pseudonym": subject.hex(),
            "count": counts.get(subject, 0),
            "map_proof": self.map_proof(subject, counts),
            "entries": rows,
        }

    def _proof(self, index: int, size: int) -> list[str]:
        return [b64(item) for item in self.path(index, 0, size)]

    def tlog_proof(self, index: int, size: int, *, extra: bool = True) -> str:
        """A proof in the form of C2SP tlog-proof."""
        lines = ["c2sp.org/tlog-proof@v1", *([f"extra {b64(self.entries[index])}"] if extra else []), f"index {index}"]
        return "\n".join([*lines, *self._proof(index, size), "", self.checkpoint(size)])

    def write(self, folder: Path, size: int | None = None, before: int = 0, kept: Sequence[int] | None = None) -> Path:
        """The evidence folder of `size` entries, pruned below `before` (without the statement)."""
        size = len(self.entries) if size is None else size
        put(folder / "checkpoint", self.checkpoint(size))
        put(folder / "key.vkey", self.key.vkey + "\n")
        if self.witnesses:
            put(folder / "witnesses.vkey", "".join(key.vkey + "\n" for key in self.witnesses))
        for each in (item for item in (self.sizes if kept is None else kept) if item <= size):
            put(folder / "checkpoints" / str(each), self.checkpoint(each))
        level, span = 0, 1
        while span <= size:
            for number in range((size // span + 255) // 256):
                hashes = [
                    self.tree(at * span, (at + 1) * span)
                    for at in range(number * 256, min(number * 256 + 256, size // span))
                ]
                put(folder / path_of(str(level), number, len(hashes)), b"".join(hashes))
            level, span = level + 1, span * 256
        for number in range((size + 255) // 256):
            chunk = range(number * 256, min(number * 256 + 256, size))
            if chunk.stop > before:
                items = [self.entries[index] if index >= before else b"" for index in chunk]
                put(folder / path_of("entries", number, len(items)), bundle(items))
        return folder

    def statement(self, before: int, size: int, kind: str = "application/vnd.rustcare.prune+json") -> dict[str, Any]:
        """A signed prune statement."""
        root = b64(self.tree(0, size))
        return self.key.envelope(kind, {"origin": self.key.name, "before": before, "size": size, "root": root})


def bundle(entries: Iterable[bytes]) -> bytes:
    """An entry bundle."""
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def path_of(kind: str, number: int, width: int) -> str:
    """C2SP tlog-tiles, for numbers below a million."""
    name = f"x{number // 1000:03}/{number % 1000:03}" if number > 999 else f"{number:03}"
    return f"tile/{kind}/{name}" + (f".p/{width}" if width < 256 else "")


def put(path: Path, data: Any) -> Path:
    """Write a file: bytes, text, or JSON of anything else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not isinstance(data, (bytes, str)):
        data = json.dumps(data)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path
