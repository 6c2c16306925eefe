"""Second factors: authenticator apps, passkeys, recovery codes.

| module | one idea |
|---|---|
| `totp` | codes of RFC 6238, their secret and the picture that shows it |
| `challenge` | what an authenticator signs: stateless until it is answered, then never again |
| `relying_party` | who a passkey is for, from the origin that the browser is at |
| `passkeys` | WebAuthn: make a passkey, sign in with one |
| `recovery` | codes for the day that the other factors are lost |
| `attempts` | how many wrong codes an account may try |
| `factors` | all of them behind one door |
| `refusals` | why not |
"""

from __future__ import annotations

from .factors import FactorResult, Factors
from .relying_party import FactorRules, RelyingParty

__all__ = ["FactorResult", "FactorRules", "Factors", "RelyingParty"]
