"""After a failed sync the frames since the last good one are rewritten, and lost frames are reported."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lys_storage
from lys_storage import StorageOSError
from lys_storage.disk import File
from lys_storage.disk.systems import SYSTEM
from lys_storage.journal.frame_state import FrameStates
from lys_storage.store.checksummer import Checksummer
from tests.helpers import DEADLINE_S, assert_same_array, load_export, raising
from tests.store import one_block
from tests.store.one_block import assert_export, begun, lose_frame_0, value
from tests.store.small_blocks import FRAMES, SIZE, assert_is, begin, frame, killed, spoil


def test_a_failed_sync_is_not_forgotten_by_one_that_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel marks pages that it could not write as clean: frames since the last good sync are rewritten."""
    scan = lys_storage.create(tmp_path / "data.npz", (3, 4), "u1", grid_ndim=1, flush_interval_s=None)
    scan[0] = np.full(4, 1, "u1")
    scan.flush()
    scan[1] = np.full(4, 2, "u1")
    real_sync, real_write = File.sync, File.write_at
    failures = iter([OSError(5, "I/O error")])
    written: list[tuple[int, bytes]] = []

    def sync(file: File) -> None:
        if file.path == scan.part_path:
            for error in failures:
                raise lys_storage.StorageOSError(error.errno, "sync: I/O error", str(file.path))
        real_sync(file)

    def write_at(file: File, data: Any, offset: int) -> None:
        if file.path == scan.part_path:
            written.append((offset - 4096, bytes(data)))
        real_write(file, data, offset)

    monkeypatch.setattr(File, "sync", sync)
    with pytest.raises(lys_storage.StorageOSError, match="I/O error"):
        scan.flush()
    scan[2] = np.full(4, 3, "u1")
    monkeypatch.setattr(File, "write_at", write_at)
    scan.flush()
    array = b"\1\1\1\1\2\2\2\2\3\3\3\3"  # a whole folio, for the head and for the two frames
    assert [(at, data[4096:]) for at, data in written] == [(-4096, array)] * 2
    written.clear()
    scan.flush()
    assert written == []
    scan.close()
    assert_same_array(load_export(scan.path).data, np.array([[1] * 4, [2] * 4, [3] * 4], "u1"))


def test_a_frame_that_a_failed_sync_lost_is_missing_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page may have been dropped from memory: the bytes that are read back differ."""
    scan = lys_storage.create(tmp_path / "data.npz", (2, 4), "u1", grid_ndim=1, fill_value=9, flush_interval_s=None)
    scan[0] = np.full(4, 1, "u1")
    real_sync = File.sync

    def sync(file: File) -> None:
        monkeypatch.setattr(File, "sync", real_sync)
        with open(scan.part_path, "r+b") as other:
            other.seek(4096)
            other.write(bytes(4))
        raise lys_storage.StorageOSError(5, "sync: I/O error", str(file.path))

    monkeypatch.setattr(File, "sync", sync)
    with pytest.raises(lys_storage.StorageOSError, match="I/O error"):
        scan.flush()
    with pytest.raises(lys_storage.StorageOSError, match="fsync failed and 1 frames were lost"):
        scan.flush()
    assert scan.written.tolist() == [False, False]
    scan[1] = np.full(4, 2, "u1")
    scan.close()
    assert_same_array(load_export(scan.path).data, np.array([[9] * 4, [2] * 4], "u1"))


def test_a_state_that_cannot_be_written_leaves_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The frame was lost by a failed sync, on a full copy-on-write disk."""
    monkeypatch.setattr(File, "keeps_mapped_stores", lambda self: False)
    scan = begun(tmp_path, 1)
    store = scan._store
    lose_frame_0(store)
    with monkeypatch.context() as patch:
        patch.setattr(FrameStates, "invalidate", raising(errno.ENOSPC))
        with pytest.raises(StorageOSError):
            scan.flush()
    assert store.table.in_flight == []
    with pytest.raises(StorageOSError, match="1 frames were lost"):
        scan.flush()
    scan.suspend()


