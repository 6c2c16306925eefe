"""Signed notes, verifier keys and cosignatures: the specifications' examples, Go's known notes, and what must be refused."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_audit.errors import NoteInvalid
from rustcare_plugin_audit.notes import (
    COSIGNATURE,
    ED25519,
    MLDSA44,
    Checkpoint,
    SignedNote,
    VerifierKey,
    checkpoint_body,
    cosignature_line,
    cosignature_message,
    message_of,
    signature_line,
    subtree_message,
)

# https://c2sp.org/signed-note, "Example"
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
# https://pkg.go.dev/golang.org/x/mod/sumdb/note, package example and tests
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
# https://c2sp.org/tlog-cosignature and https://c2sp.org/tlog-checkpoint
SOFA_BODY = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
SOFA_LINE = (
    "— example.com/behind-the-sofa"
    " Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
WITNESS_LINE = (
    "— witness.example.com/w1"
    " jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
SOFA = f"{SOFA_BODY}\n{SOFA_LINE}{WITNESS_LINE}"

SECRET = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = SECRET.public_key().public_bytes_raw()


def test_the_specification_example_verifies() -> None:
    """The example of the signed-note specification is read, verified with its vkey, and written as it was."""
    key = VerifierKey.parse(FOO)
    note = SignedNote.parse(FOO_NOTE)
    assert note.verify([key]) == (key,)
    assert note.text == FOO_NOTE
    assert key.vkey == FOO


def test_notes_of_go_verify_and_are_made_the_same() -> None:
    """The notes in Go's sumdb/note verify, with one signature and with two, and our line for that key is Go's."""
    peter, enoch = VerifierKey.parse(PETER), VerifierKey.parse(ENOCH)
    assert SignedNote.parse(f"{TEXT}\n{PETER_LINE}").verify([peter, enoch]) == (peter,)
    both = SignedNote.parse(f"{TEXT}\n{PETER_LINE}{ENOCH_LINE}")
    assert both.verify([enoch]) == (enoch,)
    assert both.verify([peter, enoch]) == (peter, enoch)
    made = Ed25519PrivateKey.from_private_bytes(PETER_SEED).sign(TEXT.encode())
    assert signature_line(peter, made).decode() == PETER_LINE


def test_unknown_signatures_are_ignored_but_one_must_be_known() -> None:
    """Lines of unknown keys do not matter; a note that no known key signed is refused."""
    with pytest.raises(NoteInvalid, match="got none"):
        SignedNote.parse(f"{TEXT}\n{PETER_LINE}").verify([VerifierKey.parse(ENOCH)])


def test_a_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    """A known key's wrong signature is refused even when another known key signed."""
    line = "— PeterNeumann " + base64.b64encode(base64.b64decode("x08gow==") + bytes(64)).decode() + "\n"
    with pytest.raises(NoteInvalid, match="is wrong"):
        SignedNote.parse(f"{TEXT}\n{line}{ENOCH_LINE}").verify([VerifierKey.parse(PETER), VerifierKey.parse(ENOCH)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no signatures\n",
        f"{TEXT}{PETER_LINE}",
        f"{TEXT}\n",
        f"{TEXT}\n{PETER_LINE}".rstrip("\n"),
        f"{TEXT}\n{PETER_LINE}".replace("— ", "- "),
        f"{TEXT}\n{PETER_LINE}".replace("AM=", "AN="),
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann", "Peter+Neumann"),
        f"{TEXT}\n{PETER_LINE}".replace("PeterNeumann", "Peter\u2003Neumann"),
        f"{TEXT}\n— PeterNeumann x08gow==\n",
        f"\t{TEXT}\n{PETER_LINE}",
        f"{TEXT}\n" + PETER_LINE * 101,
    ],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    """A note has a text, an empty line, signature lines of the one form, and no control characters."""
    with pytest.raises(NoteInvalid):
        SignedNote.parse(text)


def test_bytes_that_are_no_utf_8_are_no_note() -> None:
    """Notes are UTF-8."""
    with pytest.raises(NoteInvalid, match="UTF-8"):
        SignedNote.parse(b"\xff\n\n" + PETER_LINE.encode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        PETER.replace("c74f20a3", "c74f20a4"),
        PETER.replace("PeterNeumann", "Peter Neumann"),
        PETER.replace("PeterNeumann", ""),
        PETER[:-4],
        "name+00000000+",
        "name+00000000+Ag==",
    ],
)
def test_what_is_no_verifier_key_is_refused(text: str) -> None:
    """A vkey's id fits its key, its key its type, and its name has neither spaces nor plus signs."""
    with pytest.raises(NoteInvalid):
        VerifierKey.parse(text)


