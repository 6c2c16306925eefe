"""Logging: JSON lines, the last of them in memory, and nothing a plugin passes can break or forge an entry."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rustcare_kernel.logs import Logs, describe
from rustcare_sdk.errors import NoProvider


def lines(level: str = "info") -> tuple[Logs, list[dict[str, Any]]]:
    """A log and what it wrote."""
    written: list[dict[str, Any]] = []
    return Logs(level, lambda line: written.append(json.loads(line))), written


def test_an_entry_has_time_level_plugin_event_and_fields() -> None:
    """One JSON object a line, ended by a newline."""
    log, written = lines()
    log.of("acme.one").info("started", port=2575)
    entry = written[0]
    assert list(entry) == ["time", "level", "plugin", "event", "port"]
    assert (entry["level"], entry["plugin"], entry["event"], entry["port"]) == ("info", "acme.one", "started", 2575)
    raw: list[bytes] = []
    Logs("info", raw.append).of("x").error("e")
    assert raw[0].endswith(b"}\n")


def test_the_level_decides_what_is_written_and_everything_is_kept() -> None:
    """Below the threshold nothing is written, but `plugin logs` still shows it."""
    log, written = lines("warning")
    logger = log.of("acme.one")
    for level in ("debug", "info", "warning", "error"):
        getattr(logger, level)(f"an {level}")
    assert [entry["level"] for entry in written] == ["warning", "error"]
    assert [entry["level"] for entry in log.tail("acme.one")] == ["debug", "info", "warning", "error"]
    assert [entry["level"] for entry in log.tail("acme.one", 1)] == ["error"]
    silent, nothing = lines("silent")
    silent.of("acme.one").error("x")
    assert nothing == []


def test_a_plugin_cannot_write_in_anothers_name() -> None:
    """Fields named like the entry's own do not replace them."""
    log, written = lines()
    log.of("acme.one").info("x", plugin="acme.two", level="error", time="1970")
    assert (written[0]["plugin"], written[0]["level"]) == ("acme.one", "info")
    assert written[0]["time"] != "1970"
    assert log.tail("acme.two") == []


def test_nothing_that_is_logged_can_fail() -> None:
    """Whatever is passed as a field, logging does not raise into the plugin."""
    log, written = lines()

    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    for value in (object(), {1: 2}, {("a", "b"): 1}, 2**80, float("nan"), {1, 2}, b"bytes", Odd(), [Odd()]):
        log.of("acme.one").info("odd", value=value)
    assert [entry["event"] for entry in written] == ["odd"] * 9


def test_memory_is_bounded_and_forgetting_forgets() -> None:
    """The last thousand entries of each plugin are kept, until it is removed."""
    log, _ = lines("silent")
    for number in range(Logs.KEPT + 10):
        log.of("acme.one").info("x", number=number)
    assert len(log.tail("acme.one", 10_000)) == Logs.KEPT
    assert log.tail("acme.one", 1)[0]["number"] == Logs.KEPT + 9
    log.forget("acme.one")
    assert log.tail("acme.one") == []


def test_errors_are_described_without_foreign_texts() -> None:
    """Ours with code, reason and hint; of any other exception only the type, because its text may hold patient data."""
    assert describe(NoProvider("nobody", hint="install it")) == {
        "error": "bus.no-provider",
        "reason": "nobody",
        "hint": "install it",
    }
    assert describe(ValueError("Jane Doe")) == {"error": "ValueError"}


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a sink lines go to standard error, as it is at that moment."""
    Logs("info").of("acme.one").info("hello")
    assert json.loads(capsys.readouterr().err)["event"] == "hello"
