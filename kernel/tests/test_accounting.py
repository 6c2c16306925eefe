"""Counters of several processes add up, however often they are told of each other."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rustcare_kernel.accounting import Accounting, Counted

names = st.sampled_from(["acme.a", "acme.b"])
tenants = st.sampled_from(["north", "south"])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 1), names, tenants, st.integers(1, 5)),
        st.tuples(st.just("use"), st.integers(0, 1), names, tenants, st.integers(1, 5)),
        st.tuples(st.just("tell"), st.integers(0, 1)),
    ),
    max_size=40,
)


@given(steps)
def test_what_processes_counted_adds_up(taken: list[tuple[object, ...]]) -> None:
    """Whenever a process tells what it counted since the last time, the sum is what was done; nothing twice, nothing lost."""
    total, done = Accounting(), Accounting()
    parts = [Accounting(), Accounting()]
    told_stats: list[dict[tuple[str, str], Counted]] = [{}, {}]
    told_uses: list[dict[tuple[str, str, str], tuple[int, int]]] = [{}, {}]

    def tell(which: int) -> None:
        for counted in parts[which].stats_since(told_stats[which]):
            assert any(counted[2:]), "what did not change is not told"
            total.add(counted)
        for plugin, tenant, capability, count, denied in parts[which].uses_since(told_uses[which]):
            assert count or denied
            use = total.use(plugin, tenant, capability)
            use.count += count
            use.denied += denied

    for step in taken:
        if step[0] == "tell":
            tell(int(str(step[1])))
            continue
        _, which, plugin, tenant, count = step
        for accounting in (parts[int(str(which))], done):
            stat = accounting.stat(str(plugin), str(tenant))
            use = accounting.use(str(plugin), str(tenant), "clock:read")
            if step[0] == "call":
                stat.calls += int(str(count))
                stat.fuel += 3
                stat.bytes_in += 2
            else:
                use.count += int(str(count))
                use.denied += 1
    tell(0)
    tell(1)
    tell(0)
    assert [row for row in total.rows() if row.calls or row.errors or row.fuel] == [
        row for row in done.rows() if row.calls or row.errors or row.fuel
    ]
