"""Tickets and links: short-lived, good once, of one tenant; browsers that are known again."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rustcare_plugin_identity.errors import LinkUnknown, TicketUnknown
from rustcare_plugin_identity.login import Ticket
from rustcare_plugin_identity.login.links import LIFETIMES
from rustcare_plugin_identity.login.tickets import LIFETIME, MOST
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import identity_plugin


async def _take(h: PluginHarness, tenant: str, secret: str, *purposes: str) -> str:
    async with h.plugin.ctx.db.transaction() as tx:
        return str((await h.plugin.links.take(tx, tenant, secret, *purposes)).account)  # type: ignore[attr-defined]


@hypothesis_settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["use", "look", "redeem", "wait", "other tenant"]), max_size=25))
def test_a_ticket_is_good_until_it_is_not(steps: list[str]) -> None:
    """Whatever is done with it in whatever order, against a model: used up, redeemed or late, it is unknown for ever."""

    async def run() -> None:
        async with identity_plugin() as h:
            tickets = h.plugin.tickets  # type: ignore[attr-defined]
            secret = await tickets.issue("default", Ticket("a1", ("pwd",)))
            left, alive, age = MOST, True, 0.0
            for step in steps:
                good = alive and left > 0 and age < LIFETIME
                if step == "wait":
                    h.advance(170)
                    age += 170
                elif step == "other tenant":
                    with pytest.raises(TicketUnknown):
                        await tickets.use("ward", secret)
                elif step == "redeem":
                    if alive:
                        await tickets.redeem("default", secret)
                    else:
                        with pytest.raises(TicketUnknown):
                            await tickets.redeem("default", secret)
                    alive = False
                elif good:
                    assert await (tickets.use if step == "use" else tickets.look)("default", secret) == Ticket(
                        "a1", ("pwd",)
                    )
                    left -= step == "use"
                else:
                    with pytest.raises(TicketUnknown):
                        await (tickets.use if step == "use" else tickets.look)("default", secret)

    asyncio.run(run())


async def test_of_two_that_redeem_one_wins() -> None:
    """At the same time too."""
    async with identity_plugin() as h:
        tickets = h.plugin.tickets  # type: ignore[attr-defined]
        secret = await tickets.issue("default", Ticket("a1"))
        done = await asyncio.gather(*(tickets.redeem("default", secret) for _ in range(5)), return_exceptions=True)
        assert [type(one) for one in done].count(TicketUnknown) == 4


async def test_no_secret_is_stored() -> None:
    """What lies in the database opens nothing: of tickets, links and browsers there are hashes."""
    async with identity_plugin() as h:
        secrets = [await h.plugin.tickets.issue("default", Ticket("a1"))]  # type: ignore[attr-defined]
        secrets.append((await h.plugin.links.make("default", "invite", account="a1"))[0])  # type: ignore[attr-defined]
        secrets.append((await h.plugin.browsers.seen("default", "a1", "", "Firefox"))[0])  # type: ignore[attr-defined]
        for table in ("tickets", "links", "devices"):
            text = str([dict(row) for row in await h.plugin.ctx.db.fetch(f"SELECT * FROM {table}")])
            assert not any(secret in text for secret in secrets)
        assert len(set(secrets)) == 3
        assert all(len(secret) == 43 for secret in secrets)


async def test_a_link_does_one_thing_once() -> None:
    """In its tenant, for its purpose, before its time has passed; of two at the same time one wins."""
    async with identity_plugin() as h:
        links = h.plugin.links  # type: ignore[attr-defined]
        secret, _ = await links.make("default", "recover", account="a1", email="a@b.example")
        with pytest.raises(LinkUnknown):
            await _take(h, "default", secret, "invite")
        with pytest.raises(LinkUnknown):
            await _take(h, "ward", secret, "recover")
        assert (await links.look("default", secret)).purpose == "recover"
        done = await asyncio.gather(*(_take(h, "default", secret, "recover") for _ in range(4)), return_exceptions=True)
        assert done.count("a1") == 1
        assert [type(one) for one in done].count(LinkUnknown) == 3
        late, _ = await links.make("default", "recover", account="a1")
        h.advance(LIFETIMES["recover"] + 1)
        with pytest.raises(LinkUnknown):
            await links.look("default", late)
        await links.purge()
        assert await h.plugin.ctx.db.fetch("SELECT hash FROM links") == []


async def test_a_new_link_takes_the_place_of_the_one_before() -> None:
    """For the same account and purpose, or the same address; others stay."""
    async with identity_plugin() as h:
        links = h.plugin.links  # type: ignore[attr-defined]
        first, _ = await links.make("default", "invite", account="a1")
        other, _ = await links.make("default", "invite", account="a2")
        recover, _ = await links.make("default", "recover", account="a1")
        one, _ = await links.make("default", "register", email="a@b.example")
        two, _ = await links.make("default", "register", email="c@b.example")
        second, _ = await links.make("default", "invite", account="a1")
        again, _ = await links.make("default", "register", email="a@b.example")
        for secret in (first, one):
            with pytest.raises(LinkUnknown):
                await links.look("default", secret)
        for secret in (second, other, recover, two, again):
            await links.look("default", secret)


async def test_a_link_that_went_to_nobody_opens_nothing() -> None:
    """It is made for the work alone."""
    async with identity_plugin() as h:
        secret, _ = await h.plugin.links.make("default", "nothing")  # type: ignore[attr-defined]
        with pytest.raises(LinkUnknown):
            await h.plugin.links.look("default", secret)  # type: ignore[attr-defined]


async def test_browsers_are_known_again() -> None:
    """The first of an account is no news; a second one is; each keeps its secret; two people may share one."""
    async with identity_plugin() as h:
        browsers = h.plugin.browsers  # type: ignore[attr-defined]
        first, news = await browsers.seen("default", "a1", "", "Firefox")
        assert first
        assert not news
        assert await browsers.seen("default", "a1", first, "Firefox") == ("", False)
        second, news = await browsers.seen("default", "a1", "made up", "Chrome")
        assert second not in ("", first)
        assert news
        assert await browsers.seen("default", "a2", first, "Firefox") == ("", False)
        assert await browsers.seen("default", "a1", first, "Firefox") == ("", False)
        assert await browsers.known("ward", "a1", first) == ""
        await browsers.forget("default", "a1")
        assert await browsers.known("default", "a1", first) == ""
        assert await browsers.known("default", "a2", first) != ""
        h.advance(366 * 86400)
        assert await browsers.known("default", "a2", first) == ""


async def test_an_account_has_so_many_browsers_and_no_more() -> None:
    """The one that was not seen for longest is forgotten."""
    async with identity_plugin() as h:
        browsers = h.plugin.browsers  # type: ignore[attr-defined]
        made = []
        for _ in range(53):
            made.append((await browsers.seen("default", "a1", "", "x"))[0])
            h.advance(1)
        known = [await browsers.known("default", "a1", secret) for secret in made]
        assert [bool(one) for one in known] == [False] * 3 + [True] * 50
