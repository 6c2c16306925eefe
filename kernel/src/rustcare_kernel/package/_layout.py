"""OCI image layouts: the form in which a package travels; any OCI client can push and pull it.

Image Layout Specification 1.0.0, as in image-spec 1.1: `oci-layout`, `index.json`, `blobs/sha256/<hex>`.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ._errors import PackageInvalid, PackageNotFound, PackageTooLarge, PackageUnsafe
from ._files import MAX_FILE, MAX_FILES, read_file
from ._model import ARTIFACT_TYPE, MANIFEST_TYPE, Descriptor, Package, package_from_blobs

__all__ = ["read_layout", "read_layout_tar", "write_layout", "write_layout_tar"]

_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_BLOB = re.compile(r"blobs/sha256/[0-9a-f]{64}")
_REF = "org.opencontainers.image.ref.name"


class Index(msgspec.Struct, rename="camel"):
    """The part of an OCI image index that is used here."""

    schema_version: int
    manifests: list[Descriptor]


# Made here and not at the first use: that is in a thread, and msgspec 0.22 crashes when two threads meet a type at once.
_index = msgspec.json.Decoder(Index)


def _files(package: Package) -> dict[str, bytes]:
    """The files of a layout that holds one package."""
    descriptor = Descriptor(
        MANIFEST_TYPE,
        package.digest,
        len(package.blobs[package.digest]),
        artifact_type=ARTIFACT_TYPE,
        annotations={_REF: package.version},
    )
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [msgspec.to_builtins(descriptor)],
    }
    files = {f"blobs/sha256/{digest.partition(':')[2]}": data for digest, data in sorted(package.blobs.items())}
    return files | {
        "index.json": json.dumps(index, sort_keys=True, separators=(",", ":")).encode(),
        "oci-layout": _LAYOUT,  # last: a folder without it is no layout, so a half-written one is not read
    }


def write_layout(package: Package, directory: Path | str) -> Path:
    """Write a package as an OCI image layout into a new or empty folder; the folder."""
    folder = Path(directory)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PackageInvalid(
            "Expected a new or an empty folder for the layout",
            address=str(folder),
            hint="remove it or name another one",
        )
    for name, data in _files(package).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_layout_tar(package: Package, path: Path | str) -> Path:
    """Write a package as one tar of an OCI image layout, the same bytes for the same package; the file."""
    import tarfile  # only archives need it, and the kernel must start quickly

    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as archive:
            for name, data in sorted(_files(package).items()):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o644
                archive.addfile(info, io.BytesIO(data))
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    return target


def read_layout(folder: Path, digest: str = "") -> Package:
    """Read the package (or the one with that digest) from a layout's folder."""

    def get(name: str) -> bytes:
        return read_file(folder / name)

    return _read(get, str(folder), digest)


def read_layout_tar(path: Path, digest: str = "") -> Package:
    """Read the package (or the one with that digest) from a layout's tar, without writing anything to disk."""
    with _tar(path) as get:
        return _read(get, str(path), digest)


def _read(get: Callable[[str], bytes], source: str, digest: str) -> Package:
    try:
        version = msgspec.json.decode(get("oci-layout"), type=dict[str, object]).get("imageLayoutVersion")
        index = _index.decode(get("index.json"))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PackageInvalid(f"Expected an OCI image layout: {error}", address=source) from None
    if version != "1.0.0" or index.schema_version != 2:
        raise PackageInvalid(f"Expected an OCI image layout of version 1.0.0, got {version!r}"[:200], address=source)
    found = [
        item.digest
        for item in index.manifests
        if item.media_type == MANIFEST_TYPE
        and item.artifact_type in ("", ARTIFACT_TYPE)
        and digest in ("", item.digest)
    ]
    if len(set(found)) != 1:
        raise PackageInvalid(
            f"Expected one package in the layout, found {len(set(found))}",
            address=f"{source}:index.json",
            hint="name one by its digest: PATH@sha256:…" if found else "the layout holds no plugin package",
        )

    def blob(name: str) -> bytes:
        return get(f"blobs/sha256/{name.partition(':')[2]}")

    return package_from_blobs(found[0], blob, source)


@contextmanager
def _tar(path: Path) -> Iterator[Callable[[str], bytes]]:
    """The members that a layout can have; anything that could leave the archive is refused, the rest is not read."""
    import tarfile

    members: dict[str, tarfile.TarInfo] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for count, info in enumerate(archive):
                name = info.name.removeprefix("./")
                if count > MAX_FILES:
                    raise PackageTooLarge(f"Expected at most {MAX_FILES:,} files", address=str(path))
                if info.isdir():
                    continue
                if not info.isreg() or name.startswith("/") or ".." in name.split("/") or name in members:
                    raise PackageUnsafe(
                        "Expected plain files, each once; got a link, a device or a name that leaves the archive",
                        address=f"{path}:{name[:120]}",
                    )
                if name in ("oci-layout", "index.json") or _BLOB.fullmatch(name):
                    members[name] = info

            def get(name: str) -> bytes:
                info = members.get(name)
                if info is None:
                    raise PackageNotFound("Expected this file in the layout, it is not there", address=f"{path}:{name}")
                if info.size > MAX_FILE:
                    raise PackageTooLarge(
                        f"Expected at most {MAX_FILE:,} bytes, got {info.size:,}", address=f"{path}:{name}"
                    )
                file = archive.extractfile(info)
                data = file.read() if file is not None else b""
                if len(data) != info.size:
                    raise PackageInvalid("The archive ends too early", address=f"{path}:{name}")
                return data

            yield get
    except tarfile.TarError as error:
        raise PackageInvalid(f"Expected a tar archive: {error}", address=str(path)) from None
    except OSError as error:
        raise PackageNotFound(f"Expected a readable file: {error.strerror}", address=str(path)) from None
