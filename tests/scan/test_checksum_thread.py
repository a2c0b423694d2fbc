"""The checksum thread works while frames arrive, takes turns with flushes, and pauses after a failure."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage.disk import File
from lys_storage.journal import BLOCK_CHECKSUMMED, CHECKSUMMED
from lys_storage.scan import checksum_thread as checksum_thread_module
from lys_storage.scan.background import BackgroundWorkers
from lys_storage.scan.checksum_thread import ChecksumThread, checksum_batch_bytes
from lys_storage.store import Checksummer
from lys_storage.store.rewriter import Rewriter
from tests.helpers import DEADLINE_S, wait_until
from tests.scan.background import CHECKSUM_THREAD, FRAME, SlowDisk, begin_with_handler


@pytest.mark.usefixtures("small_blocks", "states_are")
@pytest.mark.parametrize("size", [1 << 20, 1 << 14], ids=["frames that stand alone", "frames in blocks"])
def test_checksums_are_taken_behind_the_writer_long_before_the_end(tmp_path: Path, size: int) -> None:
    """Without a flush, too, only a few frames have no checksum when the scan ends."""
    frames = 3 * checksum_batch_bytes(size) // size
    scan = lys_storage.create(tmp_path / "a.npz", (frames, size), "u1", grid_ndim=1, flush_interval_s=None)
    value = np.ones(size, "u1")
    for k in range(frames):
        scan[k] = value

    def checksummed_bytes() -> int:
        return int(np.isin(scan._store.journal.states.array, (CHECKSUMMED, BLOCK_CHECKSUMMED)).sum()) * size

    assert wait_until(lambda: checksummed_bytes() >= checksum_batch_bytes(size))
    scan.close()


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
        states = scan._store.journal.states
        assert wait_until(
            lambda: sum(state in (CHECKSUMMED, BLOCK_CHECKSUMMED) for state in states.of(0, count)) > count // 2
        )
        disk.let_go.set()
    with lys_storage.open_wave(scan.path, verify=True) as wave:
        assert wave.data[:count, 0].tolist() == [number % 250 for number in range(count)]


def test_writers_that_come_together_start_one_checksum_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    init = threading.Thread.__init__

    def slow(self: threading.Thread, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        if self.name == CHECKSUM_THREAD:
            made.append(self.name)
            time.sleep(0.3)

    scan = lys_storage.create(tmp_path / "a.npz", (40, FRAME), "u1", grid_ndim=1, flush_interval_s=None)
    monkeypatch.setattr(threading.Thread, "__init__", slow)

    def write(first: int) -> None:
        for number in range(first, first + 20):
            scan[number] = np.ones(FRAME, "u1")
            time.sleep(0.005)

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 20)]
    for thread in writers:
        thread.start()
    for thread in writers:
        thread.join(DEADLINE_S)
    assert made == [CHECKSUM_THREAD]
    scan.close()


@pytest.mark.usefixtures("small_blocks", "states_are")
@pytest.mark.parametrize("interval", [None, 60.0])
def test_a_checksum_thread_that_fails_rests_before_it_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, interval: float | None
) -> None:
    """It pauses for AGAIN_S. Here a pause takes no time, and the third one ends the fault."""
    done: list[Any] = []
    monkeypatch.setattr(checksum_thread_module, "AGAIN_S", 12.5)
    scan = begin_with_handler(tmp_path, (24, 1 << 18), lambda error: done.append("told"), flush_interval_s=interval)
    table = scan._store.table
    failing = threading.Event()
    failing.set()
    real = Rewriter.retry_pending

    def retry_pending(rewriter: Rewriter) -> None:
        if failing.is_set():
            monkeypatch.setattr(scan._workers._checksum_thread._ended, "wait", rest)
            raise lys_storage.StorageOSError(5, "it cannot be put in its place", "x")
        real(rewriter)

    def rest(seconds: float) -> None:
        done.append(seconds)
        if done.count(seconds) == 3:
            failing.clear()

    monkeypatch.setattr(Rewriter, "retry_pending", retry_pending)
    table.dirty_backlog.append((0, 8))
    table.wake_at_bytes = 1 << 62
    for k in range(24):
        scan[k] = np.ones(1 << 18, "u1")
    scan._workers.notify_written()
    assert wait_until(lambda: scan._store.journal.states.of(0, 8) == bytes((CHECKSUMMED,)) * 8)
    assert done == ["told", 12.5] * 3
    scan.close()


@pytest.mark.usefixtures("python_sums")
def test_what_a_failed_sync_may_have_lost_is_written_again_after_the_checksums_that_are_being_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a frame whose checksum is being computed would be skipped."""
    scan = lys_storage.create(tmp_path / "a.npz", (9, FRAME), "u1", grid_ndim=1, flush_interval_s=None)
    store = scan._store
    for number in range(8):  # the eighth frame would wake the checksum thread
        store.table.wake_at_bytes = 1 << 62
        scan[number] = np.full(FRAME, number + 1, "u1")
    store.journal.file_sync_failed = True
    under_way, let_go = threading.Event(), threading.Event()
    sums, write_at = Checksummer.sums, File.write_at
    written: list[tuple[int, int]] = []

    def slow(checksummer: Checksummer, *args: Any) -> Any:
        under_way.set()
        assert let_go.wait(DEADLINE_S)
        return sums(checksummer, *args)

    def write(file: File, data: Any, at: int) -> None:
        if file is store.file:
            written.append((at, at + len(data)))
        write_at(file, data, at)

    monkeypatch.setattr(Checksummer, "sums", slow)
    monkeypatch.setattr(File, "write_at", write)
    checksumming = threading.Thread(target=store.checksum_batch, args=(8 * FRAME,))
    checksumming.start()
    assert under_way.wait(DEADLINE_S)
    syncing = threading.Thread(target=store.sync_file)
    syncing.start()
    time.sleep(0.1)
    assert syncing.is_alive()
    let_go.set()
    for thread in (checksumming, syncing):
        thread.join(DEADLINE_S)
    for number in range(8):
        first, last = store.table.offset_of(number), store.table.offset_of(number + 1) - 1
        assert all(any(begin <= at < stop for begin, stop in written) for at in (first, last))
    scan.close()


