"""What is known of a key besides its secret, and how its versions may change. Pure: every change gives a new record.

A version is `primary` (new work is done with it), `enabled` (old work can be undone with it), `disabled` (kept, not used)
or `destroyed` (its secret is gone for good). A key that is not destroyed as a whole has exactly one primary version.
`min_decryption_version` shuts older versions out without destroying them; it is never above the primary one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from rustcare_sdk.contracts.crypto import KeyInfo, KeyVersion

from rustcare_plugin_crypto.refusals import KeyUnknown, KeyVersionState

__all__ = ["KeyRecord", "State", "VersionRecord"]

State = Literal["primary", "enabled", "disabled", "destroyed"]


class VersionRecord(Struct, frozen=True):
    """One version; `created`: RFC 3339."""

    number: int
    state: State
    created: str


class KeyRecord(Struct, frozen=True):
    """A key. `owner`: the plugin that made it, empty for the operator; `users`: who else may use it, `*` for all."""

    tenant: str
    name: str
    algorithm: str
    versions: tuple[VersionRecord, ...] = ()
    min_decryption_version: int = 1
    derived: bool = False
    exportable: bool = False
    rotate_after: int = 0
    imported: bool = False
    owner: str = ""
    users: tuple[str, ...] = ()

    # reading

    @property
    def primary(self) -> int:
        """The number of the primary version. Raises KeyVersionState when the whole key is destroyed."""
        for version in self.versions:
            if version.state == "primary":
                return version.number
        raise KeyVersionState("the key is destroyed", address=self.name)

    @property
    def destroyed(self) -> bool:
        """Whether nothing is left of it."""
        return bool(self.versions) and all(version.state == "destroyed" for version in self.versions)

    def version(self, number: int) -> VersionRecord:
        """One version. Raises KeyUnknown."""
        if not 1 <= number <= len(self.versions):
            raise KeyUnknown(
                f"expected a version from 1 to {len(self.versions)}, got {number}", address=f"{self.name}/{number}"
            )
        return self.versions[number - 1]

    def for_new_work(self, number: int = 0) -> int:
        """The version to encrypt or sign with: the primary one, or the one asked for. Raises KeyVersionState."""
        return self.for_old_work(number) if number else self.primary

    def for_old_work(self, number: int) -> int:
        """Checks that a version may decrypt or verify. Raises KeyUnknown, KeyVersionState."""
        state = self.version(number).state
        if state in ("disabled", "destroyed"):
            raise KeyVersionState(f"this version is {state}", address=f"{self.name}/{number}")
        if number < self.min_decryption_version:
            raise KeyVersionState(
                f"expected a version from {self.min_decryption_version} on, got {number}",
                hint="the key's min_decryption_version shuts older ones out",
                address=f"{self.name}/{number}",
            )
        return number

    def usable(self) -> list[int]:
        """The versions that may decrypt or verify, newest first."""
        return [
            version.number
            for version in reversed(self.versions)
            if version.state in ("primary", "enabled") and version.number >= self.min_decryption_version
        ]

    def kept(self) -> list[int]:
        """The versions that have a secret, oldest first."""
        return [version.number for version in self.versions if version.state != "destroyed"]

    def info(self) -> KeyInfo:
        """As it is told."""
        return KeyInfo(
            self.name,
            self.algorithm,
            [KeyVersion(version.number, version.state, version.created) for version in self.versions],
            self.min_decryption_version,
            self.derived,
            self.exportable,
            self.rotate_after,
            self.imported,
            self.owner,
            list(self.users),
        )

    # changing

    def with_new_version(self, created: str) -> KeyRecord:
        """A new primary version; the one before stays enabled."""
        if self.destroyed:
            raise KeyVersionState("the key is destroyed", hint="make one of another name", address=self.name)
        demoted = _with(self.versions, "primary", "enabled")
        return replace(self, versions=(*demoted, VersionRecord(len(self.versions) + 1, "primary", created)))

    def with_state(self, number: int, state: State) -> KeyRecord:
        """A version in another state. Raises KeyUnknown, KeyVersionState."""
        version = self.version(number)
        address = f"{self.name}/{number}"
        if version.state == state:
            return self
        if version.state == "destroyed":
            raise KeyVersionState("this version is destroyed", address=address)
        if version.state == "primary":
            raise KeyVersionState(
                f"the primary version cannot become {state}", hint="rotate the key first", address=address
            )
        versions = self.versions
        if state == "primary":
            self.for_old_work(number)
            versions = _with(versions, "primary", "enabled")
        changed = replace(version, state=state)
        return replace(self, versions=(*versions[: number - 1], changed, *versions[number:]))

    def with_all_destroyed(self) -> KeyRecord:
        """Nothing left but the name."""
        return replace(self, versions=tuple(replace(version, state="destroyed") for version in self.versions))

    def with_minimum(self, number: int) -> KeyRecord:
        """Shut out versions below. Raises KeyVersionState when the primary one would be among them."""
        if not 1 <= number <= self.primary:
            raise KeyVersionState(
                f"expected a minimum from 1 to the primary version {self.primary}, got {number}", address=self.name
            )
        return replace(self, min_decryption_version=number)

    def trimmed(self, number: int) -> KeyRecord:
        """All versions below destroyed. Raises KeyVersionState when some of them may still decrypt."""
        if not 1 <= number <= self.min_decryption_version:
            raise KeyVersionState(
                f"expected at most the min_decryption_version {self.min_decryption_version}, got {number}",
                hint="raise the minimum first",
                address=self.name,
            )
        gone = tuple(replace(version, state="destroyed") for version in self.versions[: number - 1])
        return replace(self, versions=(*gone, *self.versions[number - 1 :]))


def _with(versions: Iterable[VersionRecord], was: State, state: State) -> tuple[VersionRecord, ...]:
    return tuple(replace(version, state=state) if version.state == was else version for version in versions)
