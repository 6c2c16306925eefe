"""The examples are not installed: their tests import them from their folders, as `rustcare plugin test` does."""

from __future__ import annotations

import sys
from pathlib import Path

for _source in sorted(Path(__file__).parent.glob("**/src")):
    sys.path.append(str(_source))
