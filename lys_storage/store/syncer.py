"""Syncs of the scan file and its folder. A failed sync is not forgotten by a later one that succeeds.

After a failed fsync Linux marks the failed pages clean, so a later fsync would falsely succeed. All frames since the last good
sync are therefore rewritten first.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import threading

from ..disk import register_for_forks, rewrite_range, sync_folder
from ..errors import StorageOSError
from ..format import PAGE
from ..journal import BLOCK_CHECKSUMMED, CHECKSUMMED, CHECKSUMMING, WRITTEN, Span
from .checksummer import Checksummer
from .frame_table import FrameTable
from .spans import join
from .write_behind import WriteBehind


class Syncer:
    """Makes the frames of a table durable.

    The one thread that flushes or ends the scan holds `flush_lock`. `directory_lock` guards whether the names of the scan's
    files are durable.
    """

    def __init__(self, table: FrameTable, checksummer: Checksummer, behind: WriteBehind | None = None) -> None:
        self._table, self._checksummer, self._behind = table, checksummer, behind or WriteBehind(table)
        if table.journal.file_sync_failed:
            table.mark_unsynced((0, table.frames))
        self._has_failed = False  # the last sync failed or was interrupted
        self._repaired = 0  # how many failures of write-backs have been repaired
        self._lost: dict[int, int] = {}  # first frame and count of lost frames that no error has reported yet
        self._has_flushed = self._directory_is_synced = False
        self._was_resumed = table.frames_written > 0
        self.after_fork_in_child()
        register_for_forks(self)

    def after_fork_in_child(self) -> None:
        self.flush_lock = threading.RLock()
        self.directory_lock = threading.Lock()

    @property
    def has_durable_frames(self) -> bool:
        """Whether a version of a frame may survive a power cut; in a resumed scan with frames, from the beginning."""
        return self._has_flushed or self._was_resumed

    def take_failed_write_back(self) -> None:
        """After a write-back has failed: sync once, and ignore the error, which is known. The next sync rewrites the frames.

        Only frames may wait for a sync now: this one may lose other bytes, and nothing would report it.
        """
        failures = self._behind.failures
        if failures != self._repaired:
            self._has_failed = True
            with contextlib.suppress(StorageOSError):
                self._table.file.sync()
            self._repaired = failures

    def sync_file(self) -> None:
        """Sync the scan file. Frames that an earlier failed sync has lost become missing, and StorageOSError reports them.

        The caller holds `flush_lock`.
        """
        table, behind = self._table, self._behind
        failures = behind.sync_begins()
        try:
            self._sync_file(failures)
            behind.sync_ended(good=True)
        except BaseException:
            table.mark_unsynced(table.syncing)
            table.journal.file_sync_failed = True
            behind.sync_ended(good=False)
            raise
        table.syncing, self._has_failed, self._repaired = (0, 0), False, failures
        if self._lost:
            lost, self._lost = sum(self._lost.values()), {}
            text = f"fsync failed and {lost} frames were lost; write them again, or they will be reported missing"
            raise StorageOSError(errno.EIO, text, os.fspath(table.path))

    def _sync_file(self, failures: int) -> None:
        """`failures`: of write-backs, so far. Their pages may be clean now, and not on the disk."""
        table = self._table
        has_failed = self._has_failed or failures != self._repaired
        with table.lock:
            span = join(table.syncing, table.unsynced)
            if has_failed:  # frames that were in flight then may be written now
                span = functools.reduce(join, table.in_flight, join(span, table.dirty))
            table.syncing, table.unsynced = span, (0, 0)
        if has_failed or table.journal.file_sync_failed:
            self._rewrite(span)
        self._has_failed = True  # first: an interrupt may prevent that a failure is recorded
        table.file.sync()
        table.journal.file_sync_failed = False
        if self._behind.failures != failures:
            text = "pages could not be written back while it was synced; the next sync writes them again"
            raise StorageOSError(errno.EIO, text, os.fspath(table.path))

    def end_flush(self) -> None:
        """After the syncs of file and journal: sync their folder, once. Frames written before the flush are then durable."""
        before = self._has_flushed
        self._has_flushed = True  # first: a rewrite from now on syncs the redo log, and its name
        try:
            self.sync_directory()
        except BaseException:
            self._has_flushed = before
            raise

    def directory_changed(self) -> None:
        """One of the scan's files was created or renamed."""
        with self.directory_lock:
            self._directory_is_synced = False

    def sync_directory(self) -> None:
        """Make the names of the scan's files durable, if they are not. After a failure the next call tries again."""
        with self.directory_lock:
            if not self._directory_is_synced:
                self._table.follow_folder()
                sync_folder(self._table.path.parent)
                self._directory_is_synced = True

    # -- after a failed sync --------------------------------------------------------------------------------------

    def _rewrite(self, span: Span) -> None:
        """Read the frames of a range from the file, and write them again."""
        at = span[0]
        with self._checksummer.flush_priority, self._checksummer.checksum_lock:  # no other thread computes checksums
            while at < span[1]:
                at = self._rewrite_unit(at)

    def _with_pages(self, unit: Span) -> Span:
        """The frames that have bytes in the pages of `unit`: these pages are written as a whole."""
        table = self._table
        first, stop = table.offset_of(unit[0]) // PAGE * PAGE, -(-table.offset_of(unit[1]) // PAGE) * PAGE
        frames = (first - table.array_offset) // table.frame_bytes, -(-(stop - table.array_offset) // table.frame_bytes)
        return max(0, frames[0]), min(frames[1], table.frames)

    def _unit_of(self, frame: int) -> Span:
        """Holding the table's lock: the frames that share a checksum with `frame`."""
        states = self._table.states
        if states.raw[frame] != BLOCK_CHECKSUMMED:
            return frame, frame + 1
        first = frame // states.per_block * states.per_block
        return first, first + states.per_block

    def _rewrite_unit(self, frame: int) -> int:
        """Rewrite the unit of `frame`; returns the first frame after it. Frames that fail their checksum are lost."""
        table, states = self._table, self._table.states
        unit = pages = (0, 0)
        try:
            with table.lock:
                while table.is_in_flight(*(pages := self._with_pages(unit := self._unit_of(frame)))):
                    table.wait_for(lambda: not table.is_in_flight(*pages))
                first, stop = unit
                state = states.raw[frame]
                if state not in (WRITTEN, CHECKSUMMING, CHECKSUMMED, BLOCK_CHECKSUMMED):
                    return stop
                in_block = state == BLOCK_CHECKSUMMED
                sums, at = (
                    (states.block_checksums, first // states.per_block) if in_block else (states.checksums, first)
                )
                expected = None if state in (WRITTEN, CHECKSUMMING) else int(sums[at])
                table.in_flight.append(pages)
            self._behind.begin_overwrite()
            crc = rewrite_range(table.file, table.offset_of(first), (stop - first) * table.frame_bytes)
            with table.lock:
                if expected is not None and crc != expected:
                    self._lost[first] = stop - first
                    states.invalidate(first, stop)
                    table.recount()
                table.end_flight(pages)
        except BaseException:
            table.aborted.append(pages)
            table.settle()
            raise
        return stop
