"""The rules of grants, one by one. `test_grants_model` tries them in every mixture."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from rustcare_kernel import grants as room
from rustcare_kernel.accounting import Accounting
from rustcare_kernel.catalog import Catalog, Entry
from rustcare_kernel.errors import CatalogCorrupt, GrantExceedsParent, GrantUnknown, PluginUnknown, RateExceeded
from rustcare_kernel.grants import CACHED, Grants, Rights
from rustcare_sdk.capability import Capability, parse
from rustcare_sdk.errors import CapabilityDenied, InvalidCapability

from .support import DIGEST, Clock, World

OTHER = "sha256:" + "1" * 64


def allowed(world: World, rights: Rights, use: str, tenant: str = "default") -> bool:
    """Whether a use is allowed now, through the cache."""
    wanted = parse(use)
    try:
        rights.check(wanted.kind, wanted.action, wanted.scope, tenant)
    except CapabilityDenied:
        return False
    return True


def test_manifest_and_operator_must_both_agree() -> None:
    """A right needs the manifest to ask and the operator to grant; each error says who did not agree and what to do."""
    world = World()
    world.grants.declare("p", DIGEST, [parse("bus:publish@a.*")])
    rights = Rights(world.grants, "p", DIGEST)
    with pytest.raises(CapabilityDenied, match="operator has not granted it") as caught:
        rights.check("bus", "publish", "a.b", "default")
    assert "rustcare plugin grant p 'bus:publish@a.b'" in caught.value.hint
    world.grants.give("p", DIGEST, "bus:publish@>")
    rights.check("bus", "publish", "a.b", "default")
    with pytest.raises(CapabilityDenied, match="manifest does not ask"):
        rights.check("bus", "publish", "b", "default")
    with pytest.raises(CapabilityDenied):
        rights.check("bus", "request", "a.b", "default")


def test_a_grant_is_for_one_digest() -> None:
    """Other code, other grants: what was given to one package says nothing about the next."""
    world = World()
    world.rights("p", "clock:read")
    world.grants.declare("p", OTHER, [parse("clock:read")])
    assert not allowed(world, Rights(world.grants, "p", OTHER), "clock:read")
    assert allowed(world, Rights(world.grants, "p", DIGEST), "clock:read")


@pytest.mark.parametrize(
    "use", ["fly:high@x", "bus:steal@x", "bus:publish", "bus:publish@a..b", "clock:read;rate=often"]
)
def test_what_is_not_a_capability_is_refused(use: str) -> None:
    """An unknown kind, action, option or scope is an error, never a grant that does nothing."""
    world = World()
    with pytest.raises(InvalidCapability):
        world.grants.give("p", DIGEST, use)
    assert list(world.grants.of("p", DIGEST)) == []


def test_deny_beats_allow_whatever_the_order_and_however_narrow() -> None:
    """A deny takes its part out of any allow, before or after it; the rest stays allowed."""
    for order in ((False, True), (True, False)):
        world = World()
        world.grants.declare("p", DIGEST, [parse("kv:read@*")])
        rights = Rights(world.grants, "p", DIGEST)
        for deny in order:
            world.grants.give("p", DIGEST, "kv:read@secret.*" if deny else "kv:read@*", deny=deny)
        assert allowed(world, rights, "kv:read@open")
        assert not allowed(world, rights, "kv:read@secret.key")
        assert not allowed(world, rights, "kv:read@*")  # listing everything would show the secret part too


def test_a_pattern_is_denied_when_any_part_of_it_is() -> None:
    """A subscription to `*.b` overlaps a deny of `a.*` at `a.b`: it may not be made."""
    world = World()
    rights = world.rights("p", "bus:subscribe@>")
    world.grants.give("p", DIGEST, "bus:subscribe@a.*", deny=True)
    for pattern in ("*.b", "a.b", "a.>", ">", "*.*"):
        assert not allowed(world, rights, f"bus:subscribe@{pattern}")
    for pattern in ("b.*", "a.b.c", "a", "*.*.c"):
        assert allowed(world, rights, f"bus:subscribe@{pattern}")


def test_a_child_never_holds_more_than_its_parent() -> None:
    """Wider scope, another tenant, a longer life, a higher rate, or anything from a deny: refused or cut to size."""
    world = World()
    grants = world.grants
    parent = grants.give("p", DIGEST, "bus:publish@a.*;rate=10/s", tenant="north", expires=world.clock.now + 100)
    for capability, tenant in (
        ("bus:publish@a.>;rate=1/s", "north"),
        ("bus:publish@a.b", "north"),
        ("bus:publish@a.b;rate=11/s", "north"),
        ("bus:request@a.b;rate=1/s", "north"),
        ("bus:publish@a.b;rate=1/s", "south"),
        ("bus:publish@a.b;rate=1/s", None),
    ):
        with pytest.raises(GrantExceedsParent):
            grants.give("q", DIGEST, capability, tenant=tenant, parent=parent.id)
    for expires in (None, world.clock.now + 200):
        child = grants.give("q", DIGEST, "bus:publish@a.b;rate=10/s", tenant="north", parent=parent.id, expires=expires)
        assert child.expires == parent.expires
    deny = grants.give("p", DIGEST, "clock:read", deny=True)
    with pytest.raises(GrantExceedsParent):
        grants.give("q", DIGEST, "clock:read", parent=deny.id)
    with pytest.raises(GrantUnknown):
        grants.give("q", DIGEST, "clock:read", parent="nobody")


def test_revoking_takes_every_derived_grant_along() -> None:
    """All that derives from a grant falls with it, in other plugins too; siblings stay; a second time is an error."""
    world = World()
    for plugin in "pqr":
        world.grants.declare(plugin, DIGEST, [parse("clock:read")])
    root = world.grants.give("p", DIGEST, "clock:read")
    child = world.grants.give("q", DIGEST, "clock:read", parent=root.id)
    grandchild = world.grants.give("r", DIGEST, "clock:read", parent=child.id)
    sibling = world.grants.give("q", DIGEST, "clock:read", parent=root.id)
    rights = {plugin: Rights(world.grants, plugin, DIGEST) for plugin in "pqr"}
    assert all(allowed(world, item, "clock:read") for item in rights.values())
    assert set(world.grants.revoke(child.id)) == {child.id, grandchild.id}
    assert allowed(world, rights["q"], "clock:read")  # through the sibling
    assert not allowed(world, rights["r"], "clock:read")
    with pytest.raises(GrantUnknown):
        world.grants.revoke(child.id)
    assert set(world.grants.revoke(root.id)) == {root.id, sibling.id}
    assert not any(allowed(world, item, "clock:read") for item in rights.values())


def test_a_grant_that_was_prepared_from_a_fallen_parent_never_holds() -> None:
    """Between writing a grant down and putting it in force its parent may fall: then it is not in force."""
    world = World()
    world.grants.declare("q", DIGEST, [parse("clock:read")])
    root = world.grants.give("p", DIGEST, "clock:read")
    child = world.grants.prepare("q", DIGEST, "clock:read", parent=root.id)
    world.grants.revoke(root.id)
    world.grants.add(child)
    assert not allowed(world, Rights(world.grants, "q", DIGEST), "clock:read")


def test_expiry_is_asked_at_every_use() -> None:
    """A grant with an end allows until then; when its parent ends first, so does it."""
    world = World()
    world.grants.declare("p", DIGEST, [parse("clock:read")])
    rights = Rights(world.grants, "p", DIGEST)
    root = world.grants.give("x", DIGEST, "clock:read", expires=world.clock.now + 10)
    world.grants.give("p", DIGEST, "clock:read", parent=root.id)
    assert allowed(world, rights, "clock:read")
    assert not rights.steady("clock", "read", "", "default")
    world.clock.now += 10
    assert not allowed(world, rights, "clock:read")
    assert list(world.grants.of("p", DIGEST)) == []
    assert world.grants.missing("p", DIGEST, [parse("clock:read")]) == [parse("clock:read")]


def test_a_deny_that_expires_lets_the_allow_hold_again() -> None:
    """An expired deny denies nothing, and an answer from before is not remembered."""
    world = World()
    rights = world.rights("p", "clock:read")
    world.grants.give("p", DIGEST, "clock:read", deny=True, expires=world.clock.now + 10)
    assert not allowed(world, rights, "clock:read")
    world.clock.now += 10
    assert allowed(world, rights, "clock:read")


def test_a_tenant_with_a_say_must_agree_and_others_are_not_asked() -> None:
    """Once a tenant has spoken about a plugin, it can do for that tenant only what the tenant allows too."""
    world = World()
    rights = world.rights("p", "kv:read@*")
    assert allowed(world, rights, "kv:read@a", "north")
    own = world.grants.give("p", DIGEST, "kv:read@a", tenant="north", issuer="tenant")
    assert allowed(world, rights, "kv:read@a", "north")
    assert not allowed(world, rights, "kv:read@b", "north")
    assert allowed(world, rights, "kv:read@b", "south")
    world.grants.revoke(own.id)
    assert not allowed(world, rights, "kv:read@a", "north")  # it has taken back what it allowed
    assert allowed(world, rights, "kv:read@a", "south")


def test_a_tenant_alone_grants_nothing_and_speaks_for_itself_only() -> None:
    """A tenant's grant is no operator's grant, and cannot be for every tenant."""
    world = World()
    world.grants.declare("p", DIGEST, [parse("clock:read")])
    world.grants.give("p", DIGEST, "clock:read", tenant="north", issuer="tenant")
    assert not allowed(world, Rights(world.grants, "p", DIGEST), "clock:read", "north")
    with pytest.raises(GrantExceedsParent):
        world.grants.give("p", DIGEST, "clock:read", issuer="tenant")


def test_an_operators_grant_for_one_tenant_allows_that_tenant_only() -> None:
    """`tenant` narrows; `missing`, which decides about starting, wants a grant for every tenant."""
    world = World()
    world.grants.declare("p", DIGEST, [parse("clock:read")])
    world.grants.give("p", DIGEST, "clock:read", tenant="north")
    rights = Rights(world.grants, "p", DIGEST)
    assert allowed(world, rights, "clock:read", "north")
    assert not allowed(world, rights, "clock:read", "south")
    assert world.grants.missing("p", DIGEST, [parse("clock:read")])


def test_a_rate_bounds_how_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `rate=3/s` three uses pass at once, the fourth is refused, and a third of a second later one passes again."""
    world, clock = World(), Clock()
    monkeypatch.setattr(room.time, "monotonic", clock)
    rights = world.rights("p", "bus:publish@a;rate=3/s")
    for _ in range(3):
        rights.check("bus", "publish", "a", "default")
    with pytest.raises(RateExceeded, match="more often than granted"):
        rights.check("bus", "publish", "a", "default")
    clock.now += 0.34
    rights.check("bus", "publish", "a", "default")
    with pytest.raises(RateExceeded):
        rights.check("bus", "publish", "a", "default")
    rights.check("bus", "publish", "a", "north")  # each tenant has its own


