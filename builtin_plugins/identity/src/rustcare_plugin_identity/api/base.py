"""What all handlers of the API share: bounds of what they take, the statuses of errors, and who may change whom.

Whatever a client sends is checked here before it reaches a service: text without NUL and of bounded length, numbers that a
database can hold. What has the wrong type altogether, the gateway has refused already.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from rustcare_sdk import Message, route
from rustcare_sdk.contracts import identity as c
from rustcare_sdk.contracts.http import HttpRequest
from rustcare_sdk.errors import RustCareError

from rustcare_plugin_identity import errors
from rustcare_plugin_identity.accounts import Account
from rustcare_plugin_identity.base import Services
from rustcare_plugin_identity.elevations import errors as elevation_errors
from rustcare_plugin_identity.guard import Guard
from rustcare_plugin_identity.keys import errors as key_errors
from rustcare_plugin_identity.sessions import errors as session_errors
from rustcare_plugin_identity.sessions.scopes import narrowed
from rustcare_plugin_identity.tokens import errors as token_errors

__all__ = [
    "ACCOUNT",
    "ELEVATION",
    "GROUP",
    "KEY",
    "READ",
    "SESSION",
    "TENANT",
    "WRITE",
    "ApiBase",
    "InvalidRequest",
    "changes",
    "checked",
    "number",
    "reads",
    "statuses",
    "words",
]

READ, WRITE = "identity.read", "identity.write"
_BASE = "/identity/v1"
_LONGEST = 4096
_MOST_WORDS = 10_000
#: What every JSON client keeps exactly.
_LARGEST = 2**53
#: What a change raises when it cannot be put on record (`Services.event`): nothing that the client could do better.
_UNRECORDED = "identity.event-unhandled"
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


class InvalidRequest(RustCareError):
    """A parameter or a part of a body is out of bounds."""

    code = "identity.invalid-request"


_STATUS: Mapping[str, int] = {
    **errors.PROBLEMS,
    InvalidRequest.code: 422,
    session_errors.SessionUnknown.code: 404,
    session_errors.SessionForbidden.code: 403,
    session_errors.AssuranceTooLow.code: 403,
    session_errors.ScopeInvalid.code: 422,
    token_errors.ScopeNotHeld.code: 403,
    key_errors.KeyUnknown.code: 404,
    key_errors.KeyInvalid.code: 422,
    key_errors.KeyForbidden.code: 403,
    elevation_errors.ElevationUnknown.code: 404,
    elevation_errors.ElevationInvalid.code: 422,
    elevation_errors.ElevationForbidden.code: 403,
    elevation_errors.ElevationOver.code: 409,
}


def statuses(*raised: type[RustCareError]) -> dict[str, int]:
    """The `problems` of a route that raises these."""
    every: tuple[type[RustCareError], ...] = (InvalidRequest, *raised)
    return {cls.code: _STATUS[cls.code] for cls in every}


#: What the services of each part raise.
ACCOUNT = (
    errors.AccountUnknown,
    errors.AccountExists,
    errors.InvalidAccount,
    errors.RoleUnknown,
    errors.GroupUnknown,
    errors.PasswordRefused,
    errors.VersionConflict,
    errors.LastAdministrator,
    errors.AdministratorsOnly,
    errors.RegistrationClosed,
    errors.MailUnavailable,
    errors.NotSignedIn,
    session_errors.SessionForbidden,
)
GROUP = (
    errors.GroupUnknown,
    errors.GroupExists,
    errors.InvalidGroup,
    errors.AccountUnknown,
    errors.RoleUnknown,
    errors.VersionConflict,
    errors.LastAdministrator,
    errors.AdministratorsOnly,
)
SESSION = (
    errors.AccountUnknown,
    errors.AdministratorsOnly,
    errors.NotSignedIn,
    session_errors.SessionUnknown,
    session_errors.SessionForbidden,
)
KEY = (
    *SESSION,
    errors.AccountExists,
    errors.InvalidAccount,
    errors.RoleUnknown,
    session_errors.ScopeInvalid,
    token_errors.ScopeNotHeld,
    key_errors.KeyUnknown,
    key_errors.KeyInvalid,
    key_errors.KeyForbidden,
)
ELEVATION = (
    *SESSION,
    session_errors.AssuranceTooLow,
    session_errors.ScopeInvalid,
    token_errors.ScopeNotHeld,
    elevation_errors.ElevationUnknown,
    elevation_errors.ElevationInvalid,
    elevation_errors.ElevationForbidden,
    elevation_errors.ElevationOver,
)
TENANT = (
    errors.TenantUnknown,
    errors.InvalidTenant,
    errors.InvalidSettings,
    errors.HostTaken,
    errors.VersionConflict,
    errors.SystemTenantOnly,
)


def reads(path: str, summary: str, raised: Iterable[type[RustCareError]] = (), **options: Any) -> Callable[[F], F]:
    """A route that reads; with the scope `identity.read`, unless it says another."""
    options = {"scope": READ, "limit": "read", **options}
    return route("GET", _BASE + path, summary=summary, problems=statuses(*raised), **options)


def changes(
    method: Any, path: str, summary: str, raised: Iterable[type[RustCareError]] = (), **options: Any
) -> Callable[[F], F]:
    """A route that changes others' things: with the scope `identity.write` and AAL2, unless it says otherwise."""
    options = {"scope": WRITE, "aal": 2, "limit": "write", **options}
    problems = {**statuses(*raised), _UNRECORDED: 503}
    return route(method, _BASE + path, summary=summary, problems=problems, **options)


