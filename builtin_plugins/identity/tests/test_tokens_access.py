"""Access tokens as others verify them, and who gets which."""

from __future__ import annotations

import warnings
from typing import Any

import jwt
import pytest
from joserfc import jwk as joserfc_jwk
from joserfc import jwt as joserfc_jwt
from joserfc.errors import SecurityWarning
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import identity_plugin, person, signed_in


async def issue(h: PluginHarness, principal: str, *, source: str = "test.plugin", **asked: Any) -> identity.TokenReply:
    """A token."""
    found: identity.TokenReply = await h.request(
        identity.TOKEN_ISSUE, identity.IssueRequest(**asked), principal=principal, source=source
    )
    return found


def claims_of(token: str) -> dict[str, Any]:
    """What it says, unverified."""
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


async def code_of(h: PluginHarness, principal: str, **asked: Any) -> str:
    """With which code it is refused."""
    with pytest.raises(RustCareError) as caught:
        await issue(h, principal, **asked)
    return caught.value.code


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
async def test_two_other_libraries_verify_our_tokens_by_the_jwks_alone(algorithm: str) -> None:
    """PyJWT and joserfc; `typ` is `at+jwt` (RFC 9068), `kid` names the key."""
    async with identity_plugin({"tokens": {"algorithms": [algorithm], "issuer": "https://clinic.example"}}) as h:
        ann = await person(h, roles=["clinician"])
        session, _ = await signed_in(h, ann, aal=2)
        token = (await issue(h, ann.principal, session=session.id, audience="lab")).access_token
        keys = (await h.request(identity.JWKS, identity.JwksRequest())).keys
        header = jwt.get_unverified_header(token)
        assert (header["typ"], header["alg"]) == ("at+jwt", algorithm)
        key = next(key for key in jwt.PyJWKSet(keys).keys if key.key_id == header["kid"])
        one = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            audience="lab",
            issuer="https://clinic.example",
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        with warnings.catch_warnings():  # it would rather have the name of RFC 9864, Ed25519, which PyJWT does not know
            warnings.simplefilter("ignore", SecurityWarning)
            other = joserfc_jwt.decode(token, joserfc_jwk.KeySet.import_key_set({"keys": keys}), algorithms=[algorithm])
        assert one == other.claims
        now = int(h.now.timestamp())
        assert {name: one[name] for name in ("sub", "tenant", "scope", "roles", "acr", "amr", "sid", "auth_time")} == {
            "sub": ann.principal,
            "tenant": "default",
            "scope": "fhir.read fhir.write",
            "roles": ["clinician"],
            "acr": "aal2",
            "amr": ["pwd", "otp"],
            "sid": session.id,
            "auth_time": now,
        }
        assert (one["iat"], one["nbf"], one["exp"]) == (now, now, now + 300)
        assert len(one["jti"]) == 22


async def test_no_two_tokens_have_one_id() -> None:
    """`jti` is 128 random bits."""
    async with identity_plugin() as h:
        ann = await person(h)
        found = [claims_of((await issue(h, ann.principal)).access_token)["jti"] for _ in range(50)]
        assert len(set(found)) == 50


async def test_scopes_narrow_and_take_the_roles_with_them() -> None:
    """A narrowed token says no role: whoever looks at roles would find more than was meant."""
    async with identity_plugin() as h:
        ann = await person(h, roles=["clinician"])
        reply = await issue(h, ann.principal, scopes=["fhir.read", "admin"])
        claims = claims_of(reply.access_token)
        assert (reply.scopes, claims["scope"], claims["roles"]) == (["fhir.read"], "fhir.read", [])
        assert await code_of(h, ann.principal, scopes=["admin"]) == "identity.scope-not-held"
        assert await code_of(h, ann.principal, scopes=["Not A Scope"]) == "identity.scope-invalid"


async def test_lifetime_and_audience_are_bounded() -> None:
    """At most what is usual in the tenant; an audience is a name, not a text."""
    async with identity_plugin() as h:
        ann = await person(h)
        assert (await issue(h, ann.principal, lifetime=60)).expires_in == 60
        assert (await issue(h, ann.principal, lifetime=10**9)).expires_in == 300
        assert (await issue(h, ann.principal, lifetime=1)).expires_in == 10
        assert await code_of(h, ann.principal, lifetime=-1) == "identity.lifetime-invalid"
        assert claims_of((await issue(h, ann.principal, audience="https://lab.example/x")).access_token)["aud"]
        for bad in ("a b", "-", "x" * 201, "a\nb", '"'):
            assert await code_of(h, ann.principal, audience=bad) == "identity.audience-invalid"


