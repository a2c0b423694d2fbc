"""Writing to the disk while frames still come: what is begun, when, and that nothing depends on it."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.core import _fs, _write_back
from lys_storage.core._follower import kick_bytes
from tests.core.helpers import DEADLINE_S, assert_same_array

pytestmark = pytest.mark.skipif(not _fs.WRITES_BACK, reason="only Linux can be told to begin to write")

FRAME = 1 << 20
WHOLE = 1 << 21


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Ranges of bytes that the kernel was told to write, from the first moment on."""
    ranges: list[tuple[int, int]] = []
    monkeypatch.setattr(_write_back, "AFTER_S", 0.0)
    monkeypatch.setattr(_fs.File, "begin_write_back", lambda self, at, size: ranges.append((at, at + size)))
    return ranges


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Spans of frames that the follower has told of; each once all has been done about it."""
    spans: list[tuple[int, int]] = []
    frames_came = _write_back.WriteBack.frames_came

    def tell(self: _write_back.WriteBack, part: Any, span: tuple[int, int], came: int) -> None:
        frames_came(self, part, span, came)
        spans.append(span)

    monkeypatch.setattr(_write_back.WriteBack, "frames_came", tell)
    return spans


@pytest.fixture
def scan(tmp_path: Path) -> Iterator[lys_storage.Scan]:
    with lys_storage.create(tmp_path / "data.npz", (96, FRAME), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        yield scan


def wait_until(condition: Callable[[], object]) -> bool:
    end = time.monotonic() + DEADLINE_S
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "write-back" in thread.name]


def test_what_has_come_in_order_is_written_back_up_to_the_piece_that_is_being_filled(
    scan: lys_storage.Scan, begun: list[tuple[int, int]]
) -> None:
    frame = np.ones(FRAME, "u1")
    offset = scan._part.array_offset
    for number in range(40):
        scan[number] = frame
        if number % 16 == 15:
            assert wait_until(
                lambda n=number: begun and begun[-1][1] >= offset + (n + 1) * FRAME - kick_bytes(FRAME)
            ), begun
    assert all(first % WHOLE == stop % WHOLE == 0 and stop <= offset + 40 * FRAME for first, stop in begun)
    covered = np.zeros(offset + 40 * FRAME, bool)
    for first, stop in begun:
        covered[first:stop] = True
    assert covered[offset : begun[-1][1]].all()


def test_frames_that_come_far_apart_are_left_to_the_kernel(
    scan: lys_storage.Scan, begun: list[tuple[int, int]], told: list[tuple[int, int]]
) -> None:
    frame = np.ones(FRAME, "u1")
    for number in range(0, 96, 5):
        scan[number] = frame
    assert wait_until(lambda: told)
    assert (begun, threads()) == ([], [])


def test_a_burst_is_over_before_anything_is_written_back(
    scan: lys_storage.Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(_write_back, "AFTER_S", DEADLINE_S)
    monkeypatch.setattr(_fs.File, "begin_write_back", lambda self, at, size: begun.append(at))
    frame = np.ones(FRAME, "u1")
    for number in range(96):
        scan[number] = frame
    assert wait_until(threads)
    scan.close()
    assert wait_until(lambda: not threads())
    assert begun == []


def test_its_thread_ends_with_the_scan_that_is_kept_in_progress(
    scan: lys_storage.Scan, begun: list[tuple[int, int]]
) -> None:
    for number in range(32):
        scan[number] = np.ones(FRAME, "u1")
    assert wait_until(lambda: begun)
    scan.suspend()
    assert wait_until(lambda: not threads())


def test_a_scan_that_is_kept_in_progress_can_be_taken_over_at_once(
    scan: lys_storage.Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call on a file keeps it open, and locked, until it returns."""
    under_way, ended = threading.Event(), threading.Event()

    def slowly(self: _fs.File, at: int, size: int) -> None:
        under_way.set()
        time.sleep(0.3)
        ended.set()

    monkeypatch.setattr(_write_back, "AFTER_S", 0.0)
    monkeypatch.setattr(_fs.File, "begin_write_back", slowly)
    for number in range(32):
        scan[number] = np.ones(FRAME, "u1")
    assert under_way.wait(DEADLINE_S)
    scan.suspend()
    assert ended.is_set()
    lys_storage.resume(scan.path).suspend()


def test_where_no_thread_can_be_made_the_scan_goes_on_without(
    scan: lys_storage.Scan,
    begun: list[tuple[int, int]],
    told: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scan[0] = np.ones(FRAME, "u1")  # the follower has a thread
    start = threading.Thread.start

    def refused(self: threading.Thread) -> None:
        if "write-back" in self.name:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refused)
    for number in range(1, 64):
        scan[number] = np.ones(FRAME, "u1")
    assert wait_until(lambda: told)
    assert (begun, scan._follower._write_back._file) == ([], None)


def test_frames_without_a_checksum_are_not_written_back(
    tmp_path: Path, begun: list[tuple[int, int]], told: list[tuple[int, int]]
) -> None:
    """Small frames share one: those of a block that is not whole have none."""
    small = 1 << 12
    count = 3 * kick_bytes(small) // small
    with lys_storage.create(tmp_path / "small.npz", (count, small), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        rows = np.ones((kick_bytes(small) // small + 100, small), "u1")  # in one call, so the follower checks once
        scan[1 : 1 + len(rows)] = rows  # frame 0, and so the first block, lacks one
        assert wait_until(lambda: told)
        assert scan._part.fresh[0] == 1
        assert begun == []


@pytest.mark.parametrize("call", ["fails", "is missing", "is there"])
def test_the_export_is_the_same_whatever_becomes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(_write_back, "AFTER_S", 0.0)
    libc = _fs._libc
    fails = {"fails": lambda *a: -1, "is missing": None, "is there": libc("sync_file_range")}[call]
    monkeypatch.setattr(_fs, "_libc", lambda name: fails if name == "sync_file_range" else libc(name))
    frames = np.random.default_rng(0).integers(0, 255, (40, FRAME), "u1")
    with lys_storage.create(tmp_path / "data.npz", frames.shape, "u1", grid_ndim=1) as scan:
        for number, frame in enumerate(frames):
            scan[number] = frame
    assert lys_storage.verify(scan.path) == []
    with lys_storage.open_wave(scan.path) as wave:
        assert_same_array(wave.data, frames)


def test_of_a_file_that_has_been_closed_it_is_told_in_the_log_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = _fs.File.create(tmp_path / "file")
    file.close()
    with caplog.at_level("DEBUG", "lys_storage"):
        file.begin_write_back(0, WHOLE)
    if _fs._libc("sync_file_range") is not None:
        assert os.strerror(errno.EBADF) in caplog.text


def test_what_came_last_and_was_checked_first_is_written_back_after_what_came_before(
    tmp_path: Path, begun: list[tuple[int, int]]
) -> None:
    """Between them are frames without a checksum."""
    with lys_storage.create(tmp_path / "data.npz", (40, FRAME), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        part, write_back = scan._part, _write_back.WriteBack()
        for number in range(40):
            part.tell_at = 1 << 62
            part.put_frame(part.form, number, np.ones(FRAME, "u1"))
        try:
            write_back.frames_came(part, *part.check_some(16 * FRAME))
            assert part.older == [(0, 24)]
            assert (write_back._thread, write_back._file) == (None, None)
            write_back.frames_came(part, *part.check_some(16 * FRAME))
            assert wait_until(lambda: sum(stop - first for first, stop in begun) >= 40 * FRAME - WHOLE)
        finally:
            write_back.stop()
            write_back.join()
