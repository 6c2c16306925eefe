"""Passwords: which are taken, and how they are hashed and compared.

| module | one idea |
|---|---|
| `rules` | what a new password must keep (NIST SP 800-63B-4) |
| `guessable` | how much of a password is not a word, a walk over the keyboard or another thing that is tried first |
| `breached` | whether it stands in a file of breached passwords |
| `foreign` | hashes that other systems made, until their owners sign in |
| `hasher` | all hashes behind one door, with the same cost whether there is an account or not |
"""

from __future__ import annotations

from .breached import Breached
from .hasher import Hasher
from .rules import Rules

__all__ = ["Breached", "Hasher", "Rules"]
