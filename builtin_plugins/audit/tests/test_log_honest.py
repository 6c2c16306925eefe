"""A thousand honest logs: whatever is done with a log in good order, nothing of it is ever called wrong."""

from __future__ import annotations

import asyncio
import random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rustcare_plugin_audit.log import AuditLog, Leaf
from rustcare_plugin_audit.tree import leaf_hash, root_of, verify_consistency, verify_inclusion
from rustcare_sdk.testing._database import MemoryDatabase

from tests.support.audit_log import LogSigner, log_files, new_log, pseudonym, told

FILES = log_files()
SIGNER = LogSigner()

steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(1, 40)),
        st.tuples(st.just("append"), st.integers(200, 400)),
        st.tuples(st.just("together"), st.integers(2, 8)),
        st.tuples(st.just("reopen"), st.just(0)),
        st.tuples(st.just("prune"), st.integers(0, 600)),
        st.tuples(st.just("prove"), st.integers(1, 4)),
    ),
    min_size=1,
    max_size=9,
)


def some(chance: random.Random, count: int) -> list[Leaf]:
    """Entries, some of them disclosures."""
    return [told(chance.randrange(5)) if chance.random() < 0.1 else Leaf(chance.randbytes(9)) for _ in range(count)]


async def live(plan: list[tuple[str, int]], chance: random.Random) -> None:
    """One log's life."""
    db = MemoryDatabase(lambda kind, verb, scope: None)
    db.migrate(FILES)
    log = await new_log(db, SIGNER)
    hashes: list[bytes] = []
    for name, number in plan:
        if name == "append":
            await log.append(some(chance, number))
        elif name == "together":
            await asyncio.gather(*(log.append(some(chance, chance.randrange(1, 9))) for _ in range(number)))
        elif name == "reopen":
            log = await new_log(db, SIGNER)
        elif name == "prune":
            await log.prune(min(number, log.size))
        new = await log.entries(len(hashes), log.size)
        hashes += [leaf_hash(entry) for entry in new if entry is not None]
        assert (len(hashes), root_of(hashes)) == (log.size, log.root)
        if name == "prove" and hashes:
            await prove(log, hashes, chance, number)
    await (await new_log(db, SIGNER)).verify()
    db.close()


async def prove(log: AuditLog, hashes: list[bytes], chance: random.Random, count: int) -> None:
    """Proofs between random sizes, and of random subjects under random checkpoints."""
    for _ in range(count):
        size = chance.randrange(1, log.size + 1)
        index, old = chance.randrange(size), chance.randrange(1, size + 1)
        root = root_of(hashes[:size])
        verify_inclusion(index, size, hashes[index], await log.inclusion(index, size), root)
        verify_consistency(old, size, await log.consistency(old, size), root_of(hashes[:old]), root)
        checkpoint = chance.choice(await log.checkpoints(-1, 1000))
        checkpoint.verify([SIGNER.key])
        (await log.disclosures(pseudonym(chance.randrange(6)), checkpoint.size)).verify()


@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps, st.integers(0, 2**32))
def test_no_honest_log_is_ever_called_wrong(plan: list[tuple[str, int]], seed: int) -> None:
    """Random batches, appenders at once, reopenings, prunings and proofs: 1,000 logs, no false alarm."""
    asyncio.run(live(plan, random.Random(seed)))
