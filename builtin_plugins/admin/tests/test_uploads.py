"""Uploads: of the right kind, for a while, so many, each for its owner alone."""

from __future__ import annotations

import io
import tarfile

import pytest
from rustcare_plugin_admin.errors import InvalidUpload, UploadsFull, UploadUnknown
from rustcare_plugin_admin.uploads import Uploads


class Clock:
    """A time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.made = 0

    def time(self) -> float:
        return self.now

    def random(self, size: int) -> bytes:
        self.made += 1
        return self.made.to_bytes(size, "big")


@pytest.fixture
def clock() -> Clock:
    """The clock of the uploads."""
    return Clock()


@pytest.fixture
def uploads(clock: Clock) -> Uploads:
    """Room for a hundred bytes, for a minute."""
    return Uploads(100, 60.0, clock.time, clock.random)


def test_an_upload_is_its_owners(uploads: Uploads) -> None:
    """Who uploaded a package gets it by its name; nobody else does, and no other name is known."""
    name, expires = uploads.put("user/1", b"a" * 10)
    assert name.startswith("upload:")
    assert expires == 1060.0
    assert uploads.get("user/1", name) == b"a" * 10
    for principal, asked in (("user/2", name), ("", name), ("user/1", name + "0"), ("user/1", "upload:")):
        with pytest.raises(UploadUnknown):
            uploads.get(principal, asked)


def test_an_upload_is_forgotten(uploads: Uploads, clock: Clock) -> None:
    """After its time, or once it is installed, an upload is not known any more."""
    first, _ = uploads.put("user/1", b"a")
    second, _ = uploads.put("user/1", b"b")
    uploads.drop(second)
    with pytest.raises(UploadUnknown):
        uploads.get("user/1", second)
    clock.now += 59.9
    assert uploads.get("user/1", first) == b"a"
    clock.now += 0.2
    with pytest.raises(UploadUnknown):
        uploads.get("user/1", first)


def test_uploads_are_bounded_together(uploads: Uploads, clock: Clock) -> None:
    """More bytes than there is room for are refused; what has expired makes room."""
    uploads.put("user/1", b"a" * 60)
    uploads.put("user/2", b"b" * 40)
    with pytest.raises(UploadsFull):
        uploads.put("user/3", b"c")
    clock.now += 61
    uploads.put("user/3", b"c" * 100)


def test_an_upload_is_a_tar_or_a_wheel() -> None:
    """The kinds that packages come in are told by their first bytes; anything else is refused before it is kept."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("oci-layout"))
    Uploads.check(file.getvalue())
    Uploads.check(b"PK\x03\x04 and so on")
    for data in (b"", b"x" * 1000, b"\x1f\x8b compressed", b"<html>"):
        with pytest.raises(InvalidUpload):
            Uploads.check(data)
