"""What people run, what CI runs and what is pinned are the same."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest

from tests.architecture.project import ROOT, fenced, members, pyproject

LOCKS = ("requirements.lock", "requirements-uv.lock")


def commands(document: str) -> list[str]:
    """The `$ ` lines of a document's console blocks."""
    blocks = fenced((ROOT / document).read_text(), "console")
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]


def ci_commands() -> list[str]:
    """The commands of `.ci/run`: what follows the move to the repository's root."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("cd "))
    return [line for line in lines[start + 1 :] if line and not line.startswith("#")]


def test_ci_runs_what_people_run() -> None:
    """`.ci/run` is the linter, then the test command of the README, word for word; both are in CONTRIBUTING."""
    (test_command,) = (line for line in commands("README.md") if re.match(r"make test\b", line))
    assert ci_commands() == ["make lint", test_command]
    assert sorted(commands("CONTRIBUTING.md")) == ["make lint", test_command]


def test_ci_stops_at_the_first_failure() -> None:
    """`.ci/run` is a bash script that fails when one of its commands does."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines


@pytest.mark.parametrize("target", ["setup", "demo", "test", "lint", "bench", "help"])
def test_make_has_the_target(target: str) -> None:
    """The targets that the documentation names exist, and `make help` shows them."""
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    assert re.search(rf"^  make {target} ", shown, re.M)


def test_documents_name_only_targets_that_exist() -> None:
    """Every `make` command in the documentation is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"(?:^\$ |`)make ([a-z]+)", path.read_text(), re.M):
            assert target in targets, f"{path.relative_to(ROOT)} names make {target}"


@pytest.mark.parametrize("name", LOCKS)
def test_the_lock_names_no_address(name: str) -> None:
    """The pinned requirements hold names, versions, markers and hashes: no index, no address, no path."""
    text = (ROOT / name).read_text()
    pinned = re.sub(r"^ *#.*$", "", text, flags=re.M)
    for line in filter(None, map(str.strip, pinned.splitlines())):
        assert re.fullmatch(r"[a-z0-9][a-z0-9.-]*==[^ ]+( ; [^\\/]+)? \\|--hash=sha256:[0-9a-f]{64}( \\)?", line), line
    assert not re.search(r"://|--(extra-)?index-url|--find-links|-e |/tmp|\.\./", text)


def test_the_lock_has_a_hash_for_everything() -> None:
    """Every pinned package carries at least one hash, and stands once."""
    packages = re.split(r"^(?=[a-z0-9])", re.sub(r"^#.*\n", "", (ROOT / LOCKS[0]).read_text(), flags=re.M), flags=re.M)[
        1:
    ]
    names = [package.split("==")[0] for package in packages]
    assert len(set(names)) == len(names)
    assert [name for name, package in zip(names, packages, strict=True) if "--hash=sha256:" not in package] == []


def test_the_lock_covers_what_is_declared() -> None:
    """Every dependency that a member or the development group declares is pinned."""
    declared = list(pyproject()["dependency-groups"]["dev"])
    for member in members():
        project = tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]
        declared += project["dependencies"]
        for extra in project.get("optional-dependencies", {}).values():
            declared += extra
    names = {re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-") for requirement in declared}
    pinned = set(re.findall(r"^([a-z0-9][a-z0-9.-]*)==", (ROOT / LOCKS[0]).read_text(), re.M))
    assert {name for name in names if not name.startswith("rustcare")} - pinned == set()


def test_both_licences_are_there_in_full() -> None:
    """The two licences that the metadata names lie in the root, in full."""
    assert pyproject()["project"]["license"] == "MIT OR Apache-2.0"
    assert "Permission is hereby granted, free of charge" in (ROOT / "LICENSE-MIT").read_text()
    assert "END OF TERMS AND CONDITIONS" in (ROOT / "LICENSE-APACHE").read_text()
