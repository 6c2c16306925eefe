"""Tenants and their settings."""

from __future__ import annotations

import pytest
from rustcare_plugin_identity.errors import (
    HostTaken,
    InvalidSettings,
    InvalidTenant,
    SystemTenantOnly,
    TenantUnknown,
    VersionConflict,
)
from rustcare_plugin_identity.plugin import Identity
from rustcare_plugin_identity.settings import Settings, merged, settings_of
from rustcare_plugin_identity.tenants import Tenants
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.identity import TenantRequest

from tests.support.identity_plugin import identity_plugin
from tests.support.people import house


async def test_the_tenant_default_is_always_there() -> None:
    """It is made at the first start, and cannot be switched off."""
    async with identity_plugin() as h:
        reply: identity.TenantsReply = await h.request(identity.TENANTS, identity.TenantsRequest())
        assert [tenant.id for tenant in reply.tenants] == ["default"]
        with pytest.raises(InvalidTenant):
            await h.request(identity.TENANT_PUT, TenantRequest("default", enabled=False))


async def test_a_tenant_is_told_to_all_before_the_answer() -> None:
    """Whoever subscribes has handled the change when the request returns; it is there after a restart."""
    heard: list[str] = []
    async with identity_plugin() as h:
        h.subscribe(identity.TENANT_CHANGED, lambda message: heard.append(message.data.id), type=identity.TenantInfo)
        before = (await h.request(identity.TENANTS, identity.TenantsRequest())).revision
        asked = TenantRequest("ward", name="Ward", hosts=["Ward.Example.", "b.example"], settings={"mfa": "required"})
        reply: identity.TenantReply = await h.request(identity.TENANT_PUT, asked)
        assert heard == ["ward"]
        assert (reply.tenant.hosts, reply.tenant.version) == (["ward.example", "b.example"], 1)
        await h.restart()
        after: identity.TenantsReply = await h.request(identity.TENANTS, identity.TenantsRequest())
        assert after.revision > before
        assert after.tenants[1] == reply.tenant
        assert h.plugin.settings("ward").mfa == "required"  # type: ignore[attr-defined]


