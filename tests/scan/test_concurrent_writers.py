"""Several threads write into one scan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lys_storage import FrameIndexError, Scan
from tests.helpers import assert_same_array, in_threads, some
from tests.scan.scans import begin, saved


def test_threads_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """They write different frames, while the background threads checksum and flush."""
    scan, frames = begin(tmp_path, (4, 60, 500), "u2", flush_interval_s=0.01), some((4, 60, 500), "u2")

    def write(i: int) -> Callable[[], object]:
        return lambda: [scan.write((i, j), frames[i, j]) for j in range(60)]

    in_threads(*map(write, range(4)))
    assert scan.complete
    assert_same_array(saved(scan), frames)


def test_threads_that_write_one_frame_take_turns(tmp_path: Path) -> None:
    """A frame never holds a mixture of two writes."""
    scan = begin(tmp_path, (2, 300_000), "u1", flush_interval_s=0.01)

    def write(value: int) -> Callable[[], object]:
        return lambda: [scan.write(0, np.full(300_000, value + k, "u1")) for k in range(0, 60, 3)]

    in_threads(*map(write, range(3)))
    data = saved(scan)
    assert (len(set(data[0].tolist())), scan.report and scan.report.frames_written) == (1, 1)


def test_of_threads_that_write_first_one_tells_the_grid_and_none_loses_a_frame(tmp_path: Path) -> None:
    """A longer index than that of the first frame is refused, whichever thread is first."""
    frames = some((4, 8, 10), "u2")
    for attempt in range(5):
        scan = begin(tmp_path / str(attempt), frames.shape, "u2", flush_interval_s=0.001)
        refused: list[int] = []

        def write_points(i: int, scan: Scan = scan, refused: list[int] = refused) -> None:
            for j in range(8):
                try:
                    scan.write((i, j), frames[i, j])
                except FrameIndexError:
                    refused.append(i)

        in_threads(
            lambda scan=scan: [scan.write(i, frames[i]) for i in (0, 1)],
            lambda write=write_points: write(2),
            lambda write=write_points: write(3),
        )
        assert scan.grid_shape in ((4,), (4, 8))
        assert len(refused) == (16 if scan.grid_shape == (4,) else 0)
        expected = np.where(scan.written.reshape(4, -1, 1), frames, 0).astype("u2")
        assert_same_array(saved(scan), expected)
