"""Sessions, tokens, keys, elevations and devices in a real kernel with a real keyring, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import base64
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from rustcare_kernel import Kernel
from rustcare_plugin_identity.factors.totp import code_at
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.audit import SEARCH, SearchReply, SearchRequest
from rustcare_sdk.errors import RustCareError

PASSWORD = "correct horse battery staple"


class Front:
    """Questions to a kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    async def ask(self, service: str, data: Any, type_: Any, principal: str = "operator") -> Any:
        """The answer."""
        return await self.kernel.request(service, data, type=type_, principal=principal)

    async def code_of(self, service: str, data: Any, principal: str = "") -> str:
        """`ok`, or the code of the refusal."""
        try:
            await self.kernel.request(service, data, principal=principal)
        except RustCareError as error:
            return error.code
        return "ok"

    async def authenticated(self, kind: Any, credential: str) -> Any:
        """Whose it is."""
        asked = identity.AuthenticateRequest(kind, credential)
        return await self.ask(identity.AUTHENTICATE, asked, identity.Authenticated, "")

    async def verified(self, token: str) -> dict[str, Any]:
        """What a token says, verified by the JWKS with another library."""
        reply = await self.ask(identity.JWKS, identity.JwksRequest(), identity.JwksReply)
        kid = jwt.get_unverified_header(token)["kid"]
        key = next(key for key in jwt.PyJWKSet(reply.keys).keys if key.key_id == kid)
        found: dict[str, Any] = jwt.decode(
            token, key.key, algorithms=[str(key.algorithm_name)], audience="rustcare", issuer=reply.issuer
        )
        return found


