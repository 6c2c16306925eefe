"""The schemas of groups (RFC 7643, section 4.2), of what all resources have (3.1), and of discovery itself (5, 6, 7)."""

from __future__ import annotations

from .attributes import Attribute, Schema, text

__all__ = ["COMMON", "GROUP", "RESOURCE_TYPE", "SCHEMA", "SERVICE_PROVIDER_CONFIG"]


def _fixed(name: str, description: str, kind: str = "string", **options: object) -> Attribute:
    """An attribute that nobody changes."""
    return Attribute(name, kind, description, mutability="readOnly", **options)  # type: ignore[arg-type]


def _part(name: str, description: str, *subs: Attribute, **options: object) -> Attribute:
    return _fixed(name, description, "complex", subs=subs, **options)


#: What every resource has, beside `schemas`.
COMMON = (
    _fixed("id", "The id; it is never used again", case_exact=True, returned="always", uniqueness="server"),
    text("externalId", "What the provisioning client calls it", case_exact=True),
    _part(
        "meta",
        "About the resource itself",
        _fixed("resourceType", "Its type", case_exact=True),
        _fixed("created", "When it was made", "dateTime"),
        _fixed("lastModified", "When it last changed", "dateTime"),
        _fixed("location", "Where it is", "reference", case_exact=True, references=("uri",)),
        _fixed("version", "Its version, as in ETag", case_exact=True),
    ),
)

GROUP = Schema(
    "urn:ietf:params:scim:schemas:core:2.0:Group",
    "Group",
    "A group of users, who hold the roles that an administrator gave it",
    (
        text("displayName", "The group's name, unique in the tenant", required=True, uniqueness="server"),
        Attribute(
            "members",
            "complex",
            "The users that belong to it",
            multi=True,
            subs=(
                text("value", "The user's id", case_exact=True, mutability="immutable"),
                Attribute(
                    "$ref",
                    "reference",
                    "Where the user is",
                    case_exact=True,
                    mutability="immutable",
                    references=("User",),
                ),
                text("type", "The member's type", mutability="immutable", canonical=("User",)),
            ),
        ),
    ),
)

SERVICE_PROVIDER_CONFIG = Schema(
    "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig",
    "ServiceProviderConfig",
    "What this server can do",
    (
        _fixed("documentationUri", "Where it is described", "reference", case_exact=True, references=("external",)),
        _part("patch", "PATCH", _fixed("supported", "Whether it is", "boolean", required=True), required=True),
        _part(
            "bulk",
            "Bulk requests",
            _fixed("supported", "Whether they are", "boolean", required=True),
            _fixed("maxOperations", "Operations of one request", "integer", required=True),
            _fixed("maxPayloadSize", "Bytes of one request", "integer", required=True),
            required=True,
        ),
        _part(
            "filter",
            "Filters",
            _fixed("supported", "Whether they are", "boolean", required=True),
            _fixed("maxResults", "Resources of one answer", "integer", required=True),
            required=True,
        ),
        _part(
            "changePassword",
            "Change of passwords",
            _fixed("supported", "Whether it is", "boolean", required=True),
            required=True,
        ),
        _part("sort", "Sorting", _fixed("supported", "Whether it is", "boolean", required=True), required=True),
        _part("etag", "Versions", _fixed("supported", "Whether they are", "boolean", required=True), required=True),
        _part(
            "authenticationSchemes",
            "How clients say who they are",
            _fixed("type", "The kind", required=True, canonical=("oauthbearertoken", "oauth2", "httpbasic")),
            _fixed("name", "Its name", required=True),
            _fixed("description", "What it is", required=True),
            _fixed("specUri", "Where it is specified", "reference", case_exact=True, references=("external",)),
            _fixed("documentationUri", "Where it is described", "reference", references=("external",)),
            _fixed("primary", "Whether it is preferred", "boolean"),
            multi=True,
            required=True,
        ),
    ),
)

RESOURCE_TYPE = Schema(
    "urn:ietf:params:scim:schemas:core:2.0:ResourceType",
    "ResourceType",
    "A type of resource that this server has",
    (
        _fixed("name", "Its name", required=True),
        _fixed("description", "What it is"),
        _fixed("endpoint", "Where it is", "reference", case_exact=True, required=True, references=("uri",)),
        _fixed("schema", "Its core schema", "reference", case_exact=True, required=True, references=("uri",)),
        _part(
            "schemaExtensions",
            "What extends it",
            _fixed("schema", "The extension", "reference", case_exact=True, required=True, references=("uri",)),
            _fixed("required", "Whether every resource has it", "boolean", required=True),
            multi=True,
        ),
    ),
)

_CHARACTERISTICS = (
    _fixed("name", "Its name", case_exact=True, required=True),
    _fixed(
        "type",
        "Its type",
        required=True,
        canonical=("string", "complex", "boolean", "decimal", "integer", "dateTime", "reference", "binary"),
    ),
    _fixed("multiValued", "Whether it has several values", "boolean", required=True),
    _fixed("description", "What it is"),
    _fixed("required", "Whether every resource has it", "boolean"),
    _fixed("canonicalValues", "Values that are usual", multi=True),
    _fixed("caseExact", "Whether case matters", "boolean"),
    _fixed(
        "mutability",
        "Whether it can be changed",
        case_exact=True,
        canonical=("readOnly", "readWrite", "immutable", "writeOnly"),
    ),
    _fixed(
        "returned", "When it is shown", case_exact=True, canonical=("always", "never", "default", "request")
    ),
    _fixed("uniqueness", "How unique it is", case_exact=True, canonical=("none", "server", "global")),
    _fixed("referenceTypes", "What it refers to", multi=True, case_exact=True),
)  # fmt: skip

SCHEMA = Schema(
    "urn:ietf:params:scim:schemas:core:2.0:Schema",
    "Schema",
    "A schema",
    (
        _fixed("name", "Its name", required=True),
        _fixed("description", "What it is for"),
        _part(
            "attributes",
            "Its attributes",
            *_CHARACTERISTICS,
            _part("subAttributes", "Their parts", *_CHARACTERISTICS, multi=True),
            multi=True,
            required=True,
        ),
    ),
)
