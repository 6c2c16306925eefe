"""The stand-alone verifier on the proofs of others, and against the log's own verifier: two implementations, one verdict."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rustcare_plugin_audit import tree
from rustcare_plugin_audit.errors import ProofInvalid

from examples.verify_audit import verify_audit
from examples.verify_audit.tests.folder import Log
from tests.conformance.hl7_compare import root
from tests.conformance.merkle import KINDS, Case, _hash, _proof, cases


def refusal(case: Case) -> str:
    """Why the stand-alone verifier refuses a case; empty when it accepts it."""
    data: dict[str, Any] = case.data
    proof = _proof(data)
    try:
        if case.kind == "inclusion":
            leaf, top = _hash(data, "leafHash"), _hash(data, "root")
            verify_audit.verify_inclusion(data["leafIdx"], data["treeSize"], leaf, top, proof)
        elif case.kind == "consistency":
            old, new = _hash(data, "root1"), _hash(data, "root2")
            verify_audit.verify_consistency(data["size1"], data["size2"], old, new, proof)
        elif case.kind == "subtreeinclusion":
            leaf, top = _hash(data, "leafHash"), _hash(data, "root")
            verify_audit.verify_subtree_inclusion(data["leafIdx"], data["start"], data["end"], leaf, top, proof)
        else:
            old, new = _hash(data, "root1"), _hash(data, "root2")
            verify_audit.verify_subtree_consistency(data["start"], data["end"], data["size"], old, new, proof)
    except verify_audit.Fault as fault:
        return str(fault)
    return ""


def test_every_proof_is_judged_as_its_file_says(report: list[str]) -> None:
    """The stand-alone verifier accepts every valid proof of every kind, and refuses every other."""
    folder = root() / "merkle"
    if not folder.is_dir():
        pytest.skip(f"no folder merkle in {root()}")
    found = [case for case in cases(folder) if case.kind in KINDS]
    wrong = [case.name for case in found if bool(refusal(case)) != case.invalid]
    assert wrong == []
    invalid = sum(case.invalid for case in found)
    report.append(f"merkle, stand-alone: {len(found) - invalid} valid accepted, {invalid} invalid refused")


LOG = Log()
for _ in range(70):
    LOG.add()


@settings(max_examples=400, deadline=None)
@given(size=st.integers(1, 70), data=st.data(), seed=st.integers(0, 2**32))
def test_both_verifiers_give_one_verdict(size: int, data: st.DataObject, seed: int) -> None:
    """On honest proofs, and on proofs with one thing changed, the two agree; honest ones are accepted."""
    pick = random.Random(seed)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    leaf, top = LOG.tree(index, index + 1), LOG.tree(0, size)
    path, growth = LOG.path(index, 0, size), LOG.consistency(old, 0, size)
    assert _verdicts(index, size, leaf, top, path) == [True, True]
    assert _growth(old, size, LOG.tree(0, old), top, growth) == [True, True]
    for proof in (path, growth):
        how = pick.randrange(4)
        if how == 0 or not proof:
            proof.append(bytes(32))
        elif how == 1:
            proof.pop(pick.randrange(len(proof)))
        elif how == 2:
            at = pick.randrange(len(proof))
            proof[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        else:
            proof.insert(pick.randrange(len(proof)), leaf)
    shift = pick.choice([-1, 0, 0, 1])
    assert _verdicts(index + shift, size, leaf, top, path) in ([True, True], [False, False])
    assert _growth(old + shift, size, LOG.tree(0, old), top, growth) in ([True, True], [False, False])


def _verdicts(index: int, size: int, leaf: bytes, top: bytes, proof: list[bytes]) -> list[bool]:
    return [
        _accepted(verify_audit.verify_inclusion, index, size, leaf, top, proof),
        _accepted(tree.verify_inclusion, index, size, leaf, proof, top),
    ]


def _growth(old: int, size: int, before: bytes, top: bytes, proof: list[bytes]) -> list[bool]:
    return [
        _accepted(verify_audit.verify_consistency, old, size, before, top, proof),
        _accepted(tree.verify_consistency, old, size, proof, before, top),
    ]


def _accepted(verify: Any, *arguments: Any) -> bool:
    try:
        verify(*arguments)
    except (verify_audit.Fault, ProofInvalid):
        return False
    return True
