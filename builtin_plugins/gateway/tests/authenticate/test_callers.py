"""Who the holder of a token is: identity's own, and those of foreign issuers within the bounds of the configuration."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_gateway.authenticate.callers import ForeignIssuer, Reader, own_caller
from rustcare_plugin_gateway.authenticate.jws import TokenRefused
from rustcare_plugin_gateway.authorize import grants
from rustcare_plugin_gateway.errors import InvalidSettings
from rustcare_sdk.contracts.http import Caller

from tests.support.tokens import NOW, claims_of

ISSUER = "https://login.clinic.example/realms/main"
WORDS = st.sampled_from(
    ["admin", "admin.read", "fhir", "fhir.read", "fhir.read.all", "fhirx", "lab.write", "lab", "", ".", "x"]
)


def reader(**settings: Any) -> Reader:
    """A reader as configured."""
    return Reader(msgspec.convert({"issuer": ISSUER, **settings}, ForeignIssuer))


def test_own_claims_become_a_caller() -> None:
    """Every claim that identity writes has its place in the caller."""
    assert own_caller(claims_of(on_behalf="user/bob", purpose="TREAT")) == Caller(
        "user/ada",
        "default",
        "token",
        ("lab.read", "lab.write"),
        ("clinician",),
        2,
        "sid-1",
        NOW - 60,
        "user/bob",
        "TREAT",
        "Ada Example",
    )


def test_a_machine_has_no_session() -> None:
    """What identity leaves out is empty."""
    claims = claims_of(sub="service/lab", sid=None, auth_time=None, scope="", roles=[], name=None, acr="aal1")
    assert own_caller(claims) == Caller("service/lab", "default", "token", aal=1)


@pytest.mark.parametrize("name", ["x" * 5000, "a\nb", "‮abc", 5, None, ["a"]])
def test_a_name_is_no_reason_to_refuse(name: Any) -> None:
    """A name is for people to read: one that is strange is cut short, or left out."""
    assert len(own_caller({**claims_of(), "name": name}).name) <= 255


def test_foreign_callers_have_nothing_by_themselves() -> None:
    """An issuer that is only named gives callers without scopes and roles, of the default tenant, at level 1."""
    caller = reader().caller(
        {"sub": "42", "scope": "admin fhir.read", "roles": ["administrator"], "sid": "s", "acr": "3"}
    )
    assert caller == Caller("user/login.clinic.example:42", "default", "token", aal=1)


def test_foreign_claims_are_mapped() -> None:
    """Claims become tenant, scopes, roles and level as the configuration says."""
    found = reader(
        prefix="main",
        kind="service",
        tenant_claim="org.id",
        tenants={"7": "north"},
        scopes=["fhir.read", "lab"],
        grants={"lab-staff": ["lab.read", "admin"], "everything": ["fhir"]},
        roles_claim="realm_access.roles",
        roles=["clinician"],
        assurance={"mfa": 2},
        subject_claim="client_id",
    ).caller(
        {
            "sub": "x",
            "client_id": "robot",
            "org": {"id": "7"},
            "scope": "lab.write everything openid",
            "realm_access": {"roles": ["lab-staff", "clinician", "boss"]},
            "acr": "mfa",
            "auth_time": 5,
            "name": "Robot",
        }
    )
    assert found.principal == "service/main:robot"
    assert found.tenant == "north"
    assert set(found.scopes) == {"lab.write", "fhir.read", "lab.read"}
    assert (found.roles, found.aal, found.authenticated, found.name) == (("clinician",), 2, 5.0, "Robot")


@given(
    st.lists(WORDS, max_size=4),
    st.lists(WORDS, max_size=4),
    st.dictionaries(WORDS, st.lists(WORDS, max_size=2), max_size=2),
)
def test_scopes_stay_within_bounds(held: list[str], bounds: list[str], mapped: dict[str, list[str]]) -> None:
    """Whatever a foreign token holds, and however it is mapped, what it gives is granted by the bounds."""
    given_ = reader(scopes=bounds, grants=mapped).caller({"sub": "1", "scope": held}).scopes
    assert all(grants(tuple(bounds), scope) for scope in given_)
    for scope in held:
        if scope and scope in bounds and scope not in mapped:
            assert scope in given_


@pytest.mark.parametrize("tenant", [None, "9", 7, ["7"], "default", ""])
def test_only_tenants_that_are_named(tenant: Any) -> None:
    """An issuer speaks for the tenants that are named, by the values that are named; all others are refused."""
    with pytest.raises(TokenRefused, match="tenant"):
        reader(tenant_claim="org", tenants={"7": "north"}).caller({"sub": "1", "org": tenant})


@pytest.mark.parametrize("subject", [None, "", 5, ["a"], "a b", "a\n", "ä", "a" * 201])
def test_subjects_are_visible_text(subject: Any) -> None:
    """A subject that could look like another one, or is none, is refused."""
    with pytest.raises(TokenRefused, match="subject"):
        reader().caller({"sub": subject})


def test_a_foreign_principal_is_no_account() -> None:
    """Whatever the subject is, the principal has a colon, which no id of an account has."""
    assert reader().caller({"sub": "user/ada"}).principal == "user/login.clinic.example:user/ada"


@pytest.mark.parametrize(
    "settings", [{"prefix": "a b"}, {"prefix": "a:b"}, {"algorithms": ["HS256"]}, {"algorithms": ["none"]}]
)
def test_settings_that_are_refused(settings: dict[str, Any]) -> None:
    """A prefix that could not be told from a subject, or an algorithm that is not verified, is refused at the start."""
    with pytest.raises(InvalidSettings):
        reader(**settings)


def test_the_issuer_must_have_a_host_or_a_prefix() -> None:
    """An issuer that is no address needs a prefix."""
    with pytest.raises(InvalidSettings, match="prefix"):
        Reader(ForeignIssuer("accounts"))
    assert Reader(ForeignIssuer("accounts", prefix="acc")).prefix == "acc"
