"""Which old checkpoints stay, and pruning."""

from __future__ import annotations

from rustcare_plugin_audit.notes import WIDTH

from .rows import CHECKPOINT, ENTRIES, KEPT, Rows, place

__all__ = ["EVERY", "RECENT", "SPACING", "Upkeep"]

RECENT = 4096  # the last checkpoints, which all stay
SPACING = 4096  # of the older ones one stays for each so many entries, and those that were kept by name
EVERY = 1024  # commits between two rounds
_DROPPED = 64 * WIDTH  # entries deleted in one transaction


class Upkeep:
    """Thins out checkpoints, deletes entries."""

    def __init__(self, rows: Rows, recent: int = RECENT, spacing: int = SPACING) -> None:
        self._rows = rows
        self._recent = recent
        self._spacing = spacing
        self._commits = 0
        self._done = 0

    async def committed(self) -> None:
        """One more commit was made; now and then the checkpoints are thinned out."""
        self._commits += 1
        if self._commits % EVERY == 0:
            await self.thin()

    async def thin(self) -> int:
        """Delete old checkpoints that need not stay; how many went."""
        recent = await self._rows.db.fetch(
            "SELECT place FROM audit_log WHERE place >= ? AND place < ? ORDER BY place DESC LIMIT 1 OFFSET ?",
            (place(CHECKPOINT), place(CHECKPOINT + 1), self._recent - 1),
        )
        if not recent:
            return 0
        bound = recent[0]["place"] - place(CHECKPOINT)
        found = await self._rows.db.fetch(
            "SELECT place FROM audit_log WHERE place >= ? AND place < ? ORDER BY place",
            (place(CHECKPOINT, self._done), place(CHECKPOINT, bound)),
        )
        kept = {size for size, _ in await self._rows.between(KEPT, self._done, bound)}
        gone, window = [], -1
        for row in found:
            size = row["place"] - place(CHECKPOINT)
            if size // self._spacing != window or size in kept:
                window = size // self._spacing
                continue
            gone.append(row["place"])
        if gone:
            await self._rows.drop(gone)
        self._done = bound // self._spacing * self._spacing  # the window that is not over is looked at again
        return len(gone)

    async def prune(self, first: int, before: int) -> None:
        """Delete the entries `[first, before)`, both multiples of 256. Tiles stay."""
        low = first
        while low < before:
            high = min(low + _DROPPED, before)
            await self._rows.drop_entries(low, high)
            low = high

    async def entries_below(self, index: int) -> bool:
        """Whether entries below an index are still there."""
        return bool(await self._rows.between(ENTRIES, 0, index, 1))
