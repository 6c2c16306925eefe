"""Typed objects to JSON's types and back, without msgspec: for the sandbox's Python, which has no C extensions.

Portable. On the host msgspec does the same work; `sdk/tests/test_codec.py` holds the two against each other. It runs on
every message in a slow interpreter, so each type is analysed once and its converter kept.

Types understood: dataclasses, `list`, `tuple`, `dict[str, …]`, `Optional` and other unions of which each member has a
JSON type of its own, `Literal`, enums, `str`, `int`, `float`, `bool`, `None`, `bytes` (base64), `datetime` (RFC 3339),
`Any`. Unknown fields of an object are ignored, so a newer sender can talk to an older receiver.
"""

from __future__ import annotations

import binascii
import dataclasses
import enum
import json
import re
import types
import typing
from base64 import b64encode
from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar, Union, cast

from .errors import InvalidPayload

__all__ = ["decode", "encode", "from_builtins", "to_builtins", "without_values"]

T = TypeVar("T")
Converter = Callable[[Any], Any]

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?")
_NAMES = {str: "str", int: "int", float: "float", bool: "bool", type(None): "null", list: "array", dict: "object"}


class _Mismatch(Exception):
    """Data does not fit; `path` is collected from the inside out while the error rises. Values are never in it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text
        self.path: list[str] = []


# to JSON's types


def to_builtins(obj: Any) -> Any:
    """`obj` as JSON's types: dataclasses become dicts, tuples lists, bytes base64 text, datetimes RFC 3339 text."""
    kind = type(obj)
    if kind is str or kind is int or kind is float or kind is bool or obj is None:
        return obj
    if kind is dict:
        return {_key(key): to_builtins(value) for key, value in obj.items()}
    if kind is list or kind is tuple:
        return [to_builtins(item) for item in obj]
    return to_builtins(_plain(obj))


def encode(obj: Any) -> bytes:
    """`obj` as JSON text in UTF-8."""
    try:
        return _encoder.encode(obj).encode()
    except (ValueError, RecursionError):  # never the library's own text: it may quote the data
        raise InvalidPayload(
            "expected data that JSON can hold, got NaN, an infinity, a cycle or a lone surrogate"
        ) from None


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    raise InvalidPayload(f"expected str for the key of an object, got {type(key).__name__}")


_fields: dict[type, tuple[str, ...]] = {}


def _plain(obj: Any) -> Any:
    """One step towards JSON's types, for what json.dumps does not know."""
    kind = type(obj)
    names = _fields.get(kind)
    if names is None and dataclasses.is_dataclass(kind):
        names = _fields[kind] = tuple(field.name for field in dataclasses.fields(kind))
    if names is not None:
        return {name: getattr(obj, name) for name in names}
    if isinstance(obj, (bytes, bytearray, memoryview)):
        return b64encode(obj).decode("ascii")
    if isinstance(obj, datetime):
        text = obj.isoformat()
        return text[:-6] + "Z" if text.endswith("+00:00") else text
    if isinstance(obj, enum.Enum):
        return obj.value
    if isinstance(obj, Mapping):
        return {_key(key): value for key, value in obj.items()}
    if isinstance(obj, (list, tuple, set, frozenset)):
        return list(obj)
    for base in (str, bool, int, float):
        if isinstance(obj, base):
            return base(obj)  # subclasses of the plain types
    raise InvalidPayload(
        f"expected data that JSON can hold, got {kind.__module__}.{kind.__qualname__}",
        hint="use dataclasses, dict, list, str, int, float, bool, None, bytes or datetime",
    )


