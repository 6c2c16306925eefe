"""The services: transactions, versions, references, idempotence."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rustcare_plugin_fhir.errors import (
    DuplicateResource,
    InvalidRequest,
    InvalidResource,
    ResourceGone,
    ResourceNotFound,
    UnresolvedReference,
    VersionConflict,
)
from rustcare_plugin_fhir.plugin import Fhir
from rustcare_sdk.contracts import fhir
from rustcare_sdk.errors import RustCareError, StoreError
from rustcare_sdk.testing import PluginHarness, harness


def patient(id: str = "p1", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Patient", "id": id, **more}


def encounter(id: str = "e1", of: str = "p1") -> dict[str, Any]:
    return {"resourceType": "Encounter", "id": id, "subject": {"reference": f"Patient/{of}"}}


def store(**config: Any) -> PluginHarness:
    return harness(Fhir, config=config)


async def put(h: PluginHarness, key: str, *resources: dict[str, Any], **more: Any) -> fhir.StoreReply:
    reply: fhir.StoreReply = await h.request(fhir.STORE, fhir.StoreRequest(key, list(resources), "test"), **more)
    return reply


async def read(h: PluginHarness, ref: str, version: str = "", **more: Any) -> fhir.ResourceReply:
    reply: fhir.ResourceReply = await h.request(fhir.READ, fhir.ReadRequest(*ref.split("/"), version), **more)
    return reply


async def test_resources_of_a_message_are_stored_together() -> None:
    """Versions begin at 1; the answer names them in the order of the request."""
    async with store() as h:
        reply = await put(h, "k", encounter(), patient(gender="female"))
        assert reply == fhir.StoreReply(2, ["Encounter/e1/_history/1", "Patient/p1/_history/1"], duplicate=False)
        found = await read(h, "Patient/p1")
        meta = {"versionId": "1", "lastUpdated": "2026-01-01T12:00:00.000Z"}
        assert found == fhir.ResourceReply(patient(gender="female", meta=meta), "1")
        h.assert_capabilities_within_manifest()


async def test_a_key_is_carried_out_once() -> None:
    """The same key again, at any time and with anything in it, changes nothing and answers as before."""
    async with store() as h:
        first = await put(h, "k", patient(gender="female"))
        again = await put(h, "k", patient(gender="male"))
        assert again == fhir.StoreReply(first.stored, first.versions, duplicate=True)
        same, other = await asyncio.gather(put(h, "k2", patient("p2")), put(h, "k2", patient("p2")))
        assert sorted((same.duplicate, other.duplicate)) == [False, True]
        await h.restart()
        assert (await put(h, "k", patient(gender="male"))).duplicate
        assert (await read(h, "Patient/p1")).resource["gender"] == "female"
        assert len((await h.request(fhir.HISTORY, fhir.HistoryRequest("Patient", "p1"))).versions) == 1


async def test_the_same_content_makes_no_new_version() -> None:
    """A feed repeats its patients with every message: only a change is a version."""
    async with store() as h:
        await put(h, "1", patient(gender="female", birthDate="1970"))
        same = await put(h, "2", patient(birthDate="1970", gender="female", meta={"versionId": "9"}))
        assert same == fhir.StoreReply(0, ["Patient/p1/_history/1"], duplicate=False)
        changed = await put(h, "3", patient(gender="male"))
        assert changed == fhir.StoreReply(1, ["Patient/p1/_history/2"], duplicate=False)


async def test_a_refused_request_changes_nothing_and_hurts_no_other() -> None:
    """All or nothing, also when many requests share one transaction."""
    async with store() as h:
        results = await asyncio.gather(
            put(h, "1", patient("a")),
            put(h, "2", patient("b"), encounter("e2", of="nobody")),
            put(h, "3", patient("c"), patient("c", gender="male")),
            put(h, "4", patient("d"), {"resourceType": "Nonsense", "id": "1"}),
            put(h, "5", encounter("e5", of="a")),
            return_exceptions=True,
        )
        kinds = [type(result) for result in results]
        assert kinds == [fhir.StoreReply, UnresolvedReference, DuplicateResource, InvalidResource, fhir.StoreReply]
        count = await h.request(fhir.COUNT, fhir.CountRequest())
        assert count.counts == {"Encounter": 1, "Patient": 1}
        assert not (await put(h, "2", patient("b"))).duplicate  # its key was not used up


async def test_the_same_resource_twice_in_one_request_is_one() -> None:
    """Identical repetitions are harmless: a doctor may be named in two roles."""
    async with store() as h:
        reply = await put(h, "k", patient(), patient())
        assert reply == fhir.StoreReply(1, ["Patient/p1/_history/1"] * 2, duplicate=False)


async def test_references_must_resolve() -> None:
    """In the request or in the store; not to what was deleted; absolute addresses are not followed."""
    async with store() as h:
        with pytest.raises(UnresolvedReference) as caught:
            await put(h, "k", encounter())
        assert caught.value.address == "k"
        await put(h, "1", patient())
        await put(h, "2", encounter())
        await h.request(fhir.DELETE, fhir.DeleteRequest("Patient", "p1"))
        with pytest.raises(UnresolvedReference):
            await put(h, "3", encounter("e3"))
        far = {"resourceType": "Encounter", "id": "e4", "subject": {"reference": "https://x.example/Patient/1"}}
        assert (await put(h, "4", far)).stored == 1


async def test_dangling_references_can_be_allowed() -> None:
    """For feeds in which the other resource comes later, or from elsewhere."""
    async with store(dangling_references="allow") as h:
        assert (await put(h, "k", encounter())).stored == 1


async def test_update_checks_the_version_and_keeps_the_old_one() -> None:
    """`if_match` refuses when somebody else was first; every version stays readable."""
    async with store() as h:
        made = await h.request(fhir.UPDATE, fhir.UpdateRequest(patient(gender="female")))
        assert (made.version, made.created) == ("1", True)
        changed = await h.request(fhir.UPDATE, fhir.UpdateRequest(patient(gender="male"), if_match='W/"1"'))
        assert (changed.version, changed.created) == ("2", False)
        assert changed.resource["meta"]["versionId"] == "2"
        with pytest.raises(VersionConflict):
            await h.request(fhir.UPDATE, fhir.UpdateRequest(patient(gender="other"), if_match="1"))
        with pytest.raises(ResourceNotFound):
            await h.request(fhir.UPDATE, fhir.UpdateRequest(patient("new"), if_match="1"))
        same = await h.request(fhir.UPDATE, fhir.UpdateRequest(patient(gender="male"), if_match="2"))
        assert same == changed
        assert (await read(h, "Patient/p1", "1")).resource["gender"] == "female"


async def test_of_concurrent_updates_with_one_version_exactly_one_wins() -> None:
    """Optimistic locking holds inside of one transaction, too."""
    async with store() as h:
        await put(h, "k", patient())
        wishes = [fhir.UpdateRequest(patient(multipleBirthInteger=n), if_match="1") for n in range(5)]
        results = await asyncio.gather(*(h.request(fhir.UPDATE, wish) for wish in wishes), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["ResourceReply"] + ["VersionConflict"] * 4


async def test_create_makes_an_id() -> None:
    """An id in the resource is replaced; two creations are two resources."""
    async with store() as h:
        one = await h.request(fhir.CREATE, fhir.CreateRequest(patient("mine")))
        two = await h.request(fhir.CREATE, fhir.CreateRequest({"resourceType": "Patient"}))
        assert one.created
        assert len({one.resource["id"], two.resource["id"], "mine"}) == 3
        assert (await read(h, f"Patient/{one.resource['id']}")).resource == one.resource


async def test_delete_is_a_version() -> None:
    """The resource is gone, its older versions stay, and it can come back with the next number."""
    async with store() as h:
        await put(h, "k", patient(gender="female"))
        with pytest.raises(VersionConflict):
            await h.request(fhir.DELETE, fhir.DeleteRequest("Patient", "p1", if_match="7"))
        assert (await h.request(fhir.DELETE, fhir.DeleteRequest("Patient", "p1"))).version == "2"
        assert (await h.request(fhir.DELETE, fhir.DeleteRequest("Patient", "p1"))).version == ""
        assert (await h.request(fhir.DELETE, fhir.DeleteRequest("Patient", "never"))).version == ""
        for version in ("", "2"):
            with pytest.raises(ResourceGone):
                await read(h, "Patient/p1", version)
        assert (await read(h, "Patient/p1", "1")).resource["gender"] == "female"
        assert (await h.request(fhir.EXPORT, fhir.ExportRequest())).resources == []
        assert (await h.request(fhir.COUNT, fhir.CountRequest())).counts == {}
        back = await put(h, "k2", patient(gender="female"))
        assert back.versions == ["Patient/p1/_history/3"]
        history = await h.request(fhir.HISTORY, fhir.HistoryRequest("Patient", "p1"))
        assert [one["meta"]["versionId"] for one in history.versions] == ["3", "2", "1"]
        assert history.versions[1]["meta"]["tag"] == [{"system": "urn:rustcare:fhir", "code": "deleted"}]


async def test_history_comes_in_pages() -> None:
    """Newest first; `before` leads on; `more` says whether there is more."""
    async with store() as h:
        for number in range(5):
            await put(h, str(number), patient(multipleBirthInteger=number))
        seen: list[str] = []
        before, more = "", True
        while more:
            page = await h.request(fhir.HISTORY, fhir.HistoryRequest("Patient", "p1", limit=2, before=before))
            seen += [one["meta"]["versionId"] for one in page.versions]
            before, more = seen[-1], page.more
        assert seen == ["5", "4", "3", "2", "1"]
        with pytest.raises(ResourceNotFound):
            await h.request(fhir.HISTORY, fhir.HistoryRequest("Patient", "none"))


async def test_export_gives_every_current_resource_once() -> None:
    """Page by page, in the order of the last writing, by type if asked."""
    async with store() as h:
        await put(h, "1", *(patient(f"p{number}") for number in range(7)))
        await put(h, "2", encounter("e", of="p3"), patient("p0", gender="male"))
        seen: list[str] = []
        cursor, pages = "", 0
        while pages == 0 or cursor:
            page = await h.request(fhir.EXPORT, fhir.ExportRequest(limit=3, after=cursor))
            seen += [one["id"] for one in page.resources]
            cursor, pages = page.next, pages + 1
        assert seen == ["p1", "p2", "p3", "p4", "p5", "p6", "e", "p0"]
        only = await h.request(fhir.EXPORT, fhir.ExportRequest(types=["Encounter"]))
        assert [one["id"] for one in only.resources] == ["e"]
        assert (await h.request(fhir.COUNT, fhir.CountRequest(["Patient"]))).counts == {"Patient": 7}


async def test_tenants_do_not_see_each_other() -> None:
    """Resources, keys, exports and references are each tenant's own."""
    async with store() as h:
        await put(h, "k", patient(gender="female"), tenant="a")
        assert not (await put(h, "k", patient(gender="male"), tenant="b")).duplicate
        assert (await read(h, "Patient/p1", tenant="a")).resource["gender"] == "female"
        with pytest.raises(ResourceNotFound):
            await read(h, "Patient/p1", tenant="c")
        with pytest.raises(UnresolvedReference):
            await put(h, "e", encounter(), tenant="c")
        assert (await h.request(fhir.COUNT, fhir.CountRequest(), tenant="c")).counts == {}


