"""The facade: grants, configuration, what the kernel tells of itself, damage, and more than one kernel."""

from __future__ import annotations

from pathlib import Path

import pytest
from rustcare_kernel.errors import (
    CatalogCorrupt,
    ConfigInvalid,
    DataFolderInUse,
    GrantUnknown,
)
from rustcare_sdk.contracts.plugin import AccountingReply, AccountingRequest, PluginsReply, PluginsRequest
from rustcare_sdk.errors import CapabilityDenied

from .plugins import Board, package, quiet

# grants through the facade


async def test_a_revoked_capability_fails_at_the_very_next_use_and_after_a_restart(tmp_path: Path, desk: Board) -> None:
    """`revoke` is in force before it returns, in memory and in the catalog; granting it again makes it work again."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        await kernel.request("sample.ask")
        await kernel.revoke("acme.sample", "bus:serve@>")
        with pytest.raises(CapabilityDenied):
            await kernel.request("sample.ask")
        with pytest.raises(GrantUnknown, match="it holds: bus:subscribe"):
            await kernel.revoke("acme.sample", "bus:serve@sample.ask")
    async with quiet(tmp_path) as kernel:
        status = kernel.plugin("acme.sample")
        assert status.state == "resolved"
        assert status.reason == "not granted: bus:serve@sample.ask"
        await kernel.grant("acme.sample", "bus:serve@sample.ask")
        assert kernel.plugin("acme.sample").state == "active"
        await kernel.request("sample.ask")


async def test_a_denial_is_not_lifted_by_revoking_and_is_by_asking_for_it(tmp_path: Path, desk: Board) -> None:
    """Revoking only ever takes away; `deny=True` is for lifting a denial. Both survive a restart."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        await kernel.grant("acme.sample", "bus:serve@sample.ask", deny=True, tenant="north")
        with pytest.raises(CapabilityDenied):
            await kernel.request("sample.ask", tenant="north")
        with pytest.raises(GrantUnknown):
            await kernel.revoke("acme.sample", "bus:serve@sample.ask", tenant="north")
        await kernel.request("sample.ask")
    async with quiet(tmp_path) as kernel:
        assert kernel.plugin("acme.sample").denied == ("bus:serve@sample.ask (tenant north)",)
        with pytest.raises(CapabilityDenied):
            await kernel.request("sample.ask", tenant="north")
        await kernel.revoke("acme.sample", "bus:serve@sample.ask", tenant="north", deny=True)
        await kernel.request("sample.ask", tenant="north")


async def test_granting_what_is_not_asked_for_is_refused(tmp_path: Path, desk: Board) -> None:
    """Such a grant could have no effect; the error lists what the manifest asks for."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        with pytest.raises(GrantUnknown, match="would have no effect") as caught:
            await kernel.grant("acme.sample", "net:connect@*:443")
        assert "bus:serve@sample.ask" in caught.value.hint


# configuration


SCHEMA = b"""{"type": "object", "additionalProperties": false, "properties": {
  "ward": {"type": "string", "default": "3b"},
  "limits": {"type": "object", "properties": {"beds": {"type": "integer", "default": 4, "minimum": 1}}}}}"""


async def test_configuration_is_checked_handed_over_and_kept(tmp_path: Path, desk: Board) -> None:
    """Defaults are filled in; a change is a hand-over to itself with state kept; a bad one leaves the old in force."""
    made = package(
        toml='[config]\nschema = "config.schema.json"\n',
        files={"config.schema.json": SCHEMA},
        asks={"bus:serve@sample.config": "required"},
        more="""
    @serve("sample.config")
    async def config(self, message):
        return dict(self.ctx.config)
    """,
    )
    async with quiet(tmp_path) as kernel:
        await kernel.install(made, consent=True, config={"ward": "1a"})
        assert await kernel.request("sample.config") == {"ward": "1a", "limits": {"beds": 4}}
        await kernel.publish("sample.event.x", 1, confirm=True)
        await kernel.configure("acme.sample", {"limits": {"beds": 9}})
        assert await kernel.request("sample.config") == {"ward": "3b", "limits": {"beds": 9}}
        assert (await kernel.request("sample.ask"))[1] == 1
        for bad in ({"limits": {"beds": 0}}, {"wrad": "x"}, {"ward": 4711}):
            with pytest.raises(Exception, match=r"acme\.sample") as caught:
                await kernel.configure("acme.sample", bad)
            assert "4711" not in str(caught.value)
        assert await kernel.request("sample.config") == {"ward": "3b", "limits": {"beds": 9}}
    async with quiet(tmp_path, config={"acme.sample": {"ward": "over"}}) as kernel:
        assert await kernel.request("sample.config") == {"ward": "over", "limits": {"beds": 9}}
        assert (await kernel.request("sample.ask"))[1] == 1


async def test_a_plugin_with_a_wrong_configuration_fails_for_good(tmp_path: Path, desk: Board) -> None:
    """It is not tried again; the reason names the plugin and the rule, never the value."""
    made = package(toml='[config]\nschema = "config.schema.json"\n', files={"config.schema.json": SCHEMA})
    async with quiet(tmp_path) as kernel:
        status = await kernel.install(made, consent=True, config={"ward": 4711})
        assert status.state == "failed"
        assert "4711" not in status.reason
        assert "type" in status.reason
        status = await kernel.configure("acme.sample", {"ward": "x"})
        assert (await kernel.enable("acme.sample")).state == "active"
    assert ConfigInvalid.code == "config.invalid"


# services of the kernel itself


async def test_the_kernel_answers_about_itself(tmp_path: Path, desk: Board) -> None:
    """`kernel.plugins` and `kernel.accounting` are services like any other."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        await kernel.request("sample.ask", tenant="north")
        rows = (await kernel.request("kernel.accounting", AccountingRequest("acme.sample"), type=AccountingReply)).rows
        assert [(row.tenant, row.calls) for row in rows if not row.capability] == [("north", 1)]
        rows = (await kernel.request("kernel.accounting", {"tenant": "south"}, type=AccountingReply)).rows
        assert rows == []
        found = await kernel.request("kernel.plugins", type=PluginsReply)
        assert [(row.id, row.state, row.enabled, row.summary) for row in found.plugins] == [
            ("acme.sample", "active", True, "A sample")
        ]
        assert (await kernel.request("kernel.plugins", PluginsRequest("acme.other"), type=PluginsReply)).plugins == []


