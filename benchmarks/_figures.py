"""Computes figures from raw runs: percentiles, ratios, intervals, and whether a round counts. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MEDIANS_STRAY = 0.05
TAILS_STRAY = 0.5
CALLS_OF_P999 = 10_000
RESAMPLES = 10_000
TAIL_LEVELS = tuple(float(level) for level in np.logspace(0, -5, 201))
"""Shares of calls, from all to one in 100,000. For plots, the minimum latency of each slowest share is stored."""


@dataclass(frozen=True)
class Ratio:
    """A median of ratios, its bootstrap interval (95 %), and the number of rounds. `best`: the smallest ratio."""

    median: float
    low: float
    high: float
    rounds: int
    best: float


def ratio_of(ratios: Sequence[float], seed: int) -> Ratio:
    """The median ratio, with the interval of the medians of resampled rounds. One round has no interval: low = high."""
    values = np.asarray(ratios, float)
    draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.percentile(np.median(values[draws], axis=1), [2.5, 97.5])
    return Ratio(float(np.median(values)), float(low), float(high), len(values), float(values.min()))


def latency_figures(latencies_ns: Any) -> dict[str, float]:
    """Median, p99, p99.9 and maximum of single calls, in microseconds, and the number of calls."""
    values = np.asarray(latencies_ns, float) / 1e3
    median, p99, p999 = np.percentile(values, [50, 99, 99.9])
    return {
        "median": float(median),
        "p99": float(p99),
        "p99.9": float(p999),
        "max": float(values.max()),
        "calls": len(values),
    }


def tail(latencies_ns: Any) -> list[float]:
    """For each share in TAIL_LEVELS, the microseconds that this share of the calls takes at least."""
    return [float(v) for v in np.quantile(np.asarray(latencies_ns, float) / 1e3, 1 - np.asarray(TAIL_LEVELS))]


def apart(first: float, second: float) -> float:
    """The relative excess of the larger of two figures over the smaller one: 0.05 is 5 %."""
    low, high = sorted((first, second))
    return high / low - 1 if low > 0 else 0.0


def strays(first: dict[str, Any], second: dict[str, Any], *, tails_only: bool = False) -> str:
    """Why two runs of the limit differ too much for their round to count; "" if they agree.

    The tail is p99.9, or p99 if there are too few calls for p99.9.
    """
    tail_name = "p99.9" if first["latency_us"]["calls"] >= CALLS_OF_P999 else "p99"
    for name, most in (("median", MEDIANS_STRAY), (tail_name, TAILS_STRAY))[tails_only:]:
        by = apart(first["latency_us"][name], second["latency_us"][name])
        if by > most:
            return f"the two runs of the limit differ by {100 * by:.0f} % in the {name} of one update"
    return ""


def median_of(runs: Sequence[dict[str, Any]], *path: str) -> float:
    """The median over the runs of the figure at `path`, for example "latency_us", "p99"."""
    values = []
    for run in runs:
        value: Any = run
        for key in path:
            value = value[key]
        values.append(value)
    return float(np.median(values))


def with_sync(run: dict[str, Any]) -> float:
    """Seconds from the first frame until the file is durable under its final name."""
    return run["ingest_s"] + run["finalize_s"] + run["sync_s"]


def without_sync(run: dict[str, Any]) -> float:
    """Seconds from the first frame until the file is complete, durable or not."""
    return run["ingest_s"] + run["finalize_s"]
