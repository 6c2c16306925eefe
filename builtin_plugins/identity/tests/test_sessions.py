"""Sessions: begun, found, raised and ended; and authentication by them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rustcare_plugin_identity.sessions.devices import clean_name, device_name
from rustcare_plugin_identity.sessions.model import digest_of
from rustcare_plugin_identity.sessions.sessions import Sessions
from rustcare_plugin_identity.tokens.refresh import family_of
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import caller_of, identity_plugin, person, signed_in

REFUSED = "identity.credential-refused"
PASSWORD = "seven purple anvils sing"


def sessions_of(h: PluginHarness) -> Sessions:
    """The part under test."""
    found: Sessions = h.plugin.sessions  # type: ignore[attr-defined]
    return found


async def authenticated(h: PluginHarness, credential: str, tenant: str = "") -> identity.Authenticated:
    """What the gateway gets to know."""
    asked = identity.AuthenticateRequest("session", credential, tenant)
    found: identity.Authenticated = await h.request(identity.AUTHENTICATE, asked, principal="")
    return found


async def refused(h: PluginHarness, credential: str, tenant: str = "") -> str:
    """The text of a refusal."""
    with pytest.raises(RustCareError) as caught:
        await authenticated(h, credential, tenant)
    assert caught.value.code == REFUSED
    return str(caught.value)


async def test_a_credential_tells_whose_it_is_and_is_stored_nowhere() -> None:
    """32 random bytes; the database has their SHA-256."""
    async with identity_plugin() as h:
        ann = await person(h, roles=["clinician"])
        session, credential = await signed_in(h, ann, aal=2)
        assert len(credential) == 43
        found = await authenticated(h, credential)
        assert (found.principal, found.tenant, found.session) == (ann.principal, "default", session.id)
        assert (found.scopes, found.roles, found.aal) == (("fhir.read", "fhir.write"), ("clinician",), 2)
        assert found.authenticated == h.now.timestamp()
        assert found.keep == h.now.timestamp() + 30
        rows = await h.database.fetch("SELECT * FROM sessions")
        assert credential not in repr(rows)
        assert rows[0]["credential"] == digest_of(credential)


async def test_all_refusals_look_the_same() -> None:
    """Unknown, ended, timed out, of a disabled account, of another tenant: one code, one text."""
    async with identity_plugin() as h:
        plugin: Any = h.plugin
        await plugin.tenants.put(identity.TenantRequest("north"))
        texts = {await refused(h, "A" * 43), await refused(h, ""), await refused(h, "\ud800" + "x" * 9)}
        ann, bob = await person(h), await person(h, "bob")
        session, ended = await signed_in(h, ann)
        await plugin.sessions.revoke(tenant="default", session=session.id)
        texts.add(await refused(h, ended))
        _, disabled = await signed_in(h, bob)
        await plugin.accounts.update("default", bob.id, {"state": "disabled"})
        texts.add(await refused(h, disabled))
        _, elsewhere = await signed_in(h, await person(h, "eve", tenant="north"))
        await authenticated(h, elsewhere, "north")
        texts.add(await refused(h, elsewhere, "default"))
        _, old = await signed_in(h, ann)
        h.advance(1_800)
        texts.add(await refused(h, old))
        assert len(texts) == 1


async def test_callers_of_the_default_tenant_are_known_elsewhere_as_what_they_are() -> None:
    """They look after the whole; their tenant stays theirs."""
    async with identity_plugin() as h:
        await h.plugin.tenants.put(identity.TenantRequest("north"))  # type: ignore[attr-defined]
        _, credential = await signed_in(h, await person(h, roles=["administrator"]))
        assert (await authenticated(h, credential, "north")).tenant == "default"


async def test_a_session_that_waits_for_a_second_factor_is_good_for_nothing_else() -> None:
    """AAL0: no scopes, no roles, no tokens; it does not become AAL1 by growing old."""
    settings = {"sessions": {"absolute": 86400, "idle": 86400, "aal1": {"absolute": 2592000}}}
    async with identity_plugin({"settings": settings}) as h:
        ann = await person(h, roles=["administrator"])
        session, credential = await signed_in(h, ann, aal=0)
        for _ in range(2):
            found = await authenticated(h, credential)
            assert (found.aal, found.scopes, found.roles) == (0, (), ())
            asked = identity.IssueRequest(session=session.id)
            with pytest.raises(RustCareError) as caught:
                await h.request(identity.TOKEN_ISSUE, asked, principal=ann.principal)
            assert caught.value.code == "identity.token-forbidden"
            await h.database.execute("UPDATE sessions SET authenticated = 0 WHERE id = ?", (session.id,))
        _, credential = await sessions_of(h).raise_aal(session.id, 2, ["otp"])
        assert (await authenticated(h, credential)).scopes == ("admin",)


async def test_a_disabled_tenant_lets_nobody_in() -> None:
    """Nor out again: sessions are good when it is enabled anew."""
    async with identity_plugin() as h:
        plugin: Any = h.plugin
        await plugin.tenants.put(identity.TenantRequest("north"))
        _, credential = await signed_in(h, await person(h, tenant="north"))
        await plugin.tenants.put(identity.TenantRequest("north", enabled=False))
        await refused(h, credential)
        await plugin.tenants.put(identity.TenantRequest("north", enabled=True))
        await authenticated(h, credential)


async def test_idle_sessions_end_and_used_ones_last_until_the_absolute_end() -> None:
    """Automatic logoff; `keep` never reaches beyond either limit."""
    async with identity_plugin() as h:
        ann = await person(h)
        _, idle = await signed_in(h, ann)
        _, used = await signed_in(h, ann)
        begun = h.now.timestamp()
        while h.now.timestamp() + 1_790 < begun + 43_200:
            h.advance(1_790)
            found = await authenticated(h, used)
            assert found.keep <= min(h.now.timestamp() + 30, begun + 43_200)
        await refused(h, idle)
        h.advance(begun + 43_195 - h.now.timestamp())
        assert (await authenticated(h, used)).keep == begun + 43_200
        h.advance(5)
        await refused(h, used)


async def test_the_time_of_last_use_is_written_at_most_once_a_minute() -> None:
    """Whatever the number of requests: that is one write, not one each."""
    async with identity_plugin() as h:
        _, credential = await signed_in(h, await person(h))
        writes = []

        def count() -> int:
            return sum(use.capability.kind == "db" and use.capability.action == "write" for use in h.capabilities_used)

        for _ in range(120):
            before = count()
            await authenticated(h, credential)
            writes.append(count() - before)
            h.advance(1)
        assert sum(writes) == 1


async def test_a_tight_idle_limit_does_not_throw_out_who_is_at_work() -> None:
    """A tenant may say 60 seconds: then use is written more often."""
    async with identity_plugin({"settings": {"sessions": {"idle": 60}}}) as h:
        _, credential = await signed_in(h, await person(h))
        for _ in range(30):
            h.advance(30)
            await authenticated(h, credential)
        h.advance(60)
        await refused(h, credential)


async def test_tightening_a_tenant_holds_for_sessions_that_there_are() -> None:
    """Limits are looked up when they are needed, not when a session begins."""
    async with identity_plugin() as h:
        _, credential = await signed_in(h, await person(h))
        h.advance(700)
        await authenticated(h, credential)
        h.advance(700)
        settings = {"sessions": {"idle": 600}}
        await h.plugin.tenants.put(identity.TenantRequest("default", settings=settings))  # type: ignore[attr-defined]
        await refused(h, credential)


async def test_a_raised_session_has_another_credential_and_everybody_forgets_the_old_one() -> None:
    """What somebody may have planted, or seen, before the second factor is worth nothing after it."""
    async with identity_plugin() as h:
        session, old = await signed_in(h, await person(h))
        h.advance(100)
        raised, new = await sessions_of(h).raise_aal(session.id, 2, ["otp"])
        assert (raised.aal, raised.amr, raised.authenticated) == (2, ("pwd", "otp"), h.now.timestamp())
        await refused(h, old)
        assert (await authenticated(h, new)).aal == 2
        (told,) = h.assert_published(identity.REVOKED, times=1)
        assert (told.data.kind, told.data.id) == ("credential", digest_of(old))
        again, _ = await sessions_of(h).raise_aal(session.id, 1, ["pwd"])
        assert again.aal == 2, "proving less again takes nothing away"


async def test_a_session_that_is_older_than_the_level_it_is_raised_to_may_last_is_not_over_by_that() -> None:
    """The limit of the higher level counts from the proof; that of the level it began with still ends it."""
    day = 86_400.0
    settings = {"sessions": {"aal1": {"absolute": 10 * day, "idle": 10 * day}}}
    async with identity_plugin({"settings": settings}) as h:
        session, _ = await signed_in(h, await person(h))
        h.advance(2 * day)
        raised, credential = await sessions_of(h).raise_aal(session.id, 2, ["otp"])
        assert raised.expires_at(sessions_of(h).limits("default", 2)) == h.now.timestamp() + 43_200
        assert (await authenticated(h, credential)).aal == 2
        for _ in range(24):
            h.advance(1_799)
            await authenticated(h, credential)
        raised, credential = await sessions_of(h).raise_aal(session.id, 1, ["pwd"])
        assert (raised.aal, raised.authenticated) == (2, h.now.timestamp()), "a password is fresh proof, of AAL1"
        h.advance(43_200 - 24 * 1_799)
        await refused(h, credential)


async def test_a_password_does_not_bring_back_a_level_that_has_worn_off() -> None:
    """It proves AAL1; the second factor was long ago."""
    async with identity_plugin() as h:
        session, _ = await signed_in(h, await person(h), aal=2)
        await h.database.execute(
            "UPDATE sessions SET authenticated = authenticated - 43200 WHERE id = ?", (session.id,)
        )
        raised, _ = await sessions_of(h).raise_aal(session.id, 1, ["pwd"])
        assert raised.aal == 1


async def test_an_ended_session_is_not_raised() -> None:
    """Whoever was fast enough to end it has ended it."""
    async with identity_plugin() as h:
        session, _ = await signed_in(h, await person(h))
        await sessions_of(h).revoke(tenant="default", session=session.id)
        with pytest.raises(RustCareError) as caught:
            await sessions_of(h).raise_aal(session.id, 2, ["otp"])
        assert caught.value.code == "identity.session-unknown"


async def test_assurance_wears_off_with_the_absolute_limit_of_its_level() -> None:
    """AAL2 of this morning is not AAL2 for ever, even where the session itself may last longer."""
    settings = {"sessions": {"absolute": 86400, "idle": 86400, "aal1": {"absolute": 86400, "idle": 86400}}}
    async with identity_plugin({"settings": settings}) as h:
        session, credential = await signed_in(h, await person(h), aal=2)
        await h.database.execute(
            "UPDATE sessions SET authenticated = authenticated - 86399 WHERE id = ?", (session.id,)
        )
        assert (await authenticated(h, credential)).aal == 2
        h.advance(1)
        assert (await authenticated(h, credential)).aal == 1


async def test_ending_all_but_one_leaves_that_one_and_what_hangs_on_it() -> None:
    """`keep`: sign out everywhere else. Tokens made in the kept session live, those of others do not."""
    async with identity_plugin() as h:
        ann = await person(h)
        kept, credential = await signed_in(h, ann)
        other, gone = await signed_in(h, ann)
        tokens = {}
        for session in (kept, other):
            asked = identity.IssueRequest(refresh=True, session=session.id)
            tokens[session.id] = (await h.request(identity.TOKEN_ISSUE, asked, principal=ann.principal)).refresh_token
        loose = (
            await h.request(identity.TOKEN_ISSUE, identity.IssueRequest(refresh=True), principal=ann.principal)
        ).refresh_token
        reply = await h.request(identity.SESSION_REVOKE, identity.RevokeRequest(keep=kept.id), principal=ann.principal)
        assert reply.sessions == 3
        await authenticated(h, credential)
        await refused(h, gone)
        await h.request(identity.TOKEN_REFRESH, identity.RefreshRequest(tokens[kept.id]), principal="")
        for token in (tokens[other.id], loose):
            with pytest.raises(RustCareError):
                await h.request(identity.TOKEN_REFRESH, identity.RefreshRequest(token), principal="")


async def test_who_keeps_a_session_of_tokens_keeps_the_one_that_it_came_of() -> None:
    """A program that signs out everywhere else with its token can still refresh it."""
    async with identity_plugin() as h:
        ann = await person(h)
        session, credential = await signed_in(h, ann)
        _, other = await signed_in(h, ann)
        asked = identity.IssueRequest(refresh=True, session=session.id)
        issued = await h.request(identity.TOKEN_ISSUE, asked, principal=ann.principal)
        keep = identity.RevokeRequest(keep=family_of(issued.refresh_token))
        assert (await h.request(identity.SESSION_REVOKE, keep, principal=ann.principal)).sessions == 1
        await h.request(identity.TOKEN_REFRESH, identity.RefreshRequest(issued.refresh_token), principal="")
        await authenticated(h, credential)
        await refused(h, other)


async def test_ending_all_ends_tokens_of_no_session_too() -> None:
    """One revocation of the account covers whatever was made before it, and nothing after."""
    async with identity_plugin() as h:
        ann = await person(h)
        await signed_in(h, ann)
        h.advance(0.4)
        await h.request(identity.SESSION_REVOKE, identity.RevokeRequest(), principal=ann.principal)
        (told,) = h.assert_published(identity.REVOKED, times=1)
        assert (told.data.kind, told.data.id, told.data.before) == ("account", ann.id, h.now.timestamp())
        import jwt

        reply = await h.request(identity.TOKEN_ISSUE, identity.IssueRequest(), principal=ann.principal)
        claims = jwt.decode(reply.access_token, options={"verify_signature": False})
        assert claims["iat"] >= told.data.before, "made in the same second, after: it must not look older"
        _, credential = await signed_in(h, ann)
        await authenticated(h, credential)


async def test_of_many_who_end_and_use_a_session_at_once_nobody_uses_it_after_the_answer() -> None:
    """Whatever the interleaving: what was answered before the end was good, what comes after is refused."""
    async with identity_plugin() as h:
        ann = await person(h)
        for _ in range(10):
            session, credential = await signed_in(h, ann)
            h.advance(61)
            ended = asyncio.Event()

            async def use(credential: str = credential, ended: asyncio.Event = ended) -> bool:
                after = ended.is_set()
                try:
                    await authenticated(h, credential)
                except RustCareError:
                    return False
                return after

            async def end(id: str = session.id, ended: asyncio.Event = ended) -> bool:
                await sessions_of(h).revoke(tenant="default", session=id)
                ended.set()
                return False

            found = await asyncio.gather(*(use() for _ in range(5)), end(), *(use() for _ in range(5)))
            assert not any(found)
            await refused(h, credential)


async def test_own_sessions_are_listed_newest_first_with_the_one_that_asks_marked() -> None:
    """Names, addresses, limits; no credential."""
    async with identity_plugin() as h:
        ann = await person(h)
        first, _ = await signed_in(h, ann)
        h.advance(1)
        second, credential = await signed_in(h, ann, aal=2)
        caller = await caller_of(h, credential)
        asked = identity.SessionsRequest(current=caller.session)
        found = (await h.request(identity.SESSION_LIST, asked, principal=ann.principal)).sessions
        assert [(one.id, one.current) for one in found] == [(second.id, True), (first.id, False)]
        assert found[0].device == "Firefox on Linux"
        assert (found[0].address, found[0].aal) == ("192.0.2.7", 2)
        assert found[0].expires == found[0].created + 43_200
        assert found[0].idle_until == found[0].seen + 1_800


async def test_a_device_is_named_by_its_owner_alone() -> None:
    """One line, not too long; somebody else's session is as good as none."""
    async with identity_plugin() as h:
        ann, bob = await person(h), await person(h, "bob")
        session, _ = await signed_in(h, ann)
        asked = identity.SessionRenameRequest(session.id, "  The tablet\non ward\t3 " + "x" * 200)
        reply = await h.request(identity.SESSION_RENAME, asked, principal=ann.principal)
        assert reply.session.device.startswith("The tablet on ward 3 xxx")
        assert len(reply.session.device) == 100
        asked = identity.SessionRenameRequest(session.id, " \n")
        assert (
            await h.request(identity.SESSION_RENAME, asked, principal=ann.principal)
        ).session.device == "Unknown device"
        with pytest.raises(RustCareError) as caught:
            await h.request(
                identity.SESSION_RENAME, identity.SessionRenameRequest(session.id, "mine"), principal=bob.principal
            )
        assert caught.value.code == "identity.session-unknown"


