"""The how-to guides: their commands run as they are printed, for a reader who has what each guide takes for granted."""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from textwrap import indent
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from rustcare_kernel import Kernel
from rustcare_kernel.control import ControlClient
from rustcare_sdk.contracts.audit import SEARCH, EffectsReply, EffectsRequest, SearchReply, SearchRequest

from tests.support.administrator import make_administrator
from tests.support.follow import Block, Reader, Step, blocks_of
from tests.support.plugins import write_plugin

GUIDES = Path(__file__).parents[2] / "docs" / "how-to"
PLUGIN = "acme.lab-router"
ROUTER = """
from rustcare_sdk import Message, Plugin, subscribe

class Subject(Plugin):
    @subscribe("hl7.oru.*")
    async def route(self, message: Message) -> None:
        await self.ctx.kv.get("cursor.oru")
        await self.ctx.publish("ward.result", message.data)
"""
ASKS = ("bus:subscribe@hl7.oru.*", "bus:publish@ward.*")
STOP = Step("rustcare system stop", ("The kernel has stopped.",))
FOLLOWED_HERE = {
    "back-up-a-plugin.md",
    "contain-a-plugin.md",
    "install-and-consent.md",
    "look-after-accounts.md",
    "manage-keys.md",
    "operate-from-another-machine.md",
    "upgrade-and-roll-back.md",
    "use-postgresql.md",
    "use-the-audit-cli.md",
    "verify-the-audit-log.md",
    "write-an-extism-plugin.md",
}

# By test_how_to_front_door.py.
FOLLOWED_BESIDE = {"emergency-access.md", "open-the-front-door.md", "provision-with-scim.md", "rate-limits.md"}


def page(name: str) -> list[Block]:
    """The blocks of a guide."""
    return blocks_of(GUIDES / name)


def router(folder: Path, version: str, name: str, *, more: tuple[str, ...] = (), component: bool = False) -> Path:
    """The plugin that the guides speak of, in the folder that they say."""
    made = write_plugin(
        folder, ROUTER, id=PLUGIN, version=version, capabilities=ASKS, optional=("kv:read@cursor.*", *more)
    )
    if component:
        manifest = made / "src" / "subject_plugin" / "plugin.toml"
        text = manifest.read_text()
        manifest.write_text(text.replace("[runtime]\n", '[runtime]\ncomponent = { path = "router.wasm" }\n'))
    return made.rename(folder / name)


@contextmanager
def reader(folder: Path, *, kernel: bool = True, **environment: str) -> Iterator[Reader]:
    """A reader who says yes when asked, and (with `kernel`) has a kernel running."""
    with Reader(folder / "reader", types="y\n", **environment) as made:
        if kernel:
            made.do(Step("rustcare up --bare", ("Stop with Ctrl-C …",)), "the test", go_on=True)
        yield made
        if kernel:
            made.do(STOP, "the test")


def test_every_guide_with_commands_is_followed() -> None:
    """A guide that has commands has its test here; embed-the-kernel.md has only a program, which another test runs."""
    with_commands = {
        path.name for path in GUIDES.glob("*.md") if any(block.language == "console" for block in blocks_of(path))
    }
    assert with_commands <= FOLLOWED_HERE | FOLLOWED_BESIDE


def test_install_and_consent(tmp_path: Path) -> None:
    """Asked and answered, with --yes, by tier; rights are shown, revoked, given and denied."""
    with reader(tmp_path) as made:
        router(made.folder, "1.0.0", "acme-lab-router", component=True)
        made.follow(page("install-and-consent.md"))
        with ControlClient(made.folder / "rustcare-data") as control:
            found = control.call("plugin.info", id=PLUGIN)
    assert (found["runtime"], found["state"]) == ("component", "active")
    rights = {(item["use"], item["right"], item["tenant"]) for item in found["capabilities"]}
    assert rights == {
        ("bus:subscribe@hl7.oru.*", "granted", None),
        ("bus:publish@ward.*", "granted", None),
        ("bus:publish@ward.*", "denied", "north"),
        ("kv:read@cursor.*", "not granted", None),
        ("kv:read@cursor.oru", "granted", None),
    }


