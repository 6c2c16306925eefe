"""The checks before a build: what leaves the portable subset, and uses against what the manifest asks for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rustcare_sdk.manifest import read_manifest, read_manifest_text
from rustcare_sdk.portable import PORTABLE_SDK, Finding, check_capabilities, check_portable

SAMPLE = Path(__file__).parent / "sample"
SOURCES = Path(__file__).parents[1] / "src"

GOOD = b"""
from __future__ import annotations

import hashlib
import json
import pkgutil
import urllib.parse
import xml.etree.ElementTree as etree
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from rustcare_sdk import Message, Plugin, codec, serve, subscribe
from rustcare_sdk.contracts import fhir
from rustcare_sdk.contracts.hl7 import Hl7Message

from . import tables
from .tables import CODES
import acme_x.tables

if TYPE_CHECKING:
    import asyncio

try:
    import msgspec
except ImportError:
    msgspec = None

class X(Plugin):
    @subscribe("hl7.adt.*")
    async def on(self, message: Message[Hl7Message]) -> None:
        await self.ctx.kv.put("last", message.data.text.encode())
        self.ctx.log.info("seen", at=self.ctx.now().isoformat())
        return datetime.fromisoformat("2026-01-01")
"""


def codes(found: list[Finding]) -> list[tuple[int, str]]:
    return [(item.line, item.code) for item in found]


def test_a_portable_source_passes() -> None:
    """The standard library's portable part, the SDK's, the package's own modules, and fallbacks are fine."""
    assert check_portable({"acme_x/plugin.py": GOOD, "acme_x/tables.json": b"{"}) == []
    assert check_portable({"plugin.py": GOOD}, "acme_x") == []


@pytest.mark.parametrize(
    ("line", "code", "shown"),
    [
        ("import asyncio", "portable.import", "asyncio does not exist"),
        ("import socket, json", "portable.import", "socket does not exist"),
        ("from threading import Lock", "portable.import", "threading does not exist"),
        ("import time", "portable.import", "use ctx.now()"),
        ("from time import monotonic", "portable.import", "time.monotonic does not exist"),
        ("from random import Random, choice", "portable.import", "random.choice does not exist"),
        ("import uuid", "portable.import", "import uuid5 or UUID by name"),
        ("from urllib import request", "portable.import", "urllib does not exist"),
        ("import urllib.request", "portable.import", "urllib.request does not exist"),
        ("import msgspec", "portable.import", "plain dataclasses"),
        ("import numpy as np", "portable.import", "ship the source in the package"),
        ("from rustcare_sdk.manifest import Manifest", "portable.import", "runs on the host only"),
        ("from rustcare_sdk import testing", "portable.import", "rustcare_sdk.testing runs on the host only"),
        ("import rustcare_sdk.schema", "portable.import", "rustcare_sdk.schema runs on the host only"),
        ("self.ctx.db.fetch('SELECT 1')", "portable.trusted-only", "ctx.db does not exist"),
        ("ctx.spawn(work())", "portable.trusted-only", "ctx.spawn does not exist"),
        ("await self._ctx.listen('', 1, x)", "portable.trusted-only", "ctx.listen does not exist"),
        ("open('x')", "portable.builtin", "pkgutil.get_data"),
        ("print('x')", "portable.builtin", "use ctx.log"),
        ("datetime.now()", "portable.clock", "use ctx.now()"),
        ("datetime.date.today()", "portable.clock", "use ctx.now()"),
        ("x = = 1", "portable.syntax", "it is not Python"),
    ],
)
def test_what_is_not_portable(line: str, code: str, shown: str) -> None:
    """Each slip is found where it stands, with what to do instead."""
    (found,) = check_portable({"acme_x/plugin.py": f"'''doc'''\n{line}\n".encode()})
    assert (found.path, found.line, found.code, found.level) == ("acme_x/plugin.py", 2, code, "error")
    assert shown in str(found)


def test_bytes_that_are_no_source() -> None:
    """A file that cannot be parsed is a finding, not a crash."""
    assert codes(check_portable({"a.py": b"\0"})) == [(0, "portable.syntax")]


MANIFEST = """
schema = 1
[plugin]
id = "acme.x"
version = "1.0.0"
summary = "x"
engine = "^0.1"
[runtime]
python = { entry = "acme_x.plugin:X" }
"""


