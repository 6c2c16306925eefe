"""From a source to an installed package: read, built if need be, inspected, consented to.

Consent is given to a digest. For the next version of a plugin the grants of the one before are carried over, so only what
it asks for beyond them needs a new consent.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import os
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

from msgspec import Struct
from rustcare_sdk.capability import Capability, CapabilityDiff, covers, diff, intersect, parse
from rustcare_sdk.manifest import Manifest

from .errors import ConsentRequired
from .grants import Grant, Grants
from .package import Package, PackageNotBuilt, read_package

__all__ = ["CapabilityAsked", "Consent", "Inspection", "Installer", "Source"]

Source = str | Path | Package


class CapabilityAsked(Struct, frozen=True):
    """One capability as a manifest asks for it, with its reason; `availability` is `required` or `optional`."""

    use: str
    reason: str
    availability: str


class Inspection(Struct, frozen=True):
    """What a package is and asks for. Nothing was changed to find out.

    `limits` are the manifest's: `memory` and `output` in bytes, `timeout` and `start_timeout` in seconds, `fuel` in
    instructions. `change` compares with what the installed version was granted; None when the plugin is not installed.
    """

    id: str
    version: str
    digest: str
    summary: str
    runtimes: tuple[str, ...]
    unbuilt: tuple[str, ...]
    capabilities: tuple[CapabilityAsked, ...]
    limits: dict[str, float]
    installed_version: str | None = None
    change: CapabilityDiff | None = None


#: True or False for all that is asked; the texts of the capabilities that are granted; or a function that decides.
Consent = bool | Collection[str] | Callable[[Inspection], "Awaitable[bool] | bool"]


class Installer:
    """Reads packages and turns consent into grants."""

    def __init__(self, grants: Grants, cache: Path) -> None:
        self._grants = grants
        self._cache = cache

    async def read(self, source: Source, runtime: str | None = None) -> Package:
        """The package of a source. A component that a checkout has only as Python source is built on first use.

        Raises PackageError subclasses; PackageNotBuilt when the wanted runtime's code is not there and cannot be built.
        """
        package = source if isinstance(source, Package) else await asyncio.to_thread(read_package, source)
        if "component" in package.unbuilt and runtime in (None, "component") and package.folder is not None:
            package = await self._build(package, package.folder)
        return package

    async def _build(self, package: Package, folder: Path) -> Package:
        from .runtimes.component_build import build_component

        source = hashlib.sha256(package.digest.encode() + package.manifest_bytes).hexdigest()
        import rustcare_sdk

        for file in sorted(Path(rustcare_sdk.__file__).parent.rglob("*.py")):
            source = hashlib.sha256(source.encode() + file.read_bytes()).hexdigest()
        target = self._cache / f"{source}.wasm"
        if not target.is_file():
            self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            fresh = target.with_suffix(f".{os.getpid()}.wasm")
            try:
                await asyncio.to_thread(build_component, folder, package.manifest, fresh)
                os.replace(fresh, target)
            finally:
                fresh.unlink(missing_ok=True)
        return package.with_wasm("component", await asyncio.to_thread(target.read_bytes))

    @staticmethod
    def choose(package: Package, runtime: str | None) -> str:
        """The runtime to use: the wanted one, else the strongest sandbox that the package has."""
        if runtime is not None:
            package.code(runtime)  # raises PackageNotBuilt, which says what there is
            return runtime
        for name in ("component", "extism", "python"):
            if name in package.runtimes and name not in package.unbuilt:
                return name
        raise PackageNotBuilt(f"{package.id} has no code for any runtime", hint="build it: rustcare plugin build")

    def inspect(self, package: Package, installed: tuple[str, str] | None) -> Inspection:
        """What the package asks for; `installed` is (version, digest) of the plugin as it is installed."""
        change = None
        if installed is not None:
            held = [
                parse(grant.capability)
                for grant in self._grants.of(package.id, installed[1])
                if grant.issuer == "operator" and not grant.deny
            ]
            change = diff(held, _asked(package.manifest))
        return Inspection(
            package.id,
            package.version,
            package.digest,
            package.manifest.plugin.summary,
            package.runtimes,
            package.unbuilt,
            tuple(
                CapabilityAsked(str(request.capability), request.reason, request.availability)
                for request in package.manifest.capabilities
            ),
            _limits(package.manifest),
            installed[0] if installed is not None else None,
            change,
        )

    async def consent(self, package: Package, consent: Consent, installed: tuple[str, str] | None) -> list[Grant]:
        """The grants under which a package may run: those carried over and those consented to. None is in force yet.

        Raises ConsentRequired when a required capability is not among them.
        """
        inspection = self.inspect(package, installed)
        grants = self._carried(package, installed[1]) if installed is not None else []
        grants += list(self._grants.of(package.id, package.digest))
        held = [
            parse(grant.capability)
            for grant in grants
            if grant.issuer == "operator" and grant.tenant is None and not grant.deny
        ]
        missing = [
            request
            for request in package.manifest.capabilities
            if not any(covers(have, request.capability) for have in held)
        ]
        if missing:
            agreed = await _decide(consent, inspection)
            new = [request for request in missing if agreed is True or str(request.capability) in _texts(agreed)]
            grants += [self._grants.prepare(package.id, package.digest, str(request.capability)) for request in new]
            refused = [request for request in missing if request not in new and request.availability == "required"]
            if refused:
                listed = ", ".join(str(request.capability) for request in refused)
                raise ConsentRequired(
                    f"{package.id} {package.version} asks for {listed}, which nobody has granted to "
                    f"{package.digest[:19]}…",
                    hint="look at what it asks for with `rustcare plugin caps`, then consent with --yes",
                )
        return grants

    def _carried(self, package: Package, digest: str) -> list[Grant]:
        """The grants of an earlier digest, for this one. Grants derived from others are carried below their parents.

        What this version does not ask for any more is not carried, so that a later one which asks again is consented to
        again. Denials are always carried.
        """
        asked = _asked(package.manifest)
        if digest == package.digest:
            return []
        known = set(self._grants.of(package.id, package.digest))
        same = {(grant.capability, grant.tenant, grant.deny, grant.issuer) for grant in known}
        return [
            self._grants.prepare(
                package.id,
                package.digest,
                grant.capability,
                tenant=grant.tenant,
                deny=grant.deny,
                issuer=grant.issuer,
                granted_by=grant.granted_by,
                expires=grant.expires,
                parent=grant.parent,
            )
            for grant in self._grants.of(package.id, digest)
            if (grant.capability, grant.tenant, grant.deny, grant.issuer) not in same
            and (grant.deny or any(intersect(parse(grant.capability), wanted) is not None for wanted in asked))
        ]


def _asked(manifest: Manifest) -> list[Capability]:
    return [request.capability for request in manifest.capabilities]


def _limits(manifest: Manifest) -> dict[str, float]:
    limits = manifest.limits
    return {
        "memory": limits.memory,
        "timeout": limits.timeout,
        "fuel": limits.fuel,
        "output": limits.output,
        "start_timeout": manifest.lifecycle.start_timeout,
    }


def _texts(agreed: bool | Collection[str]) -> Collection[str]:
    return () if isinstance(agreed, bool) else agreed


async def _decide(consent: Consent, inspection: Inspection) -> bool | Collection[str]:
    if callable(consent):
        answer = consent(inspection)
        return bool(await answer if inspect.isawaitable(answer) else answer)
    if isinstance(consent, bool):
        return consent
    return {str(parse(text)) for text in consent}
