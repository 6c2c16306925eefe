"""Small plugin packages for tests, written to a folder as an author would have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent

__all__ = ["write_plugin"]


def write_plugin(
    folder: Path,
    source: str,
    *,
    id: str = "test.subject",
    version: str = "1.0.0",
    entry: str = "Subject",
    capabilities: Sequence[str] = (),
    optional: Sequence[str] = (),
    files: Mapping[str, str] | None = None,
    extra: str = "",
) -> Path:
    """Write a trusted plugin: `source` is the module, `extra` more of `plugin.toml`. The folder, ready to install."""
    package = "subject_plugin"
    target = folder / f"{id}-{version}" / "src" / package
    target.mkdir(parents=True)
    (target / "__init__.py").write_text("")
    (target / "plugin.py").write_text(dedent(source))
    for name, text in (files or {}).items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_text(dedent(text))
    asked = "".join(
        f'[[capability]]\nuse = "{use}"\nreason = "the test needs it"\navailability = "{kind}"\n'
        for kind, uses in (("required", capabilities), ("optional", optional))
        for use in uses
    )
    (target / "plugin.toml").write_text(
        f'schema = 1\n[plugin]\nid = "{id}"\nversion = "{version}"\nsummary = "made for a test"\n'
        f'engine = ">=0.1,<0.2"\nlicense = "Apache-2.0"\n'
        f'[runtime]\npython = {{ entry = "{package}.plugin:{entry}" }}\n{asked}{dedent(extra)}'
    )
    (target.parent.parent / "pyproject.toml").write_text(f'[project]\nname = "{package}"\nversion = "{version}"\n')
    return target.parent.parent
