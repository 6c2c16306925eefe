"""What is installed: a package, read from wherever it lies, always with the same digest for the same content.

The rooms, lowest floor first:

    _errors   what can be wrong with a package, each with a stable code
    _files    safe names, limits, the deterministic zip
    _model    `Package`: an OCI image manifest, its config (`plugin.toml`) and its layers, in memory and verified
    _layout   OCI image layouts (folder and tar), in and out
    _sources  `read_package`: folder, wheel, `.wasm`, layout, `installed:<short>`
    _blobs    `BlobStore`: the kernel's own content-addressed folder

Nothing here runs or imports code of a plugin, and nothing is built: a runtime whose code is not there yet is named in
`Package.unbuilt`.
"""

from ._blobs import BlobStore
from ._errors import (
    DigestMismatch,
    PackageError,
    PackageInvalid,
    PackageNotBuilt,
    PackageNotFound,
    PackageTooLarge,
    PackageUnsafe,
)
from ._files import MAX_FILE, MAX_FILES, MAX_PACKAGE, deterministic_zip, digest_of
from ._layout import write_layout, write_layout_tar
from ._model import ARTIFACT_TYPE, CONFIG_TYPE, FILES_TYPE, PYTHON_TYPE, WASM_TYPE, Package, make_package
from ._sources import find_folder, read_package

__all__ = [
    "ARTIFACT_TYPE",
    "CONFIG_TYPE",
    "FILES_TYPE",
    "MAX_FILE",
    "MAX_FILES",
    "MAX_PACKAGE",
    "PYTHON_TYPE",
    "WASM_TYPE",
    "BlobStore",
    "DigestMismatch",
    "Package",
    "PackageError",
    "PackageInvalid",
    "PackageNotBuilt",
    "PackageNotFound",
    "PackageTooLarge",
    "PackageUnsafe",
    "deterministic_zip",
    "digest_of",
    "find_folder",
    "make_package",
    "read_package",
    "write_layout",
    "write_layout_tar",
]
