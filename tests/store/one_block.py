"""A scan of 16 frames of 16 KiB that share one checksum, and what its export must hold."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import syscalls as syscalls_module
from lys_storage.scan import Scan
from lys_storage.store import ScanStore

FRAMES, SIZE = 16, 1 << 14


def value(k: int, version: int = 0) -> Any:
    return np.full(SIZE, k + 1 + 100 * version, "u1")


def begun(folder: Path, count: int = 8) -> Scan:
    """Blocks of 16 frames would be of 256 KiB: these are of 16 KiB, 16 of them."""
    scan = lys_storage.create(folder / "a.npz", (FRAMES, SIZE), "u1", grid_ndim=1, flush_interval_s=None)
    for k in range(count):
        scan[k] = value(k)
    return scan


def assert_export(path: Path, expected: dict[int, int]) -> None:
    """Each frame is the version that `expected` says, the others are zeros, and every checksum is right."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with lys_storage.open_wave(path) as wave:
        for k in range(len(wave.data)):
            assert np.array_equal(wave.data[k], value(k, expected[k]) if k in expected else np.zeros(SIZE, "u1")), k
    assert lys_storage.verify(path.parent) == []


def after_a_cut(folder: Path, monkeypatch: pytest.MonkeyPatch, journal: bytes | None = None) -> Path:
    """The export of what is on disk now, on another boot; `journal`: what of the journal is durable."""
    copy = folder.with_name(f"{folder.name}_cut")
    shutil.copytree(folder, copy)
    if journal is not None:
        (copy / "a.npz.part.journal").write_bytes(journal)
    with monkeypatch.context() as patch:
        patch.setattr(syscalls_module, "read_boot_id", lambda: "another boot")
        (result,) = lys_storage.recover(copy)
    assert result.path is not None, result.message
    return result.path


def lose_frame_0(store: ScanStore) -> None:
    """As by a sync that failed: it reads as what did not come."""
    store.checksum_dirty()
    store.journal.file_sync_failed = True
    store.file.write_at(b"torn", store.table.array_offset)
