"""Tokens over HTTP: a session's into tokens, the next pair, an end of them; the keys they are verified with.

Answers and errors have the members of RFC 6749 (sections 5.1 and 5.2), so that OAuth clients understand them; `code` says
which of our own errors it was. What changes something goes through the plugin's own services, so that it is on record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec
from rustcare_sdk import Message, RustCareError, route
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse

from rustcare_plugin_identity.credentials import Credentials
from rustcare_plugin_identity.sessions.errors import ScopeInvalid
from rustcare_plugin_identity.sessions.scopes import narrowed

from .errors import AudienceInvalid, LifetimeInvalid, RefreshRefused, RefreshReused, ScopeNotHeld, TokenForbidden

__all__ = ["TokenRoutes", "oauth_error", "oauth_tokens"]

#: Seconds for which the keys may be kept: far less than a new key is shown before it signs.
_JWKS_AGE = 300
#: The words of RFC 6749 and RFC 8628 for our errors; all go out as 400.
_WORDS = {
    RefreshRefused.code: "invalid_grant",
    RefreshReused.code: "invalid_grant",
    ScopeNotHeld.code: "invalid_scope",
    ScopeInvalid.code: "invalid_scope",
    AudienceInvalid.code: "invalid_target",
    "identity.device-pending": "authorization_pending",
    "identity.device-too-fast": "slow_down",
    "identity.device-denied": "access_denied",
    "identity.device-expired": "expired_token",
    "identity.device-code-unknown": "invalid_grant",
}
_NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}


@dataclass(frozen=True)
class TokenBody:
    """What of a session's rights a token is to have; see `identity.IssueRequest`."""

    audience: str = ""
    scopes: list[str] = field(default_factory=list)
    lifetime: int = 0
    refresh: bool = False
    device: str = ""


@dataclass(frozen=True)
class RefreshBody:
    """RFC 6749, section 6."""

    refresh_token: str = field(default="", repr=False)
    grant_type: str = "refresh_token"
    scope: str = ""


@dataclass(frozen=True)
class RevokeBody:
    """RFC 7009, section 2.1."""

    token: str = field(default="", repr=False)
    token_type_hint: str = ""


class TokenRoutes(Credentials):
    """`/identity/v1/token` and the JWKS."""

    @route(
        "GET",
        "/.well-known/jwks.json",
        public=True,
        tenant="optional",
        limit="read",
        summary="The public keys that access tokens are signed with (RFC 7517)",
        problems={"http.not-modified": 304},
        produces=("application/jwk-set+json",),
    )
    async def http_jwks(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The keys, those to come included."""
        body = msgspec.json.encode({"keys": self.signing.jwks()})
        tag = f'"{sha256(body).hexdigest()[:32]}"'
        headers = {"cache-control": f"public, max-age={_JWKS_AGE}", "etag": tag}
        asked = message.data.headers.get("if-none-match", "")
        if tag in (one.strip().removeprefix("W/") for one in asked.split(",")):
            return HttpResponse(304, headers=headers)
        return HttpResponse(200, body=body, media_type="application/jwk-set+json", headers=headers)

    @route(
        "POST",
        "/identity/v1/token",
        limit="write",
        summary="An access token with at most the caller's rights, and if asked a refresh token",
        problems={
            TokenForbidden.code: 403,
            ScopeNotHeld.code: 403,
            ScopeInvalid.code: 422,
            AudienceInvalid.code: 422,
            LifetimeInvalid.code: 422,
            "identity.not-signed-in": 401,
        },
    )
    async def http_token(self, message: Message[HttpRequest[TokenBody]]) -> HttpResponse:
        """A token never holds more than the credential that it is asked with, and ends with it."""
        caller, asked = message.data.caller, message.data.content
        scopes = list(asked.scopes)
        if caller.kind == "token":
            raise TokenForbidden(
                "expected a session, a key or a certificate: a token that gave the next one would never end",
                hint="use the refresh token, or ask again with what this token was made with",
            )
        if caller.kind != "session":
            if asked.refresh:
                raise TokenForbidden("expected a session, since a refresh token outlives what it is asked with")
            scopes = narrowed(caller.scopes, asked.scopes or caller.scopes)
            if not scopes:
                raise ScopeNotHeld("expected at least one scope that the caller holds, got none", address="scopes")
        wanted = identity.IssueRequest(
            asked.audience, scopes, "", asked.lifetime, asked.refresh, caller.session, asked.device
        )
        return oauth_tokens(await self.ctx.request(identity.TOKEN_ISSUE, wanted, type=identity.TokenReply))

    @route(
        "POST",
        "/identity/v1/token/refresh",
        public=True,
        limit="write",
        summary="The next access and refresh token (RFC 6749, section 6)",
        problems={code: 400 for code in _WORDS if not code.startswith("identity.device")},
        produces=("application/json",),
    )
    async def http_refresh(self, message: Message[HttpRequest[RefreshBody]]) -> HttpResponse:
        """A refresh token is used once."""
        return await self.refreshed(message.data.content.refresh_token, message.data.content.scope)

    async def refreshed(self, token: str, scope: str) -> HttpResponse:
        """The answer to a refresh token."""
        asked = identity.RefreshRequest(token, scope.split())
        try:
            return oauth_tokens(await self.ctx.request(identity.TOKEN_REFRESH, asked, type=identity.TokenReply))
        except RustCareError as error:
            return oauth_error(error)

    @route(
        "POST",
        "/identity/v1/token/revoke",
        public=True,
        limit="write",
        summary="End a token; a refresh token with all of its family (RFC 7009)",
    )
    @route("POST", "/identity/v1/device/revoke", public=True, limit="write", summary="The same, for devices")
    async def http_revoke(self, message: Message[HttpRequest[RevokeBody]]) -> HttpResponse:
        """One that is not known is no error."""
        asked = identity.RevokeTokenRequest(message.data.content.token)
        await self.ctx.request(identity.TOKEN_REVOKE, asked, type=identity.RevokeReply)
        return HttpResponse(200, content={}, headers=dict(_NO_STORE))


def oauth_tokens(reply: identity.TokenReply) -> HttpResponse:
    """Tokens as RFC 6749 has them (section 5.1)."""
    content: dict[str, Any] = {
        "access_token": reply.access_token,
        "token_type": reply.token_type,
        "expires_in": reply.expires_in,
        "scope": " ".join(reply.scopes),
    }
    if reply.refresh_token:
        content["refresh_token"] = reply.refresh_token
    return HttpResponse(200, content=content, headers=dict(_NO_STORE))


def oauth_error(error: RustCareError) -> HttpResponse:
    """An error as RFC 6749 has it (section 5.2); one that has no word there is raised."""
    word = _WORDS.get(error.code)
    if word is None:
        raise error
    content = {"error": word, "error_description": error.message, "code": error.code}
    return HttpResponse(400, content=content, headers=dict(_NO_STORE))
