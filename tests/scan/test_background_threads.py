"""Both background threads: how they start, what an interrupt leaves, and what their error handlers may do."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import lys_storage
from lys_storage.journal import CHECKSUMMED
from lys_storage.scan import checksum_thread as checksum_thread_module
from lys_storage.scan import flush_thread as flush_thread_module
from lys_storage.scan.checksum_thread import ChecksumThread, checksum_batch_bytes
from lys_storage.scan.flush_thread import FlushThread
from lys_storage.store import ScanStore
from lys_storage.store.rewriter import Rewriter
from tests.helpers import DEADLINE_S, assert_same_array, wait_until
from tests.scan.background import (
    CHECKSUM_THREAD,
    FLUSH_THREAD,
    FRAME,
    begin_with_handler,
    refuse_threads,
    threads,
)

# -- a thread that cannot be started -----------------------------------------------------------------------------------


def test_where_no_checksum_thread_can_be_started_flushes_take_checksums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checksum_thread_module, "AGAIN_S", 0.0)
    frames = np.random.default_rng(0).integers(0, 255, (40, FRAME), "u1")
    with lys_storage.create(tmp_path / "a.npz", frames.shape, "u1", grid_ndim=1, flush_interval_s=0.1) as scan:
        with monkeypatch.context() as patch:
            refuse_threads(patch, CHECKSUM_THREAD)
            for number in range(20):
                scan[number] = frames[number]
            assert wait_until(lambda: scan._store.journal.states.of(0, 20) == bytes((CHECKSUMMED,)) * 20)
            assert CHECKSUM_THREAD not in threads()
        assert "can't start new thread" in caplog.text
        for number in range(20, 40):
            scan[number] = frames[number]
        assert wait_until(lambda: CHECKSUM_THREAD in threads())  # a later start succeeds
    with lys_storage.open_wave(scan.path, verify=True) as wave:
        assert_same_array(wave.data, frames)


def test_a_thread_that_cannot_be_started_is_not_asked_for_with_each_frame(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refuse_threads(monkeypatch, CHECKSUM_THREAD)
    monkeypatch.setattr(checksum_thread_module, "AGAIN_S", 60.0)
    with lys_storage.create(tmp_path / "a.npz", (96, FRAME), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        for number in range(96):
            scan[number] = np.ones(FRAME, "u1")
        assert caplog.text.count("can't start new thread") == 1


@pytest.mark.parametrize("interval", [None, 0.0])
def test_where_the_flush_thread_has_nothing_to_flush_it_is_no_error_that_it_cannot_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, interval: float | None
) -> None:
    refuse_threads(monkeypatch, FLUSH_THREAD)
    with lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1, flush_interval_s=interval) as scan:
        for number in range(3):
            scan[number] = np.full(8, number + 1, "u1")
        if interval is not None:
            assert scan._store.journal.states.of(0, 3) == bytes((CHECKSUMMED,)) * 3
    assert caplog.text.count("can't start new thread") == 1
    with lys_storage.open_wave(scan.path, verify=True) as wave:
        assert wave.data[:, 0].tolist() == [1, 2, 3]


def test_where_no_flush_thread_can_be_started_the_writer_is_told_and_the_frame_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1) as scan:
        with monkeypatch.context() as patch:
            refuse_threads(patch, FLUSH_THREAD)
            for number in range(2):
                with pytest.raises(lys_storage.LysStorageError, match=r"can't start new thread.*only after flush"):
                    scan[number] = np.full(8, number + 1, "u1")
        assert scan.frames_written == 2
        scan[2] = np.full(8, 3, "u1")
    with lys_storage.open_wave(scan.path, verify=True) as wave:
        assert wave.data[:, 0].tolist() == [1, 2, 3]


# -- interrupts --------------------------------------------------------------------------------------------------------


def test_an_interrupt_while_a_thread_starts_leaves_none_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted(self: threading.Thread) -> None:
        start(self)
        raise KeyboardInterrupt

    with lys_storage.create(tmp_path / "a.npz", (3, 8), "u1", grid_ndim=1) as scan:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                scan[0] = np.full(8, 1, "u1")
        assert wait_until(lambda: FLUSH_THREAD not in threads())
        scan[1] = np.full(8, 2, "u1")
        assert FLUSH_THREAD in threads()
    with lys_storage.open_wave(scan.path, verify=True) as wave:
        assert wave.data[:, 0].tolist() == [1, 2, 0]


@pytest.mark.usefixtures("small_blocks", "states_are")
def test_an_interrupt_while_the_flush_thread_is_notified_has_it_notified_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = lys_storage.create(tmp_path / "a.npz", (8, 100), "u1", grid_ndim=1, flush_interval_s=60.0)
    notified: list[bool] = []
    real = FlushThread.notify_written

    def notify_written(self: FlushThread) -> None:
        real(self)
        notified.append(self.flush_pending)
        if len(notified) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(FlushThread, "notify_written", notify_written)
    monkeypatch.setattr(ChecksumThread, "wake", lambda self: None)  # it would restore wake_at_bytes
    scan[0] = np.ones(100, "u1")
    table, flush_thread = scan._store.table, scan._workers._flush_thread
    assert (table.wake_at_bytes, notified) == (checksum_batch_bytes(100), [True])
    table.wake_at_bytes, flush_thread.flush_pending = 0, False  # as after a flush
    with pytest.raises(KeyboardInterrupt):
        scan[1] = np.ones(100, "u1")
    assert (table.wake_at_bytes, flush_thread.flush_pending) == (0, False)
    scan[2] = np.ones(100, "u1")
    assert (table.wake_at_bytes, notified) == (checksum_batch_bytes(100), [True] * 3)
    scan.close()


@pytest.mark.parametrize(
    ("size", "interval"),
    [pytest.param(FRAME, None, id="the checksum thread"), pytest.param(8, 0.05, id="the flush thread")],
)
def test_after_an_interrupt_while_a_thread_is_woken_it_is_woken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, interval: float | None
) -> None:
    """The interrupt comes between the flag and the notice. The thread must not be taken for woken afterwards."""
    scan = lys_storage.create(tmp_path / "a.npz", (96, size), "u1", grid_ndim=1, flush_interval_s=interval)
    for number in range(8):
        scan[number] = np.ones(size, "u1")
    assert wait_until(lambda: scan._store.journal.states.raw[0] == CHECKSUMMED)
    time.sleep(0.2)  # both threads wait
    workers = scan._workers
    wake = (workers._checksum_thread if interval is None else workers._flush_thread)._wake
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


# -- error handlers ----------------------------------------------------------------------------------------------------


def test_the_error_handler_may_end_the_scan_in_both_threads_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    both = threading.Barrier(2)

    def failed(error: lys_storage.LysStorageError) -> None:
        both.wait(DEADLINE_S)
        with contextlib.suppress(lys_storage.LysStorageError):
            scan.suspend()
        told.append(threading.current_thread().name)

    scan = begin_with_handler(tmp_path, (40, FRAME), failed, flush_interval_s=0.01)
    real = Rewriter.retry_pending

    def retry_pending(rewriter: Rewriter) -> None:
        if threading.current_thread().name.startswith("lys_storage") and len(told) < 2:
            raise lys_storage.StorageOSError(errno.EIO, "injected", "x")
        real(rewriter)

    monkeypatch.setattr(Rewriter, "retry_pending", retry_pending)
    with contextlib.suppress(lys_storage.ScanClosedError):
        for number in range(40):
            scan[number] = np.ones(FRAME, "u1")
    assert wait_until(lambda: len(told) == 2)
    assert sorted(told) == [CHECKSUM_THREAD, FLUSH_THREAD]
    assert wait_until(lambda: not threads())
    assert scan.closed
    lys_storage.resume(scan.path).suspend()


def test_an_error_handler_that_fails_ends_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(flush_thread_module, "AGAIN_S", 0.05)

    def failed(error: lys_storage.LysStorageError) -> None:
        raise ValueError("the handler fails, too")

    scan = begin_with_handler(tmp_path, (3, 8), failed, flush_interval_s=0.01)
    with monkeypatch.context() as patch:
        patch.setattr(ScanStore, "flush", lambda store: 1 / 0)
        scan[0] = np.ones(8, "u1")
        assert wait_until(lambda: "the handler fails, too" in caplog.text)
    assert wait_until(lambda: scan._store.journal.states.raw[0] == CHECKSUMMED)
    scan.close()
