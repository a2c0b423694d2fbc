"""Rounds: each candidate once, in a separate process, in a new random order; and whether the round counts.

The peers run last in a round, and only if the two runs of the limit agree.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks._candidates import AGAIN, LIMIT
from benchmarks._figures import strays
from benchmarks._measured import run_child
from benchmarks._memory import Sampler
from benchmarks._workloads import Workload

CHILD = Path(__file__).with_name("_child.py")
SETTLE_S = 0.2
TIMEOUT_S = 1800.0

Run = dict[str, Any]
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """The number of rounds: `rounds` that count with the limit and ours, the first `peer_rounds` of them with the peers,
    and at most `retries` more if limit runs disagree. `until`: no round begins after it (time.monotonic)."""

    rounds: int
    peer_rounds: int
    retries: int
    seed: int
    folder: Path
    until: float = float("inf")


def run(candidate: str, workload: Workload, folder: Path, seed: int, **more: Any) -> Run:
    """One measurement in a new process and a new folder, which is removed. {"failed": why} if it fails."""
    own = Path(tempfile.mkdtemp(prefix="compare_", dir=folder))
    spec = {"candidate": candidate, "workload": asdict(workload), "folder": str(own), "seed": seed, **more}
    try:
        result, sampler = run_child(CHILD, spec, TIMEOUT_S)
    finally:
        shutil.rmtree(own, ignore_errors=True)
        os.sync()
        time.sleep(SETTLE_S)
    return result if "failed" in result else _with_peaks(result, sampler)


def _with_peaks(result: Run, sampler: Sampler) -> Run:
    """Add the memory peaks that the parent has seen during the measurement."""
    anon, file = result.get("start_rss", (0, 0))
    for at, now_anon, now_file in sampler.samples:
        if result["began"] <= at <= result["ended"]:
            result["anon_bytes"] = max(result["anon_bytes"], now_anon - anon)
            result["file_bytes"] = max(result["file_bytes"], now_file - file)
    return result


def play(
    workload: Workload,
    ours: Sequence[str],
    peers: Sequence[str],
    plan: Plan,
    tell: Tell,
    *,
    tails_only: bool = False,
    **more: Any,
) -> list[dict[str, Any]]:
    """Play rounds until enough of them count: [{"stray": why the round does not count or "", "runs": {candidate: run}}].

    A candidate that failed is not run again. `tails_only`: only the tails of the limit runs must agree. `more` is passed
    to every child.
    """
    rng = random.Random(f"{plan.seed} {workload.name}")
    rounds: list[dict[str, Any]] = []
    failed: set[str] = set()
    kept = 0
    while kept < plan.rounds and len(rounds) < plan.rounds + plan.retries:
        if rounds and time.monotonic() > plan.until:
            break
        runs: dict[str, Run] = {}
        stray = ""
        for group in ([LIMIT, AGAIN, *ours], peers if kept < plan.peer_rounds else []):
            names = [name for name in group if name not in failed and not stray]
            rng.shuffle(names)
            for name in names:
                tell(f"{workload.name} round {len(rounds) + 1} ({kept} of {plan.rounds} count so far): {name}")
                runs[name] = run(name, workload, plan.folder, plan.seed, **more)
                if "failed" in runs[name]:
                    failed.add(name)
            if failed & {LIMIT, AGAIN}:
                raise RuntimeError(f"the limit itself failed: {runs[next(iter(failed & {LIMIT, AGAIN}))]['failed']}")
            stray = stray or strays(runs[LIMIT], runs[AGAIN], tails_only=tails_only)
        rounds.append({"stray": stray, "runs": runs})
        kept += not stray
    return rounds
