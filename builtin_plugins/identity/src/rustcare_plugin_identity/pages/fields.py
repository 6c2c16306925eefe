"""Fields that several forms have, as arguments of the macro `field`. What browsers fill in depends on `autocomplete`."""

from __future__ import annotations

from typing import Any

__all__ = ["account", "current_password", "display_name", "email", "new_password", "sign_in_name"]

Field = dict[str, Any]


def sign_in_name(value: str, label: str = "Name to sign in with", maxlength: int = 64) -> Field:
    """The name that one signs in with."""
    return {"name": "name", "label": label, "value": value, "autocomplete": "username", "maxlength": maxlength}


def account(value: str) -> Field:
    """Whose password it is: not to be changed, there for password managers and for who reads."""
    return {
        "name": "account-name",
        "label": "You sign in as",
        "value": value,
        "autocomplete": "username",
        "readonly": True,
        "required": False,
        "mark_optional": False,
    }


def display_name(value: str) -> Field:
    """The name that others see."""
    return {
        "name": "display_name",
        "label": "Your name, as others see it",
        "value": value,
        "autocomplete": "name",
        "required": False,
        "maxlength": 128,
    }


def email(value: str, *, required: bool = True) -> Field:
    """An e-mail address."""
    return {
        "name": "email",
        "label": "E-mail address",
        "type": "email",
        "value": value,
        "autocomplete": "email",
        "required": required,
        "maxlength": 254,
    }


def current_password() -> Field:
    """The password that there is."""
    return {
        "name": "current",
        "label": "The password that you have",
        "type": "password",
        "autocomplete": "current-password",
        "maxlength": 1024,
    }


def new_password(minimum: int, *, required: bool = True, more: str = "") -> Field:
    """A new password of at least so many characters."""
    return {
        "name": "password",
        "label": "New password",
        "type": "password",
        "autocomplete": "new-password",
        "hint": f"At least {minimum} characters. A few words that nobody would put together are good.{more}",
        "required": required,
        "maxlength": 1024,
    }