def test_the_strictest_party_sets_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Manifest, operator and tenant may each set a rate: the lowest holds. Of one party's grants the loosest counts."""
    monkeypatch.setattr(room.time, "monotonic", Clock())
    for asked, operator, tenant, most in (
        (";rate=2/s", [""], None, 2),
        ("", [";rate=2/s"], None, 2),
        (";rate=5/s", [";rate=2/s", ";rate=4/s"], None, 4),
        (";rate=5/s", ["", ";rate=4/s"], ";rate=3/s", 3),
    ):
        world = World()
        world.grants.declare("p", DIGEST, [parse(f"clock:read{asked}")])
        for rate in operator:
            world.grants.give("p", DIGEST, f"clock:read{rate}")
        if tenant is not None:
            world.grants.give("p", DIGEST, f"clock:read{tenant}", tenant="north", issuer="tenant")
        rights = Rights(world.grants, "p", DIGEST)
        for _ in range(most):
            rights.check("clock", "read", "", "north")
        with pytest.raises(RateExceeded):
            rights.check("clock", "read", "", "north")


async def test_a_rate_holds_on_the_bus_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing and requesting draw from the same bucket as every other use of the capability."""
    monkeypatch.setattr(room.time, "monotonic", Clock())
    world = World()
    sender = world.sender("p", "bus:publish@*;rate=2/s")
    for subject in ("a", "b"):
        await world.bus.publish(sender, subject)
    for _ in range(2):
        with pytest.raises(RateExceeded):
            await world.bus.publish(sender, "a")


def test_every_use_and_denial_is_counted_and_told_once() -> None:
    """Uses are counted by granted capability; denials by kind and action, so that guessing names fills no memory."""
    world = World()
    told: list[tuple[str, str, str, bool]] = []
    world.grants.observer = lambda *what: told.append(what)
    rights = world.rights("p", "kv:read@a*")
    for _ in range(3):
        rights.check("kv", "read", "abc", "default")
    for name in ("x", "y"):
        assert not allowed(world, rights, f"kv:read@{name}")
    rows = {row.capability: (row.calls, row.errors) for row in world.accounting.rows("p")}
    assert rows == {"kv:read@a*": (3, 0), "kv:read": (0, 2)}
    assert told == [
        ("p", "kv:read@abc", "default", True),
        ("p", "kv:read@x", "default", False),
        ("p", "kv:read@y", "default", False),
    ]
    assert world.accounting.capability_uses() == 3


def test_the_caches_do_not_grow_with_names_from_outside() -> None:
    """However many subjects or keys are used, the caches stay bounded."""
    world = World()
    rights = world.rights("p", "kv:read@*", "bus:publish@>")
    for number in range(CACHED * 2):
        rights.check("kv", "read", f"k{number}", "default")
    assert len(rights._uses) <= CACHED + 1


def test_forgetting_a_plugin_leaves_nothing_of_it() -> None:
    """After a removal neither grants nor manifest nor a tenant's say are left, and what derived from them fell."""
    world = World()
    rights = world.rights("p", "clock:read")
    world.grants.declare("q", DIGEST, [parse("clock:read")])
    root = next(world.grants.of("p", DIGEST))
    world.grants.give("q", DIGEST, "clock:read", parent=root.id)
    world.grants.give("p", DIGEST, "clock:read", tenant="north", issuer="tenant")
    world.grants.declare("p", OTHER, [])
    assert set(world.grants.digests("p")) == {DIGEST, OTHER}
    world.grants.forget_plugin("p")
    assert world.grants.digests("p") == []
    assert not allowed(world, rights, "clock:read")
    assert not allowed(world, Rights(world.grants, "q", DIGEST), "clock:read")
    again = world.rights("p", "clock:read")
    assert allowed(world, again, "clock:read", "north")


