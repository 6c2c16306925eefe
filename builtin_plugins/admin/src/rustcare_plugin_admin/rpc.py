"""JSON-RPC 2.0 over HTTP: the methods of the control socket, for programs that know it, such as the command line.

What is asked happens in the caller's name, whatever the request says, and is on record under it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from rustcare_sdk import route
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.contracts.plugin import CONTROL
from rustcare_sdk.errors import RustCareError
from rustcare_sdk.message import Message

from .base import Base
from .errors import PROBLEMS, NotFromHere

__all__ = ["RpcRoute"]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
APPLICATION = -32000
#: Seconds that a command may take: a large package is compiled when it is installed.
LONGEST = 900.0


class _Call(msgspec.Struct):
    """One request (JSON-RPC 2.0, section 4); without `id` it is a notification and gets no answer."""

    method: str
    jsonrpc: str = ""
    params: dict[str, Any] = {}
    id: int | str | msgspec.UnsetType | None = msgspec.UNSET


class RpcRoute(Base):
    """`POST /admin/v1/rpc`."""

    @route(
        "POST",
        "/admin/v1/rpc",
        scope="admin",
        aal=2,
        tenant="system",
        limit="none",
        max_body=16 * 1024 * 1024,
        timeout=LONGEST,
        media_types=("application/json",),
        problems=PROBLEMS,
        summary="The control API as JSON-RPC 2.0",
    )
    async def rpc(self, message: Message[HttpRequest[Any]]) -> HttpResponse:
        """Answer one request. Whatever became of it is in the answer, whose status is 200; 204 for a notification."""
        number: Any = None
        try:
            call = msgspec.json.decode(message.data.body, type=_Call)
            number = None if call.id is msgspec.UNSET else call.id
            if call.jsonrpc != "2.0":
                return _answer(None, {"error": _refusal(INVALID_REQUEST, 'expected "jsonrpc": "2.0"')})
            found = {"result": await self._run(message, call)}
        except msgspec.ValidationError as error:
            return _answer(None, {"error": _refusal(INVALID_REQUEST, str(error))})
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _answer(None, {"error": _refusal(PARSE_ERROR, "expected JSON")})
        except RustCareError as error:
            code = APPLICATION
            if error.code == "control.invalid-request":
                code = METHOD_NOT_FOUND if error.address == "method" else INVALID_PARAMS
            data = {"code": error.code, "hint": error.hint, "address": error.address}
            found = {"error": {"code": code, "message": error.message, "data": data}}
        if call.id is msgspec.UNSET:
            return HttpResponse(204)
        return _answer(number, found)

    async def _run(self, message: Message[HttpRequest[Any]], call: _Call) -> Any:
        params = dict(call.params)
        if call.method in ("bus.request", "bus.publish"):
            name = str(params.get("service") or params.get("subject") or "")
            if name == CONTROL or name.startswith("http.route."):
                raise NotFromHere(
                    f"{name} is not asked through this door",
                    hint="call the method itself, or the route over HTTP",
                    address="service",
                )
            for field, own in (("principal", message.principal), ("on_behalf", message.data.caller.on_behalf)):
                if params.get(field, own) not in ("", own):
                    raise NotFromHere(
                        f"expected the caller's own {field}, got another",
                        hint="leave it out: it is what the caller proved",
                        address=field,
                    )
                params[field] = own
        return await self.control(call.method, params, timeout=LONGEST)


def _answer(number: Any, found: dict[str, Any]) -> HttpResponse:
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": number, **found}, enc_hook=str)
    return HttpResponse(200, body=body, media_type="application/json", headers={"cache-control": "no-store"})


def _refusal(number: int, text: str) -> dict[str, Any]:
    data = {"code": "control.invalid-request", "hint": "", "address": ""}
    return {"code": number, "message": text, "data": data}
