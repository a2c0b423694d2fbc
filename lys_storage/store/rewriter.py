"""Rewrites frames atomically, through the redo log: an older version of a frame may already be durable.

    WRITTEN or CHECKSUMMED -> redo log -> REWRITING -> bytes -> WRITTEN

After a crash a frame holds either the old or the new version.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np

from ..disk import register_for_forks
from ..journal import BLOCK_CHECKSUMMED, CHECKSUMMED, CHECKSUMMING, REWRITING, Chunk, RedoLog, RedoRecord
from .checksummer import Checksummer
from .frame_table import FrameTable
from .syncer import Syncer
from .write_behind import WriteBehind

REDO_LIMIT = 64 << 20
"""Bytes of records after which a rewrite is followed by a flush and its checkpoint."""


class Rewriter:
    """Rewrites frames of a table, one rewrite at a time. The first one creates the redo log.

    `redo_lock` guards the redo log and the pending records. It may be taken while the checksum lock is held.
    """

    def __init__(
        self, table: FrameTable, checksummer: Checksummer, syncer: Syncer, behind: WriteBehind | None = None
    ) -> None:
        self._table, self._checksummer, self._syncer = table, checksummer, syncer
        self._behind = behind or WriteBehind(table)
        self._redo: RedoLog | None = None
        self._pending: list[RedoRecord] = []  # in the redo log, and not yet in the scan file
        self._epoch_is_durable = True  # False from before it changes until it has been synced, or longer
        self.after_fork_in_child()
        register_for_forks(self)

    def after_fork_in_child(self) -> None:
        self.redo_lock = threading.Lock()

    @property
    def needs_checkpoint(self) -> bool:
        """Whether a flush must precede the next rewrite: a failed sync may have lost a record, and recovery would not find
        the records after it."""
        return self._redo is not None and self._redo.sync_failed

    @property
    def over_limit(self) -> bool:
        return self._redo is not None and self._redo.end > REDO_LIMIT

    def rewrite(self, first: int, stop: int, chunks: Iterable[Chunk]) -> None:
        """1. split the blocks of the frames; 2. write the new bytes to the redo log; 3. if an older version is durable, sync
        the redo log; 4. set the states to REWRITING; 5. write the bytes to the scan file.
        From 2 on the record is valid. If frames were promised to be durable, the changes of 1 are therefore synced before.
        """
        table, journal = self._table, self._table.journal
        states = table.states.array[first:stop]
        with self.redo_lock:
            if self._redo is None:
                table.ensure_owns_path()
                redo = RedoLog.create(table.path, journal.key)
                self._syncer.directory_changed()
                self._redo = redo
            self._retry_pending()  # an older version that is pending must not be written after this one
            has_checksum = np.isin(states, (CHECKSUMMED, CHECKSUMMING, BLOCK_CHECKSUMMED))
            promised = self._syncer.has_durable_frames and bool(has_checksum.any())
            if self._checksummer.split_blocks(first, stop) and promised:
                journal.sync()
            if promised:
                self._syncer.sync_directory()
            if journal.sync_failed or not self._epoch_is_durable:
                self._sync_epoch()  # with another epoch on disk, no record would be valid
            offset, size = table.offset_of(first), (stop - first) * table.frame_bytes
            record = self._redo.append(offset, size, chunks, journal.epoch)
            if promised:
                self._redo.sync()
            self._pending.append(record)  # first: an interrupt may come before the next statement
            try:
                self._put_in_place(record)
            except BaseException:
                if not (states == REWRITING).any():
                    self._pending.remove(record)
                raise
            self._pending.remove(record)

    def _put_in_place(self, record: RedoRecord) -> None:
        """Holding `redo_lock` until the frames are dirty: a flush that sees the record also sees the dirty frames."""
        table = self._table
        first = (record.offset - table.array_offset) // table.frame_bytes
        stop = first + record.size // table.frame_bytes
        assert self._redo is not None
        self._behind.begin_overwrite()
        with table.lock:
            table.states.begin_rewrite(first, stop)
        self._redo.apply(record, table.file)
        table.end_rewrite((first, stop))

    def retry_pending(self) -> None:
        """Try again to write the pending records to the scan file."""
        if self._pending:
            with self.redo_lock:
                self._retry_pending()

    def _retry_pending(self) -> None:
        """Holding `redo_lock`."""
        table = self._table
        while self._pending and self._redo is not None:
            self._put_in_place(self._pending[0])
            table.mark_all_dirty()
            self._pending.pop(0)

    @property
    def position(self) -> int:
        """The current end of the redo log; pass it to checkpoint() after a flush."""
        with self.redo_lock:
            return 0 if self._redo is None else self._redo.end

    def checkpoint(self, position: int) -> None:
        """A flush has made the records of the redo log up to `position` durable in the scan file.

        If there are no later records, a new epoch makes them invalid, and the redo log is emptied. Otherwise the flush may have
        synced a partly rewritten frame, of which it promises the old version: the redo log is synced and kept.
        """
        journal = self._table.journal
        with self.redo_lock:
            if self._redo is not None and self._redo.end != position:
                journal.sync()  # a block that was split since has promised frames: sync their own checksums
                self._redo.sync()
            elif self._redo is not None and position:
                self._epoch_is_durable = False
                journal.epoch += 1
                self._sync_epoch()
                self._redo.reset()

    def _sync_epoch(self) -> None:
        self._table.journal.sync()
        self._epoch_is_durable = True

    def close(self) -> None:
        with self.redo_lock:
            if self._redo is not None:
                self._redo.close()
                self._redo = None
