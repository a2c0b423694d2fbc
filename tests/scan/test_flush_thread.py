"""The flush thread blocks nobody, retries a failed flush, and the end of the scan waits for it."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import File
from lys_storage.export import finalization as finalization_module
from lys_storage.export.array_crc import array_crc32
from lys_storage.journal import CHECKSUMMED
from lys_storage.scan import flush_thread as flush_thread_module
from lys_storage.store import ScanStore
from tests.helpers import DEADLINE_S, wait_until
from tests.scan.background import FLUSH_THREAD, SlowDisk, begin_with_handler, threads

# -- beside the writer -------------------------------------------------------------------------------------------------


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
    with lys_storage.open_wave(scan.path, verify=True) as wave:
        assert wave.data[:, 0].tolist() == [0, 2.5, 0]


# -- a flush that fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [0.0, 0.05])
def test_a_flush_that_fails_rests_before_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: float
) -> None:
    """Only flushes of the flush thread count, not those of the writer after each frame."""
    monkeypatch.setattr(flush_thread_module, "AGAIN_S", 0.06)
    times: list[float] = []
    scan = lys_storage.create(tmp_path / "a.npz", (100, 8), "u1", grid_ndim=1, flush_interval_s=interval)
    with monkeypatch.context() as patch:

        def flush(store: ScanStore) -> None:
            if threading.current_thread().name == FLUSH_THREAD:
                times.append(time.monotonic())
                raise lys_storage.StorageOSError(errno.EIO, "injected", "x")

        patch.setattr(ScanStore, "flush", flush)
        for number in range(100):
            scan[number] = np.ones(8, "u1")
            time.sleep(0.002)
        assert wait_until(lambda: len(times) >= 4)
    assert np.diff(times).min() >= 0.06 - time.get_clock_info("monotonic").resolution
    scan.close()


def test_a_background_flush_that_fails_is_tried_again_also_where_no_more_frames_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame is durable after the flush interval, even if the detector sends no more frames."""
    monkeypatch.setattr(flush_thread_module, "AGAIN_S", 0.02)
    real, told, done = File.sync, [], threading.Event()

    def sync(self: File) -> None:
        if self.path.name.endswith(".part") and len(told) < 3:
            raise lys_storage.StorageOSError(errno.EIO, "injected", str(self.path))
        real(self)
        if self.path.name.endswith(".journal"):
            done.set()

    monkeypatch.setattr(File, "sync", sync)
    scan = begin_with_handler(tmp_path, (4, 8), told.append, flush_interval_s=0.01)
    scan[0] = np.arange(8, dtype="u1")
    assert done.wait(DEADLINE_S)
    assert [type(error) for error in told] == [lys_storage.StorageOSError] * 3
    scan.suspend()


# -- the end of the scan -----------------------------------------------------------------------------------------------


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
    """The frames that the failed sync may have lost are rewritten before the next sync."""
    told: list[lys_storage.LysStorageError] = []
    scan = begin_with_handler(tmp_path, (3, 8), told.append, flush_interval_s=0.01)
    offset = scan.array.offset
    scan[0] = np.ones(8, "u1")
    assert disk.under_way.wait(DEADLINE_S)
    written: list[tuple[int, int]] = []
    scan_file, write_at = scan._store.file, File.write_at

    def write(file: File, data: Any, at: int) -> None:
        if file is scan_file:
            written.append((at, at + len(data)))
        write_at(file, data, at)

    monkeypatch.setattr(File, "write_at", write)
    ending = threading.Thread(target=scan.close)
    ending.start()
    disk.error = lys_storage.StorageOSError(errno.EIO, "injected", str(scan.part_path))
    disk.let_go.set()
    ending.join(DEADLINE_S)
    assert len(told) == 1
    assert any(begin <= offset < stop for begin, stop in written)
    with lys_storage.open_wave(scan.path, verify=True) as wave:
        assert wave.data[:, 0].tolist() == [1, 0, 0]


def test_the_error_handler_of_a_failed_flush_may_ask_the_scan_while_another_thread_ends_it(
    tmp_path: Path, disk: SlowDisk
) -> None:
    """The handler takes the locks of the scan. The end waits for the handler's thread without holding them."""
    asked: list[int] = []
    scan = begin_with_handler(
        tmp_path, (3, 8), lambda error: asked.append(len(list(scan.missing()))), flush_interval_s=0.01
    )
    scan[0] = np.ones(8, "u1")
    assert disk.under_way.wait(DEADLINE_S)
    ending = threading.Thread(target=scan.suspend)
    ending.start()
    disk.error = lys_storage.StorageOSError(errno.EIO, "injected", str(scan.part_path))
    disk.let_go.set()
    ending.join(DEADLINE_S)
    assert not ending.is_alive()
    assert asked == [2]


def test_no_flush_begins_after_the_end_has_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushes: list[int] = []
    flush = ScanStore.flush
    monkeypatch.setattr(ScanStore, "flush", lambda store: (flushes.append(1), flush(store)))
    scan = lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1, flush_interval_s=0.01)
    scan[0] = np.ones(8, "u1")
    assert wait_until(lambda: flushes)
    workers = scan._workers
    with workers._flush_thread._flushing:
        flushes.clear()
        scan[1] = np.ones(8, "u1")
        time.sleep(0.1)  # it is due, and waits
        workers.stop(wait=False)
    workers.join_io()
    assert flushes == []
    scan.suspend()


def test_nobody_else_flushes_while_a_scan_is_finalized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush could mark a frame as missing after its bytes entered the checksum of the array."""
    scan = lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1, flush_interval_s=None)
    scan[0] = np.ones(8, "u1")
    during: list[threading.Thread] = []
    ended: list[bool] = []

    def flush() -> None:
        with contextlib.suppress(lys_storage.ScanClosedError):
            scan.flush()
        ended.append(True)

    def array_crc(store: ScanStore, frames: int) -> int:
        during.append(threading.Thread(target=flush))
        during[0].start()
        during[0].join(0.2)
        assert ended == []
        return array_crc32(store, frames)

    monkeypatch.setattr(finalization_module, "array_crc32", array_crc)
    scan.close()
    during[0].join(DEADLINE_S)
    assert ended == [True]