def test_upgrade_and_roll_back(tmp_path: Path) -> None:
    """The difference of two versions is shown, the upgrade asks for what is new, and the way back works."""
    with reader(tmp_path) as made:
        router(made.folder, "1.0.0", "acme-lab-router-1.0")
        router(made.folder, "1.1.0", "acme-lab-router-1.1", more=("clock:read",))
        made.do(Step("rustcare plugin install ./acme-lab-router-1.0", ()), "the test")
        for block in page("upgrade-and-roll-back.md"):
            made.follow([block])
            with ControlClient(made.folder / "rustcare-data") as control:
                version = control.call("plugin.info", id=PLUGIN)["version"]
            assert version == ("1.1.0" if "plugin upgrade" in block.text else "1.0.0")


def test_contain_a_plugin(tmp_path: Path) -> None:
    """Each step, from mild to strong, on a plugin that was upgraded."""
    with reader(tmp_path) as made:
        router(made.folder, "1.0.0", "one")
        router(made.folder, "1.1.0", "two")
        for command in ("install ./one", "upgrade ./two"):
            made.do(Step(f"rustcare plugin {command}", ()), "the test")
        made.follow(page("contain-a-plugin.md"))
        with ControlClient(made.folder / "rustcare-data") as control:
            assert control.call("plugin.list") == []


def test_write_an_extism_plugin(tmp_path: Path) -> None:
    """The template is built, checked and installed; its manifest and project say what the guide shows."""
    pytest.importorskip("ziglang")
    shown = [tomllib.loads(block.text) for block in page("write-an-extism-plugin.md") if block.language == "toml"]
    with reader(tmp_path) as made:
        made.follow(page("write-an-extism-plugin.md"))
        with ControlClient(made.folder / "rustcare-data") as control:
            (found,) = control.call("plugin.list")
        assert (found["id"], found["runtime"], found["state"]) == ("acme.triage", "extism", "active")
        (manifest,) = made.folder.glob("triage/src/*/plugin.toml")
        assert tomllib.loads(manifest.read_text())["runtime"] == shown[0]["runtime"]
        project = tomllib.loads((made.folder / "triage" / "pyproject.toml").read_text())
        assert isinstance(project["tool"]["rustcare"]["build"], list)
        assert set(shown[1]["tool"]["rustcare"]) == {"build"}


async def test_back_up_a_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was stored after the backup is gone after the restore, what was stored before it is there."""
    backup, restore = (block.text for block in page("back-up-a-plugin.md") if block.language == "python")
    monkeypatch.chdir(tmp_path)

    async def run(code: str, kernel: Kernel) -> None:
        names: dict[str, Any] = {"Path": Path, "kernel": kernel}
        exec("async def page():\n" + indent(code, "    "), names)
        await names["page"]()

    async with Kernel(tmp_path / "data", log_level="silent") as kernel:
        status = await kernel.install("installed:fhir", consent=True)
        assert status.state == "active", status.reason
        for family in ("Before", "After"):
            resource = {"resourceType": "Patient", "name": [{"family": family}]}
            await kernel.request("fhir.create", {"resource": resource})
            if family == "Before":
                await run(backup, kernel)
        await run(restore, kernel)
        exported = await kernel.request("fhir.export", {}, type=dict[str, Any])
        assert [each["name"][0]["family"] for each in exported["resources"]] == ["Before"]


async def test_use_postgresql(tmp_path: Path, postgres_dsn: str) -> None:
    """The role and the database that the guide makes are enough for a kernel, and its plugins' data is in there."""
    blocks = page("use-postgresql.md")
    (statements,) = (block.text for block in blocks if block.language == "sql")
    (step,) = (step for block in blocks if block.language == "console" for step in block.steps)
    found = re.search(r'"(postgresql://\S+)"', step.command)
    assert found is not None
    password = re.search(r"PASSWORD '(.+?)'", statements)
    assert password is not None
    address = urlsplit(postgres_dsn)
    login = f"{urlsplit(found[1]).username}@{address.netloc.rpartition('@')[2]}"
    ours = urlunsplit(address._replace(netloc=login, path=urlsplit(found[1]).path))
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await _clean(connection)
        try:
            for statement in filter(str.strip, statements.split(";")):
                await connection.execute(statement)
        except asyncpg.InsufficientPrivilegeError as error:
            pytest.skip(f"the server that was named lets no roles and databases be made: {error}")
        # The guide's command, with the address of the server that is here, and without the built-in plugins.
        start = Step(step.command.replace(found[1], ours) + " --bare", ("Stop with Ctrl-C …",))
        await asyncio.to_thread(_store_something, tmp_path, start, password[1])
        database = await asyncpg.connect(ours, password=password[1])
        owners = await database.fetch(
            "SELECT DISTINCT schemaname, tableowner FROM pg_tables WHERE tablename = 'resources'"
        )
        await database.close()
        assert [owner["tableowner"] for owner in owners] == ["rustcare"]
    finally:
        await _clean(connection)
        await connection.close()


