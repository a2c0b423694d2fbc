"""Recovery: after a crash the cost depends on the frames, not the bytes; after a power cut every byte is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.format import journal_path
from lys_storage.journal import Journal
from lys_storage.recovery import inspect
from lys_storage.scan import begin_scan

GROUP = "recover"
MB, GB = 10**6, 10**9
ROWS = 100
full = pytest.mark.full
by_frames = pytest.mark.parametrize(
    "frames", [1000, 100_000, 1_000_000, pytest.param(10_000_000, marks=full)], ids=lambda n: f"{n} frames"
)


def interrupted(folder: Path, frames: int, frame_bytes: int, *, checked: bool = True) -> Path:
    """A scan in progress without its last row. Not `checked`: as if it was killed before the first checksum."""
    shape = (ROWS, frames // ROWS, frame_bytes)
    scan = begin_scan(folder, "scan", shape=shape, dtype="uint8", numbered=True, replace_existing=False, grid_ndim=2)
    row = np.full(shape[1:], 7, "u1")
    for i in range(ROWS - 1):
        scan[i] = row
    scan.suspend()
    if not checked:
        journal = Journal.open(journal_path(scan.part_path), writable=True)
        journal.states.end_write(0, came(frames))
        journal.close()
    return scan.part_path


def came(frames: int) -> int:
    return frames - frames // ROWS


def recover(
    measure: Any, folder: Path, frames: int, frame_bytes: int, *, verify: bool = False, **options: Any
) -> float:
    def setup() -> tuple[Any, ...]:
        return (interrupted(folder, frames, frame_bytes, **options),)

    def work(path: Path) -> None:
        (found,) = lys_storage.recover(path, verify=verify)
        assert found.path is not None, found.message
        assert found.frames_written == came(frames)

    def teardown(_: Path) -> None:
        for path in folder.iterdir():
            path.unlink()

    return float(measure(work, setup=setup, teardown=teardown, rounds=2, items=frames, per="frame"))


@pytest.mark.parametrize(
    "size",
    [pytest.param(10 * MB, id="10 MB"), pytest.param(GB, id="1 GB"), pytest.param(10 * GB, id="10 GB", marks=full)],
)
def test_recover_by_bytes(measure: Any, folder: Path, needs_space: Any, size: int) -> None:
    """1,000 durable frames. The time does not depend on their size: the syncs take it."""
    needs_space(size)
    assert recover(measure, folder, 1000, size // 1000) * 1000 < 2.0


@by_frames
def test_recover_by_frames(measure: Any, folder: Path, frames: int) -> None:
    """Frames of 16 bytes with their checksums."""
    each = recover(measure, folder, frames, 16)
    assert frames < 100_000 or each < 10e-6


@by_frames
def test_recover_before_any_checksum(measure: Any, folder: Path, frames: int) -> None:
    each = recover(measure, folder, frames, 16, checked=False)
    assert frames < 100_000 or each < 50e-6


@pytest.mark.parametrize("frames", [1000, 100_000], ids=lambda n: f"{n} frames")
def test_recover_after_a_power_cut(measure: Any, folder: Path, frames: int) -> None:
    """The bytes of every frame are compared with its checksum. Frames of 1 KiB."""
    recover(measure, folder, frames, 1024, verify=True)


@by_frames
def test_look_at_an_interrupted_scan(measure: Any, folder: Path, frames: int) -> None:
    """The inspection of a scan by `ls` and `recover --dry-run`."""
    part = interrupted(folder, frames, 16)
    measure(lambda: inspect(part), items=1, per="scan")


@by_frames
def test_resume(measure: Any, folder: Path, frames: int) -> None:
    """Resume a scan and suspend it again, with its sync."""
    part = interrupted(folder, frames, 16)
    measure(lambda: lys_storage.resume(part).suspend(), rounds=3, per="scan")
