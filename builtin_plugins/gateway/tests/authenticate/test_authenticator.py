"""Credentials from end to end, with an identity that answers what a test says: found out once, ended at once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from rustcare_plugin_gateway.authenticate.cache import digest_of
from rustcare_plugin_gateway.errors import IdentityUnavailable, Unauthenticated
from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.contracts.identity import AUTHENTICATE, JWKS, REVOCATIONS, Authenticated, JwksReply
from rustcare_sdk.errors import NoProvider, RustCareError

from tests.support.authenticators import Identity, Opened, opened
from tests.support.tokens import NOW, Signer, claims_of

KINDS = ("session", "key", "certificate")


def ada(**more: Any) -> Authenticated:
    """Whose it is."""
    fields: dict[str, Any] = {"scopes": ("lab.read",), "session": "s1", "keep": NOW + 30.0, **more}
    return Authenticated("user/ada", "default", **fields)


async def refused(door: Opened, kind: str, credential: str, tenant: str = "") -> Unauthenticated:
    """The refusal of a credential."""
    with pytest.raises(Unauthenticated) as caught:
        await door.ask(kind, credential, tenant)
    return caught.value


# tokens


@pytest.mark.parametrize("name", ["ES256", "EdDSA"])
async def test_a_token_is_found_out_once(door: Opened, name: str) -> None:
    """A token is verified the first time, and found without waiting from then on, until it ends."""
    token = door.identity.signers[name].sign(claims_of())
    assert door.authenticator.cached("token", token) is None
    caller = await door.token(token)
    assert door.authenticator.cached("token", token) is caller
    door.advance(299.5)
    assert door.authenticator.cached("token", token) is caller
    door.advance(0.5)
    assert door.authenticator.cached("token", token) is None
    assert (await refused(door, "token", token)).message == "the token has expired"


async def test_identity_is_not_asked_about_tokens(door: Opened) -> None:
    """A token costs no request: the keys and the revocations are there already."""
    door.identity.asked.clear()
    await door.token(door.identity.signers["ES256"].sign(claims_of()))
    assert door.identity.asked == []


async def test_a_refusal_is_remembered_for_a_while(door: Opened) -> None:
    """A token that was refused is refused again without another look, and looked at again after a minute."""
    token = door.identity.signers["ES256"].sign(claims_of())[:-8] + "AAAAAAAA"
    first = await refused(door, "token", token)
    assert (first.error, first.again) == ("invalid_token", False)
    assert len(door.authenticator._refused) == 1
    second = await refused(door, "token", token)
    assert (second.message, second.again) == (first.message, True)
    door.advance(61)  # both its refusal and that it was met are forgotten
    third = await refused(door, "token", token)
    assert (third.message, third.again) == (first.message, False)


async def test_a_token_that_is_not_valid_yet_becomes_valid(door: Opened) -> None:
    """A refusal is not remembered beyond the moment from which on the token counts (less the leeway of 5 s)."""
    token = door.identity.signers["ES256"].sign(claims_of(nbf=NOW + 20))
    await refused(door, "token", token)
    door.advance(15)
    assert (await door.token(token)).principal == "user/ada"


@pytest.mark.parametrize(
    ("kind", "id", "before"), [("token", "jti-1", 0), ("session", "sid-1", 0), ("account", "ada", NOW + 1)]
)
async def test_a_revoked_token_is_refused_at_once(door: Opened, kind: str, id: str, before: float) -> None:
    """A token ends with its id, its session, or its account's tokens, whether it was seen before or not."""
    signer = door.identity.signers["ES256"]
    seen, unseen = (signer.sign(claims_of(x=number)) for number in range(2))
    await door.token(seen)
    door.authenticator.forget(door.identity.revoke(kind, id, before=before))
    assert door.authenticator.cached("token", seen) is None
    for token in (seen, unseen):
        assert (await refused(door, "token", token)).message == "the token was revoked"
    other = signer.sign(claims_of(jti="jti-2", sid="sid-2", sub="user/bob"))
    assert (await door.token(other)).principal == "user/bob"


