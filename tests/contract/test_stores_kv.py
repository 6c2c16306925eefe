"""The key-value space behaves like a dict, on both databases."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rustcare_kernel.stores.errors import KeyInvalid, ValueUnsupported

from tests.support.stores import Stores

# Few characters, so that keys meet: the last of Unicode, a NUL, quotes, and what SQL patterns would take for wildcards.
KEYS = st.text(st.sampled_from("ab.%_'?\0é\U0010ffff"), min_size=1, max_size=4)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.binary(max_size=20)),
        st.tuples(st.just("get"), KEYS),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("keys"), st.one_of(st.just(""), KEYS)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_behaves_like_a_dict(stores: Stores, steps: list[tuple[Any, ...]]) -> None:
    """Any sequence of calls gives what a dict gives; keys come sorted by code point."""
    store = await stores.driver.open("test.kv-like-a-dict")
    stores.used.append("test.kv-like-a-dict")
    model: dict[str, bytes] = {}
    for key in await store.kv.keys():
        await store.kv.delete(key)
    for what, key, *value in steps:
        if what == "put":
            await store.kv.put(key, *value)
            model[key] = value[0]
        elif what == "get":
            assert await store.kv.get(key) == model.get(key)
        elif what == "delete":
            await store.kv.delete(key)
            model.pop(key, None)
        else:
            expected = sorted((name for name in model if name.startswith(key)), key=lambda name: name.encode())
            assert await store.kv.keys(key) == expected
    assert await store.kv.keys() == sorted(model, key=lambda name: name.encode())
    await store.close()


async def test_many_at_once(stores: Stores) -> None:
    """Concurrent puts of one key leave one of the values, of many keys all of them."""
    kv = (await stores.open()).kv
    await asyncio.gather(*(kv.put("one", bytes([n])) for n in range(50)))
    assert await kv.get("one") in {bytes([n]) for n in range(50)}
    await asyncio.gather(*(kv.put(f"many.{n:02d}", bytes([n])) for n in range(50)))
    assert await kv.keys("many.") == [f"many.{n:02d}" for n in range(50)]


async def test_limits(stores: Stores) -> None:
    """Keys have 1 to 512 bytes of UTF-8, values are bytes of any length."""
    kv = (await stores.open()).kv
    for key in ("", "é" * 257, "\ud800"):
        with pytest.raises(KeyInvalid):
            await kv.put(key, b"")
    with pytest.raises(ValueUnsupported):
        await kv.put("k", "text")  # type: ignore[arg-type]
    await kv.put("é" * 256, b"x" * 3_000_000)
    assert await kv.get("é" * 256) == b"x" * 3_000_000
    await kv.delete("not there")
