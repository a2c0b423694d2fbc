"""A scan of 26 small frames, eight in a block, for the fixtures `small_blocks` and `states_are`."""

from __future__ import annotations

import os
import signal
import traceback
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk.systems import SYSTEM
from lys_storage.scan import Scan, begin_scan
from tests.fixtures import FRAMES_IN_SMALL_BLOCK

FRAMES, PER_BLOCK, SIZE = 26, FRAMES_IN_SMALL_BLOCK, 6


def frame(k: int, version: int = 0) -> Any:
    return np.random.default_rng((k, version)).integers(1, 255, SIZE, dtype="u1")


def begin(folder: Path, frames: Any = range(FRAMES), **options: Any) -> Scan:
    scan = begin_scan(
        *(folder, "a", (FRAMES, SIZE), "u1"),
        **{"numbered": False, "replace_existing": False, "grid_ndim": 1, "flush_interval_s": None, **options},
    )
    for k in frames:
        scan[k] = frame(k)
    return scan


def states(scan: Scan) -> list[int]:
    return scan._store.journal.states.array.tolist()


def on_another_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SYSTEM, "read_boot_id", lambda: "another")


def assert_is(path: Path, expected: dict[int, Any]) -> None:
    """The export holds these frames, and zeros elsewhere. Every checksum matches."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    with lys_storage.open_wave(path) as wave:
        assert {k for k in range(len(wave.data)) if wave.data[k].any()} == set(expected)
        for k, value in expected.items():
            assert np.array_equal(wave.data[k], value), k
        assert wave.info["array_crc32"] == zlib.crc32(np.ascontiguousarray(wave.data))
    assert lys_storage.verify(path.parent) == []


def spoil(scan_file: Path, k: int, byte: int = 0xFF) -> None:
    """Change a byte of frame `k` in the file. The array begins at byte 4096."""
    with open(scan_file, "r+b") as file:
        file.seek(4096 + k * SIZE)
        old = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([old ^ byte]))


def killed(work: Callable[[], object]) -> None:
    """Run `work` in a forked process, which then kills itself with SIGKILL. Its files stay."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.kill(os.getpid(), signal.SIGKILL)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), "it ended before it was killed"


def write_states(journal: Path, first: int, states: list[int]) -> None:
    """Write states into the table of the journal, at byte 4096, as a disk or a crash can leave them."""
    with open(journal, "r+b") as file:
        file.seek(4096 + first)
        file.write(bytes(states))


def begin_without_checksums(tmp_path: Path, frames: int, size: int) -> Scan:
    """A scan of single frames or of blocks, whose checksum thread does not start by itself."""
    scan = lys_storage.create(tmp_path / "a.npz", (frames, size), "u1", grid_ndim=1, flush_interval_s=None)
    for k in range(frames):
        scan._store.table.wake_at_bytes = 1 << 62
        scan._writer._write_fast = scan._writer.write_item_fast = None
        scan._store.table.write_one(scan._store.table.layout, k, np.full(size, k + 1, "u1"))
    return scan
