"""Who the holder of a token is: as identity wrote it into its own, and as the configuration reads it out of foreign ones.

A foreign issuer is believed within bounds that the configuration sets: its callers belong to tenants that are named there,
have at most the scopes that are named there, and principals that no account of ours can have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from rustcare_sdk.contracts.http import Caller

from rustcare_plugin_gateway.authorize import grants
from rustcare_plugin_gateway.errors import InvalidSettings

from .claims import find, text_of, words_of
from .jwk import ALGORITHMS
from .jws import TokenRefused

__all__ = ["ForeignIssuer", "Reader", "own_caller"]

_PRINCIPAL = re.compile(r"(user|service)/[!-~]{1,200}")
# A `:` is in no account's id.
_SUBJECT = re.compile(r"[!-~]{1,200}")
_LEVELS = {"aal1": 1, "aal2": 2, "aal3": 3}


def own_caller(claims: Mapping[str, Any]) -> Caller:
    """The holder of a token that identity issued. Raises TokenRefused when it is not one of its access tokens."""
    principal, tenant = text_of(claims, "sub"), text_of(claims, "tenant")
    if not _PRINCIPAL.fullmatch(principal) or not tenant:
        raise TokenRefused("expected the access token of an account")
    level = _LEVELS.get(text_of(claims, "acr"))
    if level is None:
        raise TokenRefused("expected acr to be aal1, aal2 or aal3")
    return Caller(
        principal,
        tenant,
        "token",
        words_of(claims.get("scope"), "scope"),
        words_of(claims.get("roles"), "roles"),
        level,
        text_of(claims, "sid"),
        _moment(claims),
        text_of(claims, "on_behalf"),
        text_of(claims, "purpose"),
        _shown(claims),
    )


def _shown(claims: Mapping[str, Any]) -> str:
    """The name: for people to read, so nothing of it is a reason to refuse."""
    value = claims.get("name")
    return value[:255] if isinstance(value, str) else ""


def _moment(claims: Mapping[str, Any]) -> float:
    value = claims.get("auth_time", 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise TokenRefused("expected auth_time to be a number of seconds")
    return float(value)


class ForeignIssuer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An issuer as the configuration names it; see there for what the fields mean."""

    issuer: str
    jwks: str = ""
    audience: str = ""
    algorithms: tuple[str, ...] = ()
    types: tuple[str, ...] = ("at+jwt", "jwt", "")
    tenant: str = "default"
    tenant_claim: str = ""
    tenants: dict[str, str] = {}
    kind: Literal["user", "service"] = "user"
    prefix: str = ""
    subject_claim: str = "sub"
    scope_claim: str = "scope"
    scopes: tuple[str, ...] = ()
    grants: dict[str, tuple[str, ...]] = {}
    roles_claim: str = ""
    roles: tuple[str, ...] = ()
    aal: int = 1
    assurance: dict[str, int] = {}
    authorities: str = ""


class Reader:
    """Reads callers out of the tokens of one foreign issuer. Raises InvalidSettings when it is configured wrongly."""

    def __init__(self, issuer: ForeignIssuer) -> None:
        self.issuer = issuer
        host = urlsplit(issuer.issuer).hostname or ""
        self.prefix = issuer.prefix or host
        self.allowed = frozenset(issuer.algorithms) or ALGORITHMS
        if not re.fullmatch(r"[A-Za-z0-9.-]{1,100}", self.prefix):
            raise InvalidSettings("expected a prefix for principals", address="config.tokens.issuers.prefix")
        if not self.allowed <= ALGORITHMS:
            raise InvalidSettings(
                f"expected of {', '.join(sorted(ALGORITHMS))}, got {', '.join(sorted(self.allowed - ALGORITHMS))}",
                address="config.tokens.issuers.algorithms",
            )
        self.types = frozenset(type_.lower() for type_ in issuer.types)

    def caller(self, claims: Mapping[str, Any]) -> Caller:
        """The holder. Raises TokenRefused."""
        issuer = self.issuer
        subject = find(claims, issuer.subject_claim)
        if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
            raise TokenRefused("expected a subject of at most 200 visible characters")
        tenant = issuer.tenant
        if issuer.tenant_claim:
            named = find(claims, issuer.tenant_claim)
            tenant = issuer.tenants.get(named, "") if isinstance(named, str) else ""
            if not tenant:
                raise TokenRefused("expected a token for a tenant that its issuer may speak for")
        roles = words_of(find(claims, issuer.roles_claim), "roles") if issuer.roles_claim else ()
        held = words_of(find(claims, issuer.scope_claim), "scope") if issuer.scope_claim else ()
        acr = claims.get("acr", "")
        return Caller(
            f"{issuer.kind}/{self.prefix}:{subject}",
            tenant,
            "token",
            self._scopes(*held, *roles),
            tuple(role for role in roles if role in issuer.roles),
            issuer.assurance.get(acr, issuer.aal) if isinstance(acr, str) else issuer.aal,
            "",
            _moment(claims),
            name=_shown(claims),
        )

    def _scopes(self, *held: str) -> tuple[str, ...]:
        """Our scopes for theirs, within the bounds: of a wider one that part which is within them."""
        bounds = self.issuer.scopes
        found: dict[str, None] = {}
        for word in held:
            for scope in self.issuer.grants.get(word, (word,)):
                if grants(bounds, scope):
                    found[scope] = None
                else:
                    found.update((bound, None) for bound in bounds if bound.startswith(scope + "."))
        return tuple(found)
