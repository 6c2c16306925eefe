"""The HTTP server: uvicorn's parser and protocol, made strict, with time limits and a graceful end."""

from __future__ import annotations

from .connection import Connection
from .server import Bounds, Server
from .target import Target, parse_host, parse_target

__all__ = ["Bounds", "Connection", "Server", "Target", "parse_host", "parse_target"]
