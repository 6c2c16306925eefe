"""Random lives of plugins on a real kernel, against a model: states, catalog and what the bus answers always agree."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rustcare_kernel import Kernel
from rustcare_kernel.catalog import Catalog
from rustcare_kernel.errors import (
    ConsentRequired,
    DependencyUnmet,
    GrantUnknown,
    PluginUnknown,
    StateForbids,
    UpgradeFailed,
)
from rustcare_kernel.lifecycle import Supervisor
from rustcare_kernel.package import Package
from rustcare_sdk.context import Delivery
from rustcare_sdk.errors import CapabilityDenied, NoProvider

from .plugins import States, board, package, quiet

BASE, USER, FREE = "acme.base", "acme.user", "acme.free"
IDS = st.sampled_from([BASE, USER, FREE])
VERSIONS = st.sampled_from(["1.0.0", "2.0.0", "3.0.0"])
TOML = {BASE: '[provides]\n"thing" = "1.0.0"\n', USER: '[requires]\n"thing" = "^1"\n', FREE: ""}


@cache
def made(plugin: str, version: str) -> Package:
    """A version of a plugin; 3.0.0 asks for more than the others. `acme.user` requires what `acme.base` provides."""
    asks = {"clock:read": "required"} if version == "3.0.0" else None
    more = "async def crash(self):\n    raise RuntimeError\n"
    return package(plugin, version, toml=TOML[plugin], asks=asks, more=more, lifecycle="trap_budget = 0")


@dataclass
class Life:
    """What the model knows of an installed plugin. `granted` are the versions that may serve."""

    version: str
    enabled: bool = True
    state: str = "stopped"
    count: int = 0
    previous: list[str] = field(default_factory=list)
    granted: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)  # versions whose other capabilities were consented to
    kept: tuple[str, int] | None = None  # whose state is in the catalog
    quarantined: bool = False
    broken: str = ""  # how the start of its version fails, for now


class LifeMachine(RuleBasedStateMachine):
    """Three plugins; every step is done on the kernel and on the model, then everything is compared."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(TemporaryDirectory()))
        self.desk = self.stack.enter_context(board())
        self.stack.enter_context(patch.object(Supervisor, "BACKOFF", ()))
        self.loop = asyncio.new_event_loop()
        self.lives: dict[str, Life] = {}
        self.kernel: Kernel | None = None

    def run(self, work: Any) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(20):
                return await work

        return self.loop.run_until_complete(bounded())

    def fails(self, error: type[Exception], work: Any) -> None:
        """The work raises this error."""
        try:
            self.run(work)
        except error:
            return
        raise AssertionError(f"expected {error.__name__}")

    @initialize(installed=st.sets(IDS, min_size=2), user_first=st.booleans())
    def begin(self, installed: set[str], user_first: bool) -> None:
        """Most lives begin with some plugins there, so that more happens to them."""
        self.open()
        for plugin in sorted(installed, reverse=user_first):
            self.install(plugin, "1.0.0", True, True)

    def open(self) -> None:
        self.kernel = quiet(self.folder)
        self.run(self.kernel.__aenter__())
        self.states = self.run(self.follow())

    async def follow(self) -> States:
        assert self.kernel is not None
        return States(self.kernel)

    @property
    def k(self) -> Kernel:
        assert self.kernel is not None
        return self.kernel

    def teardown(self) -> None:
        if self.kernel is not None:
            self.run(self.kernel.__aexit__(None, None, None))
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        self.stack.close()

    # the model's rules

    def starts(self, plugin: str) -> None:
        """What becomes of a plugin that is to start, and of those that waited for it."""
        life = self.lives[plugin]
        base = self.lives.get(BASE)
        if plugin == USER and (base is None or base.state != "active"):
            life.state = "verified"
        elif life.version not in life.granted:
            life.state = "resolved"
        elif life.broken:
            life.state = "failed"
        else:
            life.state = "active"
            life.count = life.kept[1] if life.kept is not None and life.kept[0] == life.version else 0
            user = self.lives.get(USER)
            if plugin == BASE and user is not None and user.state == "verified":
                self.starts(USER)

    def stops(self, life: Life) -> None:
        if life.state == "active":
            life.kept = (life.version, life.count)
        life.state = "stopped"

    def becomes(self, plugin: str, version: str, previous: list[str]) -> None:
        """Another version is the wanted one, and nothing of the plugin runs."""
        life = self.lives[plugin]
        life.version, life.previous, life.quarantined, life.state = version, previous, False, "stopped"
        if life.enabled:
            self.starts(plugin)

    # steps

    @rule(plugin=IDS, version=VERSIONS, consent=st.sampled_from([True, True, True, False]), enable=st.booleans())
    def install(self, plugin: str, version: str, consent: bool, enable: bool) -> None:
        work = self.k.install(made(plugin, version), consent=consent, enable=enable)
        life = self.lives.get(plugin)
        if life is not None and life.version != version:
            self.fails(StateForbids, work)
        elif life is not None:
            self.run(work)
        elif not consent:
            self.fails(ConsentRequired, work)
        else:
            self.run(work)
            self.lives[plugin] = Life(version, enable, granted={version}, known={version})
            if enable:
                self.starts(plugin)

    @rule(
        plugin=IDS,
        version=VERSIONS,
        consent=st.sampled_from([True, True, False]),
        how=st.sampled_from(["", "", "", "start", "health", "import_state"]),
    )
    def upgrade(self, plugin: str, version: str, consent: bool, how: str) -> None:
        life = self.lives.get(plugin)
        if life is None:
            self.fails(PluginUnknown, self.k.upgrade(made(plugin, version), consent=consent))
            return
        if how and (life.state == "active" or (how != "import_state" and life.version != version)):
            self.desk.on[plugin, version, how] = {"ok": False} if how == "health" else RuntimeError()
        else:
            how = ""
        work = self.k.upgrade(made(plugin, version), consent=consent)
        # What was granted to this digest before needs no new consent; what is asked beyond the present one does.
        asks_more = version == "3.0.0" and life.version != "3.0.0" and version not in life.known
        lacks_serve = life.version not in life.granted and version not in life.granted
        if life.version == version:
            self.run(work)
        elif not consent and (asks_more or lacks_serve):
            self.fails(ConsentRequired, work)
        elif life.state == "active" and how:
            self.fails(UpgradeFailed, work)
        elif life.state == "active":
            self.run(work)
            life.known.add(version)
            life.granted.add(version)
            life.previous = [life.version, *life.previous][: Catalog.KEPT]
            life.version, life.kept = version, (version, life.count)
        else:
            self.run(work)
            life.known.add(version)
            life.granted.add(version)
            life.broken = how
            self.becomes(plugin, version, [life.version, *life.previous][: Catalog.KEPT])
        life.broken = ""
        self.desk.on.clear()

    @rule(plugin=IDS)
    def rollback(self, plugin: str) -> None:
        life = self.lives.get(plugin)
        if life is None:
            self.fails(PluginUnknown, self.k.rollback(plugin))
        elif not life.previous:
            self.fails(StateForbids, self.k.rollback(plugin))
        elif life.state == "active" and life.previous[0] not in life.granted:
            self.fails(UpgradeFailed, self.k.rollback(plugin))
        elif life.state == "active":
            self.run(self.k.rollback(plugin))
            life.version, life.previous = life.previous[0], life.previous[1:]
            life.kept = (life.version, life.count)
        else:
            self.run(self.k.rollback(plugin))
            self.becomes(plugin, life.previous[0], life.previous[1:])

    @rule(plugin=IDS)
    def enable(self, plugin: str) -> None:
        life = self.lives.get(plugin)
        if life is None:
            self.fails(PluginUnknown, self.k.enable(plugin))
            return
        life.enabled, life.quarantined = True, False
        if life.state != "active":
            self.starts(plugin)
        if life.state == "verified":
            self.fails(DependencyUnmet, self.k.enable(plugin))
        else:
            self.run(self.k.enable(plugin))

    @rule(plugin=IDS)
    def disable(self, plugin: str) -> None:
        life = self.lives.get(plugin)
        if life is None:
            self.fails(PluginUnknown, self.k.disable(plugin))
            return
        self.run(self.k.disable(plugin))
        life.enabled = False
        self.stops(life)

    @rule(plugin=IDS)
    def remove(self, plugin: str) -> None:
        if self.lives.pop(plugin, None) is None:
            self.fails(PluginUnknown, self.k.remove(plugin))
        else:
            self.run(self.k.remove(plugin))

    @rule(plugin=IDS)
    def revoke(self, plugin: str) -> None:
        life = self.lives.get(plugin)
        work = self.k.revoke(plugin, "bus:serve@>")
        if life is None:
            self.fails(PluginUnknown, work)
        elif not life.granted:
            self.fails(GrantUnknown, work)
        else:
            self.run(work)
            life.granted.clear()

    @rule(plugin=IDS)
    def grant(self, plugin: str) -> None:
        life = self.lives.get(plugin)
        work = self.k.grant(plugin, f"bus:serve@{plugin.partition('.')[2]}.ask")
        if life is None:
            self.fails(PluginUnknown, work)
            return
        self.run(work)
        life.granted.add(life.version)
        if life.state == "resolved":
            self.starts(plugin)

    @precondition(lambda self: any(life.state == "active" for life in self.lives.values()))
    @rule(data=st.data())
    def trap(self, data: st.DataObject) -> None:
        """Its code crashes: with a budget of none it is quarantined at once."""
        plugin = data.draw(st.sampled_from([name for name, life in self.lives.items() if life.state == "active"]))
        life = self.lives[plugin]

        async def crash() -> None:
            running = self.k._fleet[plugin].running
            assert running is not None
            running.context.spawn(running.instance.plugin.crash(), name="crash")  # type: ignore[attr-defined]
            await self.states.reached(plugin, "quarantined")
            await self.k._fleet[plugin].settled()

        self.run(crash())
        life.state, life.quarantined = "quarantined", True

    @rule()
    def restart_the_kernel(self) -> None:
        """Everything comes back from the catalog."""
        self.run(self.k.__aexit__(None, None, None))
        self.open()
        for life in self.lives.values():
            self.stops(life)
        for plugin in (BASE, FREE, USER):
            life = self.lives.get(plugin)
            if life is not None and life.enabled and not life.quarantined and life.state != "active":
                self.starts(plugin)

    # what must hold

    @invariant()
    def kernel_and_model_agree(self) -> None:
        if self.kernel is not None:
            self.run(self.compare())

    async def compare(self) -> None:
        found = {status.id: status for status in self.k.plugins()}
        assert set(found) == set(self.lives)
        services = self.k.bus.services()
        for plugin, life in self.lives.items():
            status, entry = found[plugin], self.k.catalog.get(plugin)
            assert status.state == life.state, f"{plugin}: {status.reason}"
            assert (status.version, status.enabled) == (life.version, life.enabled) == (entry.version, entry.enabled)
            assert [version for version, _ in status.previous] == life.previous
            assert bool(entry.quarantine) == life.quarantined
        for plugin in (BASE, USER, FREE):
            name = plugin.partition(".")[2]
            service = f"{name}.ask"
            life = self.lives.get(plugin)
            serving = life is not None and life.state == "active"
            # An event at every step: it is counted by whoever is active, and by nobody else.
            delivery = await self.k.publish(f"{name}.event.x", 1, confirm=True)
            assert delivery == Delivery(int(serving), int(serving))
            if life is not None and serving:
                life.count += 1
            assert (service in services) == serving
            try:
                answer = await self.k.request(service)
            except NoProvider:
                assert not serving
            except CapabilityDenied:
                assert life is not None
                assert life.version not in life.granted
            else:
                assert life is not None
                assert life.version in life.granted
                assert answer == [life.version, life.count, []]


LifeMachine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
test_kernel_catalog_and_bus_agree_with_the_model = LifeMachine.TestCase