def test_a_flush_takes_its_checksums_before_the_checksum_thread_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that releases a lock and immediately takes it again can starve another one."""
    scan = lys_storage.create(tmp_path / "a.npz", (2, 8), "u1", grid_ndim=1, flush_interval_s=None)
    store, turns = scan._store, []
    has_turn, let_go, ended = threading.Event(), threading.Event(), threading.Event()
    real = Rewriter.retry_pending

    def retry_pending(rewriter: Rewriter) -> None:
        """The first step of each thread in its turn."""
        turns.append(threading.current_thread().name)
        if len(turns) == 1:
            has_turn.set()
            assert let_go.wait(DEADLINE_S)
        real(rewriter)

    def take_batches() -> None:
        while not ended.is_set():
            store.checksum_batch(1)

    monkeypatch.setattr(Rewriter, "retry_pending", retry_pending)
    batches = threading.Thread(target=take_batches, name="takes batches")
    flushing = threading.Thread(target=store.checksum_dirty, name="flushes")
    try:
        batches.start()
        assert has_turn.wait(DEADLINE_S)
        flushing.start()
        assert wait_until(store._checksummer.flush_priority.locked)  # it waits for its turn
        let_go.set()
        flushing.join(DEADLINE_S)
    finally:
        let_go.set()
        ended.set()
        batches.join(DEADLINE_S)
    assert turns[:2] == ["takes batches", "flushes"]
    assert turns.count("flushes") == 1
    scan.suspend()


def test_the_writer_wakes_the_thread_once_a_batch_while_that_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each notice costs the writer time. The thread also checksums the frames that arrived while it was busy."""
    busy, go_on, notices = threading.Event(), threading.Event(), []
    real, notify = Checksummer.checksum, BackgroundWorkers.notify_written

    def held(self: Checksummer, span: Any, **options: Any) -> None:
        busy.set()
        assert go_on.wait(2 * DEADLINE_S)
        real(self, span, **options)

    def counted(self: BackgroundWorkers) -> None:
        notices.append(1)
        notify(self)

    monkeypatch.setattr(Checksummer, "checksum", held)
    monkeypatch.setattr(BackgroundWorkers, "notify_written", counted)
    size, per_batch = 1 << 18, checksum_batch_bytes(1 << 18) >> 18
    frames = 5 * per_batch
    with lys_storage.create(tmp_path / "a.npz", (frames, size), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        for k in range(frames - per_batch):
            scan[k] = np.ones(size, "u1")
        assert busy.wait(DEADLINE_S)
        notices.clear()
        for k in range(frames - per_batch, frames - 1):
            scan[k] = np.ones(size, "u1")
        assert len(notices) <= 2
        go_on.set()
        states = scan._store.journal.states
        assert wait_until(lambda: states.of(0, frames - 1).count(CHECKSUMMED) > frames - 1 - per_batch)


@pytest.mark.parametrize(
    ("size", "order", "is_due"),
    [(1 << 13, "in order", True), (1 << 13, "far apart", False), (1 << 20, "far apart", True)],
)
def test_a_batch_of_small_frames_that_are_far_apart_is_not_due(
    tmp_path: Path, size: int, order: str, is_due: bool
) -> None:
    """Hardly any of their blocks is complete: searching all frames for them took longer than writing them."""
    count = checksum_batch_bytes(size) // size
    apart = 1 if order == "in order" else 4
    with lys_storage.create(tmp_path / "a.npz", (4 * count, size), "u1", grid_ndim=1, flush_interval_s=None) as scan:
        thread = ChecksumThread(scan._store, pytest.fail)
        table = scan._store.table
        for number in range(count):
            assert not thread.batch_is_due
            assert table.write_one(table.layout, number * apart, np.ones(size, "u1"))
        assert thread.batch_is_due == is_due
