"""For which tenant a request is: by host, path, header or the caller's own, as the configured order says.

What names a tenant in the request is a claim; it counts only because callers of another tenant are refused. Two claims that
differ are refused, so that no two readers of a request can differ about it. Everything is a look into a table: a request
costs the same with one tenant and with ten thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rustcare_sdk.contracts.http import Caller
from rustcare_sdk.contracts.identity import TenantInfo
from rustcare_sdk.errors import RustCareError

from .cors import Cors
from .errors import InvalidSettings, TenantConflict, TenantDisabled, TenantUnknown
from .limits import Class, Limits

__all__ = ["DEFAULT", "POLICIES", "Tenant", "Tenants"]

DEFAULT = "default"
POLICIES = ("host", "path", "header", "token")


class Tenant:
    """A tenant as the hot path needs it. `problems`: what is wrong with its settings, which then do not count."""

    __slots__ = ("anonymous", "classes", "cors", "enabled", "hosts", "id", "problems")

    def __init__(self, info: TenantInfo, limits: Limits) -> None:
        self.id = info.id
        self.anonymous = Caller(tenant=info.id)
        self.enabled = info.enabled
        self.hosts = tuple(host.lower() for host in info.hosts)
        self.problems: list[str] = []
        self.classes: dict[str, Class] = limits.classes
        self.cors: Cors | None = None
        own = info.settings.get("limits")
        if own:
            try:
                self.classes = limits.of_tenant(info.id, own)
            except (RustCareError, AttributeError) as error:
                self._problem(error)
        rules = info.settings.get("cors")
        if rules:
            try:
                self.cors = Cors(rules)
            except (RustCareError, AttributeError, ValueError, TypeError) as error:
                self._problem(error)

    def _problem(self, error: Exception) -> None:
        self.problems.append(str(error) if isinstance(error, RustCareError) else type(error).__name__)


class Tenants:
    """The tenants, and the order in which a request is asked for one.

    Args:
        policies: of `host`, `path`, `header`, `token`.
        header: the name of the header field.
        fallback: the tenant of requests that name none and have no caller; empty: they are refused.
    """

    def __init__(self, policies: Iterable[str], header: str, fallback: str, limits: Limits) -> None:
        self.policies = tuple(policies)
        for policy in self.policies:
            if policy not in POLICIES:
                raise InvalidSettings(
                    f"expected of {', '.join(POLICIES)}, got {policy!r}", address="config.tenants.policies"
                )
        self.header = header.lower()
        self.fallback = fallback
        self.by_host = "host" in self.policies
        self.by_path = "path" in self.policies
        self.by_header = "header" in self.policies
        self.by_token = "token" in self.policies
        self._limits = limits
        self._tenants: dict[str, Tenant] = {}
        self._hosts: dict[str, Tenant] = {}
        self.put(TenantInfo(DEFAULT))

    def __len__(self) -> int:
        return len(self._tenants)

    def put(self, info: TenantInfo) -> Tenant:
        """A tenant is new or has changed."""
        before = self._tenants.get(info.id)
        if before is not None:
            for host in before.hosts:
                if self._hosts.get(host) is before:
                    del self._hosts[host]
        tenant = self._tenants[info.id] = Tenant(info, self._limits)
        for host in tenant.hosts:
            self._hosts.setdefault(host, tenant)
        return tenant

    def replace(self, infos: Iterable[TenantInfo]) -> list[Tenant]:
        """These are all tenants. `default` is always there. The tenants."""
        infos = list(infos)
        self._tenants.clear()
        self._hosts.clear()
        if all(info.id != DEFAULT for info in infos):
            self.put(TenantInfo(DEFAULT))
        return [self.put(info) for info in infos]

    def get(self, id: str) -> Tenant | None:
        """A tenant by its id."""
        return self._tenants.get(id)

    def host(self, host: str) -> Tenant | None:
        """The tenant that is reached under a host (with or without a port)."""
        found = self._hosts.get(host)
        if found is None and self._hosts and ":" in host:
            found = self._hosts.get(host.rpartition(":")[0])
        return found

    def claimed(self, host: str, prefix: str, headers: Mapping[str, str]) -> Tenant | None:
        """The tenant that a request names, if it names one. `prefix`: the tenant in its path.

        Raises TenantConflict when two of them differ, TenantUnknown, TenantDisabled.
        """
        found: Tenant | None = self.host(host) if self.by_host else None
        if prefix:
            found = self._agree(found, prefix)
        if self.by_header and (named := headers.get(self.header)) is not None:
            found = self._agree(found, named)
        return found

    def _agree(self, found: Tenant | None, named: str) -> Tenant:
        tenant = self._tenants.get(named)
        if tenant is None:
            raise TenantUnknown("expected a tenant that there is")
        if found is not None and found is not tenant:
            raise TenantConflict("expected one tenant, got two", hint="name it by host, path or header, in one way")
        return tenant

    def resolved(self, claimed: Tenant | None, caller: str, optional: bool = False) -> Tenant:
        """The tenant of a request: what it claims, else the caller's own, else the fallback.

        Args:
            caller: the caller's tenant, empty when nobody is known.
            optional: the request need not be for any; then it is for `default`.

        Raises:
            TenantUnknown: none can be found out. TenantDisabled: it is disabled.
        """
        tenant = claimed
        if tenant is None and caller and self.by_token:
            tenant = self._tenants.get(caller)
        if tenant is None and self.fallback:
            tenant = self._tenants.get(self.fallback)
        if tenant is None and optional:
            tenant = self._tenants.get(DEFAULT)
        if tenant is None:
            raise TenantUnknown(
                "expected the request to name its tenant", hint=f"by {', '.join(self.policies) or 'nothing'}"
            )
        if not tenant.enabled:
            raise TenantDisabled("this tenant is disabled")
        return tenant

    def problems(self) -> Mapping[str, Any]:
        """What is wrong with tenants' settings, by tenant."""
        return {tenant.id: tenant.problems for tenant in self._tenants.values() if tenant.problems}
