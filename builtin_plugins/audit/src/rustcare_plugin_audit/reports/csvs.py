"""A report as CSV (RFC 4180), for a spreadsheet: a line for each evidence, or for each row of its tables.

Text that a spreadsheet would take for a formula is written with an apostrophe before it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from rustcare_sdk.contracts.compliance import ReportReply

__all__ = ["MEDIA_TYPE", "as_csv"]

MEDIA_TYPE = "text/csv; charset=utf-8; header=present"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(report: ReportReply) -> str:
    """The report as CSV. Every line names the checkpoint's size and root."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\r\n")
    covered = [str(report.size), report.root.hex()]
    rows = _tables(report) if report.tables else _findings(report)
    for number, row in enumerate(rows):
        writer.writerow([_safe(cell) for cell in [*row, *(covered if number else ("size", "root"))]])
    return file.getvalue()


def _findings(report: ReportReply) -> Iterator[list[str]]:
    yield ["control", "title", "status", "evidence", "needed", "evidence status", "found", "leaves", "against", "note"]
    for finding in report.findings:
        for item in finding.evidence:
            yield [
                finding.control,
                finding.title,
                finding.status,
                item.says,
                "yes" if item.needed else "no",
                item.status,
                str(item.found),
                _places(item.cites),
                _places(item.against),
                item.note,
            ]


def _tables(report: ReportReply) -> Iterator[list[str]]:
    yield ["table", *report.tables[0].columns, "leaves"]
    for table in report.tables:
        for row in table.rows:
            yield [table.title, *row.cells, _places(row.cites)]


def _places(places: Sequence[int]) -> str:
    return " ".join(map(str, places))


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
