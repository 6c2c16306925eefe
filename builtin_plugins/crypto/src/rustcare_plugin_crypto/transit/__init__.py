"""The HTTP API of Vault's transit engine, as plain functions from a request to a reply: for a gateway to mount.

`forms` reads bodies and writes answers → `data` (encrypt, decrypt, sign …) and `keys` (create, rotate, export …) answer →
`routing` finds the one for a method and a path, and turns errors into Vault's `{"errors": […]}`.

Where Vault and this keyring differ: no algorithm is weaker than the keyring's own; a signature's hash is that of its
algorithm, and prehashed input is refused; there is no convergent encryption, and an unknown key is never made in passing.
"""

from .routing import Transit

__all__ = ["Transit"]
