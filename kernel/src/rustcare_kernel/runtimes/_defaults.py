"""What a decoded body did not say: written down, so that it comes out again when the body is answered.

msgspec leaves a plain default where it is, in the class, and encodes what is in the object alone. A handler that answers with
what it was sent would then leave out the fields that the client left out. Here they are put into the objects, once, after
decoding; types without such fields cost nothing. What is found out about types goes with the handler, since a plugin's
classes must not outlive it.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

__all__ = ["completer"]


def completer(annotation: Any) -> Callable[[Any], None] | None:
    """What puts the defaults into a decoded value of that type; None when nothing of it has any."""
    known: dict[type, dict[str, Any]] = {}
    _collect(annotation, known)
    if not any(known.values()):
        return None

    def complete(value: Any) -> None:
        kind = type(value)
        if kind is list or kind is tuple:
            for item in value:
                complete(item)
        elif kind is dict:
            for item in value.values():
                complete(item)
        elif kind in known:
            said = getattr(value, "__dict__", None)
            if said is None:  # with slots it has all of them
                for field in dataclasses.fields(kind):
                    complete(getattr(value, field.name))
                return
            for name, default in known[kind].items():
                said.setdefault(name, default)  # of a frozen one too: it is not finished before this
            for item in said.values():
                complete(item)

    return complete


def _collect(annotation: Any, known: dict[type, dict[str, Any]]) -> None:
    """The dataclasses that a type is made of, with those defaults of theirs that are no factories."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        if annotation not in known:
            fields = dataclasses.fields(annotation)
            known[annotation] = {one.name: one.default for one in fields if one.default is not dataclasses.MISSING}
            try:
                hints = typing.get_type_hints(annotation)
            except NameError:  # decoding fails by it too, and says which
                return
            for hint in hints.values():
                _collect(hint, known)
        return
    for argument in typing.get_args(annotation):
        _collect(argument, known)
