"""Write-back between flushes: the kernel writes frames with a checksum, in order, without delaying a flush."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import WRITES_BACK, File
from lys_storage.disk import syscalls as syscalls_module
from lys_storage.disk.syscalls import libc_call
from lys_storage.journal import CHECKSUMMED
from lys_storage.scan import checksum_thread as checksum_thread_module
from lys_storage.scan import flush_thread as flush_thread_module
from lys_storage.scan.checksum_thread import checksum_batch_bytes
from lys_storage.scan.flush_thread import FlushThread
from lys_storage.store import ScanStore
from tests.helpers import DEADLINE_S, assert_same_array, wait_until
from tests.scan.background import FRAME, SlowDisk, threads

writes_back = pytest.mark.skipif(not WRITES_BACK, reason="only Linux can be told to begin to write")

WHOLE = 1 << 21


@pytest.fixture
def written_back(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Byte ranges that the kernel was told to write. Write-back starts immediately."""
    ranges: list[tuple[int, int]] = []
    monkeypatch.setattr(flush_thread_module, "AFTER_S", 0.0)
    monkeypatch.setattr(File, "begin_write_back", lambda self, at, size: ranges.append((at, at + size)))
    return ranges


@pytest.fixture
def checksummed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Spans of frames that the checksum thread has reported; each is added after its handling is complete."""
    spans: list[tuple[int, int]] = []
    real = FlushThread.notify_checksummed

    def notify_checksummed(self: FlushThread, span: tuple[int, int], came: int) -> None:
        real(self, span, came)
        spans.append(span)

    monkeypatch.setattr(FlushThread, "notify_checksummed", notify_checksummed)
    return spans


@pytest.fixture
def scan(tmp_path: Path) -> Iterator[lys_storage.Scan]:
    with lys_storage.create(tmp_path / "data.npz", (96, FRAME), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        yield scan


@writes_back
def test_what_has_come_in_order_is_written_back_up_to_the_piece_that_is_being_filled(
    scan: lys_storage.Scan, written_back: list[tuple[int, int]]
) -> None:
    frame = np.ones(FRAME, "u1")
    offset = scan.array.offset
    for number in range(40):
        scan[number] = frame
        if number % 16 == 15:
            least = offset + (number + 1) * FRAME - checksum_batch_bytes(FRAME) - WHOLE
            assert wait_until(lambda least=least: written_back and written_back[-1][1] > least), written_back
    ranges = list(written_back)
    assert all(first % WHOLE == stop % WHOLE == 0 and stop <= offset + 40 * FRAME for first, stop in ranges)
    covered = np.zeros(offset + 40 * FRAME, bool)
    for first, stop in ranges:
        covered[first:stop] = True
    assert covered[offset : ranges[-1][1]].all()


@pytest.mark.usefixtures("no_early_checksums")
def test_frames_that_come_far_apart_are_left_to_the_kernel(
    scan: lys_storage.Scan, written_back: list[tuple[int, int]], checksummed: list[tuple[int, int]]
) -> None:
    """Each batch has several frames, because a frame that is checksummed alone has no neighbour and is written back."""
    frame = np.ones(FRAME, "u1")
    for number in range(0, 96, 5):
        scan[number] = frame
    assert wait_until(lambda: checksummed)
    time.sleep(0.05)
    assert written_back == []


def test_a_burst_is_over_before_anything_is_written_back(
    scan: lys_storage.Scan,
    written_back: list[tuple[int, int]],
    checksummed: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(flush_thread_module, "AFTER_S", DEADLINE_S)
    frame = np.ones(FRAME, "u1")
    for number in range(96):
        scan[number] = frame
    assert wait_until(lambda: checksummed)
    scan.close()
    assert wait_until(lambda: not threads())
    assert written_back == []


@writes_back
def test_after_a_burst_it_is_written_back_though_nothing_more_comes(
    scan: lys_storage.Scan, written_back: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush_thread_module, "AFTER_S", 0.5)
    frame = np.ones(FRAME, "u1")
    for number in range(32):
        scan[number] = frame
    assert wait_until(lambda: sum(stop - first for first, stop in written_back) >= 26 * FRAME)


@writes_back
def test_its_thread_ends_with_the_scan_that_is_kept_in_progress(
    scan: lys_storage.Scan, written_back: list[tuple[int, int]]
) -> None:
    for number in range(32):
        scan[number] = np.ones(FRAME, "u1")
    assert wait_until(lambda: written_back)
    scan.suspend()
    assert wait_until(lambda: not threads())


@writes_back
def test_a_scan_that_is_kept_in_progress_can_be_taken_over_at_once(
    scan: lys_storage.Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call on a file keeps it open, and locked, until it returns."""
    under_way, ended = threading.Event(), threading.Event()

    def slowly(self: File, at: int, size: int) -> None:
        under_way.set()
        time.sleep(0.3)
        ended.set()

    monkeypatch.setattr(flush_thread_module, "AFTER_S", 0.0)
    monkeypatch.setattr(File, "begin_write_back", slowly)
    for number in range(32):
        scan[number] = np.ones(FRAME, "u1")
    assert under_way.wait(DEADLINE_S)
    scan.suspend()
    assert ended.is_set()
    lys_storage.resume(scan.path).suspend()


