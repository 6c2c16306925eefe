"""Emergency access and delegation: who may, for how long, how loud, and what is left when it is over."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt
import pytest
from rustcare_plugin_identity.sessions.model import digest_of
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError, ServiceError
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import caller_of, identity_plugin, person, signed_in

REASON = "Patient unconscious, physician on call not reachable"


async def break_glass(h: PluginHarness, principal: str, session: str, **asked: Any) -> identity.ElevationInfo:
    """An emergency."""
    found: identity.ElevationInfo = await h.request(
        identity.BREAK_GLASS,
        identity.BreakGlassRequest(**{"reason": REASON, "session": session, **asked}),
        principal=principal,
    )
    return found


async def delegate(h: PluginHarness, giver: str, to: str, *scopes: str, **asked: Any) -> identity.ElevationInfo:
    """A delegation."""
    found: identity.ElevationInfo = await h.request(
        identity.DELEGATE, identity.DelegateRequest(to, list(scopes), **asked), principal=giver
    )
    return found


async def assume(h: PluginHarness, principal: str, id: str, session: str) -> identity.ElevationInfo:
    """Take it up, or lay down."""
    found: identity.ElevationInfo = await h.request(
        identity.ELEVATION_ASSUME, identity.ElevationAssumeRequest(id, session), principal=principal
    )
    return found


async def review(h: PluginHarness, principal: str, id: str, verdict: Any = "", **asked: Any) -> identity.ElevationInfo:
    """Look at it afterwards."""
    found: identity.ElevationInfo = await h.request(
        identity.ELEVATION_REVIEW, identity.ElevationReviewRequest(id, verdict, **asked), principal=principal
    )
    return found


async def code_of(work: Any) -> str:
    """With which code something is refused."""
    with pytest.raises(RustCareError) as caught:
        await work
    return caught.value.code


async def test_emergency_access_is_at_once_loud_and_ends_by_itself() -> None:
    """Role, purpose and alert; gateways forget what they knew of the session; afterwards all is as before."""
    async with identity_plugin() as h:
        ann = await person(h, roles=["user"])
        session, credential = await signed_in(h, ann, aal=2)
        info = await break_glass(h, ann.principal, session.id, minutes=20, patient="Patient/1")
        assert (info.kind, info.account, info.role, info.purpose, info.patient) == (
            "break-glass",
            ann.id,
            "emergency",
            "BTG",
            "Patient/1",
        )
        (event,) = h.assert_published(identity.EVENT, times=1)
        assert (event.data.action, event.data.account, event.data.session) == (
            "elevation.break-glass",
            ann.id,
            session.id,
        )
        assert event.data.details["alert"] == "break-glass"
        assert REASON not in repr(event.data), "the reason may name a patient; it is with the elevation"
        (told,) = h.assert_published(identity.REVOKED, times=1)
        assert (told.data.kind, told.data.id) == ("credential", digest_of(credential))
        caller = await caller_of(h, credential)
        assert set(caller.scopes) == {"fhir.read", "fhir.emergency"}
        assert (caller.roles, caller.purpose, caller.on_behalf) == (("emergency", "user"), "BTG", "")
        h.advance(1_195)
        found = await h.request(identity.AUTHENTICATE, identity.AuthenticateRequest("session", credential))
        assert found.keep == info.ends, "nothing is remembered beyond the end"
        h.advance(5)
        caller = await caller_of(h, credential)
        assert (caller.scopes, caller.roles, caller.purpose) == ((), ("user",), "")


async def test_what_cannot_be_put_on_record_does_not_happen() -> None:
    """A watcher that fails keeps the glass whole."""
    async with identity_plugin() as h:
        ann = await person(h)
        session, credential = await signed_in(h, ann, aal=2)

        def broken(message: Any) -> None:
            raise ServiceError("test.broken", "cannot write")

        h.subscribe(identity.EVENT, broken)
        assert await code_of(break_glass(h, ann.principal, session.id)) == "identity.event-unhandled"
        assert (await caller_of(h, credential)).scopes == ()
        assert await h.database.fetch("SELECT * FROM elevations") == []


async def test_emergency_access_takes_a_second_factor_a_reason_and_bounds() -> None:
    """AAL2, enough words, a role for emergencies, minutes that the tenant allows, one's own session that is good."""
    async with identity_plugin({"settings": {"elevations": {"minutes": 30}}}) as h:
        ann, bob = await person(h), await person(h, "bob")
        weak, _ = await signed_in(h, ann, aal=1)
        session, _ = await signed_in(h, ann, aal=2)
        other, _ = await signed_in(h, bob, aal=2)
        assert await code_of(break_glass(h, ann.principal, weak.id)) == "identity.assurance-too-low"
        for asked in (
            {"reason": ""},
            {"reason": "  why?  "},
            {"reason": "x" * 2001},
            {"patient": "x" * 201},
            {"role": "administrator"},
            {"role": "nonsense"},
            {"minutes": 0},
            {"minutes": 31},
        ):
            found = await code_of(break_glass(h, ann.principal, session.id, **asked))
            assert found == "identity.elevation-invalid", asked
        for id in ("", "nonsense", other.id):
            assert await code_of(break_glass(h, ann.principal, id)) == "identity.session-unknown"
        assert await code_of(break_glass(h, "", session.id)) == "identity.not-signed-in"
        await h.database.execute(
            "UPDATE sessions SET authenticated = authenticated - 43200 WHERE id = ?", (session.id,)
        )
        assert await code_of(break_glass(h, ann.principal, session.id)) == "identity.assurance-too-low"
        assert await h.database.fetch("SELECT * FROM elevations") == []


