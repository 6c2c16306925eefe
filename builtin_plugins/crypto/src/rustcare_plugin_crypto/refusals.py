"""What can go wrong with keys. None of these texts holds a key, a plaintext or a subject's name."""

from __future__ import annotations

from rustcare_sdk import RustCareError

__all__ = [
    "CampaignUnfinished",
    "InvalidRequest",
    "KeyExists",
    "KeyForbidden",
    "KeyUnknown",
    "KeyUnsuitable",
    "KeyVersionState",
    "KeyringDamaged",
    "RootRefused",
    "StreamUnknown",
    "SubjectUnknown",
]


class InvalidRequest(RustCareError):
    """A request is not well formed."""

    code = "crypto.request-invalid"


class KeyUnknown(RustCareError):
    """There is no key of this name, or no such version."""

    code = "crypto.key-unknown"


class KeyExists(RustCareError):
    """There is a key of this name already, and it is another one."""

    code = "crypto.key-exists"


class KeyForbidden(RustCareError):
    """The caller may not use this key, or may not do this with it."""

    code = "crypto.key-forbidden"


class KeyUnsuitable(RustCareError):
    """A key's algorithm cannot do what was asked."""

    code = "crypto.key-unsuitable"


class KeyVersionState(RustCareError):
    """A version of a key is in a state that does not allow what was asked."""

    code = "crypto.key-state"


class KeyringDamaged(RustCareError):
    """What is stored of a key is not what the keyring wrote."""

    code = "crypto.keyring-damaged"


class RootRefused(RustCareError):
    """The root does not open the keyring, or cannot be used; nothing was changed."""

    code = "crypto.root-refused"


class CampaignUnfinished(RustCareError):
    """A rewrap campaign cannot be continued or ended like this."""

    code = "crypto.campaign-unfinished"


class StreamUnknown(RustCareError):
    """A stream of chunks is not known (any more): begin anew."""

    code = "crypto.stream-unknown"


class SubjectUnknown(RustCareError):
    """A subject has no key that could be destroyed."""

    code = "crypto.subject-unknown"
