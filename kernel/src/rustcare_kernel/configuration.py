"""A plugin's configuration: what the operator set, over the schema's defaults, checked against the schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rustcare_sdk.errors import InvalidManifest

from .errors import ConfigInvalid

__all__ = ["effective_config"]


def effective_config(plugin: str, schema: bytes | None, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration a plugin sees, read-only.

    Raises:
        ConfigInvalid: it does not fit; the error names the place, never the value, which may be a secret.
        InvalidManifest: the package's schema is not a JSON Schema.
    """
    if schema is None:
        if given:
            raise ConfigInvalid(
                f"{plugin} takes no configuration, got {', '.join(sorted(given))}",
                hint="remove it, or name a schema in plugin.toml:config.schema",
            )
        return MappingProxyType({})
    import jsonschema_rs

    try:
        rules = json.loads(schema)
        validator = jsonschema_rs.Draft202012Validator(rules)
    except (ValueError, jsonschema_rs.ValidationError) as error:
        raise InvalidManifest(
            f"the configuration schema of {plugin} is not a JSON Schema: {type(error).__name__}",
            hint="rustcare plugin check says more",
            address="plugin.toml:config.schema",
        ) from None
    filled = _with_defaults(rules, dict(given))
    for problem in validator.iter_errors(filled):
        place = ".".join(str(part) for part in problem.instance_path) or "the whole"
        keyword = problem.schema_path[-1] if problem.schema_path else "schema"
        raise ConfigInvalid(
            f"the configuration of {plugin} breaks its schema's rule {keyword!r}",
            hint="compare it with the plugin's reference",
            address=f"{plugin}:config.{place}",
        )
    return MappingProxyType(filled)


def _with_defaults(rules: Any, value: Any) -> Any:
    """The value with every `default` of the schema's properties filled in, as deep as objects go."""
    if not isinstance(rules, dict) or not isinstance(value, dict):
        return value
    for name, rule in rules.get("properties", {}).items():
        if not isinstance(rule, dict):
            continue
        if name not in value and "default" in rule:
            value[name] = json.loads(json.dumps(rule["default"]))
        elif name not in value and rule.get("type") == "object" and rule.get("properties"):
            inner = _with_defaults(rule, {})
            if inner:
                value[name] = inner
        if name in value and isinstance(value[name], dict):
            value[name] = _with_defaults(rule, dict(value[name]))
    return value
