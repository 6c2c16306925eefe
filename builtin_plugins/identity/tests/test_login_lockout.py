"""Wrong passwords slow down those that follow: as a state machine, and at the database."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.errors import LoginFailed
from rustcare_plugin_identity.login import Addresses
from rustcare_plugin_identity.login.addresses import network
from rustcare_plugin_identity.login.lockout import Standing, counted
from rustcare_plugin_identity.settings import LockoutSettings
from rustcare_sdk.contracts import identity
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import identity_plugin
from tests.support.people import house

RULES = LockoutSettings()
STEPS = st.lists(st.floats(0, 2000), min_size=1, max_size=80)


@given(STEPS)
def test_a_try_is_looked_at_or_told_to_wait(steps: list[float]) -> None:
    """Whatever the times: who must wait is told for how long, exactly, and their try is not counted."""
    now, standing = 1000.0, Standing()
    for step in steps:
        now += step
        after, tried = counted(standing, now, RULES)
        if tried.retry_after:
            assert after == standing
            assert not tried.locks
            assert now + tried.retry_after == pytest.approx(max(standing.wait_until, standing.locked_until))
            again, later = counted(standing, now + tried.retry_after + 0.001, RULES)
            assert later.retry_after == 0
            assert again.count == standing.count + 1
        else:
            assert after.count == standing.count + 1
        standing = after


@given(STEPS, st.integers(0, 5), st.integers(6, 20))
def test_no_lock_is_for_ever(steps: list[float], free: int, lock_after: int) -> None:
    """No wait and no lock is longer than the rules say, however long it goes on."""
    rules = LockoutSettings(free=free, lock_after=lock_after)
    now, standing = 0.0, Standing()
    for step in steps:
        now += step
        standing, tried = counted(standing, now, rules)
        assert tried.retry_after <= rules.lock_longest
        assert standing.wait_until <= now + rules.longest_wait
        assert standing.locked_until <= now + rules.lock_longest


def test_how_many_guesses_a_day_allows() -> None:
    """Somebody who tries at the first moment each time has fewer than three hundred tries a day."""
    now, tries, standing = 0.0, 0, Standing()
    while now < 86400:
        standing, tried = counted(standing, now, RULES)
        if tried.retry_after:
            now += tried.retry_after
        else:
            tries += 1
    assert tries <= 300


def test_first_free_then_slower_then_locked() -> None:
    """Three for nothing, then waits of 1, 2, 4, 8, 16 and 30 seconds, and the tenth locks for five minutes."""
    now, waits, standing = 0.0, [], Standing()
    for _ in range(10):
        standing, tried = counted(standing, now, RULES)
        assert tried.retry_after == 0
        waits.append(max(standing.wait_until, standing.locked_until, now) - now)
        now += waits[-1]
    assert waits == [0, 0, 0, 1, 2, 4, 8, 16, 30, 300]
    assert tried.locks


def test_each_further_lock_is_longer_up_to_an_hour() -> None:
    """Five minutes, ten, twenty, forty, an hour, an hour."""
    now, locks, standing = 0.0, [], Standing()
    while len(locks) < 6:
        standing, tried = counted(standing, now, RULES)
        if tried.locks:
            locks.append(standing.locked_until - now)
        now = max(now, standing.wait_until, standing.locked_until)
    assert locks == [300, 600, 1200, 2400, 3600, 3600]


def test_a_day_without_a_failure_forgets() -> None:
    """Then the first tries cost nothing again."""
    standing, _ = counted(Standing(9, 3, 0.0, 30.0, 0.0), 86_500.0, RULES)
    assert (standing.count, standing.locks) == (1, 0)


async def _tries(h: PluginHarness, name: str, account: str, count: int, *, device: str = "") -> list[float]:
    lockout = h.plugin.lockout  # type: ignore[attr-defined]
    return [(await lockout.begin("default", name, account, RULES, device=device)).retry_after for _ in range(count)]


async def test_nobody_gets_ahead_of_the_count() -> None:
    """Of fifty tries at the same moment as many are looked at as of fifty one after the other."""
    async with identity_plugin() as h:
        lockout = h.plugin.lockout  # type: ignore[attr-defined]
        tried = await asyncio.gather(*(lockout.begin("default", "anna", "", RULES) for _ in range(50)))
        assert [one.retry_after for one in tried].count(0.0) == 4


async def test_names_devices_and_tenants_are_counted_apart() -> None:
    """A stranger's guesses count neither for another name, nor for a known browser, nor in another tenant."""
    async with identity_plugin() as h:
        await _tries(h, "anna", "a1", 20)
        assert await _tries(h, "anna", "a1", 1) != [0.0]
        assert await _tries(h, "bob", "b1", 1) == [0.0]
        assert await _tries(h, "anna", "a1", 1, device="known") == [0.0]
        lockout = h.plugin.lockout  # type: ignore[attr-defined]
        assert (await lockout.begin("ward", "anna", "", RULES)).retry_after == 0


