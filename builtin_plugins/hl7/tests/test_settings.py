"""The configuration: the schema and the typed settings say the same."""

from __future__ import annotations

import json
import pkgutil
from typing import Any

import msgspec
import pytest
from rustcare_plugin_hl7.errors import InvalidSettings
from rustcare_plugin_hl7.settings import Dispatch, Settings, Tls, read_settings


def schema() -> dict[str, Any]:
    data = pkgutil.get_data("rustcare_plugin_hl7", "config.schema.json")
    assert data is not None
    found: dict[str, Any] = json.loads(data)
    return found


def test_the_schemas_defaults_are_the_settings_defaults() -> None:
    """An operator reads the schema, the code uses the settings: same names, same defaults, each described."""
    properties = schema()["properties"]
    defaults = msgspec.to_builtins(Settings())
    assert set(properties) == set(defaults)
    for name, rule in properties.items():
        assert rule["description"], name
        expected = defaults[name]
        if name == "dispatch":
            expected = {}
            inner = msgspec.to_builtins(Dispatch())
            assert {key: one["default"] for key, one in rule["properties"].items()} == inner
        assert rule["default"] == (list(expected) if isinstance(expected, tuple) else expected), name
    assert set(properties["tls"]["properties"]) == set(Tls.__struct_fields__)


@pytest.mark.parametrize(
    ("config", "address"),
    [
        ({"charset": "KLINGON"}, "config:charset"),
        ({"unhandled": "reject"}, "config:types"),
        ({"port": "x"}, "config"),
        ({"nonsense": 1}, "config"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(config: dict[str, Any], address: str) -> None:
    """The plugin does not start with a configuration that it would misunderstand."""
    with pytest.raises(InvalidSettings) as caught:
        read_settings(config)
    assert caught.value.address == address


def test_types_are_only_refused_by_the_policy_that_says_so() -> None:
    """With `unhandled = "store"` the list of types refuses nothing."""
    assert read_settings({"types": ["ADT"]}).policy().types == frozenset()
    assert read_settings({"types": ["ADT"], "unhandled": "reject"}).policy().types == {"ADT"}


def test_tls_files_that_cannot_be_used_are_named_without_their_content(tmp_path: Any) -> None:
    """A missing or broken certificate stops the start with a hint."""
    with pytest.raises(InvalidSettings, match="certificate"):
        Tls(str(tmp_path / "none.pem"), str(tmp_path / "none.key")).context()
