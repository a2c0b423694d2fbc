"""In the child: frames at a pace, as from a detector; the limit with a sync each second; a memory cgroup."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np

from benchmarks._candidates import CANDIDATES
from benchmarks._writers import Frame, Limit, Writer

SYNC_EVERY_S = 1.0
STALL_MS = 10.0


class LimitSynced(Limit):
    """The limit with a flush interval of one second, as lys_storage has it: another thread syncs the file."""

    def reserve(self) -> None:
        super().reserve()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sync_each_second, daemon=True)
        self._thread.start()

    def _sync_each_second(self) -> None:
        while not self._end.wait(SYNC_EVERY_S):
            os.fdatasync(self._fd)

    def finalize(self) -> float:
        self._end.set()
        self._thread.join()
        return 0.0


def writer_class(candidate: str, synced: bool) -> type[Writer]:
    """The writer of a candidate. `synced`: the limit syncs once a second, as lys_storage does by default."""
    known = CANDIDATES[candidate]
    return LimitSynced if synced and known.kind == "limit" else known.writer


def ingest_paced(
    writer: Writer, order: list[int], pool: list[Frame], latencies: Any, starts: Any, period_s: float
) -> float:
    """Put frame k at `k * period_s` or later. Record the start (s) and the time (ns) of each call. Returns the seconds."""
    put, count, clock, sleep = writer.put, len(pool), perf_counter_ns, time.sleep
    begin = perf_counter()
    for k, number in enumerate(order):
        ahead = begin + k * period_s - perf_counter()
        if ahead > 0:
            sleep(ahead)
        frame = pool[number % count]
        before = clock()
        put(number, frame)
        latencies[k] = clock() - before
        starts[k] = before / 1e9 - begin
    return perf_counter() - begin


def over_time(latencies_ns: Any, starts_s: Any, period_s: float) -> dict[str, Any]:
    """The figures of a paced run: stalls (calls of more than 10 ms), largest delay, median and maximum of each second.

    A frame that waits for a stalled one is not slow itself; `behind_ms`, the largest delay of a frame, shows the wait.
    """
    starts, milliseconds = np.asarray(starts_s), np.asarray(latencies_ns) / 1e6
    seconds = starts.astype(int)
    groups = [milliseconds[seconds == s] for s in range(int(seconds[-1]) + 1)]
    return {
        "stalls": int((milliseconds > STALL_MS).sum()),
        "behind_ms": float(1e3 * np.max(starts - np.arange(len(starts)) * period_s)),
        "median_ms": [float(np.median(g)) if len(g) else None for g in groups],
        "worst_ms": [float(g.max()) if len(g) else None for g in groups],
    }


def join_cgroup(group: str | None) -> None:
    """Move this process into the cgroup at the path `group`, which is charged for its later allocations."""
    if group is not None:
        Path(group, "cgroup.procs").write_text(str(os.getpid()))
