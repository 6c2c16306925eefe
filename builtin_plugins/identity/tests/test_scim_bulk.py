"""SCIM bulk requests: the order of operations, references among them, and when to stop."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_identity.scim.bulk import MAX_DEPTH, MAX_OPERATIONS, MAX_PAYLOAD, Done, Operation, run_bulk
from rustcare_plugin_identity.scim.errors import InvalidSyntax, InvalidValue, NoTarget, TooLarge


class Server:
    """Takes operations down in the order in which they come; what is made gets a number."""

    def __init__(self) -> None:
        self.seen: list[Operation] = []

    async def perform(self, operation: Operation) -> Done:
        """Do one; a path that ends in `wrong` fails."""
        if operation.path.endswith("wrong"):
            raise NoTarget("expected another path")
        self.seen.append(operation)
        id = f"id{len(self.seen)}"
        return Done(201 if operation.method == "POST" else 200, id, f"https://x{operation.path}/{id}", 'W/"1"')


def make(name: str, *needs: str, path: str = "/Groups") -> dict[str, Any]:
    """An operation that makes something, and refers to others."""
    return {
        "method": "POST",
        "path": path,
        "bulkId": name,
        "data": {"members": [{"value": f"bulkId:{n}"} for n in needs]},
    }


async def run(*operations: dict[str, Any], **fields: Any) -> tuple[Server, list[dict[str, Any]]]:
    """The answers to a request, with the server that worked it off."""
    server = Server()
    answer = await run_bulk({"Operations": list(operations), **fields}, 100, server.perform)
    return server, answer["Operations"]


async def test_references_are_resolved_backwards_and_forwards() -> None:
    """Who refers to what comes later waits for it; the answers are in the order of the request."""
    server, answers = await run(
        make("g", "u", "v"),
        make("u", path="/Users"),
        {"method": "PATCH", "path": "/Users/bulkId:v", "data": {"$ref": "../Users/bulkId:u"}},
        make("v", path="/Users"),
    )
    assert [item.bulk_id for item in server.seen] == ["u", "v", "g", ""]
    assert server.seen[2].data == {"members": [{"value": "id1"}, {"value": "id2"}]}
    assert (server.seen[3].path, server.seen[3].data) == ("/Users/id2", {"$ref": "../Users/id1"})
    assert [item.get("bulkId") for item in answers] == ["g", "u", None, "v"]
    assert answers[1] == {
        "method": "POST", "bulkId": "u", "status": "201", "location": "https://x/Users/id1", "version": 'W/"1"',
    }  # fmt: skip


async def test_circles_and_dead_references_are_conflicts() -> None:
    """What refers to itself in the end, to nothing, or to what failed: 409, and the others are done."""
    server, answers = await run(
        make("a", "b"),
        make("b", "a"),
        make("c", "c"),
        make("d", "nothing"),
        make("e", path="/wrong"),
        make("f", "e"),
        make("g"),
    )
    assert [item["status"] for item in answers] == ["409", "409", "409", "409", "400", "409", "201"]
    assert answers[4]["response"]["scimType"] == "noTarget"
    assert [item.bulk_id for item in server.seen] == ["g"]


async def test_where_it_is_is_told_of_what_failed_too() -> None:
    """RFC 7644, section 3.7: every answer has the location, but that of a POST that failed; and what is not known has none."""
    server = Server()
    operations = [
        make("u", path="/Users"),
        make("w", path="/wrong"),
        {"method": "PUT", "path": "/Users/wrong", "data": {}},
        {"method": "DELETE", "path": "/Users/bulkId:u/wrong"},
        {"method": "DELETE", "path": "/Users/bulkId:w"},
    ]
    answers = (await run_bulk({"Operations": operations}, 100, server.perform, "https://x"))["Operations"]
    assert [item["status"] for item in answers] == ["201", "400", "400", "400", "409"]
    assert [item.get("location") for item in answers] == [
        "https://x/Users/id1", None, "https://x/Users/wrong", "https://x/Users/id1/wrong", None,
    ]  # fmt: skip


async def test_it_stops_after_as_many_errors_as_the_client_allows() -> None:
    """`failOnErrors` 1: what comes behind the first error is not done and not answered."""
    server, answers = await run(make("a"), make("b", path="/wrong"), make("c"), failOnErrors=1)
    assert [item["status"] for item in answers] == ["201", "400"]
    assert len(server.seen) == 1
    server, answers = await run(make("a", path="/wrong"), make("b", path="/wrong"), make("c"), failOnErrors=3)
    assert [item["status"] for item in answers] == ["400", "400", "201"]


async def test_limits_and_messages_that_are_none() -> None:
    """Too many operations or bytes are 413; what is no BulkRequest is `invalidSyntax`, before anything is done."""
    server = Server()
    with pytest.raises(TooLarge):
        await run_bulk({"Operations": [make("a")]}, MAX_PAYLOAD + 1, server.perform)
    with pytest.raises(TooLarge):
        await run(*(make(str(number)) for number in range(MAX_OPERATIONS + 1)))
    for wrong in ([], {"Operations": []}, {"Operations": [1]}, {"schemas": ["x"], "Operations": [make("a")]}):
        with pytest.raises(InvalidSyntax):
            await run_bulk(wrong, 100, server.perform)
    twice = (make("a"), make("a"))
    for operations in (twice, ({"method": "GET", "path": "/Users"},), ({"method": "POST", "path": "/Users"},)):
        with pytest.raises(InvalidSyntax):
            await run(*operations)
    with pytest.raises(InvalidValue):
        await run(make("a"), failOnErrors=0)
    deep: Any = "bulkId:a"
    for _ in range(MAX_DEPTH + 1):
        deep = {"x": [deep]}
    with pytest.raises(InvalidSyntax):
        await run(make("a"), {"method": "POST", "path": "/Users", "bulkId": "b", "data": deep})
    assert server.seen == []


def test_an_operation_does_not_print_what_it_carries() -> None:
    """Its data may hold a password."""
    assert "secret" not in repr(Operation("POST", "/Users", "b", "", {"password": "secret"}))


@given(st.data())
async def test_every_operation_is_answered_once_and_after_what_it_needs(data: st.DataObject) -> None:
    """For any references: those that can be resolved are done, each after what it refers to; all others are 409."""
    names = [f"n{number}" for number in range(data.draw(st.integers(1, 8)))]
    needs = {name: data.draw(st.lists(st.sampled_from([*names, "missing"]), max_size=2)) for name in names}
    server, answers = await run(*(make(name, *needs[name]) for name in names))
    done: set[str] = set()
    for item in server.seen:
        assert set(needs[item.bulk_id]) <= done
        done.add(item.bulk_id)
    reachable: set[str] = set()
    while more := {name for name in names if name not in reachable and set(needs[name]) <= reachable}:
        reachable |= more
    assert done == reachable
    assert [item["bulkId"] for item in answers] == names
    assert all((item["status"] == "201") == (item["bulkId"] in done) for item in answers)