def test_a_frame_that_was_in_flight_during_a_failed_sync_is_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel dropped the part that it had. The frame is written after the next successful sync."""
    scan = begun(tmp_path, 1)
    store, real = scan._store, SYSTEM.pwrite
    under_way, go_on = threading.Event(), threading.Event()

    def slow(fd: int, data: Any, at: int) -> int:
        done = real(fd, data, at)
        under_way.set()
        assert go_on.wait(DEADLINE_S)
        return done

    monkeypatch.setattr(SYSTEM, "pwrite", slow)
    writing = threading.Thread(target=scan.write, args=(5, value(5)))
    writing.start()
    assert under_way.wait(DEADLINE_S)
    monkeypatch.setattr(SYSTEM, "pwrite", real)
    with monkeypatch.context() as patch:
        patch.setattr(File, "sync", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            scan.flush()
    written: list[tuple[int, int]] = []
    write_at = store.file.write_at
    monkeypatch.setattr(store.file, "write_at", lambda data, at: (written.append((at, len(data))), write_at(data, at)))
    flushing = threading.Thread(target=scan.flush)
    flushing.start()
    flushing.join(0.1)
    go_on.set()
    for thread in (writing, flushing):
        thread.join(DEADLINE_S)
    assert any(at <= store.table.array_offset + 5 * one_block.SIZE < at + size for at, size in written)
    assert_export(scan.close(), {0: 0, 5: 0})


def test_lost_frames_are_reported_even_if_the_sync_that_follows_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = begun(tmp_path, 2)
    store = scan._store
    lose_frame_0(store)
    with monkeypatch.context() as patch:
        patch.setattr(File, "sync", raising(errno.EIO))
        with pytest.raises(StorageOSError, match="Input/output"):
            scan.flush()
    with pytest.raises(StorageOSError, match="1 frames were lost"):
        scan.flush()
    scan.flush()
    assert scan.frames_written == 1
    scan.suspend()


@pytest.mark.parametrize("what", ["epoch", "file_sync_failed"])
def test_epoch_and_failed_flag_of_the_journal_do_not_change_while_its_table_is_locked(
    tmp_path: Path, what: str
) -> None:
    """Otherwise an old epoch could be written back."""
    scan = begun(tmp_path)
    store = scan._store
    with store.table.lock:
        changing = threading.Thread(target=setattr, args=(store.journal, what, 1))
        changing.start()
        changing.join(0.1)
        assert getattr(store.journal, what) == 0
    changing.join(DEADLINE_S)
    assert getattr(store.journal, what) == 1
    setattr(store.journal, what, 0)
    scan.suspend()


@pytest.mark.usefixtures("small_blocks", "states_are")
@pytest.mark.parametrize("lost", [False, True], ids=["the bytes are still there", "they are gone"])
def test_after_a_failed_sync_a_block_is_rewritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: bool) -> None:
    """The whole block is rewritten. If its bytes have changed the whole block is missing, and the error says so."""
    scan = begin(tmp_path)
    real, failing = File.sync, True

    def sync(self: File) -> None:
        if failing and self.path.name.endswith(".part"):
            raise lys_storage.StorageOSError(5, "injected", str(self.path))
        real(self)

    monkeypatch.setattr(File, "sync", sync)
    with pytest.raises(lys_storage.StorageOSError, match="injected"):
        scan.flush()
    failing = False
    if lost:
        spoil(tmp_path / "a.npz.part", 12)
        with pytest.raises(lys_storage.StorageOSError, match="8 frames were lost"):
            scan.flush()
    scan.flush()
    there = [k for k in range(FRAMES) if not (lost and 8 <= k < 16)]
    assert scan.frames_written == len(there)
    assert_is(scan.close(), {k: frame(k) for k in there})


def test_a_block_that_is_split_while_its_rewrite_waits_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its frames have checksums of their own when the rewrite after the failed sync begins."""
    scan = begun(tmp_path, one_block.FRAMES)
    store = scan._store
    store.checksum_dirty()
    store.journal.file_sync_failed = True
    under_way, go_on = threading.Event(), threading.Event()
    split = Checksummer.split_blocks

    def slow(checksummer: Checksummer, first: int, stop: int) -> bool:
        under_way.set()
        assert go_on.wait(DEADLINE_S)
        return split(checksummer, first, stop)

    monkeypatch.setattr(Checksummer, "split_blocks", slow)
    writing = threading.Thread(target=scan.write, args=(5, value(5, 1)))
    writing.start()
    assert under_way.wait(DEADLINE_S)
    syncing = threading.Thread(target=store.sync_file)
    syncing.start()
    syncing.join(0.1)
    assert syncing.is_alive()
    go_on.set()
    for thread in (writing, syncing):
        thread.join(DEADLINE_S)
    assert scan.frames_written == one_block.FRAMES
    assert_export(scan.close(), {k: int(k == 5) for k in range(one_block.FRAMES)})


def flush_with_a_failing_sync(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = begin(folder)
    monkeypatch.setattr(File, "sync", raising(errno.EIO))
    with pytest.raises(lys_storage.StorageOSError, match="injected"):
        scan.flush()


@pytest.mark.usefixtures("small_blocks", "states_are")
def test_a_failed_sync_is_not_forgotten_by_the_death_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that takes the scan over rewrites everything before it relies on its own sync."""
    killed(lambda: flush_with_a_failing_sync(tmp_path, monkeypatch))
    written: list[tuple[int, int]] = []
    write = File.write_at

    def noted(self: File, data: Any, offset: int) -> None:
        if self.path.name == "a.npz.part":
            written.append((offset, len(data)))
        write(self, data, offset)

    monkeypatch.setattr(File, "write_at", noted)
    lys_storage.recover(tmp_path)
    assert (0, 4096 + FRAMES * SIZE) in written
    assert_is(tmp_path / "a.npz", {k: frame(k) for k in range(FRAMES)})


@pytest.mark.usefixtures("small_blocks", "states_are")
def test_what_a_failed_sync_has_lost_is_missing_for_who_takes_the_scan_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel drops pages that it could not write: each frame with a checksum is verified once."""
    killed(lambda: flush_with_a_failing_sync(tmp_path, monkeypatch))
    for k in (12, 25):
        spoil(tmp_path / "a.npz.part", k)
    (result,) = lys_storage.recover(tmp_path)
    there = [*range(8), *range(16, 25)]
    assert (result.path, result.frames_written) == (tmp_path / "a.npz", len(there))
    assert_is(tmp_path / "a.npz", {k: frame(k) for k in there})
