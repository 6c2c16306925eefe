"""Files in and out: whole or not at all, and never a secret on the command line."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rustcare_cli._errors import CommandFailed

__all__ = ["MAX_INPUT", "pieces", "put", "read_in", "sync_folder", "whole", "write_out"]

#: The longest input of one request, in bytes: in base64 it must fit in a request of the control socket.
MAX_INPUT = 8 * 1024 * 1024


def read_in(
    path: Path | None,
    limit: int = MAX_INPUT,
    hint: str = "rustcare crypto encrypt --stream takes files of any size",
) -> bytes:
    """A file, or standard input. Raises CommandFailed; `hint` says what to do with one that is too large."""
    try:
        if path is None:
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(limit + 1)
    except OSError as error:
        raise CommandFailed(f"Expected a readable file: {error.strerror}", address=str(path)) from None
    if len(data) > limit:
        raise CommandFailed(
            f"Expected at most {limit:,} bytes, got more",
            address=str(path or "standard input"),
            hint=hint,
        )
    return data


def write_out(path: Path | None, data: bytes) -> None:
    """To a file (whole or not at all), or to standard output."""
    if path is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    else:
        put(path, data)


def put(path: Path, data: bytes) -> None:
    """Write a file under a temporary name, sync it, and move it to its place. Raises CommandFailed."""
    with whole(path) as file:
        file.write(data)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write that is there only when all of it was written. Raises CommandFailed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise CommandFailed(f"Expected a place to write to: {error.strerror}", address=str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def pieces(path: Path | None, size: int = 1024 * 1024) -> Iterator[bytes]:
    """A file, or standard input, piece by piece; at least one piece, which may be empty."""
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if path is None else open(path, "rb") as file:
            piece = file.read(size)
            yield piece
            while piece and (piece := file.read(size)):
                yield piece
    except OSError as error:
        raise CommandFailed(f"Expected a readable file: {error.strerror}", address=str(path)) from None


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
