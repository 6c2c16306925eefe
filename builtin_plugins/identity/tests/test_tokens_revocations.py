"""Revocations: durable, in order, told before the answer, and gone when they do not matter any more."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rustcare_plugin_identity.tokens.revocations import Revocations
from rustcare_sdk.contracts import identity
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import identity_plugin, person, signed_in


def part(h: PluginHarness) -> Revocations:
    """The part under test."""
    found: Revocations = h.plugin.revocations  # type: ignore[attr-defined]
    return found


async def test_everybody_has_heard_of_a_revocation_before_whoever_revoked_is_answered() -> None:
    """A subscriber that lets nobody in meanwhile has handled `identity.revoked` when the answer comes."""
    async with identity_plugin() as h:
        ann = await person(h)
        session, _ = await signed_in(h, ann)
        heard: list[Any] = []
        h.subscribe(identity.REVOKED, lambda message: heard.append(message.data))
        await h.request(identity.SESSION_REVOKE, identity.RevokeRequest(session=session.id), principal=ann.principal)
        assert [(one.kind, one.id, one.tenant) for one in heard] == [("session", session.id, "default")]
        reply = await h.request(identity.REVOCATIONS, identity.RevocationsRequest())
        assert reply.revocations == heard
        assert reply.revision == heard[0].revision


async def test_a_revocation_that_was_committed_and_not_told_is_told_at_the_next_start() -> None:
    """As after a kill between the commit and the publish."""
    async with identity_plugin() as h:
        async with h.database.transaction() as tx:
            made = await part(h).note(tx, "session", "s1", "default")
        h.published.clear()
        heard: list[Any] = []
        h.subscribe(identity.REVOKED, lambda message: heard.append(message.data))
        await h.restart()
        await h.plugin._tell_again()  # type: ignore[attr-defined]  # the task that the start began does the same
        assert made in heard


async def test_rows_go_and_revisions_never_come_again() -> None:
    """The list is bounded by time; a gateway that asks by revision is not confused by what went."""
    async with identity_plugin() as h:
        async with h.database.transaction() as tx:
            first = await part(h).note(tx, "token", "j1", "default")
        h.advance(first.until - h.now.timestamp() + 1)
        assert await part(h).since(0) == (first.revision, [])
        assert await part(h).purge() == 1
        async with h.database.transaction() as tx:
            second = await part(h).note(tx, "token", "j2", "default")
        assert second.revision == first.revision + 1
        assert await part(h).since(first.revision) == (second.revision, [second])


async def test_what_is_rolled_back_was_not_revoked() -> None:
    """The row and the change it is about are one commit."""
    async with identity_plugin() as h:
        try:
            async with h.database.transaction() as tx:
                await part(h).note(tx, "session", "s1", "default")
                raise RuntimeError("the change failed")
        except RuntimeError:
            pass
        assert await part(h).since(0) == (0, [])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from(["note", "purge", "wait"]), max_size=30), st.integers(0, 40))
async def test_who_asks_from_any_revision_learns_all_that_still_matters_after_it(steps: list[str], since: int) -> None:
    """In order, each once, whatever was purged."""
    async with identity_plugin() as h:
        made: list[identity.Revocation] = []
        for number, step in enumerate(steps):
            if step == "note":
                async with h.database.transaction() as tx:
                    made.append(await part(h).note(tx, "token", str(number), "default"))
            elif step == "purge":
                await part(h).purge()
            else:
                h.advance(900)
        now = h.now.timestamp()
        revision, found = await part(h).since(since)
        assert revision == len(made)
        assert found == [one for one in made if one.revision > since and one.until > now]
