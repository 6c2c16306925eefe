"""Which interfaces a sandboxed plugin gets: those it imports and was granted. Everything else is not even linked."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from rustcare_sdk.manifest import Manifest

from ._contract import Host, LinkRefused
from ._interface import IMPORTS, PACKAGE, VERSION, Interface

__all__ = ["linked_interfaces", "needs_wasi"]


def linked_interfaces(imports: Iterable[str], manifest: Manifest, host: Host) -> tuple[list[Interface], frozenset[str]]:
    """The interfaces to link, and the names of those among them of which every call is denied.

    Denied are interfaces that the manifest asks for as optional only, and that nobody granted: the plugin starts, and
    its calls fail with `capability.denied`.

    Raises:
        LinkRefused: an import is not offered, or its capability is required (or not asked for) and not held.
    """
    plugin = manifest.plugin.id
    linked: list[Interface] = []
    denied: set[str] = set()
    for name in imports:
        interface = _offered(name)
        if interface is None:
            raise LinkRefused(
                f"the code of {plugin} imports {name}, which the kernel does not offer",
                hint="build with WASI stubbed out (`rustcare plugin build` does), against sdk/wit/plugin.wit",
                address=name,
            )
        linked.append(interface)
        if not interface.kind or host.granted(interface.kind):
            continue
        asked = [each for each in manifest.capability if each.capability.kind == interface.kind]
        if not asked or any(not each.optional for each in asked):
            what = "which was not granted" if asked else "which its manifest does not ask for"
            raise LinkRefused(
                f"the code of {plugin} imports {name}; that needs a capability such as {interface.example}, {what}",
                hint="grant it, or install a version that does not import it"
                if asked
                else f'add [[capability]] use = "{interface.example}" to plugin.toml, or do not import it',
                address=name,
            )
        denied.add(interface.name)
    return linked, frozenset(denied)


def _offered(name: str) -> Interface | None:
    package, _, rest = name.partition("/")
    short, _, version = rest.partition("@")
    # A guest may be built against any patch release of the interface.
    if package != PACKAGE or version.split(".")[:2] != VERSION.split(".")[:2]:
        return None
    return IMPORTS.get(short)


def needs_wasi(modules: Collection[str], manifest: Manifest, host: Host) -> bool:
    """Whether to link WASI preview 1 (Extism only; compilers such as Go's cannot do without).

    It gives the clock and randomness, and nothing else: no files, no environment, no network.

    Raises:
        LinkRefused: it is imported and those capabilities are not held.
    """
    if "wasi_snapshot_preview1" not in modules:
        return False
    for interface in (IMPORTS["clock"], IMPORTS["random"]):
        if not host.granted(interface.kind):
            raise LinkRefused(
                f"the code of {manifest.plugin.id} imports wasi_snapshot_preview1, which gives clock and randomness; "
                f"that needs {interface.example}, which was not granted",
                hint="ask for clock:read and random:read in plugin.toml, or build without WASI",
                address="wasi_snapshot_preview1",
            )
    return True
