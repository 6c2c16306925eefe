"""What a message is about, found by the policy's rules: action, resources, patients, whether it is a disclosure.

The data of a message is a dataclass (trusted tier), a dict, or JSON that nobody decoded yet (`msgspec.Raw`, sandboxed
tier); of the latter only what the rule's paths name is decoded. Nothing of it is kept but what a rule points at, and that
is sealed. A message of another shape than the rule expects is described as far as it goes: what cannot be found is not an
error here, the provider will say what is wrong with it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from rustcare_sdk.contracts.audit import Attempt

from .entry import Change, Disclosure, Draft, Part, Which, changes, clip, of_attempt, plain
from .policy import Policy, Rule
from .sealing import resource_subject

__all__ = ["Describer", "values_at"]

MAX_NAMES = 300  # names of resources in one sealed part, so that an entry keeps within its limit
NAME = 100  # characters of a resource's name: FHIR's are shorter
MAX_TYPES = 50
MAX_KEPT = 56_000  # bytes of fields kept in clear
_KEPT_RULES = 4096


def values_at(data: Any, path: str) -> Iterator[Any]:
    """Every value at a path of `data`; none when there is nothing."""
    if not path:
        yield data
        return
    if path.startswith("="):
        yield path[1:]
        return
    yield from _walk(data, _steps(path), 0)


@functools.lru_cache(maxsize=1024)
def _steps(path: str) -> tuple[str, ...]:
    """`a[*].b` as `("a", "*", "b")`."""
    return tuple(path.replace("[*]", ".*").split("."))


def _walk(data: Any, steps: tuple[str, ...], position: int) -> Iterator[Any]:
    while position < len(steps):
        step = steps[position]
        position += 1
        if step == "*":
            if isinstance(data, (list, tuple)):
                for item in data:
                    yield from _walk(item, steps, position)
            return
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, (list, tuple)):
            index = int(step) if step.isdecimal() else len(data)
            data = data[index] if index < len(data) else None
        else:
            data = getattr(data, step, None) if not step.startswith("_") else None
        if data is None:
            return
    yield data


def _text(data: Any, path: str) -> str:
    """The text at a path, or nothing."""
    if not path:
        return ""
    found = next(values_at(data, path), "")
    if type(found) is int:
        return str(found) if abs(found) < 2**63 else ""
    return found if isinstance(found, str) else ""


def _patient(reference: Any) -> str:
    """`Patient/1` of a reference to a patient (also of an absolute one, or of one version), else nothing."""
    if not isinstance(reference, str):
        return ""
    words = reference.split("/")
    for position in range(len(words) - 1):
        if words[position] == "Patient" and words[position + 1]:
            return clip(f"Patient/{words[position + 1]}", NAME)
    return ""


class Describer:
    """Makes drafts of attempts. `random`: bytes for salts."""

    def __init__(self, policy: Policy, random: Callable[[int], bytes]) -> None:
        self._policy = policy
        self._random = random
        self._rules: dict[str, Rule | None] = {}
        self._needs: dict[str, type | None] = {}

    def draft(self, attempt: Attempt, before: dict[str, Any] | None = None) -> Draft:
        """The draft of an attempt. `before`: the resource as it is before, where that was asked (`asks`) and is known."""
        rule = self.rule(attempt)
        if rule is None or attempt.kind == "fact":
            action = attempt.action or ("execute" if attempt.kind == "use" else "")
            return Draft(of_attempt(attempt, action, Which(attempt.tenant), []))
        data = self._readable(attempt.data, rule)
        types, by_patient, others = _resources(data, rule)
        if rule.resolve and before and not by_patient:
            references = (value for path in rule.patients for value in values_at(before, path))
            owner = next((found for value in references if (found := _patient(value))), "")
            by_patient, others = ({owner: others}, []) if owner else (by_patient, others)
        public: list[Change] = []
        sealed: list[dict[str, Any]] = []
        if rule.changes:
            now = next(values_at(data, rule.changes), None)
            if isinstance(now, dict):
                public, sealed = changes(before, now, self._random, rule.skip)
        parts = _parts(by_patient, others, sealed)
        if not parts:
            public = []  # nobody's key could keep the salts
        named = clip(_text(data, rule.subject))
        if named:
            parts.append(Part(named, {"subject": named}))
        one = len(types) == 1 and sum(types.values()) <= 1
        version, name = clip(_text(data, rule.version), NAME), clip(_text(data, rule.name), NAME)
        which = Which(attempt.tenant, next(iter(types)) if one else "", {} if one else types, version, name)
        entry = of_attempt(attempt, rule.action if attempt.kind == "use" else attempt.action, which, public)
        if rule.keep:
            entry = msgspec.structs.replace(entry, details={**entry.details, **_kept(data, rule.keep)})
        if not self._discloses(rule, attempt):
            return Draft(entry, parts)
        what = " ".join(filter(None, (rule.action, which.type or ", ".join(types))))
        told = Disclosure("", 0, what, attempt.purpose)
        patients = [position for position, part in enumerate(parts) if "patient" in part.values]
        if not patients:
            # Whom it concerns shows only in the answer, which comes after this entry is written.
            entry = msgspec.structs.replace(
                entry, details={**entry.details, "disclosure": "of patients not named here"}
            )
            return Draft(entry, parts)
        recipient = attempt.on_behalf or attempt.principal
        for position in patients:
            parts[position].values["recipient"] = recipient
        return Draft(entry, parts, patients, told)

    def asks(self, attempt: Attempt) -> tuple[str, dict[str, str]] | None:
        """The service that knows the resource as it is before the attempt, and what to ask it; None when none need be asked.

        It is asked while the attempt is being recorded, and so for the attempt's own tenant.
        """
        rule = self.rule(attempt)
        if rule is None or attempt.kind != "use":
            return None
        service = rule.before or (rule.resolve if self._resolves(rule, attempt) else "")
        if not service:
            return None
        item = next(values_at(self._readable(attempt.data, rule), rule.items), None)
        asked = {"type": _text(item, rule.type), "id": _text(item, rule.id)}
        if not all(asked.values()) or (not rule.before and asked["type"] == "Patient"):
            return None
        return service, asked

    def _resolves(self, rule: Rule, attempt: Attempt) -> bool:
        mode = self._policy.resolve
        return mode == "always" or (mode == "disclosures" and self._discloses(rule, attempt))

    def rule(self, attempt: Attempt) -> Rule | None:
        """The rule for an attempt."""
        capability = attempt.capability
        try:
            return self._rules[capability]
        except KeyError:
            if len(self._rules) >= _KEPT_RULES:
                self._rules.clear()
            found = self._rules[capability] = self._policy.rule(capability) if capability else None
            return found

    def _discloses(self, rule: Rule, attempt: Attempt) -> bool:
        if rule.discloses == "purpose":
            return bool(attempt.principal and attempt.purpose) and attempt.purpose not in self._policy.tpo
        return rule.discloses == "always"

    def _readable(self, data: Any, rule: Rule) -> Any:
        """Data that can be walked. JSON is decoded only where the rule looks."""
        if not isinstance(data, (msgspec.Raw, bytes)):
            return data
        try:
            if rule.match not in self._needs:
                self._needs[rule.match] = _shape_of(rule)
            shape = self._needs[rule.match]
            if shape is not None:
                try:
                    return msgspec.json.decode(data, type=shape)
                except msgspec.ValidationError:
                    pass  # of another shape than the rule thinks: look at all of it
            return msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError):
            return None


def _kept(data: Any, names: list[str]) -> dict[str, Any]:
    """The fields of a message that stand in clear; what would make the entry too large is left out, and that is said."""
    kept: dict[str, Any] = {}
    left = MAX_KEPT
    for name in names:
        found = next(values_at(data, name), None)
        if found is None or found == "" or found == {}:
            continue
        value = plain(found)
        left -= len(msgspec.json.encode(value))
        if left < 0:
            return {**kept, "left_out": names[names.index(name) :]}
        kept[name] = value
    return kept


def _resources(data: Any, rule: Rule) -> tuple[dict[str, int], dict[str, list[str]], list[str]]:
    """The types of a message's resources, the resources of each patient (by reference), and those of no patient."""
    types: dict[str, int] = {}
    by_patient: dict[str, list[str]] = {}
    others: list[str] = []
    if rule.reference:
        for reference in values_at(data, rule.reference):
            if isinstance(reference, str) and reference:
                patient = _patient(reference)
                by_patient.setdefault(patient, []) if patient else others.append(clip(reference, NAME))
    for item in values_at(data, rule.items):
        named = (
            [clip(found, NAME) for found in values_at(item, rule.type) if isinstance(found, str)] if rule.type else []
        )
        id_ = _text(item, rule.id)
        for type_ in named:
            if len(types) < MAX_TYPES or type_ in types:
                types[type_] = types.get(type_, 0) + 1
        name = clip(f"{named[0]}/{id_}", NAME) if named and id_ else ""
        patient = _patient(name)
        if not patient:
            for path in rule.patients:
                patient = next((found for value in values_at(item, path) if (found := _patient(value))), "")
                if patient:
                    break
        if patient:
            resources = by_patient.setdefault(patient, [])
            if name and name != patient:
                resources.append(name)
        elif name:
            others.append(name)
    return types, by_patient, others