async def test_tokens_of_an_account_from_after_its_revocation_are_good(door: Opened) -> None:
    """An account's tokens that were issued after it was cleared are accepted."""
    door.authenticator.forget(door.identity.revoke("account", "ada", before=NOW - 0.5))
    assert (await door.token(door.identity.signers["ES256"].sign(claims_of(iat=NOW)))).principal == "user/ada"
    await refused(door, "token", door.identity.signers["ES256"].sign(claims_of(iat=NOW - 1)))


async def test_what_was_revoked_before_the_start_is_known() -> None:
    """Revocations are asked for at the start, in their order, before anything is accepted."""
    known = Identity()
    known.revoke("token", "jti-1")
    async with opened(known) as door:
        assert (
            await refused(door, "token", known.signers["ES256"].sign(claims_of()))
        ).message == "the token was revoked"


# a gap


async def test_a_missed_revocation_is_asked_for_first(door: Opened) -> None:
    """When a revision is missing nothing is found in the cache, and the next credential waits for what is missing."""
    signer = door.identity.signers["ES256"]
    first, second = (signer.sign(claims_of(jti=f"j{number}", sid=None)) for number in range(2))
    await door.token(first)
    await door.token(second)
    door.identity.revoke("token", "j0")
    door.authenticator.forget(door.identity.revoke("token", "other"))
    assert door.authenticator.cached("token", first) is None
    assert door.authenticator.cached("token", second) is None
    assert (await door.token(second)).principal == "user/ada"
    assert door.authenticator.cached("token", second) is not None
    await refused(door, "token", first)


async def test_while_a_gap_cannot_be_closed_nothing_is_accepted(door: Opened) -> None:
    """With a revision missing and no identity to ask, every credential that identity vouches for fails as unavailable."""
    token = door.identity.signers["ES256"].sign(claims_of())
    await door.token(token)
    door.identity.credentials["c"] = ada()
    door.identity.revoke("token", "unheard")
    door.authenticator.forget(door.identity.revoke("token", "heard"))
    door.identity.away = NoProvider("nobody serves it")
    for kind, credential in (("token", token), ("session", "c"), ("key", "c")):
        with pytest.raises(NoProvider):
            await door.ask(kind, credential)
        assert door.authenticator.cached(kind, credential) is None  # type: ignore[arg-type]
    door.identity.away = None
    assert (await door.token(token)).principal == "user/ada"


async def test_revocations_that_overtake_each_other_leave_no_gap(door: Opened) -> None:
    """Two events in the wrong order are no loss: when both have come, nothing has to be asked."""
    token = door.identity.signers["ES256"].sign(claims_of())
    await door.token(token)
    one, two = (door.identity.revoke("token", str(number)) for number in range(2))
    door.identity.away = NoProvider("nobody serves it")
    door.authenticator.forget(two)
    assert door.authenticator.cached("token", token) is None
    door.authenticator.forget(one)
    assert door.authenticator.cached("token", token) is not None


async def test_a_store_that_was_put_back_is_read_anew(door: Opened) -> None:
    """When identity's revision is lower than the one that was known, all that it has is asked for."""
    for number in range(3):
        door.authenticator.forget(door.identity.revoke("token", f"old-{number}"))
    door.identity.revision = 0
    door.identity.revocations.clear()
    door.identity.revoke("token", "jti-1")
    await door.authenticator._catch_up()
    await refused(door, "token", door.identity.signers["ES256"].sign(claims_of()))


async def test_without_identity_it_starts_and_waits() -> None:
    """It starts when identity is not there, lets nobody in, and does so when identity has come."""
    known = Identity()
    known.away = NoProvider("nobody serves it")
    async with opened(known) as door:
        token = known.signers["ES256"].sign(claims_of())
        with pytest.raises(RustCareError) as caught:
            await door.token(token)
        assert caught.value.code in (NoProvider.code, IdentityUnavailable.code)
        known.away = None
        door.advance(1)
        assert (await door.token(token)).principal == "user/ada"


