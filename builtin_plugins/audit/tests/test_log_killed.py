"""A log whose process is killed in the middle of its work: what was acknowledged is there, and the log is in order."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rustcare_kernel.stores import open_driver
from rustcare_plugin_audit.log import AuditLog
from rustcare_plugin_audit.notes import ED25519, VerifierKey

from tests.support.audit_log import ORIGIN, log_migrations, pseudonym

ROOT = Path(__file__).parents[3]  # where `tests` is importable
SECRET = bytes(range(32))
KEY = VerifierKey(ORIGIN, ED25519, Ed25519PrivateKey.from_private_bytes(SECRET).public_key().public_bytes_raw())

WRITER = """
import asyncio, sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rustcare_kernel.stores import open_driver
from rustcare_plugin_audit.log import AuditLog, Leaf
from rustcare_plugin_audit.notes import ED25519, VerifierKey, signature_line
from tests.support.audit_log import ORIGIN, log_migrations, told

secret = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
key = VerifierKey(ORIGIN, ED25519, secret.public_key().public_bytes_raw())

async def sign(body):
    return [signature_line(key, secret.sign(body))]

async def one(log, name):
    for number in range(10_000):
        text = f"{name} {number}"
        places = await log.append([Leaf(text.encode()), told(name % 3, text)])
        print(places.start, text, flush=True)

async def main():
    store = await open_driver("sqlite", Path(sys.argv[1])).open("killed")
    await store.migrate(log_migrations("sqlite"))
    log = AuditLog(store.db, sign, ORIGIN, [key])
    await log.open()
    print("ready", flush=True)
    await asyncio.gather(*(one(log, name) for name in range(7)))

asyncio.run(main())
"""


async def never(body: bytes) -> list[bytes]:
    """Nothing is signed by who only looks."""
    raise AssertionError("a log that exists already needs no signature to be opened")


async def killed_after(folder: Path, lines: int) -> list[tuple[int, bytes]]:
    """Let the writer acknowledge so many appends, kill it, and return all that it acknowledged: place and entry."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(folder), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    seen = [await process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    seen += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    found = [line.rstrip(b"\n").split(b" ", 1) for line in seen if line.endswith(b"\n")]
    return [(int(place), text) for place, text in found]


async def test_a_killed_log_has_what_it_acknowledged(tmp_path: Path) -> None:
    """Twenty kills at random moments: every acknowledged entry is at its place, each disclosure is counted, all verifies."""
    chance = random.Random(11)
    expected: dict[int, bytes] = {}
    for _ in range(20):
        expected.update(await killed_after(tmp_path, chance.randrange(1, 150)))
        driver = open_driver("sqlite", tmp_path)
        store = await driver.open("killed")
        await store.migrate(log_migrations("sqlite"))
        log = AuditLog(store.db, never, ORIGIN, [KEY])
        await log.open()
        await log.verify()
        entries = await log.entries(0, log.size)
        assert {place: entries[place] for place in expected} == expected
        counts = [(await log.disclosures(pseudonym(number))).count for number in range(3)]
        assert sum(counts) == log.size // 2
        await driver.close()
