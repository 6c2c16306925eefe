"""Follow a page of the documentation as a reader does: type its commands, write its files, compare what is printed.

A page's fenced blocks are its program:

* `console`: each line that begins with `$ ` is run by a shell, and must end with exit code 0. The lines below it must be
  among what it prints, in this order; `…` stands for anything, and runs of spaces count once.
* `console title="second terminal"`: its command goes on until the end of the page. The reader waits for the lines below
  it before going on.
* any other language with `title=PATH`: is written to that file.
"""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from types import TracebackType
from typing import Self

__all__ = ["Block", "Reader", "Step", "blocks_of"]

SECOND_TERMINAL = "second terminal"
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)(?P<rest>[^\n]*)\n(?P<text>.*?)^(?P=indent)```", re.M | re.S)
_TITLE = re.compile(r"""title=(?:"(?P<quoted>[^"]+)"|(?P<bare>\S+))""")


@dataclass(frozen=True)
class Step:
    """One command, and the lines that it is expected to print."""

    command: str
    expected: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """One fenced block of a page. `place` is `file:line`."""

    language: str
    title: str
    text: str
    place: str

    @property
    def steps(self) -> list[Step]:
        """The commands of a console block; a line that ends with a backslash goes on in the next."""
        steps: list[Step] = []
        for line in self.text.replace("\\\n", "").splitlines():
            if line.startswith("$ "):
                steps.append(Step(line[2:], ()))
            elif line.strip():
                assert steps, f"{self.place}: output before the first command"
                steps[-1] = Step(steps[-1].command, (*steps[-1].expected, line))
        return steps


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of a Markdown page, those inside lists included."""
    text = page.read_text()
    blocks = []
    for found in _FENCE.finditer(text):
        title = _TITLE.search(found["rest"])
        name = (title["quoted"] or title["bare"]) if title is not None else ""
        line = text.count("\n", 0, found.start()) + 1
        blocks.append(Block(found["language"], name, dedent(found["text"]), f"{page.name}:{line}"))
    return blocks


class Reader:
    """Somebody at two terminals in one folder, with the project's commands at hand.

    There is no network to be had through a proxy, and no cache from earlier. `types` is what is typed when a command
    asks on the terminal; without it there is no terminal to ask on.
    """

    def __init__(self, folder: Path, *, types: str = "", **environment: str) -> None:
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        nowhere = "http://127.0.0.1:9"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RUSTCARE_", "PYTEST_"))},
            "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))),
            "XDG_CACHE_HOME": str(folder.with_name(f"{folder.name}-cache")),
            **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), nowhere),
            "NO_COLOR": "1",
            "COLUMNS": "200",  # tables are as wide as the page shows them
            **environment,
        }
        self._types = types
        self._going_on: list[_SecondTerminal] = []

    def follow(self, blocks: Sequence[Block]) -> None:
        """Do what the blocks say, one after the other."""
        for block in blocks:
            if block.language == "console":
                for step in block.steps:
                    self.do(step, block.place, go_on=block.title == SECOND_TERMINAL)
            elif block.title:
                path = self.folder / block.title
                assert path.parent.is_dir(), f"{block.place}: there is no folder {path.parent.relative_to(self.folder)}"
                path.write_text(block.text)

    def do(self, step: Step, place: str, *, go_on: bool = False) -> str:
        """Type one command; what it printed."""
        if go_on:
            terminal = _SecondTerminal(step.command, self.folder, self.environment)
            self._going_on.append(terminal)
            return terminal.wait_for(step.expected, place)
        teller, terminal_end = pty.openpty() if self._types else (-1, subprocess.DEVNULL)
        try:
            if self._types:
                os.write(teller, self._types.encode())
            done = subprocess.run(
                step.command,
                shell=True,
                cwd=self.folder,
                env=self.environment,
                stdin=terminal_end,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=600,
                check=False,
            )
        finally:
            if self._types:
                os.close(teller)
                os.close(terminal_end)
        assert done.returncode == 0, f"{place}: $ {step.command}\nended with {done.returncode}:\n{done.stdout}"
        missing = _first_missing(step.expected, done.stdout.splitlines())
        assert missing is None, f"{place}: $ {step.command}\nexpected: {missing}\nprinted:\n{done.stdout}"
        return done.stdout

    def finish(self) -> None:
        """Wait for the end of the command that was last left going on: it is about to come."""
        assert self._going_on.pop().close(kill=False) == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        codes = [terminal.close(kill=error is not None) for terminal in self._going_on]
        assert error is not None or not any(codes), f"the second terminal ended with {codes}"


class _SecondTerminal:
    """A command that goes on while others are typed."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            f"exec {command}",
            shell=True,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        self._printed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, name=command, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._printed:
                self._lines.append(line)
                self._printed.notify_all()
        with self._printed:
            self._ended = True
            self._printed.notify_all()

    def wait_for(self, expected: Sequence[str], place: str) -> str:
        """Return when all of it was printed."""
        with self._printed:
            self._printed.wait_for(lambda: self._ended or _first_missing(expected, self._lines) is None, timeout=120)
            missing = _first_missing(expected, self._lines)
            assert missing is None, f"{place}: expected: {missing}\nprinted:\n{''.join(self._lines)}"
            return "".join(self._lines)

    def close(self, *, kill: bool) -> int:
        """Wait for its end, which the page must have brought about; the exit code."""
        try:
            if kill:
                self._process.send_signal(signal.SIGKILL)
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError("the page leaves the command in the second terminal running") from None
        finally:
            self._thread.join(10)
            assert self._process.stdout is not None
            self._process.stdout.close()


def _first_missing(expected: Sequence[str], printed: Sequence[str]) -> str | None:
    """The first expected line that is not printed after the ones before it."""
    rest = iter(printed)
    for line in expected:
        pattern = re.compile(".*".join(re.escape(_plain(part)) for part in line.split("…")))
        if not any(pattern.search(_plain(each)) for each in rest):
            return line
    return None


def _plain(line: str) -> str:
    return " ".join(line.split())
