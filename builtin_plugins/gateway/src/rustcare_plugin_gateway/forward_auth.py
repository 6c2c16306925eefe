"""`/auth/check`: may a request pass that nginx, Traefik or Envoy holds? The proxy asks with the request's own header fields.

200 lets it pass, with who the caller is in `X-Auth-Principal`, `X-Auth-Tenant` and `X-Auth-Scopes`, for the service behind;
401, 403 and 429 do not. What is asked for stands in the query that the proxy's configuration fixes: `scope=lab.read`, `aal=2`,
`limit=read`. Where the path of the request in question stands behind `/auth/check` (Envoy), the query is that request's own, so
nothing in it is heeded. Whoever serves `authz.check` is asked about a resource of type `path`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rustcare_sdk.contracts.http import HttpRequest, HttpResponse
from rustcare_sdk.message import Call

from .authorize import admits
from .cors import check_origin
from .errors import BadRequest, Unauthenticated, WrongTenant
from .forwarded import PATH

if TYPE_CHECKING:
    from .pipeline import Pipeline
    from .visit import Visit

__all__ = ["ForwardAuth"]

#: What the query may ask for, and what holds when it does not say.
_QUERY = {"scope": "", "aal": "1", "limit": "default"}


class ForwardAuth:
    """Answers the question. `pipeline` is set once there is one."""

    pipeline: Pipeline

    async def check(self, visit: Visit, request: HttpRequest[Any]) -> HttpResponse:
        """200, or an error that says why not."""
        caller = visit.caller
        if visit.denied is not None:
            raise visit.denied
        if not caller.principal:
            if visit.credential is not None:
                raise WrongTenant("expected a caller of the tenant that the request is for")
            raise Unauthenticated("expected a credential: a token, a key or a session")
        tenant = visit.tenant
        assert tenant is not None
        asked = request.query if request.path == PATH else {}  # else it comes from whoever wants to pass
        scope, level, limit = ((asked.get(name) or [usual])[0] for name, usual in _QUERY.items())
        if level not in ("0", "1", "2", "3"):
            raise BadRequest("expected an assurance level of 0 to 3", address="query.aal")
        await self.pipeline.count(visit, limit)
        admits(caller, scope=scope, aal=int(level), fresh=0.0, tenant=tenant.id, rule="required", now=time.time())
        if caller.kind == "session":
            check_origin(visit.asked_method, visit.headers, visit.base)
        if not self.pipeline.authorizer.absent:
            call = Call(tenant.id, caller.principal, visit.trace, caller.on_behalf, caller.purpose)
            await self.pipeline.authorizer.check(
                caller, scope, visit.asked_method, visit.asked_path, {}, call, resource="path"
            )
        headers = {
            "x-auth-principal": caller.principal,
            "x-auth-tenant": caller.tenant,
            "x-auth-scopes": " ".join(caller.scopes),
            "x-auth-aal": str(caller.aal),
            "x-auth-on-behalf": caller.on_behalf,  # also when it is empty: a client's own field is overwritten with it
            "cache-control": "no-store",
        }
        return HttpResponse(headers=headers)
