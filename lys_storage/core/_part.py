"""A scan in progress on disk: the scan file and its journal, kept in step. Frames go in; sums and syncs follow.

What a frame's bytes and its mark are at any moment is decided here, and nowhere else:

    first write    ABSENT -> COMING -> bytes -> WRITTEN
    rewrite        WRITTEN or CHECKED -> redo file -> REWRITING -> bytes -> WRITTEN
    checksum       WRITTEN -> CHECKING -> read back from the file -> CHECKED, if no rewrite began meanwhile

Checksums are taken from the file's bytes, never from the sender's memory, which a camera may already be changing.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from . import _fs
from ._checksum import crc32
from ._errors import ScanClosedError, StorageOSError
from ._form import Form, LaidOutAnew
from ._index import Grid
from ._journal import CHECKED, CHECKING, COMING, REWRITING, WRITTEN, Description, Journal
from ._redo import Chunk, Record, Redo, redo_path

_TABLE_STEP = 1 << 16
_READ_SIZE = 1 << 20
_REDO_LIMIT = 64 << 20


FORKED = "it is written by the process that this one was forked from"


class Part:
    """An open scan file with its journal. Any thread may put frames; one at a time checks and flushes."""

    _live: ClassVar[weakref.WeakSet[Part]] = weakref.WeakSet()

    def __init__(self, file: _fs.File, journal: Journal) -> None:
        self.file, self.journal = file, journal
        self._lock = threading.Lock()
        self.changed = threading.Condition(
            self._lock
        )  # guards marks, in_flight, held, refusal, form, frames_written, fresh
        self.in_flight: list[tuple[int, int]] = []
        self._waiting = 0
        self.held = False
        self.refusal: str | None = None
        self.published: Path | None = None
        self._flushed = False
        self._closed = False
        self._sync_failed = self._journal_sync_failed = False
        self._redo: Redo | None = None
        self._redo_lock = threading.Lock()  # guards _redo and _unsettled; may be taken while _working is held
        self._unsettled: list[Record] = []
        self._working = threading.RLock()  # one thread at a time checks or flushes; never taken while `changed` is held
        self._adopt(journal)
        self._promised = self.frames_written > 0  # resumed: versions may survive a power cut before our first flush
        Part._live.add(self)

    def _adopt(self, journal: Journal) -> None:
        self.journal = journal
        self.description: Description = journal.description
        self.frame_bytes = self.description.frame_bytes
        self.frames = self.description.frames
        self.form = Form.of(self.description)
        self._array_offset = self.description.array_offset
        self._marks = journal.marks
        marks = journal.mark_array
        self.frames_written = sum(
            int(np.count_nonzero(marks[at : at + _TABLE_STEP] > COMING)) for at in range(0, self.frames, _TABLE_STEP)
        )
        self.fresh: tuple[int, int] = (0, self.frames) if self.frames_written else (0, 0)
        self.fresh_bytes = 0
        self._unsynced = (0, 0)

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def grid(self) -> Grid:
        return self.form.grid

    @property
    def forked(self) -> bool:
        return self.refusal is FORKED

    def _is_forked(self) -> None:
        """In a forked child: its locks may be held by threads that it does not have, and the marks are its parent's."""
        self._lock, self._working, self._redo_lock = threading.Lock(), threading.RLock(), threading.Lock()
        self.changed = threading.Condition(self._lock)
        self.in_flight, self.held, self.refusal = [], False, FORKED

    def _refuse_if_forked(self) -> None:
        if self.forked:
            raise ScanClosedError(f"scan {self.path}: {FORKED}")

    @property
    def complete(self) -> bool:
        return self.frames_written == self.frames

    # -- frames ---------------------------------------------------------------------------------------------------

    def put_frame(self, form: Form, number: int, data: _fs.Buffer) -> None:
        """put() of one frame that lies as it is to be stored: the way of nearly every frame, so nothing is in it twice."""
        with self._lock:
            marks = self._marks
            if self.in_flight or self.held or self.refusal is not None or form is not self.form:
                alone = False
            elif alone := marks[number] < WRITTEN:
                marks[number] = COMING
                span = (number, number + 1)
                self.in_flight.append(span)
        if not alone:
            self.put(form, number, 1, ((0, data),))
            return
        size = self.frame_bytes
        try:
            self.file.write_at(data, self._array_offset + number * size)
        except BaseException:
            with self.changed:
                self._end_flight(span)
            raise
        with self._lock:
            marks[number] = WRITTEN
            self.frames_written += 1
            first, stop = self.fresh
            if number == stop:
                self.fresh = (first, number + 1)
            else:
                self.fresh = _join(self.fresh, span)
            self.fresh_bytes += size
            self._end_flight(span)

    def put(self, form: Form, first: int, count: int, chunks: Iterable[Chunk]) -> None:
        """Store the bytes of `count` frames from number `first`. When this returns they survive the death of the process.

        Two threads that write one frame take turns. Raises LaidOutAnew where `form` is no longer the scan's,
        ScanClosedError once sealed, and StorageOSError where the system refuses; a frame that is new is missing then, and
        one that is rewritten is the old one or the new one.
        """
        stop = first + count
        with self.changed:
            self._wait_for(lambda: not self.held and not any(a < stop and first < b for a, b in self.in_flight))
            if self.refusal is not None:
                raise ScanClosedError(f"scan {self.path}: {self.refusal}")
            if form is not self.form:
                raise LaidOutAnew
            self.in_flight.append((first, stop))
            new = self._count_missing(first, stop)
            if new == count:
                self._mark_all(first, stop, COMING)
        try:
            if new == count:
                base = self._array_offset + first * self.frame_bytes
                for at, data in chunks:
                    self.file.write_at(data, base + at)
            else:
                self._rewrite(first, stop, chunks)
        except BaseException:
            with self.changed:
                self.frames_written += new - self._count_missing(first, stop)
                self._end_flight((first, stop))
            raise
        with self.changed:
            self._mark_all(first, stop, WRITTEN)
            self.frames_written += new
            self.fresh = _join(self.fresh, (first, stop))
            self.fresh_bytes += count * self.frame_bytes
            self._end_flight((first, stop))
        if self._redo is not None and self._redo.end > _REDO_LIMIT:
            self.flush()

    def _wait_for(self, condition: Callable[[], bool]) -> None:
        """Holding `changed`: wait until `condition`."""
        if not condition():
            self._waiting += 1
            try:
                self.changed.wait_for(condition)
            finally:
                self._waiting -= 1

    def _end_flight(self, span: tuple[int, int]) -> None:
        """Holding `changed`: the frames of `span` are no longer being written."""
        self.in_flight.remove(span)
        if self._waiting:
            self.changed.notify_all()

    def _count_missing(self, first: int, stop: int) -> int:
        marks, steps = self.journal.mark_array, range(first, stop, _TABLE_STEP)
        return sum(int(np.count_nonzero(marks[at : min(at + _TABLE_STEP, stop)] < WRITTEN)) for at in steps)

    def _rewrite(self, first: int, stop: int, chunks: Iterable[Chunk]) -> None:
        """Replace frames of which an older version may have been promised already. All of them change, or none.

        1. the new bytes go to the redo file; 2. where an older version survives a power cut by now, they are made to as
        well; 3. marks REWRITING; 4. the bytes go to their place. From 3 on, what is in the redo file counts.
        """
        with self._redo_lock:
            if self._redo is None:
                self._redo = Redo.create(self.path, self.journal.key)
                if self._flushed or self._promised:
                    _fs.sync_folder(self.path.parent)
            offset, size = self._array_offset + first * self.frame_bytes, (stop - first) * self.frame_bytes
            record = self._redo.append(offset, size, chunks, self.journal.epoch)
            marks = self.journal.mark_array[first:stop]
            if (self._flushed or self._promised) and bool(((marks == CHECKED) | (marks == CHECKING)).any()):
                self._redo.file.sync()
            with self.changed:
                marks[:] = REWRITING
            try:
                self._redo.apply(record, self.file)
            except BaseException:
                self._unsettled.append(record)
                raise
            with self.changed:  # still holding _redo_lock: a flush that sees the record sees these as new, too
                self._mark_all(first, stop, WRITTEN)
                self.fresh = _join(self.fresh, (first, stop))

    def _settle_rewrites(self) -> None:
        """Try again what a rewrite could not put in its place."""
        with self._redo_lock:
            while self._unsettled and self._redo is not None:
                record = self._unsettled[0]
                self._redo.apply(record, self.file)
                first = (record.offset - self._array_offset) // self.frame_bytes
                with self.changed:
                    self._mark_all(first, first + record.size // self.frame_bytes, WRITTEN)
                    self.fresh = (0, self.frames)
                self._unsettled.pop(0)

    def _mark_all(self, first: int, stop: int, mark: int) -> None:
        self.journal.mark_array[first:stop] = mark

    def mark_is_data(self, frame: int) -> bool:
        return self._marks[frame] >= WRITTEN

    def last_frame(self) -> int | None:
        """The number of the last frame that has arrived, None where none has."""
        for at in reversed(range(0, self.frames, _TABLE_STEP)):
            arrived = np.flatnonzero(self.journal.mark_array[at : at + _TABLE_STEP] >= WRITTEN)
            if arrived.size:
                return at + int(arrived[-1])
        return None

    def missing(self, of: int | None = None) -> Iterator[tuple[int, int]]:
        """Runs (first, stop) of frames that have not arrived, in order; of the first `of` frames, or of all."""
        begin: int | None = None
        frames = self.frames if of is None else of
        for at in range(0, frames, _TABLE_STEP):
            absent = self.journal.mark_array[at : min(at + _TABLE_STEP, frames)] < WRITTEN
            edges = np.flatnonzero(np.diff(absent)) + 1
            for k in [0, *edges.tolist()]:
                if absent[k] and begin is None:
                    begin = at + k
                elif not absent[k] and begin is not None:
                    yield begin, at + k
                    begin = None
        if begin is not None:
            yield begin, frames

    # -- checksums and syncs --------------------------------------------------------------------------------------

    def check(self, *, all_frames: bool = False) -> None:
        """Take the checksum of every frame that is written and has none; of those that are new, or of all."""
        with self._working:
            self._refuse_if_forked()
            if self._unsettled:
                self._settle_rewrites()
            with self.changed:
                (first, stop), self.fresh, self.fresh_bytes = self.fresh, (0, 0), 0
                self._unsynced = _join(self._unsynced, (first, stop))
            if all_frames:
                first, stop = 0, self.frames
            for at in range(first, stop, _TABLE_STEP):
                try:
                    self._check_range(at, min(at + _TABLE_STEP, stop))
                except BaseException:
                    with self.changed:
                        self.fresh = _join(self.fresh, (at, stop))
                    raise

    def _check_range(self, first: int, stop: int) -> None:
        marks = self.journal.mark_array[first:stop]
        with self.changed:
            chosen = np.flatnonzero(marks == WRITTEN)
            marks[chosen] = CHECKING
        if not chosen.size:
            return
        try:
            sums = np.fromiter(self._sums(first, chosen), np.uint32, chosen.size)
        except BaseException:
            with self.changed:
                marks[chosen[marks[chosen] == CHECKING]] = WRITTEN
            raise
        with self.changed:
            still = marks[chosen] == CHECKING
            self.journal.checksums[first:stop][chosen[still]] = sums[still]
            marks[chosen[still]] = CHECKED

    def _sums(self, first: int, chosen: np.ndarray[Any, np.dtype[np.intp]]) -> Iterator[int]:
        """CRC-32 of each chosen frame, read from the file in as few calls as a buffer of 1 MiB allows."""
        size = self.frame_bytes
        buffer = memoryview(bytearray(min(_READ_SIZE, size * len(chosen)) if size <= _READ_SIZE else _READ_SIZE))
        per_read = max(1, len(buffer) // size)
        frames = chosen.tolist()
        k = 0
        while k < len(frames):
            n = 1
            while n < per_read and k + n < len(frames) and frames[k + n] == frames[k] + n:
                n += 1
            at = self._array_offset + (first + frames[k]) * size
            if size <= _READ_SIZE:
                self._read_whole(buffer[: n * size], at)
                for j in range(0, n * size, size):
                    yield crc32(buffer[j : j + size])
            else:
                crc = 0
                for j in range(0, size, _READ_SIZE):
                    view = buffer[: min(_READ_SIZE, size - j)]
                    self._read_whole(view, at + j)
                    crc = crc32(view, crc)
                yield crc
            k += n

    def _read_whole(self, view: memoryview, offset: int) -> None:
        if self.file.read_into(view, offset) != len(view):
            raise StorageOSError(
                5, f"the scan file ends before {offset + len(view)} bytes: it has been cut", str(self.path)
            )

    def flush(self) -> None:
        """Make every frame written so far survive a power cut.

        1. how far the redo file goes; 2. checksums of what is new; 3. sync of the scan file; 4. sync of the journal; 5. once,
        sync of the folder; 6. where there are records from before 1 only, their frames are durable in their place: a new
        epoch, by which the redo file is void. Where there are later ones, 2 may have met a frame in the middle of its
        rewrite, of which the old version is promised by this flush: the redo file is synced, and goes on. The kernel may
        have written marks and checksums in any order before: after a cut a frame is data only where its bytes have its
        checksum, or where the redo file holds it.
        """
        with self._working:
            self._refuse_if_forked()
            if self._closed:
                raise ScanClosedError(f"scan {self.path} is closed")
            with self._redo_lock:
                redone = 0 if self._redo is None else self._redo.end
            self.check()
            self.sync_file()
            self.sync_journal()
            if not self._flushed:
                self._flushed = True  # first: whoever makes a redo file from now on syncs its name, and its records
                try:
                    _fs.sync_folder(self.path.parent)
                except BaseException:
                    self._flushed = False
                    raise
            with self._redo_lock:
                if self._redo is not None and self._redo.end != redone:
                    self._redo.file.sync()
                elif self._redo is not None and redone:
                    self.journal.epoch += 1
                    self.sync_journal()
                    self._redo.begin_again()

    def sync_file(self) -> None:
        """Sync the scan file. A failed sync is not forgotten by a second one that succeeds.

        The kernel drops what it could not write, and takes it for written: so the frames since the last good sync are
        written again before the next one. Where their bytes are no longer those that came, they are missing from then on,
        and StorageOSError says so.
        """
        with self._working:
            with self.changed:
                (first, stop), self._unsynced = self._unsynced, (0, 0)
            try:
                lost = self._write_again(first, stop) if self._sync_failed else 0
                self.file.sync()
            except BaseException:
                with self.changed:
                    self._unsynced = _join(self._unsynced, (first, stop))
                self._sync_failed = True
                raise
            self._sync_failed = False
        if lost:
            text = f"{lost} frames were lost by a sync that failed: write them again, or they will be missing"
            raise StorageOSError(5, text, str(self.path))

    def sync_journal(self) -> None:
        try:
            if self._journal_sync_failed:
                self.journal.dirty_all()
            self.journal.sync()
        except BaseException:
            self._journal_sync_failed = True
            raise
        self._journal_sync_failed = False

    def _write_again(self, first: int, stop: int) -> int:
        """Write the frames of a range again, from what the file reads as; how many of them were found to be lost."""
        lost, size = 0, self.frame_bytes
        buffer = memoryview(bytearray(min(_READ_SIZE, size)))
        for frame in range(first, stop):
            with self.changed:
                self._wait_for(lambda: not self._is_in_flight(frame))  # noqa: B023  used before the next turn
                if self._marks[frame] not in (WRITTEN, CHECKED):
                    continue
                checked = self._marks[frame] == CHECKED
                self.in_flight.append((frame, frame + 1))
            crc, at = 0, self._array_offset + frame * size
            try:
                for j in range(0, size, len(buffer)):
                    view = buffer[: min(len(buffer), size - j)]
                    self._read_whole(view, at + j)
                    crc = crc32(view, crc)
                    self.file.write_at(view, at + j)
            finally:
                with self.changed:
                    if checked and crc != self.journal.checksums[frame]:
                        self._marks[frame] = COMING
                        self.frames_written -= 1
                        lost += 1
                    self._end_flight((frame, frame + 1))
        return lost

    def _is_in_flight(self, frame: int) -> bool:
        return any(a <= frame < b for a, b in self.in_flight)

    # -- the end --------------------------------------------------------------------------------------------------

    def refuse(self, why: str) -> None:
        """Refuse new frames, with `why` as the reason, and wait for those in flight."""
        self._refuse_if_forked()
        with self.changed:
            self.refusal = why
            self._wait_for(lambda: not self.in_flight)

    @contextlib.contextmanager
    def held_still(self) -> Iterator[None]:
        """New frames wait, and those in flight have been written, until the end of the block."""
        self._refuse_if_forked()
        with self.changed:
            self.held = True
            self._wait_for(lambda: not self.in_flight)
        try:
            yield
        finally:
            with self.changed:
                self.held = False
                self.changed.notify_all()

    def go_on_with(self, journal: Journal, file: _fs.File | None = None) -> None:
        """Go on with `journal` (and `file`), which are in the old ones' place. Only while held still."""
        with self._working, self.changed:
            old_journal, old_file = self.journal, self.file
            if file is not None:
                self.file = file
            self._adopt(journal)
            old_journal.close()
            if file is not None:
                old_file.close()

    def remove_companions(self) -> None:
        """The export is in place: the redo file and the journal go, in this order."""
        with self._working:
            self._closed = True  # a writer may be on its way from its last frame to a flush
            self._close_redo()
            _fs.remove(redo_path(self.path))
            self.journal.close()
            _fs.remove(self.journal.path)

    def _close_redo(self) -> None:
        with self._redo_lock:
            if self._redo is not None:
                self._redo.close()
                self._redo = None

    def close(self) -> None:
        with self._working:
            self._closed = True
            self._close_redo()
            self.journal.close()
            self.file.close()


def _join(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """The range that covers both; one that is empty covers nothing."""
    if a[0] >= a[1]:
        return b
    return (min(a[0], b[0]), max(a[1], b[1])) if b[0] < b[1] else a


def _after_fork_in_child() -> None:
    for part in list(Part._live):
        part._is_forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
