"""The printed tables: two for each workload, one of times, and one of latency, memory, disk and reading."""

from __future__ import annotations

from rich.table import Table

from benchmarks._candidates import CANDIDATES, LIMIT, Candidate
from benchmarks._figures import Ratio, median_of
from benchmarks._outcome import Outcome


def shown(ratio: Ratio | None) -> str:
    """A ratio, with its interval if there is more than one round."""
    if ratio is None:
        return "-"
    digits = 0 if ratio.median >= 20 else 1 if ratio.median >= 5 else 2
    text = f"{ratio.median:.{digits}f}"
    return text if ratio.rounds == 1 else f"{text} [{ratio.low:.{digits}f}, {ratio.high:.{digits}f}]"


def _size(value: float) -> str:
    return f"{value / 2**20:.1f}" if abs(value) < 100 * 2**20 else f"{value / 2**20:.0f}"


def _rows(outcome: Outcome, skipped: dict[str, str]) -> list[tuple[Candidate, str]]:
    """The candidates in the tables, each with the reason if it has no figures."""
    rows = []
    for name, candidate in CANDIDATES.items():
        if outcome.runs(name):
            rows.append((candidate, ""))
        elif outcome.failure(name):
            rows.append((candidate, f"failed: {outcome.failure(name)}"))
        elif name in skipped:
            rows.append((candidate, skipped[name]))
    return rows


def title(outcome: Outcome) -> str:
    """The workload, and how many rounds count."""
    w, rounds = outcome.workload, len(outcome.rounds)
    text = f"{w.name}: {w.title}, {w.size_bytes / 2**20:,.0f} MiB; {rounds - outcome.dropped} of {rounds} rounds count"
    if outcome.says_nothing:
        text += (
            f" - THE TWO RUNS OF THE LIMIT DISAGREE IN EVERY ROUND ({outcome.rounds[-1]['stray']}): no goal is judged"
        )
    return text


def time_table(outcome: Outcome, skipped: dict[str, str]) -> Table:
    """Times, and their ratios to the limit of the same round: medians with a 95 % interval. CPU: ingest, finalize, sync."""
    table = Table(title=title(outcome), title_justify="left")
    for name in ("candidate", "rounds", "reserve ms", "ingest s", "x limit [95 %]"):
        table.add_column(name, justify="left" if name == "candidate" else "right", no_wrap=True)
    for name in ("finalize ms", "sync s", "no sync x", "with sync x", "CPU us/frame"):
        table.add_column(name, justify="right", no_wrap=True)
    for candidate, reason in _rows(outcome, skipped):
        if reason:
            table.add_row(candidate.title, "", reason, style="dim")
            continue
        runs, name = outcome.runs(candidate.name), candidate.name
        parts = runs[0].get("scaled_by", 1)
        table.add_row(
            candidate.title + (f", 1/{parts} scaled" if parts > 1 else ""),
            str(len(runs)),
            f"{1e3 * median_of(runs, 'reserve_s'):.2f}",
            f"{median_of(runs, 'ingest_s'):.3f}",
            "1" if name == LIMIT else shown(outcome.ratio(name)),
            f"{1e3 * median_of(runs, 'finalize_s'):.2f}",
            f"{median_of(runs, 'sync_s'):.3f}",
            "1" if name == LIMIT else shown(outcome.ratio_without_sync(name)),
            "1" if name == LIMIT else shown(outcome.ratio_with_sync(name)),
            f"{1e6 * median_of(runs, 'cpu_s') / outcome.workload.frames:.1f}",
            style="bold" if candidate.kind == "ours" else "",
        )
    return table


def detail_table(outcome: Outcome, skipped: dict[str, str]) -> Table:
    """Latency of one call, peak resident memory above the start, size on disk, and reads of 200 random frames as copies."""
    table = Table(
        title=f"{outcome.workload.name}: one call, memory, disk, reads of 200 random frames", title_justify="left"
    )
    table.add_column("candidate", no_wrap=True)
    for name in ("median us", "p99", "p99.9", "max", "RssAnon MiB", "RssFile MiB", "disk MiB", "cold ms", "warm ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for candidate, reason in _rows(outcome, skipped):
        runs = outcome.runs(candidate.name)
        if reason:
            continue
        latencies = [median_of(runs, "latency_us", key) for key in ("median", "p99", "p99.9", "max")]
        table.add_row(
            candidate.title,
            *(f"{value:,.1f}" if value < 1000 else f"{value:,.0f}" for value in latencies),
            _size(max(run["anon_bytes"] for run in runs)),
            _size(max(run["file_bytes"] for run in runs)),
            _size(median_of(runs, "disk_bytes")),
            f"{median_of(runs, 'cold_ms'):.1f}",
            f"{median_of(runs, 'warm_ms'):.2f}",
            style="bold" if candidate.kind == "ours" else "",
        )
    return table
