"""A plugin's configuration: defaults, checks, and errors that never show a value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rustcare_kernel.configuration import effective_config
from rustcare_kernel.errors import ConfigInvalid
from rustcare_sdk.errors import InvalidManifest

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "port": {"type": "integer", "default": 2575},
        "tls": {
            "type": "object",
            "properties": {"on": {"type": "boolean", "default": False}, "ca": {"type": "string"}},
        },
        "peers": {"type": "array", "items": {"type": "object", "required": ["host"]}, "default": []},
    },
}


def config(given: dict[str, Any], schema: Any = SCHEMA) -> Any:
    return effective_config("acme.one", json.dumps(schema).encode(), given)


def test_defaults_are_filled_in_as_deep_as_objects_go() -> None:
    """What is given stays; what is missing gets the schema's default, also inside objects that were not given."""
    assert config({"name": "x"}) == {"name": "x", "port": 2575, "tls": {"on": False}, "peers": []}
    assert config({"name": "x", "port": 1, "tls": {"ca": "c"}})["tls"] == {"on": False, "ca": "c"}


def test_neither_what_was_given_nor_the_defaults_are_shared() -> None:
    """The result is read-only at the top, and changing what was given or got changes nobody else's."""
    given: dict[str, Any] = {"name": "x", "tls": {}}
    found = config(given)
    assert given == {"name": "x", "tls": {}}
    with pytest.raises(TypeError):
        found["name"] = "y"
    found["peers"].append(1)
    assert config({"name": "x"})["peers"] == []


@pytest.mark.parametrize(
    ("given", "address", "rule"),
    [
        ({}, "the whole", "required"),
        ({"name": "a secret that is long"}, "name", "maxLength"),
        ({"name": "x", "port": "a secret"}, "port", "type"),
        ({"name": "x", "tls": {"on": "a secret"}}, "tls.on", "type"),
        ({"name": "x", "peers": [{"host": "h"}, {"a secret": 1}]}, "peers.1", "required"),
        ({"name": "x", "nmae": "a secret"}, "the whole", "additionalProperties"),
    ],
)
def test_what_breaks_the_schema_is_named_by_place_and_rule(given: dict[str, Any], address: str, rule: str) -> None:
    """ConfigInvalid gives the path and the rule; the value, which may be a secret, is in neither text nor cause."""
    with pytest.raises(ConfigInvalid) as caught:
        config(given)
    assert caught.value.address == f"acme.one:config.{address}"
    assert rule in caught.value.message
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_without_a_schema_there_is_no_configuration() -> None:
    """Giving some is an error that names the keys."""
    assert effective_config("acme.one", None, {}) == {}
    with pytest.raises(ConfigInvalid, match="port"):
        effective_config("acme.one", None, {"port": 1})


@pytest.mark.parametrize(
    "schema", [b"{", b'{"type": "nothing"}', b"[]", b'{"$ref": "https://example.org/s.json"}', b'{"$ref": "#/nowhere"}']
)
def test_a_schema_that_is_none_is_the_packages_fault_and_asks_no_network(schema: bytes) -> None:
    """InvalidManifest, whatever is wrong with it; a reference to elsewhere is refused, not fetched."""
    with pytest.raises(InvalidManifest) as caught:
        effective_config("acme.one", schema, {})
    assert caught.value.address == "plugin.toml:config.schema"
