"""A scan in progress on disk: the scan file and its journal, kept in step. Frames go in; sums and syncs follow.

What a frame's bytes and its mark are at any moment is decided here and in the three rooms below it:

    first write    ABSENT -> COMING -> bytes -> WRITTEN                              here
    rewrite        WRITTEN or CHECKED -> redo file -> REWRITING -> bytes -> WRITTEN  _rewrite
    checksum       WRITTEN -> CHECKING -> CHECKED or BLOCK_CHECKED                   _checks
    sync           and what a failed one makes necessary                             _sync
"""

from __future__ import annotations

import contextlib
import functools
import os
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

from ..disk import File, Frame, remove_file
from ..errors import ScanClosedError
from ..format import FrameLayout, LayoutChanged, redo_path
from ..journal import WRITING, WRITTEN, Chunk, Journal
from .frame_table import join
from .hotpath import Span
from .rewriter import Rewriter


class ScanStore(Rewriter):
    """An open scan file with its journal. Any thread may put frames; one at a time checks, and one at a time flushes."""

    _live: ClassVar[weakref.WeakSet[ScanStore]] = weakref.WeakSet()

    def __init__(self, file: File, journal: Journal) -> None:
        super().__init__(file, journal)
        self.published: Path | None = None
        self._closed = False
        self._companions_are_ours = True
        ScanStore._live.add(self)

    # -- frames ---------------------------------------------------------------------------------------------------

    def put_frame(self, form: FrameLayout, number: int, frame: Frame) -> None:
        """put() of one frame that lies as it is to be stored: the way of nearly every frame, so nothing is in it twice."""
        in_flight, span = self.in_flight, (number, number + 1)
        try:  # from here: an interrupt comes where the lock is let go, too
            with self._lock:
                marks, size = self.marks, self.frame_bytes
                alone = form is self.open_form and not in_flight and marks[number] < WRITTEN
                if alone:
                    marks[number] = WRITING
                    in_flight.append(span)
            if not alone:
                self.put(form, number, 1, ((0, frame.data),))
                return
            self.file.write_frame(frame, self.array_offset + number * size, size)
            with self._lock:
                marks[number] = WRITTEN
                self.frames_written += 1
                first, stop = self.fresh
                self.fresh = (first, number + 1) if number == stop else join((first, stop), span)
                self.fresh_bytes += size
                in_flight.remove(span)
                if self._waiting:
                    self.changed.notify_all()
        except BaseException:
            self._flight_failed(span)
            raise

    def put_frames(self, form: FrameLayout, first: int, frames: list[Frame]) -> bool:
        """put_frame() of neighbours, in one call of the system; False where each of them has to go by itself."""
        count = len(frames)
        span = (first, first + count)
        size = self.frame_bytes
        try:
            with self._lock:
                if form is not self.open_form or self.in_flight:
                    return False
                if self.count_missing(*span) < count:
                    return False
                self.journal.set_marks(*span, WRITING)
                self.in_flight.append(span)
            self.file.write_frames(frames, self.array_offset + first * size, size)
            with self._lock:
                self.journal.set_marks(*span, WRITTEN)
                self.frames_written += count
                self.fresh = join(self.fresh, span)
                self.fresh_bytes += count * size
                self.end_flight(span)
        except BaseException:
            self._flight_failed(span)
            raise
        return True

    def _flight_failed(self, span: Span) -> None:
        with self._lock:
            if any(flight is span for flight in self.in_flight):  # not another thread's of the same frames
                self.fresh = join(self.fresh, span)
                self.recount()
                self.end_flight(span)

    def put(self, form: FrameLayout, first: int, count: int, chunks: Iterable[Chunk]) -> None:
        """Store the bytes of `count` frames from number `first`. When this returns they survive the death of the process.

        Two threads that write one frame take turns. Raises LayoutChanged where `form` is no longer the scan's,
        ScanClosedError once sealed, and StorageOSError where the system refuses; a frame that is new is missing then, and
        one that is rewritten is the old one or the new one.
        """
        span = (first, first + count)
        if self.redo_is_to_be_void:
            self.flush()
        try:
            with self._lock:
                self.wait_for(lambda: not self.held and not self.is_in_flight(*span))
                if self.refusal is not None:
                    raise ScanClosedError(f"scan {self.path}: {self.refusal}")
                if form is not self.form:
                    raise LayoutChanged
                new = self.count_missing(*span)
                if new == count:
                    self.journal.set_marks(*span, WRITING)
                self.in_flight.append(span)
            if new == count:
                base = self.array_offset + first * self.frame_bytes
                for at, data in chunks:
                    self.file.write_at(data, base + at)
            else:
                self.rewrite(*span, chunks)
            with self._lock:
                if new == count:
                    self.journal.set_marks(*span, WRITTEN)
                self.frames_written += new
                self.fresh = join(self.fresh, span)
                self.fresh_bytes += count * self.frame_bytes
                self.end_flight(span)
        except BaseException:
            self._flight_failed(span)
            raise
        if self.redo_is_long:
            with contextlib.suppress(
                ScanClosedError
            ):  # these frames were in time, and whoever closed it has synced them
                self.flush()

    # -- checksums and syncs --------------------------------------------------------------------------------------

    def check(self, *, all_frames: bool = False) -> None:
        """Take the checksum of every frame that is written and has none; of those that are new, or of all."""
        with self._next, self._turn, self._nothing_left_out():
            self.refuse_if_forked()
            self.settle_rewrites()
            with self._lock:
                span = functools.reduce(join, self._take_older(), self._take_fresh())
            self.take_checksums((0, self.frames) if all_frames else span)

    def check_some(self, size: int) -> tuple[Span, int]:
        """The checksums of some `size` bytes of frames, of blocks that are whole; which, and how many bytes of them came.

        Those that came last come first: they are still in the processor's caches, and whoever falls back behind what these
        hold would read all that follows from memory, more slowly than it comes. The others wait until nothing is new.
        """
        with self._next:
            pass  # whoever flushes goes first
        with self._turn, self._nothing_left_out():
            self.refuse_if_forked()
            self.settle_rewrites()
            with self._lock:
                if self.fresh_bytes >= size:
                    came = self.fresh_bytes
                    span = self._take_fresh()
                    dense = came >= (span[1] - span[0]) * self.frame_bytes
                elif self.older:
                    span, dense = self.older.pop(), True
                    came = (span[1] - span[0]) * self.frame_bytes
                else:
                    return (0, 0), 0
                cut = self._cut_of(span, size) if dense else span[0]
                if span[0] < cut:
                    self.older.append((span[0], cut))
                    came = (span[1] - cut) * self.frame_bytes
                span = (cut, span[1])
            self.take_checksums(span, leave_loose=True)
            return span, came

    def _cut_of(self, span: Span, size: int) -> int:
        """Where the last `size` bytes of a span begin, at a block; its beginning where there is not much more."""
        per_block = self.journal.per_block
        cut = (span[1] - max(1, size // self.frame_bytes)) // per_block * per_block
        return cut if 2 * (span[1] - cut) <= span[1] - span[0] else span[0]

    def _take_fresh(self) -> Span:
        """Holding `changed`."""
        span = self.fresh
        self._unsynced = join(self._unsynced, span)
        self.fresh, self.fresh_bytes = (0, 0), 0
        return span

    def _take_older(self) -> list[Span]:
        older, self.older = self.older, []
        return older

    @contextlib.contextmanager
    def _nothing_left_out(self) -> Iterator[None]:
        """Where the block is left by an exception, which an interrupt is at any line, every frame is looked at again."""
        try:
            yield
        except BaseException:
            with self._lock:
                self.fresh = (0, self.frames)
            raise

    def flush(self) -> None:
        """Make every frame written so far survive a power cut.

        1. how far the redo file goes; 2. checksums of what is new; 3. sync of the scan file; 4. sync of the journal; 5. once,
        sync of the folder; 6. what has been rewritten is in its place. The kernel may have written marks and checksums in
        any order before: after a cut a frame is data only where its bytes have its checksum, or where the redo file holds it.
        Checksums of what comes meanwhile may be taken during 3 to 6.
        """
        with self.syncing:
            self.refuse_if_forked()
            if self._closed:
                raise ScanClosedError(f"scan {self.path} is closed")
            redone = self.redone_so_far()
            self.check()
            self.sync_file()
            self.journal.sync()
            was = self._flushed
            self._flushed = True  # first: whoever rewrites from now on syncs the redo file, and its name
            try:
                self.sync_names()
            except BaseException:
                self._flushed = was
                raise
            self.redone_is_in_place(redone)

    def no_longer_zero(self, first: int) -> None:
        """Behind a cut the export's tail is written: frames from `first` on, none of which has come, may hold bytes of it."""
        with self._lock:
            self.journal.set_marks(first, self.frames, WRITING)

    # -- the end --------------------------------------------------------------------------------------------------

    def go_on_with(self, journal: Journal, file: File | None = None) -> None:
        """Go on with `journal` (and `file`), which are in the old ones' place. Only while held still."""
        with self.syncing, self._turn, self._lock:
            old_journal, old_file = self.journal, self.file
            if file is not None:
                self.file = file
            self.adopt(journal)
            old_journal.close()
            if file is not None:
                old_file.close()

    def remove_companions(self) -> None:
        """The export is in place: the redo file and the journal go, in this order."""
        with self.syncing, self._turn:
            self._closed = True  # a writer may be on its way from its last frame to a flush
            if self.journal.file.fd >= 0:
                self._companions_are_ours = self.journal.file.is_at_path()
            self.close_redo()
            self.journal.close()
            if self._companions_are_ours:
                remove_file(redo_path(self.path))
                remove_file(self.journal.path)

    def close(self) -> None:
        with self.syncing, self._turn:
            self._closed = True
            self.close_redo()
            self.journal.close()
            self.file.close()


def _after_fork_in_child() -> None:
    for part in list(ScanStore._live):
        part.begin_forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
