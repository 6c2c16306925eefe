"""Signing in a device: codes that people can type, polling that is told to slow down, and tokens once."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import jwt
import pytest
from rustcare_plugin_identity.device.codes import LETTERS, normal
from rustcare_plugin_identity.device.guesses import Guesses
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import Caller, HttpResponse
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import caller_of, identity_plugin, person, signed_in

GRANT = "urn:ietf:params:oauth:grant-type:device_code"


async def begin(h: PluginHarness, **form: str) -> dict[str, Any]:
    """A device asks."""
    found = await h.http("POST", "/identity/v1/device", form={"client_id": "rustcare", **form}, caller=Caller())
    assert found.status == 200
    return dict(found.content)


async def poll(h: PluginHarness, device_code: str) -> HttpResponse:
    """It asks whether it is signed in."""
    form = {"grant_type": GRANT, "device_code": device_code}
    return await h.http("POST", "/identity/v1/device/token", form=form, caller=Caller())


async def answer(
    h: PluginHarness, principal: str, code: str, session: str, approve: bool = True
) -> identity.DeviceInfo:
    """What its user says."""
    found: identity.DeviceInfo = await h.request(
        identity.DEVICE_APPROVE, identity.DeviceApproveRequest(code, session, approve), principal=principal
    )
    return found


async def code_of(work: Any) -> str:
    """With which code something is refused."""
    with pytest.raises(RustCareError) as caught:
        await work
    return caught.value.code


async def test_a_device_is_signed_in_as_who_approves_with_their_assurance() -> None:
    """From the code on the screen to tokens that go round; it is listed among the sessions, and ended by itself."""
    async with identity_plugin() as h:
        ann = await person(h, roles=["administrator"])
        session, credential = await signed_in(h, ann, aal=2)
        begun = await begin(h, client_id="rustcare on ws7", scope="admin.plugins fhir.read")
        assert begun["verification_uri"] == "https://test.example/device"
        assert begun["verification_uri_complete"] == f"https://test.example/device?code={begun['user_code']}"
        assert (begun["expires_in"], begun["interval"]) == (600, 5)
        assert len(begun["user_code"]) == 9
        assert set(begun["user_code"]) <= set(LETTERS) | {"-"}
        pending = await poll(h, begun["device_code"])
        assert (pending.status, pending.content["error"]) == (400, "authorization_pending")
        typed = begun["user_code"].lower().replace("-", " ")
        shown = await h.request(identity.DEVICE_SHOW, identity.DeviceShowRequest(typed), principal=ann.principal)
        assert (shown.client, shown.address, shown.scopes) == (
            "rustcare on ws7",
            "192.0.2.1",
            ["admin.plugins", "fhir.read"],
        )
        h.advance(6)
        assert (await answer(h, ann.principal, typed, session.id)).state == "approved"
        done = await poll(h, begun["device_code"])
        assert (done.status, done.content["scope"]) == (200, "admin.plugins fhir.read")
        claims = jwt.decode(done.content["access_token"], options={"verify_signature": False})
        assert (claims["sub"], claims["acr"], claims["auth_time"]) == (
            ann.principal,
            "aal2",
            int(session.authenticated),
        )
        again = await poll(h, begun["device_code"])
        assert (again.status, again.content["error"]) == (400, "invalid_grant")
        listed = (await h.request(identity.SESSION_LIST, identity.SessionsRequest(), principal=ann.principal)).sessions
        assert [one.device for one in listed] == ["rustcare on ws7", "Firefox on Linux"]
        await h.plugin.sessions.revoke(tenant="default", session=session.id)  # type: ignore[attr-defined]
        form = {"grant_type": "refresh_token", "refresh_token": done.content["refresh_token"]}
        renewed = await h.http("POST", "/identity/v1/device/token", form=form, caller=Caller())
        assert renewed.status == 200, "the browser's session may end; the device is a session of its own"
        assert await h.plugin.sessions.find(credential) is None  # type: ignore[attr-defined]
        ended = identity.RevokeRequest(session=claims["sid"])
        await h.request(identity.SESSION_REVOKE, ended, principal=ann.principal)
        form["refresh_token"] = renewed.content["refresh_token"]
        over = await h.http("POST", "/identity/v1/device/token", form=form, caller=Caller())
        assert over.content["error"] == "invalid_grant"


async def test_the_user_sees_for_whom_the_tokens_are_before_they_say_yes() -> None:
    """Tokens for another server than this are no small thing; for this one nothing is said."""
    async with identity_plugin() as h:
        ann = await person(h)
        _, credential = await signed_in(h, ann)
        caller = await caller_of(h, credential)
        for asked, shown in (({"audience": "https://lab.example"}, "https://lab.example"), ({}, "")):
            begun = await begin(h, **asked)
            wanted = identity.DeviceShowRequest(begun["user_code"])
            assert (await h.request(identity.DEVICE_SHOW, wanted, principal=ann.principal)).audience == shown
            page = await h.http("GET", f"/device?code={begun['user_code']}", caller=caller)
            assert page.status == 200
            assert ("https://lab.example" in page.text) == bool(shown)


async def test_who_says_no_and_who_says_nothing() -> None:
    """`access_denied` and `expired_token`."""
    async with identity_plugin() as h:
        ann = await person(h)
        session, _ = await signed_in(h, ann)
        begun = await begin(h)
        await answer(h, ann.principal, begun["user_code"], session.id, approve=False)
        assert (await poll(h, begun["device_code"])).content["error"] == "access_denied"
        begun = await begin(h)
        h.advance(600)
        assert (await poll(h, begun["device_code"])).content["error"] == "expired_token"
        gone = answer(h, ann.principal, begun["user_code"], session.id)
        assert await code_of(gone) == "identity.device-code-unknown"
        h.advance(600)
        await h.plugin.devices.purge()  # type: ignore[attr-defined]
        assert (await poll(h, begun["device_code"])).content["error"] == "invalid_grant"
        assert await h.database.fetch("SELECT * FROM device_codes") == []


async def test_who_polls_too_fast_has_to_wait_longer_each_time() -> None:
    """RFC 8628, section 3.5: five seconds more, and it stays so."""
    async with identity_plugin() as h:
        begun = await begin(h)
        words = []
        for seconds in (0, 4, 9.9, 14.9, 20, 19):
            h.advance(seconds)
            words.append((await poll(h, begun["device_code"])).content["error"])
        assert words == [
            "authorization_pending",
            "slow_down",
            "slow_down",
            "slow_down",
            "authorization_pending",
            "slow_down",
        ]


async def test_polling_that_finds_nothing_is_not_put_on_record_again_and_again() -> None:
    """The service that makes tokens is asked only when there are some."""
    async with identity_plugin() as h:
        ann = await person(h)
        session, _ = await signed_in(h, ann)
        begun = await begin(h)
        h.requested.clear()
        for _ in range(5):
            h.advance(6)
            await poll(h, begun["device_code"])
        assert [message.subject for message in h.requested] == []
        await answer(h, ann.principal, begun["user_code"], session.id)
        await poll(h, begun["device_code"])
        assert identity.TOKEN_DEVICE in [message.subject for message in h.requested]


async def test_of_many_who_collect_at_once_one_gets_tokens() -> None:
    """And of two who answer, one is heard."""
    async with identity_plugin() as h:
        ann = await person(h)
        session, _ = await signed_in(h, ann)
        begun = await begin(h)
        answers = await asyncio.gather(
            *(answer(h, ann.principal, begun["user_code"], session.id, approve=True) for _ in range(5)),
            return_exceptions=True,
        )
        assert sum(isinstance(one, identity.DeviceInfo) for one in answers) == 1
        found = await asyncio.gather(*(poll(h, begun["device_code"]) for _ in range(20)))
        assert sorted(one.status for one in found) == [200] + [400] * 19


async def test_guessing_codes_ends_soon() -> None:
    """Ten wrong ones in ten minutes, and even the right one is not shown; others are not kept from theirs."""
    async with identity_plugin() as h:
        ann, bob = await person(h), await person(h, "bob")
        begun = await begin(h)
        for number in range(10):
            wrong = h.request(
                identity.DEVICE_SHOW, identity.DeviceShowRequest(f"BBBBBBB{number}"), principal=ann.principal
            )
            assert await code_of(wrong) == "identity.device-code-unknown"
        right = identity.DeviceShowRequest(begun["user_code"])
        assert (
            await code_of(h.request(identity.DEVICE_SHOW, right, principal=ann.principal)) == "identity.device-too-fast"
        )
        await h.request(identity.DEVICE_SHOW, right, principal=bob.principal)
        assert await code_of(h.request(identity.DEVICE_SHOW, right, principal="")) == "identity.not-signed-in"
        h.advance(600)
        begun = await begin(h)
        await h.request(identity.DEVICE_SHOW, identity.DeviceShowRequest(begun["user_code"]), principal=ann.principal)


async def test_guesses_at_once_do_not_get_ahead_of_the_count() -> None:
    """Of a hundred at the same moment ten are looked at; and looking at the right one again and again is no guessing."""
    async with identity_plugin() as h:
        ann, bob = await person(h), await person(h, "bob")
        begun = await begin(h)
        right = identity.DeviceShowRequest(begun["user_code"])
        await asyncio.gather(*(h.request(identity.DEVICE_SHOW, right, principal=bob.principal) for _ in range(10)))
        await h.request(identity.DEVICE_SHOW, right, principal=bob.principal)
        wrong = [identity.DeviceShowRequest(f"BBBBBB{number:02}") for number in range(100)]
        found = await asyncio.gather(
            *(code_of(h.request(identity.DEVICE_SHOW, one, principal=ann.principal)) for one in wrong)
        )
        assert Counter(found) == {"identity.device-code-unknown": 10, "identity.device-too-fast": 90}


def test_the_memory_for_guesses_is_bounded_and_forgets_the_oldest_first() -> None:
    """Who has just been stopped stays stopped, however many others type something wrong; a right code leaves nothing."""
    now = [1_000.0]
    guesses = Guesses(lambda: now[0])
    guesses.begin("user/right")
    guesses.right("user/right")
    for number in range(9_999):
        guesses.begin(f"user/{number}")
    now[0] += 1
    for _ in range(10):
        guesses.begin("user/guesser")
    for number in range(9_999):
        guesses.begin(f"user/other{number}")
    assert len(guesses) == 10_000
    with pytest.raises(RustCareError) as caught:
        guesses.begin("user/guesser")
    assert caught.value.code == "identity.device-too-fast"
    now[0] += 600
    guesses.begin("user/guesser")


async def test_codes_belong_to_their_tenant_and_to_the_session_that_approves() -> None:
    """Another tenant's people cannot approve, nor anybody in a session that is not theirs."""
    async with identity_plugin() as h:
        await h.plugin.tenants.put(identity.TenantRequest("north"))  # type: ignore[attr-defined]
        ann, bob, far = await person(h), await person(h, "bob"), await person(h, "far", tenant="north")
        session, _ = await signed_in(h, bob)
        there, _ = await signed_in(h, far)
        begun = await begin(h)
        assert await code_of(answer(h, ann.principal, begun["user_code"], session.id)) == "identity.session-unknown"
        asked = identity.DeviceApproveRequest(begun["user_code"], there.id)
        elsewhere = h.request(identity.DEVICE_APPROVE, asked, principal=far.principal, tenant="north")
        assert await code_of(elsewhere) == "identity.device-code-unknown"
        form = {"grant_type": GRANT, "device_code": begun["device_code"]}
        found = await h.http("POST", "/identity/v1/device/token", form=form, caller=Caller(tenant="north"))
        assert found.content["error"] == "invalid_grant"


