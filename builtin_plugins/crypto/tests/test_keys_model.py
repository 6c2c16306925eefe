"""The versions of a key: whatever is asked for in whatever order, the rules hold."""

from __future__ import annotations

import contextlib

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from rustcare_plugin_crypto.keyring import KeyRecord
from rustcare_plugin_crypto.keyring.model import State
from rustcare_plugin_crypto.refusals import KeyUnknown, KeyVersionState

NUMBERS = st.integers(-1, 8)


class KeyLife(RuleBasedStateMachine):
    """A key under arbitrary changes, beside a plain model of what each version may be."""

    record: KeyRecord

    @initialize()
    def make(self) -> None:
        """A new key."""
        self.record = KeyRecord("default", "k", "aes256-gcm").with_new_version("2026-01-01T00:00:00Z")
        self.destroyed: set[int] = set()
        self.before = self.record

    def change(self, record: KeyRecord) -> None:
        """Take a change over; what was destroyed must stay so."""
        self.before, self.record = self.record, record
        self.destroyed |= {version.number for version in record.versions if version.state == "destroyed"}

    @rule()
    def rotate(self) -> None:
        """A new primary version; refused only for a key that is destroyed as a whole."""
        whole = self.record.destroyed
        try:
            self.change(self.record.with_new_version("2026-01-02T00:00:00Z"))
        except KeyVersionState:
            assert whole
        else:
            assert not whole
            assert self.record.primary == len(self.record.versions) == len(self.before.versions) + 1

    @rule(number=NUMBERS, state=st.sampled_from(["primary", "enabled", "disabled", "destroyed"]))
    def put(self, number: int, state: State) -> None:
        """Any version into any state; the primary one never leaves that by itself."""
        with contextlib.suppress(KeyVersionState, KeyUnknown):
            was = self.record.version(number).state
            self.change(self.record.with_state(number, state))
            assert self.record.version(number).state == state
            assert was != "primary" or state == "primary"

    @rule(number=NUMBERS)
    def raise_minimum(self, number: int) -> None:
        """A minimum is from 1 to the primary version."""
        with contextlib.suppress(KeyVersionState):
            self.change(self.record.with_minimum(number))
            assert 1 <= number <= self.record.primary

    @rule(number=NUMBERS)
    def trim(self, number: int) -> None:
        """A trim destroys nothing that may decrypt."""
        usable = self.record.usable()
        with contextlib.suppress(KeyVersionState):
            self.change(self.record.trimmed(number))
            assert self.record.usable() == usable

    @rule()
    def destroy(self) -> None:
        """Everything at once; seldom, so that there is a life before."""
        if len(self.record.versions) > 5:
            self.change(self.record.with_all_destroyed())

    @invariant()
    def one_primary_or_nothing(self) -> None:
        """A key has exactly one primary version, or is destroyed as a whole."""
        primaries = [version for version in self.record.versions if version.state == "primary"]
        assert len(primaries) == (0 if self.record.destroyed else 1)

    @invariant()
    def destroyed_is_for_good(self) -> None:
        """No version comes back, and none that is destroyed or disabled may be used."""
        for version in self.record.versions:
            assert version.number not in self.destroyed or version.state == "destroyed"
            usable = version.number in self.record.usable()
            assert not usable or version.state in ("primary", "enabled")
            assert not usable or version.number >= self.record.min_decryption_version
            try:
                self.record.for_old_work(version.number)
            except KeyVersionState:
                assert not usable
            else:
                assert usable

    @invariant()
    def the_primary_version_can_be_undone(self) -> None:
        """What is done with the primary version can be undone with it: the minimum never shuts it out."""
        if not self.record.destroyed:
            assert self.record.primary in self.record.usable()

    @invariant()
    def numbers_are_places(self) -> None:
        """Versions are numbered from 1 without a gap, and the record is the same after a round through JSON."""
        assert [version.number for version in self.record.versions] == list(range(1, len(self.record.versions) + 1))
        assert msgspec.json.decode(msgspec.json.encode(self.record), type=KeyRecord) == self.record


KeyLife.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


class TestKeyLife(KeyLife.TestCase):  # type: ignore[name-defined,misc]
    """The state machine, run by pytest."""
