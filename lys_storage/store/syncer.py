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

from ..disk import folios_of, register_for_forks, rewrite_pieces, sync_folder
from ..errors import StorageOSError
from ..format import crc32
from ..journal import BLOCK_CHECKSUMMED, CHECKSUMMED, Span
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

    @property
    def has_failed(self) -> bool:
        """Whether the next sync rewrites frames first, because the last one has failed."""
        return self._has_failed or self._table.journal.file_sync_failed

    def _rewrite(self, span: Span) -> None:
        """Write the folios of the head and of a range of frames again. Frames that fail their checksum are lost.

        Everything in these folios is written: a page that is not, and receives another frame later, would be lost.
        """
        table, ahead = self._table, max(1, self._table.prepare_frames)
        at, stop = span[0] // ahead * ahead, min(table.frames, -(-span[1] // ahead) * ahead)  # with the zeros ahead
        with self._checksummer.flush_priority, self._checksummer.checksum_lock:  # no other thread computes checksums
            self._rewrite_folios(None)
            while at < stop:
                at = self._rewrite_folios(at)

    def _rewrite_folios(self, frame: int | None) -> int:
        """Rewrite the folios of the unit of `frame` (None: of the head), if anything was written in them. All units that end in
        them are compared with their checksums. Returns the frame after these.
        """
        table, held = self._table, (0, 0)
        try:
            with table.lock:
                while True:  # a rewrite that was waited for has changed the units
                    begin, size, units = self._folios_and_units(frame)
                    held = self._frames_in(begin, size)
                    if not table.is_in_flight(*held):
                        break
                    table.wait_for_flights(held)
                after, ahead = units[-1][1] if units else 0, table.prepare_frames
                # A frame may have put zeros into so many before and after it.
                if units and not any(table.states.of(max(0, held[0] - ahead), min(table.frames, held[1] + ahead))):
                    return after
                expected = [self._checksum_of(unit) for unit in units]
                table.in_flight.append(held)
            self._behind.begin_overwrite()
            sums = self._rewritten_sums(begin, size, units)
            with table.lock:
                for unit, wanted, found in zip(units, expected, sums, strict=True):
                    if wanted is not None and wanted != found:
                        self._lost[unit[0]] = unit[1] - unit[0]
                        table.states.invalidate(*unit)
                        table.recount()
                table.end_flight(held)
        except BaseException:
            table.aborted.append(held)
            table.settle()
            raise
        return after

    def _folios_and_units(self, frame: int | None) -> tuple[int, int, list[Span]]:
        """Holding the table's lock: first byte and size of the folios of the unit of `frame`, and this unit with all later ones
        that end in them; (for None) those of the head, and no units.
        """
        table = self._table
        if frame is None:
            first, stop = folios_of(table.file, 0, table.array_offset)
            return first, stop - first, []
        units = [self._unit_of(frame)]
        begin, end = (table.offset_of(number) for number in units[0])
        first, stop = folios_of(table.file, begin, end - begin)
        while units[-1][1] < table.frames and table.offset_of((unit := self._unit_of(units[-1][1]))[1]) <= stop:
            units.append(unit)
        return first, stop - first, units

    def _frames_in(self, begin: int, size: int) -> Span:
        """The frames with bytes in this range of the file."""
        table = self._table
        first, stop = begin - table.array_offset, begin + size - table.array_offset
        return max(0, first // table.frame_bytes), min(table.frames, -(-stop // table.frame_bytes))

    def _unit_of(self, frame: int) -> Span:
        """Holding the table's lock: the frames that share a checksum with `frame`."""
        states = self._table.states
        if states.raw[frame] != BLOCK_CHECKSUMMED:
            return frame, frame + 1
        first = frame // states.per_block * states.per_block
        return first, first + states.per_block

    def _checksum_of(self, unit: Span) -> int | None:
        """Holding the table's lock: the checksum of a unit; None if it has none."""
        states, first = self._table.states, unit[0]
        if states.raw[first] == BLOCK_CHECKSUMMED:
            return int(states.block_checksums[first // states.per_block])
        return int(states.checksums[first]) if states.raw[first] == CHECKSUMMED else None

    def _rewritten_sums(self, begin: int, size: int, units: list[Span]) -> list[int]:
        """Rewrite folios. Returns the CRC-32 of each unit: their bytes are contiguous, and lie in the folios."""
        table, sums = self._table, [0] * len(units)
        which = 0
        for at, piece in rewrite_pieces(table.file, begin, size):
            while which < len(units):
                first, end = (table.offset_of(number) for number in units[which])
                part = piece[max(0, first - at) : max(0, end - at)]
                sums[which] = crc32(part, sums[which])
                if end > at + len(piece):
                    break
                which += 1
        return sums
