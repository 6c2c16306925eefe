"""What a plugin author writes against.

Everything imported here is portable: standard library only, so it also runs in the sandbox's Python. The rest of the
SDK (`manifest`, `schema`, `hookspecs`, `testing`) runs on the host and may use msgspec and pluggy.
"""

from .context import Context, Database, Delivery, KeyValue, Logger, PluginInfo, Secrets
from .errors import RustCareError, ServiceError
from .message import Call, Message
from .plugin import Health, Plugin, route, serve, subscribe

__all__ = [
    "Call",
    "Context",
    "Database",
    "Delivery",
    "Health",
    "KeyValue",
    "Logger",
    "Message",
    "Plugin",
    "PluginInfo",
    "RustCareError",
    "Secrets",
    "ServiceError",
    "route",
    "serve",
    "subscribe",
]
