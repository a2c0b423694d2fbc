#!/usr/bin/env python
"""One measurement in a separate process: `_child.py SPEC`. SPEC and the single line of output are JSON.

The process imports the packages, makes the pool and the order of the frames, and warms the memory. Then it times reserve,
ingest (and each call of it), finalize and sync. A measurement that takes less than two seconds, and is not paced, is
repeated up to three times, each time into a new file while the memory is warm. The result is that with the fastest ingest
and finalize; the reserve time is that of the first file. Then 200 random frames are read cold, and again warm, and compared
with the written frames; the best of three passes counts. `"warm": false` in SPEC turns the warming off (for the tests).

* `ingest_s`: wall time of the loop over all frames. It includes the clock reads of each call, and a Python call with a
  number and a frame, which is the same for every candidate: about 0.2 us per frame.
* `cpu_s`: user and system time of all threads of this process during ingest, finalize and sync, without kernel threads.
* `finalize_s`, `sync_s`: the time after the last call has returned. A writer that syncs in finalize reports that time.
* `anon_bytes`, `file_bytes`: resident memory at the ends of the phases, above that at the start. The parent adds the
  peaks that it sees in between.
"""

from __future__ import annotations

import gc
import json
import math
import os
import random
import shutil
import sys
import time
from array import array
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import _memory
from benchmarks._constrained import ingest_paced, join_cgroup, over_time, writer_class
from benchmarks._figures import latency_figures, tail
from benchmarks._workloads import Workload, workload_from
from benchmarks._writers import Frame, Writer

RANDOM_READS = 200
READ_PASSES = 3
REPEATS = 3
REPEATS_S = 2.0


def ingest(writer: Writer, order: list[int], pool: list[Frame], latencies: Any) -> float:
    """Put each frame, and record the nanoseconds of each call. Returns the seconds of the loop."""
    put, count, clock = writer.put, len(pool), perf_counter_ns
    begin = clock()
    for k, number in enumerate(order):
        frame = pool[number % count]
        before = clock()
        put(number, frame)
        latencies[k] = clock() - before
    return (clock() - begin) / 1e9


def ingest_batches(writer: Writer, order: list[int], pool: list[Frame], latencies: Any, batch: int) -> float:
    """The same with `batch` frames per call. The lists of a call are made before its clock starts."""
    put_many, count, clock = writer.put_many, len(pool), perf_counter_ns
    begin = clock()
    for k in range(len(latencies)):
        numbers = order[k * batch : (k + 1) * batch]
        frames = [pool[number % count] for number in numbers]
        before = clock()
        put_many(numbers, frames)
        latencies[k] = clock() - before
    return (clock() - begin) / 1e9


def read_back(writer: Writer, pool: list[Frame], seed: int) -> dict[str, float]:
    """Milliseconds to open the result, and to read 200 random frames cold and warm: each the best of three passes.

    Each pass draws new frames. Raises RuntimeError if a frame differs from the one that was written.
    """
    picks, best = random.Random(seed), {"open_ms": math.inf, "cold_ms": math.inf, "warm_ms": math.inf}
    for _ in range(READ_PASSES):
        numbers = [picks.randrange(writer.workload.frames) for _ in range(RANDOM_READS)]
        gc.collect()  # pages that are still mapped would stay in the cache
        _memory.drop_from_cache(writer.folder)
        start = perf_counter()
        read = writer.open()
        opened = perf_counter()
        for number in numbers:
            read(number)
        cold = perf_counter()
        for number in numbers:
            read(number)
        warm = perf_counter()
        for number in numbers:
            if not np.array_equal(np.asarray(read(number)).reshape(writer.workload.frame), pool[number % len(pool)]):
                raise RuntimeError(f"frame {number} differs from the written one")
        seconds = {"open_ms": opened - start, "cold_ms": cold - opened, "warm_ms": warm - cold}
        best = {name: min(best[name], 1e3 * taken) for name, taken in seconds.items()}
        del read
    return best


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Run one candidate on one workload in an empty folder, at the pace and in the cgroup of `spec` (see `_constrained`)."""
    join_cgroup(spec.get("cgroup"))
    workload = workload_from(spec["workload"])
    folder, seed = Path(spec["folder"]), spec["seed"]
    make = writer_class(spec["candidate"], spec.get("synced", False))
    writer = prepared(make, workload, folder, 0)
    order, pool = workload.order(seed), workload.pool(seed)
    if spec.get("warm", True):
        os.sync()
    if spec.get("warm", True) and not spec.get("cgroup"):
        _memory.warm(folder, workload.size_bytes, workload.frame_bytes)
    at_start, began = _memory.resident(), time.monotonic()
    results = [write(writer, order, pool, spec.get("period_s"))]
    while (
        len(results) < spec.get("repeats", REPEATS)
        and time.monotonic() - began < REPEATS_S
        and not spec.get("period_s")
    ):
        shutil.rmtree(writer.folder)
        writer = prepared(make, workload, folder, len(results))
        results.append(write(writer, order, pool, spec.get("period_s")))
    result = min(results, key=lambda result: float(result["ingest_s"] + result["finalize_s"]))
    result["reserve_s"] = results[0]["reserve_s"]  # of the first scan: it includes modules that are loaded only then
    for name, k in (("anon_bytes", 0), ("file_bytes", 1)):
        result[name] = max(r[name] for r in results) - at_start[k]
    result |= {"start_rss": at_start, "began": began, "ended": time.monotonic(), "repeats": len(results)}
    return {**result, **read_back(writer, pool, seed)}


def prepared(make: type[Writer], workload: Workload, folder: Path, nth: int) -> Writer:
    own = folder / str(nth)
    own.mkdir()
    writer = make(workload, own)
    writer.prepare()
    return writer


def write(writer: Writer, order: list[int], pool: list[Frame], period_s: float | None) -> dict[str, Any]:
    """Write one file, and measure it."""
    batch = writer.workload.batch
    latencies = array("q", bytes(8 * (len(order) // batch)))
    starts = array("d", bytes(8 * len(latencies))) if period_s else None
    start = perf_counter()
    writer.reserve()
    reserve_s = perf_counter() - start
    before = _memory.resident()
    cpu = time.process_time()
    if starts is not None:
        ingest_s = ingest_paced(writer, order, pool, latencies, starts, period_s)
    elif batch == 1:
        ingest_s = ingest(writer, order, pool, latencies)
    else:
        ingest_s = ingest_batches(writer, order, pool, latencies, batch)
    cpu_ingest = time.process_time() - cpu
    start = perf_counter()
    own_sync = writer.finalize()
    finalize_s = perf_counter() - start - own_sync
    start = perf_counter()
    writer.sync()
    sync_s = perf_counter() - start + own_sync
    cpu_all = time.process_time() - cpu
    resident = (before, _memory.resident())
    result = {
        "reserve_s": reserve_s,
        "ingest_s": ingest_s,
        "finalize_s": finalize_s,
        "sync_s": sync_s,
        "cpu_ingest_s": cpu_ingest,
        "cpu_s": cpu_all,
        "latency_us": latency_figures(latencies),
        "tail_us": tail(latencies),
        "disk_bytes": _memory.on_disk(writer.folder),
        "anon_bytes": max(anon for anon, _ in resident),
        "file_bytes": max(file for _, file in resident),
    }
    if starts is not None:
        result["paced"] = over_time(latencies, starts, period_s)
    return result


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
