"""Merging: what a message leaves out stays, what it says replaces, what it deletes goes."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rustcare_plugin_fhir.plugin import Fhir
from rustcare_sdk.contracts import fhir
from rustcare_sdk.testing import PluginHarness, harness

NULL_FLAVOR = {"system": "http://terminology.hl7.org/CodeSystem/v3-NullFlavor", "code": "UNK"}
MR = {"system": "urn:oid:2.999.1", "value": "1"}
PI = {"system": "urn:oid:2.999.2", "value": "1"}
RELIGION, MAIDEN = "urn:x:religion", "urn:x:maiden"


class Feed:
    """A store and the messages that come to it."""

    def __init__(self, h: PluginHarness) -> None:
        self.h = h
        self.count = 0

    async def say(self, *resources: dict[str, Any], merge: bool = True) -> fhir.StoreReply:
        """One message, with a key of its own."""
        self.count += 1
        request = fhir.StoreRequest(str(self.count), list(resources), "test", merge)
        reply: fhir.StoreReply = await self.h.request(fhir.STORE, request)
        return reply

    async def known(self, ref: str) -> dict[str, Any]:
        """The elements that are stored."""
        found = (await self.h.request(fhir.READ, fhir.ReadRequest(*ref.split("/")))).resource
        return {name: value for name, value in found.items() if name not in ("resourceType", "id", "meta")}


def patient(**more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": "p", **more}


async def after(*messages: dict[str, Any], type: str = "Patient", merge: bool = True) -> dict[str, Any]:
    """What is stored of one resource when these messages have come, one after the other."""
    async with harness(Fhir) as h:
        feed = Feed(h)
        for message in messages:
            await feed.say({"resourceType": type, "id": "p", **message}, merge=merge)
        return await feed.known(f"{type}/p")


async def test_a_message_that_says_less_takes_nothing_away() -> None:
    """A result with three fields of the patient leaves the others as the admission told them."""
    rich = {"gender": "female", "birthDate": "1970-01-31", "address": [{"city": "Oslo"}]}
    assert await after(rich, {"birthDate": "1970-01-31"}) == rich
    assert await after(rich, {"birthDate": "1971"}) == {**rich, "birthDate": "1971"}


async def test_without_merge_a_resource_is_replaced() -> None:
    """The default is a snapshot."""
    assert await after({"gender": "female", "birthDate": "1970"}, {"birthDate": "1970"}, merge=False) == {
        "birthDate": "1970"
    }


async def test_an_element_that_is_there_replaces_the_stored_one_as_a_whole() -> None:
    """Nobody can tell whether the second name is another spelling or another name; the sender's list is the list."""
    names = {"name": [{"family": "Moe", "given": ["Ann"]}, {"family": "Roe"}], "gender": "female"}
    assert await after(names, {"name": [{"family": "Poe"}]}) == {"name": [{"family": "Poe"}], "gender": "female"}


async def test_null_deletes() -> None:
    """An element that is null goes; where there was none nothing happens, and null itself is never stored."""
    assert await after({"gender": "female", "birthDate": "1970"}, {"gender": None}) == {"birthDate": "1970"}
    assert await after({"birthDate": "1970"}, {"gender": None}) == {"birthDate": "1970"}
    assert await after({"birthDate": "1970", "gender": None}) == {"birthDate": "1970"}


async def test_an_element_of_another_type_is_the_same_element() -> None:
    """A resource has one deceased[x] and one multipleBirth[x]."""
    assert await after({"deceasedBoolean": False}, {"deceasedDateTime": "2026"}) == {"deceasedDateTime": "2026"}
    assert await after({"deceasedDateTime": "2026"}, {"deceasedBoolean": None}) == {}
    assert await after({"deceasedDateTime": "2026"}, {"deceasedBoolean": False, "deceasedDateTime": None}) == {
        "deceasedBoolean": False
    }


