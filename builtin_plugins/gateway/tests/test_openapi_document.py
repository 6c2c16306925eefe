"""The OpenAPI document."""

from __future__ import annotations

from typing import Any

from rustcare_plugin_gateway.openapi import document_of
from rustcare_sdk.contracts.http import RouteRow

BED = {
    "$ref": "#/$defs/Bed",
    "$defs": {
        "Bed": {"type": "object", "properties": {"ward": {"$ref": "#/$defs/Ward"}}, "description": "A bed"},
        "Ward": {"type": "object", "properties": {"beds": {"type": "array", "items": {"$ref": "#/$defs/Bed"}}}},
    },
}


def row(method: str, path: str, **more: Any) -> RouteRow:
    """A route."""
    fields: dict[str, Any] = {"service": "http.route.acme.beds.get", "plugin": "acme.beds", "version": "1.0.0", **more}
    return RouteRow(method=method, path=path, **fields)


def references(value: Any) -> set[str]:
    """All `$ref`s."""
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*(references(item) for item in value.values())) if value else found
    if isinstance(value, list):
        return set().union(*(references(item) for item in value)) if value else set()
    return set()


def resolves(document: dict[str, Any], reference: str) -> bool:
    """Whether a reference leads somewhere."""
    here: Any = document
    for step in reference.removeprefix("#/").split("/"):
        if step not in here:
            return False
        here = here[step]
    return True


def test_types_become_components() -> None:
    """`$defs` are hoisted, recursion included; two types of one name stay two; every reference leads somewhere."""
    other = {"$ref": "#/$defs/Bed", "$defs": {"Bed": {"type": "string"}}}
    rows = [
        row("POST", "/beds", body=BED, answer=BED, status=201),
        row("GET", "/gardens", plugin="acme.garden", answer=other, service="http.route.acme.garden.get"),
    ]
    document = document_of(rows, "1.0.0")
    assert {"Bed", "Ward", "acme_garden_Bed", "Problem"} == set(document["components"]["schemas"])
    assert all(resolves(document, reference) for reference in references(document))
    answer = document["paths"]["/gardens"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/acme_garden_Bed"}
    assert "$defs" not in str(document)


def test_types_of_one_name_are_told_apart_by_all_that_they_are_made_of() -> None:
    """Also within one plugin, and where only what they lead to differs; the same type stands there once."""

    def bed(ward: dict[str, Any]) -> dict[str, Any]:
        return {"$ref": "#/$defs/Bed", "$defs": {**BED["$defs"], "Ward": ward}}

    wards = [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}, {"type": "string"}]
    rows = [row("GET", f"/{number}", answer=bed(ward)) for number, ward in enumerate(wards)]
    document = document_of(rows, "1.0.0")
    schemas = document["components"]["schemas"]
    for number, ward in enumerate(wards):
        answer = document["paths"][f"/{number}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        inner = schemas[answer["$ref"].rpartition("/")[2]]["properties"]["ward"]["$ref"]
        assert schemas[inner.rpartition("/")[2]] == ward
    assert len(schemas) == 1 + 2 * 3


def test_an_operation_says_what_it_takes_and_answers() -> None:
    """Parameters of path and query, body, security, and every status: its own, those it raises, those of the gateway."""
    document = document_of(
        [
            row(
                "GET", "/beds/{id}/{rest...}", query=("ward",), scope="beds.read", aal=2, problems={"acme.no-bed": 410}
            ),
            row("POST", "/open", public=True, tenant="optional", media_types=("text/csv",)),
            row("GET", "/hidden", hidden=True),
        ],
        "1.0.0",
    )
    operation = document["paths"]["/beds/{id}/{rest}"]["get"]
    assert [(item["name"], item["in"]) for item in operation["parameters"]] == [
        ("id", "path"),
        ("rest", "path"),
        ("ward", "query"),
    ]
    assert {"200", "400", "401", "403", "404", "410", "429", "500", "503", "504"} <= set(operation["responses"])
    assert operation["security"]
    assert "`beds.read`" in operation["description"]
    public = document["paths"]["/open"]["post"]
    assert public["security"] == []
    assert "401" not in public["responses"]
    assert {"413", "415"} <= set(public["responses"])
    assert list(public["requestBody"]["content"]) == ["text/csv"]
    assert "/hidden" not in document["paths"]


def test_a_standard_with_media_types_of_its_own() -> None:
    """What `produces` names holds for the answer and for the route's own errors; what the gateway says stays a problem."""
    made = row("GET", "/scim", produces=("application/scim+json",), problems={"acme.gone": 410, "acme.refused": 403})
    gone = row("DELETE", "/scim", produces=("application/scim+json",), status=204)
    document = document_of([made, gone], "1.0.0")
    responses = document["paths"]["/scim"]["get"]["responses"]
    assert list(responses["200"]["content"]) == ["application/scim+json"]
    for status in ("403", "410"):
        assert set(responses[status]["content"]) == {"application/problem+json", "application/scim+json"}
    assert responses["429"] == {"$ref": "#/components/responses/429"}
    assert "content" not in document["paths"]["/scim"]["delete"]["responses"]["204"]