# damage, and more than one kernel


async def test_a_damaged_package_fails_by_name_and_the_others_run(tmp_path: Path, desk: Board) -> None:
    """The bytes are checked at every start: one flipped byte is found, the plugin is `failed`, and can be removed."""
    made = package()
    async with quiet(tmp_path) as kernel:
        await kernel.install(made, consent=True)
        await kernel.install(package("acme.other"), consent=True)
    stored = tmp_path / "blobs" / "sha256" / made.code_digest("python").removeprefix("sha256:")
    data = bytearray(stored.read_bytes())
    data[len(data) // 2] ^= 1
    stored.write_bytes(data)
    async with quiet(tmp_path) as kernel:
        status = kernel.plugin("acme.sample")
        assert status.state == "failed"
        assert made.code_digest("python")[:19] in status.reason or "sha256" in status.reason
        assert kernel.plugin("acme.other").state == "active"
        assert (await kernel.request("other.ask"))[0] == "1.0.0"
        with pytest.raises(CatalogCorrupt):
            kernel.manifest("acme.sample")
        with pytest.raises(CatalogCorrupt):
            await kernel.grant("acme.sample", "clock:read")
        with pytest.raises(Exception, match="sha256"):
            await kernel.enable("acme.sample")
        assert kernel.plugin("acme.sample").state == "failed"
        await kernel.remove("acme.sample")
        assert (await kernel.install(made, consent=True)).state == "active"


async def test_one_data_folder_has_one_kernel(tmp_path: Path, desk: Board) -> None:
    """A second kernel on the same folder is refused and disturbs nothing; after the first has closed it may."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(), consent=True)
        with pytest.raises(DataFolderInUse):
            async with quiet(tmp_path):
                pass
        assert await kernel.request("sample.ask") == ["1.0.0", 0, []]
    async with quiet(tmp_path) as kernel:
        assert kernel.plugin("acme.sample").state == "active"


async def test_two_kernels_in_one_process_share_nothing(tmp_path: Path, desk: Board) -> None:
    """The same plugin in two kernels: own state, own grants, own bus, own module."""
    async with quiet(tmp_path / "a", name="a") as one, quiet(tmp_path / "b", name="b") as two:
        for kernel in (one, two):
            await kernel.install(package(), consent=True)
        await one.publish("sample.event.x", 1, confirm=True)
        assert (await one.request("sample.ask"))[1] == 1
        assert (await two.request("sample.ask"))[1] == 0
        await one.revoke("acme.sample", "bus:serve@sample.ask")
        with pytest.raises(CapabilityDenied):
            await one.request("sample.ask")
        await two.request("sample.ask")
        await one.remove("acme.sample")
        assert (await two.request("sample.ask"))[1] == 0


async def test_a_restart_keeps_everything(tmp_path: Path, desk: Board) -> None:
    """Versions, state, grants and denials, what is disabled, and what can be rolled back to are as they were."""
    async with quiet(tmp_path) as kernel:
        await kernel.install(package(asks={"clock:read": "optional"}), consent=True)
        await kernel.upgrade(package(version="1.1.0", asks={"clock:read": "optional"}), consent=True)
        await kernel.grant("acme.sample", "clock:read", tenant="north", deny=True)
        await kernel.publish("sample.event.x", 1, confirm=True)
        await kernel.install(package("acme.off"), consent=True)
        await kernel.disable("acme.off")
        before = {item.id: item for item in kernel.plugins()}
        revision = kernel.catalog.revision
    async with quiet(tmp_path) as kernel:
        for item in kernel.plugins():
            was = before[item.id]
            assert (item.version, item.digest, item.runtime, item.enabled, item.state) == (
                was.version,
                was.digest,
                was.runtime,
                was.enabled,
                was.state,
            )
            assert (item.granted, item.denied, item.previous) == (was.granted, was.denied, was.previous)
        assert await kernel.request("sample.ask") == ["1.1.0", 1, []]
        assert kernel.catalog.revision == revision + 1  # the state that was saved at the stop
        await kernel.rollback("acme.sample")
        assert await kernel.request("sample.ask") == ["1.0.0", 1, []]