def asks(*uses: str, tail: str = "") -> str:
    return MANIFEST + "".join(f'[[capability]]\nuse = "{use}"\nreason = "r"\n' for use in uses) + tail


def check(source: str, manifest: str) -> list[str]:
    found = check_capabilities({"acme_x/plugin.py": source.encode()}, read_manifest_text(manifest))
    return [f"{item.level} {item.code} {item.line} {item.message}" for item in found]


@pytest.mark.parametrize(
    ("source", "use", "wrong"),
    [
        ("await self.ctx.publish('ward.changed')", "bus:publish@ward.*", "bus:publish@bed.*"),
        ("SUBJECT = 'ward.changed'\nctx.publish(SUBJECT, 1)", "bus:publish@ward.changed", "bus:publish@bed.changed"),
        ("ctx.publish(subject=name)", "bus:publish@anything", "bus:request@anything"),
        ("ctx.forward('fhir.store', x)", "bus:request@fhir.store", "bus:request@fhir.read"),
        ("ctx.request('fhir.store', x)", "bus:request@fhir.store;rate=1/s", "bus:request@fhir.read"),
        ("from rustcare_sdk.contracts import fhir\nctx.request(fhir.STORE)", "bus:request@fhir.store", "bus:serve@x"),
        ("from rustcare_sdk.contracts.fhir import READ as R\nctx.request(R)", "bus:request@fhir.read", "clock:read"),
        ("@subscribe('hl7.adt.*')\nasync def f(): ...", "bus:subscribe@hl7.>", "bus:subscribe@hl7.adt.a01"),
        ("@serve('a.b')\nasync def f(): ...", "bus:serve@a.*", "bus:serve@b.*"),
        ("ctx.kv.get('cursor')", "kv:read@cur*", "kv:write@cur*"),
        ("ctx.kv.put(key, b'')", "kv:write@cur*", "kv:read@cur*"),
        ("ctx.kv.keys('bed.')", "kv:read@bed.*", "kv:read@bed.1"),
        ("ctx.kv.keys()", "kv:read@*", "kv:read@bed.*"),
        ("ctx.db.fetch('SELECT 1')", "db:read@*", "db:write@*"),
        ("async with self.ctx.db.transaction() as tx: ...", "db:write@*", "db:read@*"),
        ("Store(self.ctx.db)", "db:read@*", "kv:read@*"),
        ("ctx.secrets.hmac_sha256('salt', b'')", "secret:use@salt", "secret:use@pepper"),
        ("await self.ctx.secrets.reveal('pin')", "secret:reveal@pin", "secret:use@pin"),
        ("await self.ctx.secrets.create('pin')", "secret:create@pin", "secret:reveal@pin"),
        ("Root(self.ctx.secrets)", "secret:reveal@pin", "kv:read@pin"),
        ("await self.ctx.db.scrub()", "db:write@*", "db:read@*"),
        ("clock = self.ctx.now", "clock:read", "random:read"),
        ("ctx.random(8)", "random:read", "clock:read"),
        ("ctx.listen('127.0.0.1', 80, f)", "net:listen@127.0.0.1:80", "net:listen@127.0.0.1:81"),
        ("ctx.listen(host, port, f)", "net:listen@*:*", "clock:read"),
    ],
)
def test_uses_are_held_against_the_manifest(source: str, use: str, wrong: str) -> None:
    """A use that is asked for is fine; one that is not is an error in the source, and what is asked for in vain a warning."""
    source = source.replace("await ", "").replace("async with ", "with ")
    assert check(source, asks(use)) == []
    found = check(source, asks(wrong))
    assert found[0].startswith(
        f"error capability.missing {source.count(chr(10)) + (0 if '@' in source[:1] else 1)} it uses"
    )
    assert found[1:] == [f"warning capability.unused 0 capability[0].use: {wrong} is asked for, no use was found"]


def test_what_cannot_be_seen_is_not_called_unused() -> None:
    """Connections, files and HTTP leave no trace in a syntax tree."""
    assert check("x = 1", asks("net:connect@x.org:443", "fs:read@/data/*", "plugin:observe@*")) == []
    assert check_capabilities({}, read_manifest_text(asks("clock:read"))) == []


