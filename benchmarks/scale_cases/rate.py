"""20,000 small frames per second through DataStorage: whether it keeps up, and the cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.scale_cases._measuring import Figure, Figures, Task, clock
from benchmarks.scale_cases._storage import storage_in

SIDE = 32
POOL = 64
PERCENTILES = {"median": 50, "p99": 99, "p99.9": 99.9, "max": 100}


@dataclass(frozen=True)
class Pace:
    """`count` updates at `per_second`. `latency_s`, `late_s`: the time and the delay of each update."""

    per_second: int
    updates: list[Any]
    latency_s: np.ndarray[Any, Any]
    late_s: np.ndarray[Any, Any]

    @property
    def count(self) -> int:
        return len(self.latency_s)

    def run(self, update: Callable[[dict[Any, Any]], Any]) -> tuple[float, float]:
        """(seconds, CPU seconds of all threads)"""
        per_second, updates, latency, late = self.per_second, self.updates, self.latency_s, self.late_s
        cpu, begin = time.process_time(), clock()
        for k in range(self.count):
            due = begin + k / per_second
            now = clock()
            if now < due:
                time.sleep(due - now)
                now = clock()
            late[k] = now - due
            update({(k,): updates[k % POOL]})
            latency[k] = clock() - now
        return clock() - begin, time.process_time() - cpu


def measure(task: Task) -> Figures:
    per_second, seconds = task.options["rate"], 60 if task.full else 10
    count = per_second * seconds
    pool = np.random.default_rng(0).integers(0, 1 << 16, (POOL, SIDE, SIDE), "u2")
    pace = Pace(per_second, updates=list(pool), latency_s=np.ones(count), late_s=np.ones(count))
    at = f"{per_second:,} frames of 2 KiB per second, {seconds} s"
    _, idle = pace.run(lambda data: None)
    alone_ms = float(pace.late_s.max()) * 1e3
    storage = storage_in(task.path)
    storage.reserve((count + 1, SIDE, SIDE), dtype="uint16")
    storage.update({(count,): pool[0]})
    wall, cpu = pace.run(storage.update)
    behind = float(pace.late_s.max())
    kept = wall < seconds * 1.01 and float(pace.late_s[-per_second:].min()) < 0.01
    yield Figure("keeps up", 1.0 if kept else 0.0, "yes/no", at, note=f"took {wall:.2f} s")
    for name, percent in PERCENTILES.items():
        yield Figure(f"one update, {name}", float(np.percentile(pace.latency_s, percent)), "s", at)
    note = f"{behind * per_second:.0f} frames; {alone_ms:.1f} ms without storage"
    yield Figure("largest delay", behind, "s", at, note=note)
    note = f"above the pacing itself ({idle / wall:.2f})"
    yield Figure("CPU of one core", (cpu - idle) / wall, "share", at, note=note)
    yield Figure("CPU per frame", (cpu - idle) / count, "s/frame", at, note="all threads of the process")
    assert storage.waitForSaved(600)
    yield Figure("finalize", storage.report.seconds, "s", at, note="without sync")
    storage.close()
