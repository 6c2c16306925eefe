"""Second factors and passkeys, as their owner handles them. Part of `contracts.identity`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = [
    "FactorInfo",
    "FactorReply",
    "FactorsReply",
    "FactorsRequest",
    "PasskeyBeginReply",
    "PasskeyBeginRequest",
    "PasskeyFinishRequest",
    "RecoveryReply",
    "RecoveryRequest",
    "RemoveFactorRequest",
    "RenameFactorRequest",
    "TotpBeginReply",
    "TotpBeginRequest",
    "TotpConfirmRequest",
]


@dataclass(frozen=True)
class FactorInfo:
    """An authenticator of an account. Times are Unix seconds, `used` 0 for never.

    `synced`: a passkey that its owner's devices share (its backup eligibility flag is set); else it is bound to one device.
    """

    id: str
    kind: Literal["totp", "passkey"]
    name: str
    created: float = 0.0
    used: float = 0.0
    synced: bool = False


@dataclass(frozen=True)
class FactorsRequest:
    """The factors of the message's principal (empty), or, for who holds `identity.read`, of another account."""

    account: str = ""


@dataclass(frozen=True)
class FactorsReply:
    """Oldest first. `recovery`: how many recovery codes are left."""

    factors: list[FactorInfo] = field(default_factory=list)
    recovery: int = 0


@dataclass(frozen=True)
class FactorReply:
    """The factor as it is now."""

    factor: FactorInfo


@dataclass(frozen=True)
class TotpBeginRequest:
    """An authenticator app to enrol for the message's principal. `enrolment`: one that was begun, to be shown again."""

    name: str = ""
    enrolment: str = ""


@dataclass(frozen=True)
class TotpBeginReply:
    """`secret` in base32; `uri` is `otpauth://totp/…`; `qr` an SVG element that shows it. Nothing counts before the code."""

    enrolment: str
    name: str = ""
    secret: str = field(default="", repr=False)
    uri: str = field(default="", repr=False)
    qr: str = field(default="", repr=False)
    expires: float = 0.0


@dataclass(frozen=True)
class TotpConfirmRequest:
    """The first code of the app that was enrolled. `spend`: it does not count a second time; not so when it is given on at
    once to prove more in a session (`identity.login.step-up`), which spends it then."""

    enrolment: str
    code: str = field(repr=False)
    spend: bool = True


@dataclass(frozen=True)
class PasskeyBeginRequest:
    """A passkey to make for the message's principal. `origin`: the one that the browser is at (`https://clinic.example.org`)."""

    origin: str


@dataclass(frozen=True)
class PasskeyBeginReply:
    """`options` are for `navigator.credentials.create`, in the JSON of WebAuthn 3 (`parseCreationOptionsFromJSON`)."""

    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PasskeyFinishRequest:
    """What the browser answered (`PublicKeyCredential.toJSON()`, as text), and a name for the passkey."""

    origin: str
    answer: str = field(repr=False)
    name: str = ""


@dataclass(frozen=True)
class RecoveryRequest:
    """New recovery codes for the message's principal; those before stop to be valid."""


@dataclass(frozen=True)
class RecoveryReply:
    """The codes, shown this once. Each works once."""

    codes: list[str] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class RenameFactorRequest:
    """Another name for a factor of the message's principal."""

    factor: str
    name: str


@dataclass(frozen=True)
class RemoveFactorRequest:
    """Take a factor of the message's principal away."""

    factor: str
