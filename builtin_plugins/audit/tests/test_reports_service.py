"""Reports on a real log: what they cite, the one checkpoint that covers it, and the accounting of disclosures."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from rustcare_plugin_audit.errors import InvalidRequest
from rustcare_plugin_audit.notes import Checkpoint
from rustcare_plugin_audit.plugin import Audit
from rustcare_sdk.contracts import audit, compliance, fhir
from rustcare_sdk.testing import PluginHarness, harness

from tests.support.keyring import MemoryKeyring

SECOND = 1_000_000
START = 1_767_225_600 * SECOND  # 2026-01-01
READ = "bus:request@fhir.read"
KINDS = ["gdpr", "hipaa-security", "part11", "sox-itgc"]


@pytest.fixture
def keyring() -> MemoryKeyring:
    """The keys."""
    return MemoryKeyring()


@pytest_asyncio.fixture
async def h(keyring: MemoryKeyring) -> AsyncIterator[PluginHarness]:
    """A log with some of everything."""
    double = harness(Audit)
    keyring.attach(double)
    async with double:
        yield double


async def record(h: PluginHarness, *rows: dict[str, Any]) -> list[int]:
    """Record attempts, each with its outcome `ok` (success), or the code of a failure."""
    attempts, outcomes = [], []
    for number, row in enumerate(rows):
        result = row.pop("result", None)
        asked = {"kind": "use", "plugin": "acme.app", "time": START + number * SECOND, **row}
        attempts.append(audit.Attempt(f"{len(h.requested)}-{number}", **asked))
        outcomes.append(result)
    places: list[int] = (await h.request(audit.RECORD, audit.RecordRequest(attempts))).indices
    settled = [
        audit.Outcome(attempt.id, place, "success" if result == "ok" else "failure", "" if result == "ok" else result)
        for attempt, place, result in zip(attempts, places, outcomes, strict=True)
        if result
    ]
    await h.request(audit.SETTLE, audit.SettleRequest(settled))
    return places


def read(patient: str, purpose: str, **more: Any) -> dict[str, Any]:
    """A read of a patient, by a principal."""
    asked = fhir.ReadRequest("Patient", patient)
    return {"capability": READ, "data": asked, "principal": "dr", "purpose": purpose, "result": "ok", **more}


async def report(h: PluginHarness, kind: str = "hipaa-security", **more: Any) -> compliance.ReportReply:
    """A report."""
    found: compliance.ReportReply = await h.request(compliance.REPORT, compliance.ReportRequest(kind, **more))
    return found


def cites(found: compliance.ReportReply) -> set[int]:
    """All leaves that a report cites."""
    places = {
        place for finding in found.findings for item in finding.evidence for place in (*item.cites, *item.against)
    }
    return places | {place for table in found.tables for row in table.rows for place in row.cites}


def status(found: compliance.ReportReply, control: str) -> str:
    """The status of a control."""
    return next(finding.status for finding in found.findings if finding.control == control)


async def fill(h: PluginHarness) -> None:
    """What a hospital does in a minute."""
    await record(
        h,
        {"kind": "operation", "action": "plugin.install", "plugin": "", "principal": "root", "result": "ok"},
        {"kind": "fact", "action": "plugin.consent", "details": {"digest": "sha256:1"}},
        {"kind": "operation", "action": "grant.give", "plugin": "", "principal": "root", "result": "ok"},
        read("a", "TREAT"),
        read("a", "PUBHLTH"),
        {"kind": "fact", "action": "capability.denied", "details": {"capability": "net:connect@*"}},
        {"capability": "bus:request@audit.search", "principal": "auditor", "result": "ok"},
        {"capability": READ, "data": fhir.ReadRequest("Patient", "b"), "principal": "dr", "result": "fhir.gone"},
    )


@pytest.mark.parametrize("kind", KINDS)
async def test_a_report_cites_only_what_its_checkpoint_covers(h: PluginHarness, kind: str) -> None:
    """On the log as it is, and as it was: every leaf is below the checkpoint's size, which is the log's own and signed."""
    for _ in range(3):
        await fill(h)
    now = await report(h, kind)
    stored = (await h.request(audit.CHECKPOINTS, audit.CheckpointsRequest())).checkpoints
    for size in [0, *(checkpoint.size for checkpoint in stored if checkpoint.size)]:
        found = await report(h, kind, size=size)
        head = await h.request(audit.CHECKPOINT, audit.CheckpointRequest(found.size))
        assert (found.size, found.root, found.checkpoint) == (head.size, head.root, head.text)
        assert Checkpoint.parse(found.checkpoint).size == found.size
        assert all(0 <= place < found.size for place in cites(found))
        assert found.size <= now.size
    assert sum(now.summary.values()) == len(now.findings)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_empty_log_evidences_nothing(h: PluginHarness, kind: str) -> None:
    """Without entries every control is not evidenced."""
    found = await report(h, kind)
    assert {finding.status for finding in found.findings} == {"not evidenced"}
    assert (found.size, cites(found)) == (0, set())


async def test_what_is_evidenced_and_what_not(h: PluginHarness) -> None:
    """The figures of the log itself hold; what nobody put on record is not evidenced."""
    await fill(h)
    found = await report(h)
    for control in (
        "164.308(a)(4)",
        "164.312(a)(1)",
        "164.312(a)(2)(i)",
        "164.312(a)(2)(iv)",
        "164.312(b)",
        "164.312(c)",
    ):
        assert status(found, control) == "evidenced", control
    assert status(found, "164.308(a)(1)(ii)(D)") == "partly evidenced"
    for control in ("164.312(a)(2)(iii)", "164.312(d)", "164.312(e)"):
        assert status(found, control) == "not evidenced", control
    assert status(await report(h, "sox-itgc"), "CM-1") == "not evidenced"


async def test_a_report_of_another_time_has_none_of_this(h: PluginHarness) -> None:
    """Entries outside of the report's time are not evidence."""
    await fill(h)
    found = await report(h, since="2025-01-01", until="2025-12-31")
    assert found.entries == 0
    assert {finding.status for finding in found.findings} == {"not evidenced"}


