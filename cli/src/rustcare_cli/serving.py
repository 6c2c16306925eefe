"""`rustcare up`: a kernel in this process, with the front door open, until it is told to stop."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rustcare_kernel import Kernel

    from .trust._ask import Ask

__all__ = ["BUILT_INS", "GATEWAY", "address_of", "listening_at", "public_address", "run"]

#: What a new data folder gets, in this order: the log before what is to be in it, who listens last.
BUILT_INS = (
    "installed:crypto",
    "installed:audit",
    "installed:identity",
    "installed:fhir",
    "installed:hl7_to_fhir",
    "installed:admin",
    "installed:gateway",
    "installed:hl7",
)
GATEWAY = "rustcare.gateway"
IDENTITY = "rustcare.identity"
#: What a new data folder's plugins are configured with, unless this run says otherwise: this machine alone is let in.
FIRST = {GATEWAY: {"host": "127.0.0.1", "port": 8080, "insecure_cookies": True}}
#: The front door: the plugins that a data folder from before may lack.
FRONT_DOOR = {"rustcare.crypto": "crypto", IDENTITY: "identity", "rustcare.admin": "admin", GATEWAY: "gateway"}


def run(
    data: Path,
    *,
    store: str = "sqlite",
    workers: int = 1,
    bare: bool = False,
    http: str | None = None,
    log_level: str = "warning",
    yes: bool = False,
    full: bool = False,
    json: bool = False,
) -> None:
    """Run a kernel until SIGINT or SIGTERM, or until `system.stop`.

    Args:
        workers: how many processes accept connections; with 1 it is this one.
        http: `HOST:PORT` of the front door for this run, over what the gateway is configured with; None: that.
        bare: install nothing on the first start.
        yes: the operator consents to what the built-in plugins ask for.
        full: show each capability that they ask for, not groups of them.
    """
    import asyncio

    import uvloop

    config = {GATEWAY: listening_at(http)} if http is not None else {}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_up(data.absolute(), store, workers, bare, config, log_level, yes, full, json))


def listening_at(text: str) -> dict[str, Any]:
    """The gateway's configuration for `HOST:PORT`, `[::1]:8080` or `:8080` (this machine alone)."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise typer.BadParameter(f"expected HOST:PORT, got {text!r}", param_hint="--http")
    host = host or "127.0.0.1"
    # Browsers keep cookies for https alone but on this very machine; without them nobody could sign in here.
    return {"host": host, "port": int(port), "insecure_cookies": _is_loopback(host)}


def _is_loopback(host: str) -> bool:
    import ipaddress

    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _up(
    data: Path,
    store: str,
    workers: int,
    bare: bool,
    config: Mapping[str, Mapping[str, Any]],
    log_level: str,
    yes: bool,
    full: bool,
    json: bool,
) -> None:
    import asyncio
    import signal

    from rustcare_kernel import Kernel
    from rustcare_kernel.control import ControlServer

    from ._render import note

    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    beside = workers if workers > 1 else 0
    async with Kernel(data, store=store, log_level=log_level, config=config, workers=beside) as kernel:
        server = ControlServer(kernel, stop=stopped.set, store=store.partition(":")[0])
        async with server:
            if not kernel.plugins() and not bare:
                await _install_built_ins(kernel, config, yes, full, json)
            with suppress(TimeoutError):  # the log says what is the matter with a worker
                async with asyncio.timeout(30):
                    await kernel.converged()
            await _tell(kernel, server.path, data, bare, json)
            await stopped.wait()
            if not json:
                note("Stopping: what is being handled is finished first.")


async def _install_built_ins(
    kernel: Kernel, config: Mapping[str, Mapping[str, Any]], yes: bool, full: bool, json: bool
) -> None:
    """Ask once for all of them: the operator sees every capability before anything is installed."""
    from rustcare_kernel.control import inspection_of

    from ._consent import ask
    from ._render import busy

    inspections = [inspection_of(await kernel.inspect(source)) for source in BUILT_INS]
    ask("Install these built-in plugins with these capabilities?", inspections, yes=yes, as_json=json, full=full)
    for source, inspection in zip(BUILT_INS, inspections, strict=True):
        what = "Building and starting" if inspection["unbuilt"] else "Starting"
        with busy(f"{what} {inspection['id']}" + (" (once, some seconds)" if inspection["unbuilt"] else "")):
            await kernel.install(
                source,
                consent=[item["use"] for item in inspection["capabilities"]],
                config=config.get(inspection["id"], FIRST.get(inspection["id"])),
            )


