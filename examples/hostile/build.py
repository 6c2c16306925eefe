"""Makes the `.wasm` of every hostile component from `guest.wat` and its `attack.wat`: `python examples/hostile/build.py`.

The `.wasm` files are in the repository because they are tiny; a test checks that they are what this makes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import wasmtime

__all__ = ["assemble", "components", "wasm_of"]

HERE = Path(__file__).resolve().parent
_PART = re.compile(r"^[ \t]*;; begin ([\w-]+)\n(.*?)^[ \t]*;; end \1\n", re.M | re.S)
_USE = re.compile(r"^;; use (\w+)\n", re.M)
_TEXT = re.compile(r'\$"((?:[^"\\]|\\.)*)"')
_TEXTS_AT = 1024


def _parts(text: str) -> dict[str, str]:
    return {match[1]: match[2] for match in _PART.finditer(text)}


def assemble(attack: str) -> str:
    """The component as text: the shell, with the parts of an attack (and of what it uses) in place of its own.

    An attack's `functions` come behind those of what it uses; any other part is replaced.
    """
    parts: dict[str, str] = {}
    for name in _USE.findall(attack):
        parts |= _parts((HERE / f"{name}.wat").read_text())
    own = _parts(attack)
    if "functions" in own:
        own["functions"] = parts.get("functions", "") + own["functions"]
    parts |= own
    shell = (HERE / "guest.wat").read_text()
    unknown = parts.keys() - _parts(shell).keys()
    if unknown:
        raise ValueError(f"guest.wat has no part {', '.join(sorted(unknown))}")
    replace: Callable[[re.Match[str]], str] = lambda match: parts.get(match[1], match[2])  # noqa: E731
    return _place_texts(_PART.sub(replace, shell))


def _place_texts(text: str) -> str:
    """Put every `$"…"` into memory, and in its place its address and its length in UTF-8."""
    code = re.sub(r";;[^\n]*", lambda match: match[0].replace('$"', '"') if match[0] != ";; texts" else match[0], text)
    places: dict[str, int] = {}
    at = _TEXTS_AT

    def place(match: re.Match[str]) -> str:
        nonlocal at
        size = len(re.sub(r"\\(.)", r"\1", match[1]).encode())
        if match[1] not in places:
            places[match[1]] = at
            at += size
        return f"(i32.const {places[match[1]]}) (i32.const {size})"

    code = _TEXT.sub(place, code)
    return code.replace(";; texts", "".join(f'(data (i32.const {spot}) "{each}")\n' for each, spot in places.items()))


def wasm_of(attack: str) -> bytes:
    """The component's bytes; the same text gives the same bytes."""
    return bytes(wasmtime.wat2wasm(assemble(attack)))


def components() -> dict[Path, Path]:
    """Every `attack.wat`, and the `.wasm` it becomes."""
    return {path: path.parent / f"{path.parent.name}.wasm" for path in sorted(HERE.glob("*/attack.wat"))}


if __name__ == "__main__":
    for source, target in components().items():
        target.write_bytes(wasm_of(source.read_text()))
        print(f"{target.relative_to(HERE)}: {target.stat().st_size} bytes")
