"""Who waits for the disk while frames still come: flushes that hold nobody up, and what is written in between."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import WRITES_BACK, File
from lys_storage.disk import syscalls as syscalls_module
from lys_storage.disk.syscalls import libc_call
from lys_storage.export import finalization as finalization_module
from lys_storage.export.array_crc import array_crc32
from lys_storage.journal import BLOCK_CHECKSUMMED, CHECKSUMMED
from lys_storage.scan import checksum_thread as checksum_thread_module
from lys_storage.scan import flush_thread as flush_thread_module
from lys_storage.scan.checksum_thread import checksum_batch_bytes
from lys_storage.scan.flush_thread import FlushThread
from tests.helpers import DEADLINE_S, assert_same_array, wait_until

writes_back = pytest.mark.skipif(not WRITES_BACK, reason="only Linux can be told to begin to write")

FRAME = 1 << 20
WHOLE = 1 << 21


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Ranges of bytes that the kernel was told to write, from the first moment on."""
    ranges: list[tuple[int, int]] = []
    monkeypatch.setattr(flush_thread_module, "AFTER_S", 0.0)
    monkeypatch.setattr(File, "begin_write_back", lambda self, at, size: ranges.append((at, at + size)))
    return ranges


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Spans of frames that the follower has told of; each once all has been done about it."""
    spans: list[tuple[int, int]] = []
    frames_checked = FlushThread.frames_checked

    def tell(self: FlushThread, span: tuple[int, int], came: int) -> None:
        frames_checked(self, span, came)
        spans.append(span)

    monkeypatch.setattr(FlushThread, "frames_checked", tell)
    return spans


@pytest.fixture
def scan(tmp_path: Path) -> Iterator[lys_storage.Scan]:
    with lys_storage.create(tmp_path / "data.npz", (96, FRAME), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        yield scan


def threads() -> list[str]:
    """Of any scan of this process."""
    gc.collect()
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lys_storage")]


@writes_back
def test_what_has_come_in_order_is_written_back_up_to_the_piece_that_is_being_filled(
    scan: lys_storage.Scan, begun: list[tuple[int, int]]
) -> None:
    frame = np.ones(FRAME, "u1")
    offset = scan._store.table.array_offset
    for number in range(40):
        scan[number] = frame
        if number % 16 == 15:
            least = offset + (number + 1) * FRAME - checksum_batch_bytes(FRAME) - WHOLE
            assert wait_until(lambda least=least: begun and begun[-1][1] > least), begun
    begun = list(begun)
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
    time.sleep(0.05)
    assert begun == []


def test_a_burst_is_over_before_anything_is_written_back(
    scan: lys_storage.Scan, told: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    monkeypatch.setattr(flush_thread_module, "AFTER_S", DEADLINE_S)
    monkeypatch.setattr(File, "begin_write_back", lambda self, at, size: begun.append(at))
    frame = np.ones(FRAME, "u1")
    for number in range(96):
        scan[number] = frame
    assert wait_until(lambda: told)
    scan.close()
    assert wait_until(lambda: not threads())
    assert begun == []


@writes_back
def test_after_a_burst_it_is_written_back_though_nothing_more_comes(
    scan: lys_storage.Scan, begun: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush_thread_module, "AFTER_S", 0.3)
    for number in range(96):
        scan[number] = np.ones(FRAME, "u1")
    assert wait_until(lambda: sum(stop - first for first, stop in begun) >= 90 * FRAME)


@writes_back
def test_its_thread_ends_with_the_scan_that_is_kept_in_progress(
    scan: lys_storage.Scan, begun: list[tuple[int, int]]
) -> None:
    for number in range(32):
        scan[number] = np.ones(FRAME, "u1")
    assert wait_until(lambda: begun)
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


def refuse_threads(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    start = threading.Thread.start

    def refused(self: threading.Thread) -> None:
        if self.name == name:
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refused)


def test_where_no_thread_can_be_begun_that_takes_checksums_flushes_take_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checksum_thread_module, "AGAIN_S", 0.0)
    frames = np.random.default_rng(0).integers(0, 255, (40, FRAME), "u1")
    with lys_storage.create(tmp_path / "a.npz", frames.shape, "u1", grid_ndim=1, flush_interval_s=0.1) as scan:
        with monkeypatch.context() as patch:
            refuse_threads(patch, "lys_storage follower")
            for number in range(20):
                scan[number] = frames[number]
            assert wait_until(lambda: scan._store.journal.states.of(0, 20) == bytes((CHECKSUMMED,)) * 20)
        assert "can't start new thread" in caplog.text
        for number in range(20, 40):
            scan[number] = frames[number]
        assert wait_until(lambda: "lys_storage follower" in threads())  # one can be begun again
    with lys_storage.open_wave(scan.path, check=True) as wave:
        assert_same_array(wave.data, frames)


def test_a_thread_that_cannot_be_begun_is_not_asked_for_with_each_frame(
    scan: lys_storage.Scan, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refuse_threads(monkeypatch, "lys_storage follower")
    monkeypatch.setattr(checksum_thread_module, "AGAIN_S", 60.0)
    for number in range(96):
        scan[number] = np.ones(FRAME, "u1")
    assert caplog.text.count("can't start new thread") == 1


@pytest.mark.parametrize("interval", [None, 0.0])
def test_where_nothing_is_to_be_flushed_by_it_a_thread_that_cannot_be_begun_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, interval: float | None
) -> None:
    refuse_threads(monkeypatch, "lys_storage to disk")
    with lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1, flush_interval_s=interval) as scan:
        for number in range(3):
            scan[number] = np.full(8, number + 1, "u1")
        if interval is not None:
            assert scan._store.journal.states.of(0, 3) == bytes((CHECKSUMMED,)) * 3
    assert caplog.text.count("can't start new thread") == 1
    with lys_storage.open_wave(scan.path, check=True) as wave:
        assert wave.data[:, 0].tolist() == [1, 2, 3]


def test_an_interrupt_while_a_thread_begins_leaves_none_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        start(self)
        raise KeyboardInterrupt

    with lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1) as scan:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                scan[0] = np.full(8, 1, "u1")
        assert wait_until(lambda: "lys_storage to disk" not in threads())
        scan[1] = np.full(8, 2, "u1")
        assert "lys_storage to disk" in threads()
    with lys_storage.open_wave(scan.path, check=True) as wave:
        assert wave.data[:, 0].tolist() == [1, 2, 0]


def test_where_no_thread_can_be_begun_that_flushes_the_writer_is_told_and_the_frame_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1) as scan:
        with monkeypatch.context() as patch:
            refuse_threads(patch, "lys_storage to disk")
            for number in range(2):
                with pytest.raises(lys_storage.LysStorageError, match=r"can't start new thread.*once they are saved"):
                    scan[number] = np.full(8, number + 1, "u1")
        assert scan.frames_written == 2
        scan[2] = np.full(8, 3, "u1")
    with lys_storage.open_wave(scan.path, check=True) as wave:
        assert wave.data[:, 0].tolist() == [1, 2, 3]


def test_frames_without_a_checksum_are_not_written_back(
    tmp_path: Path, begun: list[tuple[int, int]], told: list[tuple[int, int]]
) -> None:
    """Small frames share one: those of a block that is not whole have none."""
    small = 1 << 12
    count = 3 * checksum_batch_bytes(small) // small
    with lys_storage.create(tmp_path / "small.npz", (count, small), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        rows = np.ones(
            (checksum_batch_bytes(small) // small + 100, small), "u1"
        )  # in one call, so the follower checks once
        scan[1 : 1 + len(rows)] = rows  # frame 0, and so the first block, lacks one
        assert wait_until(lambda: told)
        assert scan._store.table.dirty[0] == 1
        assert (scan._workers._flush_thread._bytes, begun) == ((0, 0), [])


@pytest.mark.parametrize("call", ["fails", "is missing", "is there"])
def test_the_export_is_the_same_whatever_becomes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(flush_thread_module, "AFTER_S", 0.0)
    libc = libc_call
    fails = {"fails": lambda *a: -1, "is missing": None, "is there": libc("sync_file_range")}[call]
    monkeypatch.setattr(syscalls_module, "libc_call", lambda name: fails if name == "sync_file_range" else libc(name))
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
def test_what_came_last_and_was_checked_first_is_written_back_after_what_came_before(
    tmp_path: Path, begun: list[tuple[int, int]]
) -> None:
    """Between them are frames without a checksum."""
    with lys_storage.create(tmp_path / "data.npz", (40, FRAME), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        part, to_disk = scan._store, FlushThread(scan._store, None, pytest.fail)
        for number in range(40):
            part.table.wake_at_bytes = 1 << 62
            part.table.write_one(part.table.layout, number, np.ones(FRAME, "u1"))
        try:
            to_disk.frames_checked(*part.checksum_batch(16 * FRAME))
            assert part.table.dirty_backlog == [(0, 24)]
            assert to_disk._bytes == (0, 0)
            to_disk.frames_checked(*part.checksum_batch(16 * FRAME))
            assert wait_until(lambda: sum(stop - first for first, stop in begun) >= 40 * FRAME - WHOLE)
        finally:
            to_disk.stop(wait=True)
            to_disk.join()


# -- flushes that hold nobody up ---------------------------------------------------------------------------------------


class SlowDisk:
    """A disk whose syncs of scan files wait until they are let go; one of them fails with `error`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.under_way, self.let_go = threading.Event(), threading.Event()
        self.error: lys_storage.LysStorageError | None = None
        self._sync = File.sync
        monkeypatch.setattr(File, "sync", lambda file: self.sync(file))

    def sync(self, file: File) -> None:
        if file.path.name.endswith(".part"):
            self.under_way.set()
            assert self.let_go.wait(DEADLINE_S)
            error, self.error = self.error, None
            if error is not None:
                raise error
        self._sync(file)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDisk]:
    disk = SlowDisk(monkeypatch)
    yield disk
    disk.let_go.set()


