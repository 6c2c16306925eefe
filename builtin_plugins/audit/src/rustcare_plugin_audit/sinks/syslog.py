"""Records as syslog messages (RFC 5424), framed by octet counting (RFC 6587 section 3.4.1, RFC 5425 section 4.3).

A message has one line: header, one element of structured data, and the record as MSG. No control character gets into it,
so that a receiver that writes lines writes one line (`event.one_line`); in parameter values `"`, `\\` and `]` are escaped
(section 6.3.3). MSG that is JSON is plain ASCII and has no byte order mark; text is UTF-8 and begins with one (section 6.4).
"""

from __future__ import annotations

import re

from .event import Event, Record, one_line, rfc3339

__all__ = ["FACILITY", "frame", "message", "parameter"]

#: `log audit` (section 6.2.1).
FACILITY = 13
_NOTICE, _WARNING = 5, 4
_BOM = "\ufeff"
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")


def _header(text: str, limit: int) -> str:
    """A header field: printable ASCII without spaces, `-` for nothing."""
    return _NOT_PRINTABLE.sub("_", text)[:limit] or "-"


def parameter(name: str, value: str) -> str:
    """`name="value"` of structured data, with a space before it; nothing for an empty value."""
    if not value:
        return ""
    escaped = one_line(value).replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
    return f' {name}="{escaped}"'


def _structured(event: Event, enterprise: int) -> str:
    entry = event.entry
    who, what, which = entry.who, entry.what, entry.which
    values = {
        "index": str(event.index),
        "leaf": event.leaf.hex(),
        "outcome": event.outcome,
        "code": event.code,
        "effect": event.effect,
        "kind": entry.kind,
        "action": event.action,
        "capability": what.capability if what is not None else "",
        "plugin": who.plugin if who is not None else "",
        "principal": who.principal if who is not None else "",
        "onBehalf": who.on_behalf if who is not None else "",
        "tenant": which.tenant if which is not None else "",
        "purpose": entry.why,
        "trace": entry.trace,
        "log": event.origin,
        "checkpoint": str(event.size),
    }
    return f"[audit@{enterprise}{''.join(parameter(name, value) for name, value in values.items())}]"


def message(record: Record, host: str, app: str = "rustcare-audit", enterprise: int = 32473) -> bytes:
    """The message. `enterprise`: the private enterprise number in the name of the structured data (RFC 5612: 32473)."""
    event = record.event
    severity = _NOTICE if event.outcome == "success" else _WARNING
    text = record.text if record.value else _BOM + record.text
    return (
        f"<{FACILITY * 8 + severity}>1 {rfc3339(event.entry.time)} {_header(host, 255)} {_header(app, 48)} - "
        f"{_header(event.action or event.entry.kind, 32)} {_structured(event, enterprise)} {text}"
    ).encode("utf-8", "replace")


def frame(message: bytes) -> bytes:
    """`LENGTH SP MESSAGE`."""
    return b"%d %s" % (len(message), message)