def test_holds_tells_which_kinds_to_link() -> None:
    """Only kinds of which something is granted, to whomever, and not denied are linked into a sandbox."""
    world = World()
    rights = world.rights("p", "clock:read")
    world.grants.give("p", DIGEST, "random:read", deny=True)
    assert rights.holds("clock")
    assert not rights.holds("random")
    assert not rights.holds("bus")


# the catalog


def test_the_catalog_gives_back_what_was_written(tmp_path: Path) -> None:
    """Entries, grants (parents first), tenants' say and snapshots survive; revisions grow with every change."""
    path = tmp_path / "kernel.sqlite3"
    catalog, world = Catalog(path), World()
    entry = Entry("p.q", DIGEST, "1.2.3", "python", True, {"a": [1]}, (("1.0.0", OTHER, "component"),), "", 0.0)
    root = world.grants.prepare("p.q", DIGEST, "clock:read")
    world.grants.add(root)
    child = world.grants.prepare("x.y", OTHER, "clock:read", parent=root.id, expires=99.5)
    own = world.grants.prepare("p.q", DIGEST, "clock:read", tenant="north", issuer="tenant", deny=True)
    revisions = [catalog.revision]
    catalog.put(entry, [root])
    revisions.append(catalog.revision)
    catalog.add_grants([child, own])
    revisions.append(catalog.revision)
    catalog.save_snapshot("p.q", DIGEST, 3, '{"a": 1}')
    catalog.close()
    catalog = Catalog(path)
    revisions.append(catalog.revision)
    assert sorted(set(revisions)) == revisions
    assert catalog.grants() == [root, child, own]
    assert catalog.tenants_with_a_say() == [("p.q", "north")]
    assert catalog.snapshot("p.q") == (DIGEST, 3, '{"a": 1}')
    found = catalog.get("p.q")
    assert (found.digest, found.version, found.enabled, found.config, found.previous) == (
        entry.digest,
        entry.version,
        entry.enabled,
        entry.config,
        entry.previous,
    )
    catalog.put(entry, (), (4, '{"b": 2}'))
    catalog.put(entry)
    assert catalog.snapshot("p.q") == (DIGEST, 4, '{"b": 2}')
    catalog.put(entry, (), (4, None))
    assert catalog.snapshot("p.q") is None
    catalog.quarantine("p.q", "it trapped")
    catalog.quarantine("x.y", "it is not there")
    assert [(item.id, item.quarantine, item.enabled) for item in catalog.entries()] == [("p.q", "it trapped", True)]
    catalog.drop_grants([child.id, own.id])
    assert catalog.grants() == [root]
    assert catalog.tenants_with_a_say() == [("p.q", "north")]  # it has spoken, also when it took all back
    catalog.remove("p.q")
    assert (catalog.entries(), catalog.grants(), catalog.tenants_with_a_say()) == ([], [], [])
    assert catalog.snapshot("p.q") is None
    with pytest.raises(PluginUnknown, match=re.escape("installed are: none")):
        catalog.get("p.q")
    catalog.close()


