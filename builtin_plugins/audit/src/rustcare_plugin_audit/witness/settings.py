"""The witnesses of the configuration: `witnesses`, a list of objects.

| key | meaning |
|---|---|
| `url` | the submission prefix, `http://` or `https://` |
| `keys` | the witness's verifier keys (vkeys; type 0x04 Ed25519, 0x06 ML-DSA-44), one or more of one name |
| `ca` | a file to verify its TLS certificate with, empty for the system's |
| `timeout` | seconds for each step, default 5, at most 20 |
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from rustcare_plugin_audit.notes import COSIGNATURE, MLDSA44, VerifierKey

from .errors import WitnessInvalid

__all__ = ["WitnessSettings", "read_witnesses"]

_URL = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    keys: list[str]
    ca: str = ""
    timeout: float = 5.0


class WitnessSettings(msgspec.Struct, frozen=True):
    """One witness. `name`: the name of its keys."""

    name: str
    url: str
    keys: tuple[VerifierKey, ...]
    ca: str = ""
    timeout: float = 5.0

    def tls(self) -> ssl.SSLContext:
        """The server is always verified."""
        return ssl.create_default_context(cafile=self.ca or None)


def read_witnesses(rows: Iterable[Mapping[str, Any]]) -> list[WitnessSettings]:
    """The witnesses. Raises WitnessInvalid."""
    found: list[WitnessSettings] = []
    for position, row in enumerate(rows):
        address = f"config.witnesses[{position}]"
        try:
            one = msgspec.convert(dict(row), _Row)
            keys = tuple(VerifierKey.parse(text) for text in one.keys)
        except Exception as error:
            raise WitnessInvalid(
                str(error), hint="docs/how-to/add-a-witness.md lists the keys", address=address
            ) from None
        if not keys or len({key.name for key in keys}) != 1:
            raise WitnessInvalid("expected one verifier key or more, all of one name", address=f"{address}.keys")
        if any(key.kind not in (COSIGNATURE, MLDSA44) for key in keys):
            raise WitnessInvalid(
                "expected cosigners' keys, of type 0x04 (Ed25519) or 0x06 (ML-DSA-44)", address=f"{address}.keys"
            )
        if not _URL.fullmatch(one.url):
            raise WitnessInvalid("expected an http or https address without a password", address=f"{address}.url")
        if not 0.1 <= one.timeout <= 20:
            raise WitnessInvalid(f"expected 0.1 to 20 seconds, got {one.timeout}", address=f"{address}.timeout")
        if any(other.name == keys[0].name for other in found):
            raise WitnessInvalid(f"expected each witness once, got {keys[0].name} twice", address=address)
        found.append(WitnessSettings(keys[0].name, one.url, keys, one.ca, one.timeout))
    return found
