"""What an account's owner sees of what happened with it."""

from __future__ import annotations

from tests.support.identity_plugin import identity_plugin


async def test_failures_push_out_nothing_that_was_done() -> None:
    """A hundred of each are kept, so that who came in cannot hide it behind wrong passwords."""
    async with identity_plugin() as h:
        activities = h.plugin.activities  # type: ignore[attr-defined]
        await activities.add("a1", "login.succeeded", "success", "192.0.2.9")
        for _ in range(120):
            h.advance(1)
            await activities.add("a1", "login.failed", "failure", "192.0.2.9")
        found = await activities.last("a1", 500)
        assert [one.outcome for one in found] == ["failure"] * 100 + ["success"]


async def test_what_happened_is_of_one_account_and_not_for_ever() -> None:
    """Another's is not shown; after half a year nothing is left, whatever its outcome was."""
    async with identity_plugin() as h:
        activities = h.plugin.activities  # type: ignore[attr-defined]
        await activities.add("a1", "login.failed", "failure", "")
        await activities.add("a1", "login.succeeded", "success", "")
        await activities.add("b1", "login.succeeded", "success", "")
        assert len(await activities.last("a1")) == 2
        h.advance(181 * 86400)
        await activities.add("a1", "password.changed", "success", "")
        assert [one.action for one in await activities.last("a1")] == ["password.changed"]
        assert len(await activities.last("b1")) == 1
