"""The factors of an account behind their one door: replay, races, guessing, and what may be removed."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from rustcare_plugin_identity.factors import FactorRules, Factors
from rustcare_plugin_identity.factors.attempts import FREE, LIMIT
from rustcare_plugin_identity.factors.factors import ENROLMENT, MAX_TOTPS
from rustcare_plugin_identity.factors.refusals import (
    CodeRefused,
    EnrolmentUnknown,
    FactorUnknown,
    InvalidFactorName,
    LastFactor,
    OriginRefused,
    PasskeyRefused,
    TooManyFactors,
)
from rustcare_plugin_identity.factors.totp import PERIOD, code_at, step_of
from rustcare_sdk import Plugin
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.authenticator import Authenticator

ORIGIN = "https://clinic.example.org"
MANIFEST = """
schema = 1
[plugin]
id = "test.factors"
version = "1.0.0"
summary = "a database for the factors"
engine = ">=0.1,<0.2"
license = "MIT"
[runtime]
python = { entry = "x:Y" }
[[capability]]
use = "db:read@*"
reason = "test"
[[capability]]
use = "db:write@*"
reason = "test"
[[capability]]
use = "clock:read"
reason = "test"
[[capability]]
use = "random:read"
reason = "test"
"""


@dataclass(frozen=True)
class Account:
    """As much of an account as factors look at."""

    id: str = "a1"
    tenant: str = "default"
    name: str = "ann"
    display_name: str = "Ann Lee"
    password: str = "$argon2id$…"


class Sealer:
    """AES-GCM under one key, as the keyring does it, bound to the account."""

    def __init__(self) -> None:
        self._key = AESGCM(b"k" * 32)
        self._count = 0

    async def seal(self, tenant: str, account: str, data: bytes) -> bytes:
        """Encrypt."""
        self._count += 1
        nonce = self._count.to_bytes(12, "big")
        return nonce + self._key.encrypt(nonce, data, f"{tenant}/{account}".encode())

    async def unseal(self, tenant: str, account: str, data: bytes) -> bytes:
        """Decrypt."""
        return self._key.decrypt(data[:12], data[12:], f"{tenant}/{account}".encode())


class Room:
    """Factors over a database of their own, with a clock that the test moves."""

    def __init__(self, h: PluginHarness) -> None:
        self.h = h
        self.rules = FactorRules("St. Mary")
        self.factors = Factors(h.ctx.db, self.time, h.ctx.random, mac=self._mac, sealer=Sealer(), rules=self._rules_of)

    def time(self) -> float:
        """Now."""
        return self.h.now.timestamp()

    async def _mac(self, data: bytes) -> bytes:
        return hmac.digest(b"key", data, "sha256")

    async def _rules_of(self, tenant: str) -> FactorRules:
        return self.rules

    async def app(self, account: Account = Account()) -> bytes:
        """Enrol an authenticator app; its secret. The clock stands one step later than the code that confirmed it."""
        begun = await self.factors.begin_totp(account, "Phone")
        secret = _secret(begun.secret)
        await self.factors.confirm_totp(account, begun.enrolment, self.code(secret))
        self.h.advance(PERIOD)
        return secret

    def code(self, secret: bytes, away: int = 0) -> str:
        """The code that the app shows now."""
        return code_at(secret, step_of(self.time()) + away)

    async def passkey(self, device: Authenticator, account: Account = Account()) -> str:
        """Make a passkey on the device; the factor's id."""
        options = await self.factors.begin_passkey(account, device.origin)
        made = await self.factors.finish_passkey(account, device.origin, device.create(options), "")
        return made.id


def _secret(text: str) -> bytes:
    import base64

    return base64.b32decode(text + "=" * (-len(text) % 8))


@pytest.fixture
async def room() -> AsyncIterator[Room]:
    """Factors of accounts in one database."""
    sql = files("rustcare_plugin_identity").joinpath("migrations/0003_factors.sql").read_bytes()
    async with harness(Plugin, manifest=MANIFEST, files={"migrations/0001_factors.sql": sql}) as h:
        yield Room(h)


# authenticator apps


