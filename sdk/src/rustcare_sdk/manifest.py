"""The manifest of a plugin, `plugin.toml`: what it is, what code it has, what it may use, what it asks for.

Host only (msgspec). The structs below are the one place for keys, meanings, defaults and bounds: the reader, the JSON
Schema (`rustcare_sdk.schema`) and the list of keys are derived from them.
"""

from __future__ import annotations

import tomllib
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from ._manifest_reader import check_names, convert, keys_of
from .capability import Capability, parse
from .errors import InvalidManifest
from .version import Range, Version

__all__ = [
    "CapabilityRequest",
    "Config",
    "Lifecycle",
    "Limits",
    "Manifest",
    "Plugin",
    "PythonEntry",
    "Runtime",
    "WasmEntry",
    "manifest_keys",
    "read_manifest",
    "read_manifest_text",
]

_KIB = 1024
_MIB = 1024 * _KIB

# Sizes and durations are written with a unit ("32MiB", "200ms") and read as bytes and seconds. The bounds are in those.
# A 32-bit WebAssembly memory ends at 4 GiB.
Size = Annotated[int, Meta(extra={"form": "size", "least": _KIB, "most": 4096 * _MIB})]
Duration = Annotated[float, Meta(extra={"form": "duration", "least": 0.001, "most": 86400.0})]
# The operator waits for these: a plugin must not be able to keep the kernel's commands waiting for a day.
Pause = Annotated[float, Meta(extra={"form": "duration", "least": 0.001, "most": 120.0})]
Count = Annotated[int, Meta(ge=1, le=10_000)]


