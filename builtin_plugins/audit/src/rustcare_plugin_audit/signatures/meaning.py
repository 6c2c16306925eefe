"""What a signature means, and how it is shown with its record (21 CFR 11.50)."""

from __future__ import annotations

from datetime import datetime

from rustcare_plugin_audit.errors import InvalidRequest

__all__ = ["MEANINGS", "check_meaning", "manifestation"]

#: 21 CFR 11.50(a)(3): what the rule names, with the words of the manifestation.
MEANINGS = {
    "review": "reviewed",
    "approval": "approved",
    "responsibility": "takes responsibility for",
    "authorship": "is the author of",
}


def check_meaning(meaning: str) -> str:
    """A meaning that there is. Raises InvalidRequest."""
    if meaning not in MEANINGS:
        raise InvalidRequest(
            f"expected one of {', '.join(MEANINGS)}, got {meaning[:40]!r}",
            hint="21 CFR 11.50(a)(3)",
            address="audit.sign:meaning",
        )
    return meaning


def manifestation(name: str, signer: str, time: datetime, meaning: str, record: str, reason: str = "") -> str:
    """The text to show and print with the record: who, when, what it means (11.50(b))."""
    who = f"{name} ({signer})" if name else f"{signer} (the printed name cannot be read any more)"
    what = f"{who} {MEANINGS[meaning]} {record}"
    text = f"{what}. Signed electronically on {time:%Y-%m-%d} at {time:%H:%M:%S} UTC; meaning: {meaning}."
    return f"{text} Reason: {reason}." if reason else text
