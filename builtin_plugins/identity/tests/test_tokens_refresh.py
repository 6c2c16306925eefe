"""Families of refresh tokens against a model: each token once, a grace for the one before, and an end on reuse."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.tokens.refresh import Families, family_of
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import identity_plugin, person, signed_in

GRACE, IDLE, ABSOLUTE = 10.0, 86_400.0, 604_800.0
REFUSED, REUSED = "identity.refresh-refused", "identity.refresh-reused"


async def begun(h: PluginHarness, account: Account, **asked: Any) -> identity.TokenReply:
    """A family."""
    found: identity.TokenReply = await h.request(
        identity.TOKEN_ISSUE, identity.IssueRequest(refresh=True, **asked), principal=account.principal
    )
    return found


async def refresh(h: PluginHarness, token: str, **asked: Any) -> identity.TokenReply:
    """Use a token, as a client does whom nobody knows yet."""
    found: identity.TokenReply = await h.request(
        identity.TOKEN_REFRESH, identity.RefreshRequest(token, **asked), principal=""
    )
    return found


async def refused(h: PluginHarness, token: str) -> str:
    """The code with which a token is refused."""
    with pytest.raises(RustCareError) as caught:
        await refresh(h, token)
    return caught.value.code


async def generation(h: PluginHarness, token: str) -> int:
    """How often a family was turned over."""
    row = await h.database.fetch_one("SELECT generation FROM families WHERE id = ?", (family_of(token),))
    assert row is not None
    return int(row["generation"])


async def test_a_token_is_answered_with_its_successor_and_nothing_usable_is_stored() -> None:
    """A chain of rotations; no token, and no hash of one, is in the database."""
    async with identity_plugin() as h:
        tokens = [(await begun(h, await person(h))).refresh_token]
        for _ in range(5):
            h.advance(60)
            tokens.append((await refresh(h, tokens[-1])).refresh_token)
        assert len(set(tokens)) == 6
        assert await generation(h, tokens[0]) == 5
        rows = [
            dict(row) for table in ("families", "sessions") for row in await h.database.fetch(f"SELECT * FROM {table}")
        ]
        text = repr(rows)
        assert not any(token.rpartition(".")[2] in text for token in tokens)


async def test_of_a_hundred_at_once_one_wins_and_the_others_get_the_same_successor() -> None:
    """One rotation, whatever the number of tabs that do it together."""
    async with identity_plugin() as h:
        first = (await begun(h, await person(h))).refresh_token
        for count in range(1, 4):
            replies = await asyncio.gather(*(refresh(h, first) for _ in range(100)))
            assert len({reply.refresh_token for reply in replies}) == 1
            assert await generation(h, first) == count
            first = replies[0].refresh_token


async def test_the_one_before_is_good_for_the_grace_and_then_ends_the_family() -> None:
    """Within it the answer is the same successor; a moment later it is reuse, and the successor is worth nothing."""
    async with identity_plugin() as h:
        ann = await person(h)
        first = (await begun(h, ann)).refresh_token
        second = (await refresh(h, first)).refresh_token
        h.advance(GRACE)
        assert (await refresh(h, first)).refresh_token == second
        h.advance(0.1)
        h.published.clear()
        assert await refused(h, first) == REUSED
        assert await refused(h, second) == REFUSED
        (told,) = h.assert_published(identity.REVOKED, times=1)
        assert (told.data.kind, told.data.id) == ("session", family_of(first))
        (event,) = h.assert_published(identity.EVENT, times=1)
        assert (event.data.action, event.data.outcome, event.data.code) == ("token.reused", "failure", REUSED)
        assert "alert" in event.data.details
        assert (
            await h.request(identity.SESSION_LIST, identity.SessionsRequest(), principal=ann.principal)
        ).sessions == []


async def test_the_grace_is_for_the_one_before_alone() -> None:
    """A token two rotations old is reuse at once, however young it is."""
    async with identity_plugin() as h:
        first = (await begun(h, await person(h))).refresh_token
        second = (await refresh(h, first)).refresh_token
        third = (await refresh(h, second)).refresh_token
        assert await refused(h, first) == REUSED
        assert await refused(h, third) == REFUSED


async def test_without_a_grace_the_second_use_is_reuse() -> None:
    """`grace` 0 in the configuration, and a clock that has moved."""
    async with identity_plugin({"tokens": {"grace": 0}}) as h:
        first = (await begun(h, await person(h))).refresh_token
        await refresh(h, first)
        h.advance(0.001)
        assert await refused(h, first) == REUSED


async def test_a_family_ends_when_it_is_old_and_a_token_when_it_is_not_used() -> None:
    """The absolute end does not move with use; idleness is no reuse, and no alert."""
    async with identity_plugin() as h:
        ann = await person(h)
        idle = (await begun(h, ann)).refresh_token
        used = (await begun(h, ann)).refresh_token
        h.published.clear()
        for _ in range(7):
            h.advance(IDLE - 1)
            used = (await refresh(h, used)).refresh_token
        assert await refused(h, idle) == REFUSED
        h.advance(8)
        assert await refused(h, used) == REFUSED
        assert [message for message in h.published if message.subject == identity.EVENT] == []


async def test_a_tenant_tightens_the_lifetimes_and_cannot_loosen_them() -> None:
    """What holds for all is the most."""
    async with identity_plugin({"settings": {"tokens": {"refresh_absolute": 7200, "refresh_idle": 3600}}}) as h:
        for id, settings_ in (
            ("tight", {"tokens": {"refresh_absolute": 600, "refresh_idle": 600, "lifetime": 60}}),
            ("loose", {"tokens": {"refresh_absolute": 7000000, "refresh_idle": 7000000, "lifetime": 3600}}),
        ):
            await h.plugin.tenants.put(identity.TenantRequest(id, settings=settings_))  # type: ignore[attr-defined]
        found = {}
        for id in ("tight", "loose"):
            account = await person(h, "ann", tenant=id)
            reply = await h.request(
                identity.TOKEN_ISSUE, identity.IssueRequest(refresh=True), tenant=id, principal=account.principal
            )
            row = await h.database.fetch_one(
                "SELECT expires FROM families WHERE id = ?", (family_of(reply.refresh_token),)
            )
            assert row is not None
            found[id] = (row["expires"] - h.now.timestamp(), reply.expires_in)
        assert found == {"tight": (600, 60), "loose": (7200, 300)}


@pytest.mark.parametrize(
    "how", ["disabled", "all sessions ended", "this session ended", "parent ended", "tenant disabled"]
)
async def test_whatever_ends_the_account_or_its_sessions_ends_its_families(how: str) -> None:
    """No refresh token outlives what it was made in."""
    async with identity_plugin() as h:
        await h.plugin.tenants.put(identity.TenantRequest("north"))  # type: ignore[attr-defined]
        ann = await person(h, tenant="north")
        session, _ = await signed_in(h, ann)
        asked = identity.IssueRequest(refresh=True, session=session.id)
        token = (await h.request(identity.TOKEN_ISSUE, asked, tenant="north", principal=ann.principal)).refresh_token
        plugin: Any = h.plugin
        match how:
            case "disabled":
                await plugin.accounts.update("north", ann.id, {"state": "disabled"})
            case "all sessions ended":
                await plugin.sessions.revoke(tenant="north", account=ann.id)
            case "this session ended":
                await plugin.sessions.revoke(tenant="north", session=family_of(token))
            case "parent ended":
                await plugin.sessions.revoke(tenant="north", session=session.id)
            case _:
                await plugin.tenants.put(identity.TenantRequest("north", enabled=False))
        with pytest.raises(RustCareError) as caught:
            await h.request(identity.TOKEN_REFRESH, identity.RefreshRequest(token), tenant="north", principal="")
        assert caught.value.code == REFUSED


async def test_tightening_a_tenant_holds_for_families_that_there_are() -> None:
    """Its absolute limit counts from their beginning, as that of sessions does."""
    async with identity_plugin() as h:
        ann = await person(h)
        token = (await begun(h, ann)).refresh_token
        h.advance(3_000)
        token = (await refresh(h, token)).refresh_token
        settings = {"tokens": {"refresh_absolute": 3_600, "refresh_idle": 3_600}}
        await h.plugin.tenants.put(identity.TenantRequest("default", settings=settings))  # type: ignore[attr-defined]
        h.advance(599)
        token = (await refresh(h, token)).refresh_token
        h.advance(1)
        assert await refused(h, token) == REFUSED


async def test_tokens_keep_the_session_awake_in_which_they_are_made_and_sleep_with_it() -> None:
    """Refreshing is use of the session; when the session has timed out, there is nothing to refresh."""
    async with identity_plugin() as h:
        ann = await person(h)
        session, credential = await signed_in(h, ann)
        token = (await begun(h, ann, session=session.id)).refresh_token
        for _ in range(4):
            h.advance(1_500)
            token = (await refresh(h, token)).refresh_token
        assert await h.plugin.sessions.find(credential) is not None  # type: ignore[attr-defined]
        h.advance(1_801)
        assert await refused(h, token) == REFUSED


async def test_scopes_are_narrowed_never_widened() -> None:
    """A family keeps to what it was made for, and to what its account holds at the moment."""
    async with identity_plugin() as h:
        ann = await person(h, roles=["clinician"])
        token = (await begun(h, ann, scopes=["fhir.read", "fhir.write"])).refresh_token
        reply = await refresh(h, token, scopes=["fhir.read", "admin"])
        assert reply.scopes == ["fhir.read"]
        await h.plugin.accounts.update("default", ann.id, {"roles": []})  # type: ignore[attr-defined]
        reply = await refresh(h, reply.refresh_token)
        assert reply.scopes == []
        await h.plugin.accounts.update("default", ann.id, {"roles": ["administrator"]})  # type: ignore[attr-defined]
        assert (await refresh(h, reply.refresh_token)).scopes == ["fhir.read", "fhir.write"]


async def test_what_is_refused_before_a_token_is_used_leaves_it_good() -> None:
    """Who asks for scopes that are not theirs, or finds the keyring away, has lost nothing, however late they come again."""
    from tests.support.identity_keyring import IdentityKeyring

    keyring = IdentityKeyring()
    async with identity_plugin(keyring=keyring) as h:
        token = (await begun(h, await person(h, roles=["clinician"]))).refresh_token
        for scopes, code in ((["admin"], "identity.scope-not-held"), (["No Scope"], "identity.scope-invalid")):
            with pytest.raises(RustCareError) as caught:
                await refresh(h, token, scopes=scopes)
            assert caught.value.code == code
        signing = keyring.keys.pop("identity-token-es256")
        with pytest.raises(RustCareError):
            await refresh(h, token)
        keyring.keys["identity-token-es256"] = signing
        assert await generation(h, token) == 0
        h.advance(GRACE + 1)
        assert (await refresh(h, token)).refresh_token


async def test_reuse_is_told_of_the_account() -> None:
    """The alert says whose family it was, so that the account's owner sees it too."""
    async with identity_plugin() as h:
        ann = await person(h)
        token = (await begun(h, ann)).refresh_token
        await refresh(h, token)
        h.advance(GRACE + 1)
        h.published.clear()
        assert await refused(h, token) == REUSED
        (event,) = h.assert_published(identity.EVENT, times=1)
        assert (event.data.action, event.data.account, event.data.session) == ("token.reused", ann.id, family_of(token))


