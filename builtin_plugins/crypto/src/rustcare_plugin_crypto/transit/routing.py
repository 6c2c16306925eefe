"""From a method and a path to the function that answers; errors as Vault tells them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rustcare_sdk import RustCareError

from rustcare_plugin_crypto.keyring import Caller

from .data import Data
from .forms import Body, Reply
from .keys import Keys

__all__ = ["Transit"]

_STATUS: Mapping[str, int] = {
    "crypto.key-unknown": 404,
    "crypto.key-forbidden": 403,
    "crypto.algorithm.refused": 403,
    "crypto.overloaded": 503,
    "crypto.keyring-damaged": 500,
}
_WRITES = ("POST", "PUT")


class Transit:
    """The API. `handler(caller)` gives the plain function `(method, path, body) -> (status, body)` for one caller."""

    def __init__(self, data: Data, keys: Keys) -> None:
        self._data = data
        self._keys = keys

    def handler(self, caller: Caller) -> Callable[[str, str, Body], Awaitable[Reply]]:
        """The API as one caller has it."""

        async def handle(method: str, path: str, body: Body) -> Reply:
            return await self.handle(caller, method, path, body)

        return handle

    async def handle(self, caller: Caller, method: str, path: str, body: Body) -> Reply:
        """Answer a request; `path` is that below the mount, such as `encrypt/orders`. Raises nothing of ours."""
        parts = [part for part in path.strip("/").split("/") if part]
        try:
            found = self._find(caller, method.upper(), parts, body)
            return _told(404, "unsupported path") if found is None else await found
        except RustCareError as error:
            return _told(_STATUS.get(error.code, 400), error.message)

    def _find(self, caller: Caller, method: str, parts: list[str], body: Body) -> Awaitable[Reply] | None:
        data, keys = self._data, self._keys
        match (method, *parts):
            case ("POST" | "PUT", "encrypt", name):
                return data.encrypt(caller, name, body)
            case ("POST" | "PUT", "decrypt", name):
                return data.decrypt(caller, name, body)
            case ("POST" | "PUT", "rewrap", name):
                return data.rewrap(caller, name, body)
            case ("POST" | "PUT", "datakey", kind, name):
                return data.datakey(caller, kind, name, body)
            case ("POST" | "PUT", "sign", name, *rest) if len(rest) < 2:
                return data.sign(caller, name, _with_hash(body, rest))
            case ("POST" | "PUT", "verify", name, *rest) if len(rest) < 2:
                return data.verify(caller, name, _with_hash(body, rest))
            case ("POST" | "PUT", "hmac", name, *rest) if len(rest) < 2:
                return data.hmac(caller, name, _with_hash(body, rest))
            case ("POST" | "PUT", "hash", *rest) if len(rest) < 2:
                return data.hash(rest[0] if rest else "", body)
            case ("POST" | "PUT", "random", *rest) if len(rest) < 2:
                return data.random(rest[0] if rest else "", body)
            case ("LIST", "keys"):
                return keys.list(caller)
            case ("GET", "keys") if body.get("list") in (True, "true"):
                return keys.list(caller)
            case ("GET", "wrapping_key"):
                return keys.wrapping_key()
            case ("GET", "export", _, name, *rest) if len(rest) < 2:
                return keys.export(caller, name, rest[0] if rest else "")
            case ("GET", "backup", name):
                return keys.backup(caller, name)
            case ("POST" | "PUT", "restore", *rest) if len(rest) < 2:
                return keys.restore(caller, rest[0] if rest else "", body)
            case (_, "keys", name, *rest) if len(rest) < 2:
                return self._of_key(caller, method, name, rest[0] if rest else "", body)
        return None

    def _of_key(self, caller: Caller, method: str, name: str, action: str, body: Body) -> Awaitable[Reply] | None:
        keys = self._keys
        if not action:
            reads = {"GET": lambda: keys.read(caller, name), "DELETE": lambda: keys.delete(caller, name)}
            chosen = (
                reads.get(method) or (lambda: keys.create(caller, name, body)) if method in (*reads, *_WRITES) else None
            )
            return None if chosen is None else chosen()
        actions: dict[str, Callable[[], Awaitable[Reply]]] = {
            "rotate": lambda: keys.rotate(caller, name),
            "config": lambda: keys.configure(caller, name, body),
            "trim": lambda: keys.trim(caller, name, body),
            "import": lambda: keys.take(caller, name, body, version=False),
            "import_version": lambda: keys.take(caller, name, body, version=True),
        }
        return actions[action]() if method in _WRITES and action in actions else None


def _with_hash(body: Body, rest: list[str]) -> Body:
    return {**body, "hash_algorithm": rest[0]} if rest else body


def _told(status: int, message: str) -> tuple[int, dict[str, Any]]:
    return status, {"errors": [message]}