@pytest.mark.parametrize("size", [FRAME, 1 << 13], ids=["frames that stand alone", "in blocks"])
def test_while_a_flush_waits_for_the_disk_frames_come_and_get_their_checksums(
    tmp_path: Path, disk: SlowDisk, size: int
) -> None:
    count = 3 * checksum_batch_bytes(size) // size
    with lys_storage.create(tmp_path / "a.npz", (count + 1, size), "u1", grid_ndim=1, flush_interval_s=0.01) as scan:
        scan[count] = np.ones(size, "u1")
        assert disk.under_way.wait(DEADLINE_S)
        for number in range(count):
            scan[number] = np.full(size, number % 250, "u1")
        assert wait_until(
            lambda: sum(m in (CHECKSUMMED, BLOCK_CHECKSUMMED) for m in scan._store.table.state_bytes) > count // 2
        )
        disk.let_go.set()
    with lys_storage.open_wave(scan.path, check=True) as wave:
        assert wave.data[:count, 0].tolist() == [number % 250 for number in range(count)]


@writes_back
def test_during_a_flush_nothing_is_written_back_which_it_would_have_to_wait_for(
    tmp_path: Path, disk: SlowDisk, begun: list[tuple[int, int]]
) -> None:
    with lys_storage.create(tmp_path / "a.npz", (41, FRAME), "u1", grid_ndim=1, flush_interval_s=0.01) as scan:
        scan[40] = np.ones(FRAME, "u1")
        assert disk.under_way.wait(DEADLINE_S)
        for number in range(40):
            scan[number] = np.ones(FRAME, "u1")
        assert wait_until(lambda: sum(mark == CHECKSUMMED for mark in scan._store.table.state_bytes) > 30)
        assert begun == []
        scan._workers._flush_thread._interval = 60.0
        disk.let_go.set()
        assert wait_until(lambda: begun)


