"""Services that take keys in and out, and that change the root."""

from __future__ import annotations

import msgspec
from rustcare_sdk import Message, serve
from rustcare_sdk.contracts import crypto

from rustcare_plugin_crypto.custody import Custody
from rustcare_plugin_crypto.keyring import Caller, KeyRecord
from rustcare_plugin_crypto.refusals import KeyForbidden
from rustcare_plugin_crypto.roots import RootDescription

from .base import Services
from .exchange import hash_name
from .keys import KeyServices

__all__ = ["CustodyServices"]


class CustodyServices(KeyServices, Services):
    """Export, import, backup, restore, root."""

    custody: Custody

    @serve(crypto.KEY_EXPORT)
    async def key_export(self, message: Message[crypto.KeyExportRequest]) -> crypto.KeyExportReply:
        """The secret of one version of an exportable key, for its maker or the operator."""
        asked = message.data
        key = await self.keyring.managed(Caller.of(message), asked.key)
        self.policy.admit(key.record.algorithm)
        secret = self.custody.exported(key, asked.version, asked.recipient)
        return crypto.KeyExportReply(asked.key, asked.version or key.record.primary, key.record.algorithm, secret)

    @serve(crypto.KEY_WRAPPING)
    async def key_wrapping(self, message: Message[crypto.KeyWrappingRequest]) -> crypto.KeyWrappingReply:
        """The public key to wrap imports with."""
        return crypto.KeyWrappingReply(await self.custody.wrapping_key())

    @serve(crypto.KEY_IMPORT)
    async def key_import(self, message: Message[crypto.KeyImportRequest]) -> crypto.KeyInfo:
        """Take a key in, or a new version of one that was."""
        asked = message.data
        caller = Caller.of(message)
        if asked.version:
            key = await self.keyring.managed(caller, asked.name)
            if not key.record.imported:
                raise KeyForbidden("the key was not imported: rotate it", address=asked.name)
            algorithm = key.record.algorithm
        else:
            algorithm = asked.algorithm
        secret = await self.custody.imported(asked.wrapped, algorithm, hash_name(asked.hash))
        if asked.version:
            info = (await self.keyring.rotate(caller, asked.name, secret)).record.info()
            await self.ctx.publish(crypto.ROTATED, info)
            return info
        wanted = KeyRecord(
            caller.tenant,
            asked.name,
            algorithm,
            derived=asked.derived,
            exportable=asked.exportable,
            imported=True,
            owner=caller.source,
            users=tuple(asked.users) or (("*",) if caller.operator else ()),
        )
        return (await self.keyring.create(caller, wanted, secret)).record.info()

    @serve(crypto.KEY_BACKUP)
    async def key_backup(self, message: Message[crypto.KeyBackupRequest]) -> crypto.KeyBackupReply:
        """A wrapped copy of a key, for its maker or the operator."""
        key = await self.keyring.managed(Caller.of(message), message.data.key)
        return crypto.KeyBackupReply(self.custody.backup(key, message.data.recipient))

    @serve(crypto.KEY_RESTORE)
    async def key_restore(self, message: Message[crypto.KeyRestoreRequest]) -> crypto.KeyInfo:
        """Put a backup back."""
        asked = message.data
        key = await self.custody.restore(Caller.of(message), asked.backup, asked.name, force=asked.force)
        self.reschedule()
        return key.record.info()

    @serve(crypto.ROOT_STATUS)
    async def root_status(self, message: Message[crypto.RootStatusRequest]) -> crypto.RootStatus:
        """What the keyring is wrapped with."""
        return self._root()

    @serve(crypto.ROOT_ROTATE)
    async def root_rotate(self, message: Message[crypto.RootRotateRequest]) -> crypto.RootStatus:
        """Wrap the keyring with another root; for the operator alone."""
        caller = Caller.of(message)
        if not caller.operator:
            raise KeyForbidden("only the operator may change the root", address=crypto.ROOT_ROTATE)
        asked = message.data
        await self.keyring.change_root(caller, asked.kind, asked.secret, renew=asked.renew)
        self.ctx.log.warning("the keyring's root was changed", root=asked.kind, renewed=asked.renew)
        return self._root()

    def _root(self) -> crypto.RootStatus:
        row = self.keyring.row
        root = msgspec.json.decode(row.root, type=RootDescription)
        return crypto.RootStatus(root.kind, root.secret, row.since, self.policy.name, row.id)
