"""Encryption of large objects: nothing left out, doubled, moved or cut off goes unseen."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rustcare_plugin_crypto.algorithms.aead import AEADS
from rustcare_plugin_crypto.algorithms.stream import StreamOpener, StreamSealer, open_stream, seal_stream
from rustcare_plugin_crypto.errors import CryptoFailed, InvalidKey, InvalidParameter

#: For each algorithm: bytes of the header, and of a chunk without its tag.
FORMS = {"aes256-gcm": (56, 16384), "chacha20-poly1305": (68, 65536), "aes256-gcm-siv": (68, 65536)}
KEY = bytes(range(32))
every = pytest.mark.parametrize("name", list(FORMS))


def sealed(name: str, data: bytes, aad: bytes = b"") -> bytes:
    """A whole stream."""
    return b"".join(seal_stream(name, KEY, [data], aad))


def opened(name: str, stream: bytes, aad: bytes = b"", key: bytes = KEY) -> bytes:
    """The whole object."""
    return b"".join(open_stream(name, key, [stream], aad))


def test_every_aead_has_a_stream() -> None:
    """The forms under test are those of all AEADs."""
    assert set(FORMS) == set(AEADS)


@every
@pytest.mark.parametrize("around", [0, 1, 2, 3])
@pytest.mark.parametrize("off", [-1, 0, 1])
def test_every_length_comes_back(name: str, around: int, off: int) -> None:
    """Objects around whole numbers of chunks, and empty ones, come back as they were."""
    data = os.urandom(max(0, around * FORMS[name][1] + off))
    assert opened(name, sealed(name, data, b"aad"), b"aad") == data


@every
@given(data=st.data())
@settings(max_examples=15)
def test_parts_may_be_cut_anywhere(name: str, data: st.DataObject) -> None:
    """How the parts are cut, on either side, makes no difference."""
    plain = os.urandom(data.draw(st.integers(0, 2 * FORMS[name][1] + 5)))
    cuts = st.lists(st.integers(0, len(plain) + 400), max_size=6).map(sorted)

    def parts(text: bytes) -> list[bytes]:
        places = [0, *(min(cut, len(text)) for cut in data.draw(cuts)), len(text)]
        return [text[start:end] for start, end in pairwise(places)]

    stream = b"".join(seal_stream(name, KEY, parts(plain)))
    assert b"".join(open_stream(name, KEY, parts(stream))) == plain


def chunks(name: str, stream: bytes) -> tuple[bytes, list[bytes]]:
    """Header and chunks of a stream."""
    header, size = FORMS[name]
    body, step = stream[header:], size + 16
    return stream[:header], [body[at : at + step] for at in range(0, len(body), step)]


TAMPERED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "the last chunk is missing": lambda found: found[:-1],
    "only the first chunk": lambda found: found[:1],
    "no chunk": lambda found: [],
    "a chunk is missing": lambda found: [found[0], *found[2:]],
    "a chunk is doubled": lambda found: [found[0], found[0], *found[1:]],
    "the last chunk is doubled": lambda found: [*found, found[-1]],
    "two chunks are swapped": lambda found: [found[1], found[0], *found[2:]],
    "the end is cut within a chunk": lambda found: [*found[:-1], found[-1][:-1]],
    "a byte is appended": lambda found: [*found, b"\0"],
}


@every
@pytest.mark.parametrize("change", list(TAMPERED))
def test_tampering_with_chunks_is_detected(name: str, change: str) -> None:
    """Truncation, omission, duplication and reordering of chunks fail."""
    header, found = chunks(name, sealed(name, os.urandom(3 * FORMS[name][1] + 100)))
    assert len(found) == 4
    with pytest.raises(CryptoFailed):
        opened(name, header + b"".join(TAMPERED[change](found)))


@every
def test_chunks_of_another_stream_do_not_fit(name: str) -> None:
    """A chunk at the same place of another object under the same key fails, and so does its header."""
    data = os.urandom(2 * FORMS[name][1])
    (header, one), (other, two) = chunks(name, sealed(name, data)), chunks(name, sealed(name, data))
    for stream in ([header, two[0], *one[1:]], [other, *one]):
        with pytest.raises(CryptoFailed):
            opened(name, b"".join(stream))


@every
def test_flipped_bits_are_detected(name: str) -> None:
    """One flipped bit in each byte of a short stream, header included, fails."""
    stream = sealed(name, b"a short object")
    for at in range(len(stream)):
        with pytest.raises(CryptoFailed):
            opened(name, stream[:at] + bytes([stream[at] ^ 1 << at % 8]) + stream[at + 1 :])


@every
def test_key_and_context_are_bound(name: str) -> None:
    """Another key or other associated data fail."""
    stream = sealed(name, b"data", b"aad")
    for aad, key in ((b"other", KEY), (b"", KEY), (b"aad", bytes(32))):
        with pytest.raises(CryptoFailed):
            opened(name, stream, aad, key)


@every
def test_nothing_comes_after_a_failure(name: str) -> None:
    """An opener that has failed once gives nothing any more, whatever follows."""
    header, found = chunks(name, sealed(name, os.urandom(2 * FORMS[name][1])))
    opener = StreamOpener(name, KEY)
    broken = bytes(len(found[0]))
    with pytest.raises(CryptoFailed):
        opener.update(header + broken + found[1])
    with pytest.raises(CryptoFailed):
        opener.update(found[0])
    with pytest.raises(CryptoFailed):
        opener.finish()


@every
def test_what_is_given_early_is_authentic_only(name: str) -> None:
    """Whole chunks come before the end; the end that is missing shows at `finish`."""
    size = FORMS[name][1]
    data = os.urandom(3 * size)
    stream = sealed(name, data)
    opener = StreamOpener(name, KEY)
    early = opener.update(stream[: FORMS[name][0] + 2 * (size + 16) + 5])
    assert early == data[: len(early)]
    assert len(early) in (size, 2 * size)
    with pytest.raises(CryptoFailed):
        opener.finish()


@every
def test_a_finished_stream_takes_nothing_more(name: str) -> None:
    """After `finish` a sealer refuses data, and an opener fails."""
    sealer = StreamSealer(name, KEY)
    stream = sealer.update(b"data") + sealer.finish()
    with pytest.raises(InvalidParameter):
        sealer.update(b"more")
    opener = StreamOpener(name, KEY)
    assert opener.update(stream) + opener.finish() == b"data"
    with pytest.raises(CryptoFailed):
        opener.finish()


def test_arguments_are_checked() -> None:
    """An algorithm without streams and a key of another length are refused at once."""
    with pytest.raises(InvalidParameter, match="ed25519"):
        StreamSealer("ed25519", KEY)
    with pytest.raises(InvalidKey, match="got 16"):
        StreamOpener("aes256-gcm", KEY[:16])
