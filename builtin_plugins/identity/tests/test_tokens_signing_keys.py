"""Keys that sign tokens: shown before they sign, shown until their last token has ended, then destroyed."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from rustcare_plugin_identity.tokens.jose import thumbprint
from rustcare_plugin_identity.tokens.signing_keys import SigningKeys
from rustcare_plugin_identity.tokens.vault import Vault
from rustcare_sdk.contracts import crypto, identity
from rustcare_sdk.errors import RustCareError, ServiceError
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_keyring import IdentityKeyring
from tests.support.identity_plugin import identity_plugin, person

DAY = 86_400.0


def keys_of(h: PluginHarness) -> SigningKeys:
    """The part under test."""
    found: SigningKeys = h.plugin.signing  # type: ignore[attr-defined]
    return found


def shown(h: PluginHarness) -> set[str]:
    """The `kid`s in the JWKS."""
    return {key["kid"] for key in keys_of(h).jwks()}


async def test_the_first_start_makes_a_key_of_each_algorithm_and_the_next_finds_it() -> None:
    """Keys outlive the process; `kid` is the RFC 7638 thumbprint, and no private member is in the set."""
    async with identity_plugin() as h:
        before = (await h.request(identity.JWKS, identity.JwksRequest())).keys
        assert {(key["kty"], key["alg"], key["use"]) for key in before} == {
            ("EC", "ES256", "sig"),
            ("OKP", "EdDSA", "sig"),
        }
        for key in before:
            assert key["kid"] == thumbprint(key)
            assert "d" not in key
        await h.restart()
        assert (await h.request(identity.JWKS, identity.JwksRequest())).keys == before


async def test_a_new_key_is_shown_before_it_signs_and_the_old_one_until_its_tokens_have_ended() -> None:
    """At every moment of a rotation, what signs was shown for the overlap, and whatever is still valid can be verified."""
    keyring = IdentityKeyring()
    async with identity_plugin({"tokens": {"algorithms": ["ES256"], "key_period": 10 * DAY}}, keyring) as h:
        keys = keys_of(h)
        first = keys.current()
        assert await keys.turn() is False
        h.advance(9 * DAY)
        assert await keys.turn() is True
        assert len(shown(h)) == 2
        assert keys.current() == first, "the new one is known, and does not sign yet"
        h.advance(DAY - 1)
        assert await keys.turn() is False
        assert keys.current() == first
        h.advance(1)
        second = keys.current()
        assert second.kid != first.kid
        assert first.kid in shown(h)
        h.advance(3_660)
        assert await keys.turn() is True
        assert shown(h) == {second.kid}
        assert keyring.keys["identity-token-es256"].versions[0] is None, "the secret part is destroyed"
        await h.restart()
        assert shown(h) == {second.kid}


async def test_a_long_sleep_makes_one_successor_that_is_still_shown_before_it_signs() -> None:
    """A process that was off for years does not sign with a key that nobody can have seen."""
    async with identity_plugin({"tokens": {"algorithms": ["EdDSA"], "key_period": 10 * DAY}}) as h:
        keys = keys_of(h)
        first = keys.current()
        h.advance(1_000 * DAY)
        await keys.turn()
        assert keys.current() == first
        assert len(shown(h)) == 2


async def test_rotating_at_once_makes_every_token_of_the_old_key_worthless() -> None:
    """For a key in wrong hands: it is gone from the JWKS, and everybody is told."""
    async with identity_plugin() as h:
        ann = await person(h)
        token = (await h.request(identity.TOKEN_ISSUE, identity.IssueRequest(), principal=ann.principal)).access_token
        kid = jwt.get_unverified_header(token)["kid"]
        assert kid in shown(h)
        reply = await h.request(identity.TOKEN_ROTATE, identity.TokenRotateRequest(at_once=True), source="cli")
        assert kid not in {key["kid"] for key in reply.keys}
        assert keys_of(h).current().kid in {key["kid"] for key in reply.keys}
        (told,) = h.assert_published(identity.JWKS_CHANGED, times=1)
        assert told.data == reply
        parts = jwt.api_jws.PyJWS().decode_complete(token, options={"verify_signature": False})
        signed = token.rpartition(".")[0].encode()
        assert not await keys_of(h).verify(parts["header"], signed, parts["signature"])


async def test_keys_of_an_algorithm_that_is_configured_no_more_go_when_their_tokens_have() -> None:
    """Nobody could turn them over any more; when the algorithm comes back, it comes with another key."""
    keyring = IdentityKeyring()
    async with identity_plugin(keyring=keyring) as h:
        (before,) = [key["kid"] for key in keys_of(h).jwks() if key["alg"] == "ES256"]
        ctx = h.plugin.ctx
        only = SigningKeys(h.database, Vault(ctx.request), h.plugin.time, algorithms=("EdDSA",))  # type: ignore[attr-defined]
        await only.open()
        h.advance(3_659)
        assert await only.turn() is False
        assert before in {key["kid"] for key in only.jwks()}
        h.advance(1)
        assert await only.turn() is True
        assert [key["alg"] for key in only.jwks()] == ["EdDSA"]
        assert keyring.keys["identity-token-es256"].versions[0] is None
        await h.restart()
        (after,) = [key["kid"] for key in keys_of(h).jwks() if key["alg"] == "ES256"]
        assert after != before


async def test_no_old_key_stays_when_the_keyring_fails_in_the_middle() -> None:
    """Two keys are out, and the first cannot be destroyed: neither is shown from then on, and whoever asked is told."""
    keyring = IdentityKeyring()
    async with identity_plugin(keyring=keyring) as h:
        await h.request(identity.TOKEN_ROTATE, identity.TokenRotateRequest(), source="cli")
        before = shown(h)
        assert len(before) == 3

        def broken(message: Any) -> None:
            raise ServiceError("crypto.unavailable", "not now")

        h.answer(crypto.KEY_DESTROY, broken)
        with pytest.raises(RustCareError) as caught:
            await h.request(identity.TOKEN_ROTATE, identity.TokenRotateRequest(at_once=True), source="cli")
        assert caught.value.code == "crypto.unavailable"
        eddsa = {key["kid"] for key in keys_of(h).jwks() if key["alg"] == "EdDSA"}
        assert shown(h) & before == eddsa
        assert len(shown(h)) == 2
        told = h.assert_published(identity.JWKS_CHANGED)[-1]
        assert {key["kid"] for key in told.data.keys} == shown(h)
        await h.restart()
        assert shown(h) & before == eddsa


async def test_only_administrators_of_the_whole_and_the_operator_turn_keys_over() -> None:
    """Anybody else could end everybody's tokens."""
    async with identity_plugin() as h:
        ann, root = await person(h), await person(h, "root", ["administrator"])
        asked = identity.TokenRotateRequest()
        with pytest.raises(RustCareError) as caught:
            await h.request(identity.TOKEN_ROTATE, asked, principal=ann.principal)
        assert caught.value.code == "identity.token-forbidden"
        with pytest.raises(RustCareError) as caught:
            await h.request(identity.TOKEN_ROTATE, asked, principal=root.principal, tenant="north")
        assert caught.value.code == "identity.system-tenant-only"
        reply = await h.request(identity.TOKEN_ROTATE, asked, principal=root.principal)
        assert len(reply.keys) == 3


async def test_the_header_must_agree_with_the_key_that_it_names() -> None:
    """The algorithm is pinned to the `kid`; `none`, another algorithm, `crit` and an unknown `kid` are refused."""
    async with identity_plugin() as h:
        keys = keys_of(h)
        token = await keys.sign({"sub": "x"}, "EdDSA")
        signed, _, _ = token.rpartition(".")
        parts = jwt.api_jws.PyJWS().decode_complete(token, options={"verify_signature": False})
        header, signature = parts["header"], parts["signature"]
        assert await keys.verify(header, signed.encode(), signature)
        for other in (
            {**header, "alg": "none"},
            {**header, "alg": "ES256"},
            {**header, "kid": keys.current("ES256").kid},
            {**header, "kid": "../../x"},
            {**header, "crit": ["b64"]},
            {"alg": "EdDSA"},
        ):
            assert not await keys.verify(other, signed.encode(), signature)
        assert not await keys.verify(header, signed.encode() + b"A", signature)
        assert not await keys.verify(header, signed.encode(), signature[:-1])
        assert not await keys.verify(header, signed.encode(), bytes(64))
