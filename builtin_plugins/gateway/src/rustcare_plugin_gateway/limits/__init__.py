"""Rate limits: the arithmetic (`gcra`), what is counted (`classes`), shares of it for workers (`lease`)."""

from __future__ import annotations

from .classes import DEFAULTS, Class, Limit, Limits, Verdict
from .gcra import Gcra, Table
from .lease import LeaseReply, LeaseRequest, Lessor, Tenancy

__all__ = [
    "DEFAULTS",
    "Class",
    "Gcra",
    "LeaseReply",
    "LeaseRequest",
    "Lessor",
    "Limit",
    "Limits",
    "Table",
    "Tenancy",
    "Verdict",
]