async def test_a_token_ends_with_its_session_at_the_latest() -> None:
    """The absolute end of the session bounds it."""
    async with identity_plugin({"settings": {"sessions": {"absolute": 100, "idle": 100}}}) as h:
        ann = await person(h)
        session, _ = await signed_in(h, ann)
        assert (await issue(h, ann.principal, session=session.id)).expires_in == 100
        assert (await issue(h, ann.principal)).expires_in == 300


async def test_tokens_of_others_are_for_administrators_and_the_operator() -> None:
    """And then it is told who asked."""
    async with identity_plugin() as h:
        ann, bob = await person(h), await person(h, "bob", ["clinician"])
        root = await person(h, "root", ["administrator"])
        helper = await person(h, "lab", kind="service")
        assert await code_of(h, bob.principal, account=ann.id) == "identity.session-forbidden"
        assert await code_of(h, "", account=ann.id) == "identity.session-forbidden", "a plugin on nobody's behalf"
        assert await code_of(h, "") == "identity.not-signed-in"
        assert await code_of(h, "user/nobody") == "identity.not-signed-in"
        h.published.clear()
        assert claims_of((await issue(h, root.principal, account="lab")).access_token)["sub"] == f"service/{helper.id}"
        (event,) = h.assert_published(identity.EVENT, times=1)
        assert (event.data.action, event.data.account, event.data.details["by"]) == (
            "token.issued",
            helper.id,
            root.principal,
        )
        assert claims_of((await issue(h, "", source="cli", account="ann")).access_token)["sub"] == ann.principal


async def test_a_session_is_the_accounts_own_and_good() -> None:
    """A token of somebody else's session, or of one that has ended, is not to be had."""
    async with identity_plugin() as h:
        ann, bob = await person(h), await person(h, "bob")
        session, _ = await signed_in(h, bob)
        assert await code_of(h, ann.principal, session=session.id) == "identity.token-forbidden"
        own, _ = await signed_in(h, ann)
        await h.plugin.sessions.revoke(tenant="default", session=own.id)  # type: ignore[attr-defined]
        assert await code_of(h, ann.principal, session=own.id) == "identity.token-forbidden"


async def test_who_may_not_sign_in_gets_no_token() -> None:
    """Disabled, and not for an administrator either."""
    async with identity_plugin() as h:
        ann, root = await person(h), await person(h, "root", ["administrator"])
        await h.plugin.accounts.update("default", ann.id, {"state": "disabled"})  # type: ignore[attr-defined]
        assert await code_of(h, ann.principal) == "identity.not-signed-in"
        assert await code_of(h, root.principal, account=ann.id) == "identity.token-forbidden"


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
async def test_a_token_is_ended_by_who_holds_it_and_only_if_it_is_ours(algorithm: str) -> None:
    """RFC 7009: what is not known is no error, and ends nothing."""
    async with identity_plugin({"tokens": {"algorithms": [algorithm]}}) as h:
        ann = await person(h)
        token = (await issue(h, ann.principal)).access_token
        head, body, signature = token.split(".")
        forged = jwt.encode(
            claims_of(token), "k" * 32, algorithm="HS256", headers={"kid": jwt.get_unverified_header(token)["kid"]}
        )
        other = signature[:-2] + ("AA" if signature[-2:] != "AA" else "BA")
        for bad in ("", "x", f"{head}.{body}.", f"{head}.{body}.{other}", forged, f"{body}.{body}.{signature}"):
            await h.request(identity.TOKEN_REVOKE, identity.RevokeTokenRequest(bad), principal="")
        await h.request(identity.TOKEN_REVOKE, identity.RevokeTokenRequest(token), principal="", tenant="north")
        assert (await h.request(identity.REVOCATIONS, identity.RevocationsRequest())).revocations == []
        await h.request(identity.TOKEN_REVOKE, identity.RevokeTokenRequest(token), principal="")
        (told,) = h.assert_published(identity.REVOKED, times=1)
        claims = claims_of(token)
        assert (told.data.kind, told.data.id, told.data.until) == ("token", claims["jti"], claims["exp"])
        (event,) = h.assert_published(identity.EVENT, times=1)
        assert (event.data.action, event.data.account) == ("token.revoked", ann.id)
        await h.request(identity.TOKEN_REVOKE, identity.RevokeTokenRequest(token), principal="")
        assert len((await h.request(identity.REVOCATIONS, identity.RevocationsRequest())).revocations) == 1
        h.advance(300)
        await h.request(identity.TOKEN_REVOKE, identity.RevokeTokenRequest(token), principal="")
        assert len(h.assert_published(identity.REVOKED)) == 1, "one that has expired is not written down again"
