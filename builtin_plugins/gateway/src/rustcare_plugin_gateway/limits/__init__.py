"""Rate limits: the arithmetic (`gcra`), what is counted (`classes`), shares of it for workers (`lease`)."""

from __future__ import annotations

from .classes import DEFAULTS, Class, Limit, Limits, Verdict
from .gcra import Gcra, Table
from .lease import LeaseReply, LeaseRequest, Lessee, Lessor

__all__ = [
    "DEFAULTS",
    "Class",
    "Gcra",
    "LeaseReply",
    "LeaseRequest",
    "Lessee",
    "Lessor",
    "Limit",
    "Limits",
    "Table",
    "Verdict",
]