# sessions, keys, certificates


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_is_kept_as_long_as_it_says(door: Opened, kind: Any) -> None:
    """Identity is asked once, and again when its answer has had its time."""
    door.identity.credentials["c"] = ada()
    door.identity.asked.clear()
    caller = await door.ask(kind, "c", "default")
    assert caller == Caller("user/ada", "default", kind, ("lab.read",), (), 1, "s1")
    assert door.authenticator.cached(kind, "c") is caller
    door.advance(30)
    assert door.authenticator.cached(kind, "c") is None
    await door.ask(kind, "c", "default")
    assert door.identity.asked.count(AUTHENTICATE) == 2


async def test_an_answer_that_must_not_be_kept_is_not(door: Opened) -> None:
    """`keep` in the past means: ask each time."""
    door.identity.credentials["c"] = ada(keep=0.0)
    await door.ask("session", "c")
    assert door.authenticator.cached("session", "c") is None


async def test_a_credential_of_one_kind_is_none_of_another(door: Opened) -> None:
    """What is known as a certificate is not accepted as a key, a session or a token."""
    door.identity.credentials["ab" * 32] = ada()
    await door.ask("certificate", "ab" * 32)
    for kind in ("key", "session", "token"):
        assert door.authenticator.cached(kind, "ab" * 32) is None  # type: ignore[arg-type]
    await refused(door, "token", "ab" * 32)


@pytest.mark.parametrize("kind", KINDS)
async def test_many_who_ask_at_once_ask_once(door: Opened, kind: Any) -> None:
    """However many requests come with a credential that is not known yet, identity is asked one question."""
    door.identity.credentials["c"] = ada()
    reached, gate = asyncio.Event(), asyncio.Event()

    async def pause() -> None:
        reached.set()
        await gate.wait()

    door.identity.before = pause
    door.identity.asked.clear()
    waiting = [asyncio.create_task(door.ask(kind, "c")) for _ in range(50)]
    await reached.wait()
    waiting[0].cancel()
    gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(one is found[1] for one in found[1:])
    assert door.identity.asked.count(AUTHENTICATE) == 1


@pytest.mark.parametrize("kind", ["key", "certificate"])
async def test_what_is_not_there_yet_is_not_remembered(door: Opened, kind: Any) -> None:
    """A key that is refused, and created in the next moment, is accepted at once."""
    await refused(door, kind, "c")
    door.identity.credentials["c"] = ada()
    assert (await door.ask(kind, "c")).principal == "user/ada"


async def test_a_session_that_is_not_there_is_remembered_briefly(door: Opened) -> None:
    """A flood with one session that has ended costs one question in two seconds, for each tenant."""
    door.identity.asked.clear()
    for tenant in ("", "a", "", "a"):
        await refused(door, "session", "gone", tenant)
    assert door.identity.asked.count(AUTHENTICATE) == 2
    door.advance(2)
    await refused(door, "session", "gone")
    assert door.identity.asked.count(AUTHENTICATE) == 3


@pytest.mark.parametrize("credential", ["", "é", "x" * 5000, "\udc80"])
async def test_what_cannot_be_a_credential_is_not_asked_about(door: Opened, credential: str) -> None:
    """Nothing, what is not ASCII, and what is very long is refused here."""
    door.identity.asked.clear()
    assert door.authenticator.cached("session", credential) is None
    await refused(door, "session", credential)
    await refused(door, "token", credential)
    assert door.identity.asked == []


@pytest.mark.parametrize("kind", KINDS)
async def test_errors_of_identity_are_passed_on(door: Opened, kind: Any) -> None:
    """That identity is away is no refusal, and is not remembered."""
    door.identity.credentials["c"] = ada()
    door.identity.away = NoProvider("nobody serves it")
    with pytest.raises(NoProvider):
        await door.ask(kind, "c")
    door.identity.away = None
    assert (await door.ask(kind, "c")).principal == "user/ada"


