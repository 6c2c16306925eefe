"""The JSON API: what it does, who may do it, and that whatever is sent, only what is declared comes back."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.plugin import Identity
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import Caller, HttpResponse
from rustcare_sdk.errors import AuditUnavailable, InvalidPayload, RustCareError
from rustcare_sdk.plugin import handlers_of, payload_type
from rustcare_sdk.routes import Route, content_type
from rustcare_sdk.testing import PluginHarness

from tests.support.identity_plugin import caller_of, identity_plugin, person, signed_in

PASSWORD = "correct horse battery staple"
ROUTES: list[tuple[Route, Any]] = [
    (handler.route, content_type(payload_type(Identity, handler.method)))
    for handler in handlers_of(Identity)
    if handler.route is not None
    and handler.route.path.startswith("/identity/v1/")
    and handler.method.startswith("api_")
]


class Api:
    """A client with somebody's session."""

    def __init__(self, h: PluginHarness, caller: Caller, account: Account) -> None:
        self.h = h
        self.caller = caller
        self.account = account

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The content of the answer; the typed error when there is one."""
        return (await self.response(method, path, body)).content

    async def response(self, method: str, path: str, body: Any = None) -> HttpResponse:
        """The answer."""
        return await self.h.http(method, f"/identity/v1{path}", json=body, caller=self.caller)

    async def refused(self, method: str, path: str, body: Any = None) -> str:
        """The code of the error that comes."""
        with pytest.raises(RustCareError) as caught:
            await self.response(method, path, body)
        return caught.value.code


async def client(h: PluginHarness, name: str, roles: list[str], scopes: tuple[str, ...] = ()) -> Api:
    """Somebody who has signed in with two factors."""
    account = await person(h, name, roles)
    _, credential = await signed_in(h, account, 2)
    caller = await caller_of(h, credential)
    return Api(h, replace(caller, scopes=scopes) if scopes else caller, account)


@pytest.fixture
async def h() -> AsyncIterator[PluginHarness]:
    """The plugin."""
    async with identity_plugin() as h:
        yield h


@pytest.fixture
async def admin(h: PluginHarness) -> Api:
    """An administrator."""
    return await client(h, "chief", ["administrator"])


async def test_the_life_of_an_account(admin: Api) -> None:
    """Create, read by id, name and address, list, change, disable, enable, delete."""
    sent = {
        "name": "ada",
        "email": "ada@example.org",
        "password": PASSWORD,
        "roles": ["clinician"],
        "external_id": "E1",
    }
    response = await admin.response("POST", "/accounts", sent)
    assert response.status == 201
    ada = response.content["account"]
    assert (ada["name"], ada["state"], ada["scopes"]) == ("ada", "active", ["fhir.read", "fhir.write"])
    for who in (ada["id"], "ADA", quote("ada@example.org")):
        assert (await admin.ask("GET", f"/accounts/{who}"))["account"]["id"] == ada["id"]
    found = await admin.ask("GET", "/accounts?query=AD&kind=user&state=active&limit=1")
    assert [item["name"] for item in found["accounts"]] == ["ada"]
    path = f"/accounts/{ada['id']}"
    after = (await admin.ask("PATCH", path, {"display_name": "Ada L.", "version": ada["version"]}))["account"]
    assert (after["display_name"], after["email"]) == ("Ada L.", "ada@example.org")
    assert (
        await admin.refused("PATCH", path, {"display_name": "x", "version": ada["version"]})
        == "identity.version-conflict"
    )
    assert (await admin.ask("POST", f"{path}/disable", {"reason": "left"}))["account"]["state"] == "disabled"
    assert (await admin.ask("POST", f"{path}/enable", {}))["account"]["state"] == "active"
    assert (await admin.ask("POST", f"{path}/unlock"))["account"]["id"] == ada["id"]
    assert (await admin.ask("DELETE", path))["account"]["id"] == ada["id"]
    assert await admin.refused("GET", path) == "identity.account-unknown"


async def test_an_invitation_and_a_reset_give_links(admin: Api) -> None:
    """Without a password the answer holds a link; a new one, and a reset of factors, do too."""
    made = await admin.ask("POST", "/accounts", {"name": "ada", "email": "ada@example.org"})
    assert made["account"]["state"] == "invited"
    again = await admin.ask("POST", "/accounts/ada/invite", {})
    reset = await admin.ask("POST", "/accounts/ada/reset-mfa")
    assert len({made["link"], again["link"], reset["link"], ""}) == 4


async def test_groups_and_roles(admin: Api) -> None:
    """Members hold a group's roles from the answer on, and no longer."""
    ada = await person(admin.h, "ada")
    made = await admin.response("POST", "/groups", {"name": "Ward", "roles": ["clinician"]})
    assert made.status == 201
    path = f"/groups/{made.content['id']}"
    joined = await admin.ask("PUT", f"{path}/members/ada")
    assert joined["members"] == [ada.id]
    assert (await admin.ask("GET", "/accounts/ada"))["account"]["roles"] == ["clinician"]
    assert (await admin.ask("GET", path)) == joined
    assert (await admin.ask("DELETE", f"{path}/members/ada"))["members"] == []
    assert (await admin.ask("PATCH", path, {"name": "Ward 3", "add": [ada.id]}))["name"] == "Ward 3"
    assert [group["name"] for group in (await admin.ask("GET", "/groups"))["groups"]] == ["Ward 3"]
    assert (await admin.ask("DELETE", path))["members"] == [ada.id]
    assert await admin.refused("GET", path) == "identity.group-unknown"
    roles = (await admin.ask("GET", "/roles"))["roles"]
    assert {"name": "auditor", "scopes": ["audit.read"], "built_in": True} in roles