async def test_a_tenant_gets_reports_on_itself(h: PluginHarness) -> None:
    """A principal's report has the entries of their tenant only, and asking for another is refused."""
    await record(h, read("a", "TREAT"), read("a", "TREAT", tenant="ward"))
    found = await h.request(
        compliance.REPORT, compliance.ReportRequest("hipaa-security"), tenant="ward", principal="auditor"
    )
    assert (found.entries, found.tenant) == (1, "ward")
    with pytest.raises(InvalidRequest, match="own tenant"):
        await h.request(
            compliance.REPORT, compliance.ReportRequest("gdpr", tenant="ward"), tenant="north", principal="auditor"
        )


async def test_a_damaged_entry_contradicts(h: PluginHarness) -> None:
    """Where a stored entry is altered, the control on integrity is contradicted, not evidenced."""
    await fill(h)
    await h.request(audit.SEARCH, audit.SearchRequest())
    good = await report(h)
    assert status(good, "164.312(c)") == "evidenced"
    log = h.plugin.trust.log  # type: ignore[attr-defined]
    entries = log.entries

    async def altered(start: int, count: int) -> list[bytes | None]:
        return [data and data.replace(b"TREAT", b"treat") for data in await entries(start, count)]

    log.entries = altered
    bad = await report(h)
    assert status(bad, "164.312(c)") == "contradicted"


@pytest.mark.parametrize(
    "more",
    [
        {"kind": "nothing"},
        {"since": "yesterday"},
        {"since": "2026-02-01", "until": "2026-01-01"},
        {"format": "pdf"},
        {"audience": "public"},
        {"kind": "hipaa-disclosures"},
        {"kind": "hipaa-disclosures", "patient": "Observation/1"},
    ],
)
async def test_requests_that_make_no_sense_are_refused(h: PluginHarness, more: dict[str, Any]) -> None:
    """An unknown kind or format, times in the wrong order, an accounting of nobody."""
    with pytest.raises(InvalidRequest) as refused:
        await report(h, **{"kind": "gdpr", **more})
    assert refused.value.address.startswith("audit.report:")


# the accounting of disclosures


