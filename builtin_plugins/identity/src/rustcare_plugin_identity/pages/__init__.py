"""The pages of accounts: plain HTML from the server, one style sheet, a script for passkeys, and one against sending twice.

| module | one idea |
|---|---|
| `rendering` | a template and what is known become a response with the headers of a page |
| `browser` | what a browser keeps and sends: cookies, where to go on, what it is |
| `base` | what all pages share |
| `assets`, `static_files` | style sheet, scripts, icon |
| `signing_in` | name, password, passkey, second factor, signing out |
| `joining` | pages that begin with a link or make an account |
| `account` | account security: what one has, and where one is signed in |
| `address` | another e-mail address |
| `factors` | adding and removing factors |
| `emergency` | break-glass access |
| `devices` | a program or device that signs in |

Forms post and are answered by a redirect; what went wrong is shown on the form itself. No page has a secret in its address:
one that comes in a link is put into a cookie at once, and the address is left.
"""

from __future__ import annotations

from .account import AccountPages
from .address import AddressPages
from .assets import AssetRoutes
from .devices import DevicePages
from .emergency import EmergencyPages
from .factors import FactorPages
from .joining import JoiningPages
from .signing_in import SigningInPages

__all__ = ["Pages"]


class Pages(
    AssetRoutes, SigningInPages, JoiningPages, AccountPages, AddressPages, FactorPages, EmergencyPages, DevicePages
):
    """All pages."""
