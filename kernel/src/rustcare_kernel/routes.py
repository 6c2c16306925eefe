"""Which plugin answers which HTTP route. A route is served on the bus as any service; this is the list of them.

The kernel speaks no HTTP: a gateway asks for the list (`kernel.routes`), is told of every change (`http.routes`), and
requests the services. So what holds for services holds for routes: rights at every request, and upgrades that lose nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from rustcare_sdk.contracts.http import RouteRow
from rustcare_sdk.plugin import Handler
from rustcare_sdk.routes import Route, route_service, segments

from .accounting import Use
from .errors import RouteTaken
from .grants import Grants, Rights

__all__ = ["RouteRights", "RouteTable", "services_of"]


def services_of(plugin: str, handlers: Iterable[Handler]) -> dict[str, Handler]:
    """The routes among a plugin's handlers, by the service under which each is requested."""
    found: dict[str, Handler] = {}
    seen: dict[str, int] = {}
    for handler in handlers:
        if handler.kind == "route":
            index = seen.get(handler.method, 0)
            seen[handler.method] = index + 1
            found[route_service(plugin, handler.method, index)] = handler
    return found


class RouteRights(Rights):
    """The rights of a plugin under which one of its routes is served: `http:route@METHOD /path`, asked at every request."""

    __slots__ = ("use",)

    def __init__(self, grants: Grants, plugin: str, digest: str, route: Route) -> None:
        super().__init__(grants, plugin, digest)
        self.use = route.use

    def check(self, kind: str, action: str, scope: str, tenant: str, *, count: bool = True) -> Use:
        """As `Rights.check`; to serve is to answer the route."""
        return super().check("http", "route", self.use, tenant, count=count)

    def check_bus(self, cache: dict[tuple[str, str], Use], action: str, scope: str, tenant: str) -> Use:
        """As `Rights.check_bus`; to serve is to answer the route."""
        return self.ask_and_cache(cache, (tenant, scope), "http", "route", self.use, tenant)


class RouteTable:
    """The routes of one kernel.

    Args:
        changed: told which plugin's routes came or went.
    """

    def __init__(self, changed: Callable[[str], None]) -> None:
        self.revision = 0
        self._changed = changed
        self._rows: dict[str, tuple[object, list[RouteRow]]] = {}  # by plugin: whose they are, and what they are
        self._shapes: dict[tuple[str, str], tuple[str, str]] = {}  # method and shape: plugin and path

    def check(self, plugin: str, routes: Mapping[str, Handler]) -> None:
        """Raise RouteTaken when another plugin, or another handler of the same, answers a route already."""
        mine: dict[tuple[str, str], str] = {}
        for handler in routes.values():
            route = handler.route
            assert route is not None, "a route handler declares its route"
            shape = (route.method, _shape(route.path))
            owner, path = self._shapes.get(shape, (plugin, ""))
            if owner != plugin or shape in mine:
                raise RouteTaken(
                    f"{plugin} wants to answer {route.use}, which {owner if owner != plugin else 'it'} answers already "
                    f"({route.method} {path or mine.get(shape, '')})",
                    hint="disable one of the two, or give the route another path",
                    address=route.use,
                )
            mine[shape] = route.path

    def put(
        self, plugin: str, version: str, routes: Mapping[str, Handler], owner: object, *, sandboxed: bool = False
    ) -> None:
        """These are a plugin's routes from now on."""
        rows = [
            _row(service, plugin, version, handler.route, sandboxed)
            for service, handler in routes.items()
            if handler.route
        ]
        if not rows and plugin not in self._rows:
            return
        self._forget_shapes(plugin)
        self._rows[plugin] = (owner, rows)
        for row in rows:
            self._shapes[row.method, _shape(row.path)] = (plugin, row.path)
        self._tell(plugin)

    def drop(self, plugin: str, owner: object) -> None:
        """A version's routes go, unless another version's have taken their place."""
        found = self._rows.get(plugin)
        if found is not None and found[0] is owner:
            del self._rows[plugin]
            self._forget_shapes(plugin)
            self._tell(plugin)

    def rows(self, plugin: str = "") -> list[RouteRow]:
        """The routes of one plugin, or of all, by path and method."""
        found = [row for _, rows in self._rows.values() for row in rows if plugin in ("", row.plugin)]
        return sorted(found, key=lambda row: (row.path, row.method))

    def _forget_shapes(self, plugin: str) -> None:
        self._shapes = {shape: held for shape, held in self._shapes.items() if held[0] != plugin}

    def _tell(self, plugin: str) -> None:
        self.revision += 1
        self._changed(plugin)


def _shape(path: str) -> str:
    """A path without the names of its parameters: `/a/{id}` and `/a/{name}` are the same route."""
    parts = (("{...}" if part.rest else "{}") if part.parameter else part.text for part in segments(path))
    return "/" + "/".join(parts)


def _row(service: str, plugin: str, version: str, route: Route, sandboxed: bool) -> RouteRow:
    said = {field.name: getattr(route, field.name) for field in dataclasses.fields(Route)}
    return RouteRow(service, plugin, version, sandboxed=sandboxed, **said)
