"""A name for a device from what a browser says of itself: "Firefox on Linux". Nothing is decided by it."""

from __future__ import annotations

__all__ = ["NAME", "clean_name", "device_name"]

#: Characters of a name at most.
NAME = 100

#: The first that is found counts: most browsers also claim to be some of those below.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("rustcare", "RustCare command line"),
    ("curl/", "curl"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def device_name(agent: str) -> str:
    """The browser and the system, as far as they are known."""
    browser = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return " on ".join(part for part in (browser, system) if part) or "Unknown device"


def clean_name(name: str) -> str:
    """A name that somebody gave: one line of printable characters, not too long."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in name).split())[:NAME]
