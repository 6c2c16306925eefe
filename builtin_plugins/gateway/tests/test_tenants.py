"""For which tenant a request is."""

from __future__ import annotations

import time
from typing import Any

import pytest
from rustcare_plugin_gateway.errors import InvalidSettings, TenantConflict, TenantDisabled, TenantUnknown
from rustcare_plugin_gateway.limits import Limits
from rustcare_plugin_gateway.tenants import Tenants
from rustcare_sdk.contracts.identity import TenantInfo

ALL = ("host", "path", "header", "token")


def tenants(*policies: str, fallback: str = "default") -> Tenants:
    """Two tenants and one that is disabled."""
    found = Tenants(policies or ALL, "X-Tenant", fallback, Limits({}, 1000))
    found.replace(
        [
            TenantInfo("north", hosts=["north.example.org"]),
            TenantInfo("south", hosts=["South.example.org", "s.example.org"]),
            TenantInfo("closed", enabled=False),
        ]
    )
    return found


def name(found: Any) -> str:
    """The id of a tenant, or nothing."""
    return "" if found is None else str(found.id)


@pytest.mark.parametrize(
    ("host", "prefix", "header", "expected"),
    [
        ("x.example.org", "", None, ""),
        ("north.example.org", "", None, "north"),
        ("north.example.org:8080", "", None, "north"),
        ("south.example.org", "", None, "south"),
        ("x", "south", None, "south"),
        ("x", "", "south", "south"),
        ("north.example.org", "north", "north", "north"),
    ],
)
def test_what_a_request_names(host: str, prefix: str, header: str | None, expected: str) -> None:
    """By host, path or header."""
    headers = {} if header is None else {"x-tenant": header}
    assert name(tenants().claimed(host, prefix, headers)) == expected


def test_two_names_are_refused() -> None:
    """Whatever the order of policies is."""
    for policies in (ALL, tuple(reversed(ALL))):
        found = tenants(*policies)
        with pytest.raises(TenantConflict):
            found.claimed("north.example.org", "south", {})
        with pytest.raises(TenantConflict):
            found.claimed("north.example.org", "", {"x-tenant": "south"})
        with pytest.raises(TenantConflict):
            found.claimed("x", "north", {"x-tenant": "south"})
        with pytest.raises(TenantUnknown):
            found.claimed("x", "", {"x-tenant": "nowhere"})


def test_a_policy_that_is_not_configured_does_not_count() -> None:
    """With tokens alone, a header says nothing."""
    found = tenants("token")
    assert found.claimed("north.example.org", "", {"x-tenant": "south"}) is None
    assert name(found.resolved(None, "south")) == "south"
    assert name(tenants("host").resolved(None, "south")) == "default"


def test_who_names_none_gets_the_callers_own_or_the_fallback() -> None:
    """In this order; without a fallback the request is refused, unless it need not be for any."""
    found = tenants()
    assert name(found.resolved(found.get("north"), "south")) == "north"
    assert name(found.resolved(None, "south")) == "south"
    assert name(found.resolved(None, "")) == "default"
    strict = tenants(fallback="")
    with pytest.raises(TenantUnknown):
        strict.resolved(None, "")
    assert name(strict.resolved(None, "", optional=True)) == "default"
    with pytest.raises(TenantDisabled):
        found.resolved(found.get("closed"), "")


def test_a_tenant_that_changes_loses_its_old_hosts() -> None:
    """A host that was given up leads nowhere, and can be another's."""
    found = tenants()
    found.put(TenantInfo("south", hosts=["s.example.org"]))
    assert found.host("south.example.org") is None
    found.put(TenantInfo("north", hosts=["south.example.org"]))
    assert name(found.host("south.example.org")) == "north"


def test_settings_that_are_not_understood_do_not_count() -> None:
    """They are told, and the tenant keeps what is configured for all."""
    found = tenants()
    broken = found.put(TenantInfo("north", settings={"limits": {"default": 7}, "cors": {"origins": 7}}))
    assert len(broken.problems) == 2
    assert broken.cors is None
    assert broken.classes["default"].limits
    assert list(found.problems()) == ["north"]
    with pytest.raises(InvalidSettings):
        Tenants(["moon"], "x", "", Limits({}, 1000))


def test_ten_thousand_tenants_cost_what_one_costs() -> None:
    """A request's tenant is found in about the same time."""
    few, many = tenants(), tenants()
    infos = [TenantInfo(f"t{number}", hosts=[f"t{number}.example.org"]) for number in range(10_000)]
    many.replace([*infos, TenantInfo("north", hosts=["north.example.org"])])

    def fastest(found: Tenants) -> float:
        times = []
        for _ in range(20):
            started = time.perf_counter()
            for _ in range(500):
                found.resolved(found.claimed("north.example.org", "north", {}), "north")
            times.append(time.perf_counter() - started)
        return min(times)

    assert fastest(many) < 3 * fastest(few)
