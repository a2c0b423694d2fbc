"""A syncer with a frame table: a failed sync is followed by a rewrite, and lost frames are reported."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from lys_storage import StorageOSError
from lys_storage.disk import File
from lys_storage.disk.systems import SYSTEM
from lys_storage.journal import ABSENT, BLOCK_CHECKSUMMED, CHECKSUMMED, WRITING, WRITTEN
from lys_storage.store import Checksummer, FrameTable, join
from lys_storage.store import syncer as syncer_module
from lys_storage.store.syncer import Syncer
from tests.helpers import raising
from tests.store.tables import FRAMES, SIZE, noted, put, states
from tools.durability.interrupts.points import Interrupts

FOLIO_WRITE = ("write", ".part", 0, 4096 + FRAMES * SIZE)
"""The one page of the table, up to the end of the file."""


@pytest.fixture
def syncer(table: FrameTable) -> Syncer:
    return Syncer(table, Checksummer(table))


def fail_to_sync(syncer: Syncer) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(File, "sync", raising(errno.EIO))
        with pytest.raises(StorageOSError, match="Input/output"):
            syncer.sync_file()


def spoil(table: FrameTable, k: int) -> None:
    """Change the frame, as the kernel does if it drops a page that it could not write."""
    table.file.write_at(b"torn", table.offset_of(k))


# -- syncs of the file -------------------------------------------------------------------------------------------------


def test_a_sync_that_follows_a_good_one_writes_nothing(
    table: FrameTable, syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(table, 3, 4)
    table.take_dirty()
    calls = noted(monkeypatch)
    syncer.sync_file()
    syncer.sync_file()
    assert calls == [("sync", ".part")] * 2
    assert (table.unsynced, table.journal.file_sync_failed) == ((0, 0), False)


def test_a_failed_sync_is_followed_by_a_rewrite_of_what_was_not_synced(
    table: FrameTable, syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only written frames are rewritten, before the sync."""
    put(table, 0, 1)
    table.take_dirty()
    syncer.sync_file()
    put(table, 3, 5)
    table.take_dirty()
    fail_to_sync(syncer)
    assert (table.unsynced, table.journal.file_sync_failed) == ((3, 6), True)
    calls = noted(monkeypatch)
    syncer.sync_file()
    assert calls == [FOLIO_WRITE, FOLIO_WRITE, ("sync", ".part")]
    assert (table.unsynced, table.journal.file_sync_failed) == ((0, 0), False)
    assert (states(table)[3:6], table.in_flight) == ([WRITTEN, ABSENT, WRITTEN], [])
    calls.clear()
    syncer.sync_file()
    assert calls == [("sync", ".part")]


