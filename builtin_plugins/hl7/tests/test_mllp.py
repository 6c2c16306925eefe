"""MLLP framing: however the stream is cut, the frames are the same."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_hl7.mllp import END, HEAD, START, Frame, FrameDecoder, wrap

# Pieces that make all the interesting neighbourhoods likely.
PIECES = st.lists(st.sampled_from([b"\x0b", b"\x1c", b"\r", b"\x1c\r", b"A", b"MSH|", b"\n", b"x" * 40]), max_size=60)
CONTENT = st.binary(max_size=200).filter(lambda data: START not in data and END not in data + b"\r")


def decode(data: bytes, cuts: list[int], limit: int = 64) -> tuple[list[Frame], FrameDecoder]:
    decoder = FrameDecoder(limit)
    frames: list[Frame] = []
    at = 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        frames += decoder.feed(data[at:cut])
        at = cut
    return frames, decoder


@given(PIECES, st.lists(st.integers(0, 10_000), max_size=20))
def test_any_chunking_gives_the_same_frames(pieces: list[bytes], cuts: list[int]) -> None:
    """The frames, and what is counted, do not depend on how the stream was cut."""
    data = b"".join(pieces)
    whole, one = decode(data, [])
    parts, other = decode(data, cuts)
    assert parts == whole
    assert (other.outside, other.interrupted, other.inside) == (one.outside, one.interrupted, one.inside)


@given(st.lists(CONTENT, max_size=8), st.lists(st.integers(0, 10_000), max_size=20))
def test_what_is_wrapped_comes_out(messages: list[bytes], cuts: list[int]) -> None:
    """Several messages in one stream come out one by one, unchanged."""
    frames, decoder = decode(b"".join(map(wrap, messages)), cuts, limit=1000)
    assert [frame.data for frame in frames] == messages
    assert decoder.outside == decoder.interrupted == 0


def test_bytes_outside_frames_are_dropped_and_counted() -> None:
    """Noise before, between and after frames hurts no frame."""
    frames, decoder = decode(b"\r\n" + wrap(b"one") + b"\n\n\n" + wrap(b"two") + b"!", [])
    assert [frame.data for frame in frames] == [b"one", b"two"]
    assert decoder.outside == 6


def test_a_start_inside_a_frame_begins_anew() -> None:
    """A frame that the sender gave up is not glued to the next one."""
    frames, decoder = decode(START + b"broken" + wrap(b"whole"), [3])
    assert [frame.data for frame in frames] == [b"whole"]
    assert decoder.interrupted == 1


def test_fs_without_cr_belongs_to_the_message() -> None:
    """Only FS CR ends a frame."""
    frames, _ = decode(wrap(b"a\x1cb\rc"), [2, 3, 4])
    assert [frame.data for frame in frames] == [b"a\x1cb\rc"]


@given(st.integers(0, 3 * HEAD), st.integers(1, 700))
def test_an_oversize_frame_keeps_its_head_and_its_size_only(length: int, step: int) -> None:
    """Of a message over the limit, memory holds the beginning and a piece, and the next message is unharmed."""
    limit = HEAD + 100
    decoder = FrameDecoder(limit)
    data = wrap(b"M" * length) + wrap(b"next")
    frames: list[Frame] = []
    for at in range(0, len(data), step):
        frames += decoder.feed(data[at : at + step])
        assert len(decoder._buffer) <= limit + step + 2
    first, second = frames
    assert first.size == length
    assert first.oversize == (length > limit)
    assert first.data == b"M" * (min(length, HEAD) if first.oversize else length)
    assert second == Frame(b"next", 4)
