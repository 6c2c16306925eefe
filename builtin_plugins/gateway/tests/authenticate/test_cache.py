"""Callers that are remembered: bounded, until they end, dropped by what is revoked."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_gateway.authenticate.cache import Cache, Entry, digest_of
from rustcare_sdk.contracts.http import Caller


class Clock:
    """A clock that stands until it is set."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def entry(name: str = "a", expires: float = 200.0, kind: str = "token", *names: tuple[str, ...]) -> Entry:
    """An entry of a caller of that name."""
    return Entry(kind, Caller(name), expires, names or (("account", name),))  # type: ignore[arg-type]


def key(name: str) -> bytes:
    """Where it is."""
    return digest_of(name)


def test_an_entry_ends() -> None:
    """A caller is found until the entry ends, not at that moment."""
    clock = Clock()
    cache = Cache(10, clock)
    cache.put(key("a"), entry())
    clock.now = 199.9
    assert cache.get("token", key("a")) == Caller("a")
    clock.now = 200.0
    assert cache.get("token", key("a")) is None


def test_another_kind_is_nobody() -> None:
    """A fingerprint of a certificate, which is no secret, does not pass for a key or a session."""
    cache = Cache(10, Clock())
    cache.put(key("a"), entry(kind="certificate"))
    assert cache.get("certificate", key("a")) is not None
    assert [cache.get(kind, key("a")) for kind in ("token", "key", "session")] == [None] * 3  # type: ignore[arg-type]


def test_what_is_used_stays() -> None:
    """When there is no room, an entry that was used since it was last passed over stays, one that was not goes."""
    cache = Cache(3, Clock())
    for name in "abc":
        cache.put(key(name), entry(name))
    cache.get("token", key("a"))
    cache.put(key("d"), entry("d"))
    assert [name for name in "abcd" if cache.get("token", key(name))] == ["a", "c", "d"]


def test_there_is_room_when_all_were_used() -> None:
    """Also when every entry was used, one goes, and the newest is there."""
    cache = Cache(3, Clock())
    for name in "abcdefg":
        cache.put(key(name), entry(name))
        for other in "abcdefg":
            cache.get("token", key(other))
    assert len(cache) == 3
    assert cache.get("token", key("g"))


def test_what_has_ended_makes_room_first() -> None:
    """An entry that has ended is dropped before one that has not, and used or not does not matter then."""
    clock = Clock()
    cache = Cache(2, clock)
    cache.put(key("a"), entry("a", 150))
    cache.put(key("b"), entry("b"))
    cache.get("token", key("a"))
    clock.now = 160
    cache.put(key("c"), entry("c"))
    assert [name for name in "abc" if cache.get("token", key(name))] == ["b", "c"]


def test_an_entry_that_is_replaced_has_its_new_names_only() -> None:
    """What an entry could be revoked by before does not drop the one that took its place."""
    cache = Cache(10, Clock())
    cache.put(key("a"), entry("a", 200, "token", ("session", "1")))
    cache.put(key("a"), entry("a", 200, "token", ("session", "2")))
    assert cache.forget(("session", "1")) == 0
    assert cache.get("token", key("a"))
    assert cache.forget(("session", "2")) == 1
    assert cache.get("token", key("a")) is None


OPERATIONS = st.lists(
    st.tuples(st.sampled_from("pgfcw"), st.integers(0, 5), st.lists(st.integers(0, 3), max_size=3)), max_size=60
)


@given(OPERATIONS)
def test_the_index_agrees_with_the_entries(operations: list[tuple[str, int, list[int]]]) -> None:
    """After any operations the cache holds no more than it may, and its index names exactly what is in it."""
    clock = Clock()
    cache = Cache(4, clock)
    for what, number, names in operations:
        if what == "p":
            cache.put(
                key(str(number)), entry(str(number), clock.now + 10 * number, "token", *(("n", str(n)) for n in names))
            )
        elif what == "g":
            cache.get("token", key(str(number)))
        elif what == "f":
            cache.forget(("n", str(number)))
            assert ("n", str(number)) not in cache._names
        elif what == "c":
            cache.forget_credential(key(str(number)))
        else:
            clock.now += number
        assert len(cache) <= 4
        expected: dict[tuple[str, ...], set[bytes]] = {}
        for digest, held in cache._entries.items():
            for name in held.names:
                expected.setdefault(name, set()).add(digest)
        assert cache._names == expected
