"""Evidence: which entries count for which control, and what a control's status is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rustcare_plugin_audit.entry import Disclosure, Entry, What, Which, Who
from rustcare_plugin_audit.errors import InvalidRequest
from rustcare_plugin_audit.reports.controls import Control, Evidence, Regulation, kinds, read, regulation
from rustcare_plugin_audit.reports.evaluate import Evaluation, status_of, summary_of
from rustcare_plugin_audit.reports.evidence import CITED, Cites
from rustcare_sdk.contracts.compliance import ReportEvidence, ReportFinding

PAIRED = {
    item.says
    for kind in kinds()
    for control in regulation(kind).control
    for item in control.evidence
    if item.chain or item.clock
}
HOUR = 3_600_000_000
END = 2**60


def entry(kind: str = "fact", action: str = "", **more: Any) -> Entry:
    """An entry as the log has it."""
    who = Who(principal=more.pop("principal", ""), plugin=more.pop("plugin", ""))
    what = What(action, more.pop("capability", ""))
    which = Which(more.pop("tenant", "default"))
    return Entry(v=1, id="e", time=more.pop("time", 1), kind=kind, who=who, what=what, which=which, **more)


def outcome(place: int, result: str, code: str = "") -> Entry:
    """The entry of one outcome."""
    return Entry(v=1, id="o", time=2, kind="outcome", of=[[place, result, code] if code else [place, result]])


def of(text: str) -> Regulation:
    """A regulation with one control of this evidence (TOML)."""
    return read(
        'kind = "x"\ntitle = "x"\nsource = "x"\n[[control]]\nid = "1"\ntitle = "one"\nasks = "x"\n[[control.evidence]]\n'
        + text
    )


def figure(name: str, says: str, needed: bool) -> ReportEvidence:
    """No figure has anything."""
    return ReportEvidence(says, "not evidenced", needed=needed)


def judged(rule: Regulation, entries: list[Entry], until: int = END, tenant: str = "") -> ReportFinding:
    """The finding on the only control."""
    evaluation = Evaluation(rule, 0, until, tenant)
    for place, one in enumerate(entries):
        evaluation.feed(place, one)
    evaluation.close()
    return evaluation.findings(figure)[0]


def test_all_regulations_can_be_read() -> None:
    """Every regulation is there, each control has an id of its own, a text, and evidence that is needed."""
    assert list(kinds()) == ["gdpr", "hipaa-security", "part11", "sox-itgc"]
    for kind in kinds():
        found = regulation(kind)
        ids = [control.id for control in found.control]
        assert len(set(ids)) == len(ids)
        for control in found.control:
            assert control.asks
            assert control.title
            assert any(item.needed for item in control.evidence), control.id


def test_an_unknown_report_is_refused_with_those_that_exist() -> None:
    """Asking for another regulation names what there is."""
    with pytest.raises(InvalidRequest, match=r"gdpr, hipaa-security, part11, sox-itgc, hipaa-disclosures"):
        regulation("iso")


def test_evidence_is_of_one_sort() -> None:
    """Evidence that is both a match and a figure, or nothing, is refused."""
    with pytest.raises(ValueError, match="one of match"):
        Evidence("x")
    with pytest.raises(ValueError, match="one of match"):
        read(
            'kind="x"\ntitle="x"\nsource="x"\n[[control]]\nid="1"\ntitle="x"\nasks="x"\n'
            'evidence=[{says="x",figure="gapless",match=[{action=["a"]}]}]'
        )


@pytest.mark.parametrize("kind", ["gdpr", "hipaa-security", "part11", "sox-itgc"])
def test_an_empty_log_evidences_nothing(kind: str) -> None:
    """Without an entry and without a figure every control is not evidenced, and nothing is contradicted."""
    evaluation = Evaluation(regulation(kind), 0, END)
    evaluation.close()
    findings = evaluation.findings(figure)
    assert {finding.status for finding in findings} == {"not evidenced"}
    assert summary_of(findings)["not evidenced"] == len(regulation(kind).control)


EVIDENCE = st.builds(
    ReportEvidence,
    says=st.just("x"),
    status=st.sampled_from(["evidenced", "not evidenced", "contradicted"]),
    found=st.integers(0, 3),
    needed=st.booleans(),
)


@given(st.lists(EVIDENCE, max_size=5))
def test_a_control_without_evidence_is_never_met(evidence: list[ReportEvidence]) -> None:
    """Evidenced means: all that is needed was found, something was needed, and nothing contradicts."""
    status = status_of(evidence)
    needed = [item for item in evidence if item.needed]
    if status == "evidenced":
        assert needed
        assert all(item.found > 0 and item.status == "evidenced" for item in needed)
    if any(item.status == "contradicted" for item in evidence):
        assert status == "contradicted"
    if not any(item.found for item in needed):
        assert status in ("not evidenced", "contradicted")


ACTIONS = st.sampled_from(
    ["grant.give", "grant.revoke", "plugin.upgrade", "plugin.consent", "change.request", "signature.applied", "dsr"]
)
ENTRIES = st.lists(
    st.builds(
        entry,
        kind=st.sampled_from(["use", "operation", "fact"]),
        action=ACTIONS,
        principal=st.sampled_from(["", "a", "b"]),
        time=st.integers(0, 100),
        tenant=st.sampled_from(["default", "north"]),
        details=st.dictionaries(st.sampled_from(["digest", "meaning"]), st.sampled_from(["x", "review"]), max_size=2),
    )
    | st.builds(outcome, st.integers(0, 30), st.sampled_from(["success", "failure"])),
    max_size=30,
)


@given(
    ENTRIES, st.integers(0, 60), st.integers(40, 101), st.sampled_from(["", "north"]), st.sampled_from(list(kinds()))
)
def test_only_entries_of_the_time_and_tenant_are_cited(
    entries: list[Entry], since: int, until: int, tenant: str, kind: str
) -> None:
    """What is cited exists, is of the tenant and the time asked for (but for steps and starts, which may be earlier); found
    without a cite does not occur."""
    evaluation = Evaluation(regulation(kind), since, until, tenant)
    for place, one in enumerate(entries):
        evaluation.feed(place, one)
    evaluation.close()
    for finding in evaluation.findings(figure):
        for item in finding.evidence:
            for place in [*item.cites, *item.against]:
                one = entries[place]
                assert one.time < until
                assert since <= one.time or item.says in PAIRED
                assert one.which is not None
                assert tenant in ("", one.which.tenant)
            assert bool(item.found) == bool(item.cites)
    assert set(evaluation.cited()) <= set(range(len(entries)))


def test_what_came_before_the_time_of_the_report() -> None:
    """A request from before counts as a step of a change, and starts a clock; what ended before does not count."""
    chain, clock = of(CHAIN.replace("APART", "false")), of(CLOCK)

    def late(rule: Regulation, entries: list[Entry]) -> ReportFinding:
        evaluation = Evaluation(rule, 10 * HOUR, 20 * HOUR)
        for place, one in enumerate(entries):
            evaluation.feed(place, one)
        evaluation.close()
        return evaluation.findings(figure)[0]

    deploy = entry("fact", "deploy", time=11 * HOUR, details={"digest": "d"})
    assert late(chain, [step("ask", "a"), step("approve", "b"), deploy]).status == "evidenced"
    assert late(clock, [incident("seen", 1), incident("told", 11)]).evidence[0].cites == [0, 1]
    assert late(clock, [incident("seen", 1), incident("told", 2)]).status == "not evidenced"


def test_an_attempt_counts_with_its_outcome() -> None:
    """What must have succeeded counts when its outcome says so, not before, and not when it failed."""
    rule = of('says = "x"\nmatch = [{ action = ["a"], outcome = ["success"] }]')
    tried = entry("use", "a")
    assert judged(rule, [tried]).status == "not evidenced"
    assert judged(rule, [tried, outcome(0, "failure", "x.y")]).status == "not evidenced"
    found = judged(rule, [tried, tried, outcome(1, "success")])
    assert (found.status, found.evidence[0].cites) == ("evidenced", [1])


def test_a_denial_is_a_failure_too() -> None:
    """A failure for want of a right matches `denied` and `failure`; another failure only the latter."""
    entries = [
        entry("use", "a"),
        outcome(0, "failure", "capability.denied"),
        entry("use", "a"),
        outcome(2, "failure", "x"),
    ]
    denied = judged(of('says = "x"\nmatch = [{ outcome = ["denied"] }]'), entries)
    failed = judged(of('says = "x"\nmatch = [{ outcome = ["failure"] }]'), entries)
    assert (denied.evidence[0].cites, failed.evidence[0].cites) == ([0], [0, 2])


@pytest.mark.parametrize(
    ("condition", "yes", "no"),
    [
        ('principal = "some"', entry(principal="a"), entry()),
        ('principal = "none"', entry(), entry(principal="a")),
        ('purpose = ["BTG"]', entry(why="BTG"), entry(why="TREAT")),
        ('purpose = [""]', entry(), entry(why="TREAT")),
        ('purpose = ["*"]', entry(why="TREAT"), entry()),
        ("sealed = true", entry(sealed=[b"x"]), entry()),
        ("disclosure = true", entry(disclosure=Disclosure("x", 1)), entry()),
        ('details = { n = ">=2" }', entry(details={"n": ["a", "b"]}), entry(details={"n": ["a"]})),
        ('details = { n = "<2" }', entry(details={"n": 1}), entry(details={"n": 2})),
        ('details = { n = "true" }', entry(details={"n": True}), entry(details={"n": False})),
        ('details = { n = "*" }', entry(details={"n": "x"}), entry()),
        (
            'capability = ["bus:request@fhir.*"]',
            entry(capability="bus:request@fhir.read"),
            entry(capability="db:read@x"),
        ),
    ],
)
def test_conditions(condition: str, yes: Entry, no: Entry) -> None:
    """Each condition of a pattern holds for what it says, and not for its contrary."""
    rule = of(f'says = "x"\nmatch = [{{ {condition} }}]')
    assert judged(rule, [no, yes]).evidence[0].cites == [1]


CHAIN = """says = "x"
chain = { each = [{ action = ["deploy"] }], by = "details.digest", apart = APART, steps = [
    { name = "request", match = [{ action = ["ask"] }] }, { name = "approval", match = [{ action = ["approve"] }] } ] }"""


def step(action: str, principal: str, digest: str = "d") -> Entry:
    """A step of a change."""
    return entry("fact", action, principal=principal, details={"digest": digest})


def test_a_change_needs_all_its_steps_before_it() -> None:
    """Complete is evidenced; without any step on record anywhere, not evidenced; with some or a late one, contradicted."""
    rule = of(CHAIN.replace("APART", "false"))
    whole = judged(rule, [step("ask", "a"), step("approve", "b"), step("deploy", "c")])
    assert (whole.status, whole.evidence[0].found, whole.evidence[0].cites) == ("evidenced", 1, [0, 1, 2])
    none = judged(rule, [step("deploy", "c")])
    assert (none.status, none.evidence[0].note) == ("not evidenced", "1 without any of request, approval on record")
    assert judged(rule, [step("ask", "a"), step("deploy", "c")]).status == "contradicted"
    late = judged(rule, [step("ask", "a"), step("deploy", "c"), step("approve", "b")])
    assert (late.status, late.evidence[0].against) == ("contradicted", [1])
    other = judged(rule, [step("ask", "a"), step("approve", "b"), step("deploy", "c"), step("deploy", "c", "other")])
    assert (other.status, other.evidence[0].against) == ("contradicted", [3])


def test_duties_are_apart() -> None:
    """Where the same person asks and approves, or nobody is named, segregation is contradicted."""
    rule = of(CHAIN.replace("APART", "true"))
    assert judged(rule, [step("ask", "a"), step("approve", "b"), step("deploy", "c")]).status == "evidenced"
    assert judged(rule, [step("ask", "a"), step("approve", "a"), step("deploy", "c")]).status == "contradicted"
    assert judged(rule, [step("ask", "a"), step("approve", "b"), step("deploy", "")]).status == "contradicted"


CLOCK = """says = "x"
clock = { start = [{ action = ["seen"] }], end = [{ action = ["told"] }], by = "details.incident", hours = 72 }"""


def incident(action: str, hour: int, name: str = "i") -> Entry:
    """Something about an incident, in an hour."""
    return entry("fact", action, time=hour * HOUR, details={"incident": name})


def test_a_clock() -> None:
    """In time is evidenced; late, or overdue and never, contradicts; still running is neither."""
    rule = of(CLOCK)
    good = judged(rule, [incident("seen", 0), incident("told", 72)])
    assert (good.status, good.evidence[0].cites) == ("evidenced", [0, 1])
    assert judged(rule, [incident("seen", 0), incident("told", 73)]).evidence[0].note == "1 late"
    never = judged(rule, [incident("seen", 0)], until=73 * HOUR)
    assert (never.status, never.evidence[0].note) == ("contradicted", "1 without an end, and overdue")
    running = judged(rule, [incident("seen", 0)], until=71 * HOUR)
    assert (running.status, running.evidence[0].note) == ("not evidenced", "1 still running, in time")
    assert judged(rule, [incident("seen", 0), incident("told", 1, "another")], until=HOUR).status == "not evidenced"


@given(st.integers(0, 200))
def test_cites_are_few(count: int) -> None:
    """However much is found, the first and the last places are kept, in order, without repetition."""
    cites = Cites()
    for place in range(count):
        cites.add(place)
    assert cites.count == count
    assert len(cites.places) == min(count, CITED)
    assert cites.places == sorted(set(cites.places))
    if count:
        assert (cites.places[0], cites.places[-1]) == (0, count - 1)


def test_what_only_informs_is_no_evidence() -> None:
    """Entries for evidence that is not needed do not make a control evidenced."""
    text = 'says = "x"\nneeded = false\nmatch = [{ action = ["a"] }]'
    found = judged(of(text), [entry("fact", "a")])
    assert (found.status, found.evidence[0].status) == ("not evidenced", "evidenced")


def test_settled_attempts_are_counted() -> None:
    """Attempts of the time with and without outcome are told apart, whenever the outcome comes."""
    evaluation = Evaluation(Regulation("x", "x", "x", (Control("1", "x", "x", ()),)), 0, 10)
    for place, one in enumerate([entry("use", "a"), entry("use", "b"), outcome(0, "success")]):
        evaluation.feed(place, one)
    evaluation.close()
    assert (evaluation.attempted.count, evaluation.settled.places, list(evaluation.open)) == (2, [0], [1])
