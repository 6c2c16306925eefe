"""Turns decoded TOML into the manifest's structs, with errors that give file, path, expected, got and a hint.

msgspec does the types; this adds units, SemVer, the address in the file and the closest known key.
"""

from __future__ import annotations

import re
import threading
import typing
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from .errors import InvalidManifest, InvalidSubject, InvalidVersion, RustCareError
from .subjects import check_subject
from .version import Range, Version

__all__ = ["Field", "check_names", "convert", "fields_of", "format_duration", "format_size", "keys_of"]

S = TypeVar("S", bound=Struct)

_SIZE = re.compile(r"(\d{1,15}) ?(B|KiB|MiB|GiB)")
_SIZES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ?(ms|s|m|h)")
_DURATIONS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_PATH = re.compile(r"(.*?)(?: - at (?:key in )?`\$\.?(.*)`)?", re.DOTALL)
# Manifests are read in threads, and msgspec 0.22 crashes the process when two threads meet a type for the first time at once.
_FIRST = threading.Lock()
_NAMES = {str: "str", int: "int", float: "float", bool: "bool", list: "array", dict: "table"}


class Field(typing.NamedTuple):
    """One key of a struct: its name in the file, the type, and what the annotations say about it."""

    name: str
    type: Any
    extra: dict[str, Any]


def fields_of(struct: type[Struct]) -> list[Field]:
    """The keys of a struct, in order."""
    hints = typing.get_type_hints(struct, include_extras=True)
    found = []
    for name in struct.__struct_encode_fields__:
        annotation, extra = hints[name], {}
        if typing.get_origin(annotation) is Annotated:
            annotation, *metas = typing.get_args(annotation)
            for meta in metas:
                if isinstance(meta, Meta):
                    extra.update(meta.extra or {})
        found.append(Field(name, annotation, extra))
    return found


def _inner(annotation: Any) -> tuple[type[Struct] | None, bool]:
    """The struct that a key's type holds, if any, and whether it is an array of them."""
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return annotation, False
    for argument in typing.get_args(annotation):
        struct, _ = _inner(argument)
        if struct is not None:
            return struct, typing.get_origin(annotation) is tuple
    return None, False


def keys_of(struct: type[Struct], prefix: str = "") -> list[str]:
    """Every key below a struct, dotted; a key that holds a table is represented by what is in it."""
    found: list[str] = []
    for field in fields_of(struct):
        inner, _ = _inner(field.type)
        found += keys_of(inner, f"{prefix}{field.name}.") if inner else [prefix + field.name]
    return found