@pytest.mark.parametrize(
    ("kind", "what", "id"),
    [
        ("session", "session", "s1"),
        ("session", "account", "ada"),
        ("session", "credential", digest_of("c").hex()),
        ("key", "key", digest_of("c").hex()),
        ("key", "account", "ada"),
        ("certificate", "key", digest_of("c").hex()),
    ],
)
async def test_a_revoked_credential_is_asked_about_anew(door: Opened, kind: Any, what: str, id: str) -> None:
    """A session, a key and a certificate are forgotten by what ends them; identity's next answer counts."""
    door.identity.credentials["c"] = ada()
    door.identity.credentials["d"] = Authenticated("user/bob", "default", keep=NOW + 30.0)
    await door.ask(kind, "c")
    await door.ask(kind, "d")
    del door.identity.credentials["c"]
    door.authenticator.forget(door.identity.revoke(what, id))
    assert door.authenticator.cached(kind, "c") is None
    assert door.authenticator.cached(kind, "d") is not None
    await refused(door, kind, "c")


@pytest.mark.parametrize(("what", "id"), [("session", "s1"), ("account", "ada"), ("credential", digest_of("c").hex())])
async def test_an_answer_from_before_a_revocation_is_thrown_away(door: Opened, what: str, id: str) -> None:
    """What identity answered before the credential was revoked neither lets anybody in nor is kept after it."""
    door.identity.credentials["c"] = ada()
    reached, gate = asyncio.Event(), asyncio.Event()

    async def pause() -> None:
        reached.set()
        await gate.wait()

    door.identity.before = pause
    asking = asyncio.create_task(refused(door, "session", "c"))
    await reached.wait()
    # The answer is made already, and on its way.
    del door.identity.credentials["c"]
    door.authenticator.forget(door.identity.revoke(what, id))
    late = asyncio.create_task(refused(door, "session", "c"))
    await asyncio.sleep(0)
    gate.set()
    await asking
    await late
    assert door.authenticator.cached("session", "c") is None


async def test_rights_that_never_stand_still_end_in_an_error(door: Opened) -> None:
    """A credential that is revoked during every answer is not asked about for ever."""
    door.identity.credentials["c"] = ada()
    door.identity.before = lambda: door.authenticator.forget(door.identity.revoke("session", "s1"))
    with pytest.raises(IdentityUnavailable):
        await door.ask("session", "c")


async def test_a_revocation_that_names_no_credential_does_no_harm(door: Opened) -> None:
    """A revocation of a key by something that is no digest is logged, and the next ones are heard."""
    door.authenticator.forget(door.identity.revoke("key", "not hex"))
    assert any(entry.level == "error" for entry in door.harness.logs)
    await door.token(door.identity.signers["ES256"].sign(claims_of()))


# keys


async def test_a_new_key_is_found_when_a_token_names_it(door: Opened) -> None:
    """A token by a key that is not known makes the gateway read the keys again; many such tokens make it do so once."""
    new = Signer("ES256", "new")
    door.identity.jwks.append(new.jwk)
    door.advance(2)
    door.identity.asked.clear()
    tokens = [new.sign(claims_of(jti=str(number))) for number in range(20)]
    found = await asyncio.gather(*map(door.token, tokens))
    assert {caller.principal for caller in found} == {"user/ada"}
    assert door.identity.asked.count(JWKS) == 1


async def test_a_gap_that_shows_while_keys_are_read_is_closed_first(door: Opened) -> None:
    """What was revoked while a token waited for its key, and was not told, is asked for before the token is accepted."""
    new = Signer("ES256", "new")
    door.identity.jwks.append(new.jwk)
    door.advance(2)
    reached, gate = asyncio.Event(), asyncio.Event()

    async def pause() -> None:
        reached.set()
        await gate.wait()

    door.identity.before_keys = pause
    asking = asyncio.create_task(refused(door, "token", new.sign(claims_of())))
    await reached.wait()
    door.identity.revoke("token", "jti-1")
    door.authenticator.forget(door.identity.revoke("token", "another"))
    gate.set()
    assert (await asking).message == "the token was revoked"


