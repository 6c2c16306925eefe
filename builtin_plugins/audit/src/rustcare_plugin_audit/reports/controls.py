"""The regulations as data: controls, and for each what is evidence.

A file of `controls/` is a regulation. Evidence is one of: entries that match (`match`), a figure of the log's own
(`figure`), things that must each be preceded by steps (`chain`), and pairs with a time between them (`clock`). `against`:
entries that contradict the control. `needed = false`: it informs, but is no evidence that the control works.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import cache
from typing import Literal

import msgspec

from rustcare_plugin_audit.errors import InvalidRequest

from .matching import Match
from .shipped import shipped

__all__ = ["FIGURES", "Chain", "Clock", "Control", "Evidence", "Regulation", "Step", "kinds", "regulation"]

_KINDS = ("gdpr", "hipaa-security", "part11", "sox-itgc")

Figure = Literal["checkpoints", "consistency", "cosigned", "coverage", "gapless", "inclusion", "settled"]
FIGURES: tuple[Figure, ...] = (
    "checkpoints",
    "consistency",
    "cosigned",
    "coverage",
    "gapless",
    "inclusion",
    "settled",
)


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step that comes before."""

    name: str
    match: tuple[Match, ...]


class Chain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Each entry that matches `each` must have every step before it, with the same value at the path `by`.

    `apart`: the steps and the entry itself are by different principals.
    """

    each: tuple[Match, ...]
    steps: tuple[Step, ...]
    by: str
    apart: bool = False


class Clock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From a `start` to an `end` with the same value at the path `by`: at most so many hours."""

    start: tuple[Match, ...]
    end: tuple[Match, ...]
    by: str
    hours: int


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of evidence, as the module says."""

    says: str
    match: tuple[Match, ...] = ()
    against: tuple[Match, ...] = ()
    figure: Figure | None = None
    chain: Chain | None = None
    clock: Clock | None = None
    needed: bool = True

    def __post_init__(self) -> None:
        given = [bool(self.match or self.against), self.figure is not None, bool(self.chain), bool(self.clock)]
        if sum(given) != 1:
            raise ValueError("expected one of match (or against), figure, chain, clock")


class Control(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A control: what it asks for, in our words, and what the log can never show of it (`beyond`)."""

    id: str
    title: str
    asks: str
    evidence: tuple[Evidence, ...]
    beyond: str = ""


class Regulation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A regulation, or the part of it that a report is on."""

    kind: str
    title: str
    source: str
    control: tuple[Control, ...]
    limits: tuple[str, ...] = ()


@cache
def _all() -> dict[str, Regulation]:
    found = [read(shipped(__package__ or "", f"controls/{kind}.toml")) for kind in _KINDS]
    return {regulation.kind: regulation for regulation in found}


def read(text: str) -> Regulation:
    """A regulation's file. Raises msgspec.ValidationError, ValueError."""
    return msgspec.convert(tomllib.loads(text), Regulation)


def kinds() -> Iterable[str]:
    """The kinds of report on regulations."""
    return _all().keys()


def regulation(kind: str) -> Regulation:
    """The regulation of a kind of report. Raises InvalidRequest."""
    try:
        return _all()[kind]
    except KeyError:
        raise InvalidRequest(
            f"expected one of {', '.join([*kinds(), 'hipaa-disclosures'])}, got {kind[:80]!r}",
            address="audit.report:kind",
        ) from None
