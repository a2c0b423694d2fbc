"""Runs lys_instr's way once, outside the rounds: it is hundreds of times slower, so noise does not matter."""

from __future__ import annotations

from math import prod
from typing import Any

from benchmarks._candidates import LIMIT
from benchmarks._outcome import Outcome
from benchmarks._rounds import Plan, Tell, run

MOST_BYTES = 1 << 30
_GROWS = ("reserve_s", "ingest_s", "finalize_s", "sync_s", "cpu_ingest_s", "cpu_s")
_GROWS_BYTES = ("disk_bytes", "anon_bytes")


def add_lys_way(outcome: Outcome, plan: Plan, tell: Tell) -> None:
    """Run it once, and add the result to the first round that counts.

    A scan of more than 1 GiB as float64 is cut to 1/`scaled_by` of its frames, and times and sizes are multiplied by
    `scaled_by`. This holds because deflate reads the bytes once, with a window of 32 KiB.
    """
    workload = outcome.workload
    divisor = max(1, -(-8 * workload.frames * prod(workload.frame) // MOST_BYTES))
    tell(f"{workload.name}: lys_instr's way, once" + (f", 1/{divisor} of the frames" if divisor > 1 else ""))
    result: dict[str, Any] = run("lys", workload.scaled(divisor), plan.folder, plan.seed)
    if "failed" not in result:
        for key in (*_GROWS, *_GROWS_BYTES):
            result[key] = result[key] * divisor
        result["scaled_by"] = divisor
    assert LIMIT in outcome.counting[0]["runs"]
    outcome.counting[0]["runs"]["lys"] = result
