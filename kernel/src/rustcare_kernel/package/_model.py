"""`Package`: what is installed, in memory and verified.

A package is an OCI artifact: an image manifest whose config is `plugin.toml` and whose layers are the code. The digest
of that manifest is *the* package digest; it binds every byte, so whoever consents to a digest consents to the code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
from rustcare_sdk.manifest import Manifest

from ._errors import PackageInvalid, PackageNotBuilt
from ._files import (
    MAX_FILES,
    Budget,
    check_digest,
    check_name,
    deterministic_zip,
    digest_of,
    unzip,
    verify,
)

__all__ = [
    "ARTIFACT_TYPE",
    "CONFIG_TYPE",
    "FILES_TYPE",
    "MANIFEST_TYPE",
    "PYTHON_TYPE",
    "WASM_TYPE",
    "Descriptor",
    "Package",
]

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.rustcare.plugin.v1"
CONFIG_TYPE = "application/vnd.rustcare.plugin.config.v1+toml"
PYTHON_TYPE = "application/vnd.rustcare.plugin.python.v1+zip"
FILES_TYPE = "application/vnd.rustcare.plugin.files.v1+zip"  # data files of a package without Python code
WASM_TYPE = "application/wasm"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
TITLE = "org.opencontainers.image.title"
_WASM_MAGIC = b"\0asm"


class Descriptor(msgspec.Struct, rename="camel", omit_defaults=True):
    """An OCI content descriptor: what a blob is, its digest and its size."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: dict[str, str] = {}


class ImageManifest(msgspec.Struct, rename="camel"):
    """The part of an OCI image manifest that is used here; further members are allowed by that specification."""

    schema_version: int
    config: Descriptor
    layers: list[Descriptor]
    media_type: str = MANIFEST_TYPE
    artifact_type: str = ""


# Made here and not at the first use: that is in a thread, and msgspec 0.22 crashes when two threads meet a type at once.
_image = msgspec.json.Decoder(ImageManifest)


@dataclass(frozen=True)
class Package:
    """One package, every byte of it checked against `digest`.

    Attributes:
        manifest: the parsed `plugin.toml`.
        manifest_bytes: `plugin.toml` as it is in the package.
        digest: `sha256:…` of the OCI image manifest: the identity of the package.
        blobs: every blob by its digest, the image manifest and the config included.
        source: where it was read from, for people.
        folder: the folder that holds `plugin.toml`, when read from one: what a missing component is built from.
    """

    manifest: Manifest
    manifest_bytes: bytes
    digest: str
    blobs: Mapping[str, bytes] = field(repr=False)
    layers: tuple[Descriptor, ...] = field(repr=False)
    source: str = ""
    folder: Path | None = None

    @property
    def id(self) -> str:
        """The plugin's id (`publisher.name`)."""
        return self.manifest.plugin.id

    @property
    def version(self) -> str:
        """The package's version."""
        return self.manifest.plugin.version

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(map(len, self.blobs.values()))

    @property
    def runtimes(self) -> tuple[str, ...]:
        """The runtimes that the manifest names, built or not."""
        names = ["python"] if self.manifest.runtime.python is not None else []
        return (*names, *wasm_paths(self.manifest))

    @property
    def unbuilt(self) -> tuple[str, ...]:
        """The runtimes that the manifest names but whose code is not in the package."""
        return tuple(name for name in self.runtimes if self._layer(name) is None)

    def code(self, runtime: str) -> bytes:
        """The bytes to load for one runtime: a zip of the Python tree, or a `.wasm` binary.

        Raises:
            PackageNotBuilt: the package has no code for this runtime.
        """
        layer = self._layer(runtime)
        if layer is None:
            known = runtime in self.runtimes
            raise PackageNotBuilt(
                f"Expected code for the runtime {runtime}, the package {self.id} has it for "
                f"{', '.join(name for name in self.runtimes if name not in self.unbuilt) or 'none'}",
                address=f"{self.source}:plugin.toml:runtime.{runtime}",
                hint="build it: rustcare plugin build" if known else "choose another runtime",
            )
        return self.blobs[layer.digest]

    def code_digest(self, runtime: str) -> str:
        """The digest of `code(runtime)`."""
        return digest_of(self.code(runtime))

    def python_zip(self) -> bytes:
        """The Python tree as a zip, import package first: `rustcare_plugin_hl7/plugin.py`."""
        return self.code("python")

    def component(self) -> bytes:
        """The WebAssembly component."""
        return self.code("component")

    def extism(self) -> bytes:
        """The Extism module."""
        return self.code("extism")

    def files(self, runtime: str = "python") -> dict[str, bytes]:
        """The files beside `plugin.toml` by their names relative to it; for sandboxes without the Python sources."""
        for layer in self.layers:
            if layer.media_type in (PYTHON_TYPE, FILES_TYPE):
                prefix = python_prefix(self.manifest) if layer.media_type == PYTHON_TYPE else ""
                tree = unzip(self.blobs[layer.digest], self.source)
                return {
                    name[len(prefix) :]: data
                    for name, data in tree.items()
                    if runtime == "python" or not name.endswith((".py", ".pyi"))
                }
        return {}

    def with_wasm(self, runtime: str, wasm: bytes) -> Package:
        """This package with the code for a WebAssembly runtime put in (a component built just now)."""
        paths = wasm_paths(self.manifest)
        if runtime not in paths:
            raise PackageInvalid(
                f"Expected a runtime that the manifest names ({', '.join(paths) or 'none'}), got {runtime}",
                address=f"{self.source}:plugin.toml:runtime",
            )
        parts = {name: self.code(name) for name in paths if self._layer(name) is not None}
        built = make_package(
            self.manifest, self.manifest_bytes, self.files(), {**parts, runtime: wasm}, source=self.source
        )
        return replace(built, folder=self.folder)

    def _layer(self, runtime: str) -> Descriptor | None:
        path = wasm_paths(self.manifest).get(runtime)
        for layer in self.layers:
            if runtime == "python" and layer.media_type == PYTHON_TYPE:
                return layer
            if path is not None and layer.media_type == WASM_TYPE and layer.annotations.get(TITLE) == path:
                return layer
        return None


