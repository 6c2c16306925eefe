"""No order of verifying, revoking, losing, asking and waiting lets a revoked credential in."""

from __future__ import annotations

import asyncio
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from rustcare_plugin_gateway.authenticate.cache import digest_of
from rustcare_plugin_gateway.errors import Refused
from rustcare_sdk.contracts.identity import Authenticated, Revocation
from rustcare_sdk.errors import NoProvider, RustCareError

from tests.support.authenticators import Identity, opened
from tests.support.tokens import NOW, Signer, claims_of

SIGNERS = [Signer("EdDSA", f"ed{number}") for number in range(2)]
NUMBERS = st.integers(0, 2)


class Issued:
    """A credential that was given out, and how it can end."""

    def __init__(self, kind: str, text: str, account: str, session: str, jti: str, at: float, key: str) -> None:
        self.kind, self.text, self.account, self.session, self.jti = kind, text, account, session, jti
        self.at, self.key = at, key
        self.dead = False


class Revocations(RuleBasedStateMachine):
    """An authenticator, an identity with few accounts and sessions, and events that may be lost, late or told again."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.identity = Identity()
        self.identity.jwks = [signer.jwk for signer in SIGNERS]
        self.context = opened(self.identity, cache=100)
        self.door = self.run(self.context.__aenter__())
        self.issued: list[Issued] = []
        self.untold: list[Revocation] = []
        self.pending: list[tuple[Issued, asyncio.Task[Any], asyncio.Event]] = []
        self.hold: asyncio.Event | None = None
        self.identity.before = self.paused
        self.serial = 0
        self.heard = 0

    def run(self, coroutine: Any) -> Any:
        """Run to the end."""
        return self.loop.run_until_complete(coroutine)

    def paused(self) -> Any:
        """Answers of identity wait when they are told to."""
        return self.hold.wait() if self.hold is not None else None

    @property
    def now(self) -> float:
        """The time."""
        return float(self.door.plugin.now)

    @initialize()
    def begin(self) -> None:
        """Everybody has a token and a session."""
        for number in range(2):
            self.give_token(number, number, number % 2)
            self.give_session(number, number)

    # what identity does

    @rule(account=NUMBERS, session=NUMBERS, key=st.integers(0, 1))
    def give_token(self, account: int, session: int, key: int) -> None:
        """Issue a token; an account's own not-before counts, as identity has it."""
        self.serial += 1
        at = self.now
        claims = claims_of(
            sub=f"user/{account}",
            sid=f"s{session}",
            jti=f"j{self.serial}",
            iat=at,
            nbf=at,
            exp=at + 100,
            auth_time=None,
        )
        token = SIGNERS[key].sign(claims)
        one = Issued("token", token, str(account), f"s{session}", f"j{self.serial}", at, SIGNERS[key].kid)
        # A token of a session that has ended is never issued.
        one.dead = any(other.kind == "session" and other.session == one.session and other.dead for other in self.issued)
        one.dead = one.dead or any(row.kind == "session" and row.id == one.session for row in self.identity.revocations)
        self.issued.append(one)

    @rule(account=NUMBERS, number=NUMBERS)
    def give_session(self, account: int, number: int) -> None:
        """Begin a session, or create a key."""
        self.serial += 1
        kind, text = ("session" if number else "key"), f"c{self.serial}"
        session = f"s{100 + self.serial}" if number else ""
        self.identity.credentials[text] = Authenticated(
            f"user/{account}", "default", session=session, keep=self.now + 30.0
        )
        self.issued.append(Issued(kind, text, str(account), session, "", self.now, ""))

    def revoke(self, kind: str, id: str, lost: bool, **more: Any) -> None:
        """Make it durable, then tell it, unless the event is lost or late."""
        made = self.identity.revoke(kind, id, until=self.now + 200, **more)
        if lost:
            self.untold.append(made)
        else:
            self.tell(made)

    def tell(self, made: Revocation) -> None:
        """The event comes."""
        self.heard = max(self.heard, made.revision)
        self.door.authenticator.forget(made)

    def end(self, one: Issued) -> None:
        """It is dead from now on."""
        one.dead = True
        self.identity.credentials.pop(one.text, None)

    @rule(pick=st.integers(0, 50), what=st.sampled_from(["self", "session", "account"]), lost=st.booleans())
    def end_one(self, pick: int, what: str, lost: bool) -> None:
        """Revoke a credential by one of its names."""
        if not self.issued:
            return
        one = self.issued[pick % len(self.issued)]
        if what == "account":
            for other in self.issued:
                if other.account == one.account and (other.kind == "token" or other.kind == "session"):
                    self.end(other)
            # Tokens of the same moment as the revocation count as older, as identity's whole seconds do.
            self.revoke("account", one.account, lost, before=self.now + 0.001)
        elif what == "session" and one.session:
            for other in self.issued:
                if other.session == one.session:
                    self.end(other)
            self.revoke("session", one.session, lost)
        elif one.kind == "token":
            self.end(one)
            self.revoke("token", one.jti, lost)
        else:
            self.end(one)
            self.revoke("key", digest_of(one.text).hex(), lost)
        self.door.advance(0.01)

    @precondition(lambda self: self.untold)
    @rule(pick=st.integers(0, 50), again=st.booleans())
    def tell_late(self, pick: int, again: bool) -> None:
        """An event comes late, perhaps twice."""
        made = self.untold[pick % len(self.untold)]
        if not again:
            self.untold.remove(made)
        self.tell(made)

    @rule(gone=st.booleans())
    def away(self, gone: bool) -> None:
        """Identity goes, or comes back."""
        self.identity.away = NoProvider("nobody serves it") if gone else None

    @rule(seconds=st.sampled_from([1.0, 20.0, 40.0]))
    def wait(self, seconds: float) -> None:
        """Time goes by."""
        self.door.advance(seconds)

    # what callers do

    def told(self) -> bool:
        """Whether the gateway must know that it is dead: each event has come, or a later one, so that a gap shows."""
        return all(made.revision < self.heard for made in self.untold)

    @rule(pick=st.integers(0, 50))
    def ask(self, pick: int) -> None:
        """Somebody uses a credential."""
        one = self.issued[pick % len(self.issued)] if self.issued else None
        if one is None or self.hold is not None:
            return
        told = self.told()
        try:
            caller = self.run(self.door.ask(one.kind, one.text))
        except (Refused, NoProvider):
            if self.identity.away is None:
                expired = one.kind == "token" and self.now >= one.at + 100
                assert one.dead or expired or self.shadowed(one), "a good credential was refused"
            return
        assert caller.principal == f"user/{one.account}"
        assert not (one.dead and told), "a revoked credential was accepted"

    def shadowed(self, one: Issued) -> bool:
        """Whether another revocation also covers it: its account's, of a later moment than its own."""
        return any(
            row.kind == "account" and row.id == one.account and one.at < row.before for row in self.identity.revocations
        )

    @precondition(lambda self: self.hold is None and self.identity.away is None)
    @rule(pick=st.integers(0, 50))
    def ask_slowly(self, pick: int) -> None:
        """Somebody uses a credential whose answer takes time: identity has made it already."""
        others = [one for one in self.issued if one.kind != "token"]
        if not others or self.door.authenticator._revisions.behind:
            return
        one = others[pick % len(others)]
        if self.door.authenticator.cached(one.kind, one.text) is not None:
            return
        self.hold = asyncio.Event()
        task = self.loop.create_task(self.door.ask(one.kind, one.text))
        self.run(asyncio.sleep(0))
        self.pending.append((one, task, self.hold))

    @precondition(lambda self: self.hold is not None)
    @rule()
    def answer(self) -> None:
        """The answer comes. What was revoked and told meanwhile is not accepted by it."""
        one, task, hold = self.pending.pop()
        self.hold = None
        hold.set()
        told = self.told()
        try:
            self.run(task)
        except RustCareError:
            return
        assert not (one.dead and told), "an answer from before a revocation was accepted"

    @invariant()
    def nothing_revoked_is_remembered(self) -> None:
        """The hot path never finds what was revoked, once that was told or a gap shows that something was not."""
        for one in self.issued:
            found = self.door.authenticator.cached(one.kind, one.text)
            assert found is None or not (one.dead and self.told()), "a revoked credential is in the cache"

    def teardown(self) -> None:
        """End."""
        for _, task, hold in self.pending:
            hold.set()
            task.cancel()
        self.run(asyncio.sleep(0))
        self.run(self.context.__aexit__(None, None, None))
        self.loop.close()


TestRevocations = Revocations.TestCase
TestRevocations.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestRevocations.__doc__ = __doc__


def test_time_is_what_tokens_are_made_for() -> None:
    """The machine begins at the moment that tokens of tests are made for."""
    machine = Revocations()
    try:
        assert machine.now == NOW
    finally:
        machine.teardown()
