"""Data files that are shipped beside the code: read from the package, wherever it was loaded from."""

from __future__ import annotations

import pkgutil

__all__ = ["shipped"]


def shipped(package: str, name: str) -> str:
    """The text of a file of a package, such as `controls/gdpr.toml`. Raises FileNotFoundError."""
    data = pkgutil.get_data(package, name)
    if data is None:
        raise FileNotFoundError(name)
    return data.decode()
