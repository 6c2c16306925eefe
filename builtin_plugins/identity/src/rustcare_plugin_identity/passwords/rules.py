"""What a new password must keep (NIST SP 800-63B-4, section 3.1.1.2).

At least 15 characters when it is the only factor, 8 where a second one is demanded; any characters, none prescribed;
not a common one, not made of what is tried first, not breached. Characters are Unicode code points after NFKC, the form in
which passwords are hashed too, so that a password is right whatever keyboard it was typed on.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Sequence

from rustcare_plugin_identity.errors import PasswordRefused
from rustcare_plugin_identity.settings import PasswordSettings

from .breached import Breached
from .guessable import ENOUGH, common, weight, words_of

__all__ = ["Rules", "normal"]

#: Words that passwords for this service are made of first.
_OWN = ("rustcare", "identity")


def normal(password: str) -> str:
    """A password in the form that is hashed: NFKC."""
    return unicodedata.normalize("NFKC", password)


class Rules:
    """Looks at new passwords."""

    def __init__(self, breached: Breached | None = None) -> None:
        self._breached = breached

    async def check(
        self, password: str, settings: PasswordSettings, *, factor: bool = False, context: Sequence[str] = ()
    ) -> str:
        """The password as it is to be hashed.

        Args:
            factor: a second factor is demanded whenever this password is used.
            context: names and addresses of the account and its surroundings.

        Raises:
            PasswordRefused: `hint` says which rule it breaks.
        """
        text = normal(password)
        least = settings.minimum_with_factor if factor else settings.minimum
        if len(text) < least:
            raise _refused(f"expected at least {least} characters, got fewer", "several words make a good password")
        if len(text) > settings.maximum:
            raise _refused(f"expected at most {settings.maximum} characters, got {len(text)}", "leave some out")
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
            raise _refused("expected characters that can be typed, got control characters", "leave them out")
        words = words_of((*_OWN, *settings.words, *context))
        # Both look through tables of thousands: not in the thread that answers everybody else.
        if await asyncio.to_thread(self._guessable, text, words):
            raise _refused(
                "expected a password that is not guessed early, got one made of common words, names or patterns",
                "several words that do not belong together make a good password",
            )
        if self._breached is not None and await asyncio.to_thread(self._breached.has, text):
            raise _refused(
                "expected a password that nobody knows, got one that was published after a breach elsewhere",
                "choose another one, and change it wherever else it is used",
            )
        return text

    @staticmethod
    def _guessable(text: str, words: frozenset[str]) -> bool:
        return text.casefold() in common() or weight(text, words) < ENOUGH


def _refused(message: str, hint: str) -> PasswordRefused:
    return PasswordRefused(message, hint=hint, address="password")
