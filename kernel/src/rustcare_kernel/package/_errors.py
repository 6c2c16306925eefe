"""What can be wrong with a package."""

from __future__ import annotations

from typing import ClassVar

from rustcare_sdk.errors import RustCareError

__all__ = [
    "DigestMismatch",
    "PackageError",
    "PackageInvalid",
    "PackageNotBuilt",
    "PackageNotFound",
    "PackageTooLarge",
    "PackageUnsafe",
]


class PackageError(RustCareError):
    """The root of what can be wrong with a package; never raised itself."""

    code: ClassVar[str] = "package"


class PackageNotFound(PackageError):
    """There is no package where one was looked for."""

    code: ClassVar[str] = "package.not-found"


class PackageInvalid(PackageError):
    """What is there is not a package: a file is missing, in the wrong place, or not what the manifest says."""

    code: ClassVar[str] = "package.invalid"


class PackageUnsafe(PackageError):
    """A name leaves the package, or a member is a link, a device or encrypted."""

    code: ClassVar[str] = "package.unsafe"


class PackageTooLarge(PackageError):
    """A file, the whole package or the number of its files is over the limit."""

    code: ClassVar[str] = "package.too-large"


class PackageNotBuilt(PackageError):
    """The code for this runtime is not in the package (yet)."""

    code: ClassVar[str] = "package.not-built"


class DigestMismatch(PackageError):
    """The bytes are not those that their digest names."""

    code: ClassVar[str] = "package.digest-mismatch"
