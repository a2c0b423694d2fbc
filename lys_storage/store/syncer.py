"""Syncs of the scan file and the journal. One that failed is not forgotten by a later one that succeeds.

The kernel drops what it could not write, and takes it for written: so what came since the last good sync is written again
before the next one.
"""

from __future__ import annotations

import functools
import threading

from ..disk import File, sync_folder
from ..errors import StorageOSError
from ..format import crc32
from ..journal import BLOCK_CHECKSUMMED, CHECKSUMMED, WRITING, WRITTEN, Journal
from .frame_table import FrameTable, join
from .hotpath import Span

_READ_SIZE = 1 << 20


class Syncer(FrameTable):
    """FrameTable that are made durable. One thread at a time syncs."""

    def __init__(self, file: File, journal: Journal) -> None:
        super().__init__(file, journal)
        self._unsynced: Span = (0, self.frames) if journal.file_sync_failed else (0, 0)
        self._lost = 0  # frames found to be lost, of which nobody has been told yet
        self._begin_locks()
        self._flushed = self._names_synced = False
        self._resumed = self.frames_written > 0

    def adopt(self, journal: Journal) -> None:
        super().adopt(journal)
        self._unsynced = (0, 0)  # in a new journal's place everything has been synced before

    def begin_forked(self) -> None:
        super().begin_forked()
        self._begin_locks()

    def _begin_locks(self) -> None:
        """In the order in which they are taken, and before `changed`."""
        self.syncing = threading.RLock()  # one thread at a time flushes, or ends the scan
        self._next = threading.Lock()  # held by whoever flushes while it waits for the turn, so that it gets that next
        self._turn = threading.RLock()  # one takes checksums, or writes again what a sync may have lost
        self._names = threading.Lock()  # guards _names_synced

    @property
    def anything_promised(self) -> bool:
        """Whether a version of a frame may survive a power cut by now: of a resumed scan, from the beginning."""
        return self._flushed or self._resumed

    def sync_file(self) -> None:
        """Sync the scan file. FrameTable that an earlier, failed sync has lost are missing from now on, and an error says so.

        Holding `syncing`.
        """
        span: Span = (0, 0)
        try:
            with self._lock:
                span, self._unsynced = self._unsynced, (0, 0)
            if self.journal.file_sync_failed:
                self._write_again(span)
            self.file.sync()
        except BaseException:
            with self._lock:  # of what is in flight the kernel may have dropped what it has got of it
                self._unsynced = functools.reduce(join, self.in_flight, join(self._unsynced, span))
            self.journal.file_sync_failed = True
            raise
        self.journal.file_sync_failed = False
        if self._lost:
            lost, self._lost = self._lost, 0
            text = f"{lost} frames were lost by a sync that failed: write them again, or they will be missing"
            raise StorageOSError(5, text, str(self.path))

    def have_names(self) -> None:
        """One of the scan's files has a new name, or has got one."""
        with self._names:
            self._names_synced = False

    def sync_names(self) -> None:
        """Make the names of the scan's files survive a power cut, where they do not yet. Where it fails the next one does."""
        with self._names:
            if not self._names_synced:
                sync_folder(self.path.parent)
                self._names_synced = True

    def _write_again(self, span: Span) -> None:
        """Write the frames of a range again, from what the file reads as."""
        at = span[0]
        with self._next, self._turn:  # what is CHECKING would be passed over
            while at < span[1]:
                at = self._write_unit_again(at)

    def _unit_of(self, frame: int) -> Span:
        """Holding `changed`: the frames that share a checksum with `frame`."""
        per_block = self.journal.per_block
        if self.marks[frame] != BLOCK_CHECKSUMMED:
            return frame, frame + 1
        return frame // per_block * per_block, (frame // per_block + 1) * per_block

    def _write_unit_again(self, frame: int) -> int:
        """The first frame behind what was written. Lost are those that read as what did not come."""
        journal = self.journal
        with self._lock:
            while self.is_in_flight(*(unit := self._unit_of(frame))):
                self.wait_for(lambda: not self.is_in_flight(*unit))
            first, stop = unit
            mark = self.marks[frame]
            if mark not in (WRITTEN, CHECKSUMMED, BLOCK_CHECKSUMMED):
                return stop
            sums = journal.checksums if mark != BLOCK_CHECKSUMMED else journal.block_checksums
            expected = int(sums[first if mark != BLOCK_CHECKSUMMED else first // journal.per_block])
            self.in_flight.append(unit)
        size, crc, lost = (stop - first) * self.frame_bytes, 0, 0
        buffer, at = memoryview(bytearray(min(_READ_SIZE, size))), self.array_offset + first * self.frame_bytes
        try:
            for j in range(0, size, len(buffer)):
                view = buffer[: min(len(buffer), size - j)]
                self.read_whole(view, at + j)
                crc = crc32(view, crc)
                self.file.write_at(view, at + j)
            if mark != WRITTEN and crc != expected:
                lost = stop - first
        finally:
            with self._lock:
                try:
                    if lost:
                        journal.set_marks(first, stop, WRITING)
                        self.frames_written -= lost
                        self._lost += lost
                finally:
                    self.end_flight(unit)
        return stop