async def test_a_tenant_allows_no_more_than_holds_for_all() -> None:
    """Fewer minutes, fewer roles, a longer reason; never a role that the operator keeps out of emergencies."""
    allowed = {"elevations": {"roles": ["emergency", "clinician"], "minutes": 60, "reason": 10}}
    own = {"elevations": {"roles": ["administrator", "clinician"], "minutes": 600, "reason": 5}}
    async with identity_plugin({"settings": allowed}) as h:
        await h.plugin.tenants.put(identity.TenantRequest("default", settings=own))  # type: ignore[attr-defined]
        ann = await person(h)
        session, _ = await signed_in(h, ann, aal=2)
        for asked in ({"role": "administrator"}, {"role": "emergency"}, {"role": "clinician", "minutes": 61}):
            assert await code_of(break_glass(h, ann.principal, session.id, **asked)) == "identity.elevation-invalid"
        assert (await break_glass(h, ann.principal, session.id, role="clinician")).role == "clinician"


async def test_administrators_are_written_to_in_the_same_commit() -> None:
    """Those of the tenant with an address that is theirs, but for whoever did it; the reason stays out of the mail."""
    config = {"mail": {"host": "127.0.0.1", "port": 9, "security": "none"}}
    async with identity_plugin(config) as h:
        plugin: Any = h.plugin
        await plugin.tenants.put(identity.TenantRequest("north"))
        for name, tenant, verified, roles in (
            ("root", "default", True, ["administrator"]),
            ("boss", "default", True, ["administrator"]),
            ("new", "default", False, ["administrator"]),
            ("ann", "default", True, []),
            ("far", "north", True, ["administrator"]),
        ):
            await plugin.accounts.create(
                tenant, name=name, email=f"{name}@example.org", email_verified=verified, roles=roles
            )
        root = await plugin.accounts.find("default", "root")
        session, _ = await signed_in(h, root, aal=2)
        await break_glass(h, root.principal, session.id)
        mails = await h.database.fetch("SELECT recipient, subject, body FROM mails")
        assert [mail["recipient"] for mail in mails] == ["boss@example.org"]
        assert "Emergency access" in mails[0]["subject"]
        assert "unconscious" not in mails[0]["body"]


async def test_only_that_session_is_elevated_and_only_once() -> None:
    """Another device of the same person stays what it was."""
    async with identity_plugin() as h:
        ann = await person(h)
        session, _ = await signed_in(h, ann, aal=2)
        _, other = await signed_in(h, ann, aal=2)
        await break_glass(h, ann.principal, session.id)
        assert (await caller_of(h, other)).scopes == ()
        assert await code_of(break_glass(h, ann.principal, session.id)) == "identity.elevation-invalid"