def wasm_paths(manifest: Manifest) -> dict[str, str]:
    """The WebAssembly runtimes a manifest names, each with its file."""
    found = {"component": manifest.runtime.component, "extism": manifest.runtime.extism}
    return {name: entry.path for name, entry in found.items() if entry is not None}


def python_prefix(manifest: Manifest) -> str:
    """The import package's folder in the Python layer, with its slash."""
    python = manifest.runtime.python
    return python.entry.partition(":")[0].partition(".")[0] + "/" if python is not None else ""


def wanted_files(manifest: Manifest) -> set[str]:
    """The files a manifest names besides code."""
    return {manifest.config.schema} if manifest.config is not None and manifest.config.schema else set()


def make_package(
    manifest: Manifest,
    manifest_bytes: bytes,
    tree: Mapping[str, bytes],
    wasm: Mapping[str, bytes],
    *,
    source: str,
    folder: Path | None = None,
) -> Package:
    """The package of a manifest, the files beside it (relative names) and the `.wasm` of each runtime that has one."""
    check_manifest_paths(manifest, source)
    for name in wanted_files(manifest) - set(tree):
        raise PackageInvalid(
            f"The manifest names the file {name}, the package does not have it",
            address=f"{source}:plugin.toml:config.schema",
        )
    paths = wasm_paths(manifest)
    blobs: dict[str, bytes] = {}

    def blob(media_type: str, data: bytes, title: str = "") -> Descriptor:
        digest = digest_of(data)
        blobs[digest] = data
        return Descriptor(media_type, digest, len(data), annotations={TITLE: title} if title else {})

    config = blob(CONFIG_TYPE, manifest_bytes, "plugin.toml")
    layers: list[Descriptor] = []
    if manifest.runtime.python is not None:
        prefix = python_prefix(manifest)
        module = manifest.runtime.python.entry.partition(":")[0].replace(".", "/")
        names = {prefix + name for name in tree}
        if not names & {f"{module}.py", f"{module}/__init__.py"}:
            raise PackageInvalid(
                f"The manifest's entry is {manifest.runtime.python.entry}, there is no such module in the package",
                address=f"{source}:plugin.toml:runtime.python.entry",
                hint=f"expected {module}.py or {module}/__init__.py, with plugin.toml in {prefix}",
            )
        layers.append(blob(PYTHON_TYPE, deterministic_zip(tree, prefix), prefix.rstrip("/") + ".zip"))
    elif tree:
        layers.append(blob(FILES_TYPE, deterministic_zip(tree), "files.zip"))
    for runtime, data in sorted(wasm.items()):
        _check_wasm(data, f"{source}:{paths[runtime]}")
        layers.append(blob(WASM_TYPE, data, paths[runtime]))
    shown = layers or [blob(EMPTY_TYPE, b"{}")]  # the specification wants one layer at least
    plugin = manifest.plugin
    image = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "config": msgspec.to_builtins(config),
        "layers": msgspec.to_builtins(shown),
        "annotations": {TITLE: plugin.id, "org.opencontainers.image.version": plugin.version},
    }
    image_bytes = json.dumps(image, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    digest = digest_of(image_bytes)
    blobs[digest] = image_bytes
    _check_budget(blobs, source)
    return Package(manifest, manifest_bytes, digest, blobs, tuple(layers), source, folder)


def package_from_blobs(digest: str, get: Callable[[str], bytes], source: str) -> Package:
    """Read a package by its digest. `get` may return anything: every blob is checked here.

    Raises:
        DigestMismatch, PackageInvalid, PackageUnsafe, PackageTooLarge, InvalidManifest.
    """
    image_bytes = verify(get(check_digest(digest, source)), digest, source)
    try:
        image = _image.decode(image_bytes)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PackageInvalid(f"Expected an OCI image manifest: {error}", address=source) from None
    kind = image.artifact_type or image.config.media_type
    if image.schema_version != 2 or image.media_type != MANIFEST_TYPE or kind not in (ARTIFACT_TYPE, CONFIG_TYPE):
        raise PackageInvalid(
            f"Expected an artifact of type {ARTIFACT_TYPE}, got {kind[:120]!r}",
            address=source,
            hint="this is an OCI artifact of another kind",
        )
    budget = Budget(source)
    blobs = {digest: image_bytes}
    if len(image.layers) > MAX_FILES:
        raise PackageInvalid(f"Expected at most {MAX_FILES} layers, got {len(image.layers)}", address=source)
    for descriptor in (image.config, *image.layers):
        where = f"{source}:{check_digest(descriptor.digest, source)}"
        budget.take(descriptor.digest, descriptor.size)
        data = verify(get(descriptor.digest), descriptor.digest, where)
        if len(data) != descriptor.size:
            raise PackageInvalid(
                f"Expected {descriptor.size} bytes as its descriptor says, got {len(data)}", address=where
            )
        blobs[descriptor.digest] = data
    manifest_bytes = blobs[image.config.digest]
    manifest = Manifest.read(manifest_bytes, f"{source}:plugin.toml")
    check_manifest_paths(manifest, source)
    layers = tuple(layer for layer in image.layers if layer.media_type != EMPTY_TYPE)
    package = Package(manifest, manifest_bytes, digest, blobs, layers, source)
    _check_layers(package)
    return package


def _check_layers(package: Package) -> None:
    """Each layer is one that the manifest names, once; each archive is sound."""
    expected = {(WASM_TYPE, path) for path in wasm_paths(package.manifest).values()}
    archive = PYTHON_TYPE if package.manifest.runtime.python is not None else FILES_TYPE
    seen: set[tuple[str, str]] = set()
    for layer in package.layers:
        title = layer.annotations.get(TITLE, "")
        key = (layer.media_type, title if layer.media_type == WASM_TYPE else "")
        where = f"{package.source}:{layer.digest}"
        if key in seen or key not in expected | {(archive, "")}:
            raise PackageInvalid(
                f"Expected one layer for each runtime that the manifest names, got {layer.media_type} {title!r}",
                address=where,
                hint="layers of unknown kinds, and a second layer for the same runtime, are refused",
            )
        seen.add(key)
        data = package.blobs[layer.digest]
        if layer.media_type == WASM_TYPE:
            _check_wasm(data, where)
            continue
        prefix = python_prefix(package.manifest)
        for name in unzip(data, where):
            if not name.startswith(prefix):
                raise PackageInvalid(f"Expected every file under {prefix}, got {name}", address=where)
    for name in wanted_files(package.manifest) - set(package.files()):
        raise PackageInvalid(
            f"The manifest names the file {name}, the package does not have it",
            address=f"{package.source}:plugin.toml:config.schema",
        )


def _check_wasm(data: bytes, where: str) -> None:
    if not data.startswith(_WASM_MAGIC):
        raise PackageInvalid("Expected a WebAssembly binary (it begins with \\0asm)", address=where)


def _check_budget(blobs: Mapping[str, bytes], source: str) -> None:
    budget = Budget(source)
    for digest, data in blobs.items():
        budget.take(digest, len(data))


def check_manifest_paths(manifest: Manifest, source: str) -> None:
    """The files a manifest names stay inside the package."""
    for path in (*wasm_paths(manifest).values(), *wanted_files(manifest)):
        check_name(path, f"{source}:plugin.toml")
