"""Every Wycheproof vector that is there: no invalid one is accepted, no valid one refused without a stated reason."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.conformance import wycheproof_exchange, wycheproof_signatures, wycheproof_symmetric
from tests.conformance.hl7_compare import root
from tests.conformance.wycheproof import Malformed, Outcome, judge, read

CHECKS = {**wycheproof_symmetric.CHECKS, **wycheproof_signatures.CHECKS, **wycheproof_exchange.CHECKS}
FOLDER = root() / "wycheproof"
FILES = sorted(FOLDER.rglob("*.json")) if FOLDER.is_dir() else []


@cache
def outcome_of(path: Path) -> Outcome:
    """What came of one file; looked at once."""
    return judge(read(path), CHECKS)


@pytest.mark.skipif(not FILES, reason=f"no vectors in {FOLDER}")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_verdict_is_met(path: Path) -> None:
    """A file's valid vectors are accepted or refused for a stated bound, its invalid ones refused; a malformed file fails."""
    outcome = outcome_of(path)
    assert not outcome.faults, f"{path.name}: {len(outcome.faults)} verdicts not met, such as {outcome.faults[:5]}"
    assert outcome.counts or outcome.unsupported, f"{path.name}: nothing was looked at"


@pytest.mark.skipif(not FILES, reason=f"no vectors in {FOLDER}")
def test_figures(report: list[str]) -> None:
    """The figures of all files: verdicts, whose code, each reason for a refusal, and by name what nothing supports."""
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    unsupported: Counter[str] = Counter()
    malformed, invalid_accepted, valid_refused = [], 0, 0
    for path in FILES:
        try:
            outcome = outcome_of(path)
        except Malformed as error:
            malformed.append(str(error))
            continue
        counts += outcome.counts
        reasons += outcome.reasons
        unsupported += outcome.unsupported
        invalid_accepted += sum("but accepted" in fault for fault in outcome.faults)
        valid_refused += sum("but refused" in fault for fault in outcome.faults)
    looked_at = sum(counts[verdict] for verdict in ("valid", "invalid", "acceptable"))
    report.append(
        f"wycheproof: {len(FILES)} files, {looked_at} vectors looked at: {counts['valid']} valid, {counts['invalid']} invalid,"
        f" {counts['acceptable']} acceptable (of these {counts['acceptable, accepted']} accepted)"
    )
    report.append(
        f"wycheproof: {invalid_accepted} invalid accepted; valid refused: {valid_refused} without a reason,"
        f" {sum(reasons.values())} for a stated one"
    )
    report.extend(f"wycheproof: valid refused: {number} × {reason}" for reason, number in sorted(reasons.items()))
    report.append(f"wycheproof: accepted by our algorithms {counts['ours']}, by the bare library {counts['library']}")
    names = ", ".join(f"{name} ({number})" for name, number in sorted(unsupported.items())) or "nothing"
    report.append(f"wycheproof: supported by nobody here: {names}")
    report.extend(f"wycheproof: malformed: {line}" for line in malformed)
    assert invalid_accepted == 0
    assert not malformed


def aead_file(tmp_path: Path, **changes: Any) -> Path:
    """A file with one vector (the empty message of AES-256-GCM under the key and nonce zero), changed."""
    test = {
        "tcId": 1,
        "key": "00" * 32,
        "iv": "00" * 12,
        "aad": "",
        "msg": "",
        "ct": "",
        "tag": "530f8afbc74536b9a963b4f1c4cb738b",
        "result": "valid",
    }
    group = {"type": "AeadTest", "tagSize": 128, "tests": [{**test, **changes}]}
    path = tmp_path / "aead.json"
    path.write_text(json.dumps({"algorithm": "AES-GCM", "numberOfTests": 1, "testGroups": [group]}))
    return path


def test_a_correct_vector_is_accepted_by_our_code(tmp_path: Path) -> None:
    """The first case of the specification of GCM for 256 bits (test case 13) goes through our cipher."""
    outcome = judge(read(aead_file(tmp_path)), CHECKS)
    assert (outcome.faults, outcome.counts["ours"]) == ([], 1)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [({"result": "invalid"}, "invalid, but accepted"), ({"tag": "00" * 16}, "valid, but refused")],
)
def test_a_verdict_that_is_not_met_is_a_fault(tmp_path: Path, changes: dict[str, Any], fault: str) -> None:
    """An invalid vector that is accepted and a valid one that is refused are both named."""
    outcome = judge(read(aead_file(tmp_path, **changes)), CHECKS)
    assert [fault in line for line in outcome.faults] == [True]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"testGroups": []}',
        '{"testGroups": [{"type": "AeadTest", "tests": [{"tcId": 1}]}]}',
        '{"testGroups": [{"type": "AeadTest", "tests": [{"tcId": 1, "result": "perhaps"}]}]}',
        '{"numberOfTests": 2, "testGroups": [{"type": "AeadTest", "tests": [{"tcId": 1, "result": "valid"}]}]}',
        '{"algorithm": "AES-GCM", "testGroups": [{"type": "AeadTest", "tests": [{"tcId": 1, "result": "valid"}]}]}',
        '{"algorithm": "AES-GCM", "testGroups": [{"type": "AeadTest", "tests": [{"tcId": 1, "result": "valid", "key": "x"}]}]}',
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, text: str) -> None:
    """What is no file of vectors raises an error with the file's name: it is never passed over."""
    path = tmp_path / "broken_test.json"
    path.write_text(text)
    with pytest.raises(Malformed, match=r"^broken_test\.json"):
        judge(read(path), CHECKS)


def test_what_nobody_supports_is_named(tmp_path: Path) -> None:
    """A type of test or an algorithm that is not known is counted under its name."""
    path = tmp_path / "unknown.json"
    group = {"type": "MorseTest", "tests": [{"tcId": 1, "result": "valid"}]}
    path.write_text(json.dumps({"algorithm": "MORSE", "testGroups": [group]}))
    assert judge(read(path), CHECKS).unsupported == {"MORSE (MorseTest)": 1}
