"""The plugin: what the control socket offers, over HTTP, for principals with the right and a second factor."""

from __future__ import annotations

import asyncio
from typing import Any

from rustcare_sdk import Health

from .central import CentralServices
from .events import Events
from .live import EventRoute
from .plugins import PluginRoutes
from .rpc import RpcRoute
from .system import SystemRoutes
from .uploads import Uploads

__all__ = ["Admin"]


class Admin(SystemRoutes, PluginRoutes, RpcRoute, EventRoute, CentralServices):
    """The operator's API over HTTP. Every command is the kernel's own (`kernel.control`), in the caller's name."""

    state_version = 1

    async def start(self) -> None:
        """Nothing is asked of anybody yet."""
        config = self.ctx.config
        self.any_source = bool(config["any_source"])
        uploads, events = config["uploads"], config["events"]
        self.turn, self.inspecting = asyncio.Lock(), asyncio.Lock()
        self.uploads = Uploads(int(uploads["total"]), float(uploads["keep"]), self.time, self.ctx.random)
        self.events = Events(self.ctx.random(6).hex(), int(events["kept"]))
        self.heartbeat = float(events["heartbeat"])
        self.longest = float(events["longest"])
        self.period = float(events["accounting"])
        self.ctx.spawn(self.read_accounting(), name="accounting")

    async def stop(self) -> None:
        """End the streams; their readers have what there is."""
        self.stopped = True
        if hasattr(self, "events"):
            self.events.close()

    async def health(self) -> Health:
        """It keeps nothing that could be broken."""
        return Health(details={"watched": self.watched()})

    async def export_state(self) -> Any:
        """The latest events, so that readers can go on with the next version."""
        return self.events.export()

    async def import_state(self, state: Any) -> None:
        """Go on where the version before stopped."""
        self.events.take_over(state)
