"""Who must start before whom: `requires` against `provides`, with SemVer ranges."""

from __future__ import annotations

from collections.abc import Mapping

from rustcare_sdk.manifest import Manifest

from .errors import DependencyUnmet

__all__ = ["resolve"]


def resolve(manifests: Mapping[str, Manifest]) -> tuple[list[str], dict[str, DependencyUnmet]]:
    """The order in which to start plugins, and for each that cannot start the error that says why.

    A plugin comes after every plugin that provides what it requires. One that lacks a provider, or whose provider cannot
    start itself, or that waits for itself round a circle, is left out, and the error names the whole chain.
    """
    providers: dict[str, list[str]] = {}
    for plugin_id, manifest in sorted(manifests.items()):
        for contract in manifest.provides:
            providers.setdefault(contract, []).append(plugin_id)
    order: list[str] = []
    failed: dict[str, DependencyUnmet] = {}
    done: set[str] = set()

    def visit(plugin_id: str, chain: tuple[str, ...]) -> bool:
        """Place a plugin after what it requires; whether it can start."""
        if plugin_id in done:
            return True
        if plugin_id in failed:
            return False
        if plugin_id in chain:
            circle = " → ".join((*chain[chain.index(plugin_id) :], plugin_id))
            for member in chain[chain.index(plugin_id) :]:
                failed.setdefault(
                    member,
                    DependencyUnmet(
                        f"these plugins wait for one another: {circle}",
                        hint="one of them must do without the other, or ask for it when it needs it",
                        address=f"{member}:requires",
                    ),
                )
            return False
        for contract, wanted in sorted(manifests[plugin_id].requires.items()):
            fitting = []
            for candidate in providers.get(contract, ()):
                version = manifests[candidate].provides[contract]
                if wanted.contains(version):
                    fitting.append(candidate)
            path = " → ".join((*chain, plugin_id, contract))
            if not fitting:
                offered = ", ".join(
                    f"{candidate} provides {manifests[candidate].provides[contract]}"
                    for candidate in providers.get(contract, ())
                )
                failed.setdefault(
                    plugin_id,
                    DependencyUnmet(
                        f"{path}: version {wanted} is required, {offered or 'no enabled plugin provides it'}",
                        hint="install or enable a plugin that provides it",
                        address=f"{plugin_id}:requires.{contract}",
                    ),
                )
                return False
            if plugin_id in fitting:
                continue
            startable = [visit(candidate, (*chain, plugin_id)) for candidate in fitting]
            if not any(startable):
                reason = failed.get(fitting[0])
                failed.setdefault(
                    plugin_id,
                    DependencyUnmet(
                        f"{path} → {fitting[0]}, which cannot start" + (f": {reason.message}" if reason else ""),
                        hint="mend the provider first",
                        address=f"{plugin_id}:requires.{contract}",
                    ),
                )
                return False
        if plugin_id in failed:
            return False
        done.add(plugin_id)
        order.append(plugin_id)
        return True

    for plugin_id in sorted(manifests):
        visit(plugin_id, ())
    return order, failed