def test_what_is_provided_must_be_served() -> None:
    """A service in `provides` needs the right to serve it; one in `requires` usually the right to request it."""
    tail = '[provides]\n"a.b" = "1.0.0"\n[requires]\n"c.d" = "^1"\n'
    assert check("x = 1", asks(tail=tail)) == [
        'error capability.missing 0 provides."a.b" needs bus:serve@a.b, which is not asked for',
        'warning capability.missing 0 requires."c.d" needs bus:request@c.d, which is not asked for',
    ]


def test_the_sample_is_honest() -> None:
    """The harness's sample asks for what it uses, and nothing else; its forbidden publish is found."""
    files = {path.name: path.read_bytes() for path in SAMPLE.glob("*.py")}
    found = check_capabilities(files, read_manifest((SAMPLE / "plugin.toml").read_bytes()))
    assert [item.message for item in found] == [
        "it uses bus:publish@secret.subject, which plugin.toml does not ask for"
    ]


# the portable part of the SDK itself

_BLOCKED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("msgspec", "pluggy", "asyncio", "socket", "threading", "subprocess", "ssl"):
            raise ImportError(f"{name} does not exist in the sandbox")

sys.meta_path.insert(0, Absent())
"""

_USE = """
import importlib, pkgutil
import rustcare_sdk, rustcare_sdk.contracts
for name in NAMES:
    importlib.import_module("rustcare_sdk." + name)
for module in pkgutil.iter_modules(rustcare_sdk.contracts.__path__):
    importlib.import_module("rustcare_sdk.contracts." + module.name)

from rustcare_sdk import Message, Plugin, serve
from rustcare_sdk.capability import covers, parse
from rustcare_sdk.codec import decode, encode
from rustcare_sdk.contracts.fhir import StoreRequest
from rustcare_sdk.errors import InvalidPayload
from rustcare_sdk.message import Call, to_cloudevent
from rustcare_sdk.plugin import handlers_of, payload_type
from rustcare_sdk.version import Range

class Sample(Plugin):
    @serve("a.b")
    async def f(self, message: Message[StoreRequest]) -> int:
        return len(message.data.resources)

request = StoreRequest("k", [{"resourceType": "Patient"}], "hl7:k")
assert decode(encode(request), payload_type(Sample, "f")) == request
message = Message("a.b", request, call=Call("north"))
assert message.tenant == "north" and message.id == message.id and to_cloudevent(message)["type"] == "a.b"
assert handlers_of(Sample)[0].method == "f"
plugin = Sample()
try:
    plugin.f(message).send(None)
except StopIteration as done:
    assert done.value == 1
assert covers(parse("bus:publish@hl7.>"), parse("bus:publish@hl7.adt.a01;rate=1/s"))
assert Range.parse("^1").contains("1.2.3")
try:
    decode("[1]", list[str])
except InvalidPayload as error:
    assert error.message == "Expected str, got int - at $[0]"
assert not {"msgspec", "pluggy", "asyncio", "socket"} & set(sys.modules)
print("portable")
"""


def test_the_portable_part_runs_without_c_extensions() -> None:
    """The modules that the check allows import and work where msgspec, asyncio, sockets and threads do not exist."""
    names = f"NAMES = {sorted(PORTABLE_SDK)!r}\n"
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-W",
            "error",
            "-c",
            f"{_BLOCKED}sys.path.insert(0, {str(SOURCES)!r})\n{names}{_USE}",
        ],
        capture_output=True,
        text=True,
        env={"PATH": os.environ.get("PATH", "")},
        timeout=60,
    )
    assert done.stdout == "portable\n", done.stderr


def test_the_list_of_portable_modules_is_complete() -> None:
    """Every module of the SDK is listed as portable or needs the host; none is forgotten."""
    here = SOURCES / "rustcare_sdk"
    modules = {path.stem for path in here.glob("[a-z]*.py")} | {
        path.parent.name for path in here.glob("[a-z]*/__init__.py")
    }
    host = {"hookspecs", "manifest", "portable", "schema", "testing"}
    sandbox = {"guest"}
    assert modules == PORTABLE_SDK | host | sandbox