def test_grants_from_the_catalog_give_the_same_answers(tmp_path: Path) -> None:
    """A restart changes no answer, not even when a derived grant was written before its parent fell."""
    catalog, world = Catalog(tmp_path / "c"), World()
    asked = [parse("kv:read@*")]
    world.grants.declare("p", DIGEST, asked)
    kept: list[Any] = [world.grants.give("p", DIGEST, "kv:read@a*")]
    kept.append(world.grants.give("p", DIGEST, "kv:read@ab", parent=kept[0].id))
    kept.append(world.grants.give("p", DIGEST, "kv:read@ac", deny=True))
    orphan = world.grants.give("p", DIGEST, "kv:read@z")
    lost = world.grants.prepare("p", DIGEST, "kv:read@z", parent=orphan.id)
    catalog.add_grants([*kept, orphan, lost])
    catalog.drop_grants([orphan.id])
    world.grants.revoke(orphan.id)
    again = Grants(Accounting(), world.clock)
    for grant in catalog.grants():
        again.add(grant)
    again.declare("p", DIGEST, asked)
    for scope in ("a", "ab", "ac", "z", "b"):
        answers = []
        for grants in (world.grants, again):
            try:
                answers.append(grants.find("p", DIGEST, "default", Capability("kv", "read", scope))[0])
            except CapabilityDenied as error:
                answers.append(error.message)
        assert answers[0] == answers[1]
    catalog.close()


def test_a_write_that_fails_changes_nothing(tmp_path: Path) -> None:
    """An entry and its grants are one commit: when one part fails, neither is there, and the next write works."""
    catalog, world = Catalog(tmp_path / "c"), World()
    entry = Entry("p.q", DIGEST, "1.0.0", "python", True)

    def grants() -> Any:
        yield world.grants.prepare("p.q", DIGEST, "clock:read")
        raise OSError("the disk is gone")

    before = catalog.revision
    with pytest.raises(OSError, match="disk"):
        catalog.put(entry, grants())
    assert (catalog.entries(), catalog.grants(), catalog.revision) == ([], [], before)
    catalog.put(entry)
    assert [item.id for item in catalog.entries()] == ["p.q"]
    catalog.close()


def test_what_is_no_catalog_is_refused_by_name(tmp_path: Path) -> None:
    """A file that is no database, or of another schema, gives CatalogCorrupt with the path and what to do."""
    path = tmp_path / "kernel.sqlite3"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(CatalogCorrupt) as caught:
        Catalog(path)
    assert caught.value.address == str(path)
    path.unlink()
    Catalog(path).close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
    db.close()
    with pytest.raises(CatalogCorrupt, match="schema 99"):
        Catalog(path)
