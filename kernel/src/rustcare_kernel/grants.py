"""The tree of grants: give, attenuate, revoke, check.

A plugin may do what its manifest asks for AND the operator granted AND, where the tenant has a say of its own, the tenant
granted AND, for a derived grant, every grant above it still holds. Deny beats allow. A grant names the package's digest:
other code, other grants.

Every answer is cached in the plugin's `Rights`; giving or revoking anything bumps the `epoch`, and a cache of another
epoch is thrown away before it is used. So a revoked right fails on the very next use, at the price of one comparison.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from msgspec import Struct
from rustcare_sdk.capability import Capability, covers, intersect, parse
from rustcare_sdk.errors import CapabilityDenied

from .accounting import Accounting, Use
from .errors import GrantExceedsParent, GrantUnknown, RateExceeded

__all__ = ["CACHED", "Grant", "Grants", "Issuer", "Rights"]

Issuer = Literal["operator", "tenant"]

_FOREVER = float("inf")
#: How the services that answer HTTP begin (`rustcare_sdk.routes.route_service`).
ROUTES = "http.route."
#: Answers that are kept. Subjects and tenants come from outside: a cache must not grow without bound.
CACHED = 50_000


class Grant(Struct, frozen=True):
    """One grant. `tenant` None means every tenant; `parent` is the grant it derives from; `expires` Unix seconds.

    `issuer` says who speaks: the operator, or a tenant about itself. Once a tenant has issued anything about a plugin, that
    plugin can do for that tenant only what the tenant allows too (and nothing, when the tenant revoked it all).
    """

    id: str
    plugin: str
    digest: str
    capability: str
    tenant: str | None = None
    deny: bool = False
    parent: str | None = None
    issuer: Issuer = "operator"
    granted_by: str = "operator"
    granted_at: float = 0.0
    expires: float | None = None


class _Node:
    __slots__ = ("capability", "children", "grant", "live")

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.capability = parse(grant.capability)
        self.children: list[_Node] = []
        self.live = True


class Grants:
    """All grants of one kernel. Not thread-safe: used on the kernel's event loop."""

    def __init__(self, accounting: Accounting, clock: Callable[[], float] = time.time) -> None:
        self.epoch = 0
        self.accounting = accounting
        self.observer: Callable[[str, str, str, bool], None] | None = None
        self._clock = clock
        self._nodes: dict[str, _Node] = {}
        self._by_package: dict[tuple[str, str], list[_Node]] = {}
        self._manifests: dict[tuple[str, str], tuple[Capability, ...]] = {}
        self._tenants_with_a_say: set[tuple[str, str]] = set()

    # what packages ask for

    def declare(self, plugin: str, digest: str, asked: Iterable[Capability]) -> None:
        """Say what a package's manifest asks for: the outermost bound of what it can ever do."""
        self._manifests[plugin, digest] = tuple(asked)
        self.epoch += 1

    # the tree

    def prepare(
        self,
        plugin: str,
        digest: str,
        capability: str,
        *,
        tenant: str | None = None,
        deny: bool = False,
        parent: str | None = None,
        issuer: Issuer = "operator",
        granted_by: str = "operator",
        expires: float | None = None,
    ) -> Grant:
        """A checked grant that is not in force yet, so that it can be written down first (`add` puts it in force).

        Raises:
            InvalidCapability: the text is not a capability.
            GrantUnknown: there is no such parent, or it was revoked.
            GrantExceedsParent: it would hold more than its parent: a wider capability, another tenant, a longer life.
        """
        wanted = parse(capability)
        if issuer == "tenant" and tenant is None:
            raise GrantExceedsParent(
                f"a tenant grants {wanted} to {plugin} for itself only, this would be for every tenant",
                hint="name the tenant",
            )
        if parent is not None:
            above = self._nodes.get(parent)
            if above is None or not self._alive(above):
                raise GrantUnknown(
                    f"grant {parent!r} does not exist or was revoked, so nothing can derive from it",
                    hint="derive from a grant that is in force",
                )
            over = above.grant
            if over.deny or not covers(above.capability, wanted):
                raise GrantExceedsParent(
                    f"{wanted} is not covered by {above.capability}, which grant {parent} holds",
                    hint="ask for a narrower capability",
                )
            if over.tenant is not None and tenant != over.tenant:
                raise GrantExceedsParent(
                    f"the parent grant is for tenant {over.tenant!r}, this one is for {tenant or 'every tenant'!r}",
                    hint="derive for the same tenant",
                )
            if over.expires is not None and (expires is None or expires > over.expires):
                expires = over.expires
        return Grant(
            id=uuid.uuid4().hex,
            plugin=plugin,
            digest=digest,
            capability=str(wanted),
            tenant=tenant,
            deny=deny,
            parent=parent,
            issuer=issuer,
            granted_by=granted_by,
            granted_at=self._clock(),
            expires=expires,
        )

    def add(self, grant: Grant) -> None:
        """Put a grant in force. Adding one again changes nothing."""
        if grant.id in self._nodes:
            return
        node = _Node(grant)
        above = self._nodes.get(grant.parent) if grant.parent is not None else None
        if grant.parent is not None:
            if above is None or not self._alive(above):
                return  # its parent fell meanwhile, so it never holds
            above.children.append(node)
        self._nodes[grant.id] = node
        self._by_package.setdefault((grant.plugin, grant.digest), []).append(node)
        if grant.issuer == "tenant" and grant.tenant is not None:
            self._tenants_with_a_say.add((grant.plugin, grant.tenant))
        self.epoch += 1

    def give(self, plugin: str, digest: str, capability: str, **options: Any) -> Grant:
        """`prepare` and `add` in one step, for grants that need not be written down."""
        grant = self.prepare(plugin, digest, capability, **options)
        self.add(grant)
        return grant

    def revoke(self, grant_id: str) -> list[str]:
        """Take a grant back, and every grant derived from it. The ids of all that fell.

        Raises GrantUnknown for an id that was never given or has fallen already.
        """
        node = self._nodes.get(grant_id)
        if node is None:
            raise GrantUnknown(f"no grant {grant_id!r} is in force", hint="list grants with `rustcare plugin caps`")
        fallen: list[str] = []
        todo = [node]
        while todo:
            item = todo.pop()
            item.live = False
            fallen.append(item.grant.id)
            self._nodes.pop(item.grant.id, None)
            kept = self._by_package.get((item.grant.plugin, item.grant.digest), [])
            kept[:] = [other for other in kept if other is not item]
            todo.extend(item.children)
        above = self._nodes.get(node.grant.parent) if node.grant.parent else None
        if above is not None:
            above.children = [child for child in above.children if child is not node]
        self.epoch += 1
        return fallen

    def forget(self, plugin: str, digest: str) -> list[str]:
        """Drop everything about one package; the ids of the grants that fell (with those derived from them)."""
        fallen: list[str] = []
        for node in list(self._by_package.get((plugin, digest), ())):
            if node.grant.id in self._nodes:
                fallen.extend(self.revoke(node.grant.id))
        self._by_package.pop((plugin, digest), None)
        self._manifests.pop((plugin, digest), None)
        self.epoch += 1
        return fallen

    def remember_tenant(self, plugin: str, tenant: str) -> None:
        """Note that a tenant has a say about a plugin, although no grant of its own is left."""
        self._tenants_with_a_say.add((plugin, tenant))
        self.epoch += 1

    def replace_tenants(self, pairs: set[tuple[str, str]]) -> None:
        """These (plugin, tenant), and no others, are the tenants that have a say."""
        if pairs != self._tenants_with_a_say:
            self._tenants_with_a_say = pairs
            self.epoch += 1

    def forget_plugin(self, plugin: str) -> None:
        """Drop everything about a plugin that is removed, whatever its digest."""
        for known, digest in [*self._by_package, *self._manifests]:
            if known == plugin:
                self.forget(plugin, digest)
        self._tenants_with_a_say = {pair for pair in self._tenants_with_a_say if pair[0] != plugin}

    def digests(self, plugin: str) -> list[str]:
        """Every digest of a plugin that holds grants or is declared: the running one, earlier ones, one on its way."""
        return list(dict.fromkeys(digest for known, digest in [*self._by_package, *self._manifests] if known == plugin))

    def of(self, plugin: str, digest: str) -> Iterator[Grant]:
        """The grants in force for one package."""
        return (node.grant for node in self._by_package.get((plugin, digest), ()) if self._alive(node))

    def ids(self) -> list[str]:
        """The ids of all grants that were given and did not fall."""
        return list(self._nodes)

    def tenants(self, plugin: str) -> list[str]:
        """The tenants that have a say about a plugin, sorted."""
        return sorted(tenant for known, tenant in self._tenants_with_a_say if known == plugin)

    # checking

    def missing(self, plugin: str, digest: str, asked: Iterable[Capability]) -> list[Capability]:
        """Those of the asked capabilities that no operator's grant for every tenant covers."""
        held = [
            node
            for node in self._by_package.get((plugin, digest), ())
            if node.grant.issuer == "operator" and node.grant.tenant is None and not node.grant.deny
        ]
        return [
            wanted for wanted in asked if not any(covers(node.capability, wanted) for node in held if self._alive(node))
        ]

    def find(self, plugin: str, digest: str, tenant: str, wanted: Capability) -> tuple[Capability, bool]:
        """The granted capability that allows a use, and whether the answer may be cached (it does not expire).

        Its rate is the lowest that manifest, operator and tenant set. Raises CapabilityDenied, which says which of the
        parties did not agree.
        """
        asked = _loosest(item for item in self._manifests.get((plugin, digest), ()) if covers(_bare(item), wanted))
        if asked is None:
            raise _denied(plugin, wanted, "its manifest does not ask for it", "declare it in plugin.toml and upgrade")
        by_operator: list[Capability] = []
        by_tenant: list[Capability] = []
        steady = True
        for node in self._by_package.get((plugin, digest), ()):
            grant = node.grant
            if grant.tenant is not None and grant.tenant != tenant:
                continue
            steady = steady and self._steady(node)
            if not self._alive(node):
                continue
            if grant.deny:
                # A use may itself be a pattern (a subscription): it is denied when any part of it is.
                if intersect(_bare(node.capability), wanted) is not None:
                    raise _denied(plugin, wanted, "it is denied by operator or tenant", "rustcare plugin revoke --deny")
            elif covers(_bare(node.capability), wanted):
                (by_tenant if grant.issuer == "tenant" else by_operator).append(node.capability)
        operator = _loosest(by_operator)
        if operator is None:
            raise _denied(
                plugin, wanted, "the operator has not granted it", f"rustcare plugin grant {plugin} '{wanted}'"
            )
        parties = [operator, asked]
        if (plugin, tenant) in self._tenants_with_a_say:
            own = _loosest(by_tenant)
            if own is None:
                raise _denied(plugin, wanted, f"tenant {tenant!r} has not granted it", "the tenant must grant it")
            parties.append(own)
        limits = [item for item in parties if item.rate is not None]
        strictest = min(limits, key=lambda item: item.rate or 0.0).options if limits else ()
        return Capability(operator.kind, operator.action, operator.scope, strictest), steady

    def _alive(self, node: _Node) -> bool:
        """In force: not revoked, not expired, and so is every grant above it."""
        item: _Node | None = node
        while item is not None:
            expires = item.grant.expires
            if not item.live or (expires is not None and expires <= self._clock()):
                return False
            parent = item.grant.parent
            if parent is None:
                return True
            item = self._nodes.get(parent)
        return False

    def _steady(self, node: _Node) -> bool:
        item: _Node | None = node
        while item is not None:
            if item.grant.expires is not None:
                return False
            item = self._nodes.get(item.grant.parent) if item.grant.parent else None
        return True


