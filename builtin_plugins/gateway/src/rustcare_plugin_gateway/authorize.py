"""May this caller do that: by scope, tenant and assurance here, then by whoever serves `authz.check`.

While nobody serves it, what is looked at here decides alone, unless the configuration says that somebody must. An answer is
kept as long as it says; no answer is a refusal, and so is that something is missing which whoever serves it needs.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rustcare_sdk.contracts.authz import CHECK, CheckReply, CheckRequest, Entity
from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.errors import NoProvider, RustCareError
from rustcare_sdk.message import Call

from .errors import AssuranceTooLow, AuthorizationUnavailable, Forbidden, ScopeMissing, WrongTenant
from .tenants import DEFAULT

__all__ = ["ADMIN", "Authorizer", "admits", "grants"]

#: The scope that grants every other.
ADMIN = "admin"


def grants(scopes: tuple[str, ...], wanted: str) -> bool:
    """Whether scopes grant one: `a` grants `a.b`, and `admin` grants every one."""
    if not wanted or wanted in scopes or ADMIN in scopes:
        return True
    return any(wanted.startswith(scope) and wanted[len(scope)] == "." for scope in scopes)


def admits(caller: Caller, *, scope: str, aal: int, fresh: float, tenant: str, rule: str, now: float) -> None:
    """Refuse a caller who lacks what a route asks for.

    Args:
        tenant: the request's. rule: the route's `tenant`. now: Unix seconds.

    Raises:
        WrongTenant, ScopeMissing, AssuranceTooLow.
    """
    if caller.tenant != tenant or (rule == "system" and tenant != DEFAULT):
        raise WrongTenant("expected a caller of the tenant that the request is for")
    if scope and scope not in caller.scopes and not grants(caller.scopes, scope):
        raise ScopeMissing(
            f"expected the scope {scope}", fields=(_challenge("insufficient_scope", f'scope="{scope}"'),)
        )
    if caller.aal < aal:
        raise AssuranceTooLow(
            f"expected assurance level {aal}, got {caller.aal}",
            hint="sign in with a second factor",
            fields=(_challenge("insufficient_user_authentication", f'acr_values="aal{aal}"'),),
        )
    if fresh and now - caller.authenticated > fresh:
        raise AssuranceTooLow(
            f"expected a caller who has signed in within the last {fresh:g} s",
            hint="sign in again",
            fields=(_challenge("insufficient_user_authentication", f'max_age="{fresh:g}"'),),
        )


def _challenge(error: str, more: str) -> tuple[str, str]:
    return ("www-authenticate", f'Bearer realm="rustcare", error="{error}", {more}')


class Authorizer:
    """Asks `authz.check`.

    Args:
        request: `ctx.request`.
        size: how many answers are kept at once.
        required: whether everything is refused while nobody serves it.
    """

    def __init__(self, request: Callable[..., Awaitable[Any]], size: int = 20_000, *, required: bool = False) -> None:
        self._request = request
        self._required = required
        self._turn = 0
        self._half = max(1, size // 2)
        self._young: dict[tuple[Any, ...], tuple[float, CheckReply]] = {}
        self._old: dict[tuple[Any, ...], tuple[float, CheckReply]] = {}
        self.absent = False

    def changed(self) -> None:
        """A plugin changed its state: somebody may serve it now, or another."""
        self._turn += 1
        self.absent = False
        self._young = {}
        self._old = {}

    def look_again(self) -> None:
        """Ask once more whether somebody serves it, should an event have been missed."""
        self.absent = False

    async def check(
        self,
        caller: Caller,
        scope: str,
        method: str,
        path: str,
        params: Mapping[str, str],
        call: Call,
        resource: str = "route",
    ) -> None:
        """Ask. Raises Forbidden, or AuthorizationUnavailable when there is somebody to ask but no answer."""
        key = (caller, scope, method, resource, path, *params.items(), call.tenant)
        kept = self._young.get(key) or self._old.get(key)
        now = time.monotonic()
        if kept is None or kept[0] < now:
            kind, _, id_ = caller.principal.partition("/")
            properties = {"scopes": list(caller.scopes), "roles": list(caller.roles), "aal": caller.aal}
            question = CheckRequest(
                Entity(kind, id_, properties), scope or method, Entity(resource, path, dict(params)), {"method": method}
            )
            turn = self._turn
            try:
                reply = await self._request(CHECK, question, type=CheckReply, call=call)
            except RustCareError as error:
                # Whoever decides may miss somebody too: only that they themselves are not there leaves nobody to ask.
                if self._required or not isinstance(error, NoProvider) or error.address != CHECK:
                    raise AuthorizationUnavailable(
                        f"expected an answer of {CHECK}, got {error.code}", hint="try again later"
                    ) from error
                # Who came while this was under way is asked from the next request on.
                self.absent = turn == self._turn
                return
            kept = (now + reply.cacheable, reply)
            # An answer from before a change may be of somebody who decides no more.
            if reply.cacheable > 0 and turn == self._turn:
                if len(self._young) >= self._half:
                    self._old, self._young = self._young, {}
                self._young[key] = kept
        if not kept[1].allowed:
            raise Forbidden(f"not allowed: {kept[1].reason[:80]}" if kept[1].reason else "not allowed")
