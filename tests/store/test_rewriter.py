"""A rewriter with a frame table: the redo log, the order of its steps, and what makes its records void."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lys_storage import StorageOSError
from lys_storage.disk import File
from lys_storage.journal import BLOCK_CHECKSUMMED, CHECKSUMMED, REWRITING, WRITTEN, Journal, RedoLog, read_records
from lys_storage.store import Checksummer, FrameTable
from lys_storage.store import rewriter as rewriter_module
from lys_storage.store.rewriter import Rewriter
from lys_storage.store.syncer import Syncer
from tests.helpers import raising
from tests.store.tables import FRAMES, SIZE, assert_holds, frame, noted, put, states


@dataclass
class Parts:
    table: FrameTable
    checksummer: Checksummer
    syncer: Syncer
    rewriter: Rewriter

    def rewrite(self, k: int, version: int = 1) -> None:
        self.rewriter.rewrite(k, k + 1, ((0, frame(k, version).data),))

    def flush(self) -> None:
        """Make all frames durable, as ScanStore.flush does."""
        position = self.rewriter.position
        self.checksummer.checksum(self.table.take_dirty())
        self.syncer.sync_file()
        self.table.journal.sync()
        self.syncer.end_flush()
        self.rewriter.checkpoint(position)

    @property
    def redo_path(self) -> Path:
        return self.table.path.with_name(self.table.path.name + ".redo")

    def records(self) -> list[tuple[int, int]]:
        """(first frame, number of frames) of each valid record."""
        if not self.redo_path.exists():
            return []
        redo = RedoLog(File.open(self.redo_path, writable=False), self.table.journal.key)
        try:
            found = read_records(redo, self.table.journal.epoch)
        finally:
            redo.close()
        return [((record.offset - self.table.array_offset) // SIZE, record.size // SIZE) for record in found]


@pytest.fixture
def parts(table: FrameTable) -> Any:
    """All frames are written, and none is durable."""
    checksummer = Checksummer(table)
    syncer = Syncer(table, checksummer)
    made = Parts(table, checksummer, syncer, Rewriter(table, checksummer, syncer))
    put(table, *range(FRAMES))
    yield made
    made.rewriter.close()


# -- a rewrite ---------------------------------------------------------------------------------------------------------


def test_the_redo_log_is_made_by_the_first_rewrite(parts: Parts) -> None:
    assert not parts.redo_path.exists()
    assert (parts.rewriter.position, parts.rewriter.needs_checkpoint, parts.rewriter.over_limit) == (0, False, False)
    parts.flush()
    assert not parts.redo_path.exists()
    parts.rewrite(3)
    assert parts.records() == [(3, 1)]
    assert parts.rewriter.position == parts.redo_path.stat().st_size == 128


def test_several_frames_are_rewritten_together_and_dirty_then(parts: Parts) -> None:
    parts.table.take_dirty()
    parts.rewriter.rewrite(17, 19, ((0, frame(17, 1).data), (SIZE, frame(18, 1).data)))
    assert parts.records() == [(17, 2)]
    assert_holds(parts.table, 16, frame(16), frame(17, 1), frame(18, 1), frame(19))
    assert states(parts.table)[16:] == [WRITTEN] * 4
    assert parts.table.dirty == (17, 19)


def test_the_record_is_whole_before_the_state_and_the_state_before_the_bytes(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.flush()
    seen: list[Any] = []
    begin_rewrite, apply = parts.table.states.begin_rewrite, RedoLog.apply

    def noted_begin(first: int, stop: int) -> None:
        seen.append(("begins", parts.records(), states(parts.table)[17]))
        begin_rewrite(first, stop)

    def noted_apply(self: RedoLog, record: Any, file: File) -> None:
        assert_holds(parts.table, 17, frame(17))
        seen.append(("bytes", states(parts.table)[17]))
        apply(self, record, file)

    monkeypatch.setattr(parts.table.states, "begin_rewrite", noted_begin)
    monkeypatch.setattr(RedoLog, "apply", noted_apply)
    parts.rewrite(17)
    assert seen == [("begins", [(17, 1)], CHECKSUMMED), ("bytes", REWRITING)]
    assert states(parts.table)[17] == WRITTEN
    assert_holds(parts.table, 17, frame(17, 1))


def test_where_the_old_version_may_be_durable_the_record_is_synced_first(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it cannot be durable, a rewrite waits for no sync."""
    calls = noted(monkeypatch)
    parts.rewrite(17)
    assert [call for call in calls if call[0] == "sync"] == []
    parts.flush()
    calls.clear()
    parts.rewrite(18)
    steps = list(dict.fromkeys(call[:2] for call in calls))
    assert steps == [("write", ".redo"), ("sync", ".redo"), ("write", ".part")]


