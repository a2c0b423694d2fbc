"""A scan of 16 frames of 16 KiB that share one checksum, and checks of its export."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk.systems import SYSTEM
from lys_storage.scan import Scan
from lys_storage.store import ScanStore

FRAMES, SIZE = 16, 1 << 14


def value(k: int, version: int = 0) -> Any:
    return np.full(SIZE, k + 1 + 100 * version, "u1")


def begun(folder: Path, count: int = 8) -> Scan:
    """A scan of 16 frames of 16 KiB, which are one block of 256 KiB. The first `count` frames are written."""
    scan = lys_storage.create(folder / "a.npz", (FRAMES, SIZE), "u1", grid_ndim=1, flush_interval_s=None)
    for k in range(count):
        scan[k] = value(k)
    return scan


def assert_export(path: Path, expected: dict[int, int]) -> None:
    """Each frame is the version that `expected` names, the others are zeros, and every checksum matches."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with lys_storage.open_wave(path) as wave:
        for k in range(len(wave.data)):
            assert np.array_equal(wave.data[k], value(k, expected[k]) if k in expected else np.zeros(SIZE, "u1")), k
    assert lys_storage.verify(path.parent) == []


def after_a_cut(folder: Path, monkeypatch: pytest.MonkeyPatch, journal: bytes | None = None) -> Path:
    """The export of the files as they are now, on another boot. `journal` is the durable content of the journal."""
    copy = folder.with_name(f"{folder.name}_cut")
    shutil.copytree(folder, copy)
    if journal is not None:
        (copy / "a.npz.part.journal").write_bytes(journal)
    with monkeypatch.context() as patch:
        patch.setattr(SYSTEM, "read_boot_id", lambda: "another boot")
        (result,) = lys_storage.recover(copy)
    assert result.path is not None, result.message
    return result.path


def lose_frame_0(store: ScanStore) -> None:
    """Simulate a failed sync that lost the frame: its bytes differ from those that were written."""
    store.checksum_dirty()
    store.journal.file_sync_failed = True
    store.file.write_at(b"torn", store.table.array_offset)
