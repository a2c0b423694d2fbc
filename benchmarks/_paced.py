"""W4: a minute or more at a share of the disk's sync rate, with a sync each second; counts stalls."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks._candidates import CANDIDATES
from benchmarks._environment import dirty_limit_bytes, room_bytes
from benchmarks._figures import median_of
from benchmarks._outcome import Outcome
from benchmarks._rounds import Plan, Tell, play
from benchmarks._table import shown
from benchmarks._workloads import paced

PACES = (0.5, 0.9)
SECONDS = 60.0
DIRTY_LIMITS = 3
RATE_SECONDS = 10.0
_BLOCK, _STEP = 8 << 20, 1 << 30


def sync_rate(folder: Path, seconds: float = RATE_SECONDS) -> float:
    """Bytes per second that the disk sustains: pwrite into preallocated space, a sync each second and one at the end."""
    block, room = np.random.default_rng(0).bytes(_BLOCK), room_bytes(folder)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        fd, end, at = file.fileno(), threading.Event(), 0

        def sync_each_second() -> None:
            while not end.wait(1.0):
                os.fdatasync(fd)

        thread = threading.Thread(target=sync_each_second, daemon=True)
        begin = time.perf_counter()
        thread.start()
        try:
            while time.perf_counter() - begin < seconds and at + _BLOCK <= room:
                if at % _STEP == 0:
                    os.posix_fallocate(fd, at, _STEP)
                at += os.pwrite(fd, block, at)
        finally:
            end.set()
            thread.join()
        os.fdatasync(fd)
        return at / (time.perf_counter() - begin)


def play_paced(ours: Sequence[str], plan: Plan, tell: Tell, seconds: float = SECONDS) -> list[Outcome]:
    """Run the limit and ours at each pace, for `seconds` and three times the dirty limit, as far as the disk has space."""
    outcomes = []
    for pace in PACES:
        tell("W4: the disk's own sync rate")
        rate = pace * sync_rate(plan.folder, min(RATE_SECONDS, seconds))
        wanted_s = max(seconds, DIRTY_LIMITS * dirty_limit_bytes() / rate if seconds >= SECONDS else 0.0)
        workload = paced(rate, wanted_s, room_bytes(plan.folder))
        lasts = workload.size_bytes / rate
        cut = "" if lasts > 0.98 * wanted_s else ", cut to the free space on the disk"
        title = f"{workload.title}, {pace} of the disk's sync rate, {lasts:.0f} s{cut}"
        workload = replace(workload, name=f"W4 at {pace}", title=title)
        period_s = workload.frame_bytes / rate
        rounds = play(workload, ours, (), plan, tell, tails_only=True, period_s=period_s, synced=True)
        outcomes.append(Outcome(workload, rounds, plan.seed))
    return outcomes


def p999(run: dict[str, Any]) -> float:
    return float(run["latency_us"]["p99.9"])


def paced_table(outcome: Outcome) -> Table:
    """Latency of one call and the ratio of its p99.9 to the limit's; calls of more than 10 ms; the largest delay."""
    kept = len(outcome.rounds) - outcome.dropped
    title = f"{outcome.workload.name}: {outcome.workload.title}; {kept} of {len(outcome.rounds)} rounds count"
    if outcome.says_nothing:
        title += f" - THE TWO RUNS OF THE LIMIT DISAGREE IN EVERY ROUND ({outcome.rounds[-1]['stray']})"
    table = Table(title=title, title_justify="left")
    table.add_column("candidate", no_wrap=True)
    for name in ("rounds", "median us", "p99", "p99.9", "max", "x limit [95 %]", "stalls", "behind ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for name in ("CPU us/frame", "RssAnon MiB", "RssFile MiB"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, candidate in CANDIDATES.items():
        runs = outcome.runs(name)
        if not runs:
            if outcome.failure(name):
                table.add_row(candidate.title, "", "failed", outcome.failure(name), style="dim")
            continue
        table.add_row(
            candidate.title,
            str(len(runs)),
            *(f"{median_of(runs, 'latency_us', key):,.0f}" for key in ("median", "p99", "p99.9", "max")),
            "1" if name == "limit" else shown(outcome.ratio(name, p999)),
            f"{median_of(runs, 'paced', 'stalls'):.0f}",
            f"{median_of(runs, 'paced', 'behind_ms'):.0f}",
            f"{1e6 * median_of(runs, 'cpu_s') / outcome.workload.frames:.0f}",
            *(f"{max(run[key] for run in runs) / 2**20:.1f}" for key in ("anon_bytes", "file_bytes")),
            style="bold" if candidate.kind == "ours" else "",
        )
    return table