async def test_an_app_counts_from_its_first_code_on(room: Room) -> None:
    """An enrolment is no factor before its code; the code that confirms it is spent."""
    account = Account()
    begun = await room.factors.begin_totp(account, "  My   phone ")
    assert await room.factors.kinds("a1") == []
    secret = _secret(begun.secret)
    assert not (await room.factors.verify(account, "totp", room.code(secret), {})).ok
    with pytest.raises(CodeRefused):
        await room.factors.confirm_totp(account, begun.enrolment, "000000")
    made = await room.factors.confirm_totp(account, begun.enrolment, room.code(secret))
    assert (made.kind, made.name) == ("totp", "My phone")
    assert await room.factors.kinds("a1") == ["totp"]
    assert not (await room.factors.verify(account, "totp", room.code(secret), {})).ok
    with pytest.raises(EnrolmentUnknown):
        await room.factors.confirm_totp(account, begun.enrolment, room.code(secret, 1))


async def test_of_many_answers_with_one_code_one_is_right(room: Room) -> None:
    """The last accepted time step is written by compare-and-set: a code seen by somebody else is worth nothing."""
    secret = await room.app()
    code = room.code(secret)
    results = await asyncio.gather(*(room.factors.verify(Account(), "totp", code, {}) for _ in range(FREE - 1)))
    assert [result.ok for result in results].count(True) == 1
    right = next(result for result in results if result.ok)
    assert (right.aal, right.amr, right.account) == (2, "otp", "a1")


async def test_the_step_before_does_not_count_after_a_later_one(room: Room) -> None:
    """Once a step was taken, neither it nor an earlier one is, though both are within the window."""
    secret = await room.app()
    room.h.advance(PERIOD * 3)
    assert (await room.factors.verify(Account(), "totp", room.code(secret, 1), {})).ok
    assert not (await room.factors.verify(Account(), "totp", room.code(secret, 0), {})).ok
    assert not (await room.factors.verify(Account(), "totp", room.code(secret, -1), {})).ok


async def test_an_enrolment_ends_and_is_one_account_s(room: Room) -> None:
    """After fifteen minutes, and for anybody else, there is no enrolment."""
    begun = await room.factors.begin_totp(Account(), "")
    shown = await room.factors.pending_totp(Account(), begun.enrolment)
    assert (shown.secret, shown.uri, shown.expires) == (begun.secret, begun.uri, begun.expires)
    with pytest.raises(EnrolmentUnknown):
        await room.factors.pending_totp(Account(id="a2"), begun.enrolment)
    room.h.advance(ENROLMENT + 1)
    with pytest.raises(EnrolmentUnknown):
        await room.factors.confirm_totp(Account(), begun.enrolment, room.code(_secret(begun.secret)))


async def test_an_account_has_a_few_apps_at_most(room: Room) -> None:
    """The limit holds, also when the enrolments were begun before it was reached."""
    waiting = await room.factors.begin_totp(Account(), "waiting")
    for _ in range(MAX_TOTPS):
        await room.app()
    with pytest.raises(TooManyFactors):
        await room.factors.begin_totp(Account(), "one more")
    with pytest.raises(TooManyFactors):
        await room.factors.confirm_totp(Account(), waiting.enrolment, room.code(_secret(waiting.secret)))


async def test_a_secret_is_stored_encrypted_and_bound_to_its_account(room: Room) -> None:
    """The database does not hold the secret, and a row that was moved to another account cannot be opened."""
    secret = await room.app()
    row = await room.h.ctx.db.fetch_one("SELECT secret FROM totps")
    assert row is not None
    assert secret not in bytes(row["secret"])
    await room.h.ctx.db.execute("UPDATE totps SET account = 'a2'")
    with pytest.raises(InvalidTag):
        await room.factors.verify(Account(id="a2"), "totp", room.code(secret), {})


# guessing


async def test_guessing_becomes_slow_and_ends(room: Room) -> None:
    """After five wrong codes each costs a longer wait, in which the right one is not looked at; after a hundred none is."""
    secret = await room.app()
    waits: list[float] = []
    for count in range(1, LIMIT + 1):
        result = await room.factors.verify(Account(), "totp", "000000", {})
        assert not result.ok
        assert result.until == 0
        if count >= FREE:
            blocked = await room.factors.verify(Account(), "totp", room.code(secret), {})
            assert not blocked.ok
            waits.append(blocked.until - room.time())
            room.h.advance(waits[-1])
    assert sorted(waits) == waits
    assert waits[0] == 1
    assert sum(waits[:-1]) > 20 * 3600
    assert waits[-1] > 86400 * 365
    await room.factors.reset("a1")
    fresh = await room.app()
    assert (await room.factors.verify(Account(), "totp", room.code(fresh), {})).ok