def checked(value: Any, name: str, most: int = _LONGEST) -> Any:
    """Text as it came (None stays). Raises InvalidRequest when it is too long or has a NUL."""
    if isinstance(value, str) and (len(value) > most or "\x00" in value):
        raise InvalidRequest(f"expected at most {most} characters and no NUL, got something else", address=name)
    return value


def words(values: list[str] | None, name: str) -> list[str] | None:
    """A list of texts as it came. Raises InvalidRequest."""
    if values is not None:
        if len(values) > _MOST_WORDS:
            raise InvalidRequest(f"expected at most {_MOST_WORDS} items, got {len(values)}", address=name)
        for value in values:
            checked(value, name)
    return values


def number(value: int | str, name: str, least: int = 0, most: int = _LARGEST) -> int:
    """A whole number within bounds, from JSON or from text. Raises InvalidRequest."""
    found = value
    if isinstance(found, str):
        found = int(found) if found.isascii() and found.isdigit() and len(found) <= 16 else least - 1
    if not least <= found <= most:
        raise InvalidRequest(f"expected a whole number from {least} to {most}, got another", address=name)
    return found


class ApiBase(Services):
    """The base of the classes of routes."""

    def api_guard(self, message: Message[Any]) -> Guard:
        """What the caller may change."""
        caller = message.data.caller
        return Guard(self.accounts, message.tenant, caller.scopes)

    def api_part(self, message: Message[Any], name: str) -> str:
        """A part of the path. Raises InvalidRequest."""
        request: HttpRequest[Any] = message.data
        return str(checked(request.params[name], name, 512))

    def api_argument(self, message: Message[Any], name: str) -> str:
        """A query parameter. Raises InvalidRequest."""
        request: HttpRequest[Any] = message.data
        return str(checked(request.argument(name), name, 512))

    async def api_account(self, message: Message[Any], *, write: bool = False) -> Account:
        """The account that the path names; with `write`, one that the caller may change.

        Raises:
            AccountUnknown, AdministratorsOnly, InvalidRequest.
        """
        found = await self.accounts.need(message.tenant, self.api_part(message, "account"))
        if write:
            await self.api_guard(message).change(found)
        return found

    def api_scopes(self, message: Message[Any], asked: list[str]) -> list[str]:
        """Scopes for something of the caller's own that outlives the request, such as a key (empty: all of the account's).

        Whoever asks with a token or a key gets no more than that has, whatever their account may do. Raises ScopeNotHeld.
        """
        caller = message.data.caller
        if caller.kind == "session":
            return asked
        found = narrowed(caller.scopes, asked or caller.scopes)
        if not found:
            raise token_errors.ScopeNotHeld("expected at least one scope that the caller holds", address="scopes")
        return found

    async def api_read(self, account: str) -> c.AccountInfo:
        """An account as the services show it."""
        reply: c.AccountReply = await self.ctx.request(c.ACCOUNT_READ, c.AccountRequest(account), type=c.AccountReply)
        return reply.account
