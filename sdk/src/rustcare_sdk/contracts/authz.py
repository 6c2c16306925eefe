"""May this caller do that? The one contract for it, in the terms of AuthZEN 1.0 (subject, action, resource, context).

The gateway asks it for each request, after it has looked at scope, tenant and assurance itself. While nobody serves
`authz.check`, those alone decide; a relationship engine that serves it takes its place without a change elsewhere.

| service | request | answer |
|---|---|---|
| `authz.check` | `CheckRequest` | `CheckReply` |
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["CHECK", "CheckReply", "CheckRequest", "Entity"]

#: Service: whether something is allowed (`CheckRequest` → `CheckReply`).
CHECK = "authz.check"


@dataclass(frozen=True)
class Entity:
    """Who, or what: `type` and `id` (`user` and `01J…`), and properties that may matter."""

    type: str
    id: str
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckRequest:
    """May `subject` do `action` to `resource`? The tenant is the message's.

    Of a request over HTTP: the subject has the properties `scopes`, `roles`, `aal`; the action is the route's scope, or else
    its method; the resource is of type `route` with the route's path as its id and the path's parts as properties.
    """

    subject: Entity
    action: str
    resource: Entity
    context: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckReply:
    """`reason` says in a word why not (`not-related`); it is shown to the caller, so it names nobody else.

    `cacheable`: for how many seconds the answer may be kept, 0 for not at all.
    """

    allowed: bool
    reason: str = ""
    cacheable: float = 0.0
