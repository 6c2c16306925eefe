"""The demo's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rustcare_cli.demo.scenario import Result

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["show"]


def show(result: Result) -> None:
    """Print what happened, for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    swap = result["swap"]
    table = Table(title="RustCare demo", show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    table.add_row("messages", f"{result['received']} answered, {result['acked']} accepted (AA)")
    table.add_row("refused", str(len(result["rejected"])))
    table.add_row("kept raw", f"{result['unhandled']} of types that no plugin handles, {len(result['failed'])} failed")
    table.add_row(
        "FHIR resources", ", ".join(f"{count} {name}" for name, count in result["resources"].items()) or "none"
    )
    good = not (swap["lost"] or swap["duplicated"] or swap["reordered"] or swap["error"])
    table.add_row(
        "hot swap",
        f"{swap['from']} → {swap['to']}: pause {swap['pause_ms']:.1f} ms, {swap['lost']} lost, "
        f"{swap['duplicated']} doubled, {swap['reordered']} reordered"
        + (f" — {swap['error']}" if swap["error"] else ""),
        style="green" if good else "red",
    )
    table.add_row("throughput", f"{result['throughput_per_s']:.0f} messages/s ({result['runtime']}, durable)")
    table.add_row("capability uses", f"{result['capability_uses']:,}")
    _audit_rows(table, result["audit"])
    console.print(table)
    if result["rejected"]:
        refused = Table(title="Refused messages", title_justify="left")
        for column in ("file", "code", "reason"):
            refused.add_column(column)
        for row in result["rejected"]:
            refused.add_row(row["file"], row["code"], row["reason"])
        console.print(refused)
    if result["hostile"]:
        hostile = Table(title="Hostile plugins, let loose beside the feed", title_justify="left")
        for column in ("plugin", "what it tried", "contained", "how"):
            hostile.add_column(column)
        for row in result["hostile"]:
            mark = "[green]yes[/]" if row["contained"] else "[red]NO[/]"
            hostile.add_row(row["name"], row["tried"], mark, row["how"])
        console.print(hostile)


def _audit_rows(table: Table, audit: dict[str, Any]) -> None:
    """What an outsider was able to check."""

    def row(name: str, good: bool, text: str) -> None:
        table.add_row(
            name, text if good else f"{text} — {audit['error'] or 'FAILED'}", style="green" if good else "red"
        )

    uses = audit["uses_logged"]
    row("on record", uses > 0, f"{max(uses, 0):,} uses of capabilities, every one that the kernel counted")
    row("audit log", audit["verified"], f"{audit['entries']:,} entries, signed checkpoint verified in another process")
    row(
        "tampering",
        audit["tamper_detected"],
        f"one byte flipped in a copy: detected, leaf {audit.get('leaf', '?')} named",
    )
    count = audit["disclosures_verified"]
    row("disclosures", count > 0, f"{count} of one patient, proved to be all there are")
    row(
        "erasure",
        audit["shredded_proofs_valid"],
        "one patient's key destroyed: nothing readable, every old proof valid",
    )
