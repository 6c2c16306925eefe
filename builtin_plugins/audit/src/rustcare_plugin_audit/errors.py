"""Errors of the audit log."""

from __future__ import annotations

from rustcare_sdk.errors import RustCareError

__all__ = [
    "AuditWriteFailed",
    "EntryNotFound",
    "InvalidRequest",
    "LogCorrupt",
    "NoteInvalid",
    "PolicyInvalid",
    "ProofInvalid",
]


class EntryNotFound(RustCareError):
    """There is no entry at this place of the log, or none that the caller may see."""

    code = "audit.entry-not-found"


class InvalidRequest(RustCareError):
    """A request to the audit log does not make sense."""

    code = "audit.invalid-request"


class PolicyInvalid(RustCareError):
    """The audit policy in the configuration is not well formed."""

    code = "audit.policy-invalid"


class ProofInvalid(RustCareError):
    """A Merkle proof does not prove what it should."""

    code = "audit.proof-invalid"


class NoteInvalid(RustCareError):
    """A signed note, checkpoint, verifier key or proof text is not well formed, or a signature is missing or wrong."""

    code = "audit.note-invalid"


class AuditWriteFailed(RustCareError):
    """Entries could not be made durable: none of them is acknowledged."""

    code = "audit.write-failed"


class LogCorrupt(RustCareError):
    """What is stored does not hash to what was signed.

    Attributes:
        leaf: the index of the first entry that is wrong, None when it is no entry.
        checkpoint: the size of the first checkpoint that is wrong, None when it is none.
    """

    code = "audit.log-corrupt"

    def __init__(
        self,
        message: str,
        *,
        hint: str = "restore the log from a backup, or from what was exported, and compare with a witness",
        address: str = "",
        leaf: int | None = None,
        checkpoint: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint, address=address)
        self.leaf = leaf
        self.checkpoint = checkpoint
