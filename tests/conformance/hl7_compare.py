"""Compares our FHIR mapping of HL7 v2 messages with another's, field by field.

Two mappings never agree byte by byte, and need not: the guide leaves much open. These are the rules, chosen to be fair
to both sides; none of them looks at which file it is.

**Which messages.** `X.hl7` beside `X.expected.json` or `X.fhir`, ADT and ORU^R01. The expectation's first Patient is
what we compare with. Where it has none, the other mapping passed the person over and there is nothing to compare; those
where we have one are listed as *left out*. A message in which neither side says anything of a kind (a Patient without
any compared field, no Observation) is not counted for that kind: agreeing about nothing would flatter the figures.

**Direction.** In a folder called `FHIR_to_HL7` the `.fhir` is the source and the `.hl7` the product, which leaves out
what its receiver did not want. There we ask that everything the message says is also in the source. The *strict* figure
asks for equality there too.

**Identifiers.** The values of PID-3, read here by plain splitting and not by the parser under test: all of them must be
ours, and those that are the other's `Patient.identifier.value` too.

**Family and given names.** As sets over `Patient.name`, of what comes from PID-5 (mappings differ in whether aliases,
guarantors or maiden names become names). By word, case-folded: one has `["Ann Lee"]`, another `["Ann", "Lee"]`.

**Birth date.** Equal to the precision of the coarser one. **Gender.** Equal; no gender and `unknown` are the same.

**Observations.** Their count, and the multiset of their values. A value is `value[x]` and each `component`'s. Numbers
compare as numbers, with their comparator; a ratio over nothing (or over 1) is its number. A coded value compares by its
codes and texts: one in common is agreement. Times compare as instants, dates to the precision of the coarser one, times
of day by their digits. White space does not count. Attachments are counted as Observations where they are, but not
compared as values: R4 has no place for them there, and every mapping has found another.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from rustcare_plugin_hl7_to_fhir import transform
from rustcare_sdk.errors import RustCareError

__all__ = ["FIELDS", "SUITES", "Case", "Figures", "cases", "compare", "measure", "root"]

#: The folders of cases below the root, and the ending of the expectation beside each message.
SUITES = {"hl7v2-microsoft": ".expected.json", "hl7v2-cdc": ".fhir"}
PATIENT_FIELDS = ("identifier", "family", "given", "birthDate", "gender")
OBSERVATION_FIELDS = ("observation.count", "observation.value")
FIELDS = PATIENT_FIELDS + OBSERVATION_FIELDS

Resource = dict[str, Any]


def root() -> Path:
    """`$RUSTCARE_CONFORMANCE`, or `../shared/conformance` beside the repository."""
    default = Path(__file__).resolve().parents[2] / ".." / "shared" / "conformance"
    return Path(os.environ.get("RUSTCARE_CONFORMANCE") or default).resolve()


@dataclass(frozen=True)
class Case:
    """A message and what another mapping made of it. `product`: the message was made from the FHIR side."""

    name: str
    text: str
    expected: tuple[Resource, ...] | None
    product: bool

    @property
    def kind(self) -> str:
        """`ADT`, `ORU` or another message type."""
        parts = self._header(9).split(self.text[4:5] or "^")
        event = parts[1] if len(parts) > 1 else ""
        structure = parts[2] if len(parts) > 2 else ""
        return parts[0] if parts[0] != "ORU" or "R01" in (event, structure[-3:]) else f"ORU^{event}"

    def _header(self, number: int) -> str:
        fields = self.text.split("\r", 1)[0].split(self.text[3:4] or "|")
        return fields[number - 1] if number <= len(fields) else ""

    def field(self, segment: str, number: int) -> str:
        """A field of the first such segment, by plain splitting."""
        for line in self.text.split("\r"):
            if line.startswith(segment + self.text[3]):
                fields = line.split(self.text[3])
                return fields[number] if number < len(fields) else ""
        return ""


def cases(folder: Path, ending: str) -> Iterator[Case]:
    """Every `.hl7` below the folder, with its expectation when there is one. Sorted, so that reports are stable."""
    for path in sorted(folder.rglob("*.hl7")):
        text = path.read_bytes().decode("utf-8-sig", "replace").strip().replace("\r\n", "\r").replace("\n", "\r")
        other = path.with_name(path.name.removesuffix(".hl7") + ending)
        expected: tuple[Resource, ...] | None = None
        if other.exists():
            bundle = json.loads(other.read_bytes().decode("utf-8-sig"))
            expected = tuple(entry["resource"] for entry in bundle.get("entry", ()) if entry.get("resource"))
        name = str(path.relative_to(folder))
        yield Case(name, text, expected, product="FHIR_to_HL7" in path.parts)


def well_formed(text: str) -> bool:
    """Whether a text is an HL7 v2 message at all, judged without our parser: MSH first, with separators, a type (MSH-9), a
    control id (MSH-10) and a version 2.x (MSH-12). A folder may hold others, which are to be refused."""
    if not text.startswith("MSH") or len(text) < 9 or text[3].isalnum() or text[3].isspace():
        return False
    fields = text.split("\r", 1)[0].split(text[3])
    fields += [""] * (12 - len(fields))
    kind, control, version = (fields[number - 1].split(text[4])[0].strip() for number in (9, 10, 12))
    return bool(kind and control) and version.startswith("2.")


# what is compared


def _of(kind: str, resources: tuple[Resource, ...]) -> list[Resource]:
    return [resource for resource in resources if resource.get("resourceType") == kind]


def _words(values: list[Any]) -> set[str]:
    return {word for value in values if isinstance(value, str) for word in value.casefold().split()}


def _spoken(case: Case, text: str) -> set[str]:
    """Every word in a field, whatever its component."""
    marks = case.text[4:8] or "^~\\&"
    for mark in marks:
        if mark != "\\":
            text = text.replace(mark, " ")
    return set(text.casefold().split())


def _identifiers(case: Case, ours: Resource, theirs: Resource) -> bool:
    repetition, component = case.text[5:6] or "~", case.text[4:5] or "^"
    sent = {item.split(component)[0].strip() for item in case.field("PID", 3).split(repetition)} - {"", '""'}
    found = {item.get("value") for item in ours.get("identifier", ())}
    wanted = {item.get("value") for item in theirs.get("identifier", ())}
    return sent <= found and (sent & wanted) <= found


def _name(case: Case, ours: Resource, theirs: Resource, part: str) -> bool:
    said = _spoken(case, case.field("PID", 5))

    def words(patient: Resource) -> set[str]:
        values: list[Any] = []
        for name in patient.get("name", ()):
            value = name.get(part)
            values.extend(value if isinstance(value, list) else [value])
        return _words(values) & said

    mine, other = words(ours), words(theirs)
    return mine <= other if case.product else mine == other


def _birth_date(ours: Resource, theirs: Resource) -> bool:
    mine, other = ours.get("birthDate", ""), theirs.get("birthDate", "")
    size = min(len(mine), len(other))
    return bool(mine) == bool(other) and mine[:size] == other[:size]


def _gender(ours: Resource, theirs: Resource) -> bool:
    return (ours.get("gender") or "unknown") == (theirs.get("gender") or "unknown")


# values


def _number(value: Any) -> str | None:
    try:
        return str(Decimal(str(value)).normalize() + 0)
    except InvalidOperation:
        return None


def _quantity(quantity: Resource) -> str:
    return f"{quantity.get('comparator', '')}{_number(quantity.get('value'))}"


def _instant(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return moment.astimezone(UTC).isoformat() if moment.tzinfo else text


def _value(element: str, value: Any) -> frozenset[str] | None:
    """What a value says, as the set of its equivalent spellings; None for an attachment."""
    if element == "valueAttachment":
        return None
    if element == "valueQuantity":
        return frozenset({_quantity(value)})
    if element == "valueRatio":
        top, bottom = value.get("numerator", {}), value.get("denominator", {})
        if bottom.get("value") in (None, 1):
            return frozenset({_quantity(top)})
        return frozenset({f"{_quantity(top)}/{_quantity(bottom)}"})
    if element == "valueRange":
        return frozenset({f"{_quantity(value.get('low', {}))}..{_quantity(value.get('high', {}))}"})
    if element == "valueCodeableConcept":
        codes = {coding["code"] for coding in value.get("coding", ()) if coding.get("code")}
        texts = {coding["display"] for coding in value.get("coding", ()) if coding.get("display")}
        texts |= {value["text"]} if value.get("text") else set()
        return frozenset(" ".join(str(item).split()) for item in codes | texts)
    if element == "valueTime":
        return frozenset({value.replace(":", "").partition(".")[0]})
    if element in ("valueDateTime", "valueInstant"):
        return frozenset({_instant(value)})
    if element == "valuePeriod":
        return frozenset({f"{_instant(value.get('start', ''))}..{_instant(value.get('end', ''))}"})
    text = " ".join(str(value).split())
    number = _number(text)
    return frozenset({text} if number is None else {text, number})


def _said(observation: Resource) -> list[frozenset[str]]:
    found: list[frozenset[str]] = []
    for node in (observation, *observation.get("component", ())):
        for element, value in node.items():
            if element.startswith("value") and value not in (None, {}, ""):
                said = _value(element, value)
                if said:
                    found.append(said)
    return found


def _same(mine: frozenset[str], other: frozenset[str]) -> bool:
    if mine & other:
        return True
    return any(  # the coarser of two dates
        len(a) >= 4 and len(b) >= 4 and (a.startswith(b) or b.startswith(a)) and a[:4].isdigit() and "-" in a + b
        for a in mine
        for b in other
    )


def _values(case: Case, ours: list[Resource], theirs: list[Resource]) -> bool:
    mine = [said for observation in ours for said in _said(observation)]
    other = [said for observation in theirs for said in _said(observation)]
    left = list(other)
    for said in mine:
        match = next((item for item in left if _same(said, item)), None)
        if match is None:
            return False
        left.remove(match)
    return case.product or not left


def _count(case: Case, ours: list[Resource], theirs: list[Resource]) -> bool:
    return len(ours) <= len(theirs) if case.product else len(ours) == len(theirs)


# the comparison


def _judge(case: Case, resources: tuple[Resource, ...]) -> dict[str, bool]:
    """Field → agreed, for what there is to compare."""
    assert case.expected is not None
    out: dict[str, bool] = {}
    theirs = _of("Patient", case.expected)
    ours = _of("Patient", resources)
    mine = ours[0] if ours else {}
    said = {"identifier", "name", "birthDate", "gender"}
    if theirs and said & (theirs[0].keys() | mine.keys()):
        out["identifier"] = _identifiers(case, mine, theirs[0])
        out["family"] = _name(case, mine, theirs[0], "family")
        out["given"] = _name(case, mine, theirs[0], "given")
        out["birthDate"] = _birth_date(mine, theirs[0])
        out["gender"] = _gender(mine, theirs[0])
    observed, expected = _of("Observation", resources), _of("Observation", case.expected)
    if case.kind == "ORU" and (observed or expected):
        out["observation.count"] = _count(case, observed, expected)
        out["observation.value"] = _values(case, observed, expected)
    return out


def compare(case: Case) -> dict[str, bool]:
    """Field → agreed, for what there is to compare. A message that we refuse is compared as if we had made nothing."""
    try:
        resources = tuple(transform(case.text)["resources"])
    except RustCareError:
        resources = ()
    return _judge(case, resources)


@dataclass
class Figures:
    """What a suite came to. A message agrees when all of its compared fields do."""

    suite: str
    messages: int = 0
    other_types: int = 0
    malformed: int = 0
    without_expectation: int = 0
    patients: list[bool] = field(default_factory=list)
    results: list[bool] = field(default_factory=list)
    strict: list[bool] = field(default_factory=list)
    fields: dict[str, list[bool]] = field(default_factory=dict)
    disagreeing: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    @staticmethod
    def share(values: list[bool]) -> float:
        """The share that agreed; 1.0 of nothing."""
        return sum(values) / len(values) if values else 1.0

    @property
    def patient_share(self) -> float:
        """Of the ADT and ORU messages with a Patient: in how many all five Patient fields agree."""
        return self.share(self.patients)

    @property
    def result_share(self) -> float:
        """Of the ORU messages with Observations: in how many their count and their values agree."""
        return self.share(self.results)

    def lines(self) -> list[str]:
        """The summary, without any value of any message."""
        out = [
            f"{self.suite}: {self.messages} ADT and ORU^R01 messages, {len(self.refused)} of them refused, "
            f"{self.without_expectation} without an expectation; {self.other_types} of other types, {self.malformed} malformed",
            f"  Patient fields all agree in     {self.patient_share:7.1%} of {len(self.patients)}",
            f"  Observations agree in           {self.result_share:7.1%} of {len(self.results)}"
            f" (strict: {self.share(self.strict):.1%})",
        ]
        for name in FIELDS:
            values = self.fields.get(name, [])
            if values:
                out.append(f"    {name:<28}  {self.share(values):7.1%} of {len(values)}")
        out += [f"  disagrees: {name}: {', '.join(fields)}" for name, fields in self.disagreeing]
        out += [f"  left out (no Patient on the other side): {name}" for name in self.left_out]
        out += [f"  refused: {name}: {code}" for name, code in self.refused]
        return out


def measure(suite: str, folder: Path, ending: str) -> Figures:
    """Compare every case of a folder. Messages without an expectation are transformed too: none may be refused, unless it
    is no HL7 v2 message; then a typed error is the right answer, and nothing else."""
    figures = Figures(suite)
    for case in cases(folder, ending):
        if not well_formed(case.text):
            figures.malformed += 1
            with suppress(RustCareError):
                transform(case.text)
            continue
        if case.kind not in ("ADT", "ORU"):
            figures.other_types += 1
            continue
        figures.messages += 1
        resources: tuple[Resource, ...] = ()
        try:
            resources = tuple(transform(case.text)["resources"])
        except RustCareError as error:
            figures.refused.append((case.name, error.code))
        if case.expected is None:
            figures.without_expectation += 1
            continue
        if _of("Patient", resources) and not _of("Patient", case.expected):
            figures.left_out.append(case.name)
        agreed = _judge(case, resources)
        for name, value in agreed.items():
            figures.fields.setdefault(name, []).append(value)
        patient = [agreed[name] for name in PATIENT_FIELDS if name in agreed]
        if patient:
            figures.patients.append(all(patient))
        results = [agreed[name] for name in OBSERVATION_FIELDS if name in agreed]
        if results:
            figures.results.append(all(results))
            strict = _judge(replace(case, product=False), resources)
            figures.strict.append(all(strict[name] for name in OBSERVATION_FIELDS))
        wrong = tuple(name for name, value in agreed.items() if not value)
        if wrong:
            figures.disagreeing.append((case.name, wrong))
    return figures
