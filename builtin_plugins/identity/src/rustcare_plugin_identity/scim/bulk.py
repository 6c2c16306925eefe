"""Bulk requests (RFC 7644, section 3.7): operations that may refer to each other's resources by `bulkId`, before there are any.

An operation waits until those that it refers to are done; otherwise the order is that of the request. What refers to itself
in the end, to nothing, or to what failed, is a conflict (409).
"""

from __future__ import annotations

import heapq
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct
from rustcare_sdk.errors import RustCareError

from .errors import (
    ConflictingReferences,
    InvalidSyntax,
    InvalidValue,
    ScimError,
    TooLarge,
    error_body,
    error_of,
    translated,
)
from .values import check_schemas

__all__ = [
    "BULK_REQUEST",
    "BULK_RESPONSE",
    "MAX_DEPTH",
    "MAX_OPERATIONS",
    "MAX_PAYLOAD",
    "Done",
    "Operation",
    "run_bulk",
]

BULK_REQUEST = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
BULK_RESPONSE = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
#: Operations, and bytes, of one request.
MAX_OPERATIONS = 1000
MAX_PAYLOAD = 1048576
#: How deep an operation's data may nest; resources nest four deep.
MAX_DEPTH = 40
_REFERENCE = "bulkId:"
_METHODS = ("POST", "PUT", "PATCH", "DELETE")


class Operation(Struct, frozen=True):
    """One operation: `path` is relative to the endpoints' base, `version` an ETag or empty."""

    method: str
    path: str
    bulk_id: str = ""
    version: str = ""
    data: Any = None

    def __repr__(self) -> str:
        return f"<Operation {self.method}>"  # its data may be a password, its path hold a name


class Done(Struct, frozen=True):
    """What an operation came to: the status, and of a resource that there is its id, place and ETag."""

    status: int
    id: str = ""
    location: str = ""
    version: str = ""


Perform = Callable[[Operation], Awaitable[Done]]


async def run_bulk(sent: Any, size: int, perform: Perform, base: str = "") -> dict[str, Any]:
    """The answer to a bulk request's body of `size` bytes. `base`: the URL that the operations' paths are below.

    Raises:
        InvalidSyntax: it is no BulkRequest. TooLarge: it has too many operations or bytes.
    """
    if size > MAX_PAYLOAD:
        raise TooLarge(f"expected at most {MAX_PAYLOAD} bytes, got {size}", address="body")
    if not isinstance(sent, dict):
        raise InvalidSyntax("expected an object", address="body")
    check_schemas(sent, BULK_REQUEST)
    fields = {name.lower(): value for name, value in sent.items()}
    listed = fields.get("operations")
    if not isinstance(listed, list) or not listed:
        raise InvalidSyntax("expected a list of Operations", address="body.Operations")
    if len(listed) > MAX_OPERATIONS:
        raise TooLarge(f"expected at most {MAX_OPERATIONS} operations, got {len(listed)}", address="body.Operations")
    most = fields.get("failonerrors")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
        raise InvalidValue("expected a number from 1 on", address="body.failOnErrors")
    run = _Run([_operation(item) for item in listed], perform, most, base)
    await run.all()
    return {"schemas": [BULK_RESPONSE], "Operations": run.answers()}


def _operation(sent: Any) -> Operation:
    if not isinstance(sent, dict):
        raise InvalidSyntax("expected an object for each operation", address="body.Operations")
    fields = {name.lower(): value for name, value in sent.items()}
    words = {name: fields.get(name) or "" for name in ("method", "path", "bulkid", "version")}
    if not all(isinstance(word, str) for word in words.values()):
        raise InvalidSyntax("expected text for method, path, bulkId and version", address="body.Operations")
    method = words["method"].upper()
    if method not in _METHODS:
        raise InvalidSyntax(f"expected one of {', '.join(_METHODS)} as the method", address="body.Operations.method")
    if method == "POST" and not words["bulkid"]:
        raise InvalidSyntax("expected a bulkId of what is to be made", address="body.Operations.bulkId")
    return Operation(method, words["path"], words["bulkid"], words["version"], fields.get("data"))


