"""Events as one line of text for people, and as one line of JSON with the entry as it is in the log."""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from .event import Event, Record, json_line, one_line, rfc3339

__all__ = ["entry_records", "text_records"]


def text_records(event: Event) -> list[Record]:
    """`2026-01-01T12:00:00.000000Z #42 success use read fhir.read by plugin for principal …`"""
    entry = event.entry
    who, what, which = entry.who, entry.what, entry.which
    words = [rfc3339(entry.time), f"#{event.index}", event.outcome, entry.kind, event.action]
    if what is not None:
        words += [what.capability or what.subject]
    if who is not None:
        words += ["by", who.plugin or "operator"]
        words += [f"principal={who.principal}"] if who.principal else []
        words += [f"on-behalf={who.on_behalf}"] if who.on_behalf else []
    if which is not None:
        words += [f"tenant={which.tenant}"] + ([f"type={which.type}"] if which.type else [])
        words += [f"name={which.name}"] if which.name else []
    words += [f"purpose={entry.why}"] if entry.why else []
    words += [f"code={event.code}"] if event.code else []
    words += [f"effect={event.effect}"] if event.effect else []
    words += [f"about={one.patient or one.pseudonym}" for one in event.subjects]
    words += [f"trace={entry.trace}"] if entry.trace else []
    return [Record(event, one_line(" ".join(filter(None, words))))]


def entry_records(event: Event) -> list[Record]:
    """The entry itself, its place, its leaf hash, its outcome, and whom it is about as far as that was opened."""
    value: dict[str, Any] = {
        "index": event.index,
        "leaf": event.leaf.hex(),
        "origin": event.origin,
        "entry": msgspec.to_builtins(event.entry),
        "outcome": event.outcome,
        "checkpoint": {"size": event.size, "root": base64.b64encode(event.root).decode()},
    }
    for name, said in (("code", event.code), ("effect", event.effect)):
        if said:
            value[name] = said
    if event.settled >= 0:
        value["outcome_index"] = event.settled
    about = [
        {
            "pseudonym": one.pseudonym,
            "state": one.state,
            **({"patient": one.patient} if one.patient else {}),
            **({"resources": list(one.resources)} if one.resources else {}),
            **({"recipient": one.recipient} if one.recipient else {}),
        }
        for one in event.subjects
    ]
    if about:
        value["about"] = about
    return [Record(event, json_line(value), value)]