async def test_events_come_after_the_commit_for_changes_only() -> None:
    """`fhir.<type>.<created|updated|deleted>`: once for each change, for the caller's tenant; none for duplicates."""
    async with store() as h:
        await put(h, "1", patient(), encounter())
        await put(h, "1", patient(), encounter())
        await put(h, "2", patient(), encounter())
        await put(h, "3", patient(gender="male"))
        await h.request(fhir.DELETE, fhir.DeleteRequest("Encounter", "e1"))
        assert [(one.subject, one.data.version) for one in h.published] == [
            ("fhir.patient.created", "1"),
            ("fhir.encounter.created", "1"),
            ("fhir.patient.updated", "2"),
            ("fhir.encounter.deleted", "2"),
        ]
        assert h.published[0].data == fhir.ResourceEvent("created", "Patient", "p1", "1", "test")
    async with store(events=False) as h:
        await put(h, "1", patient())
        assert h.published == []


@pytest.mark.parametrize(
    ("service", "data"),
    [
        (fhir.STORE, fhir.StoreRequest("", [], "")),
        (fhir.STORE, fhir.StoreRequest("k" * 2000, [], "")),
        (fhir.READ, fhir.ReadRequest("Patient", "1", "x")),
        (fhir.HISTORY, fhir.HistoryRequest("Patient", "1", limit=0)),
        (fhir.EXPORT, fhir.ExportRequest(limit=10_001)),
        (fhir.EXPORT, fhir.ExportRequest(after="-1")),
        (fhir.UPDATE, fhir.UpdateRequest(patient(), if_match="latest")),
    ],
)
async def test_requests_that_make_no_sense_are_refused(service: str, data: Any) -> None:
    """With the place, before anything is done."""
    async with store() as h:
        with pytest.raises(InvalidRequest) as caught:
            await h.request(service, data)
        assert caught.value.address.startswith(service)


