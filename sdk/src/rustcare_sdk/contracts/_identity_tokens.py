"""Sessions, tokens, keys and devices beyond what administrators list and end. Part of `contracts.identity`."""

from __future__ import annotations

from dataclasses import dataclass, field

from ._identity_admin import KeyInfo, SessionInfo

__all__ = [
    "BindCertificateRequest",
    "DeviceApproveRequest",
    "DeviceBeginReply",
    "DeviceBeginRequest",
    "DeviceInfo",
    "DeviceShowRequest",
    "DeviceTokenRequest",
    "ElevationAssumeRequest",
    "KeyReply",
    "SessionRenameRequest",
    "SessionReply",
    "TokenRotateRequest",
]


@dataclass(frozen=True)
class SessionRenameRequest:
    """Another name for the device of one of the caller's own sessions: one line, at most 100 characters."""

    session: str
    name: str


@dataclass(frozen=True)
class SessionReply:
    """The session as it is now."""

    session: SessionInfo


@dataclass(frozen=True)
class BindCertificateRequest:
    """A client certificate (mTLS) with which an account proves itself, as it does with an API key.

    Either `certificate` (PEM) or `fingerprint`: the SHA-256 of its DER form, hex, colons or not. `scopes` (empty: all of the
    account's) only narrow. `expires_in` seconds; 0: when the certificate does, or never if only the fingerprint is known.
    """

    account: str
    name: str
    certificate: str = ""
    fingerprint: str = ""
    scopes: list[str] = field(default_factory=list)
    expires_in: int = 0


@dataclass(frozen=True)
class KeyReply:
    """The key, or the bound certificate, as it is now."""

    key: KeyInfo


@dataclass(frozen=True)
class TokenRotateRequest:
    """A new key to sign tokens with; for administrators of the tenant `default` and the operator.

    `algorithm`: `ES256` or `EdDSA`, empty for the usual one. `at_once`: the old keys are compromised: they are gone now, and
    with them every token that they signed. Else both are shown, and the new one signs when everybody may know it.
    """

    algorithm: str = ""
    at_once: bool = False


@dataclass(frozen=True)
class DeviceBeginRequest:
    """A device asks to be signed in (RFC 8628, section 3.1). `client` is its name, to be shown to its user.

    `address`: where it asks from. `scopes` (empty: all that its user has) and `audience`: of the tokens it wants.
    """

    client: str
    scopes: list[str] = field(default_factory=list)
    audience: str = ""
    address: str = ""


@dataclass(frozen=True)
class DeviceBeginReply:
    """`device_code` is the device's secret, `user_code` what its user types (`BCDF-GHJK`). Seconds; poll each `interval`."""

    device_code: str = field(repr=False)
    user_code: str
    expires_in: int
    interval: int


@dataclass(frozen=True)
class DeviceShowRequest:
    """What waits under a code that the caller typed, in any case, with or without the dash."""

    user_code: str


@dataclass(frozen=True)
class DeviceInfo:
    """A device that waits. `scopes` are those it asks for (empty: all that the caller has); `expires`: Unix seconds.

    `audience`: for whom its tokens are to be, empty for this server itself.
    """

    user_code: str
    client: str
    address: str
    scopes: list[str] = field(default_factory=list)
    expires: float = 0.0
    state: str = "pending"
    audience: str = ""


@dataclass(frozen=True)
class DeviceApproveRequest:
    """Sign the device in as the caller, or refuse it. `session`: the caller's own session, whose assurance level it gets."""

    user_code: str
    session: str
    approve: bool = True


@dataclass(frozen=True)
class DeviceTokenRequest:
    """The device asks whether it is signed in (RFC 8628, section 3.4)."""

    device_code: str = field(repr=False)


@dataclass(frozen=True)
class ElevationAssumeRequest:
    """Act under a delegation in the caller's own session from now on; an empty `id` lays down whatever is in force in it."""

    id: str
    session: str