def test_frames_that_come_during_a_flush_are_flushed_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: SlowDisk
) -> None:
    flushes: list[bytes] = []
    with lys_storage.create(tmp_path / "a.npz", (3, 1 << 16), "u1", grid_ndim=1, flush_interval_s=0.01) as scan:
        journal, sync = scan._store.journal, scan._store.journal.sync
        monkeypatch.setattr(journal, "sync", lambda: (flushes.append(journal.states.of(0, 3)), sync()))
        scan[0] = np.ones(1 << 16, "u1")
        assert disk.under_way.wait(DEADLINE_S)
        scan[1] = np.ones(1 << 16, "u1")
        disk.let_go.set()
        assert wait_until(lambda: len(flushes) >= 2)
        assert flushes[1][:2] == bytes((CHECKSUMMED, CHECKSUMMED))


@pytest.mark.parametrize("end", ["close", "suspend"])
def test_the_end_waits_for_a_flush_that_is_under_way(tmp_path: Path, disk: SlowDisk, end: str) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1, flush_interval_s=0.01)
    scan[0] = np.ones(8, "u1")
    assert disk.under_way.wait(DEADLINE_S)
    ending = threading.Thread(target=getattr(scan, end))
    ending.start()
    time.sleep(0.1)
    assert ending.is_alive()
    assert (scan.path.exists(), scan.part_path.exists()) == (False, True)
    disk.let_go.set()
    ending.join(DEADLINE_S)
    assert not ending.is_alive()
    assert wait_until(lambda: not threads())
    assert scan.path.exists() == (end == "close")