async def test_others_sessions_are_for_administrators_of_the_same_tenant() -> None:
    """List and revoke; across tenants nothing, whatever one is elsewhere."""
    async with identity_plugin() as h:
        await h.plugin.tenants.put(identity.TenantRequest("north"))  # type: ignore[attr-defined]
        ann, bob = await person(h), await person(h, "bob")
        root = await person(h, "root", ["administrator"])
        north = await person(h, "root", ["administrator"], tenant="north")
        session, credential = await signed_in(h, ann)
        for principal, tenant in ((bob.principal, "default"), (north.principal, "north"), (north.principal, "default")):
            for service, asked in (
                (identity.SESSION_LIST, identity.SessionsRequest(ann.id)),
                (identity.SESSION_REVOKE, identity.RevokeRequest(ann.id)),
            ):
                with pytest.raises(RustCareError) as caught:
                    await h.request(service, asked, principal=principal, tenant=tenant)
                assert caught.value.code in ("identity.session-forbidden", "identity.account-unknown")
        for principal, tenant in ((bob.principal, "default"), (north.principal, "north")):
            asked = identity.RevokeRequest(session=session.id)
            assert (await h.request(identity.SESSION_REVOKE, asked, principal=principal, tenant=tenant)).sessions == 0
        await authenticated(h, credential)
        assert (
            await h.request(identity.SESSION_LIST, identity.SessionsRequest("ann"), principal=root.principal)
        ).sessions
        reply = await h.request(
            identity.SESSION_REVOKE, identity.RevokeRequest(session=session.id), principal=root.principal
        )
        assert reply.sessions == 1
        await refused(h, credential)


