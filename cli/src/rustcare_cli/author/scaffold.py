"""`plugin new`: the tree of a plugin, the same as that of every built-in one."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from rustcare_cli._errors import CommandFailed, TargetExists

__all__ = ["RUNTIMES", "write_plugin"]

RUNTIMES = ("python", "component", "extism")
_PART = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_SUFFIX = ".tmpl"  # keeps the linters of this project away from what is not Python yet


def write_plugin(name: str, runtime: str, into: Path | None = None) -> tuple[Path, list[str]]:
    """Write a new plugin; its folder and its files.

    Raises:
        CommandFailed: the name or the runtime is not one.
        TargetExists: the folder is there already, and not empty.
    """
    if runtime not in RUNTIMES:
        raise CommandFailed(f"Expected a runtime of {', '.join(RUNTIMES)}, got {runtime!r}", address="--runtime")
    publisher, _, short = name.rpartition(".")
    publisher = publisher or "example"
    if not (_PART.fullmatch(publisher) and _PART.fullmatch(short)):
        raise CommandFailed(
            f"Expected NAME or PUBLISHER.NAME in lower-case letters, digits and single hyphens, got {name!r}",
            address="NAME",
            hint=f"such as {suggestion(short)} or acme.{suggestion(short)}",
        )
    folder = into if into is not None else Path(short)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TargetExists(
            "Expected a new or an empty folder", address=str(folder), hint="choose another one with --into DIR"
        )
    values = _values(publisher, short, runtime)
    source = files("rustcare_cli") / "templates" / ("extism" if runtime == "extism" else "python")
    written = _write(source, folder, values)
    return folder, sorted(written)


def suggestion(text: str) -> str:
    """The nearest allowed name."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", text).lower()
    return re.sub(r"[^a-z0-9]+", "-", words).strip("-").lstrip("0123456789-") or "ward-bell"


def _values(publisher: str, short: str, runtime: str) -> dict[str, str]:
    package = f"{publisher}_{short}".replace("-", "_")
    python = f'python = {{ entry = "{package}.plugin:{_class(short)}" }}'
    runtimes = {
        "python": python,
        "component": f'component = {{ path = "{package}.wasm" }}\n{python}',
        "extism": f'extism = {{ path = "{package}.wasm" }}',
    }
    builds = {
        "python": "a wheel and an OCI layout, in dist/",
        "component": "the component, a wheel and an OCI layout, in dist/",
        "extism": "the module, a wheel and an OCI layout, in dist/",
    }
    title = short.replace("-", " ").capitalize()
    return {
        "id": f"{publisher}.{short}",
        "name": short,
        "short": short.replace("-", "_"),
        "distribution": f"{publisher}-{short}",
        "package": package,
        "class": _class(short),
        "title": title,
        "summary": f"{title}: greets, counts, and tells others",
        "runtime": runtimes[runtime],
        "builds": builds[runtime],
    }


def _class(short: str) -> str:
    return "".join(word.capitalize() for word in short.split("-"))


def _write(source: Traversable, folder: Path, values: dict[str, str], prefix: str = "") -> list[str]:
    written = []
    for item in source.iterdir():
        if item.name == "__pycache__":
            continue
        name = item.name.replace("__package__", values["package"]).replace("dot_", ".", 1)
        if item.is_dir():
            written += _write(item, folder / name, values, f"{prefix}{name}/")
            continue
        path = folder / name.removesuffix(_SUFFIX)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_fill(item.read_text(), values))
        written.append(prefix + path.name)
    return written


def _fill(text: str, values: dict[str, str]) -> str:
    return re.sub(r"@(\w+)@", lambda found: values.get(found[1], found[0]), text)
