"""The commands of `rustcare audit` and `rustcare crypto`, by name. A pair of help and commands is a group of its own.

`verify_audit.py` is the stand-alone verifier of `examples/verify_audit`, byte for byte: what an operator runs is what an
outsider runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["audit_commands", "crypto_commands"]


def audit_commands() -> Mapping[str, Any]:
    """`rustcare audit …`."""
    from . import entries, evidence, holds, reports, retention

    return {
        "tail": entries.tail,
        "search": entries.search,
        "show": entries.show,
        "status": entries.status,
        "prove": evidence.prove,
        "verify": evidence.verify,
        "export": evidence.export,
        "report": reports.report,
        "hold": (
            "Legal holds: what must not be disposed of.",
            {"place": holds.place, "release": holds.release, "list": holds.list_holds},
        ),
        "retention": (
            "What may be disposed of, and disposing of it.",
            {"plan": retention.plan, "prune": retention.prune, "shred": retention.shred},
        ),
    }


def crypto_commands() -> Mapping[str, Any]:
    """`rustcare crypto …`."""
    from . import data, keys

    commands: dict[str, Callable[..., Any]] = {
        "create": keys.create,
        "list": keys.list_keys,
        "rotate": keys.rotate,
        "disable": keys.disable,
        "destroy": keys.destroy,
    }
    return {
        "key": ("The keys of the keyring.", commands),
        "encrypt": data.encrypt,
        "decrypt": data.decrypt,
        "sign": data.sign,
        "verify": data.verify,
    }
