"""The key-value space, over either database's SQL: a table `_kv` in the plugin's own database.

Keys are kept as the bytes of their UTF-8, so that both databases sort them alike (by code point) and neither has
characters it cannot hold.
"""

from __future__ import annotations

from rustcare_sdk.context import Database

from .errors import KeyInvalid, ValueUnsupported

__all__ = ["StoreKeyValue"]

_MAX_KEY = 512
_GET = "SELECT value FROM _kv WHERE key = ?"
_PUT = "INSERT INTO _kv (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
_DELETE = "DELETE FROM _kv WHERE key = ?"
_KEYS = "SELECT key FROM _kv ORDER BY key"
_KEYS_UNDER = "SELECT key FROM _kv WHERE key >= ? AND key < ? ORDER BY key"


class StoreKeyValue:
    """`KeyValue` in the table `_kv` of a plugin's database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def get(self, key: str) -> bytes | None:
        row = await self._db.fetch_one(_GET, (_encode(key),))
        return None if row is None else row["value"]

    async def put(self, key: str, value: bytes) -> None:
        if not isinstance(value, bytes):
            raise ValueUnsupported(
                f"a value of bytes was expected and {type(value).__name__} came",
                hint="encode it first, as JSON for instance",
            )
        await self._db.execute(_PUT, (_encode(key), value))

    async def delete(self, key: str) -> None:
        await self._db.execute(_DELETE, (_encode(key),))

    async def keys(self, prefix: str = "") -> list[str]:
        if not prefix:
            rows = await self._db.fetch(_KEYS)
        else:
            start = _encode(prefix)
            # UTF-8 never holds 0xff, so the last byte can always be raised by one: the first key behind the prefix.
            rows = await self._db.fetch(_KEYS_UNDER, (start, start[:-1] + bytes((start[-1] + 1,))))
        return [row["key"].decode() for row in rows]


def _encode(key: str) -> bytes:
    try:
        encoded = key.encode()
    except UnicodeEncodeError:
        raise KeyInvalid("a key of valid Unicode was expected and a lone surrogate came") from None
    if not 0 < len(encoded) <= _MAX_KEY:
        raise KeyInvalid(f"a key of 1 to {_MAX_KEY} bytes was expected and {len(encoded)} came")
    return encoded
