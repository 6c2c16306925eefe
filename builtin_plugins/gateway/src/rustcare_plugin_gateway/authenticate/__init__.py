"""Who a credential belongs to.

| module | one idea |
|---|---|
| `base64url`, `json_object` | text that can be read in one way only |
| `jwk` | public keys, each for one algorithm |
| `jws` | a signed token, taken apart and verified |
| `claims`, `callers` | whether its claims hold now, and who they say the caller is |
| `key_set`, `fetch`, `issuers` | whose tokens are accepted, with which keys, and where those come from |
| `cache`, `refused` | what was found out, until it ends |
| `revoked`, `revisions` | what was revoked, and whether all of it is known |
| `authenticator` | all of these together |
"""

from .authenticator import Authenticator
from .cache import Kind

__all__ = ["Authenticator", "Kind"]