async def test_of_many_who_elevate_one_session_at_once_one_does() -> None:
    """Nobody's emergency is left in force beside another, where nothing would end the tokens made under it."""
    async with identity_plugin() as h:
        ann = await person(h)
        session, _ = await signed_in(h, ann, aal=2)
        found = await asyncio.gather(
            *(break_glass(h, ann.principal, session.id) for _ in range(5)), return_exceptions=True
        )
        assert sum(isinstance(one, identity.ElevationInfo) for one in found) == 1
        assert {one.code for one in found if isinstance(one, RustCareError)} == {"identity.elevation-invalid"}
        assert len(await h.database.fetch("SELECT id FROM elevations")) == 1


async def test_somebody_else_reviews_it_afterwards_once() -> None:
    """Nobody reviews themselves, nothing is reviewed while it is in force, and a verdict stays."""
    async with identity_plugin() as h:
        root = await person(h, "root", ["administrator"])
        auditor, ann = await person(h, "aud", ["auditor"]), await person(h)
        session, _ = await signed_in(h, root, aal=2)
        made = await break_glass(h, root.principal, session.id)
        listed = identity.ElevationsRequest(unreviewed=True)
        assert [
            one.id for one in (await h.request(identity.ELEVATION_LIST, listed, principal=auditor.principal)).elevations
        ] == [made.id]
        assert await code_of(review(h, auditor.principal, made.id, "justified")) == "identity.elevation-invalid"
        h.advance(3_600)
        assert await code_of(review(h, root.principal, made.id, "justified")) == "identity.elevation-forbidden"
        assert await code_of(review(h, ann.principal, made.id, "justified")) == "identity.elevation-forbidden"
        h.published.clear()
        info = await review(h, auditor.principal, made.id, "misuse", note="nobody was in danger")
        assert (info.verdict, info.reviewed_by, info.note) == ("misuse", auditor.principal, "nobody was in danger")
        (event,) = h.assert_published(identity.EVENT, times=1)
        assert (event.data.action, event.data.details["alert"]) == ("elevation.reviewed", "misuse")
        assert await code_of(review(h, auditor.principal, made.id, "justified")) == "identity.elevation-over"
        assert (await h.request(identity.ELEVATION_LIST, listed, principal=auditor.principal)).elevations == []


async def test_it_ends_early_with_the_tokens_that_were_made_under_it() -> None:
    """By its user, a reviewer, or laying it down; gateways are told before the answer."""
    async with identity_plugin() as h:
        ann, auditor = await person(h), await person(h, "aud", ["auditor"])
        for how in ("own", "reviewer", "laid down"):
            session, credential = await signed_in(h, ann, aal=2)
            plain = await h.request(
                identity.TOKEN_ISSUE, identity.IssueRequest(session=session.id), principal=ann.principal
            )
            made = await break_glass(h, ann.principal, session.id, minutes=10)
            asked = identity.IssueRequest(session=session.id)
            token = (await h.request(identity.TOKEN_ISSUE, asked, principal=ann.principal)).access_token
            claims = jwt.decode(token, options={"verify_signature": False})
            assert set(claims["scope"].split()) == {"fhir.read", "fhir.emergency"}
            assert claims["purpose"] == "BTG"
            assert claims["exp"] <= made.ends
            assert claims["sid"] != session.id, "it can be ended without the session"
            refresh = identity.IssueRequest(session=session.id, refresh=True)
            family = (await h.request(identity.TOKEN_ISSUE, refresh, principal=ann.principal)).refresh_token
            h.published.clear()
            if how == "own":
                info = await review(h, ann.principal, made.id, end=True)
            elif how == "reviewer":
                info = await review(h, auditor.principal, made.id, end=True)
            else:
                info = await assume(h, ann.principal, "", session.id)
            assert info.ended
            told = {(one.data.kind, one.data.id) for one in h.assert_published(identity.REVOKED)}
            assert {("session", claims["sid"]), ("credential", digest_of(credential))} <= told
            assert ("session", jwt.decode(plain.access_token, options={"verify_signature": False})["sid"]) not in told
            assert (await caller_of(h, credential)).scopes == ()
            refused = h.request(identity.TOKEN_REFRESH, identity.RefreshRequest(family), principal="")
            assert await code_of(refused) == "identity.refresh-refused"