async def test_groups_come_a_page_at_a_time(admin: Api) -> None:
    """However many there are, an answer has so many; following `next` gives each once, by name."""
    names = [f"Ward {number}" for number in range(7)]
    for name in reversed(names):
        await admin.ask("POST", "/groups", {"name": name})
    found: list[str] = []
    after, pages = "", 0
    while after or not pages:
        page = await admin.ask("GET", f"/groups?limit=3&after={quote(after)}")
        assert len(page["groups"]) <= 3
        found += [group["name"] for group in page["groups"]]
        after, pages = page.get("next", ""), pages + 1
    assert (found, pages) == (names, 3)
    for limit in ("0", "1001", "x"):
        assert await admin.refused("GET", f"/groups?limit={limit}") == "identity.invalid-request"


async def test_machines_and_keys(admin: Api) -> None:
    """A service account's key is shown once, listed without its secret, and refused when it was ended."""
    made = await admin.ask("POST", "/service-accounts", {"name": "feed", "roles": ["clinician"]})
    assert made["account"]["principal"].startswith("service/")
    key = await admin.ask("POST", "/accounts/feed/keys", {"name": "one", "scopes": ["fhir.read"], "expires_in": 3600})
    assert key["secret"].startswith("rck_")
    listed = (await admin.ask("GET", "/accounts/feed/keys"))["keys"]
    assert [item["id"] for item in listed] == [item["id"] for item in (await admin.ask("GET", "/keys"))["keys"]]
    assert "secret" not in listed[0]
    asked = identity.AuthenticateRequest("key", key["secret"])
    assert (await admin.h.request(identity.AUTHENTICATE, asked)).scopes == ("fhir.read",)
    assert (await admin.ask("DELETE", f"/keys/{key['key']['id']}"))["keys"][0]["revoked"] is True
    with pytest.raises(RustCareError):
        await admin.h.request(identity.AUTHENTICATE, asked)
    assert await admin.refused("DELETE", "/keys/nothing") == "identity.key-unknown"


async def test_ones_own_account_sessions_and_keys(h: PluginHarness) -> None:
    """Whoever is known sees and ends what is their own, and nothing else."""
    ada = await client(h, "ada", [])
    bob = await client(h, "bob", [])
    me = await ada.ask("GET", "/me")
    assert (me["account"]["id"], me["aal"], me["session"]) == (ada.account.id, 2, ada.caller.session)
    assert (await ada.ask("PATCH", "/me", {"display_name": "Ada"}))["account"]["display_name"] == "Ada"
    _, other = await signed_in(h, ada.account)
    sessions = (await ada.ask("GET", "/me/sessions"))["sessions"]
    assert [item["current"] for item in sessions].count(True) == 1
    assert len(sessions) == 2
    mine = next(item["id"] for item in sessions if item["current"])
    assert await bob.ask("DELETE", f"/me/sessions/{mine}") == {"sessions": 0}
    assert (await ada.ask("DELETE", "/me/sessions")) == {"sessions": 1}
    assert await h.plugin.sessions.find(other) is None  # type: ignore[attr-defined]
    key = await ada.ask("POST", "/me/keys", {"name": "mine"})
    assert [item["id"] for item in (await ada.ask("GET", "/me/keys"))["keys"]] == [key["key"]["id"]]
    assert await bob.refused("DELETE", f"/me/keys/{key['key']['id']}") == "identity.key-forbidden"
    assert (await ada.ask("DELETE", f"/me/keys/{key['key']['id']}"))["keys"][0]["revoked"] is True
    assert (await ada.ask("DELETE", f"/me/sessions/{mine}")) == {"sessions": 1}


