"""What is done to keys: create, read, list, rotate, configure, trim, export, import, backup, restore, delete."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec.structs import replace

from rustcare_plugin_crypto.custody import Custody
from rustcare_plugin_crypto.keyring import INTERNAL, Caller, Key, KeyRecord, Keyring
from rustcare_plugin_crypto.keyring.caller import DEFAULT_TENANT
from rustcare_plugin_crypto.refusals import InvalidRequest, KeyForbidden

from .forms import Body, Reply, algorithm_of, b64, binary, data, duration, flag, number, text

__all__ = ["Keys"]

_DONE: Reply = (204, {})
_MOST = 10_000


class Keys:
    """The handlers of keys."""

    def __init__(self, keyring: Keyring, custody: Custody) -> None:
        self._keyring = keyring
        self._custody = custody

    async def create(self, caller: Caller, name: str, body: Body) -> Reply:
        """`POST keys/:name`."""
        if flag(body, "convergent_encryption"):
            raise InvalidRequest(
                "expected no convergent encryption", hint="for search there are tokens", address="convergent_encryption"
            )
        algorithm = algorithm_of(text(body, "type", "aes256-gcm96"), body)
        record = KeyRecord(
            caller.tenant,
            name,
            algorithm,
            derived=flag(body, "derived"),
            exportable=flag(body, "exportable"),
            rotate_after=duration(body, "auto_rotate_period"),
            owner=caller.source,
            users=("*",) if caller.operator else (),
        )
        return data(_shown(await self._keyring.create(caller, record)))

    async def read(self, caller: Caller, name: str) -> Reply:
        """`GET keys/:name`."""
        return data(_shown(await self._keyring.seen(caller, name)))

    async def list(self, caller: Caller) -> Reply:
        """`LIST keys`."""
        found = await self._keyring.page({caller.tenant, DEFAULT_TENANT}, "", _MOST)
        names = [key.record.name for key in found if caller.operator or self._keyring.may_use(caller, key.record)]
        return data({"keys": list(dict.fromkeys(names))})

    async def rotate(self, caller: Caller, name: str) -> Reply:
        """`POST keys/:name/rotate`."""
        _refuse_internal(name)
        return data(_shown(await self._keyring.rotate(caller, name)))

    async def configure(self, caller: Caller, name: str, body: Body) -> Reply:
        """`POST keys/:name/config`."""
        _refuse_internal(name)

        def change(record: KeyRecord) -> KeyRecord:
            if "min_decryption_version" in body:
                record = record.with_minimum(max(1, number(body, "min_decryption_version")))
            if "auto_rotate_period" in body:
                record = replace(record, rotate_after=duration(body, "auto_rotate_period"))
            if "exportable" in body and flag(body, "exportable") != record.exportable:
                raise KeyForbidden("exportability is settled when a key is made", address=record.name)
            return record

        return data(_shown(await self._keyring.change(caller, name, change)))

    async def trim(self, caller: Caller, name: str, body: Body) -> Reply:
        """`POST keys/:name/trim`."""
        _refuse_internal(name)
        least = number(body, "min_available_version")
        await self._keyring.change(caller, name, lambda record: record.trimmed(least))
        return _DONE

    async def delete(self, caller: Caller, name: str) -> Reply:
        """`DELETE keys/:name`: every version destroyed; the name stays taken."""
        _refuse_internal(name)
        await self._keyring.change(caller, name, KeyRecord.with_all_destroyed)
        return _DONE

    async def export(self, caller: Caller, name: str, version: str) -> Reply:
        """`GET export/:type/:name(/:version)`."""
        key = await self._keyring.managed(caller, name)
        asked = key.record.primary if version == "latest" else number({"version": version}, "version") if version else 0
        numbers = [asked] if asked else key.record.usable()
        keys = {str(one): b64(self._custody.exported(key, one, "")) for one in numbers}
        return data({"name": name, "keys": keys})

    async def wrapping_key(self) -> Reply:
        """`GET wrapping_key`."""
        return data({"public_key": await self._custody.wrapping_key()})

    async def take(self, caller: Caller, name: str, body: Body, *, version: bool) -> Reply:
        """`POST keys/:name/import` and `keys/:name/import_version`."""
        digest = "sha2-" + text(body, "hash_function", "SHA256").upper().removeprefix("SHA").removeprefix("2-")
        if version:
            key = await self._keyring.managed(caller, name)
            if not key.record.imported:
                raise KeyForbidden("the key was not imported: rotate it", address=name)
            algorithm = key.record.algorithm
        else:
            algorithm = algorithm_of(text(body, "type", "aes256-gcm96"), body)
        secret = await self._custody.imported(binary(body, "ciphertext"), algorithm, digest)
        if version:
            await self._keyring.rotate(caller, name, secret)
            return _DONE
        record = KeyRecord(
            caller.tenant,
            name,
            algorithm,
            derived=flag(body, "derived"),
            exportable=flag(body, "exportable"),
            imported=True,
            owner=caller.source,
            users=("*",) if caller.operator else (),
        )
        await self._keyring.create(caller, record, secret)
        return _DONE

    async def backup(self, caller: Caller, name: str) -> Reply:
        """`GET backup/:name`; wrapped under the keyring, unlike Vault's."""
        return data({"backup": b64(self._custody.backup(await self._keyring.managed(caller, name), ""))})

    async def restore(self, caller: Caller, name: str, body: Body) -> Reply:
        """`POST restore(/:name)`."""
        await self._custody.restore(caller, binary(body, "backup"), name, force=flag(body, "force"))
        return _DONE


def _refuse_internal(name: str) -> None:
    if name.startswith(INTERNAL):
        raise KeyForbidden("the keyring's own keys are not changed here", address=name)


def _shown(key: Key) -> dict[str, Any]:
    record = key.record
    kept = record.kept()
    versions: dict[str, Any] = {}
    for number_ in kept:
        created = record.version(number_).created
        if record.derived or key.algorithm.family in ("aead", "mac"):
            versions[str(number_)] = int(datetime.fromisoformat(created).timestamp())
        else:
            versions[str(number_)] = {"creation_time": created, "public_key": b64(key.public(number_))}
    family = key.algorithm.family
    return {
        "name": record.name,
        "type": "aes256-gcm96" if record.algorithm == "aes256-gcm" else record.algorithm,
        "keys": versions,
        "latest_version": len(record.versions),
        "min_available_version": kept[0] if kept else 0,
        "min_decryption_version": record.min_decryption_version,
        "min_encryption_version": 0,
        "derived": record.derived,
        "exportable": record.exportable,
        "allow_plaintext_backup": False,
        "auto_rotate_period": record.rotate_after,
        "deletion_allowed": True,
        "imported_key": record.imported,
        "supports_encryption": family == "aead",
        "supports_decryption": family == "aead",
        "supports_derivation": record.derived,
        "supports_signing": family == "signature",
    }