_encoder = json.JSONEncoder(default=_plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


# from JSON's types


def from_builtins(type: type[T], data: Any, path: str = "$") -> T:
    """`data` (JSON's types) as a `type`.

    Raises:
        InvalidPayload: the data does not fit: `Expected str, got int - at $.groups[0]`.
        TypeError: the type itself cannot be decoded (a programming error of the contract).
    """
    try:
        return cast(T, _converter(type)(data))
    except _Mismatch as mismatch:
        where = path + "".join(reversed(mismatch.path))
        raise InvalidPayload(f"{mismatch.text} - at {where}") from None


def _no_constant(text: str) -> Any:
    raise ValueError("NaN and infinities are not JSON")


_decoder = json.JSONDecoder(parse_constant=_no_constant)


def decode(data: bytes | str, type: type[T] | None = None) -> T | Any:
    """JSON text as a `type`, or as JSON's types when None is given."""
    try:
        value = _decoder.decode(data if isinstance(data, str) else data.decode())
    except (ValueError, RecursionError):
        raise InvalidPayload("expected JSON in UTF-8, got malformed text") from None
    return value if type is None else from_builtins(type, value)


_VALUE = re.compile(r"(Invalid (?:enum )?value) .*?(?= - at `\$[^`]*`\Z|\Z)", re.DOTALL)
_FIELD = re.compile(r"(contains unknown field) `.*?`(?= - at `\$[^`]*`\Z|\Z)", re.DOTALL)


def without_values(text: str) -> str:
    """The text of an error of msgspec without what it quotes of the data, which may be a patient's."""
    return _FIELD.sub(r"\1", _VALUE.sub(r"\1", text))


_converters: dict[Any, Converter] = {}


def _converter(annotation: Any) -> Converter:
    """The converter of a type, made on first use."""
    try:
        return _converters[annotation]
    except KeyError:
        pass
    _converters[annotation] = lambda data: _converters[annotation](data)  # a type may contain itself
    try:
        made = _converters[annotation] = _make(annotation)
    except BaseException:
        del _converters[annotation]
        raise
    return made


def _got(data: Any) -> str:
    return _NAMES.get(type(data), type(data).__name__)


def _make(annotation: Any) -> Converter:
    if annotation is Any or annotation is object or isinstance(annotation, TypeVar):
        return lambda data: data
    if annotation is None or annotation is type(None):
        return _exactly(type(None))
    if annotation in (str, bool):
        return _exactly(annotation)
    if annotation is int:
        return _int
    if annotation is float:
        return _float
    if annotation is bytes:
        return _bytes
    if annotation is datetime:
        return _datetime
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return _converter(arguments[0])
    if origin is Literal:
        return _literal(arguments)
    if origin is Union or origin is types.UnionType:
        return _union(annotation, arguments)
    container = annotation if origin is None else origin
    if container in (list, Sequence):
        return _list(arguments[0] if arguments else Any)
    if container is tuple:
        return _tuple(arguments)
    if container in (dict, Mapping):
        return _dict(*(arguments or (str, Any)))
    if isinstance(container, type) and dataclasses.is_dataclass(container):
        return _dataclass(container)
    if isinstance(container, type) and issubclass(container, enum.Enum):
        return _enum(container)
    raise TypeError(f"cannot decode {annotation!r}: use dataclasses, list, tuple, dict, Literal and JSON's types")


def _exactly(kind: type) -> Converter:
    name = _NAMES[kind]

    def convert(data: Any) -> Any:
        if type(data) is kind:
            return data
        raise _Mismatch(f"Expected {name}, got {_got(data)}")

    return convert


def _int(data: Any) -> int:
    if type(data) is int:
        return data
    raise _Mismatch(f"Expected int, got {_got(data)}")


def _float(data: Any) -> float:
    if type(data) is float:
        return data
    if type(data) is int:
        try:
            return float(data)
        except OverflowError:
            raise _Mismatch("Expected float, got an integer out of its range") from None
    raise _Mismatch(f"Expected float, got {_got(data)}")


def _bytes(data: Any) -> bytes:
    if type(data) is not str:
        raise _Mismatch(f"Expected str (base64), got {_got(data)}")
    try:
        return a2b_base64(data, strict_mode=True)
    except (binascii.Error, ValueError):
        raise _Mismatch("Expected base64, got other text") from None


def _datetime(data: Any) -> datetime:
    if type(data) is not str:
        raise _Mismatch(f"Expected str (RFC 3339 date and time), got {_got(data)}")
    try:
        if _RFC3339.fullmatch(data):
            moment = datetime.fromisoformat(data.upper())
            return moment.replace(tzinfo=UTC) if moment.tzinfo and not moment.utcoffset() else moment
    except ValueError:
        pass
    raise _Mismatch("Expected an RFC 3339 date and time, got other text") from None


def _literal(values: tuple[Any, ...]) -> Converter:
    allowed = {(type(value), value): value for value in values}
    text = ", ".join(json.dumps(value) for value in values)

    def convert(data: Any) -> Any:
        try:
            return allowed[type(data), data]
        except (KeyError, TypeError):
            got = f"got {_got(data)}" if all(kind is not type(data) for kind, _ in allowed) else "got another value"
            raise _Mismatch(f"Expected one of {text}, {got}") from None

    return convert


def _enum(cls: type[enum.Enum]) -> Converter:
    by_value = _literal(tuple(member.value for member in cls))
    return lambda data: cls(by_value(data))


def _list(item: Any) -> Converter:
    convert_item = _converter(item)

    def convert(data: Any) -> Any:
        if type(data) is not list and type(data) is not tuple:
            raise _Mismatch(f"Expected array, got {_got(data)}")
        try:
            return [convert_item(value) for value in data]
        except _Mismatch:
            return _items(convert_item, data)  # again, slowly, for the index

    return convert


def _items(convert_item: Converter, data: Sequence[Any]) -> list[Any]:
    found = []
    for index, value in enumerate(data):
        try:
            found.append(convert_item(value))
        except _Mismatch as mismatch:
            mismatch.path.append(f"[{index}]")
            raise
    return found


def _tuple(arguments: tuple[Any, ...]) -> Converter:
    if not arguments or (len(arguments) == 2 and arguments[1] is Ellipsis):
        as_list = _list(arguments[0] if arguments else Any)
        return lambda data: tuple(as_list(data))
    converters = [_converter(argument) for argument in arguments]

    def convert(data: Any) -> Any:
        if type(data) is not list and type(data) is not tuple:
            raise _Mismatch(f"Expected array, got {_got(data)}")
        if len(data) != len(converters):
            raise _Mismatch(f"Expected array of length {len(converters)}, got {len(data)}")
        found = []
        for index, convert_item in enumerate(converters):
            try:
                found.append(convert_item(data[index]))
            except _Mismatch as mismatch:
                mismatch.path.append(f"[{index}]")
                raise
        return tuple(found)

    return convert


def _dict(key: Any, value: Any) -> Converter:
    convert_key, convert_value = _converter(key), _converter(value)
    plain = key is str and value is Any

    def convert(data: Any) -> Any:
        if type(data) is not dict:
            raise _Mismatch(f"Expected object, got {_got(data)}")
        if plain:
            return data
        try:
            return {convert_key(name): convert_value(item) for name, item in data.items()}
        except _Mismatch as mismatch:
            mismatch.path.append("[...]")  # a key may be data: it is not shown
            raise

    return convert


def _union(annotation: Any, members: tuple[Any, ...]) -> Converter:
    """Each member must be told apart by its JSON type, so that there is nothing to try out."""
    by_kind: dict[type, Converter] = {}
    names = []
    for member in members:
        if member is Any:
            return _converter(Any)
        convert_member = _converter(member)
        for kind in _json_kinds(member):
            if kind in by_kind:
                raise TypeError(f"cannot decode {annotation!r}: two of its members are a JSON {_NAMES[kind]}")
            by_kind[kind] = convert_member
            names.append(_NAMES[kind])
    if float in by_kind and int not in by_kind:
        by_kind[int] = by_kind[float]
    if list in by_kind:
        by_kind[tuple] = by_kind[list]
    expected = " | ".join(names)

    def convert(data: Any) -> Any:
        chosen = by_kind.get(type(data))
        if chosen is None:
            raise _Mismatch(f"Expected {expected}, got {_got(data)}")
        return chosen(data)

    return convert


def _json_kinds(member: Any) -> set[type]:
    origin = typing.get_origin(member)
    if origin is typing.Annotated:
        return _json_kinds(typing.get_args(member)[0])
    if origin is Literal:
        return {type(value) for value in typing.get_args(member)}
    container = member if origin is None else origin
    if container in (str, int, float, bool):
        return {container}
    if container in (bytes, datetime):
        return {str}
    if member is None or member is type(None):
        return {type(None)}
    if container in (list, tuple, Sequence):
        return {list}
    if isinstance(container, type) and issubclass(container, enum.Enum):
        return {type(value.value) for value in container}
    return {dict}


def _dataclass(cls: type) -> Converter:
    hints = typing.get_type_hints(cls, include_extras=True)
    required: list[tuple[str, Converter]] = []
    optional: list[tuple[str, Converter]] = []
    for field in dataclasses.fields(cls):
        if not field.init:
            continue
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        (optional if has_default else required).append((field.name, _converter(hints[field.name])))

    def convert(data: Any) -> Any:
        if type(data) is not dict:
            if type(data) is cls:
                return data
            raise _Mismatch(f"Expected object, got {_got(data)}")
        values = {}
        name = ""
        try:
            for name, convert_field in required:
                values[name] = convert_field(data[name])
            for name, convert_field in optional:
                if name in data:
                    values[name] = convert_field(data[name])
        except KeyError:
            raise _Mismatch(f"Object missing required field {name}") from None
        except _Mismatch as mismatch:
            mismatch.path.append(f".{name}")
            raise
        return cls(**values)

    return convert
