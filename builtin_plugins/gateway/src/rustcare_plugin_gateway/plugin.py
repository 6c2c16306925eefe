"""The plugin: puts the parts together at the start, follows what changes, and lets requests end before it stops."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from rustcare_sdk import Health, Message, Plugin, serve, subscribe
from rustcare_sdk.contracts.http import CHANGED, GATEWAY_STATUS, GatewayRequest, GatewayStatus, RoutesChanged
from rustcare_sdk.contracts.identity import (
    JWKS_CHANGED,
    REVOKED,
    TENANT_CHANGED,
    TENANTS,
    JwksReply,
    Revocation,
    TenantInfo,
    TenantsReply,
    TenantsRequest,
)
from rustcare_sdk.contracts.plugin import STATE, PluginState
from rustcare_sdk.errors import NoProvider, RustCareError

from .access import AccessLog
from .answers import Answers
from .authenticate import Authenticator
from .authorize import Authorizer
from .credentials import Finder
from .forward_auth import ForwardAuth
from .headers import Hardening
from .limits import LeaseReply, LeaseRequest, Lessee, Lessor, Limits
from .limits.lease import SERVICE
from .metrics import Counters
from .openapi import Description
from .own_routes import OwnRoutes
from .pipeline import Pipeline
from .proxies import Proxies
from .refusals import Refusals
from .routes import RouteTable
from .server import Bounds, Server
from .tenants import Tenants
from .tls import context_of
from .visit import Visit

__all__ = ["Gateway"]

REFRESH = 15.0  # seconds after which routes and tenants are asked for again, should an event have been missed


class Gateway(Plugin):
    """The front door: HTTP for plugins, with authentication, tenants, rate limits and tracing."""

    _server: Server | None = None

    async def start(self) -> None:
        """Build the pipeline, ask for routes and tenants, and listen."""
        config = self.ctx.config
        self._known = False  # whether identity has told its tenants
        self._stale = True  # whether it has to be asked again
        self._meanwhile: dict[str, TenantInfo] = {}  # tenants that changed while it was asked
        self._wanted = asyncio.Event()
        self._grace = float(config["drain"])
        self._patient = bool(config["ready_without_identity"])
        self._build()
        await self._authenticator.start()
        await self._refresh()
        # Which connections are accepted before the version before has handed over is the kernel's to say.
        listener = await self.ctx.serve_protocol(
            str(config["host"]), int(config["port"]), self._server_of().factory, ssl=context_of(config["tls"])
        )
        self.address = listener.address
        self.ctx.spawn(self._server_of().run(), name="sweep")
        self.ctx.spawn(self._access.run(), name="access records")
        self.ctx.spawn(self._follow(), name="routes and tenants")
        self.ctx.log.info(
            "listening", host=self.address[0], port=self.address[1], tls=bool(config["tls"]["certificate"])
        )

    def _build(self) -> None:
        config, ctx = self.ctx.config, self.ctx
        counters = self._counters = Counters()
        limits = self._limits = Limits(config["limits"], int(config["limit_keys"]))
        self._lessor = Lessor(limits, time.monotonic)
        tenants = config["tenants"]
        self._tenants = Tenants(tenants["policies"], tenants["header"], tenants["fallback"], limits)
        self._routes = RouteTable(ctx.request, counters, float(config["request_timeout"]))
        self._authenticator = Authenticator(ctx, config, time.time)
        self._authorizer = Authorizer(ctx.request, required=bool(config["authorization_required"]))
        access = config["access"]
        self._access = AccessLog(
            ctx.publish,
            bound=int(access["bound"]),
            interval=float(access["interval"]),
            many=int(access["rows"]),
            refuse=config["on_audit_loss"] == "refuse",
        )
        self._answers = Answers(Hardening(int(config["hsts"])))
        forward = ForwardAuth()
        own = OwnRoutes(
            ctx.plugin.version, counters, self._unready, self._gauges, str(config["metrics"]), bool(config["docs"])
        )
        own.add_to(self._routes, forward, Description(self._routes, ctx.plugin.version))
        leases = Lessee(self._lease, ctx.spawn, time.monotonic, 50_000) if ctx.plugin.worker else None
        forward.pipeline = pipeline = Pipeline(
            ctx.request,
            self._routes,
            self._tenants,
            self._authenticator,
            limits,
            self._authorizer,
            self._access,
            counters,
            self._answers,
            Finder(bool(config["insecure_cookies"])),
            Proxies(config["trusted_proxies"]),
            Refusals(self._answers, config["browser"]["login"], config["browser"]["step_up"]),
            hosts=frozenset(host.lower() for host in config["hosts"]),
            public_url=str(config["public_url"]),
            leases=leases,
            failed=self._failed,
        )
        self._server = Server(pipeline, Bounds(**config["bounds"]))

    def _server_of(self) -> Server:
        assert self._server is not None
        return self._server

    async def stop(self) -> None:
        """Finish what is under way, close connections, put on record what is not yet."""
        if self._server is not None:
            self._answers.end_streams()
            cut = await self._server.drain(self._grace)
            if cut:
                self.ctx.log.warning("requests were cut off", count=cut)
            if not await self._access.flush():
                self.ctx.log.error("access records were lost", count=self._access.waiting, code=self._access.failing)
            await self._authenticator.stop()

    async def health(self) -> Health:
        """It is well while it runs; what it cannot do now is told in words."""
        reasons = [self._unready()] if self._unready() else []
        if self._access.failing:
            reasons.append(f"access records wait, {self._access.failing}")
        return Health(reason="; ".join(reasons), details={"connections": len(self._server_of().connections)})

    # what changes

    async def _follow(self) -> None:
        """Ask again for what may have changed: when an event says so, and from time to time."""
        while True:
            try:
                async with asyncio.timeout(REFRESH if self._known or self._patient else 1.0):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            self._wanted.clear()
            self._authorizer.look_again()
            await self._refresh()

    async def _load_routes(self, revision: int = 0) -> None:
        before = self._routes.shadowed
        await self._routes.load(revision)
        for row in self._routes.shadowed:
            if row not in before:
                self.ctx.log.warning("a route is the gateway's own to answer", plugin=row.plugin, path=row.path)

    async def _refresh(self) -> None:
        try:
            await self._load_routes()
        except RustCareError as error:
            self.ctx.log.warning("routes could not be read", code=error.code)
        if self._stale or not self._known:
            await self._load_tenants()

    async def _load_tenants(self) -> None:
        self._meanwhile.clear()
        try:
            reply: TenantsReply = await self.ctx.request(TENANTS, TenantsRequest(), type=TenantsReply)
        except NoProvider:
            self._known = False
            return
        except RustCareError as error:
            self.ctx.log.warning("tenants could not be read", code=error.code)
            return
        self._stale = False
        # What was told while the answer was under way may be newer than the answer: a tenant that was disabled stays so.
        for tenant in self._tenants.replace({**{info.id: info for info in reply.tenants}, **self._meanwhile}.values()):
            if tenant.problems:
                self.ctx.log.warning("a tenant's settings are not understood", tenant=tenant.id, why=tenant.problems)
        self._known = True

    @subscribe(CHANGED)
    async def on_routes(self, message: Message[RoutesChanged]) -> None:
        """Routes came or went."""
        await self._load_routes(message.data.revision)

    @subscribe(STATE)
    async def on_plugin(self, message: Message[PluginState]) -> None:
        """A plugin came or went: identity, or whoever decides, may be another."""
        if message.data.to_state in ("active", "stopped", "removed", "quarantined"):
            self._authorizer.changed()
            self._stale = True
            self._wanted.set()

    @subscribe(REVOKED)
    async def on_revoked(self, message: Message[Revocation]) -> None:
        """A credential is not valid any more; whoever revoked it waits until this returns."""
        self._authenticator.forget(message.data)

    @subscribe(JWKS_CHANGED)
    async def on_keys(self, message: Message[JwksReply]) -> None:
        """Tokens are signed with other keys; those of keys that are no more are not valid any more."""
        self._authenticator.keys_changed(message.data)

    @subscribe(TENANT_CHANGED)
    async def on_tenant(self, message: Message[TenantInfo]) -> None:
        """A tenant is new or has changed."""
        self._meanwhile[message.data.id] = message.data
        tenant = self._tenants.put(message.data)
        if tenant.problems:
            self.ctx.log.warning("a tenant's settings are not understood", tenant=tenant.id, why=tenant.problems)

    @serve(GATEWAY_STATUS)
    async def on_status(self, message: Message[GatewayRequest]) -> GatewayStatus:
        """Where it is reached."""
        host, port = self.address
        config = self.ctx.config
        shown = f"[{host}]" if ":" in host else host
        url = str(config["public_url"]) or f"{'https' if config['tls']['certificate'] else 'http'}://{shown}:{port}"
        return GatewayStatus(url, host, port)

    @serve(SERVICE)
    async def on_lease(self, message: Message[LeaseRequest]) -> LeaseReply:
        """Shares of rate limits for workers."""
        return self._lessor.lease(message.data)

    async def _lease(self, request: LeaseRequest) -> LeaseReply:
        reply: LeaseReply = await self.ctx.request(SERVICE, request, timeout=2.0, type=LeaseReply)
        return reply

    # what it says of itself

    def _unready(self) -> str:
        if self._server is None or self._server.draining:
            return "the gateway is about to stop"
        if self._routes.revision < 0:
            return "routes are not known yet"
        if not self._known and not self._patient:
            return "identity does not answer"
        return ""

    def _gauges(self) -> Iterable[tuple[str, str, float]]:
        server = self._server_of()
        yield "rustcare_http_connections", "Open connections.", len(server.connections)
        yield "rustcare_http_requests_in_flight", "Requests under way.", len(server.tasks)
        yield "rustcare_http_routes", "Routes of plugins.", len(self._routes.rows)
        yield "rustcare_http_tenants", "Tenants.", len(self._tenants)
        yield "rustcare_http_limit_keys", "Keys whose requests are counted.", len(self._limits.table)
        yield "rustcare_http_access_waiting", "Access records not yet on record.", self._access.waiting
        yield "rustcare_http_access_lost", "Access records that were given up.", self._access.lost

    def _failed(self, visit: Visit, error: BaseException) -> None:
        cause: Any = error.__cause__ or error
        self.ctx.log.error(
            "a request failed",
            request=visit.id,
            route="" if visit.entry is None else visit.entry.row.method + " " + visit.entry.path,
            error=type(cause).__name__,
        )