class _Run:
    """One bulk request as it is worked off."""

    def __init__(self, operations: list[Operation], perform: Perform, most: int | None, base: str) -> None:
        self._operations = operations
        self._perform = perform
        self._most = most
        self._base = base
        self._errors = 0
        self._ids: dict[str, str] = {}
        self._answers: dict[int, dict[str, Any]] = {}
        self._makers: dict[str, int] = {}
        for index, operation in enumerate(operations):
            if operation.method == "POST" and self._makers.setdefault(operation.bulk_id, index) != index:
                raise InvalidSyntax("expected each bulkId once, got one again", address="body.Operations.bulkId")
        self._needs = [_references(operation) for operation in operations]

    def answers(self) -> list[dict[str, Any]]:
        """In the order of the request."""
        return [self._answers[index] for index in sorted(self._answers)]

    async def all(self) -> None:
        """Work off what can be, then say of the rest why not."""
        waiting: dict[int, set[str]] = {}
        followers: dict[str, list[int]] = {}
        ready: list[int] = []
        for index, needs in enumerate(self._needs):
            if needs:
                waiting[index] = set(needs)
                for name in needs:
                    followers.setdefault(name, []).append(index)
            else:
                heapq.heappush(ready, index)
        while ready and not self._stopped:
            index = heapq.heappop(ready)
            name = self._operations[index].bulk_id
            await self._one(index)
            if name not in self._ids or self._makers.get(name) != index:
                continue
            for follower in followers.get(name, ()):
                waiting[follower].discard(name)
                if not waiting[follower]:
                    del waiting[follower]
                    heapq.heappush(ready, follower)
        for index in sorted(waiting):
            if not self._stopped:
                self._fail(index, _conflict(waiting[index], self._makers))

    @property
    def _stopped(self) -> bool:
        return self._most is not None and self._errors >= self._most

    async def _one(self, index: int) -> None:
        operation = self._operations[index]
        try:
            done = await self._perform(_resolved(operation, self._ids))
        except RustCareError as error:
            self._fail(index, error)
            return
        if operation.method == "POST":
            self._ids[operation.bulk_id] = done.id
        self._answers[index] = {**self._about(operation), "status": str(done.status)}
        if done.location:
            self._answers[index]["location"] = done.location
        if done.version:
            self._answers[index]["version"] = done.version

    def _fail(self, index: int, error: RustCareError) -> None:
        self._errors += 1
        # What came before it has been done, so even what is no fault of the client is told as part of the answer.
        known = translated(error)
        body = error_of(known) if isinstance(known, ScimError) else error_body(500, known.code)
        operation = self._operations[index]
        answer = self._answers[index] = {**self._about(operation), "status": body["status"], "response": body}
        if operation.method != "POST" and _references(Operation("", operation.path)) <= set(self._ids):
            # Of all but what was to be made it is told where it is, even so (RFC 7644, section 3.7).
            answer["location"] = f"{self._base}/{_resolved_path(operation.path, self._ids).strip('/')}"

    @staticmethod
    def _about(operation: Operation) -> dict[str, Any]:
        found = {"method": operation.method}
        if operation.bulk_id:
            found["bulkId"] = operation.bulk_id
        return found


def _conflict(missing: set[str], makers: dict[str, int]) -> ConflictingReferences:
    if missing <= set(makers):
        text = "expected references that can be resolved, got a circle, or one to an operation that failed"
    else:
        text = "expected references to operations of this request, got a bulkId that none has"
    return ConflictingReferences(text, address="bulkId")


def _references(operation: Operation) -> set[str]:
    """The bulkIds that an operation refers to, in its path and anywhere in its data."""
    found: set[str] = set()
    todo: list[tuple[int, Any]] = [(0, operation.data), *((0, part) for part in operation.path.split("/"))]
    while todo:
        depth, value = todo.pop()
        if depth > MAX_DEPTH:
            raise InvalidSyntax(f"expected data that nests at most {MAX_DEPTH} deep", address="body.Operations.data")
        if isinstance(value, str):
            last = value.rpartition("/")[2]
            if last.startswith(_REFERENCE):
                found.add(last.removeprefix(_REFERENCE))
        elif isinstance(value, dict):
            todo.extend((depth + 1, inner) for inner in value.values())
        elif isinstance(value, list):
            todo.extend((depth + 1, inner) for inner in value)
    return found


def _resolved(operation: Operation, ids: dict[str, str]) -> Operation:
    path, data = _resolved_path(operation.path, ids), _with_ids(operation.data, ids)
    return Operation(operation.method, path, operation.bulk_id, operation.version, data)


def _resolved_path(path: str, ids: dict[str, str]) -> str:
    return "/".join(_replaced(part, ids) for part in path.split("/"))


def _replaced(text: str, ids: dict[str, str]) -> str:
    before, slash, last = text.rpartition("/")
    if last.startswith(_REFERENCE):
        return f"{before}{slash}{ids[last.removeprefix(_REFERENCE)]}"
    return text


def _with_ids(value: Any, ids: dict[str, str]) -> Any:
    if isinstance(value, str):
        return _replaced(value, ids)
    if isinstance(value, dict):
        return {name: _with_ids(inner, ids) for name, inner in value.items()}
    if isinstance(value, list):
        return [_with_ids(inner, ids) for inner in value]
    return value