async def test_it_is_over_when_its_session_is_and_may_be_reviewed() -> None:
    """Who signs out has no emergency any more; another one, in another session, goes on."""
    async with identity_plugin() as h:
        ann, auditor = await person(h), await person(h, "aud", ["auditor"])
        session, _ = await signed_in(h, ann, aal=2)
        other, credential = await signed_in(h, ann, aal=2)
        made, still = await break_glass(h, ann.principal, session.id), await break_glass(h, ann.principal, other.id)
        await h.request(identity.SESSION_REVOKE, identity.RevokeRequest(session=session.id), principal=ann.principal)
        assert (await review(h, auditor.principal, made.id, "justified")).ended
        assert await code_of(review(h, auditor.principal, still.id, "justified")) == "identity.elevation-invalid"
        assert (await caller_of(h, credential)).purpose == "BTG"


async def test_a_delegate_acts_for_the_other_with_what_was_given_and_nothing_else() -> None:
    """Who acts is the principal, for whom is `on_behalf`; both are in tokens too."""
    async with identity_plugin() as h:
        boss = await person(h, "boss", ["clinician"])
        ann = await person(h, roles=["auditor"])
        session, credential = await signed_in(h, ann)
        made = await delegate(h, boss.principal, "ann", "fhir.read", reason="holiday")
        assert (made.account, made.on_behalf, made.scopes) == (ann.id, boss.id, ["fhir.read"])
        assert (await caller_of(h, credential)).scopes == ("audit.read",), "it is not in force before it is taken up"
        h.published.clear()
        await assume(h, ann.principal, made.id, session.id)
        assert h.assert_published(identity.EVENT)[0].data.action == "elevation.assumed"
        caller = await caller_of(h, credential)
        assert (caller.principal, caller.on_behalf, caller.scopes, caller.roles) == (
            ann.principal,
            boss.principal,
            ("fhir.read",),
            (),
        )
        asked = identity.IssueRequest(session=session.id)
        token = (await h.request(identity.TOKEN_ISSUE, asked, principal=ann.principal)).access_token
        claims = jwt.decode(token, options={"verify_signature": False})
        assert (claims["sub"], claims["on_behalf"]) == (ann.principal, boss.principal)
        h.published.clear()
        await assume(h, ann.principal, "", session.id)
        told = {(one.data.kind, one.data.id) for one in h.assert_published(identity.REVOKED)}
        assert ("session", claims["sid"]) in told
        assert (await caller_of(h, credential)).scopes == ("audit.read",)
        await assume(h, ann.principal, made.id, session.id)


async def test_what_the_giver_loses_the_delegate_loses() -> None:
    """A delegation never outlives the right it was cut from, nor its giver."""
    async with identity_plugin() as h:
        plugin: Any = h.plugin
        boss, ann = await person(h, "boss", ["clinician"]), await person(h)
        session, credential = await signed_in(h, ann)
        made = await delegate(h, boss.principal, ann.id, "fhir.read", "fhir.write")
        await assume(h, ann.principal, made.id, session.id)
        assert (await caller_of(h, credential)).scopes == ("fhir.read", "fhir.write")
        await plugin.accounts.update("default", boss.id, {"roles": []})
        assert (await caller_of(h, credential)).scopes == ()
        await plugin.accounts.update("default", boss.id, {"roles": ["clinician"]})
        await plugin.accounts.update("default", boss.id, {"state": "disabled"})
        caller = await caller_of(h, credential)
        assert (caller.scopes, caller.on_behalf) == ((), "")


async def acting(h: PluginHarness) -> tuple[Any, Any, str, str, identity.ElevationInfo]:
    """A giver, a delegate who acts for them in a browser and with a token: credential, `sid`, and the delegation."""
    boss, ann = await person(h, "boss", ["clinician"]), await person(h)
    session, credential = await signed_in(h, ann)
    made = await delegate(h, boss.principal, ann.id, "fhir.read")
    await assume(h, ann.principal, made.id, session.id)
    asked = identity.IssueRequest(session=session.id)
    token = (await h.request(identity.TOKEN_ISSUE, asked, principal=ann.principal)).access_token
    sid = jwt.decode(token, options={"verify_signature": False})["sid"]
    h.published.clear()
    return boss, ann, credential, sid, made


