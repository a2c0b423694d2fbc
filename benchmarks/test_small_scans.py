"""Many small scans in sequence: the cost of each, which must not grow."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lys_storage.scan import begin_scan

GROUP = "small scans"
FRAME = np.arange(64 * 64, dtype="u2").reshape(64, 64)


@pytest.fixture
def scans(request: pytest.FixtureRequest) -> int:
    given = request.config.getoption("--scans")
    return int(given or (10_000 if request.config.getoption("--full") else 500))


def test_scans_of_one_frame_in_a_script(measure: Any, folder: Path, scans: int) -> None:
    """Create, write and close each scan, with the syncs that make it durable."""
    seconds: list[float] = []

    def work() -> None:
        for _ in range(scans):
            begin = time.perf_counter()
            scan = begin_scan(
                folder,
                "scan",
                shape=(1, 64, 64),
                dtype="u2",
                numbered=True,
                replace_existing=False,
                grid_ndim=1,
            )
            scan[0] = FRAME
            scan.close()
            seconds.append(time.perf_counter() - begin)

    measure(work, rounds=1, warmup=0, items=scans, per="scan")
    assert len(list(folder.glob("scan_*.npz"))) == scans
    assert_no_growth(seconds)


def test_scans_of_one_frame_by_data_storage(measure: Any, folder: Path, make_storage: Any, scans: int) -> None:
    """Reserve and update. The scans are saved in the background, in sequence; the benchmark waits for the last one."""
    storage = make_storage()
    seconds: list[float] = []

    def work() -> None:
        for _ in range(scans):
            begin = time.perf_counter()
            storage.reserve((1, 64, 64), dtype="uint16")
            storage.update({(0,): FRAME})
            seconds.append(time.perf_counter() - begin)
            if len(seconds) % 50 == 0:
                assert storage.waitForSaved(600)
        assert storage.waitForSaved(600)

    measure(work, rounds=1, warmup=0, items=scans, per="scan")
    assert len(list((folder / "scans").glob("scan_*.npz"))) == scans
    assert_no_growth(seconds)


def assert_no_growth(seconds: list[float]) -> None:
    tenth = max(1, len(seconds) // 10)
    first, last = statistics.median(seconds[:tenth]), statistics.median(seconds[-tenth:])
    assert last < 5 * first, f"the first tenth took {first * 1e3:.2f} ms per scan, the last {last * 1e3:.2f} ms"