def test_a_rewrite_whose_sync_fails_is_done_again(
    table: FrameTable, syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(table, 3)
    table.take_dirty()
    fail_to_sync(syncer)
    fail_to_sync(syncer)
    calls = noted(monkeypatch)
    syncer.sync_file()
    assert calls == [FOLIO_WRITE, FOLIO_WRITE, ("sync", ".part")]


def test_lost_frames_are_missing_and_reported_once(table: FrameTable, syncer: Syncer) -> None:
    """A single frame, or a whole block, because it is unknown which of its frames is lost."""
    put(table, *range(FRAMES))
    Checksummer(table).checksum(table.take_dirty())
    fail_to_sync(syncer)
    for k in (3, 17):
        spoil(table, k)
    with pytest.raises(StorageOSError, match="fsync failed and 9 frames were lost"):
        syncer.sync_file()
    expected = [WRITING] * 8 + [BLOCK_CHECKSUMMED] * 8 + [CHECKSUMMED, WRITING, CHECKSUMMED, CHECKSUMMED]
    assert (states(table), table.frames_written, table.in_flight) == (expected, FRAMES - 9, [])
    syncer.sync_file()


def test_lost_frames_are_reported_after_a_sync_that_fails_meanwhile(table: FrameTable, syncer: Syncer) -> None:
    put(table, 17)
    Checksummer(table).checksum(table.take_dirty())
    fail_to_sync(syncer)
    spoil(table, 17)
    fail_to_sync(syncer)
    with pytest.raises(StorageOSError, match="1 frames were lost"):
        syncer.sync_file()
    assert table.frames_written == 0


def test_a_sync_that_failed_in_another_process_makes_all_frames_unsynced(
    table: FrameTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(table, 2, 19)
    table.journal.file_sync_failed = True
    syncer = Syncer(table, Checksummer(table))
    assert table.unsynced == (0, FRAMES)
    calls = noted(monkeypatch)
    syncer.sync_file()
    assert calls == [FOLIO_WRITE, FOLIO_WRITE, ("sync", ".part")]


def test_an_interrupt_in_a_rewrite_leaves_nothing_in_flight_and_all_of_it_unsynced(
    table: FrameTable, syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(table, 3, 4)
    table.take_dirty()
    fail_to_sync(syncer)

    def interrupted(*args: Any) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(syncer_module, "rewrite_pieces", interrupted)
        with pytest.raises(KeyboardInterrupt):
            syncer.sync_file()
    assert (table.in_flight, table.unsynced, table.journal.file_sync_failed) == ([], (3, 5), True)


def test_an_interrupt_anywhere_after_a_failed_sync_keeps_nobody_waiting(
    table: FrameTable, syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without direct I/O: an interrupt right after its open leaves a descriptor open, which does no harm."""
    monkeypatch.setattr(SYSTEM, "has_direct_io", False)
    put(table, 3, 4)
    Checksummer(table).checksum(table.take_dirty())
    at = 0
    while True:
        fail_to_sync(syncer)
        at, interrupts = at + 1, Interrupts((at + 1,))
        try:
            interrupts.run(syncer.sync_file)
            break
        except KeyboardInterrupt:
            assert (table.in_flight, table.lock.locked()) == ([], False)
            first, stop = join(table.unsynced, table.syncing)
            assert first <= 3 < 5 <= stop
    assert at > 20, "it was hardly interrupted"
    assert (table.frames_written, table.journal.file_sync_failed) == (2, False)


# -- syncs of the folder, and what is durable --------------------------------------------------------------------------


def test_the_folder_is_synced_once_and_again_where_a_name_is_new(
    syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Any] = []
    monkeypatch.setattr(syncer_module, "sync_folder", synced.append)
    syncer.end_flush()
    syncer.end_flush()
    assert len(synced) == 1
    syncer.directory_changed()
    syncer.sync_directory()
    syncer.sync_directory()
    assert len(synced) == 2


def test_a_folder_that_could_not_be_synced_is_synced_by_the_next_flush(
    syncer: Syncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then no frame is durable."""
    with monkeypatch.context() as patch:
        patch.setattr(syncer_module, "sync_folder", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            syncer.end_flush()
    assert not syncer.has_durable_frames
    synced: list[Any] = []
    monkeypatch.setattr(syncer_module, "sync_folder", synced.append)
    syncer.end_flush()
    assert (len(synced), syncer.has_durable_frames) == (1, True)


def test_of_a_scan_that_was_resumed_frames_may_be_durable_from_the_beginning(table: FrameTable, syncer: Syncer) -> None:
    assert not syncer.has_durable_frames
    put(table, 0)
    assert not syncer.has_durable_frames
    assert Syncer(table, Checksummer(table)).has_durable_frames


def test_in_a_forked_child_its_locks_are_free(syncer: Syncer) -> None:
    before = (syncer.flush_lock, syncer.directory_lock)
    with before[0], before[1]:
        syncer.after_fork_in_child()
        assert not syncer.directory_lock.locked()
        assert (syncer.flush_lock is before[0], syncer.directory_lock is before[1]) == (False, False)
