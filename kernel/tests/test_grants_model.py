"""Random sequences of grants and revocations against a naive model: no sequence leaves a revoked right usable."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from rustcare_kernel.accounting import Accounting
from rustcare_kernel.bus import Bus, Sender
from rustcare_kernel.catalog import Catalog
from rustcare_kernel.errors import GrantExceedsParent, GrantUnknown
from rustcare_kernel.grants import Grants, Rights
from rustcare_sdk.capability import parse
from rustcare_sdk.errors import CapabilityDenied
from rustcare_sdk.message import Call
from rustcare_sdk.subjects import pattern_intersection, pattern_matches

from .support import DIGEST, Clock, Tape, on

PLUGINS = ["p", "q"]
TENANTS = ["north", "south"]
PATTERNS = ["a.b", "a.c", "a.*", "*.b", "a.>", ">"]
SUBJECTS = ["a.b", "a.c", "b.b", "a.b.c"]
ASKED = {"p": ["a.>", "b.b"], "q": [">"]}
ACTIONS = ["publish", "request", "subscribe", "serve"]


class Kept(NamedTuple):
    """A grant as the model sees it; `parent` is an index."""

    plugin: str
    action: str
    pattern: str
    tenant: str | None
    deny: bool
    parent: int | None
    issuer: str
    expires: float


class GrantsMachine(RuleBasedStateMachine):
    """The model is a list of all grants ever given, and the set of those that were revoked themselves."""

    given: Bundle[int] = Bundle("given")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.kept: list[Kept] = []
        self.ids: list[str] = []
        self.revoked: set[int] = set()
        self.spoke: set[tuple[str, str]] = set()
        self.folder = TemporaryDirectory()
        self.catalog = Catalog(Path(self.folder.name) / "c")
        self.loop = asyncio.new_event_loop()

    @initialize()
    def start(self) -> None:
        self.open()

    def open(self) -> None:
        """A kernel's grants and bus, from the catalog."""
        self.grants = Grants(Accounting(), self.clock)
        for grant in self.catalog.grants():
            self.grants.add(grant)
        for plugin, tenant in self.catalog.tenants_with_a_say():
            self.grants.remember_tenant(plugin, tenant)
        for plugin in PLUGINS:
            asked = [parse(f"bus:{action}@{scope}") for action in ACTIONS for scope in ASKED[plugin]]
            self.grants.declare(plugin, DIGEST, asked)
        self.rights = {plugin: Rights(self.grants, plugin, DIGEST) for plugin in PLUGINS}

        async def make() -> Bus:
            return Bus(self.grants.accounting)

        self.bus = self.loop.run_until_complete(make())

    def teardown(self) -> None:
        self.loop.close()
        self.catalog.close()
        self.folder.cleanup()

    # the naive answers

    def alive(self, index: int) -> bool:
        """Not revoked and not expired, and nor is anything above it."""
        item = self.kept[index]
        if index in self.revoked or item.expires <= self.clock.now:
            return False
        return item.parent is None or self.alive(item.parent)

    def allows(self, plugin: str, action: str, subject: str, tenant: str) -> bool:
        """Manifest, operator, tenant; and no deny."""
        if not any(pattern_matches(scope, subject) for scope in ASKED[plugin]):
            return False
        fitting = [
            item
            for index, item in enumerate(self.kept)
            if self.alive(index)
            and (item.plugin, item.action) == (plugin, action)
            and item.tenant in (None, tenant)
            and pattern_intersection(item.pattern, subject) is not None
        ]
        if any(item.deny for item in fitting):
            return False
        issuers = {item.issuer for item in fitting}
        return "operator" in issuers and ("tenant" in issuers or (plugin, tenant) not in self.spoke)

    # steps

    def give(self, item: Kept) -> Any:
        parent = None if item.parent is None else self.ids[item.parent]
        expires = None if item.expires == math.inf else item.expires
        try:
            grant = self.grants.prepare(
                item.plugin,
                DIGEST,
                f"bus:{item.action}@{item.pattern}",
                tenant=item.tenant,
                deny=item.deny,
                parent=parent,
                issuer=item.issuer,  # type: ignore[arg-type]
                expires=expires,
            )
        except GrantUnknown:
            assert item.parent is not None
            assert not self.alive(item.parent)
            return multiple()
        except GrantExceedsParent:
            assert item.parent is not None
            above = self.kept[item.parent]
            assert (
                above.deny
                or above.action != item.action
                or (above.tenant is not None and above.tenant != item.tenant)
                or pattern_intersection(above.pattern, item.pattern) != item.pattern
            )
            return multiple()
        self.catalog.add_grants([grant])
        self.grants.add(grant)
        expires = math.inf if grant.expires is None else grant.expires
        self.kept.append(item._replace(expires=expires))
        self.ids.append(grant.id)
        if item.issuer == "tenant" and item.tenant is not None:
            self.spoke.add((item.plugin, item.tenant))
        return len(self.kept) - 1

    @rule(
        target=given,
        plugin=st.sampled_from(PLUGINS),
        action=st.sampled_from(ACTIONS),
        pattern=st.sampled_from(PATTERNS),
        tenant=st.none() | st.sampled_from(TENANTS),
        deny=st.sampled_from([False, False, False, True]),
        by_tenant=st.sampled_from([False, False, True]),
        life=st.sampled_from([math.inf, math.inf, 5.0, 50.0]),
    )
    def grant(
        self, plugin: str, action: str, pattern: str, tenant: str | None, deny: bool, by_tenant: bool, life: float
    ) -> Any:
        """Give a grant that stands by itself."""
        issuer = "tenant" if by_tenant and tenant is not None else "operator"
        return self.give(Kept(plugin, action, pattern, tenant, deny, None, issuer, self.clock.now + life))

    @rule(
        target=given,
        parent=given,
        plugin=st.sampled_from(PLUGINS),
        pattern=st.sampled_from(PATTERNS),
        tenant=st.none() | st.sampled_from(TENANTS),
        life=st.sampled_from([math.inf, 5.0, 50.0]),
    )
    def derive(self, parent: int, plugin: str, pattern: str, tenant: str | None, life: float) -> Any:
        """Derive one from another, within it or not."""
        action = self.kept[parent].action
        return self.give(Kept(plugin, action, pattern, tenant, False, parent, "operator", self.clock.now + life))

    @rule(index=consumes(given))
    def revoke(self, index: int) -> None:
        """Revoke one: it and everything below it is gone, for good."""
        below = {index}
        for other, item in enumerate(self.kept):
            if item.parent in below:
                below.add(other)
        try:
            fallen = self.grants.revoke(self.ids[index])
        except GrantUnknown:
            # It fell with its parent, or was not carried over a restart because that had expired.
            assert not self.alive(index)
            return
        self.catalog.drop_grants(fallen)
        assert {self.ids.index(grant_id) for grant_id in fallen} <= below
        self.revoked |= below

    @rule(seconds=st.sampled_from([1.0, 5.0, 50.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def restart(self) -> None:
        """A new kernel on the same catalog."""
        self.open()

    # what must hold

    @invariant()
    def answers_are_those_of_the_model(self) -> None:
        """Through the cache, for every plugin, action, subject and tenant."""
        if not hasattr(self, "rights"):
            return
        for plugin, rights in self.rights.items():
            for action in ACTIONS:
                for subject in SUBJECTS:
                    for tenant in TENANTS:
                        try:
                            rights.check("bus", action, subject, tenant)
                            allowed = True
                        except CapabilityDenied:
                            allowed = False
                        assert allowed == self.allows(plugin, action, subject, tenant)

    @invariant()
    def a_child_never_holds_more_than_its_parent(self) -> None:
        """What a derived grant allows now, its parent allows: scope, tenant and life."""
        for index, item in enumerate(self.kept):
            if item.parent is not None and self.alive(index):
                above = self.kept[item.parent]
                assert self.alive(item.parent)
                assert pattern_intersection(above.pattern, item.pattern) == item.pattern
                assert above.tenant in (None, item.tenant)
                assert item.expires <= above.expires

    @rule(tenant=st.sampled_from(TENANTS))
    def the_bus_asks_the_same(self, tenant: str) -> None:
        """Publishing, requesting, serving and delivering are allowed exactly when the model allows them."""
        self.loop.run_until_complete(self.use_the_bus(tenant))

    async def use_the_bus(self, tenant: str) -> None:
        operator = Sender("operator", None, Call(tenant))
        for plugin, rights in self.rights.items():
            sender = Sender(plugin, rights, Call(tenant))
            for subject in SUBJECTS:
                tape = Tape()
                self.bus.serve(subject, tape)
                subscription = self.bus.subscribe(on(subject), tape)
                subscription.rights = rights
                for action, work in (
                    ("publish", self.bus.publish(sender, subject)),
                    ("request", self.bus.request(sender, subject)),
                ):
                    assert await allowed(work) == self.allows(plugin, action, subject, tenant)
                await subscription.drain()
                heard = tape.started
                await self.bus.publish(operator, subject)
                await subscription.drain()
                assert (tape.started > heard) == self.allows(plugin, "subscribe", subject, tenant)
                delivery = await self.bus.publish(operator, subject, confirm=True)
                assert delivery is not None
                assert delivery.handled == self.allows(plugin, "subscribe", subject, tenant)
                self.bus.unserve(subject)
                self.bus.serve(subject, tape)._idle = None
                self.bus._services[subject].rights = rights
                assert await allowed(self.bus.request(operator, subject)) == self.allows(
                    plugin, "serve", subject, tenant
                )
                self.bus.unserve(subject)
                await self.bus.unsubscribe(subscription)


async def allowed(work: Any) -> bool:
    """Whether a use of the bus was allowed."""
    try:
        await work
    except CapabilityDenied:
        return False
    return True


GrantsMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_no_sequence_of_grants_and_revocations_leaves_a_revoked_right_usable = GrantsMachine.TestCase
