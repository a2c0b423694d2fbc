#!/usr/bin/env python
"""One measurement of reading in a separate process: `_reading_child.py SPEC`. SPEC and the last line of output are JSON.

* `first_ms`: from before the file is opened to the first frame. Packages are imported before.
* `random_ms`: 200 random frames, each as an array of its own. Warm: the median of five passes, each with new frames. Cold: one
  pass, after the file was dropped from the page cache.
* `mean_ms`: the mean of the whole array.
* `anon_bytes`: the largest anonymous memory after each of them, above that before. The parent samples it in between.

Frames and the mean are compared with what was written, outside of the times.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import _memory
from benchmarks._readers import READERS, Data, Frame

READS = 200
PASSES = 5


def measure(spec: dict[str, Any]) -> dict[str, float]:
    data = Data(**{key: tuple(v) if isinstance(v, list) else v for key, v in spec["data"].items()})
    reader, is_cold = READERS[spec["reader"]](data, Path(spec["folder"])), spec["cold"]
    reader.load_packages()
    picks, pool = random.Random(spec["seed"]), data.pool()
    fill_or_drop(reader.path, is_cold)
    before, began = _memory.resident()[0], time.monotonic()
    start = perf_counter()
    frame, mean = reader.open()
    first = frame(0, 0)
    first_s, peak = perf_counter() - start, _memory.resident()[0]
    if not np.array_equal(first, pool[0]):
        raise RuntimeError("the first frame differs from the written one")
    passes = [timed(frame, data, pool, picks) for _ in range(1 if is_cold else PASSES)]
    peak = max(peak, _memory.resident()[0])
    fill_or_drop(reader.path, is_cold)
    start = perf_counter()
    found = mean()
    mean_s = perf_counter() - start
    ended, peak = time.monotonic(), max(peak, _memory.resident()[0])
    expected = data.mean(pool)
    if not math.isclose(found, expected, rel_tol=1e-9):
        raise RuntimeError(f"the mean is {found}, expected {expected}")
    reader.close()
    times = {"first_ms": first_s, "random_ms": statistics.median(passes), "mean_ms": mean_s}
    memory = {"anon_bytes": peak - before, "start_bytes": before, "began": began, "ended": ended}
    return {name: 1e3 * seconds for name, seconds in times.items()} | memory


def timed(frame: Callable[[int, int], Frame], data: Data, pool: list[Frame], picks: random.Random) -> float:
    """Seconds of random frames, the last of which is compared with what was written."""
    places = [(picks.randrange(data.grid[0]), picks.randrange(data.grid[1])) for _ in range(READS)]
    start = perf_counter()
    for i, j in places:
        found = frame(i, j)
    seconds = perf_counter() - start
    if not np.array_equal(found, data.expected(pool, i, j)):
        raise RuntimeError(f"frame {i, j} differs from the written one")
    return seconds


def fill_or_drop(path: Path, is_cold: bool) -> None:
    """Read the file or the folder into the page cache, or drop it from there."""
    for file in path.rglob("*") if path.is_dir() else [path]:
        if not file.is_file():
            continue
        descriptor = os.open(file, os.O_RDONLY)
        try:
            if is_cold:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                continue
            while os.read(descriptor, 1 << 20):
                pass
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))), flush=True)
    os._exit(0)  # lys leaves threads to the end of the process