async def test_who_was_shut_out_between_approval_and_collection_gets_nothing() -> None:
    """Disabled, or all sessions ended."""
    async with identity_plugin() as h:
        plugin: Any = h.plugin
        for how in ("disabled", "ended"):
            ann = await person(h, how)
            session, _ = await signed_in(h, ann)
            begun = await begin(h)
            await answer(h, ann.principal, begun["user_code"], session.id)
            h.advance(1)
            if how == "disabled":
                await plugin.accounts.update("default", ann.id, {"state": "disabled"})
            else:
                await plugin.sessions.revoke(tenant="default", account=ann.id)
            assert (await poll(h, begun["device_code"])).content["error"] == "access_denied"


async def test_what_was_approved_before_all_others_were_signed_out_is_not_collected_after() -> None:
    """Who changes a password, or signs out everywhere else, shuts out a device that somebody else has just approved."""
    async with identity_plugin() as h:
        ann = await person(h)
        own, _ = await signed_in(h, ann)
        stolen, _ = await signed_in(h, ann)
        begun = await begin(h)
        await answer(h, ann.principal, begun["user_code"], stolen.id)
        await h.request(identity.SESSION_REVOKE, identity.RevokeRequest(keep=own.id), principal=ann.principal)
        assert (await poll(h, begun["device_code"])).content["error"] == "access_denied"


async def test_devices_that_wait_are_counted() -> None:
    """A thousand in a tenant; then the next one is told to come again, until some have expired."""
    async with identity_plugin() as h:
        for _ in range(1000):
            await h.request(identity.DEVICE_BEGIN, identity.DeviceBeginRequest("x"), principal="")
        more = h.request(identity.DEVICE_BEGIN, identity.DeviceBeginRequest("x"), principal="")
        assert await code_of(more) == "identity.device-busy"
        await h.request(identity.DEVICE_BEGIN, identity.DeviceBeginRequest("x"), principal="", tenant="north")
        h.advance(600)
        await begin(h)


def test_a_code_is_the_same_however_it_is_typed() -> None:
    """Case, dash and blanks do not matter."""
    assert {normal(text) for text in ("BCDF-GHJK", "bcdfghjk", " bcdf ghjk ", "BCDF–GHJK")} == {"BCDFGHJK"}
