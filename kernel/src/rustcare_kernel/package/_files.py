"""Files of a package: which names are safe, how much is too much, and the zip that is the same for the same content."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ._errors import DigestMismatch, PackageInvalid, PackageNotFound, PackageTooLarge, PackageUnsafe

__all__ = [
    "MAX_FILE",
    "MAX_FILES",
    "MAX_PACKAGE",
    "Budget",
    "check_name",
    "deterministic_zip",
    "digest_of",
    "ignored",
    "read_file",
    "read_tree",
    "unzip",
    "verify",
]

#: A Python plugin as a component is about 18 MiB, compiled languages are far below.
MAX_FILE = 128 * 1024 * 1024
MAX_PACKAGE = 256 * 1024 * 1024
MAX_FILES = 10_000
_MAX_NAME = 240  # the ustar format, and file systems with room for a prefix
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_FORBIDDEN = re.compile(r'[\\:*?"<>|\x00-\x1f\x7f\ud800-\udfff]')
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can name


def digest_of(data: bytes) -> str:
    """`sha256:<hex>` of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def check_digest(digest: str, where: str) -> str:
    """The digest, if it is a well-formed SHA-256 one (no other algorithm is accepted)."""
    if not _DIGEST.fullmatch(digest):
        raise PackageInvalid(f"Expected sha256: and 64 hex digits, got {digest[:80]!r}", address=where)
    return digest


def verify(data: bytes, digest: str, where: str) -> bytes:
    """The very bytes, if they have that digest."""
    got = digest_of(data)
    if got != digest:
        raise DigestMismatch(
            f"Expected content {digest}, got {got}",
            address=where,
            hint="the file is damaged or was exchanged; fetch or build the package again",
        )
    return data


def check_name(name: str, where: str) -> str:
    """The name, if it is relative, stays inside, and means the same on every system."""
    parts = name.split("/")
    if (
        not name
        or len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME
        or any(part in ("", ".", "..") for part in parts)
        or _FORBIDDEN.search(name)
    ):
        raise PackageUnsafe(
            f"Expected a relative path that stays inside the package, got {name[:120]!r}",
            address=where,
            hint="rename the file: plain names, at most 240 bytes, no `..`, no backslash, no control characters",
        )
    return name


def ignored(name: str) -> bool:
    """Whether a file of the source folder is no part of the package: byte code, hidden files, tests at the top."""
    parts = name.split("/")
    return (
        any(part == "__pycache__" or part.startswith(".") for part in parts)
        or parts[0] in ("tests", "plugin.toml")  # the manifest is the package's config, and only that
        or name.endswith((".pyc", ".pyo"))
    )


class Budget:
    """Counts files and bytes against the limits."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.files = 0
        self.bytes = 0

    def take(self, name: str, size: int) -> None:
        """Count one file.

        Raises:
            PackageTooLarge: with the limit that it breaks.
        """
        self.files += 1
        self.bytes += size
        address = f"{self.where}:{name}"
        if size > MAX_FILE:
            raise PackageTooLarge(f"Expected a file of at most {MAX_FILE:,} bytes, got {size:,}", address=address)
        if self.files > MAX_FILES:
            raise PackageTooLarge(
                f"Expected at most {MAX_FILES:,} files", address=address, hint="ship data in one file"
            )
        if self.bytes > MAX_PACKAGE:
            raise PackageTooLarge(f"Expected a package of at most {MAX_PACKAGE:,} bytes", address=address)


def read_file(path: Path) -> bytes:
    """The bytes of a regular file that is no link.

    Raises:
        PackageNotFound, PackageUnsafe, PackageTooLarge.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise PackageNotFound("Expected a file, found nothing", address=str(path)) from None
    except OSError as error:
        raise PackageUnsafe(f"Expected a readable file that is no link: {error.strerror}", address=str(path)) from None
    with open(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise PackageUnsafe("Expected a regular file, got a folder or a device", address=str(path))
        data = file.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise PackageTooLarge(f"Expected a file of at most {MAX_FILE:,} bytes", address=str(path))
    return data


def read_tree(folder: Path, leave_out: Callable[[str], bool]) -> dict[str, bytes]:
    """Every file under a folder by its relative name, but for those that are left out. Links are refused."""
    budget = Budget(str(folder))
    tree: dict[str, bytes] = {}
    todo = [""]
    while todo:
        prefix = todo.pop()
        with os.scandir(folder / prefix if prefix else folder) as entries:
            for entry in sorted(entries, key=lambda item: item.name):
                name = prefix + entry.name
                if leave_out(name):
                    continue
                check_name(name, str(folder))
                if entry.is_symlink():
                    raise PackageUnsafe(
                        "Expected a file or a folder, got a symbolic link",
                        address=str(folder / name),
                        hint="replace the link by what it points to",
                    )
                if entry.is_dir(follow_symlinks=False):
                    todo.append(name + "/")
                    continue
                data = read_file(folder / name)
                budget.take(name, len(data))
                tree[name] = data
    return tree


def deterministic_zip(files: Mapping[str, bytes], prefix: str = "") -> bytes:
    """A zip that depends on nothing but names and contents: sorted, stored, one fixed time and mode."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files, key=lambda item: item.encode()):
            info = zipfile.ZipInfo(prefix + name, _EPOCH)
            info.create_system = 3  # Unix, also when written elsewhere: the mode below is only read then
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


def unzip(data: bytes, where: str, wanted: Callable[[str], bool] = lambda name: True) -> dict[str, bytes]:
    """The files of a zip, checked for names that leave it, links, doubles, encryption, and for bombs."""
    budget = Budget(where)
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                if info.is_dir():
                    check_name(info.filename.rstrip("/"), where)
                    continue
                name = check_name(info.filename, where)
                if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG) or info.flag_bits & 0x1:
                    raise PackageUnsafe(
                        "Expected a plain file, got a link, a device or encryption", address=f"{where}:{name}"
                    )
                if name in files:
                    raise PackageUnsafe("Expected each name once, got it twice", address=f"{where}:{name}")
                if not wanted(name):
                    continue
                budget.take(name, info.file_size)  # as declared: refused before a byte is inflated
                with archive.open(info) as file:
                    content = file.read(info.file_size + 1)
                if len(content) != info.file_size:
                    raise PackageTooLarge("Expected as many bytes as declared, got others", address=f"{where}:{name}")
                files[name] = content
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError, zipfile.LargeZipFile) as error:
        raise PackageInvalid(f"Expected a zip archive: {error}", address=where, hint="the file is damaged") from None
    except Exception as error:
        if type(error).__module__ in ("zlib", "lzma", "struct"):  # what damaged streams raise
            raise PackageInvalid(
                f"Expected a zip archive: {error}", address=where, hint="the file is damaged"
            ) from None
        raise
    return files
