"""The creation of a scan, on this disk and on a sparse disk on which a terabyte can be preallocated."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from lys_storage import Scan
from lys_storage.disk import File
from lys_storage.scan import begin_scan

GROUP = "reserve"
MB, GB, TB = 10**6, 10**9, 10**12
FRAME = 1 << 20
full = pytest.mark.full
by_size = pytest.mark.parametrize(
    "size",
    [
        pytest.param(MB, id="1 MB"),
        pytest.param(100 * MB, id="100 MB"),
        pytest.param(GB, id="1 GB"),
        pytest.param(10 * GB, id="10 GB"),
        pytest.param(100 * GB, id="100 GB", marks=full),
        pytest.param(TB, id="1 TB"),
    ],
)


def reserve(folder: Path, size: int, *, preallocate: bool = True) -> Scan:
    shape = (max(1, size // FRAME), 1024, 512)
    return begin_scan(
        folder,
        "scan",
        shape=shape,
        dtype="uint16",
        numbered=True,
        replace_existing=False,
        grid_ndim=1,
        preallocate=preallocate,
    )


def drop(scans: list[Scan]) -> None:
    scan = scans.pop()
    scan.discard()  # stops the preallocation, and waits for its current step of 1 GiB


def claim_alone(folder: Path, size: int) -> float:
    """Seconds that the filesystem itself takes to preallocate `size` bytes."""
    file = File.create(folder / "claimed")
    begin = time.perf_counter()
    file.preallocate(0, size)
    seconds = time.perf_counter() - begin
    file.close()
    file.path.unlink()
    return seconds


@by_size
def test_reserve_here(measure: Any, folder: Path, needs_space: Any, size: int) -> None:
    """create() on this disk, until it returns. After about 40 ms the preallocation continues in the background."""
    needs_space(size)
    scans: list[Scan] = []
    each = measure(lambda: scans.append(reserve(folder, size)), teardown=lambda: drop(scans), rounds=3, per="scan")
    assert each < 0.5 + 5 * claim_alone(folder, min(size, 10 * GB))


@by_size
def test_reserve_on_a_sparse_disk(measure: Any, terabytes: Path, size: int) -> None:
    scans: list[Scan] = []
    each = measure(lambda: scans.append(reserve(terabytes, size)), teardown=lambda: drop(scans), rounds=3, per="scan")
    assert each < 0.5 + 5 * claim_alone(terabytes, min(size, 10 * GB))


@by_size
def test_reserve_until_all_is_claimed(measure: Any, terabytes: Path, size: int) -> None:
    """The same, until the preallocation in the background has ended."""
    scans: list[Scan] = []

    def work() -> None:
        scan = reserve(terabytes, size)
        scans.append(scan)
        claim = scan._space._preallocation
        if claim is not None and claim._thread is not None:
            claim._thread.join()

    measure(work, teardown=lambda: drop(scans), rounds=2, warmup=0, per="scan")


@by_size
def test_reserve_without_a_claim(measure: Any, folder: Path, size: int) -> None:
    """Without preallocation, as when the first frame chooses the dtype. Constant in size."""
    scans: list[Scan] = []
    each = measure(
        lambda: scans.append(reserve(folder, size, preallocate=False)), teardown=lambda: drop(scans), per="scan"
    )
    assert each < 0.1