async def test_many_guesses_at_once_are_counted_before_they_are_looked_at(room: Room) -> None:
    """A burst of guesses gets no more looks than guesses one after another."""
    await room.app()
    results = await asyncio.gather(*(room.factors.verify(Account(), "totp", "000000", {}) for _ in range(50)))
    assert sum(result.until == 0 for result in results) == FREE


async def test_a_right_code_forgets_the_wrong_ones(room: Room) -> None:
    """Wrong codes count in a row."""
    secret = await room.app()
    for _ in range(3):
        for _ in range(FREE - 2):
            assert not (await room.factors.verify(Account(), "totp", "000000", {})).ok
        assert (await room.factors.verify(Account(), "totp", room.code(secret), {})).ok
        room.h.advance(PERIOD)


# recovery codes


async def test_a_recovery_code_counts_once(room: Room) -> None:
    """Ten codes; each is right once, however many try it at the same time, and typed without care."""
    codes = await room.factors.recovery.generate("a1")
    assert len(set(codes)) == 10
    spoken = codes[0].lower().replace("-", " ").replace("0", "o").replace("1", "l")
    results = await asyncio.gather(*(room.factors.verify(Account(), "recovery", spoken, {}) for _ in range(4)))
    assert [result.ok for result in results].count(True) == 1
    assert await room.factors.recovery.left("a1") == 9
    assert not (await room.factors.verify(Account(id="a2"), "recovery", codes[1], {})).ok


async def test_new_recovery_codes_end_the_old_ones_and_none_is_stored(room: Room) -> None:
    """After a second set the first is worth nothing; the database holds neither."""
    old = await room.factors.recovery.generate("a1")
    new = await room.factors.recovery.generate("a1")
    rows = await room.h.ctx.db.fetch("SELECT code FROM recovery_codes")
    plain = {hashlib.sha256(code.replace("-", "").encode()).hexdigest() for code in new} | set(new)
    assert not plain & {row["code"] for row in rows}
    assert not (await room.factors.verify(Account(), "recovery", old[0], {})).ok
    assert (await room.factors.verify(Account(), "recovery", new[0], {})).ok


# passkeys


@pytest.mark.parametrize(
    ("synced", "aal3", "aal", "amr"), [(True, True, 2, "swk"), (False, False, 2, "hwk"), (False, True, 3, "hwk")]
)
async def test_a_passkey_signs_in_alone(room: Room, synced: bool, aal3: bool, aal: int, amr: str) -> None:
    """A discoverable passkey with user verification is two factors; one that is bound to its device may reach AAL3."""
    room.rules = FactorRules("St. Mary", aal3=aal3)
    device = Authenticator(ORIGIN, synced=synced)
    made = await room.passkey(device)
    result = await room.factors.discover(
        "default", device.get(await room.factors.passkey_options("default", ORIGIN)), ORIGIN
    )
    assert (result.ok, result.account, result.factor, result.aal, result.amr) == (True, "a1", made, aal, amr)
    (info,) = await room.factors.infos("a1")
    assert (info.kind, info.synced, info.used) == ("passkey", synced, room.time())


async def test_options_ask_for_what_a_passkey_is(room: Room) -> None:
    """A discoverable credential, user verification, no attestation, none of those that are there already."""
    device = Authenticator(ORIGIN)
    await room.passkey(device)
    options = await room.factors.begin_passkey(Account(), ORIGIN)
    assert options["rp"] == {"id": "clinic.example.org", "name": "St. Mary"}
    assert options["attestation"] == "none"
    selection = options["authenticatorSelection"]
    assert (selection["residentKey"], selection["userVerification"]) == ("required", "required")
    assert len(options["excludeCredentials"]) == 1
    ask = await room.factors.passkey_options("default", ORIGIN)
    assert (ask["userVerification"], ask["allowCredentials"]) == ("required", [])
    assert len((await room.factors.passkey_options("default", ORIGIN, "a1"))["allowCredentials"]) == 1


async def test_an_answer_counts_once(room: Room) -> None:
    """The same answer again is refused, also when both come at the same time and the authenticator has no counter."""
    device = Authenticator(ORIGIN, counts=0)
    await room.passkey(device)
    answer = device.get(await room.factors.passkey_options("default", ORIGIN))
    results = await asyncio.gather(*(room.factors.discover("default", answer, ORIGIN) for _ in range(5)))
    assert [result.ok for result in results].count(True) == 1
    options = await room.factors.begin_passkey(Account(), ORIGIN)
    made = device.create(options)
    await room.factors.finish_passkey(Account(), ORIGIN, made, "")
    with pytest.raises(PasskeyRefused):
        await room.factors.finish_passkey(Account(), ORIGIN, made, "")


