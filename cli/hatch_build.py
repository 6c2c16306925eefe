"""Puts the hostile packages into the wheel: from the checkout's `examples/hostile`, or from where the sdist has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_SUFFIXES = (".toml", ".wasm", ".wat", ".py")


class HostilePackages(BuildHookInterface):  # type: ignore[type-arg]
    """Adds them file by file: the demo reads them from `rustcare_cli/demo/hostile_packages`."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is `editable` for an editable install, which reads the checkout itself."""
        if version == "editable":
            return
        here = Path(self.root)
        in_sdist = here / "hostile_packages"
        source = in_sdist if in_sdist.is_dir() else here.parent / "examples" / "hostile"
        target = "rustcare_cli/demo/hostile_packages" if self.target_name == "wheel" else "hostile_packages"
        files = [
            path for path in sorted(source.rglob("*")) if path.suffix in _SUFFIXES and "__pycache__" not in path.parts
        ]
        if not files:
            raise FileNotFoundError(f"expected the hostile packages in {source}, found none")
        for path in files:
            build_data["force_include"][str(path)] = f"{target}/{path.relative_to(source).as_posix()}"
