"""The cell rate algorithm against a plain token bucket, and the bounded table."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from rustcare_plugin_gateway.limits import Gcra, Table


@given(
    st.integers(1, 50),
    st.sampled_from([1.0, 10.0, 60.0]),
    st.integers(1, 20),
    st.lists(st.integers(0, 400), min_size=1, max_size=200),
)
def test_it_admits_what_a_token_bucket_admits(rate: int, per: float, burst: int, pauses: list[int]) -> None:
    """A bucket of `burst` tokens that fills with `rate` in `per` seconds admits the same requests."""
    gcra = Gcra.of(rate, per, burst)
    arrival, now, tokens, last = 0.0, 1000.0, float(burst), 1000.0
    for pause in pauses:
        now += pause * gcra.step / 100  # in hundredths of a step, so that both sides round alike
        tokens = min(float(burst), tokens + (now - last) * rate / per)
        last = now
        after = gcra.next(arrival, now)
        admitted = after - now <= gcra.depth + 1e-9
        if abs(tokens - 1) < 1e-6:  # on the edge, where floating point decides
            tokens = tokens - 1 if admitted else tokens
        else:
            assert admitted == (tokens >= 1)
            tokens -= admitted
        if admitted:
            arrival = after
            assert gcra.left(arrival, now) in (int(tokens + 1e-6), int(tokens - 1e-6))


class Bounded(RuleBasedStateMachine):
    """A table of ten keys: what was used lately is known, and there are never more than ten."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table(10)
        self.model: dict[str, float] = {}

    @rule(key=st.integers(0, 30), value=st.floats(1, 100))
    def put(self, key: int, value: float) -> None:
        """Keep a value."""
        self.table.put(str(key), value)
        self.model.pop(str(key), None)
        self.model[str(key)] = value

    @invariant()
    def recent_keys_are_known(self) -> None:
        """The five keys that were written last are there, with their values; no other has a value that it never had."""
        assert len(self.table) <= 10
        for key in list(self.model)[-5:]:
            assert self.table.get(key) == self.model[key]
        for key, value in self.model.items():
            assert self.table.get(key) in (value, 0.0)


TestBounded = Bounded.TestCase