async def test_the_assurance_of_a_sign_in_wears_off() -> None:
    """AAL2 is for as long as the tenant's absolute limit since somebody proved who they are, however often refreshed."""
    import jwt

    async with identity_plugin() as h:
        ann = await person(h)
        session, _ = await signed_in(h, ann, aal=2)
        reply = await begun(h, ann, session=session.id)
        claims = jwt.decode(reply.access_token, options={"verify_signature": False})
        assert (claims["acr"], claims["amr"]) == ("aal2", ["pwd", "otp"])
        await h.database.execute("UPDATE sessions SET parent = '' WHERE id = ?", (claims["sid"],))
        h.advance(43_199)
        reply = await refresh(h, reply.refresh_token)
        assert jwt.decode(reply.access_token, options={"verify_signature": False})["acr"] == "aal2"
        h.advance(1)
        reply = await refresh(h, reply.refresh_token)
        assert jwt.decode(reply.access_token, options={"verify_signature": False})["acr"] == "aal1"


@pytest.mark.parametrize("tenant", ["north", "default"])
async def test_a_token_is_worth_nothing_in_another_tenant(tenant: str) -> None:
    """Whoever asks through another tenant's door is refused, and the family lives on."""
    async with identity_plugin() as h:
        await h.plugin.tenants.put(identity.TenantRequest("north"))  # type: ignore[attr-defined]
        ann = await person(h, tenant=tenant)
        asked = identity.IssueRequest(refresh=True)
        token = (await h.request(identity.TOKEN_ISSUE, asked, tenant=tenant, principal=ann.principal)).refresh_token
        other = "default" if tenant == "north" else "north"
        with pytest.raises(RustCareError) as caught:
            await h.request(identity.TOKEN_REFRESH, identity.RefreshRequest(token), tenant=other, principal="")
        assert caught.value.code == REFUSED
        await h.request(identity.TOKEN_REFRESH, identity.RefreshRequest(token), tenant=tenant, principal="")