async def test_a_challenge_is_for_one_purpose(room: Room) -> None:
    """What was made for one account, tenant or ceremony proves nothing for another; nor does one that is too old."""
    device = Authenticator(ORIGIN)
    await room.passkey(device)
    ask = room.factors.passkey_options

    async def right(options: dict[str, Any], account: str = "", tenant: str = "default") -> bool:
        answer = device.get(options)
        if account:
            return (await room.factors.verify(Account(id=account, tenant=tenant), "passkey", answer, at)).ok
        return (await room.factors.discover(tenant, answer, ORIGIN)).ok

    at = {"origin": ORIGIN}
    assert await right(await ask("default", ORIGIN, "a1"), "a1")
    assert await right(await ask("default", ORIGIN))
    assert not await right(await ask("default", ORIGIN), "a1")
    assert not await right(await ask("default", ORIGIN, "a1"))
    assert not await right(await ask("default", ORIGIN, "a2"), "a1")
    assert not await right(await ask("other", ORIGIN), tenant="default")
    assert not await right(await ask("default", ORIGIN), tenant="other")
    creation = await room.factors.begin_passkey(Account(), ORIGIN)
    assert not await right({"challenge": creation["challenge"], "rpId": "clinic.example.org"})
    old = await ask("default", ORIGIN)
    room.h.advance(601)
    assert not await right(old)
    assert not await right({"challenge": "AAAA", "rpId": "clinic.example.org"})


@pytest.mark.parametrize(
    "broken",
    [
        Authenticator(ORIGIN, verifies=False),
        Authenticator(ORIGIN, cross_origin=True),
        Authenticator("https://evil.example.org"),
        Authenticator("http://clinic.example.org"),
    ],
    ids=["no user verification", "in a frame", "another origin", "not secure"],
)
async def test_what_an_authenticator_must_show(room: Room, broken: Authenticator) -> None:
    """No passkey is made, and none is believed, without user verification, in a frame, or at another origin."""
    good = Authenticator(ORIGIN)
    with pytest.raises(PasskeyRefused):
        await room.factors.finish_passkey(
            Account(), ORIGIN, broken.create(await room.factors.begin_passkey(Account(), ORIGIN)), ""
        )
    await room.passkey(good)
    broken.passkeys = good.passkeys
    answer = broken.get(await room.factors.passkey_options("default", ORIGIN))
    assert not (await room.factors.discover("default", answer, ORIGIN)).ok
    assert (
        await room.factors.discover("default", good.get(await room.factors.passkey_options("default", ORIGIN)), ORIGIN)
    ).ok


async def test_a_copy_of_a_passkey_is_noticed(room: Room) -> None:
    """A signature counter that did not grow, and a passkey that says it may be synced now, are refused."""
    device = Authenticator(ORIGIN)
    await room.passkey(device)
    device.passkeys[0].count = 50
    assert (
        await room.factors.discover(
            "default", device.get(await room.factors.passkey_options("default", ORIGIN)), ORIGIN
        )
    ).ok
    device.passkeys[0].count = 40
    options = await room.factors.passkey_options("default", ORIGIN)
    assert not (await room.factors.discover("default", device.get(options), ORIGIN)).ok
    device.passkeys[0].count = 90
    device.synced = True
    options = await room.factors.passkey_options("default", ORIGIN)
    assert not (await room.factors.discover("default", device.get(options), ORIGIN)).ok


async def test_a_passkey_is_one_account_s(room: Room) -> None:
    """A credential that is known cannot be made again for another account, and says for whom it signs."""
    device = Authenticator(ORIGIN)
    await room.passkey(device)
    options = await room.factors.passkey_options("default", ORIGIN)
    device.passkeys[0].user = b"a2"
    assert not (await room.factors.discover("default", device.get(options), ORIGIN)).ok


NO_BASE64 = {"clientDataJSON": "!!", "authenticatorData": "", "signature": ""}


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{}",
        "[]",
        "nonsense",
        '{"id": "x"}',
        "{" * 70_000,
        json.dumps({"id": "a", "rawId": "a", "type": "public-key", "response": NO_BASE64}),
    ],
    ids=["empty", "object", "list", "text", "part", "deep", "no base64"],
)
async def test_nonsense_is_a_wrong_answer(room: Room, answer: str) -> None:
    """Whatever bytes come, the answer is no; nothing else is raised."""
    assert not (await room.factors.discover("default", answer, ORIGIN)).ok
    assert not (await room.factors.verify(Account(), "passkey", answer, {"origin": ORIGIN})).ok
    with pytest.raises(PasskeyRefused):
        await room.factors.finish_passkey(Account(), ORIGIN, answer, "")