def convert(raw: dict[str, Any], struct: type[S], path: str) -> S:
    """The struct that a decoded TOML document stands for. Raises InvalidManifest."""
    plain = _prepare(raw, struct, f"{path}:")
    try:
        with _FIRST:
            return msgspec.convert(plain, struct, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise _explain(str(error), raw, struct, path) from None


def _prepare(raw: Any, struct: type[Struct], at: str) -> Any:
    """Checks unknown keys (with a hint) and reads what has a unit; everything else is left to msgspec."""
    if not isinstance(raw, dict):
        return raw
    fields = {field.name: field for field in fields_of(struct)}
    found = dict(raw)
    for key, value in raw.items():
        if key not in fields:
            raise _unknown_key(key, fields, at)
        field = fields[key]
        inner, many = _inner(field.type)
        form = field.extra.get("form")
        if inner is not None and many and isinstance(value, list):
            found[key] = [_prepare(item, inner, f"{at}{key}[{index}].") for index, item in enumerate(value)]
        elif inner is not None:
            found[key] = _prepare(value, inner, f"{at}{key}.")
        elif form == "size":
            found[key] = _with_unit(value, field.extra, at + key, _SIZE, _SIZES, "a size", "32MiB")
        elif form == "duration":
            found[key] = _with_unit(value, field.extra, at + key, _DURATION, _DURATIONS, "a duration", "200ms")
        elif form == "version":
            _version(Version, value, at + key)
        elif field.type is Range:
            found[key] = _version(Range, value, at + key)
        elif isinstance(value, dict) and typing.get_origin(field.type) is dict:
            kind = typing.get_args(field.type)[1]
            found[key] = {name: _version(kind, item, f"{at}{key}.{_quoted(name)}") for name, item in value.items()}
    return found


def _unknown_key(key: str, known: Iterable[str], at: str) -> InvalidManifest:
    import difflib

    names = list(known)
    close = difflib.get_close_matches(key, names, n=1)
    return InvalidManifest(
        f"unknown key {key!r}, expected one of {', '.join(names)}",
        hint=f"did you mean {close[0]}?" if close else "",
        address=at + _quoted(key),
    )


def _quoted(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'


def _with_unit(
    value: Any,
    extra: dict[str, Any],
    at: str,
    form: re.Pattern[str],
    units: Mapping[str, float],
    what: str,
    example: str,
) -> float:
    found = form.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidManifest(
            f'expected {what} such as "{example}", got {_show(value)}',
            hint=f"a number and one of {', '.join(units)}, in quotes",
            address=at,
        )
    number = round(float(found[1]) * units[found[2]], 6)
    if what == "a size":
        number = int(number)
    if not extra["least"] <= number <= extra["most"]:
        write = format_size if what == "a size" else format_duration
        raise InvalidManifest(
            f"expected {what} from {write(extra['least'])} to {write(extra['most'])}, got {_show(value)}", address=at
        )
    return number


def format_size(size: float) -> str:
    """Bytes as a manifest writes them: `32MiB`."""
    number = int(size)
    for unit in ("GiB", "MiB", "KiB"):
        if number >= _SIZES[unit] and number % _SIZES[unit] == 0:
            return f"{number // _SIZES[unit]}{unit}"
    return f"{number}B"


def format_duration(seconds: float) -> str:
    """Seconds as a manifest writes them: `200ms`, `5s`."""
    for unit in ("h", "m", "s"):
        if seconds >= _DURATIONS[unit] and seconds % _DURATIONS[unit] == 0:
            return f"{int(seconds / _DURATIONS[unit])}{unit}"
    return f"{seconds * 1000:.3f}".rstrip("0").rstrip(".") + "ms"


def _version(kind: Any, text: Any, at: str) -> Any:
    if not isinstance(text, str):
        raise InvalidManifest(f"expected text, got {_show(text)}", hint="versions stand in quotes", address=at)
    try:
        return kind.parse(text)
    except InvalidVersion as error:
        raise InvalidManifest(error.message, hint=error.hint, address=at) from None


def _decode(kind: type, value: Any) -> Any:
    if isinstance(value, kind):
        return value
    raise TypeError(f"Expected `str`, got `{_NAMES.get(type(value), type(value).__name__)}`")


def _explain(text: str, raw: dict[str, Any], struct: type[Struct], path: str) -> InvalidManifest:
    """msgspec's message as an error of the manifest: the address in the file, and the value that came."""
    found = _PATH.fullmatch(text)
    assert found is not None  # the pattern fits any text
    message, where = found[1].replace("`", ""), found[2] or ""
    message = message.replace("object", "table").replace("Object", "table").replace("null", "nothing")
    value, field = _look_up(raw, where, struct)
    message = message[:1].lower() + message[1:]
    hint = ""
    if message.startswith("invalid enum value"):
        expected = (
            ", ".join(_show(item) for item in typing.get_args(field.type)) if field else "one of the known values"
        )
        message = f"expected one of {expected}, got {_show(value)}"
    elif message.startswith("expected") and ", got" not in message:
        if field is not None and field.extra.get("hint"):
            message, hint = f"expected {field.extra['hint']}, got {_show(value)}", ""
        else:
            message = f"{message}, got {_show(value)}"
    if message == "expected array, got table":
        hint = f"write [[{where}]]"
    missing = re.fullmatch(r"table missing required field (.*)", message)
    if missing:
        where = f"{where}.{missing[1]}" if where else missing[1]
        message = "expected this key, got nothing"
        hint = "it is required"
    return InvalidManifest(message, hint=hint, address=f"{path}:{where}" if where else path)


def _look_up(raw: Any, where: str, struct: type[Struct]) -> tuple[Any, Field | None]:
    """The value at a path, and the key that it belongs to."""
    value: Any = raw
    current: type[Struct] | None = struct
    field: Field | None = None
    for name, index in _steps(where):
        if index is not None:
            value = value[index] if isinstance(value, list) and index < len(value) else None
            continue
        field = next((item for item in fields_of(current) if item.name == name), None) if current else None
        current = _inner(field.type)[0] if field else None
        value = value.get(name) if isinstance(value, dict) else None
    return value, field


def _steps(where: str) -> Iterator[tuple[str, int | None]]:
    for part in re.findall(r"[A-Za-z0-9_-]+|\[\d+\]", where):
        yield ("", int(part[1:-1])) if part.startswith("[") else (part, None)


def _show(value: Any) -> str:
    """A value as TOML would write it, shortened."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value[:60]}…"' if len(value) > 60 else f'"{value}"'
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "an array"
    return "nothing" if value is None else str(value)


def check_names(names: Iterable[str], address: str) -> None:
    """The keys of `provides` and `requires` are names of services."""
    for name in names:
        try:
            check_subject(name)
        except (InvalidSubject, RustCareError) as error:
            raise InvalidManifest(
                error.message.replace("a subject", "the name of a service"),
                hint=error.hint,
                address=f"{address}.{_quoted(name)}",
            ) from None