def _parts(by_patient: dict[str, list[str]], others: list[str], sealed: list[dict[str, Any]]) -> list[Part]:
    """A part for each patient; what belongs to no patient goes with the first, or has the first resource's own key."""
    parts: list[Part] = []
    for patient, resources in by_patient.items():
        names = resources if parts else [*resources, *others]
        parts.append(Part(resource_subject(patient), {"patient": patient, "resources": names[:MAX_NAMES]}))
        for start in range(MAX_NAMES, len(names), MAX_NAMES):
            more = names[start : start + MAX_NAMES]
            parts.append(Part(resource_subject(patient), {"resources": more}))
    if not by_patient:
        for start in range(0, len(others), MAX_NAMES):
            parts.append(Part(resource_subject(others[0]), {"resources": others[start : start + MAX_NAMES]}))
    if sealed:
        if not parts:
            return []
        parts[0].values["changes"] = sealed
    for part in parts:
        if not part.values.get("resources", True):
            del part.values["resources"]
    return parts


# decoding only what is needed


def _shape_of(rule: Rule) -> type | None:
    """A type that has only the fields the rule's paths name, or None when it needs everything."""
    inner = [path for path in (rule.type, rule.id, *rule.patients) if path and not path.startswith("=")]
    paths = [f"{rule.items}.{path}" if rule.items else path for path in inner]
    paths += [path for path in (rule.version, rule.name, rule.reference, rule.subject, rule.changes) if path]
    paths += rule.keep
    tree: dict[str, Any] = {}
    for path in paths:
        level = tree
        for step in _steps(path):
            level = level.setdefault(step, {})
    # A path that ends where another goes on (`resource`, `resource.id`) needs the whole of it.
    for path in paths:
        level = tree
        for step in _steps(path):
            level = level[step]
        level.clear()
    return _shape(tree) if tree else None


def _shape(tree: dict[str, Any]) -> Any:
    if not tree:
        return Any
    if set(tree) == {"*"}:
        return list[_shape(tree["*"])]  # type: ignore[misc]
    if any(name == "*" or not name.isidentifier() for name in tree):
        return Any
    return msgspec.defstruct("Shape", [(name, _shape(inner) | None, None) for name, inner in tree.items()])
