"""A kernel with its front door in a process of its own: `python -m tests.support.http_node DATA [OPTIONS as JSON]`.

Installs crypto, audit, identity and gateway, and a plugin with routes; makes a service account with a key and a token. Prints
one line of JSON (`port`, `key`, `token`, `account`) and serves until its control socket says stop, or it is killed.
Options: `port`; `routes` (how many the plugin has); `tenants` (how many there are); `limits`, `gateway` (configuration of the
gateway); `workers`; `user` (make one, with a password); `also` (further built-in plugins);
`roles` (of the service account).
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rustcare_kernel import Kernel
from rustcare_kernel.control import ControlServer
from rustcare_sdk.contracts import identity
from rustcare_sdk.contracts.http import GATEWAY_STATUS, GatewayRequest, GatewayStatus
from rustcare_sdk.errors import RustCareError

__all__ = ["ROUTES", "plugin"]

#: No limits but very high ones: they are counted as any other.
HIGH = {
    name: [{"by": "principal", "rate": 10_000_000, "per": 1}] for name in ("default", "read", "write", "login", "bulk")
}
#: How the paths of the routes' plugin are called.
ROUTES = "beds"


def plugin(name: str = ROUTES, version: str = "1.0.0", routes: int = 1, scale: str = "one") -> dict[str, str]:
    """The files of a plugin with routes: `/NAME/{id}` answers a small object with the plugin's version, and so does each
    further `/NAME-N/{id}`."""
    paths = [name, *(f"{name}-{number}" for number in range(1, routes))]
    marks = "\n".join(f'    @route("GET", "/{path}/{{id}}", summary="One")' for path in paths)
    asked = f"/{name}/*" if routes == 1 else "/*"
    capabilities = f'[[capability]]\nuse = "http:route@GET {asked}"\nreason = "answers"\n'
    return {
        "plugin.py": f"""
from __future__ import annotations

from rustcare_sdk import Message, Plugin, route
from rustcare_sdk.contracts.http import HttpRequest, HttpResponse


class Subject(Plugin):
{marks}
    async def one(self, message: Message[HttpRequest[None]]) -> HttpResponse:
        return HttpResponse(content={{"id": message.data.params["id"], "version": "{version}"}})
""",
        "plugin.toml": f"""schema = 1
[plugin]
id = "acme.{name}"
version = "{version}"
summary = "made for a test"
engine = ">=0.1,<0.2"
[runtime]
python = {{ entry = "subject_plugin.plugin:Subject" }}
[lifecycle]
scale = "{scale}"
{capabilities}""",
    }


def write(folder: Path, name: str = ROUTES, version: str = "1.0.0", routes: int = 1, scale: str = "one") -> Path:
    """Write such a plugin to a folder of its own; where it is."""
    target = folder / f"{name}-{version}" / "src" / "subject_plugin"
    target.mkdir(parents=True)
    (target / "__init__.py").write_text("")
    for file, text in plugin(name, version, routes, scale).items():
        (target / file).write_text(text)
    project = target.parent.parent
    (project / "pyproject.toml").write_text('[project]\nname = "subject_plugin"\nversion = "1.0.0"\n')
    return project


async def main(data: Path, options: dict[str, Any]) -> None:
    """Serve until told to stop."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    gateway = {"port": options.get("port", 0), "limits": options.get("limits", HIGH), "ready_without_identity": True}
    config = {"rustcare.gateway": {**gateway, **options.get("gateway", {})}}
    workers = int(options.get("workers", 1))
    beside = workers if workers > 1 else 0
    async with (
        Kernel(data, config=config, log_level=options.get("log", "error"), workers=beside) as kernel,
        ControlServer(kernel, stop=stopped.set),
    ):
        known = {status.id for status in kernel.plugins()}
        for name in ("crypto", "audit", "identity", *options.get("also", ()), "gateway"):
            if f"rustcare.{name}" not in known:
                await kernel.install(f"installed:{name}", consent=True)
        if "acme.beds" not in known and options.get("routes", 1):
            scale = "each" if beside else "one"
            made = await asyncio.to_thread(write, data / "made", ROUTES, "1.0.0", options.get("routes", 1), scale)
            await kernel.install(made, consent=True)
        names = [f"tenant-{number}" for number in range(1, options.get("tenants", 1))]
        for start in range(0, len(names), 50):
            await asyncio.gather(*(tenant(kernel, name) for name in names[start : start + 50]))
        await kernel.converged()
        said = await credentials(kernel, options.get("roles", ["administrator"]))
        if options.get("user"):
            said.update(await person(kernel))
        status = await kernel.request(GATEWAY_STATUS, GatewayRequest(), type=GatewayStatus)
        print(json.dumps({"port": urlsplit(status.url).port, **said}), flush=True)
        await stopped.wait()


async def tenant(kernel: Kernel, name: str) -> None:
    """Make a tenant."""
    await kernel.request(identity.TENANT_PUT, identity.TenantRequest(name, hosts=[f"{name}.example.org"]))


async def credentials(kernel: Kernel, roles: list[str]) -> dict[str, str]:
    """A service account's key and token."""
    name = "load"
    asked = identity.CreateServiceRequest(name, roles=roles)
    try:
        made = await kernel.request(identity.SERVICE_CREATE, asked, type=identity.AccountReply)
    except RustCareError:  # there is one, of an earlier start
        made = await kernel.request(identity.ACCOUNT_READ, identity.AccountRequest(name), type=identity.AccountReply)
    key = await kernel.request(
        identity.KEY_CREATE, identity.CreateKeyRequest(made.account.id, "load"), type=identity.CreateKeyReply
    )
    token = await kernel.request(
        identity.TOKEN_ISSUE,
        identity.IssueRequest("rustcare", account=made.account.id, lifetime=3600),
        type=identity.TokenReply,
    )
    return {"key": key.secret, "token": token.access_token, "account": made.account.id}


async def person(kernel: Kernel) -> dict[str, str]:
    """A user with a password."""
    password = "a long enough passphrase of somebody"
    asked = identity.CreateAccountRequest("somebody", password=password)
    await kernel.request(identity.ACCOUNT_CREATE, asked)
    return {"user": "somebody", "password": password}


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1]), json.loads(sys.argv[2]) if len(sys.argv) > 2 else {}))
