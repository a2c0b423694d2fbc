"""10^8 points with one index each: a part of them, and extrapolated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.scale_cases._measuring import Figure, Figures, Task, clock, new_scan, timed
from benchmarks.scale_cases._storage import storage_in
from lys_storage.format import journal_path

VALUES: dict[str, Callable[[int], Any]] = {
    "Python floats": float,
    "0-d arrays": lambda k: np.array(k, "f8"),
}


def measure(task: Task) -> Figures:
    total = task.options["scalars"]
    sizes = (1_000_000, 10_000_000) if task.full else (50_000, 300_000)
    storage = storage_in(task.path)
    for name, value in VALUES.items():
        yield from _singly(storage, name, value, sizes, total)
    storage.close()
    yield from _by_rows(task, total)


def _singly(storage: Any, name: str, value: Callable[[int], Any], sizes: tuple[int, int], total: int) -> Figures:
    """One update per point, in two scans of different size."""
    small, large = (_seconds_of_a_scan(storage, size, value) for size in sizes)
    at, to = f"{sizes[1]:,} {name}", f"{total:,} points"
    figure = Figure("ingest", large[0], "s", at, note=f"{large[0] / sizes[1] * 1e6:.1f} us per point")
    yield figure.extrapolate_linearly(sizes=sizes, values=(small[0], large[0]), size=total, to=to)
    figure = Figure("finalize", large[1], "s", at, note="without sync")
    yield figure.extrapolate_linearly(sizes=sizes, values=(small[1], large[1]), size=total, to=to)


def _seconds_of_a_scan(storage: Any, size: int, value: Callable[[int], Any]) -> tuple[float, float]:
    """(seconds to ingest `size` points, seconds to finalize them)"""
    storage.reserve((size,), dtype="float64")
    update = storage.update
    begin = clock()
    for k in range(size):
        update({(k,): value(k)})
    ingest = clock() - begin
    assert storage.waitForSaved(3600)
    report = storage.report
    report.path.unlink()
    return ingest, report.seconds


def _by_rows(task: Task, total: int) -> Figures:
    """A square grid of points, written by rows."""
    whole = total if task.full else total // 10
    side = round(whole**0.5)
    at, to = f"{side * side:,} points", f"{total:,} points"
    seconds, scan = timed(lambda: new_scan(task.path, (side, side), "float64", 2))
    yield Figure("reserve", seconds, "s", at)
    figure = Figure("journal", journal_path(scan.part_path).stat().st_size, "bytes", at)
    yield figure.extrapolate(5.0 * total, to=to, model="5 bytes per point")
    row = np.arange(side, dtype="f8")

    def fill() -> None:
        for i in range(side):
            scan.write((i,), row)

    seconds, _ = timed(fill)
    each = seconds / side**2
    figure = Figure("ingest, by rows", each, "s/frame", at)
    yield figure.extrapolate(each * total, to=to, model="constant per point")
    seconds, _ = timed(scan.flush)
    yield Figure("the last flush", seconds, "s", at)
    scan.close()
    assert scan.report is not None
    each = scan.report.seconds / side**2
    figure = Figure("finalize per point", each, "s/frame", at)
    yield figure.extrapolate(each * total, to=to, model="constant per point")