async def test_failures_outlive_the_process_and_a_right_password_forgets_them() -> None:
    """A restart gives no new tries; the right password does, and so does an administrator."""
    async with identity_plugin() as h:
        await _tries(h, "anna", "a1", 10)
        await h.restart()
        assert await _tries(h, "anna", "a1", 1) != [0.0]
        h.advance(60)
        lockout = h.plugin.lockout  # type: ignore[attr-defined]
        tried = await lockout.begin("default", "anna", "a1", RULES)
        assert tried.retry_after == 0
        await lockout.right("default", tried)
        assert await _tries(h, "anna", "a1", 4) == [0.0] * 4
        assert await _tries(h, "anna", "a1", 1) != [0.0]
        assert await lockout.unlock("default", "a1") == 4
        assert await _tries(h, "anna", "a1", 1) == [0.0]


async def test_a_try_that_was_not_looked_at_takes_back_its_own_alone() -> None:
    """It is as if it had not been; the waits and locks that others have brought about meanwhile stay."""
    async with identity_plugin() as h:
        lockout = h.plugin.lockout  # type: ignore[attr-defined]

        async def standing() -> Standing:
            row = await h.plugin.ctx.db.fetch_one("SELECT count, locks, last, wait_until, locked_until FROM failures")
            assert row is not None
            return Standing(**dict(row))

        slow = await lockout.begin("default", "anna", "a1", RULES)
        await _tries(h, "anna", "a1", 3)
        assert await _tries(h, "anna", "a1", 1) != [0.0]
        await lockout.undo("default", slow)
        assert (await standing()).count == 3
        assert await _tries(h, "anna", "a1", 1) != [0.0]
        while (before := await standing()).count < 9:
            h.advance(31)
            await _tries(h, "anna", "a1", 1)
        h.advance(31)
        locking = await lockout.begin("default", "anna", "a1", RULES)
        assert locking.locks
        await lockout.undo("default", slow)
        assert (await standing()).locked_until == locking.until
        await lockout.begin("default", "bob", "b1", RULES)
        await lockout.right("default", await lockout.begin("default", "bob", "b1", RULES))
        await lockout.undo("default", locking)
        after = await standing()
        assert (after.count, after.locks, after.locked_until) == (before.count - 1, before.locks, 0.0)


async def test_failures_are_remembered_as_long_as_a_tenant_says() -> None:
    """Upkeep takes away none that still counts somewhere."""
    async with house() as home:
        await home.settings("ward", lockout={"forget": 10 * 86400})
        await home.person(tenant="ward")
        for _ in range(3):
            with pytest.raises(LoginFailed):
                await home.sign_in(password="wrong", tenant="ward")
        home.h.advance(2 * 86400)
        await home.plugin.lockout.purge(home.plugin._gate_remembered())
        asked = identity.AccountRequest("anna")
        await home.h.request(identity.ACCOUNT_UNLOCK, asked, tenant="ward")
        assert home.events("account.unlocked")[0].details == {"failures": "3"}


async def test_what_people_type_is_not_stored() -> None:
    """The table has keyed hashes: some type their password where the name belongs."""
    async with identity_plugin() as h:
        await _tries(h, "hunter2-typed-as-name", "", 1)
        rows = await h.plugin.ctx.db.fetch("SELECT * FROM failures")
        assert len(rows) == 1
        assert "hunter2" not in str(dict(rows[0]))


async def test_old_names_are_taken_away() -> None:
    """After a day nothing is left of a name that nobody has."""
    async with identity_plugin() as h:
        await _tries(h, "anna", "", 3)
        await h.plugin.lockout.purge()  # type: ignore[attr-defined]
        assert len(await h.plugin.ctx.db.fetch("SELECT key FROM failures")) == 1
        h.advance(86_500)
        await h.plugin.lockout.purge()  # type: ignore[attr-defined]
        assert await h.plugin.ctx.db.fetch("SELECT key FROM failures") == []


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", ""),
        ("", ""),
    ],
)
def test_what_is_counted_of_an_address(address: str, counted_as: str) -> None:
    """IPv4 whole, of IPv6 what one subscriber has."""
    assert network(address) == counted_as


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 400)), max_size=200), st.integers(1, 30))
def test_an_address_has_its_failures_an_hour(steps: list[tuple[int, float]], rate: int) -> None:
    """In no hour are more failures let through than twice the rate (a full bucket, and what leaks meanwhile)."""
    now = [0.0]
    addresses = Addresses(lambda: now[0])
    let: list[float] = []
    for who, step in steps:
        now[0] += step
        wait = addresses.retry_after("default", f"192.0.2.{who}", rate)
        assert wait <= 3600
        if not wait:
            addresses.failed("default", f"192.0.2.{who}", rate)
            if who == 0:
                let.append(now[0])
    for first in let:
        assert len([one for one in let if first <= one < first + 3600]) <= 2 * rate


def test_the_memory_for_addresses_is_bounded() -> None:
    """However many there are; the one that failed longest ago is forgotten."""
    addresses = Addresses(lambda: 0.0, most=100)
    for number in range(1000):
        addresses.failed("default", f"2001:db8:{number:x}::1", 1)
    assert len(addresses) == 100
    assert addresses.retry_after("default", "2001:db8:3e7::5", 1) > 0
    assert addresses.retry_after("default", "2001:db8:1::5", 1) == 0


def test_a_flood_is_told_once() -> None:
    """When an address has to wait from now on, and not again for each that follows."""
    addresses = Addresses(lambda: 0.0)
    assert [addresses.failed("default", "192.0.2.1", 3) for _ in range(6)] == [False, False, True, False, False, False]
