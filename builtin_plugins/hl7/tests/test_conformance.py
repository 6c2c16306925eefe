"""Real messages of others: every one is well formed by our definition. The folder is named by `RUSTCARE_CONFORMANCE`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rustcare_plugin_hl7.header import Policy, parse

FOLDER = Path(os.environ.get("RUSTCARE_CONFORMANCE", Path(__file__).parents[3] / "../shared/conformance"))


@pytest.mark.parametrize("name", ["hl7v2-microsoft", "hl7v2-cdc"])
def test_messages_of_others_are_taken(name: str) -> None:
    """Files with a BOM, with LF or without a line end, of versions 2.3 to 2.8, with and without a processing id."""
    files = sorted((FOLDER / name).rglob("*.hl7"))
    if not files:
        pytest.skip(f"RUSTCARE_CONFORMANCE has no folder {name}")
    refused = {path.name: found.reason for path in files if (found := parse(path.read_bytes(), Policy()).rejection)}
    assert refused == {}
