"""The scans of the fault tables: six frames, of which some are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from lys_storage import Scan
from tests.faults.operations import DATA, JOURNAL, PART


def create(folder: Path, **options: Any) -> Scan:
    options = {"axes": [np.arange(6.0), None], "note": {"a": 1}, "grid_ndim": 1, "flush_interval_s": None, **options}
    return lys_storage.create(folder / "data.npz", DATA.shape, **options)


def write(scan: Scan, *frames: int) -> None:
    for k in frames:
        scan[k] = DATA[k]


def begun(folder: Path, **options: Any) -> Scan:
    """A running scan: frames 0 and 1 survive a power cut, frame 2 the death of the process."""
    scan = create(folder, **options)
    write(scan, 0, 1)
    scan.flush()
    write(scan, 2)
    return scan


def interrupted(folder: Path, *, rewritten: bool = False) -> None:
    scan = begun(folder)
    if rewritten:
        scan[2] = DATA[2] + 1
        scan[2] = DATA[2]
    scan.suspend()


IN_PROGRESS = {"data.npz" + PART, "data.npz" + JOURNAL}