class Rights:
    """What one running package may do: the cached answers of `Grants`, one comparison from being thrown away."""

    __slots__ = ("_grants", "_uses", "digest", "epoch", "plugin", "publish", "request", "serve", "subscribe")

    def __init__(self, grants: Grants, plugin: str, digest: str) -> None:
        self._grants = grants
        self.plugin = plugin
        self.digest = digest
        self.epoch = grants.epoch
        # Keyed by (tenant, subject), one for each action. The bus looks into these itself: they are its hot path.
        self.publish: dict[tuple[str, str], Use] = {}
        self.request: dict[tuple[str, str], Use] = {}
        self.serve: dict[tuple[str, str], Use] = {}
        self.subscribe: dict[tuple[str, str], Use] = {}
        self._uses: dict[tuple[str, str, str], Use] = {}

    def fresh(self) -> None:
        """Throw the cache away if anything was given or revoked since."""
        if self.epoch != self._grants.epoch:
            self.publish.clear()
            self.request.clear()
            self.serve.clear()
            self.subscribe.clear()
            self._uses.clear()
            self.epoch = self._grants.epoch

    def check(self, kind: str, action: str, scope: str, tenant: str, *, count: bool = True) -> Use:
        """The counter of the right, or CapabilityDenied; RateExceeded when its rate is used up. Counts one use."""
        self.fresh()
        key = (f"{kind}:{action}", tenant, scope)
        use = self._uses.get(key)
        if use is None:
            use, steady = self._ask(kind, action, scope, tenant)
            if steady:
                if len(self._uses) > CACHED:
                    self._uses.clear()
                self._uses[key] = use
        if use.limit is not None:
            use.limit.take()
        if count:
            use.count += 1
        return use

    def steady(self, kind: str, action: str, scope: str, tenant: str) -> bool:
        """Whether the last answer to `check` holds until the epoch changes: no grant that it rests on expires."""
        return (f"{kind}:{action}", tenant, scope) in self._uses

    def check_bus(self, cache: dict[tuple[str, str], Use], action: str, scope: str, tenant: str) -> Use:
        """The slow half of the bus's own check: ask, count, and cache what can be cached."""
        return self.ask_and_cache(cache, (tenant, scope), "bus", action, scope, tenant)

    def check_request(self, service: str, tenant: str) -> None:
        """The slow half of the bus's check of a request.

        What answers HTTP believes what the request says of its caller: scopes, assurance, session. So a route is asked only
        by whoever may say for whom its calls are, which no plugin could make up for with `bus:request` alone.
        """
        if service.startswith(ROUTES):
            self.check("bus", "originate", tenant, tenant, count=False)
            if not self.steady("bus", "originate", tenant, tenant):
                self.check("bus", "request", service, tenant)
                return
        self.check_bus(self.request, "request", service, tenant)

    def ask_and_cache(
        self, cache: dict[tuple[str, str], Use], key: tuple[str, str], kind: str, action: str, scope: str, tenant: str
    ) -> Use:
        """Ask for a right, count one use, and keep the answer in `cache` under `key` if it holds until something changes."""
        use, steady = self._ask(kind, action, scope, tenant)
        if use.limit is not None:
            use.limit.take()
        elif steady:
            if len(cache) > CACHED:
                cache.clear()
            cache[key] = use
        use.count += 1
        return use

    def permit(self, cache: dict[tuple[str, str], Use], action: str, scope: str, tenant: str) -> None:
        """Raise CapabilityDenied when the right is not held. Counts nothing but a denial, and takes nothing off a rate."""
        self.fresh()
        if (tenant, scope) not in cache:
            self._ask("bus", action, scope, tenant)

    def holds(self, kind: str) -> bool:
        """Whether any capability of a kind is asked for and granted, to any tenant: whether to link it at all."""
        return any(not grant.deny and parse(grant.capability).kind == kind for grant in self._all())

    def _all(self) -> Iterator[Grant]:
        return self._grants.of(self.plugin, self.digest)

    def _ask(self, kind: str, action: str, scope: str, tenant: str) -> tuple[Use, bool]:
        grants = self._grants
        wanted = Capability(kind, action, scope)
        try:
            granted, steady = grants.find(self.plugin, self.digest, tenant, wanted)
        except CapabilityDenied:
            # Counted by kind and action, not by scope: a plugin that guesses names must not grow the table.
            grants.accounting.use(self.plugin, tenant, f"{kind}:{action}").denied += 1
            if grants.observer is not None:
                grants.observer(self.plugin, str(wanted), tenant, False)
            raise
        use = grants.accounting.use(self.plugin, tenant, str(granted))
        rate = granted.rate
        if rate is not None and use.limit is None:
            use.limit = _Rate(self.plugin, granted, rate)
        if grants.observer is not None:
            grants.observer(self.plugin, str(wanted), tenant, True)
        return use, steady


class _Rate:
    """A token bucket of one second's worth: `rate` uses a second, bursts up to that many."""

    __slots__ = ("_at", "_name", "_rate", "_tokens")

    def __init__(self, plugin: str, capability: Capability, rate: float) -> None:
        self._rate = rate
        self._tokens = max(1.0, rate)
        self._at = time.monotonic()
        self._name = f"{plugin} uses {capability}"

    def take(self) -> None:
        now = time.monotonic()
        self._tokens = min(max(1.0, self._rate), self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            raise RateExceeded(f"{self._name} more often than granted", hint="slow down, or grant a higher rate")
        self._tokens -= 1.0


def _bare(capability: Capability) -> Capability:
    """Without options: a rate bounds how often, not whether."""
    return Capability(capability.kind, capability.action, capability.scope)


def _loosest(capabilities: Iterable[Capability]) -> Capability | None:
    """Of those that all allow a use, the one without a rate, or else with the highest."""
    return max(capabilities, key=lambda item: _FOREVER if item.rate is None else item.rate, default=None)


def _denied(plugin: str, wanted: Capability, why: str, hint: str) -> CapabilityDenied:
    return CapabilityDenied(f"{plugin} may not use {wanted}: {why}", hint=hint)
