"""Names and files that either driver needs: safe names, and files that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from .errors import BackupFailed

__all__ = ["begin_file", "discard_file", "finish_file", "safe_name", "sync_folder"]


def safe_name(plugin_id: str, longest: int = 120) -> str:
    """A file name for a plugin's id: no two ids share one, on file systems that ignore case too."""
    name = "".join(
        chr(byte) if chr(byte) in "abcdefghijklmnopqrstuvwxyz0123456789-_." else f"%{byte:02x}"
        for byte in plugin_id.encode("utf-8", "surrogatepass")
    )
    if name.startswith("."):
        name = f"%2e{name[1:]}"
    if not name or len(name) > longest:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = f"{name[: longest - 17]}%{digest}"
    return name


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def begin_file(target: Path) -> Path:
    """An empty file beside `target`, for the owner's eyes only, that `finish_file` puts in its place.

    Raises:
        BackupFailed: the folder is missing or not writable.
    """
    part = target.parent / f".{target.name}.{secrets.token_hex(4)}.part"
    try:
        os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise _refused(error, target) from None
    return part


def finish_file(part: Path, target: Path) -> None:
    """Put a filled file in `target`'s place, in one step that lasts.

    Raises:
        BackupFailed: the disk refused. What was at `target` is untouched.
    """
    try:
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(part, target)
        sync_folder(target.parent)
    except OSError as error:
        raise _refused(error, target) from None


def discard_file(part: Path) -> None:
    """Remove what is left of a file that was not finished."""
    part.unlink(missing_ok=True)


def _refused(error: OSError, target: Path) -> BackupFailed:
    return BackupFailed(
        f"the system refused with {type(error).__name__}",
        hint="the folder must exist and be writable",
        address=str(target),
    )
