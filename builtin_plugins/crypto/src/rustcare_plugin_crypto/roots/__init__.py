"""Roots: what wraps the keyring key, and nothing else. Changing the root wraps one key anew; no data is touched.

`_contract` says what a root is → `derived` (a random secret, or a passphrase through argon2id), `age` (an age/X25519
identity), `pkcs11` (a key inside a token) → `opening` picks one by its description.
"""

from ._contract import KINDS, Root, RootDescription
from .opening import describe_root, open_root

__all__ = ["KINDS", "Root", "RootDescription", "describe_root", "open_root"]