async def _tell(kernel: Kernel, socket: Path, data: Path, bare: bool, json: bool) -> None:
    """Print what runs, where it is reached, and how the first administrator is made while there is none."""
    import msgspec

    from ._render import note, print_json, say, table

    plugins = kernel.plugins()
    url = await address_of(kernel)
    setup = await _setup_link(kernel, url) if url else ""
    if json:
        print_json(
            {
                "data_dir": str(data),
                "socket": str(socket),
                "url": url,
                "setup_link": setup,
                "plugins": [msgspec.to_builtins(status) for status in plugins],
            }
        )
        return
    rows = [
        (item.id, item.version, item.runtime, item.state, item.summary if item.state == "active" else item.reason)
        for item in plugins
    ]
    table(("id", "version", "runtime", "state", ""), rows, empty="No plugins are installed.")
    if url:
        say(f"Serving {url}", "bold green")
        if url.startswith("http:") and not url.startswith("http://localhost"):
            note("This is plain http: browsers of other machines cannot sign in. Put TLS in front, or configure it.")
    for item in plugins:
        if item.id == GATEWAY and item.state != "active" and item.enabled:
            say(f"The front door is not open: {item.reason or f'its plugin is {item.state}'}", "red")
            note("If its port is taken, choose another: rustcare up --http 127.0.0.1:PORT")
    if setup:
        _show_setup(setup)
    missing = [name for plugin, name in FRONT_DOOR.items() if all(item.id != plugin for item in plugins)]
    if missing and plugins and not bare:
        note("This data folder has no front door yet. To let people and programs in over HTTP:")
        for name in missing:
            note(f"  rustcare plugin install installed:{name} --data {data}")
    note(f"Stop with Ctrl-C, or from elsewhere: rustcare system stop --data {data}")


def _show_setup(link: str) -> None:
    """The link stands alone on its line, so that it can be copied from any terminal."""
    from ._render import is_terminal, say

    line = "─" * 72 if is_terminal() or (sys.stdout.encoding or "").lower().startswith("utf") else "-" * 72
    say(line, "yellow")
    say("There is no administrator yet. Open this link to make the first one; it works once:", "bold yellow")
    say("")
    say(f"  {link}", "bold")
    say("")
    say(line, "yellow")


async def _setup_link(kernel: Kernel, url: str) -> str:
    """The one-time link for the first administrator, empty when there is one, or nobody who could tell."""
    from rustcare_sdk.contracts.identity import SETUP_LINK, SetupReply, SetupRequest
    from rustcare_sdk.errors import NoProvider, RustCareError

    from ._render import note

    try:
        found: SetupReply = await kernel.request(SETUP_LINK, SetupRequest(), timeout=30, type=SetupReply)
    except NoProvider:
        return ""
    except RustCareError as error:  # no reason to stop a kernel that serves otherwise
        note(f"Whether there is an administrator yet could not be asked: {error.message} ({error.code})", "yellow")
        return ""
    return f"{url}{found.link}" if found.link.startswith("/") else found.link


async def address_of(kernel: Kernel) -> str:
    """The URL of the front door, empty when there is none."""
    from rustcare_sdk.contracts.http import GATEWAY_STATUS, GatewayRequest, GatewayStatus
    from rustcare_sdk.errors import NoProvider

    try:
        found: GatewayStatus = await kernel.request(GATEWAY_STATUS, GatewayRequest(), timeout=30, type=GatewayStatus)
    except NoProvider:
        return ""
    return shown_url(found.url)


def shown_url(url: str) -> str:
    """A server's address as people use it: this machine by its name, since passkeys are bound to a name."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    if parts.hostname in ("127.0.0.1", "::1") and parts.port:
        return f"{parts.scheme}://localhost:{parts.port}"
    return url.rstrip("/")


def public_address(ask: Ask) -> str:
    """The same, asked over a connection to the kernel."""
    from rustcare_sdk.errors import NoProvider

    try:
        return shown_url(str(ask("gateway.status")["url"]))
    except NoProvider:
        return ""
