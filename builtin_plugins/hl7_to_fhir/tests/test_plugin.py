"""On the bus: what is stored, and under which key. Trusted and as in the sandbox."""

from __future__ import annotations

import pytest
from rustcare_plugin_hl7_to_fhir.plugin import HL7ToFHIR, Transformed, TransformRequest
from rustcare_sdk.contracts.fhir import STORE, StoreReply, StoreRequest
from rustcare_sdk.contracts.hl7 import Hl7Message
from rustcare_sdk.errors import ServiceError
from rustcare_sdk.plugin import handlers_of
from rustcare_sdk.testing import PluginHarness, harness

ADT = r"MSH|^~\&|APP|NORTH|||20260314||ADT^A01|77|P|2.5" + "\rPID|1||7^^^CITY||Moe^Ann\r"
TIERS = pytest.mark.parametrize("sandboxed", [False, True], ids=["trusted", "as in the sandbox"])


def received(text: str = ADT, type: str = "ADT", event: str = "A01") -> Hl7Message:
    """A message as the receiver publishes it."""
    return Hl7Message("k1", type, event, "77", "NORTH", "2.5", "2026-03-14T09:00:00Z", text)


def stored(h: PluginHarness) -> list[StoreRequest]:
    """What was asked of the store."""
    out = []
    for message in h.requested:
        assert message.subject == STORE
        data = message.data
        out.append(data if isinstance(data, StoreRequest) else StoreRequest(**data))
    return out


@TIERS
async def test_a_message_is_stored_under_its_key(sandboxed: bool) -> None:
    """The store's key is the message's, so that a second delivery stores nothing twice."""
    async with harness(HL7ToFHIR, round_trip=sandboxed) as h:
        h.answer(STORE, StoreReply(2, ["Patient/1/_history/1"], False))
        await h.send("hl7.adt.a01", received())
        (request,) = stored(h)
        assert (request.key, request.source, request.merge) == ("k1", "hl7:k1", True)
        assert [resource["resourceType"] for resource in request.resources] == ["Patient", "Organization"]
        h.assert_capabilities_within_manifest()


async def test_a_message_that_says_nothing_stores_nothing() -> None:
    """No empty transaction is sent."""
    async with harness(HL7ToFHIR) as h:
        await h.send("hl7.adt.a20", received(ADT.split("\r")[0].replace("A01", "A20"), event="A20"))
        assert h.requested == []


@TIERS
async def test_the_preview_stores_nothing(sandboxed: bool) -> None:
    """`hl7.to-fhir` shows what would be stored."""
    async with harness(HL7ToFHIR, round_trip=sandboxed) as h:
        found = await h.request("hl7.to-fhir", TransformRequest(ADT), type=Transformed)
        assert (found.key, found.type, found.event) == ("NORTH/77", "ADT", "A01")
        assert found.resources[0]["name"] == [{"family": "Moe", "given": ["Ann"]}]
        assert h.requested == []


async def test_an_unmappable_message_is_a_typed_error() -> None:
    """The caller gets our code."""
    async with harness(HL7ToFHIR) as h:
        with pytest.raises(ServiceError) as caught:
            await h.request("hl7.to-fhir", TransformRequest("nonsense"))
        assert caught.value.code == "hl7-to-fhir.unmappable"


async def test_what_the_store_refused_is_told() -> None:
    """The error goes to the receiver, who keeps the message and publishes it again."""

    def refuse(request: object) -> StoreReply:
        raise ServiceError("fhir.refused", "no")

    async with harness(HL7ToFHIR) as h:
        h.answer(STORE, refuse)
        with pytest.raises(ServiceError) as caught:
            await h.send("hl7.adt.a01", received())
        assert caught.value.code == "fhir.refused"


@TIERS
async def test_there_is_no_state(sandboxed: bool) -> None:
    """Nothing is handed to the next version, so that any number of instances may run."""
    async with harness(HL7ToFHIR, round_trip=sandboxed) as h:
        h.answer(STORE, StoreReply(2, [], False))
        await h.send("hl7.adt.a01", received())
        assert await h.plugin.export_state() is None
        await h.upgrade(HL7ToFHIR)
        await h.send("hl7.adt.a01", received())
        first, second = stored(h)
        assert first == second


async def test_the_configured_offset_is_used() -> None:
    """`timezone` is taken at start."""
    async with harness(HL7ToFHIR, config={"timezone": "+02:00"}) as h:
        found = await h.request(
            "hl7.to-fhir", TransformRequest(ADT + "PV1|1|I" + "|" * 42 + "202601020304"), type=Transformed
        )
        (encounter,) = [item for item in found.resources if item["resourceType"] == "Encounter"]
        assert encounter["period"] == {"start": "2026-01-02T03:04:00+02:00"}


def test_one_group_takes_everything() -> None:
    """Versions that run side by side during an upgrade share one group, so that each message reaches one of them."""
    subscribed = [handler for handler in handlers_of(HL7ToFHIR) if handler.kind == "subscribe"]
    assert {handler.group for handler in subscribed} == {"hl7-to-fhir"}
    assert {handler.subject for handler in subscribed} == {"hl7.adt.*", "hl7.oru.r01"}


async def test_no_message_depends_on_another() -> None:
    """Handlers may run side by side and in any instance: the same message gives the same resources, whatever was before."""
    async with harness(HL7ToFHIR) as h:
        h.answer(STORE, StoreReply(2, [], False))
        await h.send("hl7.adt.a01", received())
        await h.send("hl7.adt.a08", received(ADT.replace("A01", "A08").replace("Moe", "Roe"), event="A08"))
        await h.send("hl7.adt.a01", received())
        first, _, again = stored(h)
        assert first.resources == again.resources