def test_a_flush_that_fails_while_the_scan_ends_is_made_good_by_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: SlowDisk
) -> None:
    """What that sync could have lost is written again, and the next sync is the one that counts."""
    told: list[lys_storage.LysStorageError] = []
    scan = lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1, flush_interval_s=0.01)
    scan._failed = told.append
    scan[0] = np.ones(8, "u1")
    assert disk.under_way.wait(DEADLINE_S)
    written: list[int] = []
    write_at = scan._store.file.write_at
    monkeypatch.setattr(scan._store.file, "write_at", lambda data, at: (written.append(at), write_at(data, at)))
    ending = threading.Thread(target=scan.close)
    ending.start()
    disk.error = lys_storage.StorageOSError(errno.EIO, "injected", str(scan.part_path))
    disk.let_go.set()
    ending.join(DEADLINE_S)
    assert len(told) == 1
    assert scan._store.table.array_offset in written
    with lys_storage.open_wave(scan.path, check=True) as wave:
        assert wave.data[:, 0].tolist() == [1, 0, 0]


def test_who_is_told_of_a_failed_flush_may_ask_the_scan_while_another_thread_ends_it(
    tmp_path: Path, disk: SlowDisk
) -> None:
    """It takes the scan's locks, and the end waits for the thread that it is told in: holding none of them."""
    asked: list[int] = []
    scan = lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1, flush_interval_s=0.01)
    scan._failed = lambda error: asked.append(len(list(scan.missing())))
    scan[0] = np.ones(8, "u1")
    assert disk.under_way.wait(DEADLINE_S)
    ending = threading.Thread(target=scan.suspend)
    ending.start()
    disk.error = lys_storage.StorageOSError(errno.EIO, "injected", str(scan.part_path))
    disk.let_go.set()
    ending.join(DEADLINE_S)
    assert not ending.is_alive()
    assert asked == [2]


