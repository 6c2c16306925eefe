"""The tenants: which there are, under which hosts they are reached, what they have set.

All of them are in memory too, since every request asks: ten thousand are a few megabytes. What changes is written first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from rustcare_sdk.context import Database, Queries, Row
from rustcare_sdk.contracts.identity import TenantInfo, TenantRequest

from .errors import HostTaken, InvalidSettings, InvalidTenant, TenantUnknown, VersionConflict
from .settings import Settings, settings_of

__all__ = ["DEFAULT", "Tenants"]

#: The tenant that always is: its administrators look after the whole.
DEFAULT = "default"

_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")


class Tenants:
    """The repository of tenants.

    Args:
        defaults: settings for those that have not set something.
    """

    def __init__(self, db: Database, now: Callable[[], float], defaults: Mapping[str, Any]) -> None:
        self._db = db
        self._now = now
        self._defaults = dict(defaults)
        self._all: dict[str, TenantInfo] = {}
        self._settings: dict[str, Settings] = {}
        self._fallback = settings_of(self._defaults, {})
        #: Grows with every change of any tenant.
        self.revision = 0

    async def open(self) -> None:
        """Read them; `default` is made when there is none. Raises InvalidSettings."""
        async with self._db.transaction() as tx:
            await tx.execute(
                "INSERT INTO tenants (id, name, enabled, hosts, settings, created, version) VALUES (?, '', 1, '[]', '{}', ?, 1)"
                " ON CONFLICT (id) DO NOTHING",
                (DEFAULT, self._now()),
            )
            await tx.execute(
                "INSERT INTO counters (name, value) VALUES ('tenants', 1) ON CONFLICT (name) DO NOTHING", ()
            )
        for row in await self._db.fetch("SELECT * FROM tenants ORDER BY id"):
            tenant = _tenant(row)
            try:
                self._keep(tenant)
            except InvalidSettings as error:
                raise InvalidSettings(
                    error.message,
                    hint="those of the configuration must go with what tenants have set",
                    address=f"tenants.{tenant.id}.settings",
                ) from None
        counter = await self._db.fetch_one("SELECT value FROM counters WHERE name = 'tenants'")
        self.revision = int(counter["value"]) if counter is not None else 1

    # asking

    def get(self, id: str) -> TenantInfo | None:
        """The tenant of an id."""
        return self._all.get(id)

    def need(self, id: str) -> TenantInfo:
        """As `get`. Raises TenantUnknown."""
        found = self._all.get(id)
        if found is None:
            raise TenantUnknown("expected a tenant that there is, got another id", address="tenant")
        return found

    def settings(self, id: str) -> Settings:
        """What holds for a tenant; for one that is not known, the defaults."""
        return self._settings.get(id, self._fallback)

    def roles(self, id: str) -> Mapping[str, Sequence[str]]:
        """Its roles beyond the built-in ones."""
        return self.settings(id).roles

    def list(self, after: str = "", limit: int = 0) -> list[TenantInfo]:
        """Tenants by id, from the one behind `after`; `limit` 0: all."""
        found = [self._all[id] for id in sorted(self._all) if id > after]
        return found[:limit] if limit else found

    # changing

    async def put(self, asked: TenantRequest) -> TenantInfo:
        """Make a tenant, or change what is not None; durable on return.

        Raises:
            InvalidTenant, InvalidSettings, HostTaken, VersionConflict.
        """
        if not _ID.fullmatch(asked.id):
            raise InvalidTenant(
                "expected an id of 1 to 63 small letters, digits and hyphens, got another",
                hint="it may stand in a host name: it begins and ends with a letter or a digit",
                address="id",
            )
        if asked.id == DEFAULT and asked.enabled is False:
            raise InvalidTenant("expected the tenant default to stay enabled", address="enabled")
        # In the order in which they are given: links begin with the first.
        hosts = None if asked.hosts is None else list(dict.fromkeys(_checked_host(host) for host in asked.hosts))
        if asked.settings is not None:
            settings_of(self._defaults, asked.settings)
        if asked.name is not None and (len(asked.name) > 256 or not (asked.name == "" or asked.name.isprintable())):
            raise InvalidTenant("expected a name of at most 256 printable characters", address="name")
        async with self._db.transaction() as tx:
            # Changes of tenants are one after the other, whatever the database: this row is locked by each.
            await tx.execute("UPDATE counters SET value = value + 1 WHERE name = 'tenants'", ())
            counter = await tx.fetch_one("SELECT value FROM counters WHERE name = 'tenants'")
            row = await tx.fetch_one("SELECT * FROM tenants WHERE id = ?", (asked.id,))
            before = TenantInfo(asked.id, created=self._now(), version=0) if row is None else _tenant(row)
            if asked.version and asked.version != before.version:
                raise VersionConflict(f"expected version {asked.version}, got {before.version}", address="version")
            after = TenantInfo(
                id=asked.id,
                name=before.name if asked.name is None else asked.name,
                enabled=before.enabled if asked.enabled is None else asked.enabled,
                hosts=before.hosts if hosts is None else hosts,
                settings=before.settings if asked.settings is None else asked.settings,
                created=before.created,
                version=before.version + 1,
            )
            await self._write(tx, after, new=row is None)
        self._keep(after)
        self.revision = int(counter["value"]) if counter is not None else self.revision + 1
        return after

    async def _write(self, tx: Queries, tenant: TenantInfo, *, new: bool) -> None:
        await tx.execute("DELETE FROM tenant_hosts WHERE tenant = ?", (tenant.id,))
        for host in tenant.hosts:
            taken = await tx.execute(
                "INSERT INTO tenant_hosts (host, tenant) VALUES (?, ?) ON CONFLICT (host) DO NOTHING", (host, tenant.id)
            )
            if not taken:
                raise HostTaken("expected hosts that no other tenant has, got one that is taken", address="hosts")
        values = (
            tenant.name,
            int(tenant.enabled),
            msgspec.json.encode(tenant.hosts).decode(),
            msgspec.json.encode(tenant.settings).decode(),
            tenant.created,
            tenant.version,
            tenant.id,
        )
        if new:
            await tx.execute(
                "INSERT INTO tenants (name, enabled, hosts, settings, created, version, id) VALUES (?, ?, ?, ?, ?, ?, ?)",
                values,
            )
        else:
            await tx.execute(
                "UPDATE tenants SET name = ?, enabled = ?, hosts = ?, settings = ?, created = ?, version = ? WHERE id = ?",
                values,
            )

    def _keep(self, tenant: TenantInfo) -> None:
        self._settings[tenant.id] = settings_of(self._defaults, tenant.settings)
        self._all[tenant.id] = tenant


def _tenant(row: Row) -> TenantInfo:
    return TenantInfo(
        id=row["id"],
        name=row["name"],
        enabled=bool(row["enabled"]),
        hosts=msgspec.json.decode(row["hosts"], type=list[str]),
        settings=msgspec.json.decode(row["settings"], type=dict[str, Any]),
        created=float(row["created"]),
        version=int(row["version"]),
    )


def _checked_host(host: str) -> str:
    try:
        found = host.strip().rstrip(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        found = ""
    if not _HOST.fullmatch(found):
        raise InvalidTenant("expected host names without a port, got something else", address="hosts")
    return found
