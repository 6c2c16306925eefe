"""How much of a password is not a thing that is tried first.

A password is cut into known pieces: common passwords (also with digits for letters), words of its surroundings (the
service's name, the user's), runs (`abcd`, `4321`), walks over a keyboard (`qwertz`, `1qaz2wsx`), repetitions, years. Each
piece counts little, every other character counts 1; the cut that counts least is the password's. What counts below
`ENOUGH` is refused: `Password2024!!!!` is one word, a year and a repetition, not sixteen characters.

The list of common passwords is that of zxcvbn (30,000, see `common.LICENSE`). It is English for the most part, and no list
is ever complete: a file of breached passwords (`breached`) reaches much further.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources

from rustcare_plugin_identity.accounts.names import folded

__all__ = ["ENOUGH", "common", "weight", "words_of"]

#: What a password must count at least.
ENOUGH = 3.0

_WORD, _PIECE, _SEPARATOR = 1.0, 0.5, 0.25
_LONGEST_WORD = 24
_LEAST_WORD, _LEAST_CONTEXT, _LEAST_RUN, _LEAST_WALK = 4, 3, 3, 4
_SHAPES = str.maketrans(
    {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i", "|": "l"}
)
_YEAR = re.compile(r"(?:19|20)\d\d")
_ROWS = (
    "1234567890-=",
    "qwertyuiop[]",
    "qwertzuiopü",
    "azertyuiop",
    "asdfghjkl;'",
    "qsdfghjklm",
    "zxcvbnm,./",
    "yxcvbnm,.-",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik",
    "!qaz@wsx#edc$rfv",
    "!@#$%^&*()",
    "147258369",
)
_WALKS = (*_ROWS, *(row[::-1] for row in _ROWS))


@cache
def common() -> frozenset[str]:
    """The common passwords, folded. Read once, when the first password is looked at."""
    packed = resources.files(__package__).joinpath("common.txt.gz").read_bytes()
    return frozenset(folded(word) for word in gzip.decompress(packed).decode("utf-8").split("\n"))


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """The words that stand in names and addresses, folded: `Anna.Schmidt@clinic.example` has `anna`, `schmidt`, `clinic`, …"""
    found: set[str] = set()
    for text in texts:
        whole = folded(text)
        found.update(re.findall(r"\w+", whole))
        found.add(re.sub(r"\W+", "", whole))
        found.add(whole)
    return frozenset(word for word in found if len(word) >= _LEAST_CONTEXT)


def weight(password: str, context: frozenset[str] = frozenset()) -> float:
    """What a password counts, given the words of its surroundings."""
    text = folded(password)
    period = _period(text)
    if period < len(text):
        return _cut(text[:period], context) + _PIECE
    return _cut(text, context)


def _period(text: str) -> int:
    """The length of the shortest piece that the text is a repetition of (its last may be cut short)."""
    for size in range(1, len(text) // 2 + 1):
        if text.startswith(text[size:]) and text == (text[:size] * (len(text) // size + 1))[: len(text)]:
            return size
    return len(text)


def _cut(text: str, context: frozenset[str]) -> float:
    """The least that a cut into pieces counts."""
    words, shaped = common(), text.translate(_SHAPES)
    least = [0.0] + [float("inf")] * len(text)
    for start in range(len(text)):
        here = least[start]
        alone = _SEPARATOR if not text[start].isalnum() else 1.0
        least[start + 1] = min(least[start + 1], here + alone)
        for end in range(start + _LEAST_CONTEXT, min(len(text), start + _LONGEST_WORD) + 1):
            for piece in {text[start:end], shaped[start:end]}:
                if piece in context:
                    least[end] = min(least[end], here + _PIECE)
                elif end - start >= _LEAST_WORD and piece in words:
                    least[end] = min(least[end], here + _WORD)
        for end in _runs(text, start):
            least[end] = min(least[end], here + _PIECE)
    return least[len(text)]


def _runs(text: str, start: int) -> Iterable[int]:
    """The ends of runs, walks, repetitions and years that begin here, the longest of each kind."""
    for step in (0, 1, -1):
        end = start + 1
        while end < len(text) and ord(text[end]) - ord(text[end - 1]) == step:
            end += 1
        if end - start >= _LEAST_RUN:
            yield end
    size = _LEAST_WALK
    while start + size <= len(text) and any(text[start : start + size] in walk for walk in _WALKS):
        size += 1
    if size > _LEAST_WALK:
        yield start + size - 1
    if _YEAR.match(text, start):
        yield start + 4