async def test_what_is_said_about_a_value_goes_with_the_value() -> None:
    """The time of birth belongs to the date of birth."""
    timed = {"birthDate": "1970", "_birthDate": {"extension": [{"url": "urn:x:time", "valueDateTime": "1970"}]}}
    assert await after(timed, {"birthDate": "1971"}) == {"birthDate": "1971"}
    assert await after(timed, {"birthDate": None}) == {}
    assert await after(timed, {"gender": "male"}) == {**timed, "gender": "male"}


async def test_identifiers_are_united() -> None:
    """A message that lists fewer identifiers takes none away; the same one is replaced where it stands."""
    typed = {**MR, "use": "usual"}
    assert await after({"identifier": [MR, PI]}, {"identifier": [PI]}) == {"identifier": [MR, PI]}
    assert await after({"identifier": [MR]}, {"identifier": [PI]}) == {"identifier": [MR, PI]}
    assert await after({"identifier": [MR, PI]}, {"identifier": [typed]}) == {"identifier": [typed, PI]}
    assert await after({"identifier": [MR, PI]}, {"identifier": None}) == {}


async def test_senders_that_list_different_identifiers_make_no_versions() -> None:
    """Two systems that alternate do not make the patient change with every message."""
    async with harness(Fhir) as h:
        feed = Feed(h)
        await feed.say(patient(identifier=[MR, PI]))
        stored = [(await feed.say(patient(identifier=[one]))).stored for one in (MR, PI, MR, PI)]
        assert stored == [0, 0, 0, 0]


async def test_links_of_several_merges_stay() -> None:
    """Two patients that were merged into a third, by two messages, are both named by it."""
    first, second = ({"other": {"reference": f"Patient/{name}"}, "type": "replaces"} for name in "ab")
    async with harness(Fhir) as h:
        feed = Feed(h)
        for gone, link in (("a", first), ("b", second)):
            mark = {"other": {"reference": "Patient/p"}, "type": "replaced-by"}
            await feed.say(
                patient(link=[link]), {"resourceType": "Patient", "id": gone, "active": False, "link": [mark]}
            )
        assert await feed.known("Patient/p") == {"link": [first, second]}
        # A message about the old record does not bring it back to life.
        await feed.say({"resourceType": "Patient", "id": "a", "gender": "male"})
        assert (await feed.known("Patient/a"))["active"] is False
        assert "link" in await feed.known("Patient/a")


async def test_extensions_are_united_by_their_url() -> None:
    """Each says something of its own. One with nothing but its url is deleted."""
    faith, other = {"url": RELIGION, "valueString": "a"}, {"url": RELIGION, "valueString": "b"}
    name = {"url": MAIDEN, "valueString": "Roe"}
    assert await after({"extension": [faith, name]}, {"extension": [other]}) == {"extension": [other, name]}
    assert await after({"extension": [faith, name]}, {"extension": [{"url": RELIGION}]}) == {"extension": [name]}
    assert await after({"extension": [name]}, {"extension": [{"url": MAIDEN}]}) == {}


async def test_a_visits_period_and_stay_are_merged_by_their_parts() -> None:
    """The admission told when the visit began, the discharge tells when it ended."""
    home = {"text": "home"}
    begun: dict[str, Any] = {"period": {"start": "2026-01-01"}, "hospitalization": {"admitSource": home}}
    ended: dict[str, Any] = {"period": {"end": "2026-01-05"}, "hospitalization": {"dischargeDisposition": home}}
    both = {name: {**begun[name], **ended[name]} for name in begun}
    assert await after(begun, ended, type="Encounter") == both
    cancelled = {"period": {"end": None}, "hospitalization": {"dischargeDisposition": None}}
    assert await after(begun, ended, cancelled, type="Encounter") == begun
    assert await after({"period": {"end": "2026"}}, {"period": {"end": None}}, type="Encounter") == {}


async def test_unknown_is_no_news() -> None:
    """FHIR demands a status and a class of a visit; a sender that does not know them does not undo them."""
    known = {"status": "finished", "class": {"system": "urn:x", "code": "IMP"}}
    unknown = {"status": "unknown", "class": NULL_FLAVOR}
    assert await after(known, unknown, type="Encounter") == known
    assert await after(unknown, known, type="Encounter") == known
    assert await after(unknown, type="Encounter") == unknown


