"""The table of all cuts, and the text of one cut. The module counts nothing itself."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table

from tools.durability.oracle import Kind
from tools.durability.real.cuts import Outcome

COLUMNS: dict[str, Callable[[Outcome], object]] = {
    "cuts": lambda r: r.cuts,
    "again in recovery": lambda r: r.twice,
    "not mounted": lambda r: r.not_mounted,
    "scans": lambda r: r.scans,
    "saved before": lambda r: r.saved,
    "flushes": lambda r: f"{r.flushes:,}",
    "frames acked": lambda r: f"{r.acknowledged:,}",
    "frames promised": lambda r: f"{r.promised:,}",
    "frames lost": lambda r: r.count(Kind.LOST),
    "passed off": lambda r: r.count(Kind.PASSED_OFF),
    "bad final files": lambda r: r.count(Kind.BAD_FILE),
    "final files gone": lambda r: r.count(Kind.VANISHED),
    "other": lambda r: r.count(Kind.OTHER),
    "oldest gone": lambda r: f"{r.oldest_lost_ns / 1e9:.2f}",
}
LINES_OF_A_CUT = 20


def table_of(results: dict[str, Outcome], left_out: dict[str, str]) -> Table:
    table = Table(
        caption="frames acked: before the cut; promised: by a completed flush; lost: promised, but absent; passed off: listed as "
        "data, but not data; oldest gone: age at the cut, in s, of the oldest lost frame that was not yet promised",
        caption_justify="left",
    )
    table.add_column("")
    for name in COLUMNS:
        table.add_column(name, justify="right", overflow="fold")
    total = Outcome()
    for kind, result in results.items():
        table.add_row(kind, *(str(value(result)) for value in COLUMNS.values()))
        total.add(result)
    if len(results) > 1:
        table.add_row("all", *(str(value(total)) for value in COLUMNS.values()), style="bold")
    for kind, reason in left_out.items():
        table.add_row(kind, f"not measured: {reason}")
    return table


def text_of(kind: str, result: Outcome) -> str:
    return "\n  ".join([f"{kind} {result.said[0]}", *result.said[1:]]) + "\n"


def first_lines(text: str) -> str:
    lines = text.splitlines()
    more = [f"  and {len(lines) - LINES_OF_A_CUT} more lines"] if len(lines) > LINES_OF_A_CUT else []
    return "\n".join([*lines[:LINES_OF_A_CUT], *more])