def _store_something(tmp_path: Path, start: Step, password: str) -> None:
    with reader(tmp_path, kernel=False, PGPASSWORD=password) as made:
        made.do(start, "use-postgresql.md", go_on=True)
        made.do(Step("rustcare plugin install installed:fhir", ("rustcare.fhir … is active",)), "the test")
        with ControlClient(made.folder / "rustcare-data") as control:
            resource = {"resourceType": "Patient", "name": [{"family": "Ada"}]}
            control.call("bus.request", service="fhir.create", data={"resource": resource})
        made.do(STOP, "the test")


async def _clean(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.execute("DROP DATABASE IF EXISTS rustcare WITH (FORCE)")
    await connection.execute("DROP ROLE IF EXISTS rustcare")


@pytest.mark.parametrize("name", ["manage-keys.md", "use-the-audit-cli.md", "verify-the-audit-log.md"])
def test_keys_and_the_audit_log(tmp_path: Path, name: str) -> None:
    """Every command on a log that has an entry of the patient, with the log's key in a file."""
    with reader(tmp_path) as made:
        for plugin in ("crypto", "audit"):
            made.do(
                Step(f"rustcare plugin install installed:{plugin}", (f"rustcare.{plugin} … is active",)), "the test"
            )
        with ControlClient(made.folder / "rustcare-data") as control:
            disclosure = {"patient": "Patient/123", "recipient": "Dr. Grey", "what": "results", "purpose": "PUBHLTH"}
            control.call("bus.request", service="audit.disclose", data=disclosure)
            key = control.call("bus.request", service="audit.status", data={})["key"]
        (made.folder / "log.vkey").write_text(f"{key}\n")
        made.follow(page(name))


def test_look_after_accounts(tmp_path: Path) -> None:
    """Every command on a kernel with accounts; each says what the guide shows."""
    with reader(tmp_path) as made:
        for plugin in ("crypto", "identity"):
            made.do(
                Step(f"rustcare plugin install installed:{plugin}", (f"rustcare.{plugin} … is active",)), "the test"
            )
        made.follow(page("look-after-accounts.md"))


def test_operate_from_another_machine(tmp_path: Path) -> None:
    """A reader signs in to a server, is approved by its administrator, and works there; the server's address is the test's."""
    with reader(tmp_path, kernel=False, XDG_CONFIG_HOME=str(tmp_path / "config")) as made:
        router(made.folder, "1.0.0", "acme-lab-router")
        up = Step("rustcare up --bare --http 127.0.0.1:0", ("Stop with Ctrl-C …",))
        made.do(up, "the test", go_on=True)
        for plugin in ("crypto", "audit", "identity", "admin", "gateway"):
            made.do(
                Step(f"rustcare plugin install installed:{plugin}", (f"rustcare.{plugin} … is active",)), "the test"
            )
        with ControlClient(made.folder / "rustcare-data", timeout=60) as control:

            def ask(service: str, data: dict[str, Any], principal: str) -> Any:
                return control.call("bus.request", service=service, data=data, principal=principal or None)

            url = f"http://localhost:{ask('gateway.status', {}, '')['port']}"
            administrator = make_administrator(ask, url)
            for block in page("operate-from-another-machine.md"):
                here = replace(block, text=block.text.replace("https://clinic.example.org", url))
                if "rustcare login" not in block.text:
                    made.follow([here])
                    continue
                (step,) = here.steps
                shown = made.do(replace(step, expected=(*step.expected, "  http…", "  …-…")), block.place, go_on=True)
                (code,) = re.findall(r"^  ([A-Z0-9]{4}-[A-Z0-9]{4})$", shown, re.M)
                answer = {"user_code": code, "session": administrator.session}
                ask("identity.device.approve", answer, administrator.principal)
                made.finish()
        made.do(STOP, "the test")


async def test_have_your_plugin_audited(tmp_path: Path) -> None:
    """The guide's plugin and settings work: what it stores is on record under the patient, and it can tell what happened."""
    blocks = page("have-your-plugin-audited.md")
    (source,) = (block.text for block in blocks if block.language == "python")
    settings: dict[str, Any] = {}
    for block in blocks:
        if block.language == "json":
            settings.update(json.loads(block.text))
    settings["rules"][0]["match"] = "bus:request@lab.result.store"
    capabilities = ("bus:serve@lab.result.store", "bus:serve@lab.effects", "db:read@*", "db:write@*", "clock:read")
    tables = (
        "CREATE TABLE results (content TEXT);\nCREATE TABLE effects (attempt TEXT PRIMARY KEY, stored TEXT NOT NULL);"
    )
    plugin = write_plugin(
        tmp_path,
        source,
        id="acme.results",
        entry="Results",
        capabilities=capabilities,
        files={"migrations/0001_results.sql": tables},
        extra='[provides]\n"lab.result.store" = "1.0.0"\n"lab.effects" = "1.0.0"\n',
    )
    async with Kernel(tmp_path / "data", log_level="silent", config={"rustcare.audit": settings}) as kernel:
        for source_ in ("installed:crypto", "installed:audit", plugin):
            await kernel.install(source_, consent=True)
        message = {"result": "r1", "patient": "Patient/p1", "content": "x"}
        await kernel.request("lab.result.store", message, principal="dr.chen")
        await kernel.have_on_record()
        asked = SearchRequest(patient="Patient/p1", outcome="success", capability="bus:request@lab.result.store")
        found: SearchReply = await kernel.request(SEARCH, asked, type=SearchReply)
        (row,) = found.rows
        told: EffectsReply = await kernel.request("lab.effects", EffectsRequest(), type=EffectsReply)
        assert told == EffectsReply(["lab.result.store"], [row.entry["id"]])
        await kernel.request("lab.effects", EffectsRequest(forget=True))


async def test_answer_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guide's plugin, its capabilities and its test belong together: the test passes on the plugin as it is printed."""
    blocks = page("answer-http.md")
    plugin, check = (block.text for block in blocks if block.language == "python")
    uses = [
        item["use"] for block in blocks if block.language == "toml" for item in tomllib.loads(block.text)["capability"]
    ]
    folder = write_plugin(
        tmp_path, plugin, id="acme.beds", entry="Beds", capabilities=(*uses, "kv:read@*", "kv:write@*")
    )
    (package,) = (path.parent for path in folder.glob("src/*/plugin.toml"))
    monkeypatch.syspath_prepend(str(package.parent))
    names: dict[str, Any] = {"Beds": importlib.import_module(f"{package.name}.plugin").Beds}
    exec(check, names)
    await names["test_a_bed_is_made_and_found"]()