async def test_what_was_tampered_with_is_refused_and_ends_nothing() -> None:
    """Who cannot show a token of the family cannot end it either."""
    async with identity_plugin() as h:
        token = (await begun(h, await person(h))).refresh_token
        family, number, code = token.removeprefix("rcr_").split(".")
        other = "A" if code[0] != "A" else "B"
        for forged in (
            "",
            "rcr_",
            token[:-1],
            token + "A",
            f"rcr_{family}.1.{code}",
            f"rcr_{family}.00.{code}",
            f"rcr_{family}.{number}.{other}{code[1:]}",
            f"rcr_{'A' * 22}.0.{code}",
            f"rcr_{family}.99999999999999999999.{code}",
            token * 50,
        ):
            assert await refused(h, forged) == REFUSED
        assert (await refresh(h, token)).refresh_token


async def test_a_destroyed_key_makes_its_tokens_worthless() -> None:
    """The operator can end all families at once by destroying the key that computes their tokens."""
    from tests.support.identity_keyring import IdentityKeyring

    keyring = IdentityKeyring()
    async with identity_plugin(keyring=keyring) as h:
        token = (await begun(h, await person(h))).refresh_token
        keyring.keys["identity-refresh"].versions = [None, b"n" * 32]
        assert await refused(h, token) == REFUSED


