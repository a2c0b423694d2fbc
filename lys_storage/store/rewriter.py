"""Rewriting frames of which an older version may be durable already: atomic, by way of the redo log.

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

REDO_LIMIT = 64 << 20
"""Bytes of records after which a flush makes them void."""


class Rewriter:
    """Rewrites frames of a table, one rewrite at a time. The redo log is made at the first one.

    `redo_lock` guards the redo log and what is pending. It may be taken while the checksum lock is held.
    """

    def __init__(self, table: FrameTable, checksummer: Checksummer, syncer: Syncer) -> None:
        self._table, self._checksummer, self._syncer = table, checksummer, syncer
        self._redo: RedoLog | None = None
        self._pending: list[RedoRecord] = []  # in the redo log, and not yet in their place
        self._epoch_is_durable = True  # False from before it changes until it has been synced, or longer
        self.after_fork_in_child()
        register_for_forks(self)

    def after_fork_in_child(self) -> None:
        self.redo_lock = threading.Lock()

    @property
    def needs_checkpoint(self) -> bool:
        """Whether a flush has to come before the next rewrite: after a failed sync a record may be gone from the disk, and
        recovery would not find the records behind it."""
        return self._redo is not None and self._redo.sync_failed

    @property
    def over_limit(self) -> bool:
        return self._redo is not None and self._redo.end > REDO_LIMIT

    def rewrite(self, first: int, stop: int, chunks: Iterable[Chunk]) -> None:
        """1. the frames leave the blocks whose checksum they share; 2. the new bytes go to the redo log; 3. where an older
        version is durable, they are made durable, too; 4. states REWRITING; 5. the bytes go to their place.
        From 2 on, what is in the redo log counts; so what 1 has changed is durable before, where it has been promised.
        """
        table, journal = self._table, self._table.journal
        states = table.states.array[first:stop]
        with self.redo_lock:
            if self._redo is None:
                table.ensure_owns_path()
                redo = RedoLog.create(table.path, journal.key)
                self._syncer.directory_changed()
                self._redo = redo
            self._retry_pending()  # an older version that could not be put in its place must not come after this one
            has_checksum = np.isin(states, (CHECKSUMMED, CHECKSUMMING, BLOCK_CHECKSUMMED))
            promised = self._syncer.has_durable_frames and bool(has_checksum.any())
            if self._checksummer.split_blocks(first, stop) and promised:
                journal.sync()
            if promised:
                self._syncer.sync_directory()
            if journal.sync_failed or not self._epoch_is_durable:
                self._sync_epoch()  # the epoch on disk may be another than ours, by which no record would count
            offset, size = table.offset_of(first), (stop - first) * table.frame_bytes
            record = self._redo.append(offset, size, chunks, journal.epoch)
            if promised:
                self._redo.sync()
            self._pending.append(record)  # first: an interrupt may come before anything else
            try:
                self._put_in_place(record)
            except BaseException:
                if not (states == REWRITING).any():
                    self._pending.remove(record)
                raise
            self._pending.remove(record)

    def _put_in_place(self, record: RedoRecord) -> None:
        """Holding `redo_lock`, still when the frames are dirty: a flush that sees the record sees that, too."""
        table = self._table
        first = (record.offset - table.array_offset) // table.frame_bytes
        stop = first + record.size // table.frame_bytes
        assert self._redo is not None
        with table.lock:
            table.states.begin_rewrite(first, stop)
        self._redo.apply(record, table.file)
        table.end_rewrite((first, stop))

    def retry_pending(self) -> None:
        """Try again what a rewrite could not put in its place."""
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
        """Where the redo log ends now; to be given to checkpoint() after a flush."""
        with self.redo_lock:
            return 0 if self._redo is None else self._redo.end

    def checkpoint(self, position: int) -> None:
        """A flush has made everything durable, in its place, that was in the redo log up to `position`.

        Where there are no later records a new epoch makes the redo log void. Where there are, the flush may have met a frame
        in the middle of its rewrite, of which the flush promises the old version: the redo log is synced, and goes on.
        """
        journal = self._table.journal
        with self.redo_lock:
            if self._redo is not None and self._redo.end != position:
                journal.sync()  # a block that has been split since has promised frames, by checksums of their own
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