async def told_of(h: PluginHarness) -> set[tuple[str, str]]:
    """What gateways were told."""
    return {(one.data.kind, one.data.id) for one in h.assert_published(identity.REVOKED)}


async def test_a_delegation_ends_when_its_giver_is_disabled() -> None:
    """At once and for good: browsers are asked anew, tokens end, and enabling the giver brings nothing back."""
    async with identity_plugin() as h:
        boss, ann, credential, sid, made = await acting(h)
        await h.request(identity.ACCOUNT_DISABLE, identity.DisableRequest(boss.id, reason="left"))
        assert {("credential", digest_of(credential)), ("session", sid)} <= await told_of(h)
        events = [one.data for one in h.assert_published(identity.EVENT) if one.data.action == "elevation.ended"]
        assert [(one.account, one.details["elevation"], one.details["by"]) for one in events] == [
            (ann.id, made.id, "account disabled")
        ]
        assert (await caller_of(h, credential)).on_behalf == ""
        await h.request(identity.ACCOUNT_DISABLE, identity.DisableRequest(boss.id, False))
        assert (await caller_of(h, credential)).on_behalf == ""
        session = (await caller_of(h, credential)).session
        assert await code_of(assume(h, ann.principal, made.id, session)) == "identity.elevation-over"


async def test_when_the_giver_loses_something_nobody_remembers_that_the_delegate_had_it() -> None:
    """The delegation stays, with what is left of it; gateways ask anew, and tokens from before are worth nothing."""
    async with identity_plugin() as h:
        boss, _, credential, sid, _ = await acting(h)
        await h.request(identity.ACCOUNT_UPDATE, identity.UpdateAccountRequest(boss.id, roles=[]))
        assert {("credential", digest_of(credential)), ("session", sid)} <= await told_of(h)
        caller = await caller_of(h, credential)
        assert (caller.scopes, caller.on_behalf) == ((), boss.principal)
        await h.request(identity.ACCOUNT_UPDATE, identity.UpdateAccountRequest(boss.id, roles=["clinician"]))
        assert (await caller_of(h, credential)).scopes == ("fhir.read",)


async def test_an_end_that_was_before_is_not_told_again() -> None:
    """Whoever ends what has ended is answered the same; the record says it once."""
    async with identity_plugin() as h:
        boss, _, _, _, made = await acting(h)
        for _ in range(2):
            assert (await review(h, boss.principal, made.id, end=True)).ended
        ended = [one for one in h.assert_published(identity.EVENT) if one.data.action == "elevation.ended"]
        assert len(ended) == 1


async def test_tokens_of_tokens_end_with_the_session_that_all_of_them_came_of() -> None:
    """Signing out ends what was made under an elevation, however it was handed on."""
    async with identity_plugin() as h:
        ann = await person(h)
        session, _ = await signed_in(h, ann, aal=2)
        await break_glass(h, ann.principal, session.id)
        sids = [session.id]
        for _ in range(3):
            asked = identity.IssueRequest(session=sids[-1])
            token = (await h.request(identity.TOKEN_ISSUE, asked, principal=ann.principal)).access_token
            sids.append(jwt.decode(token, options={"verify_signature": False})["sid"])
        h.published.clear()
        await h.request(identity.SESSION_REVOKE, identity.RevokeRequest(session=session.id), principal=ann.principal)
        assert await told_of(h) == {("session", sid) for sid in sids}


async def test_laying_down_in_a_session_of_tokens_ends_it() -> None:
    """Its access tokens carry its own id, so those with more rights than it has now can end with it alone."""
    async with identity_plugin() as h:
        boss, ann = await person(h, "boss", ["clinician"]), await person(h)
        asked = identity.IssueRequest(refresh=True)
        issued = await h.request(identity.TOKEN_ISSUE, asked, principal=ann.principal)
        sid = jwt.decode(issued.access_token, options={"verify_signature": False})["sid"]
        made = await delegate(h, boss.principal, ann.id, "fhir.read")
        await assume(h, ann.principal, made.id, sid)
        again = identity.RefreshRequest(issued.refresh_token)
        renewed = await h.request(identity.TOKEN_REFRESH, again, principal="")
        assert renewed.scopes == ["fhir.read"]
        h.published.clear()
        await assume(h, ann.principal, "", sid)
        assert ("session", sid) in await told_of(h)
        again = identity.RefreshRequest(renewed.refresh_token)
        assert await code_of(h.request(identity.TOKEN_REFRESH, again, principal="")) == "identity.refresh-refused"


