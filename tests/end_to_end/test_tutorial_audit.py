"""The tutorial of the audit log, followed to the letter: from an empty folder to a proof that outlives the patient's key."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.follow import Reader, blocks_of

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorials" / "prove-an-access.md"
SCRIPT = ROOT / "examples" / "verify_audit" / "verify_audit.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page leaves behind. It fails here when a command does, or prints something else."""
    place = tmp_path_factory.mktemp("reader") / "empty"
    with Reader(place) as reader:
        reader.follow(blocks_of(PAGE))
    return place


def test_the_folder_verifies_without_us(folder: Path) -> None:
    """The stand-alone script says of the folder that the page made what the command said, down to the disclosures."""
    arguments = [folder / "evidence", "--key", folder / "from-a-letter.vkey", "--since", folder / "kept-elsewhere"]
    line = [sys.executable, "-I", str(SCRIPT), *map(str, arguments), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert (done.returncode, found["ok"]) == (0, True)
    (accounting,) = (row["detail"] for row in found["checks"] if row["check"] == "disclosures")
    assert "2 disclosures" in accounting


def test_nothing_of_the_patient_is_left_in_the_evidence(folder: Path) -> None:
    """Neither her name nor her reference is in any file that is handed over."""
    for path in (path for path in (folder / "evidence").rglob("*") if path.is_file()):
        data = path.read_bytes()
        assert b"Lovelace" not in data
        assert b"Patient/ada" not in data
