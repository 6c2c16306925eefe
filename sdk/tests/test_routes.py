"""Routes: how paths are written and matched, what a declaration says, and how a test asks them."""

from __future__ import annotations

import string
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_sdk import Message, Plugin, route
from rustcare_sdk.contracts.http import Caller, HttpRequest, HttpResponse
from rustcare_sdk.errors import CapabilityDenied, InvalidPayload
from rustcare_sdk.plugin import handlers_of
from rustcare_sdk.routes import InvalidRoute, Route, UnsupportedMedia, match_path, route_service, segments
from rustcare_sdk.testing import harness

MANIFEST = """
schema = 1
[plugin]
id = "acme.lab"
version = "1.0.0"
summary = "Results"
engine = "^0.1"
[runtime]
python = { entry = "acme_lab:Lab" }
[[capability]]
use = "http:route@* /lab/*"
reason = "answers"
"""


@dataclass(frozen=True)
class NewResult:
    """A result to store."""

    value: float
    unit: str = "mmol/l"


class Lab(Plugin):
    """Keeps results."""

    @route("POST", "/lab/{id}", scope="lab.write", status=201)
    async def store(self, message: Message[HttpRequest[NewResult]]) -> NewResult:
        """Store one."""
        assert message.data.params == {"id": "7"}
        assert isinstance(message.data.content, NewResult)
        return message.data.content

    @route("GET", "/lab/latest")
    async def latest(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        """The latest."""
        return HttpResponse(text=f"{message.principal} {message.tenant} {message.data.argument('unit', '-')}")

    @route("GET", "/lab/newest")
    async def newest(self, message: Message[HttpRequest[None]]) -> NewResult | HttpResponse:
        """The newest, with header fields."""
        return HttpResponse(content=NewResult(1.0), headers={"etag": '"1"'})

    @route("DELETE", "/lab/{id}", aal=2)
    async def forget(self, message: Message[HttpRequest[None]]) -> None:
        """Forget one."""


async def test_a_route_is_asked_as_the_gateway_asks() -> None:
    """A harness request carries path parameters, query, typed body and the caller's tenant and principal."""
    async with harness(Lab, manifest=MANIFEST) as h:
        stored = await h.http("POST", "/lab/7", json={"value": 1.5})
        assert (stored.status, stored.content) == (201, {"value": 1.5, "unit": "mmol/l"})
        caller = Caller("user/1", "clinic", "session", aal=2)
        latest = await h.http("GET", "/lab/latest?unit=g", caller=caller)
        assert latest.text == "user/1 clinic g"
        assert (await h.http("DELETE", "/lab/7")).status == 204
        assert (await h.http("POST", "/lab/7", form={"value": "2"})).content == {"value": 2.0, "unit": "mmol/l"}


async def test_a_body_that_does_not_fit_is_refused() -> None:
    """Another type, broken JSON and another media type are typed errors, and the handler is not called."""
    async with harness(Lab, manifest=MANIFEST) as h:
        with pytest.raises(InvalidPayload):
            await h.http("POST", "/lab/7", json={"value": "much"})
        with pytest.raises(InvalidPayload):
            await h.http("POST", "/lab/7", body=b"{", headers={"Content-Type": "application/json"})
        with pytest.raises(UnsupportedMedia):
            await h.http("POST", "/lab/7", body=b"1.5", headers={"Content-Type": "text/plain"})


async def test_a_route_needs_its_capability() -> None:
    """A plugin whose manifest does not ask for the route does not start."""
    with pytest.raises(CapabilityDenied, match="http:route@POST /lab/"):
        async with harness(Lab, manifest=MANIFEST.replace("* /lab/*", "GET /lab/*")):
            pass


def test_a_declaration_says_the_types() -> None:
    """The schemas of body and answer come from the handler's annotations."""
    declared = {handler.method: handler.route for handler in handlers_of(Lab)}
    store = declared["store"]
    assert store is not None
    assert store.body["$defs"]["NewResult"]["required"] == ["value"]
    assert store.answer == store.body
    latest = declared["latest"]
    assert latest is not None
    assert (latest.body, latest.answer) == ({}, {})
    newest = declared["newest"]
    assert newest is not None
    assert newest.answer == store.answer, "what else may come is the content with header fields of its own"


@pytest.mark.parametrize(
    "path",
    ["", "lab", "/lab/", "//", "/a/{}", "/a/{B}", "/{rest...}/a", "/a/{x}/{x}", "/a b", "/../a", "/a/%41", "/a?b"],
)
def test_a_malformed_path_is_refused(path: str) -> None:
    """A path is absolute, has no empty part, no dots alone, nothing encoded, and each parameter once."""
    with pytest.raises(InvalidRoute):
        Route("GET", path)


def test_a_public_route_asks_nothing() -> None:
    """A route cannot be public and want a scope at once."""
    with pytest.raises(InvalidRoute, match="public"):
        Route("GET", "/a", public=True, scope="a")


PARTS = st.text(string.ascii_letters + string.digits + "-._~", min_size=1).filter(lambda part: part not in (".", ".."))


@given(st.lists(st.tuples(PARTS, st.booleans()), max_size=6))
def test_a_path_matches_what_it_was_made_of(parts: list[tuple[str, bool]]) -> None:
    """A path made of a route's texts and of values for its parameters gives back just these values."""
    template = "/" + "/".join(f"{{p{index}}}" if named else text for index, (text, named) in enumerate(parts))
    path = "/" + "/".join(text for text, _ in parts)
    found = match_path(segments(template), path)
    assert found == {f"p{index}": text for index, (text, named) in enumerate(parts) if named}
    assert match_path(segments(template), path + "/more") is None


def test_the_rest_of_a_path() -> None:
    """`{rest...}` takes all that follows, but not nothing."""
    parts = segments("/files/{rest...}")
    assert match_path(parts, "/files/a/b") == {"rest": "a/b"}
    assert match_path(parts, "/files/") is None
    assert match_path(parts, "/files") is None


def test_services_of_routes_have_names() -> None:
    """The service of a handler's first route bears the handler's name, further ones a number."""
    assert route_service("acme.lab", "store") == "http.route.acme.lab.store"
    assert route_service("acme.lab", "store", 1) == "http.route.acme.lab.store-2"
