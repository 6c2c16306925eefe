"""An audit log of a test's own: a key that signs here, the log's tables, and a database that can be made to fail."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import rustcare_plugin_audit
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rustcare_kernel.stores import Migration
from rustcare_plugin_audit.log import AuditLog, Leaf
from rustcare_plugin_audit.notes import ED25519, VerifierKey, signature_line
from rustcare_sdk.context import Database, Queries
from rustcare_sdk.errors import StoreError

__all__ = ["ORIGIN", "FailingDatabase", "LogSigner", "log_files", "log_migrations", "new_log", "pseudonym", "told"]

ORIGIN = "log.example/audit"


class LogSigner:
    """Signs checkpoints. `bodies`: what it signed."""

    def __init__(self) -> None:
        self._secret = Ed25519PrivateKey.generate()
        self.key = VerifierKey(ORIGIN, ED25519, self._secret.public_key().public_bytes_raw())
        self.bodies: list[bytes] = []

    async def __call__(self, body: bytes) -> list[bytes]:
        self.bodies.append(body)
        return [signature_line(self.key, self._secret.sign(body))]


def log_files() -> dict[str, bytes]:
    """The migrations that make the log's tables, by path."""
    folder = Path(rustcare_plugin_audit.__file__).parent / "migrations"
    return {f"migrations/{path.name}": path.read_bytes() for path in folder.glob("0001_*")}


def log_migrations(dialect: str) -> tuple[Migration, ...]:
    """The log's tables, for a kernel's store."""
    return Migration.read(log_files(), dialect)


async def new_log(db: Database, signer: LogSigner) -> AuditLog:
    """An open log."""
    log = AuditLog(db, signer, ORIGIN, [signer.key])
    await log.open()
    return log


def pseudonym(number: int) -> str:
    """A subject's pseudonym."""
    return sha256(b"subject %d" % number).hexdigest()


def told(number: int, text: str = "told") -> Leaf:
    """A disclosure of a subject."""
    return Leaf(disclosure=pseudonym(number), make=lambda n: f"{text} {number} {n}".encode())


class FailingDatabase:
    """A database whose writes fail while `broken`, before they do anything, or (`late`) after they were done."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.broken = False
        self.late = False

    def _check(self) -> None:
        if self.broken:
            raise StoreError("the disk is full")

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> list[Any]:
        return await self._db.fetch(sql, params)

    async def fetch_one(self, sql: str, params: Sequence[Any] = ()) -> Any:
        return await self._db.fetch_one(sql, params)

    async def execute(self, sql: str, params: Sequence[Any] = ()) -> int:
        if not self.late:
            self._check()
        done = await self._db.execute(sql, params)
        self._check()
        return done

    async def execute_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        if not self.late:
            self._check()
        await self._db.execute_many(sql, rows)
        self._check()

    def transaction(self) -> AbstractAsyncContextManager[Queries]:
        return self._transaction()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[Queries]:
        if not self.late:
            self._check()
        async with self._db.transaction() as tx:
            yield tx
        self._check()

    async def scrub(self) -> None:
        await self._db.scrub()
