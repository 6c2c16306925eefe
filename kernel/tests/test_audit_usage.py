"""Counted uses: what changed since the last look, in facts that fit into an entry."""

from __future__ import annotations

import msgspec
from rustcare_kernel.accounting import Accounting
from rustcare_kernel.audit.usage import Usage


def test_only_what_changed_is_told() -> None:
    """Each use is told once, with its tenant and capability; what the recorder's own plugins use is no reason to write."""
    accounting = Accounting()
    usage = Usage(accounting, lambda plugin: f"digest of {plugin}")
    assert usage.take(frozenset()) == []
    accounting.use("acme.one", "north", "clock:read").count += 2
    accounting.use("acme.base", "north", "clock:read").count += 1
    (told,) = usage.take(frozenset({"acme.base"}))
    assert told["rows"] == [
        ["acme.base", "digest of acme.base", "north", "clock:read", 1, 0],
        ["acme.one", "digest of acme.one", "north", "clock:read", 2, 0],
    ]
    accounting.use("acme.base", "north", "clock:read").count += 1
    assert usage.take(frozenset({"acme.base"})) == []
    accounting.use("acme.one", "north", "kv:read").denied += 1
    (told,) = usage.take(frozenset({"acme.base"}))
    assert [row[3:] for row in told["rows"]] == [["clock:read", 1, 0], ["kv:read", 0, 1]]


def test_the_uses_of_many_tenants_fit_into_entries() -> None:
    """However many tenants used something, no fact is larger than an entry of the log may be, and none is left out."""
    accounting = Accounting()
    usage = Usage(accounting, lambda plugin: "sha256:" + "0" * 64)
    for number in range(10_000):
        accounting.use("acme." + "x" * 60, f"tenant-{number}", "bus:request@" + "y" * 60).count += 1
    told = usage.take(frozenset())
    assert max(len(msgspec.json.encode(details)) for details in told) < 60_000
    assert sum(len(details["rows"]) for details in told) == 10_000


def test_a_plugin_that_is_installed_again_is_counted_from_nothing() -> None:
    """However often it used something before it was removed: every use after that is told."""
    accounting = Accounting()
    usage = Usage(accounting, lambda plugin: "d")
    accounting.use("acme.one", "north", "clock:read").count += 3
    usage.take(frozenset())
    accounting.forget("acme.one")
    usage.forget("acme.one")
    accounting.use("acme.one", "north", "clock:read").count += 5
    (told,) = usage.take(frozenset())
    assert told["rows"] == [["acme.one", "d", "north", "clock:read", 5, 0]]
