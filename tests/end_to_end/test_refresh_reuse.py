"""Refresh tokens and sessions with a real keyring and a real database: many clients at once, and SIGKILL in the middle."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel import Kernel
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError

from tests.support.identity_node import IdentityNode, NodeGone

CLIENTS = 100
KILLS = int(os.environ.get("RUSTCARE_KILLS", "10"))
PASSWORD = "correct horse battery staple"
REFUSED, REUSED = "identity.refresh-refused", "identity.refresh-reused"


async def family(kernel: Kernel, account: str) -> str:
    """The first token of a new family."""
    asked = identity.IssueRequest(account=account, refresh=True)
    reply = await kernel.request(identity.TOKEN_ISSUE, asked, type=identity.TokenReply)
    return str(reply.refresh_token)


async def test_of_a_hundred_clients_one_wins_each_rotation_and_real_reuse_ends_the_family(tmp_path: Path) -> None:
    """All hundred hold the same token and use it at once, again and again; then one of them uses an old one."""
    config = {"rustcare.identity": {"tokens": {"grace": 5}}}
    async with Kernel(tmp_path, config=config, log_level="silent") as kernel:
        await kernel.install("installed:crypto", consent=True)
        await kernel.install("installed:identity", consent=True)
        await kernel.request(identity.SERVICE_CREATE, identity.CreateServiceRequest("robot"))
        tokens = [await family(kernel, "robot")]

        async def use(token: str) -> str:
            try:
                asked = identity.RefreshRequest(token)
                reply = await kernel.request(identity.TOKEN_REFRESH, asked, type=identity.TokenReply, principal="")
            except RustCareError as error:
                return error.code
            return str(reply.refresh_token)

        for _ in range(5):
            found = Counter(await asyncio.gather(*(use(tokens[-1]) for _ in range(CLIENTS))))
            assert len(found) == 1, found
            (successor,) = found
            assert successor.startswith("rcr_")
            assert successor.partition(".")[0] == tokens[-1].partition(".")[0]
            tokens.append(successor)
        numbers = [int(token.split(".")[1]) for token in tokens]
        assert numbers == list(range(6)), "one rotation for each round, whatever the number of clients"

        heard: list[Any] = []
        found = Counter(await asyncio.gather(*(use(tokens[0]) for _ in range(CLIENTS))))
        assert found == {REUSED: 1, REFUSED: CLIENTS - 1}
        assert await use(tokens[-1]) == REFUSED
        reply = await kernel.request(
            identity.REVOCATIONS, identity.RevocationsRequest(), type=identity.RevocationsReply
        )
        heard = [(one.kind, one.id) for one in reply.revocations]
        assert heard == [("session", tokens[0].removeprefix("rcr_").partition(".")[0])]


@dataclass
class Story:
    """What was acknowledged over all lives of the process."""

    #: By family: the newest token that somebody was given; and one that may have been its successor, unanswered.
    newest: dict[str, str] = field(default_factory=dict)
    used: dict[str, list[str]] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    revoked: set[str] = field(default_factory=set)
    cookies: dict[str, str] = field(default_factory=dict)


async def live(node: IdentityNode, story: Story, chance: random.Random) -> None:
    """Rotate families and end sessions, all at once, until the process is gone."""

    async def rotate(id: str) -> None:
        while id not in story.asked:
            token = story.newest[id]
            try:
                reply = await node.ask(identity.TOKEN_REFRESH, {"refresh_token": token}, principal="")
            except RuntimeError:
                if id not in story.asked:
                    raise  # nobody ended it
                return
            story.used[id].append(token)
            story.newest[id] = reply["refresh_token"]

    async def end(id: str) -> None:
        await asyncio.sleep(chance.random() * 0.3)
        story.asked.add(id)
        await node.ask(identity.SESSION_REVOKE, {"session": id})
        story.revoked.add(id)

    families = [id for id in story.newest if id not in story.asked]
    sessions = [id for id in story.cookies if id not in story.asked]
    doomed = chance.sample(families, len(families) // 3) + chance.sample(sessions, len(sessions) // 3)
    work = [*(rotate(id) for id in families), *(end(id) for id in doomed)]
    for found in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(found, BaseException) and not isinstance(found, NodeGone):
            raise found


async def begin(node: IdentityNode, story: Story) -> None:
    """Some new families and sessions."""
    for _ in range(6):
        reply = await node.ask(identity.TOKEN_ISSUE, {"account": "ann", "refresh": True})
        id = reply["refresh_token"].removeprefix("rcr_").partition(".")[0]
        story.newest[id] = reply["refresh_token"]
        story.used[id] = []
    for _ in range(3):
        reply = await node.ask("identity.login.password", {"name": "ann", "password": PASSWORD}, principal="")
        story.cookies[reply["session"]["id"]] = reply["credential"]


async def outcome(node: IdentityNode, service: str, data: Any) -> str:
    """`ok`, or the code."""
    try:
        await node.ask(service, data, principal="")
    except RuntimeError as error:
        return str(error)
    return "ok"


async def check(node: IdentityNode, story: Story) -> None:
    """After a start: what was revoked stays so, what was not lives on, and who is told learns of all that ended."""
    reply = await node.ask(identity.REVOCATIONS, {"since": 0})
    told = {one["id"] for one in reply["revocations"] if one["kind"] == "session"}
    assert story.revoked <= told
    for id, credential in story.cookies.items():
        found = await outcome(node, identity.AUTHENTICATE, {"kind": "session", "credential": credential})
        if id in story.revoked:
            assert found == "identity.credential-refused"
        elif id not in story.asked:
            assert found == "ok"
        assert (found == "ok") == (id not in told), "it is told of if, and only if, it has ended"
    for id, token in story.newest.items():
        found = await outcome(node, identity.TOKEN_REFRESH, {"refresh_token": token})
        if id in story.revoked:
            assert found == REFUSED
        elif id not in story.asked:
            assert found == "ok", "an unanswered rotation is repeated within the grace"
            reply = await node.ask(identity.TOKEN_REFRESH, {"refresh_token": token}, principal="")
            story.used[id].append(token)
            story.newest[id] = reply["refresh_token"]
        assert (found == "ok") == (id not in told)
        if found != "ok":
            story.asked.add(id)


async def test_no_session_that_was_revoked_comes_back_after_kill_9(tmp_path: Path) -> None:
    """Killed at random moments among rotations and revocations: acknowledged revocations hold, acknowledged tokens work."""
    chance = random.Random(8628)
    story = Story()
    # More sessions than one account has: none of them may end for that.
    config = {"rustcare.identity": {"tokens": {"grace": 60}, "settings": {"sessions": {"most": 1000}}}}
    async with IdentityNode(tmp_path, config) as node:
        await node.ask(identity.ACCOUNT_CREATE, {"name": "ann", "password": PASSWORD})
    for _ in range(KILLS):
        async with IdentityNode(tmp_path, config) as node:
            await check(node, story)
            await begin(node, story)
            work = asyncio.create_task(live(node, story, chance))
            await asyncio.sleep(0.05 + chance.random() * 0.4)
            await node.kill()
            await work
            with pytest.raises(NodeGone):
                await node.ask(identity.JWKS)
    async with IdentityNode(tmp_path, config) as node:
        await check(node, story)
        reused = next(id for id in story.newest if id not in story.asked and len(story.used[id]) > 2)
        assert await outcome(node, identity.TOKEN_REFRESH, {"refresh_token": story.used[reused][0]}) == REUSED
        assert await outcome(node, identity.TOKEN_REFRESH, {"refresh_token": story.newest[reused]}) == REFUSED
    rotations = sum(len(tokens) for tokens in story.used.values())
    assert story.revoked
    assert rotations > KILLS
    print(f"\n{KILLS} kills, {rotations} rotations, {len(story.revoked)} acknowledged revocations, none came back")