async def test_what_cannot_be_put_on_record_is_said_to_be_unavailable(admin: Api) -> None:
    """Every change may meet a log that cannot be written: 503, come back later, and no failure that nobody thought of."""

    def full(message: object) -> None:
        raise AuditUnavailable("the log cannot be written")

    admin.h.subscribe(identity.EVENT, full)
    code = await admin.refused("POST", "/accounts", {"name": "ada", "password": PASSWORD})
    assert {route.problems.get(code) for route, _ in ROUTES if route.method != "GET"} == {503}


async def test_the_sessions_of_others(admin: Api) -> None:
    """An administrator sees and ends them."""
    ada = await person(admin.h, "ada")
    session, credential = await signed_in(admin.h, ada)
    assert [item["id"] for item in (await admin.ask("GET", "/accounts/ada/sessions"))["sessions"]] == [session.id]
    assert (await admin.ask("DELETE", f"/accounts/ada/sessions/{session.id}")) == {"sessions": 1}
    assert await admin.h.plugin.sessions.find(credential) is None  # type: ignore[attr-defined]
    assert (await admin.ask("DELETE", "/accounts/ada/sessions")) == {"sessions": 0}


async def test_emergency_access_is_reviewed_by_somebody_else(admin: Api) -> None:
    """Begun in one's own session for a reason, listed as unreviewed, ended, and reviewed by another."""
    nurse = await client(admin.h, "nurse", ["clinician"])
    sent = {"reason": "patient unconscious, allergies unknown", "minutes": 10}
    begun = await nurse.response("POST", "/me/break-glass", sent)
    assert (begun.status, begun.content["role"]) == (201, "emergency")
    id = begun.content["id"]
    assert [item["id"] for item in (await nurse.ask("GET", "/me/elevations"))["elevations"]] == [id]
    assert [item["id"] for item in (await admin.ask("GET", "/elevations?unreviewed=true"))["elevations"]] == [id]
    assert (await nurse.ask("DELETE", f"/me/elevations/{id}"))["ended"] is True
    reviewed = await admin.ask("POST", f"/elevations/{id}/review", {"verdict": "justified", "note": "seen"})
    assert (reviewed["verdict"], reviewed["reviewed_by"]) == ("justified", admin.account.principal)
    assert (await admin.ask("GET", "/elevations?unreviewed=true"))["elevations"] == []


async def test_under_me_is_one_s_own_alone(admin: Api) -> None:
    """What an administrator may do to others takes AAL2 and the scope, and has routes of its own: `/me/…` is no way around."""
    nurse = await client(admin.h, "nurse", ["clinician"])
    begun = await nurse.ask("POST", "/me/break-glass", {"reason": "patient unconscious, allergies unknown"})
    key = await nurse.ask("POST", "/me/keys", {"name": "mine"})
    low = Api(admin.h, replace(admin.caller, aal=1, scopes=()), admin.account)
    assert await low.refused("DELETE", f"/me/elevations/{begun['id']}") == "identity.elevation-unknown"
    assert await low.refused("DELETE", f"/me/keys/{key['key']['id']}") == "identity.key-unknown"
    assert (await low.ask("DELETE", f"/me/sessions/{nurse.caller.session}")) == {"sessions": 0}
    assert (await low.ask("GET", "/me/elevations"))["elevations"] == []
    assert [item["ended"] for item in (await nurse.ask("GET", "/me/elevations"))["elevations"]] == [False]


async def test_who_may_read_the_list_of_elevations_sees_it(admin: Api) -> None:
    """The scope `identity.read` is enough, as the route says: nobody is shown an empty list instead of the whole."""
    await admin.h.plugin.tenants.put(  # type: ignore[attr-defined]
        identity.TenantRequest("default", settings={"roles": {"reader": ["identity.read"]}})
    )
    nurse = await client(admin.h, "nurse", ["clinician"])
    reader = await client(admin.h, "reader", ["reader"])
    begun = await nurse.ask("POST", "/me/break-glass", {"reason": "patient unconscious, allergies unknown"})
    assert [item["id"] for item in (await reader.ask("GET", "/elevations"))["elevations"]] == [begun["id"]]
    assert (await reader.ask("GET", "/me/elevations"))["elevations"] == []