async def test_the_operator_ends_whatever_they_want() -> None:
    """At the system's own controls nobody has an account."""
    async with identity_plugin() as h:
        ann = await person(h, roles=["administrator"])
        _, credential = await signed_in(h, ann)
        asked = identity.RevokeRequest("ann", reason="lost laptop")
        assert (await h.request(identity.SESSION_REVOKE, asked, source="cli")).sessions == 1
        await refused(h, credential)


async def entered(h: PluginHarness, name: str) -> identity.LoginReply:
    """A sign-in with a password."""
    wanted = identity.PasswordLoginRequest(name, PASSWORD, identity.Client("192.0.2.7", "Firefox/140.0"))
    found: identity.LoginReply = await h.request(identity.LOGIN_PASSWORD, wanted, principal="")
    return found


async def test_of_too_many_sessions_the_one_that_was_not_used_for_longest_ends_and_that_is_told() -> None:
    """A tenant's setting; the one that has just begun stays, and so does one that is at work, however old it is."""
    async with identity_plugin({"settings": {"sessions": {"most": 3}}}) as h:
        made = identity.CreateAccountRequest("ann", password=PASSWORD)
        ann = (await h.request(identity.ACCOUNT_CREATE, made)).account
        first, second = await entered(h, "ann"), await entered(h, "ann")
        h.advance(60)
        third = await entered(h, "ann")
        await authenticated(h, first.credential)
        h.advance(60)
        h.published.clear()
        fourth = await entered(h, "ann")
        await refused(h, second.credential)
        for one in (first, third, fourth):
            await authenticated(h, one.credential)
        (told,) = h.assert_published(identity.REVOKED, times=1)
        assert (told.data.kind, told.data.id) == ("session", second.session.id)
        events = [message.data for message in h.assert_published(identity.EVENT)]
        ended = [one for one in events if one.action == "session.ended"]
        assert [(one.account, one.session, one.details["alert"]) for one in ended] == [
            (ann.id, second.session.id, "too many sessions")
        ]


