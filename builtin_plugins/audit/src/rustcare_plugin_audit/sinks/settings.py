"""The sinks of the configuration: `sinks`, a list of objects.

| key | meaning |
|---|---|
| `name` | letters, digits, `-`; the cursor is kept under it |
| `format` | `fhir`, `ocsf`, `text` or `entry` |
| `to` | `syslog`, `file`, `http` (a FHIR server) or `fhir` (the service `fhir.create`) |
| `personal` | `none` (default: pseudonyms only) or `opened` |
| `begin` | of a new sink: `first` (default: the first entry there is) or `now` |
| `skip` | actions that are not told; default `capability.used`, which are counts |
| `tenants` | whose entries are told; default all. A sink to `fhir` stores them in the tenant `default` |
| `batch` | events in one delivery, default 200 |
| `timeout` | seconds for each step of a delivery, default 5, at most 20: a hand-over to another version waits for it |
| `host`, `port` | of `syslog` |
| `tls`, `plain` | of `syslog`: `{ca, certificate, key, name}` (files); `plain` true: TCP without TLS |
| `hostname`, `enterprise` | what a syslog message says of where it comes from |
| `path`, `rotate`, `keep` | of `file`: the bytes after which it is renamed (0: never), how many are kept (0: all) |
| `url`, `ca`, `certificate`, `key`, `token` | of `http`; `token`: a file that holds a bearer token |
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from rustcare_plugin_audit.entry import Entry

from .errors import SinkInvalid

__all__ = ["SinkSettings", "Tls", "read_sinks"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`ca`: what the server's certificate is verified with, empty for the system's. `name`: in it, empty for the host."""

    ca: str = ""
    certificate: str = ""
    key: str = ""
    name: str = ""

    def context(self) -> ssl.SSLContext:
        """The server is always verified; our certificate is shown when there is one. Raises OSError, ssl.SSLError."""
        context = ssl.create_default_context(cafile=self.ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate:
            context.load_cert_chain(self.certificate, self.key or None)
        return context


class SinkSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One sink."""

    name: str
    format: Literal["fhir", "ocsf", "text", "entry"]
    to: Literal["syslog", "file", "http", "fhir"]
    personal: Literal["none", "opened"] = "none"
    begin: Literal["first", "now"] = "first"
    skip: tuple[str, ...] = ("capability.used",)
    tenants: tuple[str, ...] = ()
    batch: int = 200
    timeout: float = 5.0
    host: str = ""
    port: int = 6514
    plain: bool = False
    tls: Tls = Tls()
    hostname: str = ""
    enterprise: int = 32473
    path: str = ""
    rotate: int = 0
    keep: int = 0
    url: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""
    token: str = ""

    def wants(self, entry: Entry) -> bool:
        """Whether this sink tells of an entry."""
        action = entry.what.action if entry.what is not None else ""
        tenant = entry.which.tenant if entry.which is not None else "default"
        return action not in self.skip and (not self.tenants or tenant in self.tenants)


def read_sinks(rows: Iterable[Mapping[str, Any]]) -> list[SinkSettings]:
    """The sinks. Raises SinkInvalid."""
    found: list[SinkSettings] = []
    for position, row in enumerate(rows):
        address = f"config.sinks[{position}]"
        try:
            one = msgspec.convert(dict(row), SinkSettings)
        except msgspec.ValidationError as error:
            raise SinkInvalid(
                str(error), hint="docs/how-to/send-audit-events-elsewhere.md lists the keys", address=address
            ) from None
        _check(one, address)
        if any(other.name == one.name for other in found):
            raise SinkInvalid(f"expected a name of its own for each sink, got {one.name} twice", address=address)
        found.append(one)
    return found


def _check(one: SinkSettings, address: str) -> None:
    def wrong(key: str, expected: str) -> SinkInvalid:
        return SinkInvalid(f"expected {expected}", address=f"{address}.{key}")

    if not _NAME.fullmatch(one.name):
        raise wrong("name", "letters, digits and - in the name of a sink, 63 at most")
    if not 1 <= one.batch <= 1_000:
        raise wrong("batch", f"a batch of 1 to 1000 events, got {one.batch}")
    if not 0.1 <= one.timeout <= 20:
        raise wrong("timeout", f"0.1 to 20 seconds, got {one.timeout}")
    if one.to in ("http", "fhir") and one.format != "fhir":
        raise wrong("format", f"format fhir for a sink to {one.to}, got {one.format}")
    if one.to == "syslog" and not one.host:
        raise wrong("host", "the host of the syslog server, got none")
    if one.to == "syslog" and not 1 <= one.port <= 65535:
        raise wrong("port", f"a port of 1 to 65535, got {one.port}")
    if one.to == "syslog" and not 1 <= one.enterprise < 2**31:
        raise wrong("enterprise", "a private enterprise number")
    if one.to == "file" and not Path(one.path).is_absolute():
        raise wrong("path", "the absolute path of the file")
    if one.to == "file" and (one.rotate < 0 or one.keep < 0):
        raise wrong("rotate", "bytes, and a count of files, of 0 or more")
    if one.to == "http" and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", one.url):
        raise wrong("url", "the http or https address of the FHIR server, without a password in it")
