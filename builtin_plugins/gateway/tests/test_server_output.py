"""What goes out of a connection: in the order in which it was said, whatever waited for the end of the turn."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_gateway.server.output import SMALL, Output, Outputs


class Wire(asyncio.Transport):
    """Remembers what is called on it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.ended = ""

    def write(self, data: Any) -> None:
        """Nothing is written to what has ended."""
        assert not self.ended
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        """Whether it has ended."""
        return bool(self.ended)

    def can_write_eof(self) -> bool:
        """As a socket."""
        return True

    def write_eof(self) -> None:
        """Nothing more comes."""
        self.ended = self.ended or "eof"

    def close(self) -> None:
        """Nothing more comes."""
        self.ended = self.ended or "close"

    def abort(self) -> None:
        """Nothing more comes."""
        self.ended = self.ended or "abort"


_STEPS = st.lists(st.tuples(st.sampled_from(["write", "write_late", "turn"]), st.sampled_from([1, 3, SMALL + 1])))


@given(_STEPS, st.sampled_from(["write_eof", "close", "abort", ""]))
def test_the_order_is_kept_and_nothing_is_left(steps: list[tuple[str, int]], end: str) -> None:
    """What was given first goes out first; an end comes after all of it; after a turn nothing waits."""

    async def run() -> None:
        wire = Wire()
        output = Output(wire, Outputs(asyncio.get_running_loop()))
        expected = b""
        for number, (step, size) in enumerate(steps):
            data = bytes([number % 256]) * size
            if step == "turn":
                await asyncio.sleep(0)
                assert wire.sent == expected
            else:
                expected += data
                getattr(output, step)(data)
                assert expected.startswith(wire.sent)
        if end:
            getattr(output, end)()
            assert wire.sent == expected
        await asyncio.sleep(0)
        assert wire.sent == expected

    asyncio.run(run())


async def test_answers_of_one_turn_go_out_together() -> None:
    """Nothing is sent while others are still being answered; then all is, in one go, but for a connection that has ended."""
    outputs = Outputs(asyncio.get_running_loop())
    wires = [Wire() for _ in range(3)]
    for number, wire in enumerate(wires):
        Output(wire, outputs).write_late(b"%d" % number)
    assert [wire.sent for wire in wires] == [b"", b"", b""]
    wires[1].close()
    await asyncio.sleep(0)
    assert [wire.sent for wire in wires] == [b"0", b"", b"2"]
