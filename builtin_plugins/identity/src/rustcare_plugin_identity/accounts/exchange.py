"""Accounts and groups as lines of JSON, out and in: to move to another system, or from one, with the hashes of passwords.

    {"type": "group", "name": "Ward 3", "roles": ["clinician"]}
    {"type": "account", "name": "anna", "email": "anna@clinic.example", "groups": ["Ward 3"], "password": "$2b$12$…"}

A line may have what an export gives (see `AccountLine`, `GroupLine`); what is not known is refused. `password` is a hash
(see `passwords.foreign`), never a password. An import is taken as a whole or not at all.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from rustcare_sdk import Message, serve
from rustcare_sdk.codec import without_values
from rustcare_sdk.context import Queries
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError, StoreError

from rustcare_plugin_identity.errors import AccountExists, GroupUnknown, ImportRefused, InvalidAccount
from rustcare_plugin_identity.login.gate import Shut
from rustcare_plugin_identity.passwords import foreign

from .accounts import Account
from .administrators import Administrators
from .names import key

__all__ = ["AccountLine", "ExchangeServices", "GroupLine"]

_MOST_LINES = 20_000
_MOST_PAGE = 5_000
#: Accounts that one event tells of.
_TOLD = 100


class GroupLine(
    msgspec.Struct, frozen=True, tag_field="type", tag="group", forbid_unknown_fields=True, omit_defaults=True
):
    """A group."""

    name: str
    roles: list[str] = []
    external_id: str = ""


class AccountLine(
    msgspec.Struct, frozen=True, tag_field="type", tag="account", forbid_unknown_fields=True, omit_defaults=True
):
    """An account. `groups` are names of groups; `password` a hash. Without `state` an account that there is keeps its own."""

    name: str
    kind: Literal["user", "service"] = "user"
    email: str = ""
    email_verified: bool = False
    display_name: str = ""
    state: Literal["", "invited", "active", "disabled"] = ""
    roles: list[str] = []
    groups: list[str] = []
    external_id: str = ""
    attributes: dict[str, Any] = {}
    password: str = ""


class _Import:
    """An import under way: what was counted, what has ended, who joins which groups."""

    def __init__(self, tx: Queries, tenant: str, update: bool) -> None:
        self.tx = tx
        self.tenant = tenant
        self.update = update
        self.created = self.updated = self.made = 0
        #: What has ended by it, to be told when it is committed.
        self.ended: list[Shut] = []
        #: Accounts by the roles and groups that their lines give them.
        self.given: dict[tuple[str, str], list[str]] = {}
        self.groups: dict[str, str] = {}
        self.joining: dict[str, list[str]] = {}


class _Checked(Exception):
    """All lines could be taken; nothing is to be kept of it."""


class ExchangeServices(Administrators):
    """Export and import."""

    @serve(identity.ACCOUNT_EXPORT)
    async def serve_account_export(self, message: Message[identity.ExportRequest]) -> identity.ExportReply:
        """A page of lines: the groups before the first accounts."""
        asked, tenant = message.data, message.tenant
        groups, _ = await self.groups.page(tenant)
        names = {group.id: group.name for group in groups}
        lines: list[bytes] = []
        if not asked.after:
            lines += [
                msgspec.json.encode(GroupLine(group.name, list(group.roles), group.external_id)) for group in groups
            ]
        found, following, _ = await self.accounts.page(
            tenant, limit=min(max(asked.limit, 1), _MOST_PAGE), after=asked.after
        )
        held = await self.groups.of_all(tenant, [account.id for account in found])
        for account in found:
            line = AccountLine(
                name=account.name,
                kind="service" if account.kind == "service" else "user",
                email=account.email,
                email_verified=account.email_verified,
                display_name=account.display_name,
                state=account.state,  # type: ignore[arg-type]  # one of three in the table
                roles=list(account.roles),
                groups=sorted(names[id] for id, _ in held[account.id] if id in names),
                external_id=account.external_id,
                attributes=account.attributes,
                password=account.password if asked.passwords else "",
            )
            lines.append(msgspec.json.encode(line))
        made = len(groups) if not asked.after else 0
        await self.event(
            "account.exported", details={"accounts": str(len(found)), "passwords": str(asked.passwords).lower()}
        )
        text = b"".join(line + b"\n" for line in lines).decode()
        return identity.ExportReply(text, following, len(found), made)

    @serve(identity.ACCOUNT_IMPORT)
    async def serve_account_import(self, message: Message[identity.ImportRequest]) -> identity.ImportReply:
        """Take lines, all of them or none. Raises ImportRefused, whose address is the number of a line, LastAdministrator."""
        asked, tenant = message.data, message.tenant
        self.tenants.need(tenant)
        lines = [(number, line) for number, line in enumerate(asked.lines.split("\n"), 1) if line.strip()]
        if len(lines) > _MOST_LINES:
            raise ImportRefused(
                f"expected at most {_MOST_LINES} lines at once, got {len(lines)}", hint="import them in parts"
            )
        done: _Import | None = None
        try:
            async with self.ctx.db.transaction() as tx:
                done = _Import(tx, tenant, asked.update)
                administered = await self.administered(message, tx)
                for number, line in lines:
                    try:
                        await self._exchange_take(done, line)
                    except StoreError:
                        raise
                    except RustCareError as error:
                        place = f"line {number}" + (f", {error.address}" if error.address else "")
                        raise ImportRefused(error.message, hint=error.hint, address=place) from None
                for group, members in done.joining.items():
                    await self.groups.join(tx, tenant, group, members)
                if administered:
                    await self.keep_administered(tx, "lines")
                if asked.check:
                    raise _Checked
        except _Checked:
            assert done is not None
            return identity.ImportReply(done.created, done.updated, done.made)
        await self.told(*done.ended)
        details = {"created": str(done.created), "updated": str(done.updated), "groups": str(done.made)}
        await self.event("account.imported", details=details)
        # Who has got which rights is on record by name, as it is where they are given one by one.
        for (roles, named), accounts in sorted(done.given.items()):
            for start in range(0, len(accounts), _TOLD):
                some = " ".join(accounts[start : start + _TOLD])
                await self.event("account.imported", details={"accounts": some, "roles": roles, "groups": named})
        return identity.ImportReply(done.created, done.updated, done.made)

    async def _exchange_take(self, done: _Import, line: str) -> None:
        tx, tenant = done.tx, done.tenant
        try:
            found: GroupLine | AccountLine = msgspec.json.decode(line, type=GroupLine | AccountLine)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise InvalidAccount(f"expected a group or an account, got something else: {_told(error)}") from None
        if isinstance(found, GroupLine):
            if await self.groups.find(tenant, found.name, tx) is None:
                await self.groups.create(
                    tenant, name=found.name, roles=found.roles, external_id=found.external_id, tx=tx
                )
                done.made += 1
            return
        if found.password and not foreign.known(found.password):
            raise InvalidAccount("expected a hash of a form that is known and not too costly", address="password")
        groups = [await self._exchange_group(done, name) for name in found.groups]
        before = await self.accounts.named(tenant, key(found.name), tx)
        state = found.state or ("active" if found.password or found.kind == "service" else "invited")
        fields: dict[str, Any] = {
            "name": found.name,
            "email": found.email,
            "display_name": found.display_name,
            "password": found.password,
            "roles": found.roles,
            "state": state,
            "email_verified": found.email_verified,
            "external_id": found.external_id,
            "attributes": found.attributes,
        }
        if before is None:
            account = await self.accounts.create(tenant, kind=found.kind, **fields, tx=tx)
            done.created += 1
            for group in groups:
                done.joining.setdefault(group, []).append(account.id)
        elif not done.update or before.kind != found.kind or key(before.name) != key(found.name):
            raise AccountExists("expected a name that no account has, got one that is taken", address="name")
        else:
            if not found.password:
                del fields["password"]
            if not found.state and not (found.password and before.state == "invited"):
                # What is not said of it: whoever may sign in may go on to.
                del fields["state"]
            held = await self.accounts.roles_of(before, tx)
            other_password = bool(found.password) and found.password != before.password
            account = await self.accounts.update(tenant, before.id, fields, tx=tx)
            done.updated += 1
            await self.groups.assign(tx, tenant, account.id, groups)
            await self._exchange_end(done, account, held, other_password)
        if account.roles or groups:
            rights = (" ".join(account.roles), " ".join(sorted(set(groups))))
            done.given.setdefault(rights, []).append(account.id)

    async def _exchange_group(self, done: _Import, name: str) -> str:
        if name not in done.groups:
            group = await self.groups.find(done.tenant, name, done.tx)
            if group is None:
                raise GroupUnknown(
                    "expected groups that there are or that stand in a line before, got another", address="groups"
                )
            done.groups[name] = group.id
        return done.groups[name]

    async def _exchange_end(self, done: _Import, account: Account, held: list[str], other_password: bool) -> None:
        """End what was opened with what is not valid any more."""
        before = self.accounts.scopes_of(account.tenant, held)
        now = self.accounts.scopes_of(account.tenant, await self.accounts.roles_of(account, done.tx))
        if other_password or account.state == "disabled" or not set(before) <= set(now):
            done.ended.append(await self.shut(done.tx, account, "import"))


def _told(error: Exception) -> str:
    """What a decoder says, without what was decoded."""
    return without_values(str(error))
