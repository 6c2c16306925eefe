"""What a core WebAssembly module imports and exports, read from its binary form without compiling it."""

from __future__ import annotations

from ._contract import InvalidCode

__all__ = ["exports_of", "imports_of"]

_IMPORTS, _EXPORTS = 2, 7
_FUNCTION, _TABLE, _MEMORY, _GLOBAL, _TAG = range(5)


class _Reader:
    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data, self.at, self.end = data, at, end

    def byte(self) -> int:
        if self.at >= self.end:
            raise InvalidCode("expected a WebAssembly module, got one that ends too soon")
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        """An unsigned LEB128."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise InvalidCode("expected a WebAssembly module, got a number that never ends")

    def name(self) -> str:
        size = self.number()
        if self.at + size > self.end:
            raise InvalidCode("expected a WebAssembly module, got one that ends too soon")
        self.at += size
        return self.data[self.at - size : self.at].decode("utf-8", "replace")

    def limits(self) -> None:
        flags = self.byte()
        self.number()
        if flags & 1:
            self.number()
        if flags & 8:
            self.number()

    def reference(self) -> None:
        if self.byte() in (0x63, 0x64):  # a typed reference: its heap type follows
            self.number()


def _section(wasm: bytes, wanted: int) -> _Reader | None:
    if wasm[:8] != b"\0asm\1\0\0\0":
        raise InvalidCode(
            "expected a core WebAssembly module (version 1), got something else",
            hint="Extism runs core modules; a component needs runtime component",
        )
    reader = _Reader(wasm, 8, len(wasm))
    while reader.at < reader.end:
        kind, size = reader.byte(), reader.number()
        if reader.at + size > reader.end:
            raise InvalidCode("expected a WebAssembly module, got one that ends too soon")
        if kind == wanted:
            return _Reader(wasm, reader.at, reader.at + size)
        reader.at += size
    return None


def imports_of(wasm: bytes) -> list[tuple[str, str]]:
    """Module and name of every import.

    Raises:
        InvalidCode: it is not a core module.
    """
    reader = _section(wasm, _IMPORTS)
    found: list[tuple[str, str]] = []
    for _ in range(reader.number() if reader else 0):
        assert reader is not None
        found.append((reader.name(), reader.name()))
        kind = reader.byte()
        if kind == _FUNCTION:
            reader.number()
        elif kind == _TABLE:
            reader.reference()
            reader.limits()
        elif kind == _MEMORY:
            reader.limits()
        elif kind == _GLOBAL:
            reader.reference()
            reader.byte()
        elif kind == _TAG:
            reader.byte()
            reader.number()
        else:
            raise InvalidCode("expected a WebAssembly module, got an import of an unknown kind")
    return found


def exports_of(wasm: bytes) -> frozenset[str]:
    """The names of the functions it exports."""
    reader = _section(wasm, _EXPORTS)
    found: set[str] = set()
    for _ in range(reader.number() if reader else 0):
        assert reader is not None
        name, kind = reader.name(), reader.byte()
        reader.number()
        if kind == _FUNCTION:
            found.add(name)
    return frozenset(found)
