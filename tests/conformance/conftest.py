"""Puts the conformance figures into the last lines of a test run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

FIGURE = "conformance"


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Lines for the summary at the end of the run."""
    lines: list[str] = []
    yield lines
    # As properties they are in the test's report, which is all that comes back from a process that ran it for another.
    request.node.user_properties.extend((FIGURE, line) for line in lines)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests reported, in the order of their names."""
    ended = [each for each in terminalreporter.getreports("") if each.when == "teardown"]
    lines = [
        text
        for each in sorted(ended, key=lambda each: each.nodeid)
        for name, text in each.user_properties
        if name == FIGURE
    ]
    if lines:
        terminalreporter.section("conformance")
        for line in lines:
            terminalreporter.write_line(line)
