"""What no file may hold, what every file must, and links that lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.project import ROOT, all_files, documents, files_with_tests, source_files

MAX_LINES = 600
STAND_ALONE = {"examples/verify_audit/verify_audit.py", "cli/src/rustcare_cli/trust/verify_audit.py"}

# Written so that this file does not hold what it forbids.
REGISTRY_HOSTS = tuple(
    host.replace("+", "").replace(" ", ".")
    for host in (
        "pypi org", "python+hosted org", "crates io", "npmjs org", "npmjs com", "proxy golang org", "maven org",
        "deb debian org", "docker io", "ghcr io", "quay io",
    )
)  # fmt: skip
# Below `Users` a name and more: the name alone is an endpoint of SCIM (RFC 7644).
MACHINE_PATHS = tuple("/" + path for path in ("work/", "root/", "home/", r"Users/[\w.-]+/", "opt/wheels"))
UNFINISHED = tuple("".join(parts) for parts in (("TO", "DO"), ("FIX", "ME"), ("HA", "CK"), ("T", "BD"), ("W", "IP")))


def text_of(path: Path) -> str | None:
    """A file's text, or None for a binary one."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def lines_with(pattern: str) -> list[str]:
    """Where a pattern occurs in the project, as `file:line`."""
    expression = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in all_files()
        if (text := text_of(path)) is not None
        for number, line in enumerate(text.splitlines(), 1)
        if expression.search(line)
    ]


def test_no_file_names_a_registry_host() -> None:
    """Where packages come from is the configuration of whoever installs them."""
    assert lines_with("|".join(map(re.escape, REGISTRY_HOSTS))) == []


def test_no_file_names_a_machine() -> None:
    """No path of a developer's machine is in the project."""
    assert lines_with(r"(?<![\w.}/-])(" + "|".join(MACHINE_PATHS) + ")") == []


def test_nothing_is_left_unfinished() -> None:
    """What is not done is not in the code as a note; it is done, or it is in the changelog of a later version."""
    assert lines_with(r"\b(" + "|".join(UNFINISHED) + r")\b") == []


def test_modules_are_short() -> None:
    """No module is longer than 600 lines, but for the stand-alone verifier: its reader needs this one file and no other."""
    sizes = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in source_files()}
    assert {name for name, size in sizes.items() if size > MAX_LINES} - STAND_ALONE == set()


def test_every_package_has_an_init() -> None:
    """Every folder of modules below a `src` has an `__init__.py`, so that tools that walk packages see it."""
    folders = {path.parent for path in source_files() if "src" in path.parts and "templates" not in path.parts}
    missing = [folder for folder in folders if folder.name != "src" and not (folder / "__init__.py").is_file()]
    assert sorted(str(folder.relative_to(ROOT)) for folder in missing) == []


def rules_in(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The test functions of a file, those in classes included."""
    return [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]


def test_every_test_states_its_rule() -> None:
    """Every test function has a docstring: the rule that it checks."""
    missing = [
        f"{path.relative_to(ROOT)}:{function.lineno}: {function.name}"
        for path in files_with_tests()
        for function in rules_in(path)
        if not ast.get_docstring(function)
    ]
    assert missing == []


def test_every_member_has_tests() -> None:
    """Every member that has code beyond its `__init__` has tests of its own."""
    for package in sorted({path.parents[1] for path in source_files() if path.parts[-3:-2] == ("src",)}):
        member = package.parent
        modules = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
        assert not modules or any(path.is_relative_to(member / "tests") for path in files_with_tests()), member.name


def anchors(text: str) -> set[str]:
    """The anchors of a Markdown file's headings, as the usual renderers make them."""
    headings = re.findall(r"^#+ (.+?) *$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    """Every link inside the project points at a file that is there, and at a heading that is in it."""
    broken = []
    prose = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / name).resolve() if name else path
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file.read_text())):
            broken.append(target)
    assert broken == []


def test_every_document_can_be_found() -> None:
    """Every page under docs/ is reached by links from docs/README.md."""
    pages = {path for path in documents() if path.is_relative_to(ROOT / "docs")}
    seen: set[Path] = set()
    waiting = [ROOT / "docs" / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        for target in re.findall(r"\]\(([^)\s#:]+)(?:#[^)]*)?\)", page.read_text()):
            file = (page.parent / target).resolve()
            if file in pages:
                waiting.append(file)
    assert sorted(str(page.relative_to(ROOT)) for page in pages - seen) == []