async def second_factor(front: Front, principal: str) -> bytes:
    """An authenticator app; its secret."""
    begun = await front.ask(
        identity.MFA_TOTP_BEGIN, identity.TotpBeginRequest("app"), identity.TotpBeginReply, principal
    )
    secret = base64.b32decode(begun.secret + "=" * (-len(begun.secret) % 8))
    asked = identity.TotpConfirmRequest(begun.enrolment, code_at(secret, int(time.time()) // 30))
    await front.ask(identity.MFA_TOTP_CONFIRM, asked, identity.FactorReply, principal)
    return secret


async def sign_in(front: Front, secret: bytes) -> Any:
    """With a password and the app's next code."""
    reply = await front.ask("identity.login.password", {"name": "ann", "password": PASSWORD}, identity.LoginReply, "")
    asked = {"ticket": reply.ticket, "kind": "totp", "answer": code_at(secret, int(time.time()) // 30 + 1)}
    return await front.ask("identity.login.factor", asked, identity.LoginReply, "")


@pytest.fixture(autouse=True)
async def purged(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """What a test has left in a server that others use too goes at its end."""
    yield
    call = getattr(request.node, "callspec", None)
    if call is not None and call.params.get("store") == "postgres":
        store = request.getfixturevalue("postgres_dsn")
        async with Kernel(tmp_path, log_level="silent", only=(), store=store) as kernel:
            for status in kernel.plugins():
                await kernel.remove(status.id, purge=True)


@pytest.mark.parametrize("store", ["sqlite", "postgres"])
async def test_what_people_and_machines_hold_works_on_either_store(
    tmp_path: Path, store: str, request: pytest.FixtureRequest
) -> None:
    """One life of everything: signed in, elevated, delegated, refreshed at once, reused, revoked; and after a restart."""
    where = {"store": request.getfixturevalue("postgres_dsn")} if store == "postgres" else {}
    async with Kernel(tmp_path, log_level="silent", **where) as kernel:
        await kernel.install("installed:crypto", consent=True)
        await kernel.install("installed:identity", consent=True)
        front = Front(kernel)
        made = identity.CreateAccountRequest("ann", password=PASSWORD, roles=["clinician"])
        ann = (await front.ask(identity.ACCOUNT_CREATE, made, identity.CreateAccountReply)).account
        created = identity.CreateServiceRequest("lab", roles=["clinician"])
        lab = (await front.ask(identity.SERVICE_CREATE, created, identity.AccountReply)).account
        secret = await second_factor(front, ann.principal)
        login = await sign_in(front, secret)
        caller = await front.authenticated("session", login.credential)
        assert (caller.principal, caller.aal, caller.session) == (ann.principal, 2, login.session.id)

        # tokens: ten families at once, a hundred clients at one of them, then reuse
        asked = identity.IssueRequest(refresh=True, session=caller.session)
        families = await asyncio.gather(
            *(front.ask(identity.TOKEN_ISSUE, asked, identity.TokenReply, ann.principal) for _ in range(10))
        )
        claims = await front.verified(families[0].access_token)
        assert (claims["sub"], claims["acr"], claims["tenant"]) == (ann.principal, "aal2", "default")
        first = families[0].refresh_token
        replies = await asyncio.gather(
            *(
                front.ask(identity.TOKEN_REFRESH, identity.RefreshRequest(first), identity.TokenReply, "")
                for _ in range(100)
            )
        )
        (second,) = {reply.refresh_token for reply in replies}
        third = (
            await front.ask(identity.TOKEN_REFRESH, identity.RefreshRequest(second), identity.TokenReply, "")
        ).refresh_token
        codes = Counter(
            await asyncio.gather(
                *(front.code_of(identity.TOKEN_REFRESH, identity.RefreshRequest(first)) for _ in range(20))
            )
        )
        assert codes == {"identity.refresh-reused": 1, "identity.refresh-refused": 19}
        assert await front.code_of(identity.TOKEN_REFRESH, identity.RefreshRequest(third)) == "identity.refresh-refused"

        # emergency access, and its end
        emergency = identity.BreakGlassRequest("nobody else can be reached", session=caller.session)
        elevation = await front.ask(identity.BREAK_GLASS, emergency, identity.ElevationInfo, ann.principal)
        caller = await front.authenticated("session", login.credential)
        assert (caller.purpose, "fhir.emergency" in caller.scopes) == ("BTG", True)
        end = identity.ElevationReviewRequest(elevation.id, "justified", "checked", end=True)
        info = await front.ask(identity.ELEVATION_REVIEW, end, identity.ElevationInfo)
        assert (info.ended, info.verdict, info.reviewed_by) == (True, "justified", "operator")
        assert (await front.authenticated("session", login.credential)).purpose == ""
        delegation = identity.DelegateRequest(lab.id, ["fhir.read"])
        await front.ask(identity.DELEGATE, delegation, identity.ElevationInfo, ann.principal)

        # keys
        key = identity.CreateKeyRequest("lab", "ci", ["fhir.read"], 3600)
        reply = await front.ask(identity.KEY_CREATE, key, identity.CreateKeyReply)
        assert (await front.authenticated("key", reply.secret)).scopes == ("fhir.read",)
        bound = identity.BindCertificateRequest("lab", "mtls", fingerprint="ab" * 32)
        await front.ask(identity.KEY_BIND, bound, identity.KeyReply)
        assert (await front.authenticated("certificate", "ab" * 32)).principal == lab.principal
        await front.ask(identity.KEY_REVOKE, identity.KeysRequest(key=reply.key.id), identity.KeysReply)

        # a device
        begun = await front.ask(
            identity.DEVICE_BEGIN, identity.DeviceBeginRequest("cli"), identity.DeviceBeginReply, ""
        )
        collect = identity.DeviceTokenRequest(begun.device_code)
        assert await front.code_of(identity.TOKEN_DEVICE, collect) == "identity.device-pending"
        approve = identity.DeviceApproveRequest(begun.user_code.lower(), caller.session)
        await front.ask(identity.DEVICE_APPROVE, approve, identity.DeviceInfo, ann.principal)
        found = Counter(await asyncio.gather(*(front.code_of(identity.TOKEN_DEVICE, collect) for _ in range(10))))
        assert found == {"ok": 1, "identity.device-code-unknown": 9}
        rotated = await front.ask(identity.TOKEN_ROTATE, identity.TokenRotateRequest(), identity.JwksReply)
        assert len(rotated.keys) == 3
        listed = await front.ask(
            identity.SESSION_LIST, identity.SessionsRequest(), identity.SessionsReply, ann.principal
        )
        assert Counter(one.device for one in listed.sessions)["cli"] == 1

    async with Kernel(tmp_path, log_level="silent", **where) as kernel:
        front = Front(kernel)
        assert (await front.authenticated("session", login.credential)).aal == 2
        again = identity.RefreshRequest(families[1].refresh_token)
        reply = await front.ask(identity.TOKEN_REFRESH, again, identity.TokenReply, "")
        assert (await front.verified(reply.access_token))["sub"] == ann.principal
        told = await front.ask(identity.REVOCATIONS, identity.RevocationsRequest(), identity.RevocationsReply)
        assert {one.kind for one in told.revocations} == {"session", "key", "credential"}
        await front.ask(identity.SESSION_REVOKE, identity.RevokeRequest("ann"), identity.RevokeReply)
        refused = identity.AuthenticateRequest("session", login.credential)
        assert await front.code_of(identity.AUTHENTICATE, refused) == "identity.credential-refused"
        next_one = identity.RefreshRequest(reply.refresh_token)
        assert await front.code_of(identity.TOKEN_REFRESH, next_one) == "identity.refresh-refused"

        # somebody acts for another, until that one is disabled; more sessions than there may be
        made = identity.CreateAccountRequest("bob", password=PASSWORD)
        bob = (await front.ask(identity.ACCOUNT_CREATE, made, identity.CreateAccountReply)).account
        await front.ask(
            identity.TENANT_PUT,
            identity.TenantRequest("default", settings={"sessions": {"most": 2}}),
            identity.TenantReply,
        )
        tokens = [
            await front.ask(
                identity.TOKEN_ISSUE, identity.IssueRequest(refresh=True), identity.TokenReply, bob.principal
            )
            for _ in range(3)
        ]
        renewals = [identity.RefreshRequest(one.refresh_token) for one in tokens]
        assert await front.code_of(identity.TOKEN_REFRESH, renewals[0]) == "identity.refresh-refused"
        delegation = identity.DelegateRequest(bob.id, ["fhir.read"])
        given = await front.ask(identity.DELEGATE, delegation, identity.ElevationInfo, ann.principal)
        session = (await front.verified(tokens[1].access_token))["sid"]
        assume = identity.ElevationAssumeRequest(given.id, session)
        await front.ask(identity.ELEVATION_ASSUME, assume, identity.ElevationInfo, bob.principal)
        acting = await front.ask(identity.TOKEN_REFRESH, renewals[1], identity.TokenReply, "")
        assert (await front.verified(acting.access_token))["on_behalf"] == ann.principal
        await front.ask(identity.ACCOUNT_DISABLE, identity.DisableRequest("ann"), identity.AccountReply)
        renewal = identity.RefreshRequest(acting.refresh_token)
        assert await front.code_of(identity.TOKEN_REFRESH, renewal) == "identity.refresh-refused"
        assert await front.code_of(identity.TOKEN_REFRESH, renewals[2]) == "ok"


async def test_nothing_that_opens_a_door_is_in_any_file(tmp_path: Path) -> None:
    """Databases, their logs, the audit log: no cookie, token, key or code that was given out, and every use is on record."""
    async with Kernel(tmp_path, log_level="silent") as kernel:
        for name in ("crypto", "audit", "identity"):
            await kernel.install(f"installed:{name}", consent=True)
        front = Front(kernel)
        made = identity.CreateAccountRequest("ann", password=PASSWORD)
        ann = (await front.ask(identity.ACCOUNT_CREATE, made, identity.CreateAccountReply)).account
        asked = {"name": "ann", "password": PASSWORD}
        login = await front.ask("identity.login.password", asked, identity.LoginReply, "")
        issued = await front.ask(
            identity.TOKEN_ISSUE, identity.IssueRequest(refresh=True), identity.TokenReply, ann.principal
        )
        renewed = await front.ask(
            identity.TOKEN_REFRESH, identity.RefreshRequest(issued.refresh_token), identity.TokenReply, ""
        )
        key = await front.ask(identity.KEY_CREATE, identity.CreateKeyRequest("ann", "ci"), identity.CreateKeyReply)
        begun = await front.ask(
            identity.DEVICE_BEGIN, identity.DeviceBeginRequest("cli"), identity.DeviceBeginReply, ""
        )
        await front.ask(identity.KEY_REVOKE, identity.KeysRequest(key=key.key.id), identity.KeysReply)
        await front.ask(identity.SESSION_REVOKE, identity.RevokeRequest("ann"), identity.RevokeReply)
        found = await front.ask(SEARCH, SearchRequest(limit=200), SearchReply)
        recorded = Counter(row.entry["what"].get("capability", "") for row in found.rows)
        for service in (
            identity.TOKEN_ISSUE,
            identity.TOKEN_REFRESH,
            identity.KEY_CREATE,
            identity.KEY_REVOKE,
            identity.SESSION_REVOKE,
            identity.DEVICE_BEGIN,
        ):
            assert recorded[f"bus:request@{service}"] == 1, service
    secrets = [
        PASSWORD,
        login.credential,
        issued.refresh_token.rpartition(".")[2],
        renewed.refresh_token.rpartition(".")[2],
        issued.access_token.rpartition(".")[2],
        key.secret,
        begun.device_code,
    ]
    assert _holding(tmp_path, login.session.id), "the look finds what is there"
    for secret in secrets:
        assert _holding(tmp_path, secret) == []


def _holding(folder: Path, text: str) -> list[str]:
    """The files that hold a text."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return [path.name for path in files if text.encode() in path.read_bytes()]
