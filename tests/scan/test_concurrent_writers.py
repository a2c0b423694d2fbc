"""Threads that write into one scan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.helpers import assert_same_array, in_threads, some
from tests.scan.scans import begin, saved


def test_threads_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Different frames, with threads that take checksums and flush behind them."""
    scan, frames = begin(tmp_path, (4, 60, 500), "u2", flush_interval_s=0.01), some((4, 60, 500), "u2")

    def write(i: int) -> Callable[[], object]:
        return lambda: [scan.write((i, j), frames[i, j]) for j in range(60)]

    in_threads(*map(write, range(4)))
    assert scan.complete
    assert_same_array(saved(scan), frames)


def test_threads_that_write_one_frame_take_turns(tmp_path: Path) -> None:
    """Whole frames only: never a mixture of two."""
    scan = begin(tmp_path, (2, 300_000), "u1", flush_interval_s=0.01)

    def write(value: int) -> Callable[[], object]:
        return lambda: [scan.write(0, np.full(300_000, value + k, "u1")) for k in range(0, 60, 3)]

    in_threads(*map(write, range(3)))
    data = saved(scan)
    assert (len(set(data[0].tolist())), scan.report and scan.report.frames_written) == (1, 1)


def test_threads_that_refine_the_grid_while_others_write_lose_nothing(tmp_path: Path) -> None:
    frames = some((6, 8, 10), "u2")
    for attempt in range(5):
        scan = begin(tmp_path / str(attempt), frames.shape, "u2", flush_interval_s=0.001)
        in_threads(
            lambda scan=scan: [scan.write(i, frames[i]) for i in (0, 1)],
            lambda scan=scan: [scan.write((i, j), frames[i, j]) for i in (2, 3) for j in range(8)],
            lambda scan=scan: [scan.write((i, j, slice(None)), frames[i, j]) for i in (4,) for j in range(8)],
            lambda scan=scan: [scan.write((5, j, k), frames[5, j, k]) for j in range(8) for k in range(10)],
        )
        assert scan.complete
        assert_same_array(saved(scan), frames)