@given(st.binary(min_size=32, max_size=32), st.sampled_from([ED25519, COSIGNATURE]))
def test_verifier_keys_come_back_as_they_were(public: bytes, kind: int) -> None:
    """Writing and reading a vkey gives the same key."""
    key = VerifierKey("witness.example/w1", kind, public)
    assert VerifierKey.parse(key.vkey) == key


def test_the_checkpoint_of_the_specification_is_read() -> None:
    """The example checkpoint with a cosignature: origin, size, root, two signatures, written as it was."""
    found = Checkpoint.parse(SOFA)
    assert (found.origin, found.size, found.extensions) == ("example.com/behind-the-sofa", 20852163, ())
    assert found.body == SOFA_BODY
    assert found.text == SOFA
    assert [signature.name for signature in found.signatures] == [
        "example.com/behind-the-sofa",
        "witness.example.com/w1",
    ]
    assert found.subjects is None
    # The example's timestamp: the first 8 bytes of the cosignature.
    assert int.from_bytes(found.signatures[1].data[:8], "big") == 1679315147


def test_cosignature_messages_are_those_of_the_specification() -> None:
    """The example of what an Ed25519 cosigner signs, and the structure of what an ML-DSA-44 cosigner does."""
    assert cosignature_message(SOFA_BODY, 1679315147).decode() == f"cosignature/v1\ntime 1679315147\n{SOFA_BODY}"
    root = bytes(range(32))
    message = subtree_message("w", 5, "log", 0, 7, root)
    assert message == (
        b"subtree/v1\n\0" + b"\x01w" + (5).to_bytes(8, "big") + b"\x03log" + bytes(8) + (7).to_bytes(8, "big") + root
    )
    with pytest.raises(NoteInvalid, match="time 0"):
        subtree_message("w", 5, "log", 4, 7, root)
    with pytest.raises(NoteInvalid, match="1 to 255"):
        subtree_message("", 0, "log", 4, 7, root)


def test_cosignatures_are_made_and_verified() -> None:
    """A checkpoint gets an Ed25519 and an ML-DSA-44 cosignature; both verify, their times are told, changed ones do not."""
    log = VerifierKey("log.example", ED25519, PUBLIC)
    body = checkpoint_body("log.example", 7, bytes(32), (1, bytes(range(32)))).decode()
    note = SignedNote.parse(body + "\n" + signature_line(log, SECRET.sign(body.encode())).decode())
    witness = VerifierKey("w.example", COSIGNATURE, PUBLIC)
    secret = MLDSA44PrivateKey.generate()
    quantum = VerifierKey("q.example", MLDSA44, secret.public_key().public_bytes_raw())
    lines = [
        cosignature_line(witness, 77, SECRET.sign(message_of(body, witness, 77))),
        cosignature_line(quantum, 78, secret.sign(message_of(body, quantum, 78))),
    ]
    cosigned = note.with_lines(lines)
    assert cosigned.with_lines(lines) == cosigned
    assert cosigned.verify([log, witness, quantum]) == (log, witness, quantum)
    assert [cosigned.verify_one(key, cosigned.signatures[i]) for i, key in ((1, witness), (2, quantum))] == [77, 78]
    for line in lines:
        name, text = line.decode().rstrip("\n").rsplit(" ", 1)
        raw = bytearray(base64.b64decode(text))
        raw[11] ^= 1  # the time
        changed = note.with_lines([f"{name} {base64.b64encode(raw).decode()}\n".encode()])
        with pytest.raises(NoteInvalid, match="is wrong"):
            changed.verify([log, witness, quantum])


def test_a_plain_key_cosigns_nothing() -> None:
    """Only keys of the types 0x04 and 0x06 cosign; and only checkpoints can be cosigned."""
    with pytest.raises(NoteInvalid, match="0x04 or 0x06"):
        message_of(SOFA_BODY, VerifierKey("w", ED25519, PUBLIC), 1)
    with pytest.raises(NoteInvalid, match="a checkpoint"):
        message_of("text\n", VerifierKey("w", COSIGNATURE, PUBLIC), 1)
    with pytest.raises(NoteInvalid, match="0 to 2"):
        cosignature_message(SOFA_BODY, 1 << 63)