@pytest.mark.parametrize(
    "origin",
    ["http://clinic.example.org", "https://192.0.2.1", "https://[2001:db8::1]", "", "x", "http://127.0.0.1:8000"],
)
async def test_where_no_passkey_works(room: Room, origin: str) -> None:
    """Without https or without a host name there are no passkeys, and that is said before a browser is asked."""
    with pytest.raises(OriginRefused):
        await room.factors.passkey_options("default", origin)


async def test_a_tenant_says_where_its_passkeys_work(room: Room) -> None:
    """With `rp_id` one passkey serves all its hosts; with `origins` no other is taken."""
    room.rules = FactorRules("St. Mary", "example.org", (ORIGIN, "https://mail.example.org"))
    device = Authenticator(ORIGIN)
    await room.passkey(device)
    device.origin = "https://mail.example.org"
    options = await room.factors.passkey_options("default", device.origin)
    assert options["rpId"] == "example.org"
    assert (await room.factors.discover("default", device.get(options), device.origin)).ok
    with pytest.raises(OriginRefused):
        await room.factors.passkey_options("default", "https://other.example.org")
    room.rules = FactorRules("St. Mary", "example.com")
    with pytest.raises(OriginRefused):
        await room.factors.passkey_options("default", ORIGIN)


async def test_http_on_loopback_is_good_enough(room: Room) -> None:
    """A server on one's own machine is a secure context for a browser."""
    device = Authenticator("http://localhost:8080")
    await room.passkey(device)
    options = await room.factors.passkey_options("default", device.origin)
    assert (await room.factors.discover("default", device.get(options), device.origin)).ok


# changing and removing


async def test_names_are_names(room: Room) -> None:
    """A factor can be given another name, by its owner, that can be shown."""
    made = await room.passkey(Authenticator(ORIGIN))
    assert (await room.factors.rename("a1", made, " Blue  key ")).name == "Blue key"
    with pytest.raises(FactorUnknown):
        await room.factors.rename("a2", made, "mine")
    for name in ("", "x" * 65, "a\u202eb", "a\x00b"):
        with pytest.raises(InvalidFactorName):
            await room.factors.rename("a1", made, name)


async def test_the_only_way_in_stays(room: Room) -> None:
    """An account without a password keeps one passkey; of two removals at once one is refused."""
    account = replace(Account(), password="")
    first, second = await room.passkey(Authenticator(ORIGIN)), await room.passkey(Authenticator(ORIGIN))
    results = await asyncio.gather(
        room.factors.remove(account, first), room.factors.remove(account, second), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["LastFactor", "str"]
    assert await room.factors.kinds("a1") == ["passkey"]
    with pytest.raises(FactorUnknown):
        await room.factors.remove(Account(id="a2"), second)


async def test_what_the_tenant_demands_stays(room: Room) -> None:
    """Where a second factor is demanded the last one stays; where it is not, the recovery codes go with it."""
    await room.app()
    await room.factors.recovery.generate("a1")
    (info,) = await room.factors.infos("a1")
    room.rules = FactorRules("St. Mary", required=True)
    with pytest.raises(LastFactor):
        await room.factors.remove(Account(), info.id)
    assert await room.factors.kinds("a1") == ["totp", "recovery"]
    room.rules = FactorRules("St. Mary")
    assert await room.factors.remove(Account(), info.id) == "totp"
    assert await room.factors.kinds("a1") == []


async def test_a_reset_takes_everything(room: Room) -> None:
    """After a reset the account has no factor, and none of its answers is right."""
    secret = await room.app()
    codes = await room.factors.recovery.generate("a1")
    device = Authenticator(ORIGIN)
    await room.passkey(device)
    assert await room.factors.kinds("a1") == ["totp", "passkey", "recovery"]
    await room.factors.reset("a1")
    assert await room.factors.kinds("a1") == []
    assert not (await room.factors.verify(Account(), "totp", room.code(secret), {})).ok
    assert not (await room.factors.verify(Account(), "recovery", codes[0], {})).ok
    options = await room.factors.passkey_options("default", ORIGIN)
    assert not (await room.factors.discover("default", device.get(options), ORIGIN)).ok
