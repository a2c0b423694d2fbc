"""A large frame is written in pieces of WRITE_BYTES: see decision 17."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import FOLIO_BYTES, File
from lys_storage.disk.file import WRITE_BYTES
from lys_storage.disk.systems import SYSTEM

SIZES = [1, WRITE_BYTES - 1, WRITE_BYTES, WRITE_BYTES + 1, 3 * WRITE_BYTES + 5]
NAMES = ["write_at", "write_frame", "write_frames", "write_between_zeros"]


def call(file: File, name: str, frames: list[Any], offset: int) -> None:
    size = frames[0].nbytes
    if name == "write_frames":
        file.write_frames(frames, offset, size)
        return
    for k, frame in enumerate(frames):
        at = offset + k * size
        if name == "write_at":
            file.write_at(frame.data, at)
        elif name == "write_frame":
            file.write_frame(frame, at, size)
        else:
            file.write_between_zeros(frame, at, size, 0, 0)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes that each write of the system is asked to write."""
    sizes: list[int] = []

    def counted(real: Callable[..., int], size_of: Callable[[Any], int]) -> Callable[..., int]:
        def write(fd: int, data: Any, offset: int) -> int:
            sizes.append(size_of(data))
            return real(fd, data, offset)

        return write

    together = counted(SYSTEM.pwritev, lambda all_: sum(memoryview(data).nbytes for data in all_))
    monkeypatch.setattr(SYSTEM, "pwrite", counted(SYSTEM.pwrite, lambda data: memoryview(data).nbytes))
    monkeypatch.setattr(SYSTEM, "pwritev", together)
    return sizes


def test_a_piece_is_smaller_than_the_folios_that_a_cpu_keeps() -> None:
    assert WRITE_BYTES == FOLIO_BYTES // 2


@pytest.mark.skipif(not hasattr(os, "pwrite"), reason="no pwrite")
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES[:3])
def test_no_write_is_larger_than_a_piece(tmp_path: Path, written: list[int], name: str, size: int) -> None:
    frames = [np.random.default_rng(k).integers(1, 255, size, "u1") for k in range(3)]
    file = File.create(tmp_path / "file")
    call(file, name, frames, 7)
    assert file.read_at(3 * size, 7) == b"".join(frame.tobytes() for frame in frames)
    assert max(written) <= WRITE_BYTES
    assert sum(written) == 3 * size  # nothing is written twice
    file.close()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_the_bytes_are_those_of_the_frames(tmp_path: Path, name: str, size: int) -> None:
    frames = [np.random.default_rng(k).integers(1, 255, size, "u1") for k in range(2)]
    file = File.create(tmp_path / "file")
    call(file, name, frames, 4099)
    assert file.read_at(2 * size + 1, 4099) == frames[0].tobytes() + frames[1].tobytes()
    file.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("size", SIZES)
def test_a_scan_writes_a_large_frame_in_pieces(tmp_path: Path, size: int) -> None:
    frame = np.random.default_rng(0).integers(1, 255, size, "u1")
    with lys_storage.create(tmp_path / "a.npz", (3, size), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        scan[0] = frame
        before = writes_of_this_thread()
        scan[1] = frame
        writes = writes_of_this_thread() - before
        scan[2] = frame
    assert -(-size // WRITE_BYTES) == writes
    with lys_storage.open_wave(tmp_path / "a.npz", verify=True) as wave:
        assert all(np.array_equal(wave[k], frame) for k in range(3))


KINDS: list[Any] = ["f2", ">u2", "c8", "c16", "?", "M8[s]", "V9", "U5", [("a", "u1"), ("b", ">f4")]]


@pytest.mark.parametrize("dtype", KINDS, ids=str)
def test_large_frames_of_each_dtype_are_written(tmp_path: Path, dtype: Any) -> None:
    kind = np.dtype(dtype)
    count = 3 * WRITE_BYTES // kind.itemsize + 1
    raw = np.random.default_rng(0).integers(0, 2, count * kind.itemsize, "u1")
    frame = np.full(count, "ab", kind) if kind.kind == "U" else np.frombuffer(raw.tobytes(), kind)
    with lys_storage.create(tmp_path / "a.npz", (3, count), kind, grid_ndim=1) as scan:
        scan[0] = frame
        scan.update({(1,): frame, (2,): frame})
        scan[1] = frame  # a rewrite
    with lys_storage.open_wave(tmp_path / "a.npz", verify=True) as wave:
        assert all(wave.read(k).tobytes() == frame.tobytes() for k in range(3))


@pytest.mark.parametrize("code", [None, errno.ENOSPC, errno.EIO], ids=["Ctrl-C", "full", "broken"])
@pytest.mark.parametrize("rewrite", [False, True])
def test_a_write_that_ends_between_two_pieces_leaves_no_frame_or_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None, rewrite: bool
) -> None:
    size = 3 * WRITE_BYTES
    old, new = np.full(size, 5, "u1"), np.full(size, 6, "u1")
    real, calls = SYSTEM.pwrite, 0

    def write(fd: int, data: Any, offset: int) -> int:
        nonlocal calls
        if memoryview(data).nbytes == size:
            return 0  # of the compiled part: Python tries again, in pieces
        calls += 1
        if calls == 2:
            raise KeyboardInterrupt if code is None else OSError(code, os.strerror(code))
        return real(fd, data, offset)

    scan = lys_storage.create(tmp_path / "a.npz", (3, size), "u1", grid_ndim=1, flush_interval_s=None, fill_value=9)
    scan[0] = old
    if rewrite:
        scan[1] = old
        scan.flush()
    monkeypatch.setattr(SYSTEM, "pwrite", write)
    with pytest.raises((KeyboardInterrupt, lys_storage.StorageOSError)):
        scan[1] = new
    monkeypatch.setattr(SYSTEM, "pwrite", real)
    assert calls >= 2
    scan[2] = new
    scan.close()
    with lys_storage.open_wave(tmp_path / "a.npz", verify=True) as wave:
        assert wave.written.tolist() == [True, rewrite, True]
        assert [np.unique(wave[k]).tolist() for k in (0, 2)] == [[5], [6]]
        assert np.unique(wave[1]).tolist() in ([[5], [6]] if rewrite else [[9]])


def writes_of_this_thread() -> int:
    return int(Path("/proc/thread-self/io").read_text().partition("syscw: ")[2].split()[0])
