"""FHIR R4 resources on the bus. A resource is its JSON: a `dict` with `resourceType`, and `id` once it is stored.

| service | request | answer |
|---|---|---|
| `fhir.store` | `StoreRequest` | `StoreReply` |
| `fhir.create` | `CreateRequest` | `ResourceReply` |
| `fhir.read` | `ReadRequest` | `ResourceReply` |
| `fhir.update` | `UpdateRequest` | `ResourceReply` |
| `fhir.history` | `HistoryRequest` | `HistoryReply` |
| `fhir.export` | `ExportRequest` | `ExportReply` |
| `fhir.delete` | `DeleteRequest` | `DeleteReply` |
| `fhir.count` | `CountRequest` | `CountReply` |
| `fhir.effects` | `audit.EffectsRequest` | `audit.EffectsReply` |

After each commit the store publishes `fhir.<type>.<created|updated|deleted>` (lower case) with a `ResourceEvent`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "COUNT",
    "CREATE",
    "DELETE",
    "EFFECTS",
    "EXPORT",
    "HISTORY",
    "MERGED",
    "READ",
    "STORE",
    "UPDATE",
    "CountReply",
    "CountRequest",
    "CreateRequest",
    "DeleteReply",
    "DeleteRequest",
    "ExportReply",
    "ExportRequest",
    "HistoryReply",
    "HistoryRequest",
    "ReadRequest",
    "Resource",
    "ResourceEvent",
    "ResourceReply",
    "StoreReply",
    "StoreRequest",
    "UpdateRequest",
    "subject_of",
]

#: Service: store all resources of one message in one transaction, once (`StoreRequest` → `StoreReply`).
STORE = "fhir.store"
#: Service: store a new resource under a new id (`CreateRequest` → `ResourceReply`).
CREATE = "fhir.create"
#: Service: the current or an older version of a resource (`ReadRequest` → `ResourceReply`).
READ = "fhir.read"
#: Service: store a new version of a resource (`UpdateRequest` → `ResourceReply`).
UPDATE = "fhir.update"
#: Service: the versions of a resource, newest first (`HistoryRequest` → `HistoryReply`).
HISTORY = "fhir.history"
#: Service: all current resources, page by page (`ExportRequest` → `ExportReply`).
EXPORT = "fhir.export"
#: Service: delete a resource; older versions stay readable (`DeleteRequest` → `DeleteReply`).
DELETE = "fhir.delete"
#: Service: how many current resources there are of each type (`CountRequest` → `CountReply`).
COUNT = "fhir.count"
#: Service: which recorded attempts to write took effect (`audit.EffectsRequest` → `audit.EffectsReply`).
EFFECTS = "fhir.effects"

#: Types that `StoreRequest.merge` merges: those who go on from message to message. All others are replaced.
MERGED = frozenset({"Encounter", "Location", "Organization", "Patient", "Practitioner"})

Resource = dict[str, Any]
"""A FHIR resource as its JSON object."""


@dataclass(frozen=True)
class StoreRequest:
    """Resources that come from one message, stored together or not at all.

    `key` names the message: a second request with the same key stores nothing and answers as the first did. Every
    resource has `resourceType` and `id`; one that is there already gets a new version. References between the resources
    (`Patient/<id>`) are checked to point at something that is stored or in this request. `source` says where they come
    from (`hl7:<key>`).

    With `merge`, a resource of a type in `MERGED` says only what changed: elements that it does not have stay as they are
    stored, those that it has replace the stored ones as a whole, and one that is null is deleted. Entries of `identifier`,
    `link` and `extension` are added to the stored ones. Resources of other types, a report or a result, replace what is
    stored, with or without `merge`.
    """

    key: str
    resources: list[dict[str, Any]]
    source: str
    merge: bool = False


@dataclass(frozen=True)
class StoreReply:
    """`stored` resources, at `versions` (`Patient/1/_history/2`, in the order of the request); `duplicate` says that
    the key was known and nothing was stored now."""

    stored: int
    versions: list[str]
    duplicate: bool


@dataclass(frozen=True)
class CreateRequest:
    """Store a new resource; an `id` in it is replaced by a new one."""

    resource: dict[str, Any]


@dataclass(frozen=True)
class ReadRequest:
    """The resource `type/id`; with `version`, that version of it."""

    type: str
    id: str
    version: str = ""


@dataclass(frozen=True)
class UpdateRequest:
    """Store a new version of a resource (it has `resourceType` and `id`); one that is not there yet is made.

    `if_match`: refuse unless the current version is this one.
    """

    resource: dict[str, Any]
    if_match: str = ""


@dataclass(frozen=True)
class ResourceReply:
    """A resource with `meta.versionId` and `meta.lastUpdated`; `version` repeats the former. `created`: it is new."""

    resource: dict[str, Any]
    version: str
    created: bool = False


@dataclass(frozen=True)
class HistoryRequest:
    """The versions of `type/id`, newest first, at most `limit`, those before `before` (a version)."""

    type: str
    id: str
    limit: int = 100
    before: str = ""


@dataclass(frozen=True)
class HistoryReply:
    """Versions, newest first; `more` when older ones are left."""

    versions: list[dict[str, Any]]
    more: bool = False


@dataclass(frozen=True)
class ExportRequest:
    """The current version of every resource, of these types (empty: all), at most `limit`, from cursor `after` on."""

    types: list[str] = field(default_factory=list)
    limit: int = 500
    after: str = ""


@dataclass(frozen=True)
class ExportReply:
    """One page. `next` is the cursor for the next page, empty at the end."""

    resources: list[dict[str, Any]]
    next: str = ""


@dataclass(frozen=True)
class DeleteRequest:
    """Delete `type/id`. `if_match`: refuse unless the current version is this one."""

    type: str
    id: str
    if_match: str = ""


@dataclass(frozen=True)
class DeleteReply:
    """`version` is the version that says "deleted" (empty when there was nothing to delete)."""

    version: str = ""


@dataclass(frozen=True)
class CountRequest:
    """Of these types, or of all (empty)."""

    types: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class CountReply:
    """Current resources by type; deleted ones do not count."""

    counts: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ResourceEvent:
    """A resource was stored or deleted: what happened, its type, id, version. Its content is read with `fhir.read`."""

    change: Literal["created", "updated", "deleted"]
    type: str
    id: str
    version: str
    source: str = ""


def subject_of(type: str, change: Literal["created", "updated", "deleted"]) -> str:
    """The subject of a `ResourceEvent`: `subject_of("Patient", "created") == "fhir.patient.created"`."""
    return f"fhir.{type.lower()}.{change}"
