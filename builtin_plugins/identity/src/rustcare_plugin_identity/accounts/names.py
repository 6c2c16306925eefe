"""When two names are the same, and which are not names at all.

Two rules keep people from passing for others. A name's letters are of one script (Unicode TR 39, "single script", with the
scripts that Chinese, Japanese and Korean are written in together counted as one). And what is compared is a *key*: the name
in NFKC, case folded, with those Cyrillic and Greek letters that look like Latin ones replaced by them, so that a name in
another script that looks the same is the same. Digits that look like letters are left alone: `user1` and `userl` differ.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from rustcare_plugin_identity.errors import InvalidAccount

__all__ = ["checked_display_name", "checked_email", "checked_name", "folded", "key"]

_LONGEST_NAME, _LONGEST_EMAIL, _LONGEST_DISPLAY = 128, 254, 256
#: Ids look like this; a name that did could be taken for one.
_ID = re.compile(r"[0-9a-f]{32}")
#: Those of e-mail addresses, and of the names that directories give: `ada_clinic.org#EXT#@example.org` is a guest there.
_PUNCTUATION = frozenset("._-+@'!#^~")
_LOCAL = re.compile(r"[^\s@\"(),:;<>\[\\\]\x00-\x20\x7f]{1,64}")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
#: Scripts that stand together in one word, by the first word of their characters' Unicode names.
_TOGETHER = {"CJK": "HAN", "HIRAGANA": "HAN", "KATAKANA": "HAN", "BOPOMOFO": "HAN", "HANGUL": "HAN"}
# After case folding, so small letters alone. From Unicode's confusables (TR 39), those whose shapes are the same.
_LOOKALIKES = str.maketrans(
    {
        "а": "a", "в": "b", "с": "c", "ԁ": "d", "е": "e", "һ": "h", "і": "i", "ј": "j", "к": "k", "ӏ": "l", "м": "m",
        "н": "h", "о": "o", "р": "p", "ԛ": "q", "ѕ": "s", "т": "t", "ѵ": "v", "ԝ": "w", "х": "x", "у": "y", "ү": "y",
        "α": "a", "β": "b", "ε": "e", "η": "n", "ι": "i", "κ": "k", "ν": "v", "ο": "o", "ρ": "p", "τ": "t", "υ": "u",
        "χ": "x", "γ": "y", "ϲ": "c", "ϳ": "j", "ı": "i", "ɡ": "g", "ɑ": "a",
    }
)  # fmt: skip


def folded(text: str) -> str:
    """NFKC and case folded, until neither changes anything: for sorting and searching."""
    return _settled(text, lambda found: unicodedata.normalize("NFKC", found.casefold()))


def key(text: str) -> str:
    """What is compared to find an account by its name or e-mail address."""
    return _settled(text, lambda found: _ascii_domain(folded(found).strip()).translate(_LOOKALIKES))


def _ascii_domain(text: str) -> str:
    """An address with its domain in the form in which it is kept, so that it is found however it was typed."""
    local, at, domain = text.rpartition("@")
    if not at or domain.isascii():
        return text
    try:
        return f"{local}@{domain.encode('idna').decode('ascii').lower()}"
    except UnicodeError:
        return text


def _settled(text: str, change: Callable[[str], str]) -> str:
    """Changed until it does not change any more; a few times are enough for every text that there is."""
    for _ in range(8):
        after = change(text)
        if after == text:
            break
        text = after
    return text


def _script(character: str) -> str:
    word = unicodedata.name(character, "?").split(" ")[0].split("-")[0]
    return _TOGETHER.get(word, word)


def checked_name(name: str) -> str:
    """A name as it is kept (NFKC). Letters of one script, digits and `._-+@'!#^~`; the first is a letter or a digit.

    Raises:
        InvalidAccount: it is empty, longer than 128 characters, has others, or letters of several scripts.
    """
    found = unicodedata.normalize("NFKC", name.strip())
    if not 0 < len(found) <= _LONGEST_NAME:
        raise InvalidAccount(f"expected a name of 1 to {_LONGEST_NAME} characters, got {len(found)}", address="name")
    for position, character in enumerate(found):
        kind = unicodedata.category(character)
        if not (kind[0] in "LM" or kind == "Nd" or character in _PUNCTUATION) or (
            position == 0 and kind[0] not in "LN"
        ):
            raise InvalidAccount(
                f"expected letters, digits and . _ - + @ ' ! # ^ ~, got another at position {position + 1}",
                hint="a name begins with a letter or a digit and has no spaces",
                address="name",
            )
    # Marks (accents) go with the letter before them.
    scripts = {_script(character) for character in found if unicodedata.category(character)[0] == "L"}
    scripts -= {"MODIFIER", "FEMININE", "MASCULINE"}
    if len(scripts) > 1:
        raise InvalidAccount(
            "expected letters of one script, got several",
            hint="letters of several scripts in one name can pass for others",
            address="name",
        )
    if _ID.fullmatch(key(found)):
        raise InvalidAccount("expected a name, got what looks like an id", address="name")
    return found


def checked_email(email: str) -> str:
    """An e-mail address as it is kept: the domain in its ASCII form and in small letters. Empty stays empty.

    Raises:
        InvalidAccount: it is not an address `local@domain`, or longer than 254 characters.
    """
    text = unicodedata.normalize("NFKC", email.strip())
    if not text:
        return ""
    local, at, domain = text.rpartition("@")
    try:
        ascii_domain = domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        ascii_domain = ""
    labels = ascii_domain.split(".")
    found = f"{local}@{ascii_domain}"
    right = at and _LOCAL.fullmatch(local) and all(_LABEL.fullmatch(label) for label in labels)
    dots = local.startswith(".") or local.endswith(".") or ".." in local
    if not right or dots or len(found) > _LONGEST_EMAIL or not local.isprintable():
        raise InvalidAccount(
            f"expected an e-mail address local@domain of at most {_LONGEST_EMAIL} characters, got something else",
            address="email",
        )
    return found


def checked_display_name(name: str) -> str:
    """A name to be shown: any printable text of one line. Raises InvalidAccount.

    Characters that turn the direction of writing around are refused: with them a text shows as another one.
    """
    found = unicodedata.normalize("NFC", " ".join(name.split()))
    turning = any("\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069" for character in found)
    control = any(unicodedata.category(character) in ("Cc", "Cs", "Co", "Cn") for character in found)
    if len(found) > _LONGEST_DISPLAY or turning or control:
        raise InvalidAccount(
            f"expected at most {_LONGEST_DISPLAY} printable characters in one line, got something else",
            address="display_name",
        )
    return found