async def test_delegations(admin: Api) -> None:
    """One lets another act with some of one's scopes; it is taken up and laid down in the other's session."""
    doctor = await client(admin.h, "doctor", ["clinician"])
    nurse = await client(admin.h, "nurse", [])
    made = await doctor.ask("POST", "/me/delegations", {"delegate": "nurse", "scopes": ["fhir.read"], "hours": 1})
    assert made["on_behalf"] == doctor.account.id
    assert (await nurse.ask("POST", f"/me/elevations/{made['id']}/assume"))["id"] == made["id"]
    assert (await nurse.ask("DELETE", "/me/elevations"))["id"] == made["id"]
    too_much = {"delegate": "nurse", "scopes": ["admin"]}
    assert await doctor.refused("POST", "/me/delegations", too_much) == "identity.scope-not-held"


async def test_tenants(admin: Api) -> None:
    """Made and changed by who looks after the whole; settings that nobody knows are refused."""
    made = (await admin.ask("PUT", "/tenants/acme", {"name": "Acme", "hosts": ["acme.example.org"]}))["tenant"]
    assert made["version"] == 1
    assert (await admin.ask("GET", "/tenants/acme"))["tenant"] == made
    assert [item["id"] for item in (await admin.ask("GET", "/tenants?limit=5"))["tenants"]] == ["acme", "default"]
    assert await admin.refused("PUT", "/tenants/acme", {"settings": {"x": 1}}) == "identity.invalid-settings"
    assert await admin.refused("PUT", "/tenants/acme", {"version": 7}) == "identity.version-conflict"
    assert await admin.refused("GET", "/tenants/none") == "identity.tenant-unknown"


async def test_who_may_write_accounts_may_not_make_administrators(admin: Api) -> None:
    """Without the scope admin nobody gives a role that has it, nor changes who has it, in whatever way."""
    await admin.h.plugin.tenants.put(  # type: ignore[attr-defined]
        identity.TenantRequest("default", settings={"roles": {"helpdesk": ["identity"]}})
    )
    desk = await client(admin.h, "desk", ["helpdesk"])
    admins = await admin.ask("POST", "/groups", {"name": "Admins", "roles": ["administrator"]})
    ada = await person(desk.h, "ada")
    group = f"/groups/{admins['id']}"
    for method, path, body in (
        ("POST", "/accounts", {"name": "bob", "roles": ["administrator"]}),
        ("POST", "/accounts", {"name": "bob", "groups": [admins["id"]]}),
        ("PATCH", "/accounts/ada", {"roles": ["administrator"]}),
        ("PATCH", "/accounts/ada", {"groups": [admins["id"]]}),
        ("PATCH", "/accounts/chief", {"password": PASSWORD}),
        ("POST", "/accounts/chief/disable", {}),
        ("POST", "/accounts/chief/reset-mfa", None),
        ("POST", "/accounts/chief/invite", {}),
        ("POST", "/accounts/chief/keys", {"name": "x"}),
        ("DELETE", "/accounts/chief", None),
        ("DELETE", "/accounts/chief/sessions", None),
        ("POST", "/groups", {"name": "Own", "roles": ["administrator"]}),
        ("PATCH", group, {"add": [ada.id]}),
        ("PUT", f"{group}/members/ada", None),
        ("DELETE", group, None),
        ("POST", "/service-accounts", {"name": "own", "roles": ["administrator"]}),
        ("PUT", "/tenants/default", {"settings": {"roles": {"helpdesk": ["admin"]}}}),
    ):
        assert await desk.refused(method, path, body) == "identity.administrators-only", (method, path)
    assert (await desk.ask("PATCH", "/accounts/ada", {"roles": ["clinician"]}))["account"]["roles"] == ["clinician"]


