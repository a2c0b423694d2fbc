"""Reading: the opening of an export, which does not depend on its size, and random frames compared with a raw map."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.scan import begin_scan

GROUP = "open_wave"
MB, GB, TB = 10**6, 10**9, 10**12
FRAMES, SIDE = 400, 512
READS = 200


def hollow_export(folder: Path, size: int, frames: int = 1000) -> Path:
    """An export of `size` bytes. All frames but the first are missing, and are holes."""
    scan = begin_scan(
        folder,
        "scan",
        shape=(frames, size // frames),
        dtype="uint8",
        numbered=True,
        replace_existing=False,
        grid_ndim=1,
        preallocate=False,
    )
    scan[0] = np.ones(size // frames, "u1") if size <= GB else np.broadcast_to(np.uint8(1), size // frames)
    return scan.close()


@pytest.mark.parametrize(
    "size", [pytest.param(10 * MB, id="10 MB"), pytest.param(GB, id="1 GB"), pytest.param(TB, id="1 TB")]
)
def test_open_wave(measure: Any, folder: Path, size: int) -> None:
    """Constant in size."""
    path = hollow_export(folder, size, 100_000 if size == TB else 1000)
    waves: list[lys_storage.StoredWave] = []
    each = measure(
        lambda: waves.append(lys_storage.open_wave(path)), teardown=lambda: waves.pop().close(), rounds=20, per="export"
    )
    assert each < 0.05


@pytest.fixture
def export(folder: Path) -> Path:
    """200 MB of noise in frames of 512 KiB, which are in the page cache."""
    noise = np.random.default_rng(0).integers(0, 1 << 16, (8, SIDE, SIDE), "u2")
    with lys_storage.create(folder / "scan.npz", (FRAMES, SIDE, SIDE), "uint16", grid_ndim=1) as scan:
        for k in range(FRAMES):
            scan[k] = noise[k % 8]
    return scan.path


def random_frames() -> list[int]:
    return np.random.default_rng(1).integers(0, FRAMES, READS).tolist()


def test_random_frames_through_the_map(measure: Any, export: Path) -> None:
    with lys_storage.open_wave(export) as wave:
        measure(lambda: [wave.data[k].sum() for k in random_frames()], items=READS)


def test_random_frames_by_read(measure: Any, export: Path) -> None:
    """read() copies, and raises an error if the disk fails."""
    with lys_storage.open_wave(export) as wave:
        measure(lambda: [wave.read(k).sum() for k in random_frames()], items=READS)


def test_random_frames_of_a_raw_map(measure: Any, export: Path) -> None:
    raw = raw_map(export)
    measure(lambda: [raw[k].sum() for k in random_frames()], items=READS)


def raw_map(export: Path) -> np.ndarray[Any, Any]:
    with lys_storage.open_wave(export) as wave:
        assert wave.array_offset is not None
        return np.memmap(export, "uint16", "r", wave.array_offset, wave.shape)


def test_random_frames_cost_as_of_a_raw_map(measure: Any, export: Path) -> None:
    """Measured alternately. The goal is a ratio of 1.1; the assertion is 1.5."""
    raw, places = raw_map(export), random_frames()
    with lys_storage.open_wave(export) as wave:
        ratios: list[float] = []

        def work() -> None:
            ratios.append(seconds_of(lambda k: wave.data[k].sum()) / seconds_of(lambda k: raw[k].sum()))

        def seconds_of(read: Callable[[int], Any]) -> float:
            begin = time.perf_counter()
            for k in places:
                read(k)
            return time.perf_counter() - begin

        measure(work, rounds=9, items=2 * READS)
    assert statistics.median(ratios) < 1.5, ratios
