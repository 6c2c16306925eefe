"""Reads the proofs of the conformance folder `merkle` and asks our verifiers about each.

A folder's name says what its files prove: `inclusion`, `consistency`, `subtreeinclusion`, `subtreeconsistency`. A file
says what is proved, with which hashes (base64), and in `wantErr` whether a verifier must refuse.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rustcare_plugin_audit.errors import ProofInvalid
from rustcare_plugin_audit.tree import (
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)

__all__ = ["KINDS", "Case", "cases", "refusal"]


@dataclass(frozen=True)
class Case:
    """One file: its path below the folder, its kind, what it holds, and whether it must be refused."""

    name: str
    kind: str
    data: dict[str, Any]

    @property
    def invalid(self) -> bool:
        return bool(self.data.get("wantErr"))


def cases(folder: Path) -> Iterator[Case]:
    """Every JSON file below the folder, in order."""
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        yield Case(name, name.partition("/")[0], json.loads(path.read_text(encoding="utf-8")))


def refusal(case: Case) -> str:
    """Why our verifier refuses the case; empty when it accepts it."""
    try:
        KINDS[case.kind](case.data)
    except ProofInvalid as error:
        return error.message
    return ""


def _hash(data: dict[str, Any], name: str) -> bytes:
    return base64.b64decode(data.get(name) or "")


def _proof(data: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(item or "") for item in data.get("proof") or ()]


def _inclusion(data: dict[str, Any]) -> None:
    verify_inclusion(data["leafIdx"], data["treeSize"], _hash(data, "leafHash"), _proof(data), _hash(data, "root"))


def _consistency(data: dict[str, Any]) -> None:
    verify_consistency(data["size1"], data["size2"], _proof(data), _hash(data, "root1"), _hash(data, "root2"))


def _subtree_inclusion(data: dict[str, Any]) -> None:
    verify_subtree_inclusion(
        data["leafIdx"], data["start"], data["end"], _hash(data, "leafHash"), _proof(data), _hash(data, "root")
    )


def _subtree_consistency(data: dict[str, Any]) -> None:
    verify_subtree_consistency(
        data["start"], data["end"], data["size"], _proof(data), _hash(data, "root1"), _hash(data, "root2")
    )


KINDS: dict[str, Callable[[dict[str, Any]], None]] = {
    "inclusion": _inclusion,
    "consistency": _consistency,
    "subtreeinclusion": _subtree_inclusion,
    "subtreeconsistency": _subtree_consistency,
}