def test_nobody_else_flushes_while_a_scan_is_finalized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a flush in between, a frame that a failed sync has lost would go missing behind the checksum of the whole."""
    scan = lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1, flush_interval_s=None)
    scan[0] = np.ones(8, "u1")
    during: list[threading.Thread] = []
    ended: list[bool] = []

    def flush() -> None:
        with contextlib.suppress(lys_storage.ScanClosedError):
            scan._store.flush()
        ended.append(True)

    real = array_crc32

    def array_crc(part: Any, frames: int) -> int:
        during.append(threading.Thread(target=flush))
        during[0].start()
        during[0].join(0.2)
        assert ended == []
        return real(part, frames)

    monkeypatch.setattr(finalization_module, "array_crc32", array_crc)
    scan.close()
    during[0].join(DEADLINE_S)
    assert ended == [True]


def test_a_layout_changes_after_a_flush_that_is_under_way(tmp_path: Path, disk: SlowDisk) -> None:
    with lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        flushing = threading.Thread(target=scan.flush)
        flushing.start()
        assert disk.under_way.wait(DEADLINE_S)
        journal = scan._store.journal
        changing = threading.Thread(target=scan.change_dtype, args=("f8", 0.0))
        changing.start()
        time.sleep(0.1)
        assert (changing.is_alive(), scan._store.journal) == (True, journal)
        disk.let_go.set()
        for thread in (flushing, changing):
            thread.join(DEADLINE_S)
        assert scan.dtype == "f8"
        assert scan._store.journal is not journal
        scan[1] = np.full(8, 2.5)
    with lys_storage.open_wave(scan.path, check=True) as wave:
        assert wave.data[:, 0].tolist() == [0, 2.5, 0]


def test_a_flush_that_is_due_does_not_wait_for_all_that_is_to_be_written_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(flush_thread_module, "AFTER_S", 0.0)
    monkeypatch.setattr(flush_thread_module, "_PIECE", WHOLE)
    monkeypatch.setattr(flush_thread_module, "WRITES_BACK", True)
    monkeypatch.setattr(File, "begin_write_back", lambda *args: (time.sleep(0.02), done.append("piece")))
    with lys_storage.create(tmp_path / "a.npz", (80, FRAME), "u1", grid_ndim=1, flush_interval_s=0.2) as scan:
        flush = scan._store.flush
        monkeypatch.setattr(scan._store, "flush", lambda: (done.append("flush"), flush()))
        for number in range(80):
            scan[number] = np.ones(FRAME, "u1")
        assert wait_until(lambda: done.count("piece") >= 30)
        assert done.index("flush") <= 15


@pytest.mark.parametrize("interval", [0.0, 0.05])
def test_a_flush_that_fails_rests_before_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: float
) -> None:
    monkeypatch.setattr(flush_thread_module, "AGAIN_S", 0.06)
    times: list[float] = []
    scan = lys_storage.create(tmp_path / "a.npz", (100, 8), "u1", grid_ndim=1, flush_interval_s=interval)
    scan._writer._flush_each_write = False
    with monkeypatch.context() as patch:

        def flush() -> None:
            times.append(time.monotonic())
            raise lys_storage.StorageOSError(errno.EIO, "injected", "x")

        patch.setattr(scan._store, "flush", flush)
        for number in range(100):
            scan[number] = np.ones(8, "u1")
            time.sleep(0.002)
        assert wait_until(lambda: len(times) >= 4)
    assert np.diff(times).min() >= 0.06
    scan.close()


def test_no_flush_begins_after_the_end_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1, flush_interval_s=0.01)
    flushes: list[int] = []
    flush = scan._store.flush
    monkeypatch.setattr(scan._store, "flush", lambda: (flushes.append(1), flush()))
    scan[0] = np.ones(8, "u1")
    assert wait_until(lambda: flushes)
    follower = scan._workers
    assert follower is not None
    with follower._to_disk._flushing:
        flushes.clear()
        scan[1] = np.ones(8, "u1")
        time.sleep(0.1)  # it is due, and waits
        follower.stop(wait=False)
    follower.let_go()
    assert flushes == []
    scan.suspend()


def test_writers_that_come_together_begin_one_thread_that_takes_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    start = threading.Thread.start

    def slow(self: threading.Thread) -> None:
        begun.append(self.name)
        start(self)
        if self.name == "lys_storage follower":
            time.sleep(0.3)

    scan = lys_storage.create(tmp_path / "a.npz", (40, FRAME), "u1", grid_ndim=1, flush_interval_s=None)
    monkeypatch.setattr(threading.Thread, "start", slow)

    def write(first: int) -> None:
        for number in range(first, first + 20):
            scan[number] = np.ones(FRAME, "u1")
            time.sleep(0.005)

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 20)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join(DEADLINE_S)
    assert begun.count("lys_storage follower") == 1
    scan.close()


def test_what_a_failed_sync_may_have_lost_is_written_again_after_the_checksums_that_are_being_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame whose checksum is being taken would be passed over."""
    scan = lys_storage.create(tmp_path / "a.npz", (9, FRAME), "u1", grid_ndim=1, flush_interval_s=None)
    part = scan._store
    for number in range(8):  # the last one would be told of
        part.table.wake_at_bytes = 1 << 62
        scan[number] = np.full(FRAME, number + 1, "u1")
    part.journal.file_sync_failed = True
    part.table.checksum_run, under_way, let_go = None, threading.Event(), threading.Event()
    sums = part._checksummer.sums

    def slow(*args: Any) -> Any:
        under_way.set()
        assert let_go.wait(DEADLINE_S)
        return sums(*args)

    monkeypatch.setattr(part, "sums", slow)
    written: list[int] = []
    write_at = part.file.write_at
    monkeypatch.setattr(part.file, "write_at", lambda data, at: (written.append(at), write_at(data, at)))
    checking = threading.Thread(target=part.checksum_batch, args=(8 * FRAME,))
    checking.start()
    assert under_way.wait(DEADLINE_S)
    syncing = threading.Thread(target=part.sync_file)
    syncing.start()
    time.sleep(0.1)
    assert syncing.is_alive()
    let_go.set()
    for thread in (checking, syncing):
        thread.join(DEADLINE_S)
    assert {part.table.array_offset + number * FRAME for number in range(8)} <= set(written)
    scan.close()


