"""Our HL7 v2 mapping against two others': the rules of the comparison are in `hl7_compare`.

Whatever is in the folders is compared; the tests know no file's name.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conformance.hl7_compare import SUITES, Case, compare, measure, root

TEXT = "\r".join(
    (
        r"MSH|^~\&|LAB|NORTH|EHR|NORTH|20260102030405+0000||ORU^R01^ORU_R01|7|P|2.5.1",
        "PID|1||A1^^^NORTH^MR~B2^^^NORTH^PI||Okoro^Ada Lee^M||19700131|F",
        "OBR|1||F9^NORTH|24317-0^Hemogram^LN|||20260102",
        "OBX|1|NM|718-7^Hemoglobin^LN||13.50|g/dL|||||F",
        "OBX|2|CWE|600-7^Culture^LN||112283007^E. coli^SCT||||||F",
        "OBX|3|SN|20570-8^Ratio^LN||>^4|%|||||F",
    )
)
PATIENT = {
    "resourceType": "Patient",
    "identifier": [{"value": "A1"}, {"value": "B2"}],
    "name": [{"family": "Okoro", "given": ["Ada", "Lee", "M"]}],
    "birthDate": "1970-01-31",
    "gender": "female",
}
OBSERVATIONS = (
    {"resourceType": "Observation", "valueQuantity": {"value": 13.5}},
    {"resourceType": "Observation", "valueCodeableConcept": {"coding": [{"code": "112283007"}]}},
    {"resourceType": "Observation", "valueRatio": {"numerator": {"value": 4, "comparator": ">"}}},
)
CASE = Case("synthetic", TEXT, (PATIENT, *OBSERVATIONS), product=False)


def test_equal_content_agrees_in_every_field() -> None:
    """Two forms of the same content agree: the split of given names, trailing zeros, ratios over nothing."""
    assert set(compare(CASE).items()) == {
        (name, True)
        for name in ("identifier", "family", "given", "birthDate", "gender", "observation.count", "observation.value")
    }


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"name": [{"family": "Ada", "given": ["Ada", "Lee", "M"]}]}, "family"),
        ({"name": [{"family": "Okoro", "given": ["Ada"]}]}, "given"),
        ({"birthDate": "1970-01-30"}, "birthDate"),
        ({"birthDate": None}, "birthDate"),
        ({"gender": "male"}, "gender"),
    ],
)
def test_another_patient_disagrees(change: dict[str, object], wrong: str) -> None:
    """A difference in one Patient field is found, and in no other field."""
    other = {key: value for key, value in {**PATIENT, **change}.items() if value is not None}
    agreed = compare(replace(CASE, expected=(other, *OBSERVATIONS)))
    assert [name for name, value in agreed.items() if not value] == [wrong]


def test_a_lost_identifier_disagrees() -> None:
    """Every value of PID-3 must be among ours: a message that says more than we map does not agree."""
    text = TEXT.replace("|A1^^^NORTH^MR~", '|A1^^^NORTH^MR~""~')
    assert compare(replace(CASE, text=text))["identifier"]
    other = {**PATIENT, "identifier": [{"value": "C3"}]}
    lost = replace(CASE, text="\r".join(line for line in TEXT.split("\r") if line[:3] != "PID"), expected=(other,))
    assert not compare(lost)["family"] or not compare(lost)["birthDate"]


@pytest.mark.parametrize(
    "observations",
    [
        OBSERVATIONS[:2],
        (*OBSERVATIONS, OBSERVATIONS[0]),
        ({"resourceType": "Observation", "valueQuantity": {"value": 13.6}}, *OBSERVATIONS[1:]),
        (*OBSERVATIONS[:2], {"resourceType": "Observation", "valueQuantity": {"value": 4}}),
    ],
    ids=["one less", "one more", "another number", "no comparator"],
)
def test_other_results_disagree(observations: tuple[dict[str, object], ...]) -> None:
    """A missing, an additional and a different value are found."""
    agreed = compare(replace(CASE, expected=(PATIENT, *observations)))
    assert not (agreed["observation.count"] and agreed["observation.value"])


def test_a_source_may_say_more_than_its_product() -> None:
    """Where the message was made from the FHIR side, what it left out is no disagreement; what it added is."""
    product = replace(CASE, product=True, expected=(PATIENT, *OBSERVATIONS, OBSERVATIONS[0]))
    assert all(compare(product).values())
    assert not compare(replace(product, expected=(PATIENT, *OBSERVATIONS[:2])))["observation.value"]


def test_nothing_is_no_agreement() -> None:
    """A message in which neither side says anything is not counted."""
    empty = Case("empty", TEXT.split("\r")[0] + "\rPID|1", ({"resourceType": "Patient"},), product=False)
    assert compare(empty) == {}


@pytest.mark.parametrize("suite", SUITES)
def test_the_mapping_agrees_with_others(suite: str, report: list[str]) -> None:
    """Patient fields agree in 95 % of the ADT and ORU messages, Observations in 90 % of the ORU; none is refused."""
    folder: Path = root() / suite
    if not folder.is_dir():
        pytest.skip(f"{suite} is not in {root()}: set RUSTCARE_CONFORMANCE to the folder that holds it")
    figures = measure(suite, folder, SUITES[suite])
    report.extend(figures.lines())
    assert figures.messages, f"no .hl7 file of type ADT or ORU^R01 in {suite}"
    assert figures.refused == []
    assert figures.patients, "no message has an expectation that says anything about a patient: nothing was compared"
    assert figures.patient_share >= 0.95
    assert figures.result_share >= 0.90