class FamilyMachine(RuleBasedStateMachine):
    """A family and a model of it, under any order of uses, waits, ends and forgeries."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.context = identity_plugin()
        self.h = self.run(self.context.__aenter__())
        self.outcomes: Counter[str] = Counter()

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        """The first token."""
        self.ann = self.run(person(self.h))
        self.tokens = [self.run(begun(self.h, self.ann)).refresh_token]
        self.start = self.rotated = self.h.now.timestamp()
        self.generation, self.ended = 0, False

    def expected(self, number: int) -> str:
        """What the model says of the token of a generation."""
        now = self.h.now.timestamp()
        if self.ended or now >= self.start + ABSOLUTE:
            return "refused"
        if number == self.generation:
            return "won" if now < self.rotated + IDLE else "refused"
        if number == self.generation - 1 and now <= self.rotated + GRACE:
            return "grace"
        return "reused"

    @rule(back=st.integers(0, 4), clients=st.integers(1, 5))
    def use(self, back: int, clients: int) -> None:
        """Some clients use the same token, an older or the newest one, at the same moment."""
        number = max(0, len(self.tokens) - 1 - back)
        for_one = [self.expected(number)]
        if for_one[0] == "won":
            for_one += ["grace"] * (clients - 1)
        elif for_one[0] == "reused":
            for_one += ["refused"] * (clients - 1)
        else:
            for_one *= clients

        async def together() -> list[Any]:
            return await asyncio.gather(
                *(refresh(self.h, self.tokens[number]) for _ in range(clients)), return_exceptions=True
            )

        found = self.run(together())
        successors = {one.refresh_token for one in found if isinstance(one, identity.TokenReply)}
        codes = Counter(one.code for one in found if isinstance(one, RustCareError))
        assert len(successors) + sum(codes.values()) > 0
        expected = Counter(for_one)
        assert codes == Counter({REFUSED: expected["refused"], REUSED: expected["reused"]}) - Counter()
        if for_one[0] in ("won", "grace"):
            assert len(successors) == 1, "whoever is answered is answered the same"
        if for_one[0] == "won":
            self.generation += 1
            self.rotated = self.h.now.timestamp()
            self.tokens.append(successors.pop())
        elif for_one[0] == "grace":
            assert successors == {self.tokens[self.generation]}
        elif for_one[0] == "reused":
            self.ended = True

    @rule(seconds=st.sampled_from([0.5, 5.0, GRACE, GRACE + 0.5, 3_600.0, IDLE - 1, IDLE, ABSOLUTE / 2]))
    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.h.advance(seconds)

    @rule()
    def forge(self) -> None:
        """A token of the next generation with the code of the newest one."""
        head, number, code = self.tokens[-1].split(".")
        assert self.run(refused(self.h, f"{head}.{int(number) + 1}.{code}")) == REFUSED

    @rule()
    def restart(self) -> None:
        """The plugin starts anew; what is random goes on."""
        self.h._seed += 1
        self.run(self.h.restart())

    @rule(kind=st.sampled_from(["token", "session", "account"]))
    def end(self, kind: str) -> None:
        """It is ended on purpose."""
        if kind == "token":
            asked: Any = identity.RevokeTokenRequest(self.tokens[-1])
            self.run(self.h.request(identity.TOKEN_REVOKE, asked, principal=""))
        else:
            asked = identity.RevokeRequest(session=family_of(self.tokens[0]) if kind == "session" else "")
            self.run(self.h.request(identity.SESSION_REVOKE, asked, principal=self.ann.principal))
        self.ended = True

    @invariant()
    def agrees(self) -> None:
        """The stored generation is the model's: exactly one winner for each rotation. What is over may be forgotten."""
        if not hasattr(self, "tokens"):
            return
        assert self.generation == len(self.tokens) - 1
        query = "SELECT generation FROM families WHERE id = ?"
        row = self.run(self.h.database.fetch_one(query, (family_of(self.tokens[0]),)))
        if row is None:
            assert self.h.now.timestamp() >= self.start + ABSOLUTE
        else:
            assert row["generation"] == self.generation

    def teardown(self) -> None:
        self.run(self.context.__aexit__(None, None, None))
        self.loop.close()


FamilyMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestFamilyMachine = FamilyMachine.TestCase


def test_only_what_has_the_form_of_a_token_names_a_family() -> None:
    """The rest is not looked up."""
    assert family_of(f"rcr_{'a' * 22}.12.{'b' * 43}") == "a" * 22
    for text in ("", "rcr_a.1.b", f"rcr_{'a' * 22}.01.{'b' * 43}", f"rcr_{'a' * 22}.1.{'b' * 43}\n", "x" * 10_000):
        assert family_of(text) == ""
    assert Families.__doc__
