"""Reads test vectors of the project Wycheproof and judges what our algorithms, and below them `cryptography`, make of them.

**What is read.** Every `*.json` below the folder `wycheproof`. A file that cannot be read as vectors (no JSON, no groups, a
test without a verdict, a number of tests that is not the stated one, hexadecimal that is none) is malformed: that is an
error which names the file, never a reason to skip.

**Dispatch.** By the type of a group (`AeadTest`), which the file's schema fixes (`aead_test_schema_v1.json`), and the
file's `algorithm`; never by the file's name. What nothing supports is listed by name.

**Verdicts.** `valid` must be accepted with exactly the expected result, `invalid` must be refused or give another result,
`acceptable` may do either. A valid vector may be refused only for a *bound* that is stated where it is checked, in words
that the report prints and counts: never because something raised.

**Whose code.** A check says whether the vector went through an algorithm of the crypto plugin (`ours`) or through the
library alone (`library`), because we do not offer the algorithm; the report counts both.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap
from rustcare_plugin_crypto.errors import CryptoFailed, InvalidKey, InvalidParameter

__all__ = [
    "Bound",
    "Check",
    "Malformed",
    "Outcome",
    "Unsupported",
    "Vectors",
    "Wrong",
    "expect",
    "judge",
    "raw",
    "read",
]

#: A group, and one of its tests.
Group = dict[str, Any]
Test = dict[str, Any]
#: Looks at one test as if it were valid: returns "ours" or "library", or raises one of the below, or what the library raises.
Check = Callable[[str, Group, Test], str]

_VERDICTS = ("valid", "invalid", "acceptable")
#: What counts as a refusal. Anything else that is raised is a crash, and fails the test.
_REFUSALS = (
    CryptoFailed, InvalidKey, InvalidParameter, InvalidSignature, InvalidTag, InvalidUnwrap, UnsupportedAlgorithm, ValueError,
)  # fmt: skip


class Malformed(Exception):
    """A file that is no vectors; names it."""


class Unsupported(Exception):
    """Neither we nor the library can do this at all; says what."""


class Bound(Exception):
    """We or the library refuse this whole class of inputs on purpose; says which."""


class Wrong(Exception):
    """The operation gave another result than the expected one."""


@dataclass(frozen=True)
class Vectors:
    """One file."""

    path: Path
    algorithm: str
    schema: str
    groups: list[Group]


@dataclass
class Outcome:
    """What came of one file. `faults`: one line for each verdict that was not met."""

    vectors: Vectors
    counts: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    unsupported: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def raw(text: str) -> bytes:
    """Hexadecimal; Wycheproof's big integers may have an odd number of digits."""
    if not isinstance(text, str):
        raise Malformed(f"expected hexadecimal, got {type(text).__name__}")
    try:
        return bytes.fromhex(text if len(text) % 2 == 0 else "0" + text)
    except ValueError:
        raise Malformed(f"expected hexadecimal, got {text[:20]!r}") from None


def expect(found: object, expected: object) -> None:
    """Raise Wrong unless the two are equal."""
    if found != expected:
        raise Wrong


def read(path: Path) -> Vectors:
    """A file's vectors.

    Raises:
        Malformed: it is not a file of vectors.
    """
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{path.name}: expected JSON, got {type(error).__name__}") from None
    if not isinstance(content, dict) or not isinstance(content.get("testGroups"), list) or not content["testGroups"]:
        raise Malformed(f"{path.name}: expected an object with a list `testGroups`")
    seen = 0
    for number, group in enumerate(content["testGroups"]):
        if not isinstance(group, dict) or not isinstance(group.get("tests"), list):
            raise Malformed(f"{path.name}: testGroups[{number}]: expected an object with a list `tests`")
        for test in group["tests"]:
            if not isinstance(test, dict) or test.get("result") not in _VERDICTS or "tcId" not in test:
                raise Malformed(f"{path.name}: testGroups[{number}]: expected tests with `tcId` and `result`")
        seen += len(group["tests"])
    if seen == 0:
        raise Malformed(f"{path.name}: expected tests, got none")
    if content.get("numberOfTests", seen) != seen:
        raise Malformed(f"{path.name}: expected {content['numberOfTests']} tests as it says itself, got {seen}")
    schema = str(content.get("schema") or "")
    algorithm = str(content.get("algorithm") or schema.partition("_schema")[0] or path.stem)
    return Vectors(path, algorithm, schema, content["testGroups"])


def judge(vectors: Vectors, checks: dict[str, Check]) -> Outcome:
    """Put every test of a file to its check.

    Raises:
        Malformed: a test lacks what its type must have; names file and test.
    """
    outcome = Outcome(vectors)
    for group, test in _tests(vectors):
        kind = str(group.get("type"))
        check = checks.get(kind)
        if check is None:
            outcome.unsupported[f"{vectors.algorithm} ({kind})"] += 1
            continue
        try:
            _judge(outcome, check, group, test)
        except (Malformed, KeyError, TypeError, AttributeError) as error:
            where = f"{vectors.path.name}: tcId {test['tcId']}"
            raise Malformed(f"{where}: not as {kind} must be: {type(error).__name__} {error}") from error
    return outcome


def _tests(vectors: Vectors) -> Iterator[tuple[Group, Test]]:
    for group in vectors.groups:
        for test in group["tests"]:
            yield group, test


def _judge(outcome: Outcome, check: Check, group: Group, test: Test) -> None:
    verdict, accepted, bound = test["result"], False, ""
    try:
        path = check(outcome.vectors.algorithm, group, test)
        accepted = True
        outcome.counts[path] += 1
    except Unsupported as why:
        outcome.unsupported[str(why)] += 1
        return
    except Bound as why:
        bound = str(why)
    except (Wrong, *_REFUSALS):
        pass
    outcome.counts[verdict] += 1
    if verdict == "valid" and not accepted:
        if bound:
            outcome.reasons[bound] += 1
        else:
            outcome.faults.append(f"tcId {test['tcId']}: valid, but refused: {test.get('comment', '')}")
    elif verdict == "invalid" and accepted:
        outcome.faults.append(f"tcId {test['tcId']}: invalid, but accepted: {test.get('comment', '')}")
    elif verdict == "acceptable":
        outcome.counts["acceptable, accepted"] += accepted
