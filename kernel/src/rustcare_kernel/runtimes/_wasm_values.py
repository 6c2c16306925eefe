"""Values across the component boundary, straight on wasmtime's C structures.

wasmtime-py can convert values itself. But it asks the C library for the type of every parameter, field by field, on
each call; it moves a `list<u8>` byte by byte; and an exception raised while it converts is kept in one global that
another thread may pick up. Our interface is fixed (`sdk/wit/plugin.wit`), so its types are written down once, in
`_interface`, and converted by what is below.

Ownership, as the C API has it: arguments of a call are borrowed (`Val` structures over Python's own memory); results of
a call are ours to delete; arguments of a host function are deleted by the caller; results of a host function are given
away, so they are made with wasmtime's allocator.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from ctypes import Structure, Union, byref, c_bool, c_char_p, c_double, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from typing import Any, ClassVar

from wasmtime import _ffi

__all__ = [
    "BOOL",
    "BYTES",
    "F64",
    "SIZE",
    "STRING",
    "U32",
    "U64",
    "UNIT",
    "BorrowedPairs",
    "Entry",
    "Enum",
    "ListOf",
    "OptionOf",
    "Record",
    "ResultOf",
    "TupleOf",
    "Type",
    "Val",
    "borrow_record",
    "borrow_text",
    "delete",
    "new_error",
]

_KIND_BOOL, _KIND_U8, _KIND_U32, _KIND_U64, _KIND_F64 = 0, 2, 6, 8, 10
_KIND_STRING, _KIND_LIST, _KIND_RECORD, _KIND_TUPLE = 12, 13, 14, 15
_KIND_ENUM, _KIND_OPTION, _KIND_RESULT = 17, 18, 19


class _Text(Structure):
    """A byte vector that borrows a Python `bytes` (ctypes keeps the reference)."""

    _fields_: ClassVar = [("size", c_size_t), ("data", c_char_p)]


class _Vector(Structure):
    _fields_: ClassVar = [("size", c_size_t), ("data", c_void_p)]


class _Result(Structure):
    _fields_: ClassVar = [("is_ok", c_bool), ("val", c_void_p)]


class _Union(Union):
    _fields_: ClassVar = [
        ("boolean", c_bool),
        ("u8", c_uint8),
        ("u32", c_uint32),
        ("u64", c_uint64),
        ("f64", c_double),
        ("text", _Text),
        ("vector", _Vector),
        ("pointer", c_void_p),
        ("result", _Result),
        ("_room", c_uint64 * 3),
    ]


class Val(Structure):
    """`wasmtime_component_val_t`."""

    _fields_: ClassVar = [("kind", c_uint8), ("of", _Union)]


class Entry(Structure):
    """`wasmtime_component_valrecord_entry_t`."""

    _fields_: ClassVar = [("name", _Text), ("val", Val)]


SIZE = ctypes.sizeof(Val)
_ENTRY = ctypes.sizeof(Entry)
_VALUE_AT = Entry.val.offset
_DATA_AT = Val.of.offset
if (ctypes.sizeof(_ffi.wasmtime_component_val_t), ctypes.sizeof(_ffi.wasmtime_component_valrecord_entry_t)) != (
    SIZE,
    _ENTRY,
):
    raise ImportError("this version of wasmtime lays out component values in another way; the kernel needs wasmtime 50")


def _function(name: str, *parameters: Any, result: Any = None) -> Callable[..., Any]:
    function: Any = _ffi.dll[name]  # a new object: other prototypes than wasmtime-py's, on the same function
    function.argtypes, function.restype = parameters, result
    return function  # type: ignore[no-any-return]


_new_bytes = _function("wasm_byte_vec_new", c_void_p, c_size_t, c_char_p)
_new_list = _function("wasmtime_component_vallist_new_uninit", c_void_p, c_size_t)
_new_record = _function("wasmtime_component_valrecord_new_uninit", c_void_p, c_size_t)
_new_tuple = _function("wasmtime_component_valtuple_new_uninit", c_void_p, c_size_t)
_new_val = _function("wasmtime_component_val_new", c_void_p, result=c_void_p)
_delete = _function("wasmtime_component_val_delete", c_void_p)
_error_new = _function("wasmtime_error_new", c_char_p, result=c_void_p)


def delete(val: Val) -> None:
    """Free what a result holds."""
    _delete(byref(val))


def new_error(text: str) -> int:
    """An error for wasmtime to take: a host function that returns it traps the guest."""
    pointer: int = _error_new(text.replace("\0", " ").encode())
    return pointer


def borrow_text(val: Val, text: bytes) -> None:
    """Make `val` a string over Python's own bytes; for arguments only, and for as long as `val` lives."""
    val.kind = _KIND_STRING
    val.of.text.size = len(text)
    val.of.text.data = text