def test_a_frame_leaves_its_block_first_and_what_was_promised_of_the_others_is_durable(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.flush()
    calls = noted(monkeypatch)
    parts.rewrite(3)
    assert states(parts.table)[:9] == [*[CHECKSUMMED] * 3, WRITTEN, *[CHECKSUMMED] * 4, BLOCK_CHECKSUMMED]
    steps = list(dict.fromkeys(call[:2] for call in calls))
    syncs = [("sync", ".journal"), ("sync", "folder")]  # the folder: for the name of the new redo log
    assert steps == [*syncs, ("write", ".redo"), ("sync", ".redo"), ("write", ".part")]


# -- a rewrite that fails ----------------------------------------------------------------------------------------------


def test_bytes_that_could_not_be_put_in_their_place_are_put_there_later(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.flush()
    with monkeypatch.context() as patch:
        patch.setattr(RedoLog, "apply", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            parts.rewrite(17)
        assert states(parts.table)[17] == REWRITING
        with pytest.raises(StorageOSError):
            parts.rewriter.retry_pending()
    parts.rewriter.retry_pending()
    assert states(parts.table)[17] == WRITTEN
    assert_holds(parts.table, 17, frame(17, 1))
    assert parts.table.dirty == (0, FRAMES)
    parts.table.file.write_at(frame(17, 2).data, parts.table.offset_of(17))
    parts.rewriter.retry_pending()
    assert_holds(parts.table, 17, frame(17, 2))


def test_an_older_version_is_put_in_its_place_before_a_newer_one(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(RedoLog, "apply", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            parts.rewrite(17, 1)
    parts.rewrite(17, 2)
    parts.rewriter.retry_pending()
    assert_holds(parts.table, 17, frame(17, 2))


def test_a_record_that_was_refused_leaves_the_frame_as_it_was(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.flush()
    with monkeypatch.context() as patch:
        patch.setattr(RedoLog, "append", raising(errno.ENOSPC))
        with pytest.raises(StorageOSError):
            parts.rewrite(17)
    parts.rewriter.retry_pending()
    assert states(parts.table)[17] == CHECKSUMMED
    assert_holds(parts.table, 17, frame(17))


# -- checkpoints -------------------------------------------------------------------------------------------------------


def test_a_checkpoint_makes_the_records_void_by_a_durable_epoch(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    parts.rewrite(17)
    before, seen = parts.table.journal.epoch, []
    sync = Journal.sync

    def noted_sync(self: Journal) -> None:
        seen.append((self.epoch, parts.redo_path.stat().st_size))
        sync(self)

    monkeypatch.setattr(Journal, "sync", noted_sync)
    parts.rewriter.checkpoint(parts.rewriter.position)
    assert seen == [(before + 1, 128)], "the log is emptied after that"
    assert (parts.table.journal.epoch, parts.rewriter.position) == (before + 1, 0)
    assert (parts.redo_path.stat().st_size, parts.records()) == (0, [])


def test_with_later_records_a_checkpoint_makes_the_log_durable_and_voids_nothing(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.rewrite(17)
    position, epoch = parts.rewriter.position, parts.table.journal.epoch
    parts.rewrite(18)
    calls = noted(monkeypatch)
    parts.rewriter.checkpoint(position)
    assert calls == [("sync", ".journal"), ("sync", ".redo")]
    assert (parts.table.journal.epoch, parts.records()) == (epoch, [(17, 1), (18, 1)])


def test_after_an_epoch_that_may_not_be_durable_a_rewrite_syncs_it_before_its_record(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts.rewrite(17)
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "sync", raising(errno.EIO))
        with pytest.raises(StorageOSError):
            parts.rewriter.checkpoint(parts.rewriter.position)
    calls = noted(monkeypatch)
    parts.rewrite(18)
    assert calls[0] == ("sync", ".journal")


def test_a_log_that_could_not_be_synced_needs_a_checkpoint(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record may be missing on the disk. Recovery would not find the records after it."""
    parts.flush()
    with monkeypatch.context() as patch:
        patch.setattr(RedoLog, "sync", lambda self: _fail_to_sync(self))
        with pytest.raises(StorageOSError):
            parts.rewrite(17)
    assert parts.rewriter.needs_checkpoint
    parts.flush()
    assert not parts.rewriter.needs_checkpoint


def _fail_to_sync(redo: RedoLog) -> None:
    redo.sync_failed = True
    raising(errno.EIO)()


def test_a_long_log_is_over_the_limit_until_a_checkpoint(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewriter_module, "REDO_LIMIT", 300)
    told = []
    for k in range(3):
        parts.rewrite(16 + k)
        told.append(parts.rewriter.over_limit)
    assert told == [False, False, True]
    parts.rewriter.checkpoint(parts.rewriter.position)
    assert not parts.rewriter.over_limit


def test_in_a_forked_child_its_lock_is_free(parts: Parts) -> None:
    with parts.rewriter.redo_lock:
        parts.rewriter.after_fork_in_child()
        assert not parts.rewriter.redo_lock.locked()
