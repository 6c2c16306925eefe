"""Accounts, groups, tenants, logins and mail in a real kernel with a real keyring, on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from rustcare_kernel import Kernel
from rustcare_sdk.contracts import identity
from rustcare_sdk.errors import RustCareError

from tests.support.smtp_server import SmtpServer, link_in

PASSWORD, OTHER = "seven purple anvils sing", "nine brass kettles whistle"


class Asking:
    """Questions to a kernel, in one tenant."""

    def __init__(self, kernel: Kernel, tenant: str = "default", principal: str = "operator") -> None:
        self.kernel, self.tenant, self.principal = kernel, tenant, principal

    async def __call__(self, service: str, data: Any, type_: Any) -> Any:
        """The answer."""
        return await self.kernel.request(
            service, data, type=type_, tenant=self.tenant, principal=self.principal, timeout=60
        )

    async def code(self, service: str, data: Any) -> str:
        """`ok`, or the code of the refusal."""
        try:
            await self.kernel.request(service, data, tenant=self.tenant, principal=self.principal)
        except RustCareError as error:
            return error.code
        return "ok"

    async def log_in(self, name: str, password: str = PASSWORD) -> Any:
        """With name and password."""
        return await self(identity.LOGIN_PASSWORD, identity.PasswordLoginRequest(name, password), identity.LoginReply)


@asynccontextmanager
async def started(data: Path, server: SmtpServer, where: dict[str, Any]) -> AsyncIterator[Asking]:
    """A kernel with a keyring and people."""
    mail = {"host": "localhost", "port": server.port, "security": "none", "from": "no-reply@clinic.example"}
    config = {"rustcare.identity": {"url": "https://clinic.example", "mail": mail}}
    async with Kernel(data, config=config, log_level="silent", **where) as kernel:
        if not kernel.plugins():
            await kernel.install("installed:crypto", consent=True)
            await kernel.install("installed:identity", consent=True)
        yield Asking(kernel)


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options of a kernel that say where plugins keep their data."""
    return {"store": request.getfixturevalue("postgres_dsn")} if request.param == "postgres" else {}


@pytest.fixture(autouse=True)
async def purged(tmp_path: Path, where: dict[str, Any]) -> AsyncIterator[None]:
    """What a test has left in a server that others use too goes at its end."""
    yield
    if where:
        async with Kernel(tmp_path / "data", log_level="silent", only=(), **where) as kernel:
            for plugin in ("rustcare.identity", "rustcare.crypto"):
                await kernel.remove(plugin, purge=True)


async def test_one_life_of_an_account(tmp_path: Path, where: dict[str, Any]) -> None:
    """Set up, invited, signed in, locked, recovered, disabled, deleted; over a restart in between."""
    async with SmtpServer() as server:
        async with started(tmp_path / "data", server, where) as ask:
            link = (await ask(identity.SETUP_LINK, identity.SetupRequest(), identity.SetupReply)).link
            assert link.startswith("https://clinic.example/identity/links/setup/")
            finish = identity.SetupFinishRequest(link.rpartition("/")[2], "root", password=PASSWORD)
            codes = await asyncio.gather(*(ask.code(identity.SETUP_FINISH, finish) for _ in range(4)))
            assert Counter(codes) == {"ok": 1, "identity.link-unknown": 3}
            group = identity.GroupRequest(name="Ward 3", roles=["clinician"])
            ward = (await ask(identity.GROUP_PUT, group, identity.GroupsReply)).groups[0]
            made = identity.CreateAccountRequest("Anna", "anna@clinic.example", groups=[ward.id], mail=True)
            anna = (await ask(identity.ACCOUNT_CREATE, made, identity.CreateAccountReply)).account
            secret = link_in(await server.next())
            accepted = identity.AcceptInviteRequest(secret, PASSWORD)
            reply = await ask(identity.ACCOUNT_ACCEPT_INVITE, accepted, identity.LoginReply)
            assert reply.session.aal == 1
            assert (await ask.log_in("ANNA@clinic.example")).account == anna.id
            for _ in range(4):
                with pytest.raises(RustCareError, match="withheld"):
                    await ask.log_in("anna", "wrong")
            assert (await ask.log_in("anna")).retry_after > 0
        async with started(tmp_path / "data", server, where) as ask:
            read = identity.AccountRequest("anna")
            info = (await ask(identity.ACCOUNT_READ, read, identity.AccountReply)).account
            assert (info.id, info.state, info.email_verified) == (anna.id, "active", True)
            assert (info.roles, info.scopes) == (["clinician"], ["fhir.read", "fhir.write"])
            await ask(identity.ACCOUNT_UNLOCK, read, identity.AccountReply)
            session = (await ask.log_in("anna")).credential
            await ask(identity.LOGIN_RECOVER, identity.RecoverRequest("anna"), identity.SentReply)
            secret = ""
            while not secret:  # a notice of the new device may come first
                message = await server.next()
                secret = link_in(message) if "A new password" in message["Subject"] else ""
            reset = identity.ResetPasswordRequest(secret, OTHER)
            codes = await asyncio.gather(*(ask.code(identity.LOGIN_RESET, reset) for _ in range(4)))
            assert Counter(codes) == {"ok": 1, "identity.link-unknown": 3}
            asked = identity.AuthenticateRequest("session", session)
            assert await ask.code(identity.AUTHENTICATE, asked) == "identity.credential-refused"
            session = (await ask.log_in("anna", OTHER)).credential
            asked = identity.AuthenticateRequest("session", session)
            assert await ask.code(identity.AUTHENTICATE, asked) == "ok"
            await ask(identity.ACCOUNT_DISABLE, identity.DisableRequest("anna", reason="left"), identity.AccountReply)
            assert await ask.code(identity.AUTHENTICATE, asked) == "identity.credential-refused"
            await ask(identity.ACCOUNT_DELETE, read, identity.AccountReply)
            assert await ask.code(identity.ACCOUNT_READ, read) == "identity.account-unknown"


