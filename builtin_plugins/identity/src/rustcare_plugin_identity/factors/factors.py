"""All factors of accounts behind one door: what an account has, whether an answer proves it, and what may be removed."""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct
from rustcare_sdk.context import Database, Queries
from rustcare_sdk.contracts.identity import FactorInfo, TotpBeginReply

from .attempts import Attempts
from .challenge import Challenges
from .passkeys import Passkey, Passkeys
from .recovery import RecoveryCodes
from .refusals import (
    CodeRefused,
    EnrolmentUnknown,
    FactorUnknown,
    InvalidFactorName,
    LastFactor,
    PasskeyRefused,
    TooManyFactors,
)
from .relying_party import FactorRules, relying_party
from .totp import SECRET_SIZE, matching_step, otpauth_uri, qr_svg, to_base32

__all__ = ["ENROLMENT", "MAX_TOTPS", "FactorResult", "Factors", "Holder", "Sealer", "factor_name"]

#: Seconds in which an authenticator app must be enrolled.
ENROLMENT = 900.0
#: Authenticator apps that an account may have; each is one more code that would be right.
MAX_TOTPS = 3

_NAME = 64  # characters
_PENDING = 5  # enrolments of one account that were begun and not finished


class Holder(Protocol):
    """What a factor needs to know of its account."""

    @property
    def id(self) -> str: ...
    @property
    def tenant(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def display_name(self) -> str: ...
    @property
    def password(self) -> str: ...


class Sealer(Protocol):
    """Encrypts what is stored, bound to an account (as additional authenticated data)."""

    async def seal(self, tenant: str, account: str, data: bytes) -> bytes: ...
    async def unseal(self, tenant: str, account: str, data: bytes) -> bytes: ...


class FactorResult(Struct, frozen=True):
    """Whether the answer was right; then `aal` is what a session reaches with it, and `amr` says how (RFC 8176).

    `until`: no code is looked at before (Unix seconds), after too many that were wrong. `account`: whose passkey it was.
    """

    ok: bool
    aal: int = 0
    amr: str = ""
    until: float = 0.0
    account: str = ""
    factor: str = ""


class Factors:
    """The factors of accounts.

    Args:
        mac: a keyed hash of 32 bytes whose key is not in the database.
        rules: what a tenant says of factors.
    """

    def __init__(
        self,
        db: Database,
        now: Callable[[], float],
        random: Callable[[int], bytes],
        *,
        mac: Callable[[bytes], Awaitable[bytes]],
        sealer: Sealer,
        rules: Callable[[str], Awaitable[FactorRules]],
    ) -> None:
        self._db = db
        self._now = now
        self._random = random
        self._sealer = sealer
        self._rules = rules
        self.passkeys = Passkeys(db, now, random, Challenges(db, now, random, mac))
        self.recovery = RecoveryCodes(db, now, random, mac)
        self.attempts = Attempts(db, now)

    # what there is

    async def infos(self, account: str) -> list[FactorInfo]:
        """An account's apps and passkeys, oldest first."""
        rows = await self._db.fetch("SELECT * FROM totps WHERE account = ? AND confirmed = 1", (account,))
        found = [FactorInfo(row["id"], "totp", row["name"], row["created"], row["used"]) for row in rows]
        found += [_info(passkey) for passkey in await self.passkeys.of_account(account)]
        return sorted(found, key=lambda info: (info.created, info.id))

    async def kinds(self, account: str) -> list[str]:
        """Which of `totp`, `passkey` and `recovery` an account can answer with."""
        row = await self._db.fetch_one(
            "SELECT (SELECT COUNT(*) FROM totps WHERE account = ? AND confirmed = 1) AS totp, "
            "(SELECT COUNT(*) FROM passkeys WHERE account = ?) AS passkey, "
            "(SELECT COUNT(*) FROM recovery_codes WHERE account = ? AND used = 0) AS recovery",
            (account, account, account),
        )
        return [kind for kind in ("totp", "passkey", "recovery") if row is not None and row[kind]]

    async def kinds_of_all(self, accounts: Sequence[str]) -> dict[str, list[str]]:
        """As `kinds`, of many accounts, by their ids."""
        found: dict[str, list[str]] = {account: [] for account in accounts}
        for kind, rest in (
            ("totp", "totps WHERE confirmed = 1 AND"),
            ("passkey", "passkeys WHERE"),
            ("recovery", "recovery_codes WHERE used = 0 AND"),
        ):
            for start in range(0, len(accounts), 500):
                some = accounts[start : start + 500]
                marks = ", ".join("?" * len(some))
                for row in await self._db.fetch(f"SELECT DISTINCT account FROM {rest} account IN ({marks})", some):
                    found[row["account"]].append(kind)
        return found

    # proving

    async def verify(self, account: Holder, kind: str, answer: str, context: Mapping[str, Any]) -> FactorResult:
        """Whether an answer proves a factor of the account. Each right answer counts once.

        `kind`: `totp` or `recovery` with a code, `passkey` with the browser's answer to `passkey_options`; then `context`
        has the `origin` that the browser is at. A kind that the account does not have is a wrong answer. Raises
        OriginRefused.
        """
        if kind == "passkey":
            return await self._passkey(account.tenant, answer, str(context.get("origin", "")), account.id)
        if kind not in ("totp", "recovery"):
            return FactorResult(False)
        until = await self.attempts.begin(account.id)
        if until:
            return FactorResult(False, until=until)
        if kind == "totp":
            factor = await self._totp(account, answer)
            right = bool(factor)
        else:
            factor, right = "", await self.recovery.take(account.id, answer)
        if not right:
            return FactorResult(False)
        await self.attempts.forget(account.id)
        return FactorResult(True, 2, "otp" if kind == "totp" else "recovery", account=account.id, factor=factor)

    async def passkey_options(self, tenant: str, origin: str, account: str = "") -> dict[str, Any]:
        """Options for `navigator.credentials.get`, for one account's passkeys or for any. Raises OriginRefused."""
        return await self.passkeys.request_options(tenant, relying_party(origin, await self._rules(tenant)), account)

    async def discover(self, tenant: str, answer: str, origin: str) -> FactorResult:
        """Whose passkey (`account`) answered the options that were for any account. Raises OriginRefused."""
        return await self._passkey(tenant, answer, origin, "")

    async def _passkey(self, tenant: str, answer: str, origin: str, account: str) -> FactorResult:
        rules = await self._rules(tenant)
        try:
            found = await self.passkeys.prove(tenant, relying_party(origin, rules), answer, account)
        except PasskeyRefused:
            return FactorResult(False)
        # NIST SP 800-63B-4, sections 2.2 and 2.3: two factors in one; AAL3 wants a key that cannot be exported.
        bound = not found.synced
        return FactorResult(
            True,
            3 if bound and rules.aal3 else 2,
            "hwk" if bound else "swk",
            account=found.account,
            factor=found.id,
        )

    async def _totp(self, account: Holder, answer: str) -> str:
        """The app whose code it is, once; empty for none."""
        rows = await self._db.fetch(
            "SELECT id, secret, step FROM totps WHERE account = ? AND confirmed = 1 ORDER BY created", (account.id,)
        )
        for row in rows:
            secret = await self._sealer.unseal(account.tenant, account.id, bytes(row["secret"]))
            step = matching_step(secret, answer, self._now(), int(row["step"]))
            if step is not None and await self._accept(row["id"], step):
                return str(row["id"])
        return ""

    async def _accept(self, factor: str, step: int) -> bool:
        """Take a time step, if it is later than the last one taken: of two answers with one code, one wins."""
        taken = await self._db.execute(
            "UPDATE totps SET step = ?, used = ? WHERE id = ? AND step < ?", (step, self._now(), factor, step)
        )
        return taken == 1

    # adding

    async def begin_totp(self, account: Holder, name: str) -> TotpBeginReply:
        """A new app's secret, to be confirmed by its first code. Raises TooManyFactors, InvalidFactorName."""
        name = factor_name(name, "Authenticator app")
        secret = self._random(SECRET_SIZE)
        sealed = await self._sealer.seal(account.tenant, account.id, secret)
        enrolment, now = self._random(12).hex(), self._now()
        async with self._db.transaction() as tx:
            await tx.execute("DELETE FROM totps WHERE confirmed = 0 AND expires < ?", (now,))
            await self._room(tx, account.id, "confirmed = 1", MAX_TOTPS)
            await self._room(tx, account.id, "confirmed = 0", _PENDING)
            await tx.execute(
                "INSERT INTO totps (id, account, tenant, name, secret, step, confirmed, created, used, expires) "
                "VALUES (?, ?, ?, ?, ?, -1, 0, ?, 0, ?)",
                (enrolment, account.id, account.tenant, name, sealed, now, now + ENROLMENT),
            )
        return await self._shown(account, enrolment, name, secret, now + ENROLMENT)

    async def pending_totp(self, account: Holder, enrolment: str) -> TotpBeginReply:
        """An enrolment that was begun, to be shown again. Raises EnrolmentUnknown."""
        row, secret = await self._pending(account, enrolment)
        return await self._shown(account, enrolment, row["name"], secret, row["expires"])

    async def confirm_totp(self, account: Holder, enrolment: str, code: str, *, spend: bool = True) -> FactorInfo:
        """Take the app into use; without `spend` the code counts once more. Raises EnrolmentUnknown, CodeRefused."""
        row, secret = await self._pending(account, enrolment)
        now = self._now()
        step = matching_step(secret, code, now, -1)
        if step is None:
            raise CodeRefused(
                "expected the six digits that the app shows now",
                hint="check the clocks of the phone and of this server",
                address="code",
            )
        async with self._db.transaction() as tx:
            await self._room(tx, account.id, "confirmed = 1", MAX_TOTPS)
            # The code that confirms is spent, as a rule: its step is the first that does not count any more.
            done = await tx.execute(
                "UPDATE totps SET confirmed = 1, step = ?, created = ?, expires = 0 WHERE id = ? AND confirmed = 0",
                (step if spend else step - 1, now, enrolment),
            )
        if done != 1:
            raise _no_enrolment()
        return FactorInfo(enrolment, "totp", row["name"], now)

    async def _pending(self, account: Holder, enrolment: str) -> tuple[Mapping[str, Any], bytes]:
        row = await self._db.fetch_one(
            "SELECT * FROM totps WHERE id = ? AND account = ? AND confirmed = 0 AND expires > ?",
            (enrolment, account.id, self._now()),
        )
        if row is None:
            raise _no_enrolment()
        return row, await self._sealer.unseal(account.tenant, account.id, bytes(row["secret"]))

    async def _shown(self, account: Holder, enrolment: str, name: str, secret: bytes, expires: float) -> TotpBeginReply:
        uri = otpauth_uri(secret, account.name, (await self._rules(account.tenant)).name)
        picture = qr_svg(uri, "QR code for the authenticator app")
        return TotpBeginReply(enrolment, name, to_base32(secret), uri, picture, expires)

    async def begin_passkey(self, account: Holder, origin: str) -> dict[str, Any]:
        """Options for `navigator.credentials.create`. Raises OriginRefused, TooManyFactors."""
        party = relying_party(origin, await self._rules(account.tenant))
        return await self.passkeys.creation_options(
            account.tenant, account.id, account.name, account.display_name, party
        )

    async def finish_passkey(self, account: Holder, origin: str, answer: str, name: str) -> FactorInfo:
        """Take a new passkey into use. Raises OriginRefused, PasskeyRefused, TooManyFactors, InvalidFactorName."""
        party = relying_party(origin, await self._rules(account.tenant))
        name = factor_name(name, "Passkey")
        return _info(await self.passkeys.create(account.tenant, account.id, party, answer, name))

    # changing

    async def rename(self, account: str, factor: str, name: str) -> FactorInfo:
        """Give a factor another name. Raises FactorUnknown, InvalidFactorName."""
        name = factor_name(name, "")
        changed = 0
        for table in ("totps", "passkeys"):
            changed += await self._db.execute(
                f"UPDATE {table} SET name = ? WHERE id = ? AND account = ?", (name, factor, account)
            )
        found = next((info for info in await self.infos(account) if info.id == factor), None)
        if not changed or found is None:
            raise _unknown()
        return found

    async def remove(self, account: Holder, factor: str) -> str:
        """Take a factor away; the kind it was. With the last one the recovery codes go. Raises FactorUnknown, LastFactor."""
        required = (await self._rules(account.tenant)).required
        async with self._db.transaction() as tx:
            kind = ""
            for table, name in (("totps", "totp"), ("passkeys", "passkey")):
                if await tx.execute(f"DELETE FROM {table} WHERE id = ? AND account = ?", (factor, account.id)):
                    kind = name
            if not kind:
                raise _unknown()
            passkeys = await _count(tx, "SELECT COUNT(*) AS count FROM passkeys WHERE account = ?", account.id)
            apps = await _count(
                tx, "SELECT COUNT(*) AS count FROM totps WHERE account = ? AND confirmed = 1", account.id
            )
            if not account.password and not passkeys:
                raise LastFactor(
                    "expected another passkey or a password to sign in with",
                    hint="add another passkey, or set a password, before this one goes",
                    address="factor",
                )
            if not passkeys + apps:
                if required:
                    raise LastFactor(
                        "expected another second factor, which this organisation demands",
                        hint="add another one before this one goes",
                        address="factor",
                    )
                await tx.execute("DELETE FROM recovery_codes WHERE account = ?", (account.id,))
        return kind

    async def reset(self, account: str) -> None:
        """Take all factors of an account away, and forget its failures."""
        async with self._db.transaction() as tx:
            for table in ("totps", "passkeys", "recovery_codes", "factor_failures"):
                await tx.execute(f"DELETE FROM {table} WHERE account = ?", (account,))

    async def _room(self, tx: Queries, account: str, which: str, limit: int) -> None:
        count = await _count(tx, f"SELECT COUNT(*) AS count FROM totps WHERE account = ? AND {which}", account)
        if count >= limit:
            raise TooManyFactors(f"expected at most {limit} authenticator apps", hint="remove one first, or wait")


async def _count(tx: Queries, sql: str, account: str) -> int:
    row = await tx.fetch_one(sql, (account,))
    return int(row["count"]) if row is not None else 0


def _info(passkey: Passkey) -> FactorInfo:
    return FactorInfo(passkey.id, "passkey", passkey.name, passkey.created, passkey.used, passkey.synced)


def _unknown() -> FactorUnknown:
    return FactorUnknown("expected a factor of this account", address="factor")


def _no_enrolment() -> EnrolmentUnknown:
    return EnrolmentUnknown("expected an enrolment that was begun within 15 minutes", hint="begin again")


def factor_name(name: str, default: str) -> str:
    """A name as it is stored: one line, at most 64 characters. Raises InvalidFactorName."""
    name = unicodedata.normalize("NFC", " ".join(name.split())) or default
    if not name or len(name) > _NAME or any(unicodedata.category(letter)[0] == "C" for letter in name):
        raise InvalidFactorName(f"expected a name of 1 to {_NAME} characters that can be shown", address="name")
    return name
