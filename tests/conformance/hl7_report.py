"""Prints how our HL7 v2 mapping compares with others': `python -m tests.conformance.hl7_report [FOLDER]`.

FOLDER holds `hl7v2-microsoft` and `hl7v2-cdc` (default: `$RUSTCARE_CONFORMANCE`). The rules are in `hl7_compare`.
"""

from __future__ import annotations

import sys
from pathlib import Path

from .hl7_compare import SUITES, measure, root


def main() -> int:
    """Print the figures of every suite that is there; 1 when none is."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else root()
    found = 0
    for suite, ending in SUITES.items():
        if (folder / suite).is_dir():
            found += 1
            print("\n".join(measure(suite, folder / suite, ending).lines()))
        else:
            print(f"{suite}: not in {folder}; set RUSTCARE_CONFORMANCE to the folder that holds it")
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