@pytest.mark.parametrize("type", ["Observation", "DiagnosticReport", "ServiceRequest", "Specimen"])
async def test_a_correction_replaces_as_a_whole(type: str) -> None:
    """A corrected result is not a mixture of two: what it leaves out is withdrawn, the value of another type too."""
    final = {"status": "final", "valueQuantity": {"value": 7}, "note": [{"text": "haemolysed"}]}
    corrected = {"status": "corrected", "valueString": "no result"}
    assert await after(final, corrected, type=type) == corrected


async def test_a_deleted_resource_begins_anew() -> None:
    """What was deleted is not merged into what comes later."""
    async with harness(Fhir) as h:
        feed = Feed(h)
        await feed.say(patient(gender="female"))
        await h.request(fhir.DELETE, fhir.DeleteRequest("Patient", "p"))
        await feed.say(patient(birthDate="1970"))
        assert await feed.known("Patient/p") == {"birthDate": "1970"}


async def test_what_is_merged_to_the_same_makes_no_version() -> None:
    """A thin message that repeats what is known is no change, and the answer names the version that stands."""
    async with harness(Fhir) as h:
        feed = Feed(h)
        await feed.say(patient(gender="female", birthDate="1970"))
        reply = await feed.say(patient(birthDate="1970"))
        assert reply == fhir.StoreReply(0, ["Patient/p/_history/1"], duplicate=False)


async def test_tags_stay() -> None:
    """`meta` is merged by its elements, but for what the store itself sets."""
    async with harness(Fhir) as h:
        feed = Feed(h)
        await feed.say(patient(meta={"tag": [{"code": "vip"}]}))
        await feed.say(patient(gender="male", meta={"source": "urn:x"}))
        found = (await h.request(fhir.READ, fhir.ReadRequest("Patient", "p"))).resource
        assert found["meta"] == {
            "tag": [{"code": "vip"}],
            "source": "urn:x",
            "versionId": "2",
            "lastUpdated": "2026-01-01T12:00:00.000Z",
        }


async def test_decimals_keep_their_digits_when_something_else_changes() -> None:
    """1.50 stays 1.50 in an element that the message does not name."""
    async with harness(Fhir) as h:
        feed = Feed(h)
        await feed.say({"resourceType": "Location", "id": "p", "position": {"latitude": Decimal("1.50")}})
        await feed.say({"resourceType": "Location", "id": "p", "name": "ward"})
        assert isinstance(h.plugin, Fhir)
        row = await h.plugin.store.read("default", "Location/p", None)
        assert row is not None
        assert '"latitude":1.50' in row["content"]


# any course of messages

VALUES = st.none() | st.integers(0, 2)
SAID = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("gender", "birthDate", "name", "maritalStatus", "telecom", "active"), VALUES)
)
NUMBERS = st.lists(st.sampled_from([MR, PI, {"value": "1"}, {"system": "urn:x", "value": "2"}]), unique_by=str)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(SAID, NUMBERS, st.booleans()), min_size=1, max_size=8), st.integers(1, 4))
async def test_nothing_is_lost_that_no_later_message_replaced_or_deleted(messages: list[Any], together: int) -> None:
    """Any messages, alone or several in one transaction: each element is what the last message that named it said."""
    last: dict[str, Any] = {}
    numbers: list[Any] = []
    async with harness(Fhir) as h:
        feed = Feed(h)
        for at in range(0, len(messages), together):
            asked = []
            for said, identifiers, merge in messages[at : at + together]:
                if not merge:
                    last, numbers = {}, []
                    said = {name: value for name, value in said.items() if value is not None}
                last.update(said)
                numbers += [one for one in identifiers if one not in numbers]
                feed.count += 1
                content = patient(**said, **({"identifier": identifiers} if identifiers else {}))
                request = fhir.StoreRequest(str(feed.count), [content], "test", merge)
                asked.append(h.request(fhir.STORE, request))
            await asyncio.gather(*asked)  # they share a transaction
        known = await feed.known("Patient/p")
        assert known.pop("identifier", []) == numbers
        assert known == {name: value for name, value in last.items() if value is not None}
