"""The grammar of capabilities, and the order among them: `covers` is held against brute force over concrete uses."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rustcare_sdk.capability import (
    KINDS,
    Capability,
    covers,
    diff,
    intersect,
    matches,
    net_scope,
    parse,
)
from rustcare_sdk.errors import InvalidCapability

# A small world for each form of scope: scopes to draw from, and concrete uses rich enough to tell any two scopes apart.

_tokens = st.lists(st.sampled_from(["a", "b", "*"]), max_size=2)
_SUBJECTS = [".".join(words) for size in (1, 2, 3, 4) for words in itertools.product("abx", repeat=size)]
_patterns = st.builds(lambda tokens, last: ".".join([*tokens, last]), _tokens, st.sampled_from(["a", "b", "*", ">"]))
_NAMES = ["".join(word) for size in (1, 2, 3) for word in itertools.product("ab.", repeat=size)]
_names = st.builds(lambda a, b: a + b or "*", st.text("ab.", max_size=2), st.sampled_from(["", "*"]))
_HOSTS = ["example.org", "a.example.org", "b.a.example.org", "127.0.0.1", "[::1]", "other.net"]
_host_scopes = ["*", "*.example.org", "*.a.example.org", "*.org", "EXAMPLE.org", "a.example.org", "127.0.0.1", "[0::1]"]
_schemes, _ports = ["", "http://", "https://"], ["80", "443", "99"]
_ADDRESSES = ["".join(x) for x in itertools.product(_schemes, [f"{host}:" for host in _HOSTS], _ports)]
_nets = st.builds(
    lambda scheme, host, port: f"{scheme}{host}:{port}",
    st.sampled_from(_schemes),
    st.sampled_from(_host_scopes),
    st.sampled_from([*_ports, "*"]),
)
_PATHS = ["/", "/a", "/a/", "/b", "/a/b", "/a/b/x", "/x", "/ab/x"]
_paths = st.sampled_from(["/", "/*", "/a", "/a/*", "/a/b", "/a/b/*", "/b", "/ab/*"])
_METHODS = ["GET", "POST", "X"]
_methods = st.sampled_from(["GET", "POST", "*"])
_ROUTES = [f"{method} {path}" for method in _METHODS for path in _PATHS]
_routes = st.builds("{} {}".format, _methods, _paths)
_URLS = [
    f"{method} {scheme}{host}:{port}{path}"
    for method in _METHODS
    for scheme in _schemes[1:]
    for host in _HOSTS
    for port in _ports
    for path in _PATHS
]
_urls = st.builds(
    lambda method, scheme, host, port, path: f"{method} {scheme}{host}{port}{path}",
    _methods,
    st.sampled_from(_schemes[1:]),
    st.sampled_from(_host_scopes[:6]),
    st.sampled_from(["", ":443", ":*", ":99"]),
    _paths,
)

WORLDS: dict[str, tuple[st.SearchStrategy[str], list[str]]] = {
    "bus:publish": (_patterns, _SUBJECTS),
    "bus:subscribe": (_patterns, _SUBJECTS),
    "kv:read": (_names, _NAMES),
    "net:connect": (_nets, _ADDRESSES),
    "fs:read": (_paths, _PATHS),
    "http:route": (_routes, _ROUTES),
    "http:request": (_urls, _URLS),
}
#: Some are equal (24/d and 1/h, 60/m and 1/s), some lie close together.
RATES = ["1/d", "23/d", "24/d", "1/h", "1/m", "59/m", "60/m", "1/s", "3600/h", "2/s", "100/m"]


@st.composite
def texts(draw: st.DrawFn, names: tuple[str, ...] = tuple(WORLDS)) -> str:
    name = draw(st.sampled_from(names))
    rates = ["", *RATES] if name in ("bus:publish", "kv:read", "net:connect", "http:request") else [""]
    rate = draw(st.sampled_from(rates))
    return f"{name}@{draw(WORLDS[name][0])}" + (f";rate={rate}" if rate else "")


capabilities = texts().map(parse)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Capability, Capability]:
    """Two of the same kind and action: others never cover each other."""
    name = draw(st.sampled_from(tuple(WORLDS)))
    return parse(draw(texts((name,)))), parse(draw(texts((name,))))


def uses(capability: Capability) -> set[str]:
    name = f"{capability.kind}:{capability.action}"
    return {use for use in WORLDS[name][1] if matches(capability, name, use)}


def allows_rate(capability: Capability, per_second: float) -> bool:
    return capability.rate is None or per_second <= capability.rate


@given(texts())
def test_round_trip(text: str) -> None:
    """The text of a capability parses to the same capability, and is canonical: writing it again changes nothing."""
    capability = parse(text)
    assert parse(str(capability)) == capability
    assert str(parse(str(capability))) == str(capability)


@given(pairs())
def test_covers_agrees_with_brute_force(pair: tuple[Capability, Capability]) -> None:
    """`a` covers `b` exactly when `a` allows every concrete use, at every rate, that `b` allows."""
    a, b = pair
    rates = [parse(f"bus:publish@a;rate={rate}").rate or 0.0 for rate in RATES] + [float("inf")]
    rates_nest = all(allows_rate(a, rate) for rate in rates if allows_rate(b, rate))
    assert covers(a, b) == (uses(b) <= uses(a) and rates_nest)


@given(pairs(), st.data())
def test_covers_is_an_order(pair: tuple[Capability, Capability], data: st.DataObject) -> None:
    """Reflexive, antisymmetric on canonical forms, transitive."""
    a, b = pair
    c = parse(data.draw(texts((f"{a.kind}:{a.action}",))))
    assert covers(a, a)
    if covers(a, b) and covers(b, a):
        assert a == b
        assert str(a) == str(b)
    if covers(a, b) and covers(b, c):
        assert covers(a, c)


@given(capabilities, capabilities)
def test_kinds_and_actions_are_apart(a: Capability, b: Capability) -> None:
    """A capability says nothing about another kind or action."""
    assume((a.kind, a.action) != (b.kind, b.action))
    assert not covers(a, b)
    assert intersect(a, b) is None


@given(pairs())
def test_intersection_is_exact(pair: tuple[Capability, Capability]) -> None:
    """The intersection allows what both allow and nothing else; it is covered by both; order does not matter."""
    a, b = pair
    both = intersect(a, b)
    assert both == intersect(b, a)
    if both is None:
        assert not uses(a) & uses(b)
        return
    assert parse(str(both)) == both
    assert uses(both) == uses(a) & uses(b)
    assert covers(a, both)
    assert covers(b, both)
    assert both.rate == min((rate for rate in (a.rate, b.rate) if rate is not None), default=None)


@given(st.sets(capabilities, max_size=6), st.sets(capabilities, max_size=6))
def test_diff_applied_to_the_old_gives_the_new(old: set[Capability], new: set[Capability]) -> None:
    """Applying a difference gives the new set; each item is in its list; more is asked only when more is wanted."""
    found = diff(old, new)
    assert found.apply(old) == new
    assert set(found.unchanged) == old & new
    assert set(found.removed) <= old - new
    assert set(found.added) <= new - old
    for change in found.widened:
        assert covers(change.new, change.old)
        assert not covers(change.old, change.new)
    for change in found.narrowed:
        assert covers(change.old, change.new)
        assert not covers(change.new, change.old)
    assert found.asks_more == any(not any(covers(held, item) for held in old) for item in new)


@given(st.sets(capabilities, max_size=6))
def test_no_difference(held: set[Capability]) -> None:
    """A set does not differ from itself."""
    found = diff(held, held)
    assert (found.added, found.widened, found.narrowed, found.removed) == ((), (), (), ())
    assert not found.asks_more


def test_diff_says_what_happened() -> None:
    """Added, widened, narrowed and removed, as an operator reads them before consent."""
    old = [
        parse(text) for text in ("bus:publish@hl7.adt.*", "kv:read@*", "db:read@*", "bus:request@fhir.store;rate=5/s")
    ]
    new = [parse(text) for text in ("bus:publish@hl7.>", "kv:read@a*", "clock:read", "bus:request@fhir.store;rate=9/s")]
    found = diff(old, new)
    assert [str(item) for item in found.added] == ["clock:read"]
    assert [str(item) for item in found.widened] == [
        "bus:publish@hl7.adt.* → bus:publish@hl7.>",
        "bus:request@fhir.store;rate=5/s → bus:request@fhir.store;rate=9/s",
    ]
    assert [str(item) for item in found.narrowed] == ["kv:read@* → kv:read@a*"]
    assert [str(item) for item in found.removed] == ["db:read@*"]


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("clock:read@*", "clock:read"),
        ("bus:publish@a;rate=120/m", "bus:publish@a;rate=2/s"),
        ("bus:publish@a;rate=100/m", "bus:publish@a;rate=100/m"),
        ("bus:publish@a;rate=24/d", "bus:publish@a;rate=1/h"),
        ("net:connect@https://Lab.Example.org", "net:connect@https://lab.example.org:443"),
        ("net:connect@http://x.org:0080", "net:connect@http://x.org:80"),
        ("net:listen@[0:0::1]:25", "net:listen@[::1]:25"),
        ("http:route@get /lab/*", "http:route@GET /lab/*"),
        ("http:request@GET https://X.org/u/*", "http:request@GET https://x.org:443/u/*"),
    ],
)
def test_canonical_form(text: str, canonical: str) -> None:
    """What means the same is written the same."""
    assert str(parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("publish", "expected kind:action@scope", "such as"),
        ("buss:publish@a", "expected one of bus, clock, db", "did you mean bus?"),
        ("bus:publsh@a", "expected one of originate, publish, request, serve, subscribe", "did you mean publish?"),
        ("bus:publish", "expected a subject pattern", "such as bus:publish@hl7.adt.*"),
        ("bus:publish@", "expected a scope after the @", ""),
        ("bus:publish@a.b*", "expected a subject pattern", "whole token"),
        ("bus:publish@a;rat=1/s", "unknown option of bus:publish", "did you mean rate?"),
        ("bus:serve@a;rate=1/s", "unknown option of bus:serve: expected none", ""),
        ("bus:publish@a;rate=0/s", "expected a rate", "whole number"),
        ("bus:publish@a;rate=1/w", "expected a rate", "whole number"),
        ("bus:publish@a;rate", "expected key=value", ""),
        ("bus:publish@a;rate=1/s;rate=1/s", "once", ""),
        ("clock:read@now", "expected no scope", "leave out"),
        ("kv:read@a*b", "expected a name", "inner *"),
        ("kv:read@a b", "expected a name", "spaces"),
        ("fs:read@data", "expected an absolute path", "no .."),
        ("fs:read@/a/../b", "expected an absolute path", "no .."),
        ("fs:read@/a//b", "expected an absolute path", "no //"),
        ("fs:read@/a/b*", "expected an absolute path", "last segment"),
        ("net:connect@example.org", "expected host:port", "no path"),
        ("net:connect@example.org:70000", "expected host:port", ""),
        ("net:connect@ftp://example.org:21", "expected host:port", ""),
        ("net:connect@*.0.0.1:80", "expected host:port", ""),
        ("net:connect@1.2.3:80", "expected host:port", ""),
        ("net:connect@a*.org:80", "expected host:port", ""),
        ("net:connect@https://u:p@x.org", "expected host:port", "no user"),
        ("net:listen@[::g]:80", "expected host:port", ""),
        ("http:route@/lab", "expected a method", "absolute"),
        ("http:route@GET /lab?x=1", "expected a method", "query"),
        ("http:request@GET /lab", "expected a method", ""),
        ("http:request@GET https://x.org/a/%2e%2e/b", "expected a method", ""),
    ],
)
def test_errors_name_what_is_allowed(text: str, message: str, hint: str) -> None:
    """A malformed capability is refused with what was expected, the closest match or an example, and the address."""
    with pytest.raises(InvalidCapability) as caught:
        parse(text, "plugin.toml:capability[2].use")
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert str(caught.value).startswith("plugin.toml:capability[2].use: ")


@pytest.mark.parametrize(
    ("capability", "action", "use"),
    [
        ("fs:read@/data/*", "fs:read", "/data/../etc/passwd"),
        ("fs:read@/data/*", "fs:read", "/data/x/.."),
        ("fs:read@/data/*", "fs:read", "/data//x"),
        ("fs:read@/data/*", "fs:read", "/data"),
        ("fs:read@/data/*", "fs:read", "/database"),
        ("http:route@GET /lab/*", "http:route", "GET /lab/%2E%2e/x"),
        ("http:route@GET /lab/*", "http:route", "* /lab/x"),
        ("net:connect@*.example.org:443", "net:connect", "example.org:443"),
        ("net:connect@*.example.org:443", "net:connect", "evilexample.org:443"),
        ("net:connect@*.example.org:443", "net:connect", "*.example.org:443"),
        ("net:connect@https://x.org:443", "net:connect", "x.org:443"),
        ("bus:publish@hl7.>", "bus:publish", "hl7.*"),
        ("bus:publish@hl7.>", "bus:publish", "hl7..x"),
        ("bus:publish@hl7.>", "bus:subscribe", "hl7.x"),
        ("kv:read@a.*", "kv:read", "b.a."),
    ],
)
def test_what_is_not_allowed(capability: str, action: str, use: str) -> None:
    """Tricks with dots, encodings, look-alike hosts and wildcards in a concrete use are not allowed."""
    assert not matches(parse(capability), action, use)
    if action == "fs:read":  # the kernel asks with `covers`
        assert not covers(parse(capability), Capability("fs", "read", use))


def test_a_subscription_is_a_pattern() -> None:
    """For subscriptions the use itself is a pattern, and must be covered whole."""
    held = parse("bus:subscribe@hl7.adt.*")
    assert matches(held, "bus:subscribe", "hl7.adt.*")
    assert matches(held, "bus:subscribe", "hl7.adt.a01")
    assert not matches(held, "bus:subscribe", "hl7.>")


def test_kinds_without_a_scope_match() -> None:
    """The clock and randomness have nothing to scope."""
    assert matches(parse("clock:read"), "clock:read")
    assert covers(parse("random:read"), parse("random:read;rate=1/s"))


def test_addresses_become_scopes() -> None:
    """A host and a port make a scope, IPv6 in brackets; what is no address is refused."""
    assert net_scope("::1", 80) == "[::1]:80"
    assert net_scope("Example.org", "*", "https") == "https://example.org:*"
    with pytest.raises(InvalidCapability, match="host:port"):
        net_scope("exa mple", 1)


def test_every_action_has_an_example_that_parses() -> None:
    """The examples in hints are right, and every action says what it allows."""
    for kind, actions in KINDS.items():
        for name, action in actions.items():
            scope = f"@{action.scope.example}" if action.scope.example else ""
            assert parse(f"{kind}:{name}{scope}")
            assert action.summary
