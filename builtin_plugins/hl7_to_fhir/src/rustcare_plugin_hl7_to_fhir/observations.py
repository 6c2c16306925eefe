"""OBX: an Observation with its value, by the type that OBX-2 names. A repeated value becomes components."""

from __future__ import annotations

from typing import Any

from .environment import Environment, Resource
from .message import Segment
from .primitives import PRIMITIVES, WHOLE
from .tables import SEGMENTS, VALUES, fill, type_of

__all__ = ["documents", "observe"]

_UNITS = "urn:id:hl7v2:OBX-6"
_ATTACHMENT = "http://hl7.org/fhir/5.0/StructureDefinition/extension-Observation.value"


def _value(kind: str, text: str, env: Environment) -> tuple[str, Any] | None:
    """(element, value) of one repetition of OBX-5. What does not fit its declared type is kept as text."""
    if not text or text == '""':
        return None
    parts = text.split(env.separators[0])
    for test, element, name in VALUES.get(kind, ()):
        if test is not None and not test(parts, 1, env):
            continue
        if name in PRIMITIVES:
            value = PRIMITIVES[name](text if name in WHOLE else parts[0], env)
        else:
            value = type_of(name)(parts, 1, env)
        if value is not None and not (element == "valueQuantity" and "value" not in value):
            return element, value
        break
    value = type_of("joined")(parts, 1, env) if len(parts) > 1 else PRIMITIVES["text"](text, env)
    return ("valueString", value) if value is not None else None


def _with_units(element: str, value: Any, units: Resource) -> Any:
    if not units:
        return value
    if element == "valueQuantity":
        return {**value, **units}
    if element in ("valueRange", "valueRatio"):
        return {name: {**part, **units} for name, part in value.items()}
    return value


def documents(segment: Segment, env: Environment | None = None) -> list[Resource]:
    """The attachments in an OBX of type ED or RP. Without `env`, only whether it is one (a list that is not empty)."""
    kind = segment.field(2).strip().upper()
    if kind not in ("ED", "RP") or not segment.field(5):
        return []
    if env is None:
        return [{}]
    found = (_value(kind, text, env) for text in segment.field(5).split(env.repetition))
    return [item[1] for item in found if item is not None and item[0] == "attachment"]


def observe(segment: Segment, env: Environment, *, empty: bool = False) -> Resource | None:
    """The Observation of an OBX. One that says neither what was observed nor a value is None, unless `empty`."""
    raw = segment.field(5)
    if not empty and not segment.field(3).strip(env.separators[0]) and not raw:
        return None
    out: Resource = fill(SEGMENTS["OBX[Observation]"], segment.fields, 0, env, {})
    out.setdefault("status", "unknown")
    out.setdefault("code", {"text": "unknown"})
    units = fill(SEGMENTS["OBX[units]"], segment.fields, 0, env, {}).get("units", {}) if segment.field(6) else {}
    kind = segment.field(2).strip().upper()
    texts = [raw] if kind in ("NA", "ED") or env.repetition not in raw else raw.split(env.repetition)
    values = [found for found in (_value(kind, text, env) for text in texts) if found is not None]
    for attachment in (value for element, value in values if element == "attachment"):
        out.setdefault("extension", []).append({"url": _ATTACHMENT, "valueAttachment": attachment})
    values = [(element, _with_units(element, value, units)) for element, value in values if element != "attachment"]
    if len(values) == 1:
        element, value = values[0]
        out[element] = value
        if units and element == "valueString":  # R4 has no unit beside a text, and a result must not lose its unit
            out["_valueString"] = {"extension": [{"url": _UNITS, "valueQuantity": units}]}
    elif values:
        out["component"] = [{"code": out["code"], element: value} for element, value in values]
    if values:
        out.pop("dataAbsentReason", None)
    return out