def test_frames_without_a_checksum_are_not_written_back(
    tmp_path: Path,
    written_back: list[tuple[int, int]],
    checksummed: list[tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Small frames share a checksum: frames of an incomplete block have none at first."""
    monkeypatch.setattr(checksum_thread_module, "LATEST_S", 3600.0)
    small = 1 << 12
    batch = checksum_batch_bytes(small) // small
    with lys_storage.create(
        tmp_path / "small.npz", (3 * batch, small), "u1", grid_ndim=1, flush_interval_s=None
    ) as scan:
        rows = np.ones((batch + 100, small), "u1")  # one call: one batch for the checksum thread
        scan[1 : 1 + len(rows)] = rows  # frame 0 is missing, so that the first block is incomplete
        assert wait_until(lambda: checksummed)
        assert scan._store.table.dirty[0] == 1
        first, stop = scan._workers._flush_thread._bytes
        assert (first >= stop, written_back) == (True, [])


@pytest.mark.parametrize("call", ["fails", "is missing", "is there"])
def test_the_export_is_the_same_whatever_becomes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(flush_thread_module, "AFTER_S", 0.0)
    fails = {"fails": lambda *a: -1, "is missing": None, "is there": libc_call("sync_file_range")}[call]
    monkeypatch.setattr(
        syscalls_module, "libc_call", lambda name: fails if name == "sync_file_range" else libc_call(name)
    )
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
    file = File.create(tmp_path / "file")
    file.close()
    with caplog.at_level("DEBUG", "lys_storage"):
        file.begin_write_back(0, WHOLE)
    if libc_call("sync_file_range") is not None:
        assert os.strerror(errno.EBADF) in caplog.text


@writes_back
def test_what_came_last_and_was_checksummed_first_is_written_back_after_what_came_before(
    tmp_path: Path, written_back: list[tuple[int, int]]
) -> None:
    """Frames without a checksum separate them."""
    with lys_storage.create(tmp_path / "data.npz", (40, FRAME), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        store = scan._store
        flush_thread = FlushThread(store, None, pytest.fail)
        for number in range(40):
            assert store.table.write_one(store.layout, number, np.ones(FRAME, "u1"))
        try:
            flush_thread.notify_checksummed(*store.checksum_batch(16 * FRAME))
            assert store.table.dirty_backlog == [(0, 24)]
            assert flush_thread._bytes == (0, 0)
            flush_thread.notify_checksummed(*store.checksum_batch(16 * FRAME))
            assert wait_until(lambda: sum(stop - first for first, stop in written_back) >= 40 * FRAME - WHOLE)
        finally:
            flush_thread.stop(wait=True)
            flush_thread.join()


# -- beside flushes ----------------------------------------------------------------------------------------------------


@writes_back
def test_during_a_flush_nothing_is_written_back_which_it_would_have_to_wait_for(
    tmp_path: Path, disk: SlowDisk, written_back: list[tuple[int, int]]
) -> None:
    with lys_storage.create(tmp_path / "a.npz", (41, FRAME), "u1", grid_ndim=1, flush_interval_s=0.01) as scan:
        scan[40] = np.ones(FRAME, "u1")
        assert disk.under_way.wait(DEADLINE_S)
        for number in range(40):
            scan[number] = np.ones(FRAME, "u1")
        assert wait_until(lambda: scan._store.journal.states.of(0, 41).count(CHECKSUMMED) > 30)
        assert written_back == []
        scan._workers._flush_thread._interval = 60.0
        disk.let_go.set()
        assert wait_until(lambda: written_back)


def test_a_flush_that_is_due_does_not_wait_for_all_that_is_to_be_written_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    flush = ScanStore.flush
    monkeypatch.setattr(flush_thread_module, "AFTER_S", 0.0)
    monkeypatch.setattr(flush_thread_module, "_PIECE", WHOLE)
    monkeypatch.setattr(flush_thread_module, "WRITES_BACK", True)
    monkeypatch.setattr(File, "begin_write_back", lambda *args: (time.sleep(0.02), done.append("piece")))
    monkeypatch.setattr(ScanStore, "flush", lambda store: (done.append("flush"), flush(store)))
    with lys_storage.create(tmp_path / "a.npz", (80, FRAME), "u1", grid_ndim=1, flush_interval_s=0.2) as scan:
        for number in range(80):
            scan[number] = np.ones(FRAME, "u1")
        assert wait_until(lambda: done.count("piece") >= 30)
        assert done.index("flush") <= 15