async def accounting(h: PluginHarness, **more: Any) -> compliance.ReportReply:
    """The accounting of patient a."""
    return await report(h, "hipaa-disclosures", **{"patient": "Patient/a", **more})


async def disclose(h: PluginHarness, recipient: str, purpose: str, date: str = "", patient: str = "Patient/a") -> int:
    """State a disclosure by post."""
    asked = audit.DisclosureRequest(patient, recipient, "laboratory results", purpose, date)
    place: int = (await h.request(audit.DISCLOSE, asked)).indices[0]
    return place


async def test_the_accounting_of_one_patient(h: PluginHarness) -> None:
    """Date, recipient, what and purpose of each, by date; treatment is not a disclosure to account for; nor another's."""
    places = await record(h, read("a", "TREAT"), read("a", "PUBHLTH"), read("b", "PUBHLTH"))
    stated = await disclose(h, "County Health Office, 1 Main St", "report of a disease", "2025-06-01")
    found = await accounting(h)
    assert [row.cells for row in found.tables[0].rows] == [
        ["2025-06-01", "County Health Office, 1 Main St", "laboratory results", "report of a disease"],
        ["2026-01-01 00:00:01 UTC", "dr", "read Patient", "public health activities (PUBHLTH)"],
    ]
    assert [row.cites for row in found.tables[0].rows] == [[stated], [places[1]]]
    assert {finding.status for finding in found.findings} == {"evidenced"}
    assert found.entries == 2


async def test_six_years(h: PluginHarness) -> None:
    """Disclosures from before six years ago are not in it, unless asked for."""
    await disclose(h, "old", "x", "2019-12-31")
    await disclose(h, "new", "x", "2020-01-02")
    found = await accounting(h)
    assert [row.cells[1] for row in found.tables[0].rows] == ["new"]
    assert len((await accounting(h, since="2010-01-01")).tables[0].rows) == 2


@pytest.mark.parametrize(
    ("purpose", "paragraph"), [("PATRQT", "(ii)"), ("AUTHORIZED", "(iv)"), ("HDIRECT", "(v)"), ("LIMITED", "(viii)")]
)
async def test_exclusions(h: PluginHarness, purpose: str, paragraph: str) -> None:
    """What 164.528(a)(1) leaves out is not listed for the individual; the organization sees it with its paragraph."""
    await disclose(h, "somebody", purpose)
    mine = await accounting(h)
    assert mine.tables[0].rows == []
    assert mine.tables[0].note.startswith("1 left out: ")
    assert len(mine.tables) == 1
    theirs = await accounting(h, audience="organization")
    (row,) = theirs.tables[1].rows
    assert row.cells[4].endswith(f"164.528(a)(1){paragraph}")


async def test_a_read_that_failed_disclosed_nothing(h: PluginHarness) -> None:
    """Nothing was given out where the read failed for want of what it asked for; where that is not known, it counts."""
    await record(h, read("a", "PUBHLTH", result="fhir.gone"), read("a", "PUBHLTH", result="bus.deadline-exceeded"))
    assert len((await accounting(h)).tables[0].rows) == 1


async def test_a_suspension(h: PluginHarness) -> None:
    """What went to the agency is not in the individual's accounting, with no sign of it, until the time is over."""
    await disclose(h, "Federal Bureau", "inquiry")
    await disclose(h, "County Health Office", "report of a disease")
    asked = compliance.SuspendRequest("Patient/a", "federal bureau ", "2026-01-20", official="Agent Smith")
    await h.request(compliance.REPORT_SUSPEND, asked)
    mine = await accounting(h, format="html")
    assert [row.cells[1] for row in mine.tables[0].rows] == ["County Health Office"]
    assert "Federal" not in mine.text
    assert "suspen" not in mine.text
    assert "2 counted" not in mine.text
    theirs = await accounting(h, audience="organization")
    assert [row.cells[4] for row in theirs.tables[1].rows] == ["suspended, 164.528(a)(2)"]
    h.advance(20 * 86_400)
    assert len((await accounting(h)).tables[0].rows) == 2


