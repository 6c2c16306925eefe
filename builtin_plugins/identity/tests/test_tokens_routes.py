"""Tokens over HTTP."""

from __future__ import annotations

import json

import jwt
import pytest
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.errors import RustCareError

from tests.support.identity_plugin import caller_of, identity_plugin, person, signed_in


async def test_the_jwks_may_be_kept_and_says_when_it_has_not_changed() -> None:
    """`Cache-Control` and an entity tag, which changes with the keys."""
    async with identity_plugin() as h:
        found = await h.http("GET", "/.well-known/jwks.json")
        assert json.loads(found.body)["keys"] == (await h.request(identity.JWKS, identity.JwksRequest())).keys
        assert found.headers["cache-control"] == "public, max-age=300"
        tag = found.headers["etag"]
        for text in (tag, f'"other", W/{tag}'):
            again = await h.http("GET", "/.well-known/jwks.json", headers={"If-None-Match": text})
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        await h.request(identity.TOKEN_ROTATE, identity.TokenRotateRequest(), source="cli")
        assert (await h.http("GET", "/.well-known/jwks.json", headers={"If-None-Match": tag})).status == 200


async def test_a_session_becomes_tokens_and_they_go_round() -> None:
    """Access and refresh token, the next pair, an end; nobody on the way may keep the answers."""
    async with identity_plugin() as h:
        ann = await person(h, roles=["clinician"])
        _, credential = await signed_in(h, ann, aal=2)
        caller = await caller_of(h, credential)
        asked = {"refresh": True, "scopes": ["fhir.read"], "device": "Ward tablet"}
        first = await h.http("POST", "/identity/v1/token", json=asked, caller=caller)
        assert first.headers["cache-control"] == "no-store"
        assert {name: first.content[name] for name in ("token_type", "expires_in", "scope")} == {
            "token_type": "Bearer",
            "expires_in": 300,
            "scope": "fhir.read",
        }
        claims = jwt.decode(first.content["access_token"], options={"verify_signature": False})
        assert (claims["acr"], claims["scope"]) == ("aal2", "fhir.read")
        listed = (await h.request(identity.SESSION_LIST, identity.SessionsRequest(), principal=ann.principal)).sessions
        assert "Ward tablet" in [one.device for one in listed]
        body = {"refresh_token": first.content["refresh_token"]}
        for path in ("/identity/v1/token/refresh", "/identity/v1/device/token"):
            form = {"grant_type": "refresh_token", **body}
            second = await h.http("POST", path, form=form, caller=Caller())
            assert (second.status, second.content["scope"]) == (200, "fhir.read")
            body = {"refresh_token": second.content["refresh_token"]}
        done = await h.http("POST", "/identity/v1/token/revoke", form={"token": body["refresh_token"]}, caller=Caller())
        assert done.status == 200
        over = await h.http("POST", "/identity/v1/token/refresh", json=body, caller=Caller())
        assert (over.status, over.content["error"], over.content["code"]) == (
            400,
            "invalid_grant",
            "identity.refresh-refused",
        )
        assert await h.plugin.sessions.find(credential) is not None  # type: ignore[attr-defined]


async def test_a_token_gets_no_more_than_the_credential_that_it_is_asked_with() -> None:
    """A narrowed key is no way to all that its account may do, and to nothing that lasts."""
    async with identity_plugin() as h:
        ann = await person(h, roles=["administrator"])
        asked = identity.CreateKeyRequest(ann.id, "ci", ["fhir.read"])
        made = await h.request(identity.KEY_CREATE, asked, principal=ann.principal)
        narrow = Caller(ann.principal, "default", "key", ("fhir.read",), (), 1, made.key.id)
        found = await h.http("POST", "/identity/v1/token", json={}, caller=narrow)
        assert found.content["scope"] == "fhir.read"
        found = await h.http("POST", "/identity/v1/token", json={"scopes": ["fhir", "admin"]}, caller=narrow)
        assert found.content["scope"] == "fhir.read"
        for asked, who, code in (
            ({"scopes": ["admin"]}, narrow, "identity.scope-not-held"),
            ({"refresh": True}, narrow, "identity.token-forbidden"),
            ({}, Caller(ann.principal, "default", "key", (), (), 1), "identity.scope-not-held"),
        ):
            with pytest.raises(RustCareError) as caught:
                await h.http("POST", "/identity/v1/token", json=asked, caller=who)
            assert caught.value.code == code


async def test_a_token_gives_no_other_token() -> None:
    """Else whoever got hold of one that lives for minutes would have its account for good, of a session or not."""
    async with identity_plugin() as h:
        ann = await person(h, roles=["clinician"])
        session, _ = await signed_in(h, ann)
        for id in ("", session.id):
            caller = Caller(ann.principal, "default", "token", ("fhir.read",), (), 1, id)
            with pytest.raises(RustCareError) as caught:
                await h.http("POST", "/identity/v1/token", json={}, caller=caller)
            assert caught.value.code == "identity.token-forbidden"


async def test_errors_have_the_words_of_oauth() -> None:
    """RFC 6749, section 5.2, and RFC 8628, section 3.5; never the token."""
    async with identity_plugin() as h:
        for form, word in (
            ({"grant_type": "refresh_token", "refresh_token": "rcr_nonsense"}, "invalid_grant"),
            ({"grant_type": "password"}, "unsupported_grant_type"),
            ({"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": "no"}, "invalid_grant"),
        ):
            found = await h.http("POST", "/identity/v1/device/token", form=form, caller=Caller())
            assert (found.status, found.content["error"]) == (400, word)
            assert "nonsense" not in json.dumps(found.content)
        for path in ("/identity/v1/token/revoke", "/identity/v1/device/revoke"):
            assert (await h.http("POST", path, form={"token": "nonsense"}, caller=Caller())).status == 200


async def test_whatever_ends_or_makes_tokens_goes_through_a_service() -> None:
    """So that it is put on record, whoever asks."""
    async with identity_plugin() as h:
        ann = await person(h)
        _, credential = await signed_in(h, ann)
        caller = await caller_of(h, credential)
        h.requested.clear()
        token = (await h.http("POST", "/identity/v1/token", json={"refresh": True}, caller=caller)).content
        form = {"refresh_token": token["refresh_token"]}
        await h.http("POST", "/identity/v1/token/refresh", form=form, caller=Caller())
        await h.http("POST", "/identity/v1/token/revoke", form={"token": token["refresh_token"]}, caller=Caller())
        asked = [message.subject for message in h.requested if message.subject.startswith("identity.")]
        assert asked == [identity.TOKEN_ISSUE, identity.TOKEN_REFRESH, identity.TOKEN_REVOKE]
        h.assert_capabilities_within_manifest()
