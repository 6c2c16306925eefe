"""Merkle proofs of others: valid ones are accepted, invalid ones refused, file by file."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.conformance.hl7_compare import root
from tests.conformance.merkle import KINDS, Case, cases, refusal


def found() -> list[Case]:
    """All cases, or none when the folder is absent."""
    folder = root() / "merkle"
    return list(cases(folder)) if folder.is_dir() else []


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_proof_is_judged_as_its_file_says(kind: str, report: list[str]) -> None:
    """Every proof of a kind that is valid is accepted, and every one that is not is refused."""
    mine = [case for case in found() if case.kind == kind]
    if not mine:
        pytest.skip(f"no folder merkle/{kind} in {root()}")
    wrong = [
        f"{case.name}: {'accepted' if case.invalid else refusal(case)}"
        for case in mine
        if bool(refusal(case)) != case.invalid
    ]
    assert not wrong, "\n".join(wrong)
    invalid = sum(case.invalid for case in mine)
    report.append(f"merkle/{kind}: {len(mine) - invalid} valid accepted, {invalid} invalid refused")


def test_every_kind_of_proof_is_known() -> None:
    """There is no file of a kind that nothing here judges."""
    folder = root() / "merkle"
    if not folder.is_dir():
        pytest.skip(f"no folder merkle in {root()}")
    unknown = Counter(case.kind for case in found() if case.kind not in KINDS)
    assert not unknown, f"not judged: {dict(unknown)}"