async def test_many_at_the_same_time(tmp_path: Path, where: dict[str, Any]) -> None:
    """One name for one account, one version for one change, no try beyond the count, whatever the database does at once."""
    async with SmtpServer() as server, started(tmp_path / "data", server, where) as ask:
        create = identity.CreateAccountRequest("anna", "anna@clinic.example")
        codes = await asyncio.gather(*(ask.code(identity.ACCOUNT_CREATE, create) for _ in range(8)))
        assert Counter(codes) == {"ok": 1, "identity.account-exists": 7}
        updates = [identity.UpdateAccountRequest("anna", display_name=f"A{n}", version=1) for n in range(8)]
        codes = await asyncio.gather(*(ask.code(identity.ACCOUNT_UPDATE, update) for update in updates))
        assert Counter(codes) == {"ok": 1, "identity.version-conflict": 7}
        wrong = identity.PasswordLoginRequest("anna", "wrong")
        codes = await asyncio.gather(*(ask.code(identity.LOGIN_PASSWORD, wrong) for _ in range(20)))
        assert Counter(codes) == {"identity.login-failed": 4, "ok": 16}  # ok: told to wait
        ward = (await ask(identity.GROUP_PUT, identity.GroupRequest(name="g"), identity.GroupsReply)).groups[0]
        people = []
        for number in range(10):
            asked = identity.CreateAccountRequest(f"user{number}")
            people.append((await ask(identity.ACCOUNT_CREATE, asked, identity.CreateAccountReply)).account.id)
        adds = (identity.GroupRequest(ward.id, add=[person]) for person in people)
        assert set(await asyncio.gather(*(ask.code(identity.GROUP_PUT, add) for add in adds))) == {"ok"}
        group = (await ask(identity.GROUP_LIST, identity.GroupRequest(ward.id), identity.GroupsReply)).groups[0]
        assert (group.members, group.version) == (sorted(people), 11)
        hosts = (identity.TenantRequest(f"t{number}", hosts=["one.example"]) for number in range(6))
        codes = await asyncio.gather(*(ask.code(identity.TENANT_PUT, host) for host in hosts))
        assert Counter(codes) == {"ok": 1, "identity.host-taken": 5}


async def test_of_administrators_who_go_at_the_same_time_one_is_left(tmp_path: Path, where: dict[str, Any]) -> None:
    """Groups that give the role and accounts that hold it are taken away at once: one of them is refused, none too many."""
    async with SmtpServer() as server, started(tmp_path / "data", server, where) as ask:
        going: list[tuple[str, Any]] = []
        for number in range(6):
            roles = ["administrator"] if number % 2 else []
            asked = identity.CreateAccountRequest(f"root{number}", password=PASSWORD, roles=roles)
            made = (await ask(identity.ACCOUNT_CREATE, asked, identity.CreateAccountReply)).account
            if roles:
                going.append((identity.ACCOUNT_DISABLE, identity.DisableRequest(made.id)))
                continue
            group = identity.GroupRequest(name=f"g{number}", roles=["administrator"], members=[made.id])
            put = (await ask(identity.GROUP_PUT, group, identity.GroupsReply)).groups[0]
            going.append((identity.GROUP_PUT, identity.GroupRequest(put.id, delete=True)))
        somebody = Asking(ask.kernel, principal=f"user/{made.id}")
        codes = await asyncio.gather(*(somebody.code(service, asked) for service, asked in going))
        assert Counter(codes) == {"ok": 5, "identity.last-administrator": 1}


async def test_a_thousand_accounts_move(tmp_path: Path, where: dict[str, Any]) -> None:
    """In with hashes of another system, found, out again as they were; one who signs in has a hash of ours."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    lines = '{"type":"group","name":"Ward 3","roles":["clinician"]}\n' + "".join(
        f'{{"type":"account","name":"user{n:04}","email":"user{n:04}@clinic.example","email_verified":true,'
        f'"display_name":"User {n}","state":"active","groups":["Ward 3"],"password":"{hashed}"}}\n'
        for n in range(1000)
    )
    async with SmtpServer() as server, started(tmp_path / "data", server, where) as ask:
        reply = await ask(identity.ACCOUNT_IMPORT, identity.ImportRequest(lines), identity.ImportReply)
        assert (reply.created, reply.groups) == (1000, 1)
        found = identity.AccountsRequest(query="USER099", limit=5)
        page = await ask(identity.ACCOUNT_LIST, found, identity.AccountsReply)
        assert (page.total, len(page.accounts), page.accounts[0].name) == (10, 5, "user0990")
        assert page.accounts[0].scopes == ["fhir.read", "fhir.write"]
        out, after = "", ""
        while True:
            asked = identity.ExportRequest(after, 300, passwords=True)
            part = await ask(identity.ACCOUNT_EXPORT, asked, identity.ExportReply)
            out, after = out + part.lines, part.next
            if not after:
                break
        plain = re.compile(r'"(kind|roles|external_id|attributes)":("user"|\[\]|""|\{\}),?')
        assert sorted(plain.sub("", line) for line in out.splitlines()) == sorted(lines.splitlines())
        assert (await ask.log_in("user0500")).credential
        asked = identity.ExportRequest("user0499", 1, passwords=True)
        part = await ask(identity.ACCOUNT_EXPORT, asked, identity.ExportReply)
        assert '"name":"user0500"' in part.lines
        assert '"password":"$argon2id$' in part.lines