async def test_a_database_that_fails_is_told_to_the_caller_and_used_again() -> None:
    """Nothing was stored, the key is not used up, and the next request works."""
    async with store() as h:
        plain = h.database.transaction

        def broken() -> Any:
            raise StoreError("the disk is full")

        h.database.transaction = broken  # type: ignore[method-assign]
        results = await asyncio.gather(put(h, "1", patient()), put(h, "2", patient()), return_exceptions=True)
        assert all(isinstance(result, StoreError) for result in results)
        h.database.transaction = plain  # type: ignore[method-assign]
        assert not (await put(h, "1", patient())).duplicate


async def test_another_process_that_was_first_is_noticed() -> None:
    """A version written by another node between looking and writing: look again, and take the next number."""
    async with store() as h:
        await put(h, "1", patient())
        engine_store = h.plugin.store  # type: ignore[attr-defined]
        plain = engine_store.current
        stale = {"Patient/p1": None}

        async def current(tx: Any, tenant: str, refs: Any) -> Any:
            found = await plain(tx, tenant, refs)
            if stale:
                stale.clear()
                found.pop("Patient/p1")  # as if version 1 had been committed a moment later
            return found

        engine_store.current = current
        assert (await put(h, "2", patient(gender="male"))).versions == ["Patient/p1/_history/2"]


