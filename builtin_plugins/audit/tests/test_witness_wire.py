"""What goes over the wire to a witness, and which answers count (https://c2sp.org/tlog-witness)."""

from __future__ import annotations

import base64
from itertools import product

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_audit.notes import (
    COSIGNATURE,
    ED25519,
    MLDSA44,
    Checkpoint,
    VerifierKey,
    checkpoint_body,
    cosignature_line,
    message_of,
    signature_line,
)
from rustcare_plugin_audit.witness.client import request_body, verified
from rustcare_plugin_audit.witness.errors import WitnessFailed
from rustcare_plugin_audit.witness.settings import WitnessSettings

LOG = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OLD = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
NEW = MLDSA44PrivateKey.from_seed_bytes(bytes(range(2, 34)))
KEYS = {
    "old": VerifierKey("witness.example/w1", COSIGNATURE, OLD.public_key().public_bytes_raw()),
    "new": VerifierKey("witness.example/w1", MLDSA44, NEW.public_key().public_bytes_raw()),
}
SETTINGS = WitnessSettings("witness.example/w1", "http://x", tuple(KEYS.values()))


def checkpoint(size: int = 9) -> Checkpoint:
    """A signed checkpoint."""
    body = checkpoint_body("log.example/a", size, bytes(range(32)))
    key = VerifierKey("log.example/a", ED25519, LOG.public_key().public_bytes_raw())
    return Checkpoint.parse(body + b"\n" + signature_line(key, LOG.sign(body)))


def line(kind: str, time: int = 1_800_000_000, size: int = 9) -> bytes:
    """A cosignature line."""
    key = KEYS[kind]
    message = message_of(checkpoint(size).body, key, time)
    return cosignature_line(key, time, (OLD if kind == "old" else NEW).sign(message))


def test_a_request_is_as_the_specification_writes_it() -> None:
    """The old size, a line for each hash, an empty line, the checkpoint; each line ends in a newline."""
    text = request_body(4, [b"\x01" * 32, b"\x02" * 32], checkpoint().text).decode()
    assert text.split("\n")[:4] == [
        "old 4",
        base64.b64encode(b"\x01" * 32).decode(),
        base64.b64encode(b"\x02" * 32).decode(),
        "",
    ]
    assert text.partition("\n\n")[2] == checkpoint().text
    assert request_body(0, [], checkpoint().text).startswith(b"old 0\n\nlog.example/a\n9\n")
    with pytest.raises(ValueError, match="at most 63"):
        request_body(1, [b""] * 64, checkpoint().text)


def test_both_kinds_of_cosignatures_count() -> None:
    """Ed25519 and ML-DSA-44, each with the time that it states; lines of unknown keys are ignored."""
    stranger = VerifierKey("other.example", COSIGNATURE, bytes(range(32)))
    unknown = cosignature_line(stranger, 5, bytes(64))
    one, other = line("old", 7), line("new", 8)
    found = verified(SETTINGS, checkpoint(), one + unknown + other)
    assert [each.time for each in found] == [7, 8]
    assert [each.line.encode() for each in found] == [one, other]


@given(st.sampled_from(["old", "new"]), st.integers(4, 70), st.integers(0, 7))
def test_a_flipped_bit_is_no_cosignature(kind: str, byte: int, bit: int) -> None:
    """A cosignature with a bit changed in its time or signature is refused."""
    dash, name, encoded = line(kind).decode().split(" ")
    raw = bytearray(base64.b64decode(encoded))
    raw[byte] ^= 1 << bit
    changed = f"{dash} {name} {base64.b64encode(raw).decode()}\n".encode()
    with pytest.raises(WitnessFailed):
        verified(SETTINGS, checkpoint(), changed)


@pytest.mark.parametrize(("kind", "size"), list(product(["old", "new"], [8, 10])))
def test_a_cosignature_of_another_checkpoint_is_refused(kind: str, size: int) -> None:
    """What a witness said of another size does not count for this one."""
    with pytest.raises(WitnessFailed):
        verified(SETTINGS, checkpoint(), line(kind, size=size))


@given(st.binary(max_size=200))
def test_anything_else_is_refused(body: bytes) -> None:
    """Whatever a server answers, without a cosignature it is a failure, and nothing but that."""
    with pytest.raises(WitnessFailed):
        verified(SETTINGS, checkpoint(), body)


@pytest.mark.parametrize(
    "body", [b"", b"log.example/b\n9\nAAAA\n\n" + line("old"), b"\n" + line("old"), line("old")[:-1]]
)
def test_signature_lines_alone_are_an_answer(body: bytes) -> None:
    """A text before the lines, no line, or a line without its end is refused."""
    with pytest.raises(WitnessFailed):
        verified(SETTINGS, checkpoint(), body)
