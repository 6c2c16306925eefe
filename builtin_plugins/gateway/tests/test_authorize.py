"""Scopes, tenants, assurance, and whoever serves `authz.check`."""

from __future__ import annotations

from typing import Any

import pytest
from rustcare_plugin_gateway.authorize import Authorizer, admits, grants
from rustcare_plugin_gateway.errors import (
    AssuranceTooLow,
    AuthorizationUnavailable,
    Forbidden,
    Refused,
    ScopeMissing,
    WrongTenant,
)
from rustcare_sdk.contracts.authz import CHECK, CheckReply, CheckRequest
from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.errors import DeadlineExceeded, NoProvider
from rustcare_sdk.message import Call


@pytest.mark.parametrize(
    ("held", "wanted", "granted"),
    [
        ((), "", True),
        ((), "lab", False),
        (("lab",), "lab", True),
        (("lab",), "lab.read", True),
        (("lab.read",), "lab", False),
        (("lab",), "labour.read", False),
        (("lab.read",), "lab.read.all", True),
        (("admin",), "anything.at.all", True),
        (("admin.read",), "admin", False),
        (("administration",), "admin.read", False),
    ],
)
def test_what_a_scope_grants(held: tuple[str, ...], wanted: str, granted: bool) -> None:
    """Itself and what is below it; `admin` everything."""
    assert grants(held, wanted) is granted


CALLER = Caller("user/1", "north", "token", ("lab.read",), (), 2, "s", 1000.0)
RULES: dict[str, Any] = {
    "scope": "lab.read",
    "aal": 1,
    "fresh": 0.0,
    "tenant": "north",
    "rule": "required",
    "now": 1060.0,
}


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({}, None),
        ({"tenant": "south"}, WrongTenant),
        ({"rule": "system"}, WrongTenant),
        ({"scope": "lab.write"}, ScopeMissing),
        ({"aal": 3}, AssuranceTooLow),
        ({"fresh": 60.0}, None),
        ({"fresh": 59.0}, AssuranceTooLow),
    ],
)
def test_who_is_admitted(change: dict[str, Any], error: type[Refused] | None) -> None:
    """Callers of the request's tenant, with the scope, strong and fresh enough."""
    if error is None:
        admits(CALLER, **{**RULES, **change})
    else:
        with pytest.raises(error):
            admits(CALLER, **{**RULES, **change})


class Decider:
    """Serves `authz.check`."""

    def __init__(self, answer: CheckReply | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[CheckRequest, Call]] = []

    async def __call__(self, service: str, data: CheckRequest, *, type: Any, call: Call) -> Any:
        self.asked.append((data, call))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def ask(authorizer: Authorizer, caller: Caller = CALLER, **params: str) -> None:
    """Ask about a route."""
    await authorizer.check(caller, "lab.read", "GET", "/lab/{id}", params, Call(caller.tenant, caller.principal))


async def test_the_decider_is_told_who_wants_what() -> None:
    """In the terms of the contract, in the request's tenant."""
    decider = Decider(CheckReply(True))
    await ask(Authorizer(decider), id="7")
    question, call = decider.asked[0]
    assert (question.subject.type, question.subject.id, question.action) == ("user", "1", "lab.read")
    assert question.subject.properties == {"scopes": ["lab.read"], "roles": [], "aal": 2}
    assert (question.resource.type, question.resource.id, question.resource.properties) == (
        "route",
        "/lab/{id}",
        {"id": "7"},
    )
    assert call == Call("north", "user/1")


async def test_no_means_no_and_no_answer_too() -> None:
    """A denial is told with its reason; an error is a refusal, not a pass."""
    with pytest.raises(Forbidden, match="not-related"):
        await ask(Authorizer(Decider(CheckReply(False, "not-related"))))
    with pytest.raises(AuthorizationUnavailable):
        await ask(Authorizer(Decider(DeadlineExceeded("late"))))


async def test_an_answer_is_kept_as_long_as_it_says() -> None:
    """For the same caller and the same parts of the path, and not beyond a change of plugins."""
    decider = Decider(CheckReply(True, cacheable=60.0))
    authorizer = Authorizer(decider)
    for _ in range(3):
        await ask(authorizer, id="7")
    assert len(decider.asked) == 1
    await ask(authorizer, id="8")
    await ask(authorizer, Caller("user/1", "north", "token", ("lab",), (), 2, "s", 1000.0), id="7")
    assert len(decider.asked) == 3
    authorizer.changed()
    await ask(authorizer, id="7")
    assert len(decider.asked) == 4
    once = Decider(CheckReply(True))
    authorizer = Authorizer(once)
    await ask(authorizer)
    await ask(authorizer)
    assert len(once.asked) == 2


async def test_nobody_to_ask_is_remembered_until_plugins_change() -> None:
    """While nobody serves it, it is not asked for again at each request."""
    decider = Decider(NoProvider("nobody", address=CHECK))
    authorizer = Authorizer(decider)
    await ask(authorizer)
    assert authorizer.absent
    authorizer.changed()
    assert not authorizer.absent
    await ask(authorizer)
    authorizer.look_again()
    assert not authorizer.absent


async def test_what_the_decider_misses_itself_is_no_absence_of_the_decider() -> None:
    """A service that it needs and that is not there is a refusal: nothing was decided."""
    authorizer = Authorizer(Decider(NoProvider("nobody", address="fhir.read")))
    with pytest.raises(AuthorizationUnavailable):
        await ask(authorizer)
    assert not authorizer.absent


async def test_a_decider_can_be_required() -> None:
    """Where the configuration says so, nobody to ask is a refusal, each time."""
    authorizer = Authorizer(Decider(NoProvider("nobody", address=CHECK)), required=True)
    for _ in range(2):
        with pytest.raises(AuthorizationUnavailable):
            await ask(authorizer)
    assert not authorizer.absent


async def test_an_answer_for_one_method_says_nothing_of_another() -> None:
    """Routes of one path and one scope differ in their method, which is in the question: so it is in what is kept."""

    class Reader(Decider):
        async def __call__(self, service: str, data: CheckRequest, *, type: Any, call: Call) -> Any:
            self.answer = CheckReply(data.context["method"] == "GET", cacheable=60.0)
            return await super().__call__(service, data, type=type, call=call)

    authorizer = Authorizer(Reader(CheckReply(False)))
    call = Call(CALLER.tenant, CALLER.principal)
    await authorizer.check(CALLER, "lab.read", "GET", "/lab", {}, call)
    with pytest.raises(Forbidden):
        await authorizer.check(CALLER, "lab.read", "DELETE", "/lab", {}, call)


async def test_what_changes_while_a_question_is_under_way_is_not_overlooked() -> None:
    """A decider that came meanwhile is asked next time; an answer of the one before is not kept."""

    class Slow(Decider):
        async def __call__(self, service: str, data: CheckRequest, *, type: Any, call: Call) -> Any:
            authorizer.changed()
            return await super().__call__(service, data, type=type, call=call)

    authorizer = Authorizer(Slow(NoProvider("nobody", address=CHECK)))
    await ask(authorizer)
    assert not authorizer.absent
    slow = Slow(CheckReply(True, cacheable=60.0))
    authorizer = Authorizer(slow)
    await ask(authorizer)
    await ask(authorizer)
    assert len(slow.asked) == 2
