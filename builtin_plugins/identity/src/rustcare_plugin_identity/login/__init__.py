"""Signing in: what is counted, what waits, what is handed on.

| module | one idea |
|---|---|
| `lockout` | how wrong passwords slow down, and then stop, those that follow |
| `addresses` | the same for who tries many names from one place |
| `tickets` | logins that wait for their second factor |
| `links` | links that work once |
| `devices` | browsers that are known again |
| `flows` | the services: password, factor, passkey, step-up |
| `recovery` | the services: links to set a password, and what they do |
"""

from __future__ import annotations

from .addresses import Addresses
from .devices import Devices
from .links import Link, Links
from .lockout import Lockout
from .tickets import Ticket, Tickets

__all__ = ["Addresses", "Devices", "Link", "Links", "Lockout", "Ticket", "Tickets"]