async def test_an_oral_suspension_is_for_thirty_days(h: PluginHarness) -> None:
    """Without a written statement no longer than 30 days; with one as it says; never into the past."""
    for until in ("2026-02-15", "2025-12-01"):
        with pytest.raises(InvalidRequest):
            await h.request(compliance.REPORT_SUSPEND, compliance.SuspendRequest("Patient/a", "agency", until))
    asked = compliance.SuspendRequest("Patient/a", "agency", "2026-06-01", statement="letter 12")
    assert (await h.request(compliance.REPORT_SUSPEND, asked)).until == "2026-06-01T00:00:00Z"


async def test_an_omitted_disclosure_contradicts(h: PluginHarness) -> None:
    """Where the index loses a disclosure, the count of the checkpoint shows it."""
    place = await disclose(h, "somebody", "x")
    await disclose(h, "somebody else", "x")
    await h.request(audit.SEARCH, audit.SearchRequest())
    await h.ctx.db.execute("DELETE FROM audit_index WHERE idx = ?", (place,))
    found = await accounting(h)
    assert status(found, "164.528(a)(1)") == "contradicted"


async def test_an_altered_disclosure_contradicts(h: PluginHarness) -> None:
    """Where a stored disclosure is not what the tree holds, the accounting says so."""
    await disclose(h, "somebody", "x")
    assert status(await accounting(h), "164.528(a)(1)") == "evidenced"
    log = h.plugin.trust.log  # type: ignore[attr-defined]
    entries = log.entries

    async def altered(start: int, count: int) -> list[bytes | None]:
        return [data and data.replace(b'"disclose"', b'"disc1ose"') for data in await entries(start, count)]

    log.entries = altered
    assert status(await accounting(h), "164.528(a)(1)") == "contradicted"


async def test_a_shredded_patient_has_no_accounting(h: PluginHarness, keyring: MemoryKeyring) -> None:
    """Without the patient's key nobody can say what was theirs, and the report says so."""
    await disclose(h, "somebody", "x")
    keyring.shred("patient/a")
    found = await accounting(h)
    assert found.tables[0].rows == []
    assert {finding.status for finding in found.findings} == {"not evidenced"}
    assert any("destroyed" in limit for limit in found.limits)


# forms


async def test_csv(h: PluginHarness) -> None:
    """One line for each evidence, or each row; every line names the checkpoint; no cell is a formula."""
    await fill(h)
    found = await report(h, "sox-itgc", format="csv")
    rows = list(csv.DictReader(io.StringIO(found.text)))
    assert len(rows) == sum(len(finding.evidence) for finding in found.findings)
    assert {(row["size"], row["root"]) for row in rows} == {(str(found.size), found.root.hex())}
    assert found.media_type.startswith("text/csv")
    await disclose(h, '=cmd("x")', "+1", "2025-06-01")
    (row, *_) = csv.DictReader(io.StringIO((await accounting(h, format="csv")).text))
    assert (row["Recipient"], row["Purpose"]) == ('\'=cmd("x")', "'+1")


@pytest.mark.parametrize("kind", KINDS)
async def test_the_page(h: PluginHarness, kind: str) -> None:
    """Complete in itself: no script, nothing from outside; every table has a caption and heads with scope; a language."""
    from html.parser import HTMLParser

    class Reader(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.tags: list[tuple[str, dict[str, str | None]]] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.append((tag, dict(attrs)))

    await fill(h)
    found = await report(h, kind, format="html")
    reader = Reader()
    reader.feed(found.text)
    names = [tag for tag, _ in reader.tags]
    assert names.count("table") == names.count("caption")
    assert not {"script", "img", "link", "iframe", "form"} & set(names)
    assert all("scope" in attributes for tag, attributes in reader.tags if tag == "th")
    assert ("html", {"lang": "en"}) in reader.tags
    assert names.count("h1") == 1
    assert not any(name.startswith("on") or name in ("src", "href") for _, item in reader.tags for name in item)
    assert found.root.hex() in found.text
    for finding in found.findings:
        assert finding.control in found.text


async def test_the_page_escapes_everything(h: PluginHarness) -> None:
    """What a recipient is called is text, whatever is in it."""
    await disclose(h, "<script>alert(1)</script>", "\"'&<b>")
    text = (await accounting(h, format="html")).text
    assert "<script" not in text
    assert "<b>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
