"""What the server says of itself (RFC 7644, section 4): its features, its types of resources, its schemas."""

from __future__ import annotations

from typing import Any

from .bulk import MAX_OPERATIONS, MAX_PAYLOAD
from .directory import MAX_COUNT
from .schemas import KINDS, SCHEMAS, Kind, Schema

__all__ = ["LIST_RESPONSE", "list_response", "resource_type", "resource_types", "schema", "schemas", "service_provider"]

LIST_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
_CORE = "urn:ietf:params:scim:schemas:core:2.0"


def list_response(resources: list[dict[str, Any]], total: int, start: int = 1) -> dict[str, Any]:
    """A page of resources (RFC 7644, section 3.4.2)."""
    return {
        "schemas": [LIST_RESPONSE],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": len(resources),
        "Resources": resources,
    }


def service_provider(base: str) -> dict[str, Any]:
    """The ServiceProviderConfig (RFC 7643, section 5)."""
    return {
        "schemas": [f"{_CORE}:ServiceProviderConfig"],
        "patch": {"supported": True},
        "bulk": {"supported": True, "maxOperations": MAX_OPERATIONS, "maxPayloadSize": MAX_PAYLOAD},
        "filter": {"supported": True, "maxResults": MAX_COUNT},
        "changePassword": {"supported": True},
        "sort": {"supported": True},
        "etag": {"supported": True},
        "authenticationSchemes": [
            {
                "type": "oauthbearertoken",
                "name": "Bearer token",
                "description": "An access token or an API key of a service account, in the header Authorization",
                "specUri": "https://www.rfc-editor.org/rfc/rfc6750",
                "primary": True,
            }
        ],
        "meta": {"resourceType": "ServiceProviderConfig", "location": f"{base}/ServiceProviderConfig"},
    }


def resource_types(base: str) -> list[dict[str, Any]]:
    """The types of resources (RFC 7643, section 6)."""
    return [_resource_type(kind, base) for kind in KINDS]


def resource_type(name: str, base: str) -> dict[str, Any] | None:
    """The one of that name, or None."""
    return next((_resource_type(kind, base) for kind in KINDS if kind.name == name), None)


def _resource_type(kind: Kind, base: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "schemas": [f"{_CORE}:ResourceType"],
        "id": kind.name,
        "name": kind.name,
        "description": kind.description,
        "endpoint": kind.endpoint,
        "schema": kind.core.id,
        "meta": {"resourceType": "ResourceType", "location": f"{base}/ResourceTypes/{kind.name}"},
    }
    if kind.extensions:
        found["schemaExtensions"] = [{"schema": item.id, "required": False} for item in kind.extensions]
    return found


def schemas(base: str) -> list[dict[str, Any]]:
    """The schemas (RFC 7643, section 7)."""
    return [_schema(item, base) for item in SCHEMAS]


def schema(id: str, base: str) -> dict[str, Any] | None:
    """The one of that URI, in any case, or None."""
    return next((_schema(item, base) for item in SCHEMAS if item.id.lower() == id.lower()), None)


def _schema(item: Schema, base: str) -> dict[str, Any]:
    return {
        "schemas": [f"{_CORE}:Schema"],
        "id": item.id,
        "name": item.name,
        "description": item.description,
        "attributes": [attribute.document() for attribute in item.attributes],
        "meta": {"resourceType": "Schema", "location": f"{base}/Schemas/{item.id}"},
    }
