"""A report as one HTML page to read on a screen and to print: no script, nothing from outside, every value escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from rustcare_sdk.contracts.compliance import ReportEvidence, ReportFinding, ReportReply, ReportTable

from .shipped import shipped

__all__ = ["MEDIA_TYPE", "as_html"]

MEDIA_TYPE = "text/html; charset=utf-8"
_CLASS = {
    "evidenced": "evidenced",
    "partly evidenced": "partly",
    "not evidenced": "not",
    "contradicted": "contradicted",
}
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def as_html(report: ReportReply) -> str:
    """The page."""
    return "\n".join(_page(report)) + "\n"


def _page(report: ReportReply) -> Iterator[str]:
    style = shipped(__package__ or "", "page.css")
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(report.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<header>"
    yield f"<h1>{escape(report.title)}</h1>"
    yield from _about(report)
    yield "</header>\n<main>"
    if report.findings and not report.tables:
        yield from _summary(report)
    for table in report.tables:
        yield from _table(table)
    if report.findings:
        yield "<h2>Completeness and content</h2>" if report.tables else '<h2 class="chapter">Controls</h2>'
        for number, finding in enumerate(report.findings):
            yield from _finding(number, finding)
    yield from _proof(report)
    yield "</main>\n</body>\n</html>"


def _about(report: ReportReply) -> Iterator[str]:
    rows = [
        ("Period", f"{report.since} to {report.until} (end not included)"),
        ("Tenant", report.tenant or "all"),
        ("Entries", f"{report.entries:,} of the period, in a log of {report.size:,}"),
        ("Made", report.generated),
        ("Log", report.origin),
    ]
    yield "<dl>"
    for name, value in rows:
        yield f"<dt>{name}</dt><dd>{escape(value)}</dd>"
    yield "</dl>"


def _summary(report: ReportReply) -> Iterator[str]:
    yield "<h2>Summary</h2>"
    yield '<table class="narrow"><caption>Controls by what the log has for them</caption>'
    yield '<thead><tr><th scope="col">Status</th><th scope="col" class="number">Controls</th></tr></thead><tbody>'
    for status, count in report.summary.items():
        yield f'<tr><th scope="row">{_status(status)}</th><td class="number">{count}</td></tr>'
    yield "</tbody></table>"
    missing = [finding for finding in report.findings if finding.status == "not evidenced"]
    if missing:
        yield "<h3>Not evidenced</h3><ul>"
        for finding in missing:
            yield f"<li><strong>{escape(finding.control)}</strong> {escape(finding.title)}</li>"
        yield "</ul>"


def _finding(number: int, finding: ReportFinding) -> Iterator[str]:
    yield f'<section class="finding" aria-labelledby="control-{number}">'
    yield (
        f'<h3 id="control-{number}"><span class="id">{escape(finding.control)}</span> <span>{escape(finding.title)}</span> '
        f"{_status(finding.status)}</h3>"
    )
    yield f"<p>{escape(finding.asks)}</p>"
    if finding.beyond:
        yield f'<p class="soft">Not to be seen in a log: {escape(finding.beyond)}</p>'
    yield f'<div class="wide"><table class="evidence"><caption>Evidence for {escape(finding.control)}</caption><thead><tr>'
    for name, kind in (("Evidence", ""), ("Status", ""), ("Found", ' class="number"'), ("Leaves", ""), ("Note", "")):
        yield f'<th scope="col"{kind}>{name}</th>'
    yield "</tr></thead><tbody>"
    for item in finding.evidence:
        yield _evidence(item)
    yield "</tbody></table></div>\n</section>"


def _evidence(item: ReportEvidence) -> str:
    says = escape(item.says) + ("" if item.needed else ' <span class="soft">(informs only)</span>')
    leaves = _leaves(item.cites, item.found)
    if item.against:
        leaves += f'<br><span class="contradicted">against: {_leaves(item.against, len(item.against))}</span>'
    return (
        f'<tr><th scope="row">{says}</th><td>{_status(item.status)}</td><td class="number">{item.found:,}</td>'
        f'<td class="leaves">{leaves}</td><td>{escape(item.note)}</td></tr>'
    )


def _table(table: ReportTable) -> Iterator[str]:
    yield f"<h2>{escape(table.title)}</h2>"
    if table.note:
        yield f"<p>{escape(table.note)}</p>"
    yield f'<div class="wide"><table class="rows"><caption>{escape(table.title)}: {len(table.rows)}</caption><thead><tr>'
    for name in (*table.columns, "Leaves"):
        yield f'<th scope="col">{escape(name)}</th>'
    yield "</tr></thead><tbody>"
    for row in table.rows:
        head, *cells = row.cells
        cells_html = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        yield f'<tr><th scope="row">{escape(head)}</th>{cells_html}<td class="leaves">{_leaves(row.cites)}</td></tr>'
    if not table.rows:
        yield f'<tr><td colspan="{len(table.columns) + 1}">None.</td></tr>'
    yield "</tbody></table></div>"


def _proof(report: ReportReply) -> Iterator[str]:
    yield "<h2>What covers this report</h2>"
    yield (
        "<p>Leaves are the places of entries in the log. Every leaf cited here is below the size of this checkpoint and is "
        "covered by its root; whoever has the log's public key can check that without this system.</p>"
    )
    yield f"<dl><dt>Size</dt><dd>{report.size}</dd><dt>Root</dt><dd><code>{report.root.hex()}</code></dd></dl>"
    yield f'<pre aria-label="Checkpoint">{escape(report.checkpoint)}</pre>'
    if report.limits:
        yield "<h2>What this report does not say</h2>\n<ul>"
        for limit in report.limits:
            yield f"<li>{escape(limit)}</li>"
        yield "</ul>"


def _status(status: str) -> str:
    return f'<span class="status {_CLASS[status]}">{status}</span>'


def _leaves(places: Sequence[int], count: int = 0) -> str:
    """Places, runs of them as `4–9`; an ellipsis where places between were not listed."""
    if not places:
        return "–"
    runs: list[list[int]] = []
    for place in places:
        if runs and place == runs[-1][1] + 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    text = ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in runs)
    return text + (f" <span class='soft'>(the first and last of {count:,})</span>" if count > len(places) else "")
