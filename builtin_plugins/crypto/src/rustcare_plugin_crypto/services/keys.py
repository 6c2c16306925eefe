"""Services that make keys, show them and change them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import crypto

from rustcare_plugin_crypto.keyring import INTERNAL, Caller, Key, KeyRecord
from rustcare_plugin_crypto.keyring.caller import DEFAULT_TENANT
from rustcare_plugin_crypto.refusals import InvalidRequest, KeyForbidden

from .base import Services

__all__ = ["KeyServices"]

_MAX_PAGE = 10_000


class KeyServices(Services):
    """Create, read, list, rotate, configure, disable, destroy, trim."""

    @serve(crypto.KEY_CREATE)
    async def key_create(self, message: Message[crypto.KeyCreateRequest]) -> crypto.KeyInfo:
        """Make a key, or answer the one there is."""
        asked = message.data
        caller = Caller.of(message)
        users = tuple(asked.users) or (("*",) if caller.operator else ())
        wanted = KeyRecord(
            caller.tenant,
            asked.name,
            asked.algorithm,
            derived=asked.derived,
            exportable=asked.exportable,
            rotate_after=asked.rotate_after,
            owner=caller.source,
            users=users,
        )
        key = await self.keyring.create(caller, wanted)
        if asked.rotate_after:
            self.reschedule()
        return key.record.info()

    @serve(crypto.KEY_READ)
    async def key_read(self, message: Message[crypto.KeyRequest]) -> crypto.KeyInfo:
        """What is known of a key."""
        return (await self.keyring.seen(Caller.of(message), message.data.key)).record.info()

    @serve(crypto.KEY_LIST)
    async def key_list(self, message: Message[crypto.KeyListRequest]) -> crypto.KeyListReply:
        """The keys of the tenant, and those of the default tenant that it may use."""
        asked = message.data
        if not 1 <= asked.limit <= _MAX_PAGE:
            raise InvalidRequest(
                f"expected a limit from 1 to {_MAX_PAGE}, got {asked.limit}", address=f"{crypto.KEY_LIST}:limit"
            )
        caller = Caller.of(message)
        page = await self.keyring.page({caller.tenant, DEFAULT_TENANT}, asked.after, asked.limit + 1)
        shown: dict[str, Key] = {}
        for key in page[: asked.limit]:
            if caller.operator or self.keyring.may_use(caller, key.record):
                other = shown.get(key.record.name)
                if other is None or other.record.tenant == DEFAULT_TENANT:
                    shown[key.record.name] = key
        following = page[asked.limit - 1].record.name if len(page) > asked.limit else ""
        return crypto.KeyListReply([key.record.info() for key in shown.values()], following)

    @serve(crypto.KEY_PUBLIC)
    async def key_public(self, message: Message[crypto.KeyPublicRequest]) -> crypto.KeyPublicReply:
        """The public part of one version; anybody may have it."""
        asked = message.data
        key = await self.keyring.seen(Caller.of(message), asked.key)
        version = asked.version or key.record.primary
        raw = key.public(version)
        jwk = {**key.algorithm.jwk(raw), "kid": f"{key.record.name}/{version}"}
        return crypto.KeyPublicReply(key.record.name, version, key.record.algorithm, raw, jwk)

    @serve(crypto.KEY_ROTATE)
    async def key_rotate(self, message: Message[crypto.KeyRequest]) -> crypto.KeyInfo:
        """A new primary version."""
        if message.data.key in self.keyring.fixed:
            raise KeyForbidden(
                "what this key made cannot be made anew, so it is never rotated", address=message.data.key
            )
        info = (await self.keyring.rotate(Caller.of(message), message.data.key)).record.info()
        self.reschedule()
        await self.ctx.publish(crypto.ROTATED, info)
        return info

    @serve(crypto.KEY_CONFIGURE)
    async def key_configure(self, message: Message[crypto.KeyConfigureRequest]) -> crypto.KeyInfo:
        """Other settings."""
        asked = message.data

        def change(record: KeyRecord) -> KeyRecord:
            if asked.min_decryption_version is not None:
                record = record.with_minimum(asked.min_decryption_version)
            if asked.rotate_after is not None:
                if asked.rotate_after < 0:
                    raise InvalidRequest(
                        f"expected seconds from 0 on, got {asked.rotate_after}",
                        address=f"{crypto.KEY_CONFIGURE}:rotate_after",
                    )
                record = replace(record, rotate_after=asked.rotate_after)
            if asked.exportable is not None:
                if asked.exportable and not record.exportable:
                    raise KeyForbidden("a key that was not made exportable never becomes it", address=record.name)
                record = replace(record, exportable=asked.exportable)
            if asked.users is not None:
                record = replace(record, users=tuple(asked.users))
            return record

        info = await self._changed(message, asked.key, change)
        self.reschedule()
        return info

    @serve(crypto.KEY_STATE)
    async def key_state(self, message: Message[crypto.KeyStateRequest]) -> crypto.KeyInfo:
        """Disable, enable or promote a version."""
        asked = message.data
        if asked.state not in ("primary", "enabled", "disabled"):
            raise InvalidRequest("expected primary, enabled or disabled", address=f"{crypto.KEY_STATE}:state")
        return await self._changed(message, asked.key, lambda record: record.with_state(asked.version, asked.state))

    @serve(crypto.KEY_DESTROY)
    async def key_destroy(self, message: Message[crypto.KeyDestroyRequest]) -> crypto.KeyInfo:
        """Destroy a version, or the whole key, then tell."""
        asked = message.data

        def change(record: KeyRecord) -> KeyRecord:
            return record.with_state(asked.version, "destroyed") if asked.version else record.with_all_destroyed()

        return await self._destroyed(message, asked.key, change)

    @serve(crypto.KEY_TRIM)
    async def key_trim(self, message: Message[crypto.KeyTrimRequest]) -> crypto.KeyInfo:
        """Destroy all versions below one."""
        asked = message.data
        return await self._destroyed(message, asked.key, lambda record: record.trimmed(asked.version))

    async def _destroyed(self, message: Message[Any], name: str, change: Any) -> crypto.KeyInfo:
        info = await self._changed(message, name, change)
        await self.ctx.publish(crypto.DESTROYED, info)
        return info

    async def _changed(self, message: Message[Any], name: str, change: Any) -> crypto.KeyInfo:
        if name.startswith(INTERNAL):
            raise KeyForbidden(
                "the keyring's own keys can be rotated, not changed: subjects' keys are wrapped under them",
                hint="crypto.root.rotate with renew wraps all keys anew",
                address=name,
            )
        return (await self.keyring.change(Caller.of(message), name, change)).record.info()

    def reschedule(self) -> None:
        """A key's next rotation may have changed."""
