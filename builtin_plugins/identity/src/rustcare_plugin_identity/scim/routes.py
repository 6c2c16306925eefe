"""The SCIM endpoints, under `/scim/v2`. Reading needs the scope `scim.read`, writing `scim.write`; one's own user may be read
by anybody who is known."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from rustcare_sdk import Message, route
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse

from rustcare_plugin_identity.base import Services

from . import discovery
from .answers import MEDIA_TYPE, answered, asking_of, body_of, document, query_of, selection_of, shown_to
from .bulk import MAX_PAYLOAD, Done, Operation, run_bulk
from .directory import Directory
from .errors import InvalidPath, MethodNotAllowed, PreconditionFailed, ResourceNotFound, ScimError, error_body
from .mapping import Shown
from .provisioning import Asking, Provisioning
from .schemas import GROUPS, KINDS, USERS, Kind

__all__ = ["ScimRoutes"]

Request = Message[HttpRequest[None]]
Change = Callable[[Asking, Kind, str, Any], Awaitable[Shown]]
F = TypeVar("F", bound=Callable[..., Awaitable[Any]])

_READ, _WRITE = "scim.read", "scim.write"
_PROBLEMS = {cls.code: cls.status for cls in ScimError.__subclasses__()}
_READ_PROBLEMS = {**_PROBLEMS, "identity.scim.not-modified": 304}
_QUERY = ("filter", "sortBy", "sortOrder", "startIndex", "count", "attributes", "excludedAttributes")
_SELECT = ("attributes", "excludedAttributes")
_BASE = "/scim/v2"
#: Bodies that are a little too large are refused in SCIM's own words; what is far too large does not come this far.
_BULK_BODY = 2 * MAX_PAYLOAD
#: Ten thousand members as this server shows them, and a name for each: whoever may read a group may send it back.
_WHOLE_GROUP = 4 * 1048576
_TYPES = (MEDIA_TYPE, "application/json")


def _reads(path: str, summary: str, **options: Any) -> Callable[[F], F]:
    options = {"scope": _READ, "limit": "read", "problems": _READ_PROBLEMS, "produces": (MEDIA_TYPE,), **options}
    return route("GET", _BASE + path, summary=summary, **options)


def _writes(method: Any, path: str, summary: str, **options: Any) -> Callable[[F], F]:
    bodies = {} if method == "DELETE" else {"media_types": _TYPES}
    options = {"scope": _WRITE, "limit": "write", "problems": _PROBLEMS, "produces": (MEDIA_TYPE,), **bodies, **options}
    return route(method, _BASE + path, summary=summary, **options)


class ScimRoutes(Services):
    """SCIM 2.0."""

    scim_directory: Directory
    provisioning: Provisioning

    def open_scim(self) -> None:
        """Build SCIM's parts; called at the start, when accounts and groups are there."""
        self.scim_directory = Directory(self.ctx.db, self.accounts, self.groups)
        self.provisioning = Provisioning(self.ctx.request, self.scim_directory, self.accounts, self.groups)

    # discovery

    @_reads("/ServiceProviderConfig", "What this SCIM server can do", scope="")
    async def scim_service_provider(self, message: Request) -> HttpResponse:
        """The features (RFC 7644, section 4)."""
        return document(discovery.service_provider(asking_of(message).base))

    @_reads("/ResourceTypes", "The types of resources", scope="")
    async def scim_resource_types(self, message: Request) -> HttpResponse:
        """All of them."""
        return await self._scim_listed(message, discovery.resource_types(asking_of(message).base))

    @_reads("/ResourceTypes/{id}", "One type of resource", scope="")
    async def scim_resource_type(self, message: Request) -> HttpResponse:
        """One by its name."""
        request = message.data
        return await self._scim_one(discovery.resource_type(request.params["id"], asking_of(message).base))

    @_reads("/Schemas", "The schemas", scope="")
    async def scim_schemas(self, message: Request) -> HttpResponse:
        """All of them."""
        return await self._scim_listed(message, discovery.schemas(asking_of(message).base))

    @_reads("/Schemas/{id}", "One schema", scope="")
    async def scim_schema(self, message: Request) -> HttpResponse:
        """One by its URI."""
        request = message.data
        return await self._scim_one(discovery.schema(request.params["id"], asking_of(message).base))

    async def _scim_listed(self, message: Request, found: list[dict[str, Any]]) -> HttpResponse:
        if "filter" in message.data.query:
            # RFC 7644, section 4: a filter here is 403, for what is to be found is the same for all.
            return document(error_body(403, "expected no filter at an endpoint of discovery"), 403)
        return document(discovery.list_response(found, len(found)))

    @staticmethod
    async def _scim_one(found: dict[str, Any] | None) -> HttpResponse:
        if found is None:
            return document(error_body(404, "expected the id of what there is, got another"), 404)
        return document(found)

    # users

    @_reads("/Users", "Find users", query=_QUERY)
    async def scim_users(self, message: Request) -> HttpResponse:
        """A page of users."""
        return await self._scim_search(message, (USERS,))

    @_writes("POST", "/Users/.search", "Find users", scope=_READ, limit="read")
    async def scim_users_search(self, message: Request) -> HttpResponse:
        """A page of users, asked for in a body."""
        return await self._scim_search(message, (USERS,))

    @_writes("POST", "/Users", "Create a user", status=201, query=_SELECT)
    async def scim_user_create(self, message: Request) -> HttpResponse:
        """A new user."""
        return await self._scim_create(message, USERS)

    @_reads("/Users/{id}", "Read a user", query=_SELECT)
    async def scim_user(self, message: Request) -> HttpResponse:
        """One user."""
        return await self._scim_get(message, USERS, message.data.params["id"])

    @_writes("PUT", "/Users/{id}", "Replace a user", query=_SELECT)
    async def scim_user_replace(self, message: Request) -> HttpResponse:
        """A user as a whole."""
        return await self._scim_change(message, USERS, message.data.params["id"], self.provisioning.replace)

    @_writes("PATCH", "/Users/{id}", "Change a user", query=_SELECT)
    async def scim_user_patch(self, message: Request) -> HttpResponse:
        """A user in parts."""
        return await self._scim_change(message, USERS, message.data.params["id"], self.provisioning.patch)

    @_writes("DELETE", "/Users/{id}", "Delete a user", status=204)
    async def scim_user_delete(self, message: Request) -> HttpResponse:
        """A user goes."""
        return await self._scim_delete(message, USERS, message.data.params["id"])

    # groups

    @_reads("/Groups", "Find groups", query=_QUERY)
    async def scim_groups(self, message: Request) -> HttpResponse:
        """A page of groups."""
        return await self._scim_search(message, (GROUPS,))

    @_writes("POST", "/Groups/.search", "Find groups", scope=_READ, limit="read")
    async def scim_groups_search(self, message: Request) -> HttpResponse:
        """A page of groups, asked for in a body."""
        return await self._scim_search(message, (GROUPS,))

    @_writes("POST", "/Groups", "Create a group", status=201, query=_SELECT, max_body=_WHOLE_GROUP)
    async def scim_group_create(self, message: Request) -> HttpResponse:
        """A new group."""
        return await self._scim_create(message, GROUPS)

    @_reads("/Groups/{id}", "Read a group", query=_SELECT)
    async def scim_group(self, message: Request) -> HttpResponse:
        """One group."""
        return await self._scim_get(message, GROUPS, message.data.params["id"])

    @_writes("PUT", "/Groups/{id}", "Replace a group", query=_SELECT, max_body=_WHOLE_GROUP)
    async def scim_group_replace(self, message: Request) -> HttpResponse:
        """A group as a whole."""
        return await self._scim_change(message, GROUPS, message.data.params["id"], self.provisioning.replace)

    @_writes("PATCH", "/Groups/{id}", "Change a group", query=_SELECT, max_body=_WHOLE_GROUP)
    async def scim_group_patch(self, message: Request) -> HttpResponse:
        """A group in parts."""
        return await self._scim_change(message, GROUPS, message.data.params["id"], self.provisioning.patch)

    @_writes("DELETE", "/Groups/{id}", "Delete a group", status=204)
    async def scim_group_delete(self, message: Request) -> HttpResponse:
        """A group goes."""
        return await self._scim_delete(message, GROUPS, message.data.params["id"])

    # oneself

    @_reads("/Me", "Read one's own user", scope="", query=_SELECT)
    async def scim_me(self, message: Request) -> HttpResponse:
        """The caller's user (RFC 7644, section 3.11)."""
        return await self._scim_get(message, USERS, _own_id(message))

    @_writes("PUT", "/Me", "Replace one's own user", query=_SELECT)
    async def scim_me_replace(self, message: Request) -> HttpResponse:
        """The caller's user as a whole."""
        return await self._scim_change(message, USERS, _own_id(message), self.provisioning.replace)

    @_writes("PATCH", "/Me", "Change one's own user", query=_SELECT)
    async def scim_me_patch(self, message: Request) -> HttpResponse:
        """The caller's user in parts."""
        return await self._scim_change(message, USERS, _own_id(message), self.provisioning.patch)

    @_writes("DELETE", "/Me", "Delete one's own user", status=204)
    async def scim_me_delete(self, message: Request) -> HttpResponse:
        """The caller's user goes."""
        return await self._scim_delete(message, USERS, _own_id(message))

    # all of them

    @_reads("", "Find users and groups", query=_QUERY)
    async def scim_all(self, message: Request) -> HttpResponse:
        """A page of all resources."""
        return await self._scim_search(message, KINDS)

    @_writes("POST", "/.search", "Find users and groups", scope=_READ, limit="read")
    async def scim_all_search(self, message: Request) -> HttpResponse:
        """A page of all resources, asked for in a body."""
        return await self._scim_search(message, KINDS)

    @_writes("POST", "/Bulk", "Several operations at once", limit="bulk", max_body=_BULK_BODY, timeout=300.0)
    async def scim_bulk(self, message: Request) -> HttpResponse:
        """Operations that may refer to each other (RFC 7644, section 3.7)."""
        request, asking = message.data, asking_of(message)

        async def answer() -> HttpResponse:
            async def perform(operation: Operation) -> Done:
                return await self._scim_perform(asking, operation)

            return document(await run_bulk(body_of(request), len(request.body), perform, asking.base))

        return await answered(answer)

    async def _scim_perform(self, asking: Asking, operation: Operation) -> Done:
        parts = operation.path.strip("/").split("/")
        kind = next((item for item in KINDS if item.endpoint[1:].lower() == parts[0].lower()), None)
        if kind is None or len(parts) != (1 if operation.method == "POST" else 2):
            raise InvalidPath("expected /Users, /Groups or, but for POST, one of them and an id", address="path")
        match = (operation.version,) if operation.version else ()
        own = Asking(asking.tenant, asking.base, asking.scopes, match)
        if operation.method == "DELETE":
            await self.provisioning.delete(own, kind, parts[1])
            return Done(204, parts[1], f"{asking.base}{kind.endpoint}/{parts[1]}")
        if operation.method == "POST":
            shown = await self.provisioning.create(own, kind, operation.data)
        elif operation.method == "PUT":
            shown = await self.provisioning.replace(own, kind, parts[1], operation.data)
        else:
            shown = await self.provisioning.patch(own, kind, parts[1], operation.data)
        meta = shown.resource["meta"]
        return Done(201 if operation.method == "POST" else 200, shown.id, meta["location"], meta["version"])

    # elsewhere: what is not there, in SCIM's own words

    @_reads("/{rest...}", "What is not there", scope="", hidden=True)
    async def scim_get_elsewhere(self, message: Request) -> HttpResponse:
        """No such endpoint."""
        return await _elsewhere(message)

    @_writes("POST", "/{rest...}", "What is not there", scope="", hidden=True)
    async def scim_post_elsewhere(self, message: Request) -> HttpResponse:
        """No such endpoint, or it does not know the method."""
        return await _elsewhere(message)

    @_writes("PUT", "/{rest...}", "What is not there", scope="", hidden=True)
    async def scim_put_elsewhere(self, message: Request) -> HttpResponse:
        """No such endpoint, or it does not know the method."""
        return await _elsewhere(message)

    @_writes("PATCH", "/{rest...}", "What is not there", scope="", hidden=True)
    async def scim_patch_elsewhere(self, message: Request) -> HttpResponse:
        """No such endpoint, or it does not know the method."""
        return await _elsewhere(message)

    @_writes("DELETE", "/{rest...}", "What is not there", scope="", hidden=True)
    async def scim_delete_elsewhere(self, message: Request) -> HttpResponse:
        """No such endpoint, or it does not know the method."""
        return await _elsewhere(message)

    # what they share

    async def _scim_search(self, message: Request, kinds: tuple[Kind, ...]) -> HttpResponse:
        request, asking = message.data, asking_of(message)

        async def answer() -> HttpResponse:
            query, selection = query_of(request)
            page = await self.scim_directory.search(asking.tenant, kinds, query, asking.base)
            found = [selection.show(shown.kind, shown.resource) for shown in page.found]
            return document(discovery.list_response(found, page.total, page.start))

        return await answered(answer)

    async def _scim_get(self, message: Request, kind: Kind, id: str) -> HttpResponse:
        asking = asking_of(message)

        async def answer() -> HttpResponse:
            selection = selection_of(message.data)
            return shown_to(message.data, await self.provisioning.need(asking, kind, id), selection)

        return await answered(answer)

    async def _scim_create(self, message: Request, kind: Kind) -> HttpResponse:
        asking = asking_of(message)

        async def answer() -> HttpResponse:
            selection = selection_of(message.data)  # first: what is asked wrongly changes nothing
            made = await self.provisioning.create(asking, kind, body_of(message.data))
            return shown_to(message.data, made, selection, 201)

        return await answered(answer)

    async def _scim_change(self, message: Request, kind: Kind, id: str, change: Change) -> HttpResponse:
        asking = asking_of(message)

        async def answer() -> HttpResponse:
            _refuse_any(message)
            selection = selection_of(message.data)
            made = await change(asking, kind, id, body_of(message.data))
            return shown_to(message.data, made, selection)

        return await answered(answer)

    async def _scim_delete(self, message: Request, kind: Kind, id: str) -> HttpResponse:
        asking = asking_of(message)

        async def answer() -> HttpResponse:
            _refuse_any(message)
            await self.provisioning.delete(asking, kind, id)
            return HttpResponse(204)

        return await answered(answer)


_KNOWN = {"ServiceProviderConfig", "ResourceTypes", "Schemas", "Users", "Groups", "Me", "Bulk", ".search"}


async def _elsewhere(message: Request) -> HttpResponse:
    first = message.data.params["rest"].partition("/")[0]
    depth = message.data.params["rest"].count("/")

    async def answer() -> HttpResponse:
        if first in _KNOWN and depth <= (1 if first in ("ResourceTypes", "Schemas", "Users", "Groups") else 0):
            raise MethodNotAllowed("expected a method that this endpoint knows, got another", address=first)
        raise ResourceNotFound("expected an endpoint of SCIM, got another path")

    return await answered(answer)


def _own_id(message: Request) -> str:
    kind, _, id = message.data.caller.principal.partition("/")
    return id if kind == "user" else ""


def _refuse_any(message: Request) -> None:
    """`If-None-Match: *` on a change asks that there be nothing; there is."""
    if message.data.headers.get("if-none-match", "").strip() == "*":
        raise PreconditionFailed("expected a change of what there is", address="If-None-Match")