def test_a_flush_takes_its_checksums_before_whoever_follows_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that one thread lets go and takes again at once is one that another may wait for, for ever."""
    scan = lys_storage.create(tmp_path / "a.npz", (2, 8), "u1", grid_ndim=1, flush_interval_s=None)
    part, turns = scan._store, []
    has_turn, let_go, ended = threading.Event(), threading.Event(), threading.Event()
    settle_rewrites = part._rewriter.retry_pending

    def settle() -> None:
        """What each does first when it has its turn."""
        turns.append(threading.current_thread().name)
        if len(turns) == 1:
            has_turn.set()
            assert let_go.wait(DEADLINE_S)
        settle_rewrites()

    def follow() -> None:
        while not ended.is_set():
            part.checksum_batch(1)

    monkeypatch.setattr(part, "settle_rewrites", settle)
    following = threading.Thread(target=follow, name="follows")
    flushing = threading.Thread(target=part.checksum_dirty, name="flushes")
    try:
        following.start()
        assert has_turn.wait(DEADLINE_S)
        flushing.start()
        assert wait_until(part._checksummer.flush_priority.locked)  # it waits for its turn
        let_go.set()
        flushing.join(DEADLINE_S)
    finally:
        let_go.set()
        ended.set()
        following.join(DEADLINE_S)
    assert turns[:2] == ["follows", "flushes"]
    assert turns.count("flushes") == 1
    scan.suspend()


def test_both_threads_may_be_told_of_a_failure_and_end_the_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    both = threading.Barrier(2)
    scan = lys_storage.create(tmp_path / "a.npz", (40, FRAME), "u1", grid_ndim=1, flush_interval_s=0.01)

    def failed(error: lys_storage.LysStorageError) -> None:
        both.wait(DEADLINE_S)
        with contextlib.suppress(lys_storage.LysStorageError):
            scan.suspend()
        told.append(threading.current_thread().name)

    scan._failed = failed
    real = scan._store._rewriter.retry_pending

    def settle() -> None:
        if threading.current_thread().name.startswith("lys_storage") and len(told) < 2:
            raise lys_storage.StorageOSError(errno.EIO, "injected", "x")
        real()

    monkeypatch.setattr(scan._store, "settle_rewrites", settle)
    with contextlib.suppress(lys_storage.ScanClosedError):
        for number in range(40):
            scan[number] = np.ones(FRAME, "u1")
    assert wait_until(lambda: len(told) == 2)
    assert sorted(told) == ["lys_storage follower", "lys_storage to disk"]
    assert wait_until(lambda: not threads())
    assert scan.closed
    lys_storage.resume(scan.path).suspend()


def test_whoever_is_told_and_fails_ends_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(flush_thread_module, "AGAIN_S", 0.05)
    scan = lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1, flush_interval_s=0.01)

    def failed(error: lys_storage.LysStorageError) -> None:
        raise ZeroDivisionError

    scan._failed = failed
    with monkeypatch.context() as patch:
        patch.setattr(scan._store, "flush", lambda: 1 / 0)
        scan[0] = np.ones(8, "u1")
        assert wait_until(lambda: "whoever is told" in caplog.text)
    assert wait_until(lambda: scan._store.table.state_bytes[0] == CHECKSUMMED)
    scan.close()


@pytest.mark.parametrize(
    ("size", "interval"),
    [pytest.param(FRAME, None, id="who takes checksums"), pytest.param(8, 0.05, id="who flushes")],
)
def test_after_an_interrupt_while_a_thread_is_woken_it_is_woken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, interval: float | None
) -> None:
    """Between the flag and the notice: from then on it would be taken for woken."""
    scan = lys_storage.create(tmp_path / "a.npz", (96, size), "u1", grid_ndim=1, flush_interval_s=interval)
    for number in range(8):
        scan[number] = np.ones(size, "u1")
    assert wait_until(lambda: scan._store.table.state_bytes[0] == CHECKSUMMED)
    time.sleep(0.2)  # both threads wait
    follower = scan._workers
    assert follower is not None
    wake = follower._wake if interval is None else follower._to_disk._wake
    real, interrupts = wake.set, []

    def interrupted() -> None:
        monkeypatch.setattr(wake, "set", real)
        vars(wake)["_flag"] = True
        raise KeyboardInterrupt

    monkeypatch.setattr(wake, "set", interrupted)
    for number in range(8, 20):
        try:
            scan[number] = np.ones(size, "u1")
        except KeyboardInterrupt:
            interrupts.append(number)
    assert len(interrupts) == 1
    assert wait_until(lambda: scan._store.journal.states.of(8, 16) == bytes((CHECKSUMMED,)) * 8)
    scan.close()
