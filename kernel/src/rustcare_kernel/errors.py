"""The kernel's own errors, beside those of `rustcare_sdk.errors`. Codes are listed in `docs/reference/errors.md`."""

from __future__ import annotations

from typing import ClassVar

from rustcare_sdk.errors import RustCareError

__all__ = [
    "CatalogCorrupt",
    "ConfigInvalid",
    "ConsentRequired",
    "DataFolderInUse",
    "DependencyUnmet",
    "GrantExceedsParent",
    "GrantUnknown",
    "LinkBroken",
    "ListenerUnknown",
    "PluginUnknown",
    "ProviderTaken",
    "RateExceeded",
    "RouteTaken",
    "StartFailed",
    "StateForbids",
    "UpgradeFailed",
    "WorkerLost",
]


class PluginUnknown(RustCareError):
    """No plugin of that id is installed."""

    code: ClassVar[str] = "plugin.unknown"


class StateForbids(RustCareError):
    """The plugin's lifecycle state does not allow the operation."""

    code: ClassVar[str] = "lifecycle.state-forbids"


class ConsentRequired(RustCareError):
    """The package asks for capabilities that nobody has granted to its digest."""

    code: ClassVar[str] = "lifecycle.consent-required"


class DependencyUnmet(RustCareError):
    """A required contract has no provider, a provider of the wrong version, or providers that wait for one another."""

    code: ClassVar[str] = "lifecycle.dependency-unmet"


class StartFailed(RustCareError):
    """A plugin could not be started."""

    code: ClassVar[str] = "lifecycle.start-failed"


class UpgradeFailed(RustCareError):
    """An upgrade was given up; the version before goes on serving."""

    code: ClassVar[str] = "lifecycle.upgrade-failed"


class ConfigInvalid(RustCareError):
    """A plugin's configuration does not fit its schema."""

    code: ClassVar[str] = "config.invalid"


class ProviderTaken(RustCareError):
    """Two plugins want to serve the same service."""

    code: ClassVar[str] = "bus.provider-taken"


class RouteTaken(RustCareError):
    """Two plugins want to answer the same HTTP route."""

    code: ClassVar[str] = "http.route-taken"


class GrantExceedsParent(RustCareError):
    """A derived grant would hold more than the grant it derives from."""

    code: ClassVar[str] = "grant.exceeds-parent"


class GrantUnknown(RustCareError):
    """No grant of that id or capability exists."""

    code: ClassVar[str] = "grant.unknown"


class RateExceeded(RustCareError):
    """A capability with a `rate` option was used more often than it allows."""

    code: ClassVar[str] = "capability.rate-exceeded"


class CatalogCorrupt(RustCareError):
    """The catalog or a stored package is not what was written."""

    code: ClassVar[str] = "catalog.corrupt"


class DataFolderInUse(RustCareError):
    """Another kernel runs on the same data folder."""

    code: ClassVar[str] = "kernel.data-folder-in-use"


class LinkBroken(RustCareError):
    """The link between a worker and the primary process is gone, and the worker ends."""

    code: ClassVar[str] = "worker.link-broken"


class ListenerUnknown(RustCareError):
    """A plugin listens in a worker where it does not listen in the primary process."""

    code: ClassVar[str] = "worker.listener-unknown"


class WorkerLost(RustCareError):
    """A worker ended before it was through with what it had begun."""

    code: ClassVar[str] = "worker.lost"
