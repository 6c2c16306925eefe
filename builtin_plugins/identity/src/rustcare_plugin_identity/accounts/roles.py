"""What a role lets its holder do: roles stand for scopes, and a scope includes those below it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["BUILT_IN", "grants", "scopes"]

#: Roles that every tenant has, and their scopes. A tenant's settings may add others.
BUILT_IN: Mapping[str, tuple[str, ...]] = {
    "administrator": ("admin",),
    "auditor": ("audit.read",),
    "operator": ("admin.plugins", "admin.read"),
    "clinician": ("fhir.read", "fhir.write"),
    "user": (),
    "emergency": ("fhir.read", "fhir.emergency"),
}


def scopes(roles: Iterable[str], extra: Mapping[str, Iterable[str]]) -> list[str]:
    """The scopes of roles, sorted; what a wider one includes is left out. Roles that nobody knows give nothing."""
    found: set[str] = set()
    for role in roles:
        found.update(BUILT_IN.get(role, ()))
        found.update(extra.get(role, ()))
    return sorted(scope for scope in found if not any(other != scope and grants(other, scope) for other in found))


def grants(held: str, wanted: str) -> bool:
    """Whether holding one scope is holding another: `a` grants `a.b`, `admin` grants every one."""
    return held in ("admin", wanted) or wanted.startswith(f"{held}.")
