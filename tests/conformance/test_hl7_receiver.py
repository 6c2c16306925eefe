"""Messages of others at the receiver's door: what is well formed is taken, what is not is refused with a reason.

Whatever is in the folders is tried; the tests know no file's name.
"""

from __future__ import annotations

import pytest
from rustcare_plugin_hl7.header import Policy, parse

from tests.conformance.hl7_compare import SUITES, root, well_formed


@pytest.mark.parametrize("suite", SUITES)
def test_well_formed_messages_are_taken_and_others_refused_with_a_reason(suite: str) -> None:
    """Files with a BOM, with LF or without a line end, of any version 2.x; the judge is not our parser."""
    folder = root() / suite
    if not folder.is_dir():
        pytest.skip(f"{suite} is not in {root()}: set RUSTCARE_CONFORMANCE to the folder that holds it")
    files = sorted(folder.rglob("*.hl7"))
    assert files, f"no .hl7 file in {suite}"
    wrong = []
    for path in files:
        data = path.read_bytes()
        text = data.decode("utf-8-sig", "replace").strip().replace("\r\n", "\r").replace("\n", "\r")
        rejection = parse(data, Policy()).rejection
        if well_formed(text) and rejection is not None:
            wrong.append(f"{path.name}: well formed, but refused: {rejection.reason}")
        elif not well_formed(text) and (rejection is None or not rejection.reason):
            wrong.append(f"{path.name}: malformed, but taken or refused without a reason")
    assert wrong == []
