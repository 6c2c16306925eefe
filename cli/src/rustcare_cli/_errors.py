"""What can go wrong on the command line itself."""

from __future__ import annotations

from typing import ClassVar

from rustcare_sdk.errors import RustCareError

__all__ = [
    "BuildFailed",
    "CheckFailed",
    "CommandFailed",
    "ConsentMissing",
    "EvidenceContradicted",
    "NotSignedIn",
    "ServerUnreachable",
    "SignInFailed",
    "TargetExists",
]


class CommandFailed(RustCareError):
    """A command cannot do what it was asked for."""

    code: ClassVar[str] = "cli.failed"


class ConsentMissing(RustCareError):
    """A package asks for capabilities and nobody consented to them."""

    code: ClassVar[str] = "cli.consent-missing"


class TargetExists(RustCareError):
    """What a command would write is there already."""

    code: ClassVar[str] = "cli.target-exists"


class BuildFailed(RustCareError):
    """A tool that builds a plugin failed."""

    code: ClassVar[str] = "cli.build-failed"


class CheckFailed(RustCareError):
    """`plugin check` found errors."""

    code: ClassVar[str] = "cli.check-failed"


class EvidenceContradicted(RustCareError):
    """The log does not extend what an earlier export of it says."""

    code: ClassVar[str] = "cli.evidence-contradicted"


class ServerUnreachable(RustCareError):
    """No server answers at a URL, or what answers is not a RustCare server."""

    code: ClassVar[str] = "cli.server-unreachable"


class NotSignedIn(RustCareError):
    """There is no token for a server, or the server does not take it any more."""

    code: ClassVar[str] = "cli.not-signed-in"


class SignInFailed(RustCareError):
    """Nobody approved the sign-in of the command line, or not in time."""

    code: ClassVar[str] = "cli.sign-in-failed"