async def test_keys_that_do_not_exist_cost_one_reading_a_second(door: Opened) -> None:
    """Tokens that name keys nobody has make the gateway ask no more than once in a second."""
    stranger = Signer("ES256")
    door.advance(2)
    door.identity.asked.clear()
    for number in range(50):
        await refused(door, "token", stranger.sign(claims_of(), kid=f"k{number}"))
        door.advance(0.05)
    assert door.identity.asked.count(JWKS) == 3


async def test_tokens_by_a_key_that_is_withdrawn_end(door: Opened) -> None:
    """When identity says that its keys are others, tokens by those that are gone are refused, the others are not."""
    tokens = {name: signer.sign(claims_of()) for name, signer in door.identity.signers.items()}
    for token in tokens.values():
        await door.token(token)
    door.identity.jwks = [door.identity.signers["EdDSA"].jwk]
    door.authenticator.keys_changed(JwksReply("rustcare", door.identity.jwks))
    assert door.authenticator.cached("token", tokens["ES256"]) is None
    await refused(door, "token", tokens["ES256"])
    assert door.authenticator.cached("token", tokens["EdDSA"]) is not None


async def test_a_key_that_takes_the_name_of_another_ends_its_tokens(door: Opened) -> None:
    """A new key under an old id does not vouch for what the old one signed."""
    token = door.identity.signers["ES256"].sign(claims_of())
    await door.token(token)
    other = Signer("ES256", door.identity.signers["ES256"].kid)
    door.authenticator.keys_changed(JwksReply("rustcare", [other.jwk]))
    await refused(door, "token", token)
    assert (await door.token(other.sign(claims_of()))).principal == "user/ada"


async def test_keys_last_while_identity_is_away(door: Opened) -> None:
    """With identity away tokens are verified with the keys that are known, for an hour."""
    door.identity.away = NoProvider("nobody serves it")
    door.advance(3000)
    token = door.identity.signers["ES256"].sign(claims_of(exp=NOW + 9000))
    assert (await door.token(token)).principal == "user/ada"
    door.advance(1000)
    other = door.identity.signers["ES256"].sign(claims_of(exp=NOW + 9000, jti="j2"))
    with pytest.raises(IdentityUnavailable):
        await door.token(other)


@pytest.mark.parametrize(("aud", "good"), [("lab", True), ("rustcare", False), (["x", "lab"], True)])
async def test_the_audience_is_the_configured_one(aud: Any, good: bool) -> None:
    """Tokens for another audience than the gateway's are refused."""
    async with opened(audience="lab") as door:
        token = door.identity.signers["ES256"].sign(claims_of(aud=aud))
        if good:
            await door.token(token)
        else:
            await refused(door, "token", token)


async def test_the_cache_is_bounded() -> None:
    """No more callers are remembered than configured."""
    async with opened(cache=100) as door:
        for number in range(150):
            await door.token(door.identity.signers["EdDSA"].sign(claims_of(jti=str(number))))
        assert len(door.authenticator) == 100


async def test_revocations_are_asked_for_at_the_start_once(door: Opened) -> None:
    """Starting costs one question for revocations and one for keys."""
    assert door.identity.asked == [REVOCATIONS, JWKS]


async def test_nothing_of_a_credential_is_told(door: Opened) -> None:
    """No log entry and no refusal holds a part of a credential or a claim."""
    secret = "topsecretcredential"
    token = door.identity.signers["ES256"].sign(claims_of(sub=f"user/{secret}", iss=secret))
    errors = [
        await refused(door, "token", token),
        await refused(door, "session", secret),
        await refused(door, "key", secret),
    ]
    assert all(secret not in str(error) and secret not in repr(error) for error in errors)
    assert secret not in repr([(entry.event, entry.fields) for entry in door.harness.logs])
