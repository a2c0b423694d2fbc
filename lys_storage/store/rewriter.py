"""Replacing frames of which an older version may have been promised already: all of their bytes change, or none.

WRITTEN or CHECKED -> redo file -> REWRITING -> bytes -> WRITTEN
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import numpy as np

from ..disk import File
from ..journal import (
    BLOCK_CHECKSUMMED,
    CHECKSUMMED,
    CHECKSUMMING,
    REWRITING,
    WRITTEN,
    Chunk,
    Journal,
    RedoLog,
    RedoRecord,
)
from .checksummer import Checksummer
from .frame_table import join
from .syncer import Syncer

REDO_LIMIT = 64 << 20
"""Bytes of records after which a flush makes them void."""


class Rewriter(Checksummer, Syncer):
    """Frames that can be rewritten, one rewrite at a time. The redo file is made at the first of them."""

    def __init__(self, file: File, journal: Journal) -> None:
        super().__init__(file, journal)
        self._redo: RedoLog | None = None
        self._redo_lock = threading.Lock()  # guards _redo and _unsettled; may be taken while the turn of Part is held
        self._unsettled: list[RedoRecord] = []
        self._epoch_is_durable = True  # False from before it changes until it has been synced, or longer

    def begin_forked(self) -> None:
        super().begin_forked()
        self._redo_lock = threading.Lock()

    @property
    def redo_is_to_be_void(self) -> bool:
        """Whether a flush has to come before the next rewrite: a record may be gone, and those behind it be found no more."""
        return self._redo is not None and self._redo.sync_failed

    @property
    def redo_is_long(self) -> bool:
        return self._redo is not None and self._redo.end > REDO_LIMIT

    def rewrite(self, first: int, stop: int, chunks: Iterable[Chunk]) -> None:
        """1. the frames leave the blocks whose checksum they share; 2. the new bytes go to the redo file; 3. where an older
        version survives a power cut by now, they are made to as well; 4. marks REWRITING; 5. the bytes go to their place.
        From 2 on, what is in the redo file counts; so what 1 has changed is durable before, where it has been promised.
        """
        marks = self.journal.mark_array[first:stop]
        with self._redo_lock:
            if self._redo is None:
                self.file.refuse_unless_at_path()
                self._redo = RedoLog.create(self.path, self.journal.key)
                self.have_names()
            self._settle_in_turn()  # an older version that could not be put in its place must not come after this one
            promised = self.anything_promised and bool(
                np.isin(marks, (CHECKSUMMED, CHECKSUMMING, BLOCK_CHECKSUMMED)).any()
            )
            if self.split_blocks(first, stop) and promised:
                self.journal.sync()
            if promised:
                self.sync_names()
            if self.journal.sync_failed or not self._epoch_is_durable:
                self._sync_epoch()  # the epoch on disk may be another than ours, by which no record would count
            offset, size = self.array_offset + first * self.frame_bytes, (stop - first) * self.frame_bytes
            record = self._redo.append(offset, size, chunks, self.journal.epoch)
            if promised:
                self._redo.sync()
            try:
                with self._lock:
                    self.journal.set_marks(first, stop, REWRITING)
                self._redo.apply(record, self.file)
                with self._lock:  # still holding _redo_lock: a flush that sees the record sees these as new, too
                    self.journal.set_marks(first, stop, WRITTEN)
                    self.fresh = join(self.fresh, (first, stop))
            except BaseException:  # an interrupt, too
                if (marks == REWRITING).any():
                    self._unsettled.append(record)
                raise

    def settle_rewrites(self) -> None:
        """Try again what a rewrite could not put in its place."""
        if self._unsettled:
            with self._redo_lock:
                self._settle_in_turn()

    def _settle_in_turn(self) -> None:
        """Holding `_redo_lock`."""
        while self._unsettled and self._redo is not None:
            record = self._unsettled[0]
            self._redo.apply(record, self.file)
            first = (record.offset - self.array_offset) // self.frame_bytes
            with self._lock:
                self.journal.set_marks(first, first + record.size // self.frame_bytes, WRITTEN)
                self.fresh = (0, self.frames)
            self._unsettled.pop(0)

    def redone_so_far(self) -> int:
        """How far the redo file goes, to be given to redone_is_in_place after a flush."""
        with self._redo_lock:
            return 0 if self._redo is None else self._redo.end

    def redone_is_in_place(self, redone: int) -> None:
        """A flush has made everything durable that had been redone when redone_so_far said `redone`.

        Where there are no later records a new epoch makes the redo file void. Where there are, the flush may have met a
        frame in the middle of its rewrite, of which the old version is promised by it: the redo file is synced, and goes on.
        """
        with self._redo_lock:
            if self._redo is not None and self._redo.end != redone:
                self.journal.sync()  # a block that has been split since has promised frames, by checksums of their own
                self._redo.sync()
            elif self._redo is not None and redone:
                self._epoch_is_durable = False
                self.journal.epoch += 1
                self._sync_epoch()
                self._redo.begin_again()

    def _sync_epoch(self) -> None:
        self.journal.sync()
        self._epoch_is_durable = True

    def close_redo(self) -> None:
        with self._redo_lock:
            if self._redo is not None:
                self._redo.close()
                self._redo = None
