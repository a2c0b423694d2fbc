"""A scan of 2 TB: preallocated on a sparse disk if there is one, else without preallocation. The case `bytes`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from benchmarks._memory import on_disk
from benchmarks.scale_cases._measuring import Figure, Figures, Task, clock, new_scan, timed
from benchmarks.sparse_disk import NoSparseDisk, sparse_disk
from lys_storage.format import journal_path
from lys_storage.recovery import list_scans

FRAME_BYTES = 1 << 20
FRAME = (1024, 512)
READS = 200


@contextmanager
def on_a_sparse_disk(task: Task) -> Iterator[Task]:
    """The task on a sparse disk below its folder, of 5/4 the scan's size. Without one: the task, with the reason."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(sparse_disk(task.path, task.options["bytes"] * 5 // 4))
            placed = replace(task, folder=str(disk), options={**task.options, "claimed": True})
        except NoSparseDisk as reason:
            why_not = f"no sparse disk here: {reason}"
            placed = replace(task, options={**task.options, "claimed": False, "why_not": why_not})
        yield placed


def measure(task: Task) -> Figures:
    total, came = task.options["bytes"] // FRAME_BYTES, 2000 if task.full else 500
    claimed = task.options["claimed"]
    at, where = f"{total * FRAME_BYTES / 1e12:.3g} TB", f"{came:,} frames of 1 MiB, spread"
    if not claimed:
        yield Figure("preallocation", note=f"not measured: {task.options['why_not']}")
    seconds, scan = timed(lambda: new_scan(task.path, (total, *FRAME), "uint16", 1, preallocate=claimed))
    yield Figure("reserve", seconds, "s", at, note="preallocation continues" if claimed else "without preallocation")
    yield Figure("journal", journal_path(scan.part_path).stat().st_size, "bytes", at)
    noise = np.random.default_rng(0).integers(0, 1 << 16, (4, *FRAME), "u2")
    places = np.random.default_rng(1).choice(total, came, replace=False).tolist()
    yield from _ingest(scan, places, noise, at, where)
    part = scan.part_path
    scan.suspend()
    seconds, _ = timed(lambda: list(list_scans(part)))
    yield Figure("ls of the interrupted scan", seconds, "s", at)
    seconds, (found,) = timed(lambda: lys_storage.recover(part))
    yield Figure("recover", seconds, "s", at, note="missing frames are holes; with its syncs")
    assert found.path is not None, found.message
    assert found.frames_written == came
    yield from _read(found.path, places, noise[(came - 1) % 4], at)
    yield Figure("space on disk", on_disk(task.path), "bytes", where)
    found.path.unlink()


def _ingest(scan: lys_storage.Scan, places: list[int], noise: Any, at: str, where: str) -> Figures:
    """Write a frame to each of `places`. After half of them, wait for the preallocation."""
    came = len(places)
    each = np.zeros(came)
    begin = clock()
    for k, place in enumerate(places):
        before = clock()
        scan.write((place,), noise[k % 4])
        each[k] = clock() - before
        if scan._space._preallocation is not None and k == came // 2:
            claim = scan._space._preallocation._thread
            if claim is not None:
                claim.join()
                yield Figure("preallocation complete after", clock() - begin, "s", at, note="during writes")
    yield Figure("ingest, random order", float(np.median(each)), "s/frame", where, note="median")
    yield Figure("ingest, random order, worst", float(each.max()), "s/frame", where)
    seconds, _ = timed(scan.flush)
    yield Figure("flush", seconds, "s", where)


def _read(path: Path, places: list[int], last: Any, at: str) -> Figures:
    """Open the export, read some of its frames, and compare the last written one with `last`."""
    seconds, wave = timed(lambda: lys_storage.open_wave(path))
    yield Figure("open_wave", seconds, "s", at)
    seconds, _ = timed(lambda: [wave.data[place].sum() for place in places[:READS]])
    yield Figure("random frames, warm", seconds / READS, "s/frame", at)
    assert np.array_equal(wave.data[places[-1]], last)
    wave.close()
