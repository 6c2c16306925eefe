"""Narrowing scopes: never more than was held, never more than was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.accounts.roles import grants
from rustcare_plugin_identity.sessions.errors import ScopeInvalid
from rustcare_plugin_identity.sessions.scopes import checked, narrowed

_scope = st.lists(st.sampled_from(["a", "b", "admin", "c"]), min_size=1, max_size=3).map(".".join)
_scopes = st.lists(_scope, max_size=5)


@given(_scopes, _scopes, _scope)
def test_what_is_left_grants_nothing_that_either_side_does_not(held: list[str], wanted: list[str], any_: str) -> None:
    """For every scope there is: left only if held and asked for."""
    left = narrowed(held, wanted)
    if any(grants(one, any_) for one in left):
        assert any(grants(one, any_) for one in held)
        assert any(grants(one, any_) for one in wanted)


@given(_scopes, _scopes)
def test_narrowing_twice_is_narrowing_once(held: list[str], wanted: list[str]) -> None:
    """And whoever holds everything gets what they asked for."""
    left = narrowed(held, wanted)
    assert narrowed(held, left) == left
    assert narrowed(["admin"], wanted) == list(dict.fromkeys(wanted))


def test_a_wider_wish_gives_what_is_held_below_it() -> None:
    """Who holds `fhir.read` and asks for `fhir` gets `fhir.read`; `fhirx` is not below `fhir`."""
    assert narrowed(["fhir.read", "fhirx.read"], ["fhir"]) == ["fhir.read"]


@pytest.mark.parametrize("bad", ["", "A", "a..b", ".a", "a.", "a b", "a\n", "é", "x" * 101, "a;b"])
def test_what_is_no_scope_is_refused(bad: str) -> None:
    """Dotted words, small letters."""
    with pytest.raises(ScopeInvalid):
        checked(["fhir.read", bad])
    with pytest.raises(ScopeInvalid):
        checked([f"s{number}" for number in range(101)])
