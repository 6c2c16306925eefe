"""What of one's scopes is left when others are asked for, and which may be asked for at all."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rustcare_plugin_identity.accounts.roles import grants

from .errors import ScopeInvalid

__all__ = ["checked", "narrowed"]

_SCOPE = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9][a-z0-9_-]*)*")
_LONGEST, _MOST = 100, 100


def narrowed(held: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """What both say: of two of which one is above the other, the lower. In order, each once."""
    have = list(held)
    found: list[str] = []
    for one in wanted:
        if any(grants(each, one) for each in have):
            found.append(one)
        else:
            found += [each for each in have if each.startswith(one + ".")]
    return list(dict.fromkeys(found))


def checked(scopes: Iterable[str]) -> list[str]:
    """Scopes as they may be asked for, each once. Raises ScopeInvalid."""
    found = list(dict.fromkeys(scopes))
    if len(found) > _MOST or any(len(one) > _LONGEST or not _SCOPE.fullmatch(one) for one in found):
        raise ScopeInvalid(f"expected at most {_MOST} dotted words such as fhir.read", address="scopes")
    return found