async def test_a_stop_tells_those_who_wait() -> None:
    """Nobody hangs on a store that has stopped."""
    async with store() as h:
        await h.plugin.stop()
        with pytest.raises(RustCareError) as caught:
            await put(h, "1", patient())
        assert caught.value.code == "bus.closed"
        assert (await h.health()).details == {"last_error": ""}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["store", "update", "delete"]),
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 3),
        st.integers(0, 5),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.integers(1, 6))
async def test_the_store_does_what_a_dictionary_of_versions_does(steps: list[Any], together: int) -> None:
    """Any sequence of writes, alone or together in one transaction, against a model of lists in memory."""
    model: dict[str, list[int | None]] = {}
    keys: set[int] = set()
    async with store() as h:
        for at in range(0, len(steps), together):
            batch = []
            for kind, id, value, key in steps[at : at + together]:
                versions = model.setdefault(id, [])
                if kind == "delete":
                    batch.append(h.request(fhir.DELETE, fhir.DeleteRequest("Patient", id)))
                    if versions and versions[-1] is not None:
                        versions.append(None)
                    continue
                resource = patient(id, multipleBirthInteger=value)
                if kind == "update":
                    batch.append(h.request(fhir.UPDATE, fhir.UpdateRequest(resource)))
                else:
                    batch.append(put(h, str(key), resource))
                    if key in keys:
                        continue
                    keys.add(key)
                if not versions or versions[-1] != value:
                    versions.append(value)
            await asyncio.gather(*batch)
        for id, versions in model.items():
            if not versions:
                continue
            history = await h.request(fhir.HISTORY, fhir.HistoryRequest("Patient", id))
            assert [one.get("multipleBirthInteger") for one in reversed(history.versions)] == versions
        alive = sum(1 for versions in model.values() if versions and versions[-1] is not None)
        assert sum((await h.request(fhir.COUNT, fhir.CountRequest())).counts.values()) == alive
