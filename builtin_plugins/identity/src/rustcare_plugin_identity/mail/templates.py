"""The texts of mails: plain, short, each with one link at most, and never a password.

What somebody else typed (a shown name, a browser's name) is put in as one line of printable text, so that it cannot pass for
another part of the mail.
"""

from __future__ import annotations

from msgspec import Struct

__all__ = [
    "Mail",
    "already_registered",
    "email_changed",
    "emergency_access",
    "factors_changed",
    "invite",
    "new_device",
    "password_changed",
    "recover",
    "register",
    "verify_email",
]

_LINE = 120


class Mail(Struct, frozen=True):
    """What is said. `to` is not here: the texts do not know whom they go to."""

    subject: str
    body: str

    def __repr__(self) -> str:
        return "<Mail>"


def _line(text: str) -> str:
    """One line of printable text that is no link."""
    kept = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(kept.replace("://", " ").split())[:_LINE]


def _mail(subject: str, *paragraphs: str) -> Mail:
    return Mail(_line(subject), "\n\n".join(part for part in paragraphs if part) + "\n")


def _greeting(name: str) -> str:
    return f"Hello {_line(name)}," if name else "Hello,"


def _valid(hours: float) -> str:
    span = f"{hours / 24:.0f} days" if hours > 48 else f"{hours:.0f} hours" if hours > 1 else "one hour"
    return f"The link works once, within {span}."


def invite(house: str, name: str, link: str, hours: float) -> Mail:
    """An account was made for somebody, who is to set its credentials."""
    return _mail(
        f"Your account at {house}",
        _greeting(name),
        f"an account was made for you at {_line(house)}. To set a password or a passkey for it, open:",
        link,
        _valid(hours),
    )


def register(house: str, link: str, hours: float) -> Mail:
    """Somebody gave this address to make an account of their own."""
    return _mail(
        f"Finish your registration at {house}",
        "Hello,",
        f"somebody, probably you, asked for an account at {_line(house)} with this address. To go on, open:",
        link,
        _valid(hours),
        "If it was not you, do nothing: no account is made.",
    )


def already_registered(house: str, name: str, link: str) -> Mail:
    """Somebody gave this address to make an account, and there is one."""
    return _mail(
        f"Your account at {house}",
        _greeting(name),
        f"somebody, probably you, asked for an account at {_line(house)} with this address. There is one already.",
        f"To sign in, open {link}" if link else "You can sign in with it.",
        "If you have lost your password, ask for a new one there. If it was not you, do nothing.",
    )


def recover(house: str, name: str, link: str, hours: float) -> Mail:
    """Somebody asked for a link to set a new password."""
    return _mail(
        f"A new password for {house}",
        _greeting(name),
        f"somebody, probably you, asked to set a new password for your account at {_line(house)}. To do so, open:",
        link,
        _valid(hours),
        "If it was not you, do nothing: your password stays as it is.",
    )


def verify_email(house: str, name: str, link: str, hours: float) -> Mail:
    """An address is to be shown to be its account's."""
    return _mail(
        f"Confirm your address for {house}",
        _greeting(name),
        f"to confirm that this address belongs to your account at {_line(house)}, open:",
        link,
        _valid(hours),
        "If you do not know of it, do nothing.",
    )


def new_device(house: str, name: str, device: str, address: str, when: str) -> Mail:
    """An account was signed in to from a browser that it had not used before."""
    return _mail(
        f"New sign-in to your account at {house}",
        _greeting(name),
        f"your account at {_line(house)} was signed in to from a device that it has not used before:",
        f"    device:  {_line(device)}\n    address: {_line(address) or 'unknown'}\n    time:    {_line(when)}",
        "If it was not you, change your password, end all other sessions, and tell your administrator.",
    )


def password_changed(house: str, name: str, when: str) -> Mail:
    """A password was set."""
    return _mail(
        f"Your password at {house} was changed",
        _greeting(name),
        f"the password of your account at {_line(house)} was changed ({_line(when)}).",
        "If it was not you, tell your administrator at once.",
    )


def email_changed(house: str, name: str, when: str) -> Mail:
    """To the address before: another one has taken its place."""
    return _mail(
        f"Your address at {house} was changed",
        _greeting(name),
        f"your account at {_line(house)} has another e-mail address from now on ({_line(when)}).",
        "If it was not you, tell your administrator at once.",
    )


def factors_changed(house: str, name: str, what: str, when: str) -> Mail:
    """A way to sign in was added or removed. `what`: which, in words that we choose."""
    return _mail(
        f"The ways to sign in to your account at {house} have changed",
        _greeting(name),
        f"{what} your account at {_line(house)} ({_line(when)}).",
        "If it was not you, end all other sessions, change your password, and tell your administrator at once.",
    )


def emergency_access(house: str, name: str, who: str, role: str, minutes: int, when: str) -> Mail:
    """To an administrator: somebody has broken the glass. The reason is not here, since it may speak of a patient."""
    return _mail(
        f"Emergency access at {house}",
        _greeting(name),
        f"an emergency access was begun at {_line(house)}:",
        f"    by:     {_line(who)}\n    role:   {_line(role)}\n    for:    {minutes} minutes\n    time:   {_line(when)}",
        "The reason that was given is with it. Somebody other than its user has to review it when it is over.",
    )
