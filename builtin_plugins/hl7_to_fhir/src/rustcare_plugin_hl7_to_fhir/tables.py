"""The interpreter of the mapping tables: JSON files of this package, compiled to closures once, at import.

A **table** has `rules` (and for a datatype perhaps `require`, `resource`). A **rule** moves one value:

| key | meaning |
|---|---|
| `v2` | where from: field or component `5`, part of it `"5.2"`, several as one `[1, 2, 3]`, or `0` for the whole |
| `to` | where to: `"birthDate"`, `"type.coding[0].code"`; `[]` appends for each repetition; `$` is the target itself |
| `as` | a primitive or a datatype table (default `string`) |
| `map` | a concept map; a code that is not in it is left out, or kept for a coding |
| `table` | the number of the HL7 table that a code belongs to when the sender names no code system |
| `when` | conditions, all of which must hold: `["7", "in", ["M"]]`, `["2", "valued"]`, `["2", "empty"]` |
| `with` | constants put into each new element |
| `also` | constants set when the rule gives a value: path → value |
| `default` | only where no rule before it set the path |
| `set` | instead of `to`: constants set when the source is valued |
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Callable
from typing import Any

from .datatypes import BUILDERS, DEFERRED, Builder
from .environment import Environment, Resource
from .primitives import PRIMITIVES, WHOLE

__all__ = ["CONCEPTS", "EVENTS", "SEGMENTS", "VALUES", "delete", "fill", "type_of"]

Step = Callable[[list[str], int, Environment, Resource], None]
#: (the lowest index it reads, whether that must hold something, what it does): most fields of a message are empty, and
#: a rule that has nothing to read is not even called.
Run = tuple[int, bool, Step]
Test = Callable[[list[str], int, Environment], bool]
Assign = Callable[[Resource, Any], None]


def _load(name: str) -> dict[str, Any]:
    data = pkgutil.get_data(__package__ or __name__.rpartition(".")[0], name)
    if data is None:
        raise ImportError(f"{name} is not in the package")
    loaded: dict[str, Any] = json.loads(data)
    return loaded


def _clone(value: Any) -> Any:
    if type(value) is dict:
        return {key: item if type(item) is str else _clone(item) for key, item in value.items()}
    if type(value) is list:
        return [_clone(item) for item in value]
    return value


# paths


def _steps(path: str) -> list[tuple[str, int | None]]:
    """`type.coding[0].code` → [("type", None), ("coding", 0), ("code", None)]; `[]` gives -1."""
    found: list[tuple[str, int | None]] = []
    for part in path.split("."):
        name, bracket, index = part.partition("[")
        found.append((name, None if not bracket else -1 if index == "]" else int(index[:-1])))
    return found


def _assign(path: str, extra: dict[str, Any] | None = None) -> Assign:
    """A function that puts a value at the path. `extra` goes into the element that the path appends."""
    if path == "$":
        return lambda node, value: node.update(value)
    steps = _steps(path)
    head, (last, index) = steps[:-1], steps[-1]

    def open_step(node: Resource, name: str, at: int | None) -> Resource:
        if at is None:
            child: Resource = node.setdefault(name, {})
            return child
        items: list[Resource] = node.setdefault(name, [])
        if at == -1:
            items.append(_clone(extra) if extra else {})
            return items[-1]
        while len(items) <= at:
            items.append({})
        return items[at]

    def put(node: Resource, value: Any) -> None:
        for name, at in head:
            node = open_step(node, name, at)
        if index is None:
            node[last] = value
        elif index == -1:
            if extra and isinstance(value, dict):
                value = {**value, **_clone(extra)}
            node.setdefault(last, []).append(value)
        else:
            items = node.setdefault(last, [])
            while len(items) <= index:
                items.append({})
            items[index] = value

    if head or index not in (None, -1) or extra:
        return put
    if index is None:
        return lambda node, value: node.__setitem__(last, value)
    return lambda node, value: node.setdefault(last, []).append(value)


def _is_set(path: str) -> Callable[[Resource], bool]:
    names = [name for name, _ in _steps(path)]

    def look(node: Any) -> bool:
        for name in names:
            if not isinstance(node, dict) or name not in node:
                return False
            node = node[name]
        return True

    return look


# values


def _part(spec: str | int, first: int) -> tuple[int, int]:
    """`"5.2"` → (index of 5, index of its part 2); without a part, -1. `first` is the number of index 0."""
    number, _, part = str(spec).partition(".")
    return int(number) - first, int(part) - 1 if part else -1


def _leaf(text: str, level: int, env: Environment) -> str:
    for separator in env.separators[level:2]:
        if separator in text:
            text = text.split(separator, 1)[0]
    return text


def _condition(spec: list[Any], first: int) -> Test:
    index, part = _part(spec[0], first)
    operator = spec[1]
    wanted = frozenset(spec[2]) if operator in ("in", "not in") else frozenset()

    def value(parts: list[str], level: int, env: Environment) -> str:
        text = parts[index] if index < len(parts) else ""
        if not text or text == '""':
            return ""
        if level == 0 and env.repetition in text:
            text = text.split(env.repetition, 1)[0]
        if part >= 0 and level < 2:
            pieces = text.split(env.separators[level])
            text = pieces[part] if part < len(pieces) else ""
            return _leaf(text, level + 1, env)
        return text

    if operator == "valued":
        return lambda parts, level, env: bool(value(parts, level, env).strip(env.separators[level] or " "))
    if operator == "empty":
        return lambda parts, level, env: not value(parts, level, env).strip(env.separators[level] or " ")
    if operator == "in":
        return lambda parts, level, env: _leaf(value(parts, level, env), level, env) in wanted
    if operator == "not in":
        return lambda parts, level, env: _leaf(value(parts, level, env), level, env) not in wanted
    raise ValueError(f"{operator!r} is no operator of `when`")


def _conditions(specs: list[list[Any]], first: int) -> Test | None:
    tests = [_condition(spec, first) for spec in specs]
    if not tests:
        return None
    if len(tests) == 1:
        return tests[0]
    return lambda parts, level, env: all(test(parts, level, env) for test in tests)


def _concept(value: Any, kind: str, concepts: dict[str, Any], system: str) -> Any:
    """Translate a value by a concept map, or give its code the system of its HL7 table."""
    if isinstance(value, str):
        return concepts.get(value, concepts.get(value.upper())) if concepts else value
    coding = value["coding"][0] if kind == "CodeableConcept" and value.get("coding") else value
    if kind == "CodeableConcept" and "coding" not in value:
        return value
    target = concepts.get(coding.get("code"))
    if target is not None:
        translated = {"system": target[2], "code": target[0], "display": target[1]}
        if kind == "CodeableConcept":
            value["coding"][0] = translated
            return value
        return translated
    if system and "system" not in coding and "code" in coding:
        coding["system"] = system
    return value


def _constants(rule: dict[str, Any], first: int) -> Run:
    put = [(_assign(path), value) for path, value in rule["set"].items()]
    specs = list(rule.get("when", []))
    if rule["v2"] != 0:
        specs.append([str(rule["v2"]), "valued"])
    test = _conditions(specs, first)

    def run(parts: list[str], level: int, env: Environment, out: Resource) -> None:
        if test is None or test(parts, level, env):
            for assign, value in put:
                assign(out, _clone(value))

    return (0, False, run) if rule["v2"] == 0 else (_part(rule["v2"], first)[0], True, run)


def _rule(rule: dict[str, Any], first: int) -> Run:
    if "set" in rule:
        return _constants(rule, first)
    source = rule["v2"]
    kind = rule.get("as", "string")
    assign = _assign(rule["to"], rule.get("with"))
    appends = "[]" in rule["to"]
    also = [(_assign(path), value) for path, value in rule.get("also", {}).items()]
    test = _conditions(rule.get("when", []), first)
    is_set = _is_set(rule["to"]) if rule.get("default") else None
    concepts: dict[str, Any] = CONCEPTS[rule["map"]] if "map" in rule else {}
    system = f"http://terminology.hl7.org/CodeSystem/v2-{rule['table']}" if "table" in rule else ""
    shape = "CodeableConcept" if kind.endswith("[CodeableConcept]") else ""
    translate = bool(concepts or system)
    build = None if kind in PRIMITIVES else type_of(kind)
    primitive = PRIMITIVES.get(kind)
    whole = kind in WHOLE
    known = {"v2", "to", "as", "map", "table", "when", "with", "also", "default"}
    if rule.keys() - known:
        raise ValueError(f"unknown keys in a rule: {sorted(rule.keys() - known)}")

    def convert(text: str, level: int, env: Environment) -> Any:
        if text == '""':  # HL7's explicit null
            return None
        if primitive is not None:
            return primitive(text if whole else _leaf(text, level, env), env)
        assert build is not None
        if level < 2:
            return build(text.split(env.separators[level]), level + 1, env)
        return build([text], level, env)

    def finish(value: Any, out: Resource) -> bool:
        if translate:
            value = _concept(value, shape, concepts, system)
            if value is None:
                return False
        assign(out, value)
        for put, constant in also:
            put(out, _clone(constant))
        return True

    if isinstance(source, list) or source == 0:
        picks = [number - first for number in source] if isinstance(source, list) else None

        def run_several(parts: list[str], level: int, env: Environment, out: Resource) -> None:
            if (test is not None and not test(parts, level, env)) or (is_set is not None and is_set(out)):
                return
            picked = parts if picks is None else [parts[at] if at < len(parts) else "" for at in picks]
            if build is not None and any(picked):
                value = build(picked, level, env)
                if value is not None:
                    finish(value, out)

        return (min(picks), False, run_several) if picks else (0, False, run_several)

    index, part = _part(source, first)
    if primitive is not None and part < 0 and first == 1 and not (test or is_set or translate or also or whole):
        read = primitive

        def run_plain(parts: list[str], level: int, env: Environment, out: Resource) -> None:
            text = parts[index]
            if text != '""':
                separator = env.separators[level]
                if separator and separator in text:
                    text = text.split(separator, 1)[0]
                value = read(text, env)
                if value is not None:
                    assign(out, value)

        return index, True, run_plain

    def run(parts: list[str], level: int, env: Environment, out: Resource) -> None:
        text = parts[index]
        if (test is not None and not test(parts, level, env)) or (is_set is not None and is_set(out)):
            return
        repeats = level == 0 and not whole and env.repetition in text
        values = text.split(env.repetition) if repeats else [text]
        for item in values:
            deeper = level
            if part >= 0:
                if level == 2:
                    pieces = [item]
                else:
                    pieces = item.split(env.separators[level])
                    deeper = level + 1
                item = pieces[part] if part < len(pieces) else ""
            if not item:
                continue
            value = convert(item, deeper, env)
            if value is not None and finish(value, out) and not appends:
                return

    return index, True, run


def fill(rules: list[Run], parts: list[str], level: int, env: Environment, out: Resource) -> Resource:
    """Run every rule of a table."""
    size = len(parts)
    for index, must, run in rules:
        if index < size and (not must or parts[index]):
            run(parts, level, env, out)
    return out


# what a sender deletes


Deletion = tuple[int, str, str]


def _deletions(*tables: str) -> dict[str, list[Deletion]]:
    """For each table: (field, element, part of it or an extension's url) where the field's explicit null deletes something.

    Several fields may make one list, such as the phone numbers. The null of the first of them deletes it; where another is
    null there may be more in the list than what this message repeats. Identifiers are never deleted by a field.
    """
    found: dict[str, list[Deletion]] = {}
    elements: set[str] = set()
    for table in tables:
        rows = found[table] = []
        for rule in _segments[table]:
            element, _, part = rule.get("to", "").partition(".")
            element = element.partition("[")[0]
            if element in ("", "identifier") or element[0] == "_" or rule.get("default"):
                continue
            field = int(str(rule["v2"]).partition(".")[0])
            if element == "extension":
                rows.append((field, element, rule["with"]["url"]))
            elif element in ("period", "hospitalization"):
                rows.append((field, element, part.partition("[")[0]))
            elif element not in elements:
                elements.add(element)
                rows.append((field, element, ""))
    return found


def delete(table: str, parts: list[str], out: Resource) -> None:
    """Say by null in a resource what HL7's explicit null (`""`) in a segment deletes. What has a value keeps it.

    To be called when the resource is complete: null is no list that something could be appended to.
    """
    for index, element, part in DELETIONS[table]:
        if index >= len(parts) or parts[index] != '""':
            continue
        if element == "extension":
            out.setdefault(element, []).append({"url": part})
        elif part:
            out.setdefault(element, {}).setdefault(part, None)
        else:
            out.setdefault(element, None)


# datatypes


def _datatype(name: str, table: dict[str, Any]) -> Builder:
    if "base" in table:
        base = _DATATYPES[table["base"]]
        table = {**base, "rules": [*base["rules"], *table["rules"]]}
    rules = [_rule(rule, 1) for rule in table["rules"]]
    require: list[int] = [number - 1 for number in table.get("require", [])]
    kind = table.get("resource")
    fallback = table.get("identity", "message")

    def build(parts: list[str], level: int, env: Environment) -> Any:
        size = len(parts)
        for at in require:
            if at < size and parts[at] and parts[at] != '""':
                break
        else:
            if require:
                return None
        out: Resource = {}
        for index, must, run in rules:
            if index < size and (not must or parts[index]):
                run(parts, level, env, out)
        return out or None

    if kind is None:
        return build

    def refer(parts: list[str], level: int, env: Environment) -> Any:
        # A laboratory names itself in every OBX: the same words in the same message are the same resource.
        memo = (name, *parts)
        if memo in env.referred:
            return {"reference": env.referred[memo]}
        out = build(parts, level, env)
        if out is None:
            return None
        key = env.key_of(out.get("identifier", ()))
        if key is not None:
            id = env.identify(kind, *key)
        elif fallback == "facility":
            id = env.identify(kind, f"facility:{env.facility}", *parts)
        else:
            id = env.local(kind, *parts)
        env.add(kind, id, out)
        reference = env.referred[memo] = f"{kind}/{id}"
        return {"reference": reference}

    return refer


_DATATYPES: dict[str, Any] = {}
_compiled: dict[str, Builder] = {}


def type_of(name: str) -> Builder:
    """The builder of a datatype: a table's, or one written in Python because its rule is an algorithm."""
    if name in BUILDERS:
        return BUILDERS[name]
    if name not in _compiled:
        _compiled[name] = _datatype(name, _DATATYPES[name])
    return _compiled[name]


CONCEPTS: dict[str, dict[str, Any]] = {}


def _concepts(loaded: dict[str, Any]) -> None:
    CONCEPTS.update(loaded["codes"])
    for name, entry in loaded["codings"].items():
        system = entry["system"]
        CONCEPTS[name] = {
            code: (target[0], target[1], target[2] if len(target) > 2 else system)
            for code, target in entry["to"].items()
        }


_concepts(_load("concepts.json"))
_DATATYPES.update(_load("datatypes.json"))
DEFERRED["CodeSystems"] = CONCEPTS["CodeSystem"]

#: What an event means: the encounter's status, whose record it is about, merges and links.
EVENTS: dict[str, Any] = _load("events.json")

_segments = _load("segments.json")

#: The rules of a segment for one resource or element: `SEGMENTS["PID[Patient]"]`.
SEGMENTS: dict[str, list[Run]] = {
    name: [_rule(rule, 0) for rule in rules] for name, rules in _segments.items() if isinstance(rules, list)
}

#: What `""` deletes, in the segments that tell about someone or something that goes on from message to message.
DELETIONS: dict[str, list[Deletion]] = {
    **_deletions("PID[Patient]", "PD1[Patient]"),
    **_deletions("PV1[Encounter]", "PV2[Encounter]"),
}

#: What OBX-5 becomes, by OBX-2: alternatives, each with a test, an element's name and a datatype.
VALUES: dict[str, list[tuple[Test | None, str, str]]] = {
    kind: [(_conditions(item.get("when", []), 1), item["to"], item["as"]) for item in alternatives]
    for kind, alternatives in _segments["OBX-5"].items()
}
