"""Golden messages: synthetic HL7 v2 beside the FHIR resources that come of it, whole.

After a change of the tables that is meant, `python builtin_plugins/hl7_to_fhir/tests/test_golden.py` writes them anew; the
difference is then reviewed like code.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rustcare_plugin_hl7_to_fhir import transform

GOLDEN = Path(__file__).with_name("golden")
NAMES = sorted(path.stem for path in GOLDEN.glob("*.hl7"))


def made(name: str) -> str:
    """What the transformer makes of a golden message, as the text that lies beside it."""
    text = (GOLDEN / f"{name}.hl7").read_bytes().decode()
    return json.dumps(transform(text), indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str) -> None:
    """The whole result, ids included, is what was reviewed: ids are stored references, so they may never drift."""
    assert made(name) == (GOLDEN / f"{name}.json").read_text(encoding="utf-8")


if __name__ == "__main__":
    for each in NAMES:
        (GOLDEN / f"{each}.json").write_text(made(each), encoding="utf-8")
