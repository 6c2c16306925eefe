"""The map of disclosure counters over its rows: what a commit changes, and proofs at sizes of the past.

Rows are only ever added, each with the place of its entry, so the map of any earlier size is the rows with lower places. In
memory: the top of the tree and the buckets used last.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence, Set

from rustcare_sdk.context import Database

from rustcare_plugin_audit.errors import LogCorrupt
from rustcare_plugin_audit.tree.subjects import DEPTH, MapProof, Node, Top, bucket_node, bucket_of, bucket_path

__all__ = ["INSERT", "SubjectMap", "Told"]

INSERT = "INSERT INTO audit_disclosures (pseudonym, n, place) VALUES (?, ?, ?)"

KEPT = 512  # buckets in memory
PAGE = 4096  # rows read in one go

_COUNTS = (
    "SELECT pseudonym, MAX(n) AS n FROM audit_disclosures"
    " WHERE pseudonym >= ? AND pseudonym <= ? AND place < ? GROUP BY pseudonym"
)

#: Key, counter and place of a disclosure.
Told = tuple[bytes, int, int]


class Change:
    """What a commit does to the map, until it is durable."""

    __slots__ = ("buckets", "nodes", "root", "subjects")

    def __init__(self, root: bytes, subjects: int) -> None:
        self.nodes: dict[int, Node] = {}
        self.buckets: dict[int, dict[bytes, int]] = {}
        self.root = root
        self.subjects = subjects


class SubjectMap:
    """The map as it is after the last commit."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._top = Top()
        self._cache: OrderedDict[int, dict[bytes, int]] = OrderedDict()
        self.size = 0
        self.subjects = 0

    @property
    def root(self) -> bytes:
        """The map's root."""
        return self._top.root

    # writing

    async def counts(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """The counters of these keys; their buckets stay at hand."""
        found = {}
        for key in set(keys):
            found[key] = (await self._bucket(bucket_of(key))).get(key, 0)
        return found

    async def change(self, told: Sequence[Told]) -> Change:
        """What these disclosures change."""
        change = Change(self.root, self.subjects)
        for key, n, _ in told:
            number = bucket_of(key)
            bucket = change.buckets.get(number)
            if bucket is None:
                bucket = change.buckets[number] = dict(await self._bucket(number))
            if n == 1:
                change.subjects += 1
            bucket[key] = n
        change.nodes = self._top.changed({number: bucket_node(counts) for number, counts in change.buckets.items()})
        change.root = change.nodes[1].hash
        return change

    def take(self, change: Change, size: int) -> None:
        """A commit is durable: the map is what it changed it to."""
        self._top.take(change.nodes)
        self.subjects = change.subjects
        self.size = size
        for number, bucket in change.buckets.items():
            self._keep(number, bucket)

    async def _bucket(self, number: int) -> dict[bytes, int]:
        bucket = self._cache.get(number)
        if bucket is None:
            bucket = await self._read(number, DEPTH, self.size)
            self._keep(number, bucket)
        return bucket

    def _keep(self, number: int, bucket: dict[bytes, int]) -> None:
        self._cache[number] = bucket
        self._cache.move_to_end(number)
        while len(self._cache) > KEPT:
            self._cache.popitem(last=False)

    async def _read(self, prefix: int, depth: int, size: int) -> dict[bytes, int]:
        """Keys that begin with these bits, with their counters in the log of `size`."""
        low = (prefix << (256 - depth)).to_bytes(32, "big")
        high = (((prefix + 1) << (256 - depth)) - 1).to_bytes(32, "big")
        return {row["pseudonym"]: row["n"] for row in await self._db.fetch(_COUNTS, (low, high, size))}

    # opening

    async def load(self, size: int) -> None:
        """Read all rows, a page at a time, and compute the map.

        Raises:
            LogCorrupt: a subject's counters are not 1, 2, 3, …, or a row is of a place that does not exist.
        """
        row = await self._db.fetch_one("SELECT MAX(place) AS place FROM audit_disclosures")
        if row is not None and row["place"] is not None and row["place"] >= size:
            place = row["place"]
            raise LogCorrupt(f"expected disclosures below {size} entries, got one", address=f"leaf {place}", leaf=place)
        self._top, self.subjects = await self._map(size)
        self.size = size
        self._cache.clear()

    async def again(self, size: int) -> None:
        """Compute the map of the log of `size` from its rows, only to see that they are in order. Raises as `load`."""
        await self._map(size)

    async def _map(self, size: int) -> tuple[Top, int]:
        top, subjects = Top(), 0
        number, bucket = -1, dict[bytes, int]()
        nodes: dict[int, Node] = {}
        after = b""
        while True:
            rows = await self._db.fetch(
                "SELECT pseudonym, COUNT(*) AS c, MIN(n) AS low, MAX(n) AS n FROM audit_disclosures"
                " WHERE pseudonym > ? AND place < ? GROUP BY pseudonym ORDER BY pseudonym LIMIT ?",
                (after, size, PAGE),
            )
            for row in rows:
                key, n = row["pseudonym"], row["n"]
                if len(key) != 32 or row["c"] != n or row["low"] != 1:
                    raise LogCorrupt(
                        f"expected disclosures counted from 1 to {row['c']}, got {row['low']} to {n}",
                        address=f"subject {key.hex()}",
                        checkpoint=size,
                    )
                if bucket_of(key) != number:
                    if bucket:
                        nodes[number] = bucket_node(bucket)
                    number, bucket = bucket_of(key), {}
                bucket[key] = n
                subjects += 1
            if len(rows) < PAGE:
                break
            after = rows[-1]["pseudonym"]
        if bucket:
            nodes[number] = bucket_node(bucket)
        if nodes:
            top.take(top.changed(nodes))
        return top, subjects

    # proofs

    async def proof(self, key: bytes, size: int) -> MapProof:
        """The counter of a key in the log of `size`, not above the present one. The caller compares the root."""
        top, now, subjects = self._top, self.size, self.subjects
        if size < now:
            top, subjects = await self._top_of(size)
            path, depth = top.path(key)
        else:
            path, depth = top.path(key)  # at once: commits go on while we read rows
        root = top.root
        counts = await self._read(int.from_bytes(key, "big") >> (256 - depth), depth, size)
        below, leaf = bucket_path(counts, key, depth)
        places = await self._db.fetch(
            "SELECT place FROM audit_disclosures WHERE pseudonym = ? AND place < ? ORDER BY n", (key, size)
        )
        return MapProof(
            key.hex(), size, counts.get(key, 0), [row["place"] for row in places], below + path, leaf, root, subjects
        )

    async def _top_of(self, size: int) -> tuple[Top, int]:
        """The top of the map as it was: what changed since is computed again."""
        top, now, subjects = self._top.copy(), self.size, self.subjects
        rows = await self._db.fetch(
            "SELECT pseudonym, MIN(n) AS n FROM audit_disclosures WHERE place >= ? AND place < ? GROUP BY pseudonym",
            (size, now),
        )
        nodes = await self.buckets_of({row["pseudonym"] for row in rows}, size)
        if nodes:
            top.take(top.changed(nodes))
        return top, subjects - sum(1 for row in rows if row["n"] == 1)

    async def buckets_of(self, keys: Set[bytes], size: int) -> dict[int, Node]:
        """The buckets of these keys, as they are in the log of `size`."""
        return {number: bucket_node(await self._read(number, DEPTH, size)) for number in set(map(bucket_of, keys))}

    async def places(self, low: int, high: int) -> list[Told]:
        """The disclosures at places `[low, high)`, in the order of the log."""
        rows = await self._db.fetch(
            "SELECT pseudonym, n, place FROM audit_disclosures WHERE place >= ? AND place < ? ORDER BY place",
            (low, high),
        )
        return [(row["pseudonym"], row["n"], row["place"]) for row in rows]
