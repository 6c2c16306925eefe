"""`sdk/wit/plugin.wit` as the host sees it: which interfaces there are, which capability links each, and their types.

A test compares this table with the WIT file, function by function.
"""

from __future__ import annotations

from dataclasses import dataclass

from . import _wasm_values as wit

__all__ = ["FAILURE", "GUEST", "IMPORTS", "PACKAGE", "VERSION", "Interface", "Signature"]

PACKAGE = "rustcare:plugin"
VERSION = "0.1.0"

FAILURE = wit.Record(code=wit.STRING, message=wit.STRING, hint=wit.STRING, address=wit.STRING)
_DELIVERY = wit.Record(receivers=wit.U32, handled=wit.U32, failures=wit.ListOf(wit.STRING))
_HEADERS = wit.ListOf(wit.TupleOf(wit.STRING, wit.STRING), limit=256)
_IDENTITY = wit.Record(id=wit.STRING, version=wit.STRING, digest=wit.STRING)
HEALTH = wit.Record(ok=wit.BOOL, reason=wit.STRING, details=wit.STRING)
MESSAGE = wit.Record(
    subject=wit.STRING,
    data=wit.STRING,
    source=wit.STRING,
    id=wit.STRING,
    time=wit.F64,
    tenant=wit.STRING,
    principal=wit.STRING,
    trace=wit.STRING,
    remaining=wit.OptionOf(wit.F64),
    headers=_HEADERS,
)


def _or_failure(ok: wit.Type) -> wit.Type:
    return wit.ResultOf(ok, FAILURE)


@dataclass(frozen=True)
class Signature:
    """The parameters, by name, and the result of one function."""

    parameters: dict[str, wit.Type]
    result: wit.Type | None


@dataclass(frozen=True)
class Interface:
    """One interface a guest may import. `kind` is the kind of capability that links it; empty: always linked."""

    name: str
    kind: str
    example: str
    functions: dict[str, Signature]

    @property
    def import_name(self) -> str:
        """As it stands in a component's imports."""
        return f"{PACKAGE}/{self.name}@{VERSION}"


_EVENT = {"subject": wit.STRING, "data": wit.STRING, "headers": _HEADERS}
_KEY = {"key": wit.STRING}

IMPORTS: dict[str, Interface] = {
    each.name: each
    for each in (
        Interface(
            "bus",
            "bus",
            "bus:publish@SUBJECT",
            {
                "publish": Signature(_EVENT, _or_failure(wit.UNIT)),
                "publish-confirmed": Signature(_EVENT, _or_failure(_DELIVERY)),
                "request": Signature(
                    {"service": wit.STRING, "data": wit.STRING, "timeout": wit.OptionOf(wit.F64)},
                    _or_failure(wit.STRING),
                ),
                "forward": Signature({"service": wit.STRING, "data": wit.STRING}, _or_failure(wit.UNIT)),
            },
        ),
        Interface(
            "kv",
            "kv",
            "kv:read@*",
            {
                "get": Signature(_KEY, _or_failure(wit.OptionOf(wit.BYTES))),
                "put": Signature({**_KEY, "value": wit.BYTES}, _or_failure(wit.UNIT)),
                "delete": Signature(_KEY, _or_failure(wit.UNIT)),
                "keys": Signature({"prefix": wit.STRING}, _or_failure(wit.ListOf(wit.STRING))),
            },
        ),
        Interface("clock", "clock", "clock:read", {"now": Signature({}, _or_failure(wit.U64))}),
        Interface("random", "random", "random:read", {"bytes": Signature({"size": wit.U32}, _or_failure(wit.BYTES))}),
        Interface(
            "secrets",
            "secret",
            "secret:use@NAME",
            {"hmac-sha256": Signature({"name": wit.STRING, "data": wit.BYTES}, _or_failure(wit.BYTES))},
        ),
        Interface(
            "log",
            "",
            "",
            {"log": Signature({"level": wit.Enum(), "event": wit.STRING, "fields": wit.STRING}, None)},
        ),
        Interface("config", "", "", {"get": Signature({}, wit.STRING), "plugin": Signature({}, _IDENTITY)}),
    )
}

GUEST: dict[str, Signature] = {
    "describe": Signature({}, wit.STRING),
    "start": Signature({}, _or_failure(wit.UNIT)),
    "stop": Signature({}, _or_failure(wit.UNIT)),
    "health": Signature({}, _or_failure(HEALTH)),
    "handle": Signature({"handler": wit.U32, "message": MESSAGE}, _or_failure(wit.STRING)),
    "export-state": Signature({}, _or_failure(wit.STRING)),
    "import-state": Signature({"version": wit.U32, "state": wit.STRING}, _or_failure(wit.UNIT)),
}