async def test_a_new_version_knows_what_the_one_before_did_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenant that is switched off after the next version has read the tenants, and before it serves, is off."""
    async with identity_plugin() as h:
        await h.request(identity.TENANT_PUT, TenantRequest("ward"))
        before = h.plugin
        start = Identity.start

        async def overtaken(self: Identity) -> None:
            await start(self)
            await before.tenants.put(TenantRequest("ward", enabled=False))  # type: ignore[attr-defined]

        monkeypatch.setattr(Identity, "start", overtaken)
        await h.upgrade(Identity)
        assert h.plugin is not before
        reply: identity.TenantsReply = await h.request(identity.TENANTS, identity.TenantsRequest())
        assert {tenant.id: tenant.enabled for tenant in reply.tenants} == {"default": True, "ward": False}


async def test_what_is_not_said_stays() -> None:
    """A change of one thing changes one thing, and raises the version; another version is a conflict."""
    async with identity_plugin() as h:
        await h.request(identity.TENANT_PUT, TenantRequest("ward", name="Ward", hosts=["a.example"]))
        reply: identity.TenantReply = await h.request(
            identity.TENANT_PUT, TenantRequest("ward", enabled=False, version=1)
        )
        assert (reply.tenant.name, reply.tenant.hosts, reply.tenant.enabled) == ("Ward", ["a.example"], False)
        with pytest.raises(VersionConflict):
            await h.request(identity.TENANT_PUT, TenantRequest("ward", name="x", version=1))


async def test_who_loses_rights_by_what_a_role_gives_now_loses_what_was_opened_under_it() -> None:
    """At once, people and machines; whose rights are what they were, or more, go on. It is told what was changed."""
    async with house() as home:
        await home.settings("ward", roles={"nurse": ["fhir.read", "fhir.write"], "porter": ["fhir.read"]})
        group = await home.plugin.groups.create("ward", name="g", roles=["nurse"])
        heads = {"nurse": await home.person("nurse", tenant="ward", roles=["nurse"])}
        heads["grouped"] = await home.person("grouped", tenant="ward")
        heads["porter"] = await home.person("porter", tenant="ward", roles=["porter"])
        heads["both"] = await home.person("both", tenant="ward", roles=["nurse", "clinician"])
        heads["robot"] = await home.person("robot", tenant="ward", kind="service", roles=["nurse"])
        await home.plugin.groups.update("ward", group.id, {}, add=[heads["grouped"].id])
        names = ("nurse", "grouped", "porter", "both")
        open_ = {name: (await home.sign_in(name, tenant="ward")).credential for name in names}
        heard: list[str] = []
        home.h.subscribe(identity.REVOKED, lambda message: heard.append(message.data.id), type=identity.Revocation)
        await home.settings("ward", roles={"nurse": ["fhir.read"], "porter": ["fhir.read", "fhir.write"]})
        alive = {name for name in names if await home.alive(open_[name], "ward")}
        assert alive == {"porter", "both"}
        assert set(heard) == {heads[name].id for name in ("nurse", "grouped", "robot")}
        assert home.events("tenant.changed")[-1].details == {
            "tenant": "ward", "enabled": "true", "what": "settings", "sessions": "2",
        }  # fmt: skip


async def test_where_a_second_factor_is_demanded_from_now_on_none_goes_on_without() -> None:
    """Sessions that a password alone has opened end; those with a factor, of other tenants and of machines do not."""
    async with house() as home:
        for tenant in ("ward", "other"):
            await home.settings(tenant)
            anna = await home.person(tenant=tenant)
        anna = await home.plugin.accounts.find("ward", "anna")
        weak = (await home.sign_in(tenant="ward")).credential
        elsewhere = (await home.sign_in(tenant="other")).credential
        _, strong = await home.plugin.sessions.begin(anna, aal=2, amr=("pwd", "otp"), address="", agent="")
        robot = await home.person("robot", tenant="ward", kind="service")
        _, machine = await home.plugin.sessions.begin(robot, aal=1, amr=(), address="", agent="")
        await home.settings("ward", mfa="required")
        assert not await home.alive(weak, "ward")
        assert await home.alive(elsewhere, "other")
        assert await home.alive(strong, "ward")
        assert await home.alive(machine, "ward")
        assert (await home.sign_in(tenant="ward")).enrol


async def test_a_host_leads_to_one_tenant() -> None:
    """A host that another tenant has is refused, and nothing is changed."""
    async with identity_plugin() as h:
        await h.request(identity.TENANT_PUT, TenantRequest("one", hosts=["a.example"]))
        with pytest.raises(HostTaken):
            await h.request(identity.TENANT_PUT, TenantRequest("two", hosts=["b.example", "A.example"]))
        reply: identity.TenantsReply = await h.request(identity.TENANTS, identity.TenantsRequest())
        assert [tenant.id for tenant in reply.tenants] == ["default", "one"]
        await h.request(identity.TENANT_PUT, TenantRequest("one", hosts=[]))
        await h.request(identity.TENANT_PUT, TenantRequest("two", hosts=["a.example"]))


@pytest.mark.parametrize("id", ["", "Ward", "a b", "-a", "a-", "a.b", "x" * 64, "a/b"])
async def test_ids_that_are_refused(id: str) -> None:
    """An id may stand in a host name and in a path."""
    async with identity_plugin() as h:
        with pytest.raises(InvalidTenant):
            await h.request(identity.TENANT_PUT, TenantRequest(id))


@pytest.mark.parametrize("host", ["a:80", "a b", "", "-a.example", "a..b", "http://a"])
async def test_hosts_that_are_refused(host: str) -> None:
    """A host is a name without a port."""
    async with identity_plugin() as h:
        with pytest.raises(InvalidTenant):
            await h.request(identity.TENANT_PUT, TenantRequest("ward", hosts=[host]))


async def test_only_the_tenant_default_looks_after_the_others() -> None:
    """Callers of another tenant change none, and see their own alone."""
    async with identity_plugin() as h:
        await h.request(identity.TENANT_PUT, TenantRequest("one"))
        with pytest.raises(SystemTenantOnly):
            await h.request(identity.TENANT_PUT, TenantRequest("two"), tenant="one")
        reply: identity.TenantsReply = await h.request(identity.TENANTS, identity.TenantsRequest(), tenant="one")
        assert [tenant.id for tenant in reply.tenants] == ["one"]


async def test_accounts_are_made_in_tenants_that_there_are() -> None:
    """A tenant that nobody has made has no accounts."""
    async with identity_plugin() as h:
        with pytest.raises(TenantUnknown):
            await h.request(identity.ACCOUNT_CREATE, identity.CreateAccountRequest("anna"), tenant="nowhere")


def test_settings_lie_over_each_other() -> None:
    """A tenant's own over the configuration's over the defaults, key by key."""
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 4}}) == {"a": {"b": 4, "c": 2}, "d": 3}
    found = settings_of({"passwords": {"minimum": 20}}, {"passwords": {"words": ["clinic"]}, "mfa": "required"})
    assert (found.passwords.minimum, found.passwords.words, found.mfa) == (20, ("clinic",), "required")
    assert settings_of({}, {}) == Settings()


async def test_a_configuration_that_does_not_go_with_a_tenants_settings_names_the_tenant() -> None:
    """The plugin does not start with rules that contradict each other, and says whose they are."""
    async with identity_plugin() as h:
        await h.request(identity.TENANT_PUT, TenantRequest("ward", settings={"passwords": {"minimum": 16}}))
        tenants = Tenants(h.plugin.ctx.db, lambda: 0.0, {"passwords": {"minimum": 20, "minimum_with_factor": 20}})
        with pytest.raises(InvalidSettings) as refused:
            await tenants.open()
        assert refused.value.address == "tenants.ward.settings"


@pytest.mark.parametrize(
    "settings",
    [
        {"registraton": "open"},
        {"registration": "perhaps"},
        {"passwords": {"minimum": 8}},
        {"passwords": {"minimum_with_factor": 4}},
        {"passwords": {"maximum": 32}},
        {"lockout": {"lock_after": 2}},
        {"lockout": {"lock_longest": 1e9}},
        {"roles": {"nurse": "fhir.read"}},
    ],
)
async def test_settings_that_are_refused(settings: dict[str, object]) -> None:
    """A slip of the pen is no rule, and nobody goes below what NIST SP 800-63B-4 says."""
    async with identity_plugin() as h:
        with pytest.raises(InvalidSettings):
            await h.request(identity.TENANT_PUT, TenantRequest("ward", settings=settings))
