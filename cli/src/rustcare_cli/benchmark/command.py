"""The command: what is measured, with whose credential, and how it is shown."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rustcare_cli._options import DEFAULT_DATA, Data, Json

if TYPE_CHECKING:
    from .load import Outcome, Target

__all__ = ["benchmark"]

OPEN_PATH = "/livez"
#: Behind authentication, and cheap to answer: what is measured is the way there, not the work.
KNOWN_PATH = "/admin/v1/whoami"
#: Of the client's one core, from which its own speed is what is measured.
BUSY = 0.9


def benchmark(
    context: typer.Context,
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="Measure this path, with the credential if there is one.", show_default=False
        ),
    ] = "",
    requests: Annotated[
        int, typer.Option("--requests", "-r", help="How many requests, for each path.", min=1)
    ] = 10_000,
    concurrency: Annotated[
        int, typer.Option("--concurrency", "-c", help="How many connections, each with one request at a time.", min=1)
    ] = 16,
    url: Annotated[
        str,
        typer.Option(
            "--url",
            envvar="RUSTCARE_URL",
            metavar="URL",
            help="The server; else that of the data folder's kernel.",
            show_default=False,
        ),
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Ask with this access token.")
    ] = None,
    key_file: Annotated[Path | None, typer.Option("--key-file", metavar="FILE", help="Ask with this API key.")] = None,
    data: Data = DEFAULT_DATA,
    json: Json = False,
) -> None:
    """Measure a running server: requests a second, latencies, errors. Warming up is not counted.

    Two paths are measured unless you name one: /livez, which anybody may ask, and one that needs a credential. That is the
    one you give (or RUSTCARE_TOKEN, or RUSTCARE_KEY), else that of your `rustcare login`; on the machine itself a service
    account is made for it and deleted in the end.
    """
    from rustcare_cli._render import note, print_json

    if token_file is not None and key_file is not None:
        raise typer.BadParameter("expected one of --token-file and --key-file, got both", param_hint="--key-file")
    source = context.get_parameter_source("data")
    if source is not None and source.name == "COMMANDLINE":  # beats RUSTCARE_URL, as for every other command
        source = context.get_parameter_source("url")
        if url and source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter("expected one of --data and --url, got both", param_hint="--url")
        url = ""
    found: list[dict[str, Any]] = []
    where = url.rstrip("/") or _local(data)
    with _credential(where, token_file, key_file, None if url else data) as headers:
        targets = _targets(where, path, headers)
        if not headers and not path:
            note(f"Without a credential only {OPEN_PATH} is measured: --key-file, --token-file, or rustcare login URL")
        for target in targets:
            done = _measure(target, requests, concurrency, None if url else data)
            found.append(done)
            if not json:
                _show(done)
    if json:
        print_json({"url": where, "concurrency": concurrency, "targets": [_plain(item) for item in found]})
    if any(not any(int(status) < 400 for status in item["statuses"]) for item in found):
        raise typer.Exit(1)  # nothing was measured but how fast it is refused


def _targets(url: str, path: str, headers: dict[str, str]) -> list[Target]:
    from .load import Target

    if path:
        return [Target(url, path, headers, path)]
    targets = [Target(url, OPEN_PATH, {}, f"{OPEN_PATH} (open to all)")]
    if headers:
        targets.append(Target(url, KNOWN_PATH, headers, f"{KNOWN_PATH} (authenticated)"))
    return targets


def _local(data: Path) -> str:
    """Where the kernel of a data folder serves HTTP."""
    from rustcare_cli._client import connect
    from rustcare_cli._errors import CommandFailed
    from rustcare_cli.serving import public_address
    from rustcare_cli.trust._ask import asker

    with connect(data) as control:
        found = public_address(asker(control))
    if not found:
        raise CommandFailed(
            "Expected a kernel that serves HTTP, this one does not",
            address=str(data),
            hint="rustcare plugin install installed:gateway",
        )
    return found


@contextlib.contextmanager
def _credential(
    url: str, token_file: Path | None, key_file: Path | None, data: Path | None
) -> Iterator[dict[str, str]]:
    """Headers with a credential; none when there is none to be had."""
    if secret := _given(token_file or key_file):
        from rustcare_cli.remote._http import Connection

        Connection(url)  # refuses one to which a credential would travel in the clear
        yield {"Authorization": f"Bearer {secret}"}
    elif data is not None:
        with _account_for_now(data) as secret:
            yield {"Authorization": f"Bearer {secret}"} if secret else {}
    else:
        yield _signed_in(url)


def _given(file: Path | None) -> str:
    """The credential in a file, or in the environment; empty when there is none."""
    from rustcare_cli._errors import CommandFailed
    from rustcare_cli.remote._http import credential

    if file is None:
        found = next((name for name in ("RUSTCARE_TOKEN", "RUSTCARE_KEY") if os.environ.get(name, "").strip()), "")
        return credential(os.environ[found], found) if found else ""
    try:
        return credential(file.read_text(), str(file))
    except (OSError, UnicodeDecodeError):
        raise CommandFailed("Expected a file with a credential", address=str(file)) from None


def _signed_in(url: str) -> dict[str, str]:
    from rustcare_cli._client import Server
    from rustcare_cli._errors import NotSignedIn
    from rustcare_cli.remote._http import in_the_clear
    from rustcare_cli.remote.client import credentials

    if in_the_clear(url):
        return {}  # nobody can be signed in there
    try:
        return {"Authorization": f"Bearer {credentials(Server(url))('')}"}
    except NotSignedIn:
        return {}


@contextlib.contextmanager
def _account_for_now(data: Path) -> Iterator[str]:
    """The key of a service account that is there only meanwhile, may do nothing, and is valid for an hour at most."""
    import secrets

    from rustcare_sdk.errors import RustCareError

    from rustcare_cli._render import note
    from rustcare_cli.trust._ask import asking

    name = f"benchmark-{secrets.token_hex(4)}"
    with asking(data) as ask:
        try:
            account = ask("identity.service.create", name=name)["account"]["id"]
        except RustCareError as error:
            note(f"No account could be made to ask with: {error.code}")
            yield ""
            return
        try:
            yield ask("identity.key.create", account=account, name="benchmark", expires_in=3600)["secret"]
        finally:
            ask("identity.account.delete", account=account)


def _measure(target: Target, requests: int, concurrency: int, data: Path | None) -> dict[str, Any]:
    import asyncio

    import uvloop

    from rustcare_cli._render import busy

    from .load import Load

    async def all_of_it() -> tuple[Outcome, float]:
        warm = max(concurrency, min(requests // 10, 1000))
        with busy(f"Warming up: {target.path}"):
            await Load(target, warm, concurrency).run()
        before = _server_cpu(pid)
        with busy(f"{requests:,} requests for {target.path}"):
            outcome = await Load(target, requests, concurrency).run()
        return outcome, _server_cpu(pid) - before

    pid = _server_pid(data) if data is not None else 0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome, server = runner.run(all_of_it())
    return _result(target, outcome, concurrency, server)


def _result(target: Target, outcome: Outcome, concurrency: int, server: float) -> dict[str, Any]:
    from .histogram import buckets, summary

    ordered = sorted(outcome.latencies)
    return {
        "name": target.name,
        "path": target.path,
        "requests": outcome.requests,
        "concurrency": concurrency,
        "seconds": round(outcome.seconds, 4),
        "requests_per_second": round(outcome.rate, 1),
        "statuses": {str(status): count for status, count in sorted(outcome.statuses.items())},
        "failed": outcome.broken + sum(count for status, count in outcome.statuses.items() if status >= 400),
        "broken_connections": outcome.broken,
        "bytes": outcome.bytes_in,
        "latency_us": summary(ordered),
        "histogram": [{"up_to_us": bound / 1000, "count": count} for bound, count in buckets(ordered)],
        "client_cpu_share": round(outcome.cpu_seconds / outcome.seconds, 3) if outcome.seconds else 0.0,
        "server_cpu_seconds": round(server, 3),
        "ordered": ordered,
        "summary": bool(ordered),
    }


def _plain(done: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in done.items() if key not in ("ordered", "summary", "name")}


def _server_pid(data: Path) -> int:
    from rustcare_cli._client import call

    return int(call(data, "system.status")["pid"])


def _server_cpu(pid: int) -> float:
    """Seconds that a process and its workers have computed; 0 where the system does not tell."""
    found: dict[int, tuple[int, int]] = {}  # by process: its parent, and ticks
    for stat in Path("/proc").glob("[0-9]*/stat") if pid else ():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended meanwhile
        found[int(stat.parent.name)] = (int(fields[1]), int(fields[11]) + int(fields[12]))
    ticks = sum(count for number, (parent, count) in found.items() if pid in (number, parent))
    return ticks / os.sysconf("SC_CLK_TCK")


def _show(done: dict[str, Any]) -> None:
    import sys

    from rustcare_cli._render import fields, is_terminal, say

    from .histogram import bars, time_text

    say(f"{done['name']}", "bold")
    if not done["summary"]:
        say("No request was answered.", "red")
        return
    latency = done["latency_us"]
    refused = {status: count for status, count in done["statuses"].items() if int(status) >= 400}
    share = done["client_cpu_share"]
    pairs: list[tuple[str, Any]] = [
        ("requests", f"{done['requests']:,} over {done['concurrency']} connections in {done['seconds']:.2f} s"),
        ("requests/s", f"{done['requests_per_second']:,.0f}"),
        ("answers", ", ".join(f"{status}: {count:,}" for status, count in done["statuses"].items())),
        *([("broken", f"{done['broken_connections']:,} connections")] if done["broken_connections"] else []),
        ("latency", "  ".join(f"{name} {time_text(value * 1000)}" for name, value in latency.items())),
        ("client's share", f"{share:.0%} of one core"),
    ]
    if done["server_cpu_seconds"]:
        pairs.append(("server's CPU", f"{1e6 * done['server_cpu_seconds'] / done['requests']:.0f} µs a request"))
    fields(pairs)
    ascii_only = not is_terminal() and (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")
    for line in bars(done["ordered"], ascii_only=ascii_only):
        say(line)
    if share >= BUSY:
        say("The client was busy all the time: the server may be faster than this.", "yellow")
    if "429" in refused:
        say("Answers of 429 are the rate limit's: see the gateway's configuration, `limits`.", "yellow")
    elif refused or done["broken_connections"]:
        say(f"{done['failed']:,} requests failed.", "red")
    say("")
