"""Write the golden files of the installed version: `python tests/data/make.py FOLDER`.

These are exports, scans in progress and a redo log, each as that version left it on disk. `tests/test_golden.py` reads,
resumes and recovers them with the present code. The files of a version are written once, by that version.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import lys_storage
from lys_storage.disk.systems import SYSTEM

SMALL, LARGE = (6, 8, 5, 7), (5, 132, 512)
AXES = [np.linspace(0, 1, 6), np.arange(8) * 2.0, None, np.array([1, 2, 4, 8, 16, 32, 64])]
NOTE = {"sample": "TaS2", "temperature": 4.2, "delays": np.arange(3), "operator": {"name": "Ångström"}}
REWRITTEN = 3


def content(shape: tuple[int, ...], dtype: str = "<u2", seed: int = 0) -> np.ndarray[Any, Any]:
    """The content of a golden file of `shape` in its written frames. Another `seed` is a newer version of them."""
    whole = (np.arange(np.prod(shape), dtype="u8") * 31 + 7 * seed) % 60013
    return whole.astype(dtype).reshape(shape)


# -- one function a case; each ends its process without an end of the scan, but for exports ------------------------------


def export_complete(folder: Path) -> None:
    with lys_storage.create(folder / "complete.npz", SMALL, "<u2", axes=AXES, note=NOTE) as scan:
        for i, j in np.ndindex(SMALL[:2]):
            scan[i, j] = content(SMALL)[i, j]


def export_incomplete(folder: Path) -> None:
    with lys_storage.create(folder / "incomplete.npz", SMALL, "<f8", axes=AXES, note=NOTE) as scan:
        for i, j in [(0, 0), (0, 1), (4, 7)]:
            scan[i, j] = content(SMALL, "<f8")[i, j]


def export_trimmed(folder: Path) -> None:
    with lys_storage.create(folder / "trimmed.npz", SMALL, ">c8", axes=AXES, grid_ndim=2, incomplete="trim") as scan:
        for i, j in np.ndindex(2, 8):
            scan[i, j] = content(SMALL, ">c8")[i, j]


def scan_blocks(folder: Path) -> None:
    """Small frames, which share checksums. Some frames of a block are missing. Flushed."""
    scan = lys_storage.create(folder / "blocks_0.npz", SMALL, "<u2", axes=AXES, note=NOTE, grid_ndim=2)
    for i, j in np.ndindex(5, 8):
        scan[i, j] = content(SMALL)[i, j]
    scan.flush()
    os._exit(0)


def scan_large(folder: Path) -> None:
    """Each frame has its own checksum. The first index refined the grid. Flushed."""
    scan = lys_storage.create(folder / "large.npz", LARGE, "<u2", fill_value=7)
    for k in (0, 1, 3):
        scan[k] = content(LARGE)[k]
    scan.flush()
    os._exit(0)


def scan_overwrite(folder: Path) -> None:
    """A scan that would replace an export: its file has an id. Its dtype was changed."""
    (folder / "replaced.npz").write_bytes(b"an older export")
    scan = lys_storage.create(folder / "replaced.npz", (4, 3), "<f8", overwrite=True, grid_ndim=1)
    scan.change_dtype("<i4")
    scan[1] = content((4, 3), "<i4")[1]
    scan.flush()
    os._exit(0)


def scan_redo(folder: Path) -> None:
    """It ended in the middle of a rewrite: the new frame is in the redo log, half of it in its place."""
    scan = lys_storage.create(folder / "redo.npz", LARGE, "<u2", grid_ndim=1)
    for k in range(4):
        scan[k] = content(LARGE)[k]
    scan.flush()
    whole = SYSTEM.pwrite

    def pwrite(fd: int, data: Any, offset: int) -> int:
        if os.readlink(f"/proc/self/fd/{fd}").endswith("redo.npz.part"):
            whole(fd, memoryview(data).cast("B")[:5000], offset)
            os._exit(0)
        return whole(fd, data, offset)

    SYSTEM.pwrite = pwrite  # type: ignore[method-assign]
    scan[REWRITTEN] = content(LARGE, seed=1)[REWRITTEN]
    raise AssertionError("the rewrite came to its end")


def scan_sync_failed(folder: Path) -> None:
    """A sync of its file failed, and its process died before the next one."""
    scan = lys_storage.create(folder / "sync_failed.npz", SMALL, "<u2", grid_ndim=2, flush_interval_s=None)
    for i, j in np.ndindex(3, 8):
        scan[i, j] = content(SMALL)[i, j]
    scan.flush()
    scan[5, 7] = content(SMALL)[5, 7]
    SYSTEM.sync = _fails  # type: ignore[method-assign]
    try:
        scan.flush()
    except OSError:
        os._exit(0)
    raise AssertionError("the sync did not fail")


def scan_aligned(folder: Path) -> None:
    """The array does not begin near the start of the file, but after a member of zeros, as for a large scan."""
    _align_as_a_large_one()
    scan = lys_storage.create(folder / "aligned.npz", SMALL, "<u2", grid_ndim=2)
    for i, j in np.ndindex(6, 8):
        if (i, j) != (2, 2):
            scan[i, j] = content(SMALL)[i, j]
    scan.flush()
    os._exit(0)


def export_aligned(folder: Path) -> None:
    _align_as_a_large_one()
    with lys_storage.create(folder / "aligned_export.npz", SMALL, "<u2", grid_ndim=2) as scan:
        scan[...] = content(SMALL)


def _align_as_a_large_one() -> None:
    from lys_storage.format import archive

    archive.array_alignment = lambda array_size, frame_bytes: 1 << 17  # type: ignore[assignment]


def _fails(fd: int) -> None:
    raise OSError(5, "Input/output error")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if len(sys.argv) > 2:
        globals()[sys.argv[2]](target)
    else:
        target.mkdir(parents=True, exist_ok=True)
        for case in [name for name in globals() if name.startswith(("export_", "scan_"))]:
            subprocess.run([sys.executable, __file__, target, case], check=True)
        (target / ".lys_storage.lock").unlink(missing_ok=True)
