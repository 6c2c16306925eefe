"""Checkpoints, tlog-proof texts, tile paths and entry bundles."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_audit.errors import NoteInvalid
from rustcare_plugin_audit.notes import (
    Checkpoint,
    TlogProof,
    bundle,
    bundle_path,
    checkpoint_body,
    parse_path,
    tile_path,
    unbundle,
)

ROOT = base64.b64encode(bytes(range(32))).decode()
SIGNATURE = f"— log.example {base64.b64encode(bytes(68)).decode()}\n"


@given(st.integers(0, 2**62), st.binary(min_size=32, max_size=32), st.integers(0, 2**40))
def test_checkpoint_bodies_come_back_as_they_were(size: int, root: bytes, subjects: int) -> None:
    """What is signed is read again: size, root, and the map's line."""
    body = checkpoint_body("log.example/audit", size, root, (subjects, root[::-1])).decode()
    found = Checkpoint.of_body(body)
    assert (found.size, found.root, found.subjects) == (size, root, (subjects, root[::-1]))
    assert found.body == body


@pytest.mark.parametrize(
    "body",
    [
        "log.example\n7\n",
        f"log.example\n7\n{ROOT}",
        f"\n7\n{ROOT}\n",
        f"log.example\n07\n{ROOT}\n",
        f"log.example\n-7\n{ROOT}\n",
        f"log.example\n7\n{ROOT[:-4]}\n",
        f"log.example\n7\n{ROOT}\n\nmore\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(body: str) -> None:
    """Origin, size in decimal, a root of 32 bytes, no empty lines."""
    with pytest.raises(NoteInvalid):
        Checkpoint.parse(f"{body}\n{SIGNATURE}")


@pytest.mark.parametrize("line", ["rustcare/subjects 1", f"rustcare/subjects 01 {ROOT}", "rustcare/subjects 1 AAAA"])
def test_a_malformed_line_of_the_map_is_refused(line: str) -> None:
    """The extension line has a count and a root."""
    with pytest.raises(NoteInvalid):
        _ = Checkpoint.of_body(f"log.example\n7\n{ROOT}\n{line}\n").subjects


def test_two_lines_of_the_map_are_refused() -> None:
    """A checkpoint commits to one map."""
    line = f"rustcare/subjects 1 {ROOT}\n"
    with pytest.raises(NoteInvalid, match="one line"):
        _ = Checkpoint.of_body(f"log.example\n7\n{ROOT}\n{line}{line}").subjects


@given(
    st.integers(0, 2**62),
    st.lists(st.binary(min_size=32, max_size=32), max_size=63),
    st.none() | st.binary(max_size=40),
)
def test_proof_texts_come_back_as_they_were(index: int, hashes: list[bytes], extra: bytes | None) -> None:
    """A tlog-proof is read as it was written, with and without extra data."""
    proof = TlogProof(index, tuple(hashes), f"log.example\n7\n{ROOT}\n\n{SIGNATURE}", extra)
    assert TlogProof.parse(proof.text) == proof


def test_a_proof_text_has_the_lines_of_the_specification() -> None:
    """Header, extra, index, hashes from the leaf's sibling up, an empty line, the checkpoint as it is."""
    checkpoint = f"log.example\n7\n{ROOT}\n\n{SIGNATURE}"
    text = TlogProof(5, (bytes(32),), checkpoint, b"entry").text
    zeros = base64.b64encode(bytes(32)).decode()
    assert text == f"c2sp.org/tlog-proof@v1\nextra ZW50cnk=\nindex 5\n{zeros}\n\n{checkpoint}"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tlog-proof@v1", "tlog-proof@v2"),
        ("index 5", "index 05"),
        ("index 5\n", ""),
        ("extra ", "Extra "),
        ("\n\n", "\n"),
        ("AAAA", "AAA"),
    ],
)
def test_what_is_no_proof_text_is_refused(old: str, new: str) -> None:
    """Header, index and hashes have one form only."""
    text = TlogProof(5, (bytes(32),), f"log.example\n7\n{ROOT}\n\n{SIGNATURE}", b"entry").text
    with pytest.raises(NoteInvalid):
        TlogProof.parse(text.replace(old, new))


def test_paths_are_those_of_the_specification() -> None:
    """The index is written in groups of three digits, all but the last with an x; partial tiles have their width."""
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path(3, 0, 17) == "tile/3/000.p/17"
    assert bundle_path(273, 112) == "tile/entries/273.p/112"


@given(st.none() | st.integers(0, 63), st.integers(0, 2**40), st.integers(1, 256))
def test_paths_come_back_as_they_were(level: int | None, index: int, width: int) -> None:
    """Level, index and width are read from a path again."""
    path = bundle_path(index, width) if level is None else tile_path(level, index, width)
    assert parse_path(path) == (level, index, width)


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/1",
        "tile/00/001",
        "tile/64/001",
        "tile/0/x000/001",
        "tile/0/001.p/256",
        "tile/0/001.p/0",
        "tile/0/001/",
        "x",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    """A tile has one path."""
    with pytest.raises(NoteInvalid):
        parse_path(path)


def test_out_of_bounds_tiles_have_no_path() -> None:
    """Levels go to 63, widths to 256."""
    for level, index, width in ((64, 0, 256), (0, -1, 256), (0, 0, 0), (0, 0, 257)):
        with pytest.raises(NoteInvalid):
            tile_path(level, index, width)


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_bundles_come_back_as_they_were(entries: list[bytes]) -> None:
    """Entries after their length in two bytes are read again."""
    assert unbundle(bundle(entries)) == entries


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=5), st.data())
def test_a_bundle_that_was_cut_is_refused(entries: list[bytes], data: st.DataObject) -> None:
    """A bundle that ends within an entry is no bundle."""
    whole = bundle(entries)
    ends = {sum(len(entry) + 2 for entry in entries[:count]) for count in range(len(entries) + 1)}
    cut = data.draw(st.integers(1, len(whole) - 1).filter(lambda place: place not in ends))
    with pytest.raises(NoteInvalid):
        unbundle(whole[:cut])


def test_an_entry_that_is_too_long_is_refused() -> None:
    """The length has two bytes."""
    assert len(bundle([bytes(65_535)])) == 65_537
    with pytest.raises(NoteInvalid, match="65535"):
        bundle([bytes(65_536)])