class Plugin(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[plugin]`: who this is."""

    id: Annotated[
        str,
        Meta(
            description="publisher.name, in lower case; it never changes",
            pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*\.[a-z][a-z0-9]*(-[a-z0-9]+)*$",
            max_length=128,
            extra={"hint": "publisher.name: lower-case letters, digits and single hyphens"},
        ),
    ]
    version: Annotated[
        str, Meta(description="the version of the plugin (SemVer 2.0)", max_length=128, extra={"form": "version"})
    ]
    summary: Annotated[str, Meta(description="what it does, in one line", min_length=1, max_length=200)]
    engine: Annotated[Range, Meta(description="the versions of the kernel's interface it works with")]
    license: Annotated[str, Meta(description="an SPDX licence expression", max_length=100)] = ""
    homepage: Annotated[str, Meta(description="where to read more", pattern=r"^(https://\S+)?$", max_length=300)] = ""
    authors: Annotated[tuple[str, ...], Meta(description="who wrote it")] = ()


class PythonEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`runtime.python`: the class of the plugin."""

    entry: Annotated[
        str,
        Meta(
            description="the plugin's class, as module:Class",
            pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$",
            extra={"hint": "module:Class, such as acme_router.plugin:Router"},
        ),
    ]


class WasmEntry(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`runtime.component` or `runtime.extism`: the WebAssembly file."""

    path: Annotated[
        str,
        Meta(
            description="the .wasm file, relative to plugin.toml",
            pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*\.wasm$",
            max_length=200,
            extra={"hint": "a relative path inside the package, without .., that ends in .wasm"},
        ),
    ]


class Runtime(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[runtime]`: the code. A package may carry more than one form of it."""

    python: Annotated[PythonEntry | None, Meta(description="trusted Python, in the kernel's process")] = None
    component: Annotated[WasmEntry | None, Meta(description="a WebAssembly component, sandboxed")] = None
    extism: Annotated[WasmEntry | None, Meta(description="an Extism module, sandboxed")] = None
    instance: Annotated[
        Literal["pooled", "per-message"],
        Meta(description="sandboxes: keep instances, or make a fresh one for every message"),
    ] = "pooled"
    pool: Annotated[int, Meta(description="sandboxes: how many instances at most", ge=1, le=256)] = 1

    @property
    def names(self) -> tuple[str, ...]:
        """The runtimes there is code for, the most confined first: `component`, `extism`, `python`."""
        return tuple(name for name in ("component", "extism", "python") if getattr(self, name) is not None)

    @property
    def default(self) -> str:
        """The runtime that is used when nobody chose one: the most confined there is code for."""
        return self.names[0]


class Limits(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[limits]`: what the plugin may use. Trusted Python is bound by timeout only."""

    memory: Annotated[Size, Meta(description="sandboxes: memory of one instance")] = 128 * _MIB
    fuel: Annotated[int, Meta(description="sandboxes: instructions for one call", ge=1, le=10**15)] = 10_000_000_000
    timeout: Annotated[Duration, Meta(description="time for one call")] = 10.0
    concurrency: Annotated[Count, Meta(description="sandboxes: calls at once")] = 16
    output: Annotated[Size, Meta(description="the largest message or answer it may send")] = 8 * _MIB


class CapabilityRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[[capability]]`: one right it asks for. `use` is canonical once it was read."""

    use: Annotated[str, Meta(description="the capability: kind:action@scope;key=value", extra={"form": "capability"})]
    reason: Annotated[str, Meta(description="why, for the operator who consents", min_length=1, max_length=300)]
    availability: Annotated[
        Literal["required", "optional"], Meta(description="whether the plugin can work without it")
    ] = "required"

    @property
    def capability(self) -> Capability:
        """`use`, parsed."""
        return parse(self.use)

    @property
    def optional(self) -> bool:
        """Whether the plugin can work without it."""
        return self.availability == "optional"


class Lifecycle(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[lifecycle]`: starting, stopping, handing over."""

    drain: Annotated[Pause, Meta(description="time to finish what it is at when it stops or is replaced")] = 5.0
    start_timeout: Annotated[Pause, Meta(description="time for start, health and the import of state")] = 10.0
    state_version: Annotated[Count, Meta(description="version of the state handed from one version to the next")] = 1
    trap_budget: Annotated[int, Meta(description="crashes within a minute before quarantine", ge=0, le=10_000)] = 5
    scale: Annotated[
        Literal["one", "each"], Meta(description="with workers: one for all processes, or one in each of them")
    ] = "one"
    central: Annotated[
        tuple[str, ...], Meta(description='of its services, with scale = "each": those that the primary alone answers')
    ] = ()


class Config(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`[config]`: the plugin's configuration."""

    schema: Annotated[
        str,
        Meta(
            description="its JSON Schema, a file relative to plugin.toml",
            pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*\.json$",
            max_length=200,
            extra={"hint": "a relative path inside the package, without .., that ends in .json"},
        ),
    ]


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A manifest that has been read and checked."""

    schema: Annotated[Literal[1], Meta(description="the version of this format")]
    plugin: Plugin
    runtime: Runtime
    limits: Limits = Limits()
    capability: tuple[CapabilityRequest, ...] = ()
    provides: Annotated[dict[str, Version], Meta(description="services it offers, each with its version")] = {}
    requires: Annotated[dict[str, Range], Meta(description="services it needs, each with a range of versions")] = {}
    lifecycle: Lifecycle = Lifecycle()
    config: Config | None = None

    @classmethod
    def read(cls, data: bytes, path: str = "plugin.toml") -> Manifest:
        """`read_manifest`."""
        return read_manifest(data, path)

    @property
    def capabilities(self) -> tuple[CapabilityRequest, ...]:
        """The capabilities it asks for, in the order of the file."""
        return self.capability

    @property
    def version(self) -> Version:
        """`plugin.version`, parsed."""
        return Version.parse(self.plugin.version)


def read_manifest(data: bytes, path: str = "plugin.toml") -> Manifest:
    """The manifest in `data`; `path` is the file's name in errors.

    Raises:
        InvalidManifest: `plugin.toml:limits.memory: expected …, got … (hint)`.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidManifest(
            f"expected text in UTF-8, got byte {data[error.start]:#04x} at {error.start}", address=path
        ) from None
    return read_manifest_text(text, path)


def read_manifest_text(text: str, path: str = "plugin.toml") -> Manifest:
    """As `read_manifest`, from text."""
    try:
        raw: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidManifest(f"expected TOML: {error}", address=path) from None
    except RecursionError:
        raise InvalidManifest("expected TOML: nested too deeply", address=path) from None
    manifest = convert(raw, Manifest, path)
    if not manifest.runtime.names:
        raise InvalidManifest(
            "expected python, component or extism, got none of them",
            hint='such as python = { entry = "acme_router.plugin:Router" }',
            address=f"{path}:runtime",
        )
    if manifest.runtime.instance == "per-message" and manifest.runtime.names == ("python",):
        raise InvalidManifest(
            'expected "pooled" for trusted Python, got "per-message"',
            hint="only sandboxes can have a fresh instance for every message",
            address=f"{path}:runtime.instance",
        )
    check_names(manifest.provides, f"{path}:provides")
    check_names(manifest.requires, f"{path}:requires")
    manifest = msgspec.structs.replace(manifest, capability=_read_capabilities(manifest.capability, path))
    _check_scale(manifest, path)
    return manifest


def _check_scale(manifest: Manifest, path: str) -> None:
    """What a plugin keeps is written by one process: there is one store for each plugin, with one writer."""
    check_names(dict.fromkeys(manifest.lifecycle.central), f"{path}:lifecycle.central")
    if manifest.lifecycle.scale == "each":
        kept = next((item.use for item in manifest.capability if item.capability.kind in ("db", "kv")), None)
        if kept is not None:
            raise InvalidManifest(
                f'expected "one" for a plugin that keeps data of its own ({kept}), got "each"',
                hint="leave what is kept to another plugin, and request it",
                address=f"{path}:lifecycle.scale",
            )


def _read_capabilities(asked: tuple[CapabilityRequest, ...], path: str) -> tuple[CapabilityRequest, ...]:
    found: dict[str, CapabilityRequest] = {}
    for index, item in enumerate(asked):
        address = f"{path}:capability[{index}].use"
        use = str(parse_in_manifest(item.use, address))
        if use in found:
            raise InvalidManifest(f"expected each capability once, got {use} again", address=address)
        found[use] = msgspec.structs.replace(item, use=use)
    return tuple(found.values())


def parse_in_manifest(text: str, address: str) -> Capability:
    """A capability in a manifest: an error is the manifest's, at that address."""
    from .errors import InvalidCapability

    try:
        return parse(text, address)
    except InvalidCapability as error:
        raise InvalidManifest(error.message, hint=error.hint, address=address) from None


def manifest_keys() -> list[str]:
    """Every key of a manifest, dotted (`limits.memory`, `capability.use`), tables without fixed keys by their name."""
    return keys_of(Manifest)