async def test_a_tenant_sees_nothing_of_another(admin: Api) -> None:
    """An administrator of another tenant finds none of these accounts, groups, keys and sessions."""
    ada = await person(admin.h, "ada")
    session, _ = await signed_in(admin.h, ada)
    group = await admin.ask("POST", "/groups", {"name": "Ward", "members": [ada.id]})
    key = await admin.ask("POST", "/accounts/ada/keys", {"name": "one"})
    await admin.ask("PUT", "/tenants/other", {})
    eve = await person(admin.h, "eve", ["administrator"], "other")
    _, credential = await signed_in(admin.h, eve, 2)
    other = Api(admin.h, await caller_of(admin.h, credential, "other"), eve)
    for method, path, body in (
        ("GET", f"/accounts/{ada.id}", None),
        ("PATCH", f"/accounts/{ada.id}", {"display_name": "x"}),
        ("DELETE", f"/accounts/{ada.id}", None),
        ("GET", f"/accounts/{ada.id}/sessions", None),
        ("DELETE", f"/accounts/{ada.id}/sessions/{session.id}", None),
        ("GET", f"/groups/{group['id']}", None),
        ("DELETE", f"/groups/{group['id']}", None),
        ("PUT", f"/groups/{group['id']}/members/{ada.id}", None),
        ("POST", "/groups", {"name": "Theirs", "members": [ada.id]}),
        ("DELETE", f"/keys/{key['key']['id']}", None),
    ):
        assert (await other.refused(method, path, body)).endswith("-unknown"), (method, path)
    assert [item["name"] for item in (await other.ask("GET", "/accounts"))["accounts"]] == ["eve"]
    assert (await other.ask("GET", "/groups"))["groups"] == []
    assert (await other.ask("GET", "/keys"))["keys"] == []
    assert (await admin.ask("GET", f"/accounts/{ada.id}"))["account"]["name"] == "ada"


def test_what_routes_ask_of_their_callers() -> None:
    """Reading others needs `identity.read`; changing them `identity.write` and AAL2; tenants are for the tenant default."""
    assert len(ROUTES) > 40
    for route, _ in ROUTES:
        own = route.path.startswith("/identity/v1/me")
        if own:
            assert route.scope == "", route.use
        elif route.method == "GET":
            assert route.scope == "identity.read", route.use
        else:
            assert (route.scope, route.aal) == ("identity.write", 2), route.use
        assert (route.tenant == "system") == route.path.startswith("/identity/v1/tenants"), route.use
        assert not route.public, route.use
        assert route.summary, route.use
        assert route.answer, route.use


odd = st.sampled_from(
    ["", "\x00", "a\x00b", "\uffff", "\ufdd0", "x" * 5000, "ada", "chief", "default", "ü", "٣", " ", "/", "-1"]
)
text = st.one_of(odd, st.text(max_size=20))
numbers = st.one_of(st.integers(), st.sampled_from([2**31, 2**53 + 1, 2**63, 2**64, 10**40, -1]))


json: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.floats(allow_nan=False, allow_infinity=False), text),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=3)),
    max_leaves=5,
)
ROLES = st.sampled_from(["clinician", "administrator", "nothing", "emergency"])


def values(wanted: Any) -> st.SearchStrategy[Any]:
    """Values of a type that JSON has, with texts and numbers that programs stumble over."""
    if dataclasses.is_dataclass(wanted):
        hints = get_type_hints(wanted)
        needed = {item.name for item in dataclasses.fields(wanted) if _required(item)}
        fields = {name: values(hint) for name, hint in hints.items()}
        return st.fixed_dictionaries(
            {name: fields[name] for name in needed},
            optional={name: value for name, value in fields.items() if name not in needed},
        )
    arguments = get_args(wanted)
    if get_origin(wanted) is Literal:
        return st.sampled_from(arguments)
    if type(None) in arguments:
        return st.one_of(st.none(), values(next(item for item in arguments if item is not type(None))))
    if get_origin(wanted) is list:
        return st.lists(st.one_of(ROLES, text), max_size=3)
    plain: dict[Any, st.SearchStrategy[Any]] = {str: text, int: numbers, bool: st.booleans()}
    return plain[wanted] if wanted in plain else st.dictionaries(text, json, max_size=4)


def _required(item: dataclasses.Field[Any]) -> bool:
    return item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING


@settings(
    max_examples=300, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(data=st.data())
async def test_whatever_is_sent_only_declared_errors_come(data: st.DataObject, admin: Api) -> None:
    """For each route and any path, query and body of its type: an answer, or an error whose status the route declares."""
    route, wanted = data.draw(st.sampled_from(ROUTES), label="route")
    parts = []
    for part in route.path.split("/"):
        value = data.draw(text.filter(bool), label=part) if part.startswith("{") else part
        parts.append(quote(value, safe=""))
    query = {name: data.draw(text, label=name) for name in route.query}
    target = "/".join(parts) + "?" + "&".join(f"{name}={quote(value)}" for name, value in query.items())
    if "%2F" in target.partition("?")[0] or target.startswith("/identity/v1/accounts/chief"):
        return
    body = data.draw(values(wanted), label="body") if wanted is not None else None
    code, status = "", 0
    try:
        status = (await admin.h.http(route.method, target, json=body, caller=admin.caller)).status
    except RustCareError as error:
        code = error.code
    # What is no value of the type, the gateway refuses.
    assert status == route.status or code in {*route.problems, InvalidPayload.code}, (code, status)