async def test_nobody_gives_what_they_do_not_hold_or_takes_up_what_is_not_theirs() -> None:
    """Subsets, oneself, bounds, other tenants."""
    async with identity_plugin({"settings": {"elevations": {"hours": 48}}}) as h:
        await h.plugin.tenants.put(identity.TenantRequest("north"))  # type: ignore[attr-defined]
        boss, ann, bob = await person(h, "boss", ["clinician"]), await person(h), await person(h, "bob")
        far = await person(h, "far", tenant="north")
        session, _ = await signed_in(h, bob)
        for to, scopes, asked, code in (
            ("ann", ("admin",), {}, "identity.scope-not-held"),
            ("ann", ("fhir",), {}, "identity.scope-not-held"),
            ("ann", (), {}, "identity.scope-not-held"),
            ("boss", ("fhir.read",), {}, "identity.elevation-invalid"),
            ("ann", ("fhir.read",), {"hours": 49}, "identity.elevation-invalid"),
            ("ann", ("fhir.read",), {"hours": 0}, "identity.elevation-invalid"),
            (far.id, ("fhir.read",), {}, "identity.account-unknown"),
            ("ann", ("fhir.read",), {"account": "bob"}, "identity.session-forbidden"),
        ):
            assert await code_of(delegate(h, boss.principal, to, *scopes, **asked)) == code, (to, scopes, asked)
        made = await delegate(h, boss.principal, ann.id, "fhir.read", hours=1)
        assert await code_of(assume(h, bob.principal, made.id, session.id)) == "identity.elevation-forbidden"
        own, _ = await signed_in(h, ann)
        assert await code_of(assume(h, bob.principal, made.id, own.id)) == "identity.session-unknown"
        assert await code_of(assume(h, ann.principal, "", own.id)) == "identity.elevation-over"
        await review(h, boss.principal, made.id, end=True)
        assert await code_of(assume(h, ann.principal, made.id, own.id)) == "identity.elevation-over"
        again = await delegate(h, boss.principal, ann.id, "fhir.read", hours=1)
        h.advance(3_600)
        own, _ = await signed_in(h, ann)
        assert await code_of(assume(h, ann.principal, again.id, own.id)) == "identity.elevation-over"


async def test_lists_show_ones_own_and_reviewers_all() -> None:
    """Given and taken; of other tenants nothing."""
    async with identity_plugin() as h:
        await h.plugin.tenants.put(identity.TenantRequest("north"))  # type: ignore[attr-defined]
        boss, ann, bob = await person(h, "boss", ["clinician"]), await person(h), await person(h, "bob")
        auditor = await person(h, "aud", ["auditor"])
        north = await person(h, "aud", ["auditor"], tenant="north")
        made = await delegate(h, boss.principal, ann.id, "fhir.read")

        async def listed(principal: str, account: str = "", tenant: str = "default") -> list[str]:
            asked = identity.ElevationsRequest(account)
            reply = await h.request(identity.ELEVATION_LIST, asked, principal=principal, tenant=tenant)
            return [one.id for one in reply.elevations]

        assert await listed(boss.principal) == await listed(ann.principal) == [made.id]
        assert await listed(bob.principal) == []
        assert await listed(auditor.principal) == await listed(auditor.principal, "ann") == [made.id]
        assert await listed(north.principal, tenant="north") == []
        assert await code_of(listed(bob.principal, ann.id)) == "identity.elevation-forbidden"
        assert (
            await code_of(
                h.request(
                    identity.ELEVATION_REVIEW,
                    identity.ElevationReviewRequest(made.id, end=True),
                    principal=north.principal,
                    tenant="north",
                )
            )
            == "identity.elevation-unknown"
        )
