"""Finalize a scan: by its bytes (constant), by its frames, and with missing frames. The sync is not included."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lys_storage import Scan
from lys_storage.export import FinalizeReport
from lys_storage.scan import begin_scan

GROUP = "finalize"
MB, GB = 10**6, 10**9
full = pytest.mark.full
NOISE = np.random.default_rng(0).integers(0, 1 << 16, 8 << 20, "u2")


def begin(folder: Path, frames: int, frame_bytes: int, *, dtype: str = "uint16", **options: Any) -> Scan:
    """A scan with rows of at most 1,000 frames."""
    row = min(frames, 1000)
    return begin_scan(
        folder,
        "scan",
        shape=(frames // row, row, frame_bytes // 2),
        dtype=dtype,
        numbered=True,
        replace_existing=False,
        grid_ndim=2,
        **options,
    )


def write(scan: Scan, frames: int) -> None:
    """Write the first `frames` frames, row by row."""
    _, row, width = scan.shape
    noise = np.resize(NOISE, (row, width))
    for i in range(frames // row):
        scan[i] = noise


def finalize(measure: Any, make: Callable[[], Scan], *, rounds: int = 3, items: int = 1, per: str = "scan") -> float:
    """Seconds per item, without the sync, to finalize the scans of `make`, whose frames have checksums and are synced."""

    def setup() -> tuple[Any, ...]:
        scan = make()
        scan.flush()
        return (scan,)

    def work(scan: Scan) -> FinalizeReport:
        scan.close()
        assert scan.report is not None
        return scan.report

    return float(
        measure(
            work,
            setup=setup,
            teardown=lambda scan: scan.path.unlink(),
            rounds=rounds,
            items=items,
            per=per,
            clock=lambda report: report.seconds,
        )
    )


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(10 * MB, id="10 MB"),
        pytest.param(100 * MB, id="100 MB"),
        pytest.param(GB, id="1 GB"),
        pytest.param(10 * GB, id="10 GB", marks=full),
    ],
)
def test_finalize_by_bytes(measure: Any, folder: Path, needs_space: Any, size: int) -> None:
    """2,000 frames. Constant: only the filesystem's rename of a larger file can differ."""
    needs_space(size)

    def make() -> Scan:
        scan = begin(folder, 2000, size // 2000)
        write(scan, 2000)
        return scan

    assert finalize(measure, make, rounds=2) < 0.1


@pytest.mark.parametrize("frames", [10, 1000, 100_000, 1_000_000, pytest.param(10_000_000, marks=full)])
def test_finalize_by_frames(measure: Any, folder: Path, frames: int) -> None:
    """Frames of 16 bytes. The goal is 1 us per frame for many frames; the assertion is 5 us."""

    def make() -> Scan:
        scan = begin(folder, frames, 16)
        write(scan, frames)
        return scan

    each = finalize(measure, make, items=frames, per="frame")
    assert frames < 100_000 or each < 5e-6


def test_finalize_where_half_never_came(measure: Any, folder: Path) -> None:
    """1 GB of which the second half is missing. The fill value is 0, so the missing frames are holes."""

    def make() -> Scan:
        scan = begin(folder, 2000, GB // 2000)
        write(scan, 1000)
        return scan

    assert finalize(measure, make, rounds=2) < 1.0


@pytest.mark.parametrize("frames", [10_000, 100_000])
@pytest.mark.parametrize("dtype", ["uint16", "float16"], ids=["fill 0", "fill NaN"])
def test_finalize_where_every_other_frame_never_came(measure: Any, folder: Path, frames: int, dtype: str) -> None:
    """Frames of 64 bytes, with the largest possible number of runs of missing frames."""

    def make() -> Scan:
        scan = begin(folder, frames, 64, dtype=dtype)
        rows, row, width = scan.shape
        for i in range(rows):
            scan[i, ::2] = np.ones((row // 2, width), dtype)
        return scan

    assert finalize(measure, make, items=frames, per="frame") < 1e-4


@pytest.mark.parametrize("frames", [1000, 100_000])
def test_finalize_with_every_checksum_still_to_take(measure: Any, folder: Path, frames: int) -> None:
    """A scan that ends before its first flush: its frames of 1 KiB are read back from the page cache."""

    def make() -> Scan:
        scan = begin(folder, frames, 1024, flush_interval_s=None)
        write(scan, frames)
        return scan

    def work(scan: Scan) -> FinalizeReport:
        scan.close()
        assert scan.report is not None
        return scan.report

    measure(
        work,
        setup=lambda: (make(),),
        teardown=lambda scan: scan.path.unlink(),
        rounds=3,
        items=frames,
        clock=lambda report: report.seconds,
    )
