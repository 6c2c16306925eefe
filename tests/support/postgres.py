"""A real PostgreSQL server for tests: the fixture `postgres_dsn`.

In this order: the server that `RUSTCARE_TEST_POSTGRES` names (an address like `postgresql://user:password@host/database`);
one started here, in a temporary folder, from installed binaries; as root on Debian, the same after installing them. Where
none of that can be, the tests are skipped and the summary's last lines say so. With `CI=true` they fail instead.

A server started here listens on a socket in its own folder, never on the network, and is stopped when the tests are over.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.packages import Missing, give_up, installed

_VARIABLE = "RUSTCARE_TEST_POSTGRES"
_FOLDER = "rustcare-pg-"
_NO_SERVER = "no PostgreSQL: "
_MISSING: list[str] = []  # why there is no server, found out once


class NoServer(Exception):
    """There is no PostgreSQL to be had; the text says why."""


@dataclass
class PostgresServer:
    """A server of our own in a temporary folder."""

    binaries: Path
    folder: Path
    user: str

    @property
    def dsn(self) -> str:
        return f"postgresql://{self.user}@/postgres?host={quote(str(self.folder), safe='')}"

    def run(self, program: str, *args: str) -> None:
        """Run one of PostgreSQL's programs as the server's user."""
        account = pwd.getpwnam(self.user) if os.geteuid() == 0 else None
        done = subprocess.run(
            [str(self.binaries / program), *args],
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": str(self.folder)},
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would stay open in the server that pg_ctl leaves behind
            stderr=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )
        if done.returncode != 0:
            log = self.folder / "log"
            tail = log.read_text(errors="replace")[-500:] if log.exists() else ""
            raise NoServer(f"{program} ended with {done.returncode} {tail}".strip())

    def start(self) -> None:
        """Start it, and return when it answers."""
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c max_connections=120"
        self.run("pg_ctl", "start", "-w", "-t", "60", "-D", "data", "-l", "log", "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """Stop it; `immediate` is what a crash of the server looks like to its files."""
        self.run("pg_ctl", "stop", "-w", "-t", "60", "-D", "data", "-m", mode)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer | None]:
    """The server that was started here; None when the environment names one."""
    if os.environ.get(_VARIABLE):
        yield None
        return
    server = _create()
    try:
        yield server
    finally:
        try:
            server.stop("immediate")
        finally:
            shutil.rmtree(server.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_dsn(request: pytest.FixtureRequest) -> str:
    """The address of a real PostgreSQL server on which schemas may be made."""
    named = os.environ.get(_VARIABLE)
    if named:
        return named
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.dsn


def _create() -> PostgresServer:
    if not _MISSING:
        try:
            keep = ("-o", "Dpkg::Options::=--force-confdef", "-o", "Dpkg::Options::=--force-confold")
            return _start(installed("postgresql", _binaries, *keep, prepare=_no_cluster))
        except (NoServer, Missing, OSError, subprocess.SubprocessError) as error:
            _MISSING.append(str(error) or type(error).__name__)
    give_up(f"{_NO_SERVER}{_MISSING[0]}; name a server with {_VARIABLE}, or install its binaries")


def _binaries() -> Path | None:
    """The folder of the newest installed server, wherever the system keeps it."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: _number(path.parent.name), reverse=True
    )
    places += sorted(Path("/usr").glob("pgsql-*/bin"), reverse=True)
    places += [Path("/opt/homebrew/bin"), Path("/usr/local/pgsql/bin")]
    needed = ("initdb", "postgres", "pg_ctl")
    return next((place for place in places if all((place / name).exists() for name in needed)), None)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _no_cluster() -> None:
    """The package would make a cluster of its own and start it: tell it not to."""
    settings = Path("/etc/postgresql-common/createcluster.conf")
    if not settings.exists():
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text("create_main_cluster = false\nstart_conf = 'manual'\n")


def _clear_orphans(binaries: Path) -> None:
    """Stop the servers of test runs that were killed before they could do so themselves."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        try:
            runner = int((folder / "runner").read_text())
            if folder.stat().st_uid != pwd.getpwnam(_user()).pw_uid or Path(f"/proc/{runner}").exists():
                continue
        except (OSError, ValueError):
            continue
        with contextlib.suppress(NoServer, subprocess.SubprocessError):
            PostgresServer(binaries, folder, _user()).stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def _start(binaries: Path) -> PostgresServer:
    if Path("/proc/self").exists():
        _clear_orphans(binaries)
    # Not pytest's folder: the path of a Unix socket has about a hundred characters at most, and another user must get in.
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
    server = PostgresServer(binaries, folder, _user())
    (folder / "runner").write_text(str(os.getpid()))
    try:
        if os.geteuid() == 0:  # the server refuses to run as root
            account = pwd.getpwnam(server.user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        server.run("initdb", "-D", "data", "-U", server.user, "-A", "trust", "-E", "UTF8", "--locale=C")
        server.start()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return server


def _user() -> str:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise NoServer("root needs another account to run the server as, and there is neither `postgres` nor `nobody`")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Say in the last lines what was left out, so that a green run cannot hide it."""
    yield
    reports = terminalreporter.stats.get("skipped", []) + terminalreporter.stats.get("error", [])
    missed = [str(report.longrepr) for report in reports if _NO_SERVER in str(report.longrepr)]
    if not missed:
        return
    why = missed[0].partition(_NO_SERVER)[2].partition(";")[0]
    terminalreporter.section("PostgreSQL", sep="!", yellow=True, bold=True)
    terminalreporter.write_line(f"{len(missed)} tests need a PostgreSQL server and did NOT run: {why}", yellow=True)
    terminalreporter.write_line(f"Name a server with {_VARIABLE}, or install PostgreSQL's binaries.", yellow=True)
