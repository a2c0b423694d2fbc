"""Goals for large sizes: a folder of 100,000 files, a scan of 10 million frames, and a scan of a terabyte."""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks._environment import room_bytes
from benchmarks._goals import Goal
from benchmarks._rounds import Plan, Tell
from benchmarks.sparse_disk import NoSparseDisk, sparse_disk
from lys_storage.disk import claim_number, give_back
from lys_storage.scan import begin_scan

FILES, CLAIMS, CLAIM_ROUNDS = 100_000, 100, 7
FRAMES, ROW, FRAME_BYTES = 10_000_000, 1000, 16
TERABYTE, LARGE_FRAME = 10**12, 1 << 20
IN_BACKGROUND_S = 0.1
WHAT = NUMBER, FINALIZE, RESERVE = (
    f"a number in a folder of {FILES:,} files, to an empty one, amortized",
    f"finalize of {FRAMES:,} frames of {FRAME_BYTES} bytes, a frame",
    "reserve of 1 TB, claimed behind the frames (a sparse disk)",
)


def scale_goals(plan: Plan, tell: Tell) -> Iterator[Goal]:
    for what, goal in (NUMBER, _number_goal), (FINALIZE, _finalize_goal), (RESERVE, _reserve_goal):
        tell(what)
        folder = Path(tempfile.mkdtemp(dir=plan.folder))
        try:
            yield goal(folder)
        finally:
            shutil.rmtree(folder)


def _number_goal(folder: Path) -> Goal:
    """The medians of alternating rounds. Both folders have been listed before, as after an earlier claim of a number."""
    empty, full = folder / "empty", folder / "full"
    for where, files in (empty, 0), (full, FILES):
        where.mkdir()
        for number in range(files):
            (where / f"data_{number}.npz").touch()
    seconds: dict[Path, list[float]] = {empty: [], full: []}
    for _ in range(CLAIM_ROUNDS + 1):
        for where, taken in seconds.items():
            taken.append(seconds_a_claim(where, CLAIMS))
    first, then = (statistics.median(taken[1:]) for taken in seconds.values())
    return Goal(NUMBER, "<= 2", f"{then / first:.2f} ({1e6 * then:.0f} us)", then <= 2 * first)


def seconds_a_claim(folder: Path, count: int) -> float:
    """The mean seconds to claim a number, of `count` claims in sequence."""
    begin = time.perf_counter()
    claimed = [claim_number(folder, "data") for _ in range(count)]
    seconds = (time.perf_counter() - begin) / count
    for number, file in claimed:
        file.path.unlink()
        file.close()
        give_back(folder, "data", number)
    return seconds


def _finalize_goal(folder: Path) -> Goal:
    wanted = "< 1 us"
    if room_bytes(folder) < 2 * FRAMES * FRAME_BYTES:
        return Goal.unmeasured(FINALIZE, wanted, "not measured: not enough free space on the disk")
    shape = (FRAMES // ROW, ROW, FRAME_BYTES // 2)
    scan = begin_scan(folder, "data", shape=shape, dtype="uint16", numbered=True, replace_existing=False, grid_ndim=2)
    row = np.tile(np.arange(FRAME_BYTES // 2, dtype="u2"), (ROW, 1))
    for k in range(FRAMES // ROW):
        scan[k] = row
    scan.flush()  # checksums are computed while frames arrive: they are no part of finalize
    scan.close()
    assert scan.report is not None
    each = scan.report.seconds / FRAMES
    return Goal(FINALIZE, wanted, f"{1e9 * each:.0f} ns", each < 1e-6)


def _reserve_goal(folder: Path) -> Goal:
    wanted = f"< {1e3 * IN_BACKGROUND_S:.0f} ms"
    try:
        with sparse_disk(folder, 2 << 40) as disk:
            begin = time.perf_counter()
            scan = begin_scan(
                disk,
                "data",
                shape=(TERABYTE // LARGE_FRAME, LARGE_FRAME),
                dtype="u1",
                numbered=True,
                replace_existing=False,
                grid_ndim=1,
            )
            seconds = time.perf_counter() - begin
            claim = scan._space._preallocation
            if claim is not None and claim._thread is not None:
                claim._thread.join()
            claimed_s = time.perf_counter() - begin
            scan.discard()
    except NoSparseDisk as why:
        return Goal.unmeasured(RESERVE, wanted, f"not measured: {why}")
    measured = f"{1e3 * seconds:.0f} ms (preallocation complete after {claimed_s:.1f} s)"
    return Goal(RESERVE, wanted, measured, seconds < IN_BACKGROUND_S)
