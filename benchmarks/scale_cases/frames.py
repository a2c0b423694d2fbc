"""10 million frames of 16 bytes: journal, ingest, a flush, finalize, open, recover."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from benchmarks.scale_cases._measuring import Figure, Figures, Task, clock, new_scan, timed
from lys_storage.format import journal_path
from lys_storage.recovery import list_scans

ROW = 1000


def measure(task: Task) -> Figures:
    total = task.options["frames"]
    row = np.tile(np.arange(8, dtype="u2"), (ROW, 1))
    yield from _complete(task, total, row)
    yield from _all_over(task.path, total)
    yield from _interrupted(task.path, total, row)
    yield from _after_a_power_cut(task.path, total, row)


def _complete(task: Task, total: int, row: Any) -> Figures:
    """A complete scan. The first frames are written one by one."""
    at = f"{total:,} frames"
    seconds, scan = timed(lambda: new_scan(task.path, (total // ROW, ROW, 8), "uint16", 2))
    yield Figure("reserve", seconds, "s", at)
    journal = journal_path(scan.part_path).stat().st_size
    yield Figure("journal", journal, "bytes", at)
    yield Figure("journal per frame", journal / total, "bytes", at)
    yield from _ingest(scan, total, min(total, 10_000_000 if task.full else 500_000), row)
    seconds, _ = timed(scan.flush)
    yield Figure("the last flush", seconds, "s", at, note="with the checksums that were left")
    scan.close()
    report = scan.report
    assert report is not None
    yield Figure("finalize", report.seconds, "s", at, note="without sync")
    yield Figure("finalize per frame", report.seconds / total, "s/frame", at, note="goal: under a microsecond")
    yield Figure("sync at the end", report.sync_seconds, "s", at)
    seconds, wave = timed(lambda: lys_storage.open_wave(scan.path))
    wave.close()
    yield Figure("open_wave", seconds, "s", at)
    scan.path.unlink()


def _ingest(scan: lys_storage.Scan, total: int, singly: int, row: Any) -> Figures:
    """The first `singly` frames one by one, in ten parts; the others by rows."""
    rows, first_rows = total // ROW, singly // ROW
    frame, write = row[0], scan.write
    tenths: list[float] = []
    for part in range(10):
        begin = clock()
        for i in range(first_rows * part // 10, first_rows * (part + 1) // 10):
            for j in range(ROW):
                write((i, j), frame)
        tenths.append((clock() - begin) / (singly / 10))
    each, where = sum(tenths) / 10, f"{singly:,} frames of {total:,}"
    figure = Figure("ingest, one by one", each, "s/frame", where)
    if singly < total:
        figure = figure.extrapolate(each * total, to=f"{total:,} frames", model="constant per frame, see the next row")
    yield figure
    yield Figure("ingest, last tenth to first", tenths[-1] / tenths[0], "times", where, note="1: no growth")
    if rows > first_rows:
        seconds, _ = timed(lambda: [write((i,), row) for i in range(first_rows, rows)])
        yield Figure("ingest, by rows of 1,000", seconds / (total - singly), "s/frame", f"{total - singly:,} frames")


def _all_over(folder: Path, total: int) -> Figures:
    """The cost of a flush after frames in random order, which are spread over the whole table."""
    scan = new_scan(folder, (total, 8), "uint16", 1, flush_interval_s=None)
    picks, frame = np.random.default_rng(0), np.arange(8, dtype="u2")
    checks, syncs = [], []
    for _ in range(5):
        for k in picks.integers(0, total, 1000).tolist():
            scan.write((k,), frame)
        checks.append(timed(scan._store.checksum_dirty)[0])
        syncs.append(timed(scan.flush)[0])
    at = f"1,000 frames spread over {total:,}"
    yield Figure("checksums, random order", sorted(checks)[2], "s", at, note="depends on the range, not on the number")
    yield Figure("flush after it, random order", sorted(syncs)[2], "s", at, note="one page of the tables per frame")
    scan.suspend()
    for path in folder.iterdir():
        path.unlink()


def _interrupted(folder: Path, total: int, row: Any) -> Figures:
    """An interrupted scan without its last row."""
    part, at = _suspended(folder, total, row, rows=total // ROW - 1), f"{total:,} frames"
    seconds, _ = timed(lambda: list(list_scans(part)))
    yield Figure("ls of the interrupted scan", seconds, "s", at)
    seconds, again = timed(lambda: lys_storage.resume(part))
    yield Figure("resume", seconds, "s", at)
    seconds, count = timed(lambda: sum(1 for _ in again.missing()))
    yield Figure("missing()", seconds, "s", f"{count:,} missing of {total:,}")
    again.suspend()
    seconds, (found,) = timed(lambda: lys_storage.recover(part))
    assert found.frames_written == total - ROW, found.message
    yield Figure("recover", seconds, "s", at, note="with its syncs")
    yield Figure("recover per frame", seconds / total, "s/frame", at)
    assert found.path is not None
    found.path.unlink()


def _after_a_power_cut(folder: Path, total: int, row: Any) -> Figures:
    """Recovery reads the bytes of every frame. The time is extrapolated from two smaller scans."""
    sizes = (total // 20, total // 10)
    times = (_seconds_to_verify(folder, sizes[0], row), _seconds_to_verify(folder, sizes[1], row))
    figure = Figure("recover after a power cut", times[1], "s", f"{sizes[1]:,} frames")
    yield figure.extrapolate_linearly(sizes=sizes, values=times, size=total, to=f"{total:,} frames")


def _seconds_to_verify(folder: Path, size: int, row: Any) -> float:
    """Seconds to recover a scan of `size` frames with verify=True."""
    part = _suspended(folder, size, row, rows=size // ROW)
    seconds, (found,) = timed(lambda: lys_storage.recover(part, verify=True))
    assert found.path is not None, found.message
    found.path.unlink()
    return seconds


def _suspended(folder: Path, total: int, row: Any, *, rows: int) -> Path:
    """The scan file of an interrupted scan of `total` frames, of which the first `rows` rows are written."""
    scan = new_scan(folder, (total // ROW, ROW, 8), "uint16", 2)
    for i in range(rows):
        scan.write((i,), row)
    scan.suspend()
    return scan.part_path
