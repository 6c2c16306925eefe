"""Who starts before whom, and why somebody cannot start."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_kernel.dependencies import resolve
from rustcare_sdk.manifest import Manifest, read_manifest_text


def manifest(plugin: str, provides: dict[str, str] | None = None, requires: dict[str, str] | None = None) -> Manifest:
    """A manifest with nothing but what it provides and requires."""
    text = f"""schema = 1
[plugin]
id = "{plugin}"
version = "1.0.0"
summary = "x"
engine = ">=0.1,<0.2"
[runtime]
python = {{ entry = "m:C" }}
[provides]
{"".join(f'"{name}" = "{version}"{chr(10)}' for name, version in (provides or {}).items())}
[requires]
{"".join(f'"{name}" = "{version}"{chr(10)}' for name, version in (requires or {}).items())}
"""
    return read_manifest_text(text)


def of(*manifests: Manifest) -> dict[str, Manifest]:
    return {item.plugin.id: item for item in manifests}


def test_providers_come_first() -> None:
    """A plugin comes after every provider of what it requires; otherwise the order is by id."""
    order, failed = resolve(
        of(
            manifest("a.last", {}, {"lab": "^1", "bed": "^2"}),
            manifest("b.lab", {"lab": "1.4.0"}, {"bed": "^2"}),
            manifest("c.bed", {"bed": "2.0.1"}),
            manifest("d.alone"),
        )
    )
    assert failed == {}
    assert set(order) == {"a.last", "b.lab", "c.bed", "d.alone"}
    assert order.index("c.bed") < order.index("b.lab") < order.index("a.last")


def test_a_missing_provider_is_named_with_its_address() -> None:
    """Nobody provides it: the error says who requires what, and what to do."""
    order, failed = resolve(of(manifest("a.one", {}, {"lab": "^1"}), manifest("b.two")))
    assert order == ["b.two"]
    error = failed["a.one"]
    assert error.address == "a.one:requires.lab"
    assert "nobody provides it" in error.message
    assert "a.one → lab" in error.message
    assert error.hint


def test_a_wrong_version_names_who_offers_which() -> None:
    """The range is compared with SemVer; the error shows both sides."""
    order, failed = resolve(of(manifest("a.one", {}, {"lab": "^2"}), manifest("b.lab", {"lab": "1.9.9"})))
    assert order == ["b.lab"]
    assert "b.lab provides 1.9.9" in failed["a.one"].message
    assert "^2" in failed["a.one"].message or ">=2" in failed["a.one"].message


def test_the_whole_chain_is_named() -> None:
    """What waits for a plugin that cannot start cannot start either, and the error names the chain down to the cause."""
    order, failed = resolve(
        of(
            manifest("a.one", {}, {"b": "^1"}),
            manifest("b.two", {"b": "1.0.0"}, {"c": "^1"}),
            manifest("c.three", {"c": "1.0.0"}, {"d": "^1"}),
        )
    )
    assert order == []
    assert set(failed) == {"a.one", "b.two", "c.three"}
    for name in ("a.one", "b", "b.two", "c", "c.three", "d"):
        assert name in failed["a.one"].message


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_circle_is_named_whole(size: int) -> None:
    """Plugins that wait for one another all fail, and each error names every one of them; those outside say through whom."""
    ring = [manifest(f"r.p{index}", {f"s{index}": "1.0.0"}, {f"s{(index + 1) % size}": "^1"}) for index in range(size)]
    outside = manifest("z.out", {}, {"s0": "^1"})
    order, failed = resolve(of(*ring, outside, manifest("a.free")))
    assert order == ["a.free"]
    for item in ring:
        error = failed[item.plugin.id]
        assert "wait for one another" in error.message
        for other in ring:
            assert other.plugin.id in error.message
    assert "s0" in failed["z.out"].message
    assert "r.p0" in failed["z.out"].message


def test_a_plugin_may_require_what_it_provides_itself() -> None:
    """That is no circle."""
    assert resolve(of(manifest("a.self", {"s": "1.0.0"}, {"s": "^1"}))) == (["a.self"], {})


def test_one_provider_that_can_start_is_enough() -> None:
    """Of several providers one suffices, even when another one waits in a circle with the plugin."""
    order, failed = resolve(
        of(
            manifest("a.one", {"y": "1.0.0"}, {"x": "^1"}),
            manifest("b.two", {"x": "1.0.0"}, {"y": "^1"}),
            manifest("c.three", {"x": "1.1.0"}),
        )
    )
    assert failed == {}
    assert order.index("c.three") < order.index("a.one") < order.index("b.two")


NAMES = [f"p.q{letter}" for letter in "abcdef"]
SERVICES = st.sampled_from(["s", "t", "u"])
GRAPHS = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(
        st.dictionaries(SERVICES, st.sampled_from(["1.0.0", "1.5.0", "2.0.0"]), max_size=2),
        st.dictionaries(SERVICES, st.sampled_from(["^1", "^2", ">=1.2"]), max_size=2),
    ),
)


@given(GRAPHS)
def test_exactly_those_start_that_can(graph: dict[str, tuple[dict[str, str], dict[str, str]]]) -> None:
    """The started are the least set in which everybody has a provider that started before; the others have an error."""
    manifests = of(*(manifest(name, *needs) for name, needs in graph.items()))
    started: set[str] = set()
    while True:
        more = {
            name
            for name, item in manifests.items()
            if all(
                any(
                    (other in started or other == name)
                    and service in manifests[other].provides
                    and wanted.contains(manifests[other].provides[service])
                    for other in manifests
                )
                for service, wanted in item.requires.items()
            )
        }
        if more <= started:
            break
        started |= more
    order, failed = resolve(manifests)
    assert set(order) == started
    assert len(order) == len(started)
    assert set(failed) == set(manifests) - started
    for at, name in enumerate(order):
        for service, wanted in manifests[name].requires.items():
            assert any(
                wanted.contains(manifests[other].provides[service])
                for other in order[: at + 1]
                if service in manifests[other].provides
            )
