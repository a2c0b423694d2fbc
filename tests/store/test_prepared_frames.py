"""The first frame of a run of small frames is written with zeros for the others, which stay absent."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk.systems import SYSTEM
from lys_storage.journal import ABSENT, WRITTEN
from tests.helpers import DEADLINE_S, assert_same_array

RUN, FRAMES, SIZE = 8, 30, 4096


def value(number: int) -> Any:
    return np.full(SIZE, 1 + number, "u1")


def begin(folder: Path, *, compiled: bool = True, **options: Any) -> lys_storage.Scan:
    scan = lys_storage.create(folder / "a.npz", (FRAMES, SIZE), "u1", grid_ndim=1, flush_interval_s=None, **options)
    scan._store.table.prepare_frames = RUN
    if not compiled:
        scan._writer._write_fast = scan._writer.write_item_fast = None
    return scan


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(first frame, frames) of each write of a run."""
    found: list[tuple[int, int]] = []
    real = SYSTEM.pwritev

    def noted(fd: int, buffers: Any, offset: int) -> int:
        found.append(((offset - 4096) // SIZE, sum(memoryview(b).nbytes for b in buffers) // SIZE))
        return real(fd, buffers, offset)

    monkeypatch.setattr(SYSTEM, "pwritev", noted)
    return found


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("order", "runs"),
    [
        (range(FRAMES), [(0, 8), (8, 8), (16, 8), (24, 6)]),
        (range(FRAMES - 1, -1, -1), [(24, 6), (16, 8), (8, 8), (0, 8)][1:]),  # the last run has no neighbour behind
        ([*range(8), *range(15, 7, -1), *range(16, 24), *range(29, 23, -1)], [(0, 8), (16, 8)]),
        ([0, 20, 3, 29, 8, 16, 24, 12], [(0, 8)]),
    ],
    ids=["forwards", "backwards", "snake", "random"],
)
def test_frames_in_order_are_prepared(
    tmp_path: Path, calls: list[tuple[int, int]], compiled: bool, order: Any, runs: list[tuple[int, int]]
) -> None:
    scan = begin(tmp_path, compiled=compiled, fill_value=77)
    written = []
    for number in order:
        scan[number] = value(number)
        written.append(number)
        states = scan._store.journal.states.array
        assert set(np.flatnonzero(states != ABSENT)) == set(written)
    assert calls == runs
    scan.close()
    expected = np.full((FRAMES, SIZE), 77, "u1")
    for number in written:
        expected[number] = value(number)
    assert lys_storage.verify(scan.path) == []
    with lys_storage.open_wave(scan.path) as wave:
        assert_same_array(wave.data, expected)


@pytest.mark.parametrize("ends", ["killed", "suspended"])
def test_a_prepared_frame_that_did_not_come_is_missing(tmp_path: Path, ends: str) -> None:
    scan = begin(tmp_path, fill_value=77)
    for number in range(10):
        scan[number] = value(number)
    scan.suspend()
    (result,) = lys_storage.recover(tmp_path, verify=ends == "killed")
    assert (result.frames_written, result.frames_expected) == (10, FRAMES)
    with lys_storage.open_wave(tmp_path / "a.npz") as wave:
        assert_same_array(wave.data[:10], np.stack([value(k) for k in range(10)]))
        assert (wave.data[10:] == 77).all()


@pytest.mark.parametrize("fault", ["an error", "a short write", "no such call"])
def test_a_run_that_cannot_be_written_leaves_the_frame_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    real = SYSTEM.pwritev

    def failing(fd: int, buffers: Any, offset: int) -> int:
        if fault == "a short write":
            return real(fd, [memoryview(buffers[1])[:100]], offset)
        code = errno.ENOSYS if fault == "no such call" else errno.ENOSPC
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(SYSTEM, "pwritev", failing)
        scan = begin(tmp_path)
        for number in range(10):
            scan[number] = value(number)
    assert scan._store.journal.states.of(0, 11) == bytes([WRITTEN] * 10 + [ABSENT])
    scan.close()
    assert lys_storage.verify(scan.path) == []
    with lys_storage.open_wave(scan.path) as wave:
        assert_same_array(wave.data[:10], np.stack([value(k) for k in range(10)]))


def test_a_frame_of_another_thread_waits_until_its_run_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The zeros must not come over it."""
    real, begun, go_on = SYSTEM.pwritev, threading.Event(), threading.Event()

    def slow(fd: int, buffers: Any, offset: int) -> int:
        begun.set()
        assert go_on.wait(DEADLINE_S)
        return real(fd, buffers, offset)

    monkeypatch.setattr(SYSTEM, "pwritev", slow)
    scan = begin(tmp_path)
    first = threading.Thread(target=lambda: scan.write(0, value(0)))
    first.start()
    assert begun.wait(DEADLINE_S)
    second = threading.Thread(target=lambda: scan.write(5, value(5)))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    scan[20] = value(20)  # of another run
    go_on.set()
    for thread in (first, second):
        thread.join(DEADLINE_S)
    assert_same_array(scan.read(5), value(5))
    assert_same_array(scan.read(0), value(0))
    assert scan.frames_written == 3
    scan.suspend()


def test_an_interrupt_in_it_leaves_nothing_in_flight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> int:
        raise KeyboardInterrupt

    scan = begin(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(SYSTEM, "pwritev", interrupted)
        with pytest.raises(KeyboardInterrupt):
            scan[0] = value(0)
    assert scan._store.table.in_flight == []
    for number in range(FRAMES):
        scan[number] = value(number)
    scan.close()
    assert lys_storage.verify(scan.path) == []


def test_only_small_frames_of_large_scans_are_prepared(tmp_path: Path) -> None:
    for size, frames, prepared in ((8192, 8192, 16), (1 << 15, 2048, 0), (8192, 100, 0)):
        options = {"grid_ndim": 1, "flush_interval_s": None, "overwrite": True}
        with lys_storage.create(tmp_path / "a.npz", (frames, size), "u1", **options) as scan:
            scan[0] = np.ones(size, "u1")
            if not scan._store.write_behind.drops and prepared:
                pytest.skip("pages are not dropped on this file system")
            assert scan._store.table.prepare_frames == prepared