def _lift_text(at: Any) -> str:
    return ctypes.string_at(at.data, at.size).decode() if at.size else ""


class Type:
    """One WIT type: `lift` reads it, `lower` writes it with wasmtime's allocator."""

    def lift(self, val: Val) -> Any:
        raise NotImplementedError

    def lower(self, val: Val, value: Any) -> None:
        raise NotImplementedError


class _Scalar(Type):
    def __init__(self, kind: int, field: str) -> None:
        self._kind, self._field = kind, field

    def lift(self, val: Val) -> Any:
        return getattr(val.of, self._field)

    def lower(self, val: Val, value: Any) -> None:
        setattr(val.of, self._field, value)
        val.kind = self._kind


class _String(Type):
    """`lower` takes text or its UTF-8."""

    def lift(self, val: Val) -> str:
        return _lift_text(val.of.vector)

    def lower(self, val: Val, value: str | bytes) -> None:
        data = value.encode("utf-8", "replace") if isinstance(value, str) else value
        _new_bytes(byref(val, _DATA_AT), len(data), data)
        val.kind = _KIND_STRING


class _Bytes(Type):
    """`list<u8>`: a structure for each byte, moved by slices and not one by one."""

    def lift(self, val: Val) -> bytes:
        vector = val.of.vector
        return ctypes.string_at(vector.data, vector.size * SIZE)[_DATA_AT::SIZE] if vector.size else b""

    def lower(self, val: Val, value: bytes) -> None:
        size = len(value)
        room = bytearray(size * SIZE)
        room[0::SIZE] = bytes((_KIND_U8,)) * size
        room[_DATA_AT::SIZE] = value
        _new_list(byref(val, _DATA_AT), size)
        if size:
            ctypes.memmove(val.of.vector.data, (c_uint8 * len(room)).from_buffer(room), len(room))
        val.kind = _KIND_LIST


class _Unit(Type):
    """The absent payload of a `result`."""

    def lift(self, val: Val) -> None:
        return None

    def lower(self, val: Val, value: Any) -> None:
        raise AssertionError("a unit has no value")


class Enum(Type):
    """A WIT enum, as its case's name."""

    def lift(self, val: Val) -> str:
        return _lift_text(val.of.vector)


class ListOf(Type):
    """A list (not of bytes). What comes in is bounded: its elements are converted one by one, in the host."""

    def __init__(self, element: Type, limit: int = 1024) -> None:
        self.element, self._limit = element, limit

    def lift(self, val: Val) -> list[Any]:
        at, lift = val.of.vector, self.element.lift
        if at.size > self._limit:
            raise ValueError(f"expected a list of at most {self._limit} elements, got {at.size}")
        return [lift(Val.from_address(at.data + SIZE * index)) for index in range(at.size)]

    def lower(self, val: Val, value: Sequence[Any]) -> None:
        _new_list(byref(val, _DATA_AT), len(value))
        start = val.of.vector.data
        for index, item in enumerate(value):
            self.element.lower(Val.from_address(start + SIZE * index), item)
        val.kind = _KIND_LIST


class TupleOf(Type):
    """A tuple."""

    def __init__(self, *elements: Type) -> None:
        self._elements = elements

    def lift(self, val: Val) -> tuple[Any, ...]:
        start = val.of.vector.data
        return tuple(
            element.lift(Val.from_address(start + SIZE * index)) for index, element in enumerate(self._elements)
        )

    def lower(self, val: Val, value: Sequence[Any]) -> None:
        _new_tuple(byref(val, _DATA_AT), len(self._elements))
        start = val.of.vector.data
        for index, (element, item) in enumerate(zip(self._elements, value, strict=True)):
            element.lower(Val.from_address(start + SIZE * index), item)
        val.kind = _KIND_TUPLE