async def test_many_who_sign_in_at_once_leave_as_many_sessions_as_there_may_be() -> None:
    """Each looks after its own session is there, so the last one sees them all; each that is left is good."""
    async with identity_plugin({"settings": {"sessions": {"most": 4}}}) as h:
        ann = await person(h)

        async def begin() -> None:
            session, _ = await signed_in(h, ann)
            await h.plugin.make_room(session)  # type: ignore[attr-defined]

        await asyncio.gather(*(begin() for _ in range(20)))
        assert len(await sessions_of(h).of("default", ann.id)) == 4


async def test_programs_are_counted_apart_and_what_has_timed_out_is_not_counted() -> None:
    """A phone that was signed in a thousand times takes no browser's place, and a browser that was left takes nobody's."""
    async with identity_plugin({"settings": {"sessions": {"most": 2}}}) as h:
        ann = await person(h)
        session, credential = await signed_in(h, ann)
        asked = identity.IssueRequest(refresh=True)
        tokens = []
        for _ in range(3):
            h.advance(1)
            tokens.append((await h.request(identity.TOKEN_ISSUE, asked, principal=ann.principal)).refresh_token)
        await authenticated(h, credential)
        for number, token in enumerate(tokens):
            wanted = identity.RefreshRequest(token)
            if number:
                await h.request(identity.TOKEN_REFRESH, wanted, principal="")
            else:
                with pytest.raises(RustCareError) as caught:
                    await h.request(identity.TOKEN_REFRESH, wanted, principal="")
                assert caught.value.code == "identity.refresh-refused"
        h.advance(1_800)
        assert await sessions_of(h).get(session.id) is None, "it has timed out"
        others = [(await signed_in(h, ann))[0] for _ in range(2)]
        assert await sessions_of(h).make_room(others[-1]) == []


async def test_what_ended_long_ago_is_taken_away() -> None:
    """A week later; what lives stays."""
    async with identity_plugin() as h:
        ann = await person(h)
        session, _ = await signed_in(h, ann)
        await sessions_of(h).revoke(tenant="default", session=session.id)
        h.advance(7 * 86_400 - 1)
        assert await sessions_of(h).purge() == 0
        _, credential = await signed_in(h, ann)
        h.advance(2)
        assert await sessions_of(h).purge() == 1
        await authenticated(h, credential)


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140.0 Safari/537.36 Edg/140.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("Mozilla/5.0 (Linux; Android 16) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        ("rustcare/0.1", "RustCare command line"),
        ("", "Unknown device"),
    ],
)
def test_devices_are_named_by_what_browsers_say(agent: str, name: str) -> None:
    """For people to recognize; nothing is decided by it."""
    assert device_name(agent) == name
    assert clean_name(name) == name
