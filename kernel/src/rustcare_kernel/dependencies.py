"""Who must start before whom: `requires` against `provides`, with SemVer ranges."""

from __future__ import annotations

from collections.abc import Mapping

from rustcare_sdk.manifest import Manifest

from .errors import DependencyUnmet

__all__ = ["resolve"]


def resolve(manifests: Mapping[str, Manifest]) -> tuple[list[str], dict[str, DependencyUnmet]]:
    """The order in which to start plugins, and for each that cannot start the error that says why.

    A plugin comes after those that provide what it requires; one provider that can start is enough. A plugin that lacks a
    provider, or whose providers cannot start themselves, or that waits for itself round a circle, is left out, and the
    error names the whole chain.
    """
    fitting = _fitting(manifests)
    order: list[str] = []
    left = sorted(manifests)

    def met(plugin_id: str, contract: str, every: bool) -> bool:
        candidates = fitting[plugin_id, contract]
        ready = [candidate == plugin_id or candidate in order for candidate in candidates]
        return bool(ready) and (all(ready) if every else any(ready))

    while left:
        # One whose providers have all been placed goes first; one with some of them only when there is no such.
        following = next(
            (
                plugin_id
                for every in (True, False)
                for plugin_id in left
                if all(met(plugin_id, contract, every) for contract in manifests[plugin_id].requires)
            ),
            None,
        )
        if following is None:
            break
        order.append(following)
        left.remove(following)
    blocked = {
        plugin_id: next(
            contract for contract in sorted(manifests[plugin_id].requires) if not met(plugin_id, contract, False)
        )
        for plugin_id in left
    }
    return order, {plugin_id: _explain(plugin_id, manifests, fitting, blocked) for plugin_id in left}


def _fitting(manifests: Mapping[str, Manifest]) -> dict[tuple[str, str], list[str]]:
    """For each plugin and contract that it requires: who provides a version in its range."""
    return {
        (plugin_id, contract): [
            candidate
            for candidate, other in sorted(manifests.items())
            if contract in other.provides and wanted.contains(other.provides[contract])
        ]
        for plugin_id, manifest in manifests.items()
        for contract, wanted in manifest.requires.items()
    }


def _explain(
    plugin_id: str,
    manifests: Mapping[str, Manifest],
    fitting: Mapping[tuple[str, str], list[str]],
    blocked: Mapping[str, str],
) -> DependencyUnmet:
    """Why a plugin cannot start: follow what it waits for to the cause."""
    address = f"{plugin_id}:requires.{blocked[plugin_id]}"
    chain, path = [plugin_id], plugin_id
    while True:
        contract = blocked[chain[-1]]
        path += f" → {contract}"
        candidates = fitting[chain[-1], contract]
        if not candidates:
            offered = ", ".join(
                f"{candidate} provides {other.provides[contract]}"
                for candidate, other in sorted(manifests.items())
                if contract in other.provides
            )
            return DependencyUnmet(
                f"{path}: version {manifests[chain[-1]].requires[contract]} is required, "
                f"{offered or 'nobody provides it'}",
                hint="install or enable a plugin that provides it",
                address=address,
            )
        following = candidates[0]
        if following in chain:
            circle = " → ".join((*chain[chain.index(following) :], following))
            before = "" if following == plugin_id else f"{path} → {following}, which cannot start: "
            return DependencyUnmet(
                f"{before}these plugins wait for one another: {circle}",
                hint="one of them must do without the other, or ask for it when it needs it",
                address=address,
            )
        chain.append(following)
        path += f" → {following}"