class Record(Type):
    """A record, as a dict of its fields (in the order of the WIT)."""

    def __init__(self, **fields: Type) -> None:
        self.fields = {name.replace("_", "-"): kind for name, kind in fields.items()}

    def lift(self, val: Val) -> dict[str, Any]:
        start = val.of.vector.data + _VALUE_AT
        return {
            name: kind.lift(Val.from_address(start + _ENTRY * index))
            for index, (name, kind) in enumerate(self.fields.items())
        }

    def lower(self, val: Val, value: Mapping[str, Any]) -> None:
        _new_record(byref(val, _DATA_AT), len(self.fields))
        start = val.of.vector.data
        for index, (name, kind) in enumerate(self.fields.items()):
            text = name.encode()
            _new_bytes(start + _ENTRY * index, len(text), text)
            kind.lower(Val.from_address(start + _ENTRY * index + _VALUE_AT), value[name])
        val.kind = _KIND_RECORD


class OptionOf(Type):
    """An option: the value or None."""

    def __init__(self, some: Type) -> None:
        self.some = some

    def lift(self, val: Val) -> Any:
        pointer = val.of.pointer
        return self.some.lift(Val.from_address(pointer)) if pointer else None

    def lower(self, val: Val, value: Any) -> None:
        val.of.pointer = None if value is None else _boxed(self.some, value)
        val.kind = _KIND_OPTION


class ResultOf(Type):
    """A result, as `(is_ok, payload)`."""

    def __init__(self, ok: Type, err: Type) -> None:
        self.ok, self.err = ok, err

    def lift(self, val: Val) -> tuple[bool, Any]:
        result = val.of.result
        kind = self.ok if result.is_ok else self.err
        return bool(result.is_ok), kind.lift(Val.from_address(result.val)) if result.val else None

    def lower(self, val: Val, value: tuple[bool, Any]) -> None:
        kind = self.ok if value[0] else self.err
        val.of.result.val = None if kind is UNIT else _boxed(kind, value[1])
        val.of.result.is_ok = value[0]
        val.kind = _KIND_RESULT


def _boxed(kind: Type, value: Any) -> Any:
    inner = Val()
    kind.lower(inner, value)
    return _new_val(byref(inner))


BOOL: Type = _Scalar(_KIND_BOOL, "boolean")
U32: Type = _Scalar(_KIND_U32, "u32")
U64: Type = _Scalar(_KIND_U64, "u64")
F64: Type = _Scalar(_KIND_F64, "f64")
STRING: Type = _String()
BYTES: Type = _Bytes()
UNIT: Type = _Unit()


def borrow_record(val: Val, entries: Any) -> None:
    """Make `val` a record over an array of `Entry`; for arguments only."""
    val.kind = _KIND_RECORD
    val.of.vector.size = len(entries)
    val.of.vector.data = ctypes.addressof(entries)


class BorrowedPairs:
    """A `list<tuple<string, string>>` over Python's own memory; for arguments only."""

    def __init__(self, val: Val) -> None:
        val.kind = _KIND_LIST
        self._vector = val.of.vector
        self._keep: Any = None
        self.put({})

    def put(self, pairs: Mapping[str, str]) -> None:
        count = len(pairs)
        if not count:
            self._vector.size, self._vector.data, self._keep = 0, None, None
            return
        outer, inner = (Val * count)(), (Val * (2 * count))()
        start = ctypes.addressof(inner)
        for index, (key, value) in enumerate(pairs.items()):
            borrow_text(inner[2 * index], key.encode())
            borrow_text(inner[2 * index + 1], value.encode())
            outer[index].kind = _KIND_TUPLE
            outer[index].of.vector.size = 2
            outer[index].of.vector.data = start + 2 * SIZE * index
        self._vector.size, self._vector.data = count, ctypes.addressof(outer)
        self._keep = (outer, inner)
