"""The frames of a scan: which are written, which are being written, and which need a checksum or a sync.

It writes new frames, and never rewrites one. Checksums, syncs and the redo log belong to other classes, which share the table
and its lock.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from ..disk import File, Frame, range_crc32, register_for_forks
from ..errors import ScanClosedError
from ..format import Description, FrameLayout, LayoutChanged, journal_path
from ..journal import FrameStates, Journal, Span
from .dirty_frames import DirtyFrames
from .spans import join

FORKED = "it belongs to the process from which this one was forked: write frames there"
BETWEEN_LAYOUTS = "the change of its dtype or its grid was interrupted: suspend() and resume it"
_LOOK_AGAIN_S = 0.5
"""A waiting thread checks again after this time: a second interrupt may prevent its notification."""


class FrameTable(DirtyFrames):
    """The scan file, its journal, and what the threads of the scan share; see hotpath.TableState.

    `lock` guards the states and checksums of frames, and every attribute here. It is held briefly, never while bytes of frames
    are written. `layout_lock` is held while the layout changes: new frames wait.

    `checksums_at_once`: after the death of this process nobody can trust the states (see journal/writer_record). Only
    its checksum will prove then that a frame is data, so it is taken before the write returns.

    An interrupt can come after any call, and a second one while the first unwinds. So the work that must follow an exception
    is recorded first, by plain assignments or in one compiled call: `aborted`, `taken`, `syncing`. The next caller does it.
    """

    journal: Journal
    states: FrameStates
    description: Description
    layout: FrameLayout
    successor: tuple[Journal, File] | None  # they are replacing the scan's, first on disk
    checksums_at_once: bool

    def __init__(self, file: File, journal: Journal) -> None:
        self._begin_locks()
        self.in_flight, self.aborted = [], []
        self.closed_reason: str | None = None
        self.bind(journal, file)
        self.accept()
        register_for_forks(self)

    def _begin_locks(self) -> None:
        self.lock = threading.Lock()
        self.changed = threading.Condition(self.lock)
        self.layout_lock = threading.Lock()

    def bind(self, journal: Journal, file: File) -> None:
        """Use `journal` and its scan file from now on, and determine what its frames need.

        In one step: after an interrupt the table has the old layout or the new one.
        """
        description, states = journal.description, journal.states
        journal.table_lock = self.lock
        written = states.count_written()
        self.assign(
            {
                "file": file,
                "journal": journal,
                "states": states,
                "state_bytes": states.raw,
                "description": description,
                "layout": FrameLayout.of(description),
                "accepting_layout": None,
                "frame_bytes": description.frame_bytes,
                "frames": description.frames,
                "array_offset": description.array_offset,
                "frames_written": written,
                "dirty": (0, description.frames) if written else (0, 0),
                "dirty_bytes": 0,
                "dirty_backlog": [],
                "taken": (0, 0),
                "unsynced": (0, 0),
                "syncing": (0, 0),
                "successor": None,
                "prepare_frames": 0,
                "checksums_at_once": not journal.vouches_for(file),
            }
        )

    def accept(self) -> None:
        """Enable the fast paths, if the scan accepts frames and its layout is not changing."""
        if self.closed_reason is None and self.successor is None:
            self.accepting_layout = self.layout

    @property
    def path(self) -> Path:
        return self.file.path

    def follow_folder(self) -> None:
        """Update the paths of the files after their folder was renamed or a link to it was changed."""
        self.file.follow_folder()
        self.journal.file.path = journal_path(self.file.path)

    def ensure_owns_path(self) -> None:
        """follow_folder(). Raises StorageOSError if the scan file is not found."""
        self.follow_folder()
        self.file.ensure_owns_path()

    def offset_of(self, frame: int) -> int:
        """Offset of a frame in the scan file."""
        return self.array_offset + frame * self.frame_bytes

    # -- forks ----------------------------------------------------------------------------------------------------

    def after_fork_in_child(self) -> None:
        """The states belong to the parent process: accept no frames."""
        self._begin_locks()
        self.journal.table_lock = self.lock
        self.in_flight, self.closed_reason, self.accepting_layout = [], FORKED, None

    def raise_if_forked(self) -> None:
        if self.closed_reason is FORKED:
            raise ScanClosedError(f"scan {self.path}: {FORKED}")

    # -- writes of new frames -------------------------------------------------------------------------------------

    def write_one(self, layout: FrameLayout, number: int, frame: Frame) -> bool:
        """Write one new frame whose bytes in memory are those of the file. False, and no side effects: use the general path."""
        in_flight, span, states = self.in_flight, (number, number + 1), self.states
        try:  # from here: an interrupt can also come when the lock is released
            with self.lock:
                size = self.frame_bytes
                if layout is not self.accepting_layout or in_flight or states.is_data(number):
                    return False
                if self.prepare_frames:
                    span = self.prepared_with(number)
                states.begin_write_one(number)
                in_flight.append(span)
            if span[1] - span[0] == 1:
                self.file.write_frame(frame, self.array_offset + number * size, size)
            else:
                before, after = (number - span[0]) * size, (span[1] - number - 1) * size
                self.file.write_between_zeros(frame, self.array_offset + number * size, size, before, after)
            crc = range_crc32(self.file, self.array_offset + number * size, size) if self.checksums_at_once else None
            with self.lock:
                states.end_write_one(number, crc)
                self.frames_written += 1
                first, stop = self.dirty
                self.dirty = (first, number + 1) if number == stop else join((first, stop), (number, number + 1))
                self.dirty_bytes += size
                in_flight.remove(span)
                if self.waiting:
                    self.changed.notify_all()
        except BaseException:
            self.aborted.append(span)  # no call before it: a second interrupt could prevent it
            self.settle()
            raise
        return True

    def prepared_with(self, number: int) -> Span:
        """The frames that get zeros when `number` is written: those of its run of `prepare_frames`, if it is the first of them
        to be written, and its neighbour in the run before (or behind) was written: the frames come in this order."""
        first = number - number % self.prepare_frames
        stop = min(first + self.prepare_frames, self.frames)
        before = number - 1 if number == first else stop
        comes_in_order = number in (first, stop - 1) and (
            number == 0 or (before < self.frames and self.states.is_data(before))
        )
        return (first, stop) if comes_in_order and not any(self.states.of(first, stop)) else (number, number + 1)

    def write_adjacent(self, layout: FrameLayout, first: int, frames: list[Frame]) -> bool:
        """write_one() for frames of consecutive numbers, in one system call. False: write each of them separately."""
        count, size = len(frames), self.frame_bytes
        span = (first, first + count)
        try:
            with self.lock:
                if layout is not self.accepting_layout or self.in_flight:
                    return False
                if self.states.count_missing(*span) < count:
                    return False
                self.states.begin_write(*span)
                self.in_flight.append(span)
            self.file.write_frames(frames, self.offset_of(first), size)
            with self.lock:
                self.states.end_write(*span)
                self._commit(span, count)
        except BaseException:
            self.aborted.append(span)  # no call before it: a second interrupt could prevent it
            self.settle()
            raise
        return True

    def begin(self, layout: FrameLayout, span: Span) -> int:
        """Wait until no other thread writes a frame of `span`, then put it in flight. Returns how many of its frames are new.

        If all are, they are WRITING. commit() or settle() ends it. Raises LayoutChanged for another layout, and ScanClosedError.
        """
        while True:
            with self.lock:
                self.wait_for_flights(span)
                self.raise_if_closed()
                if not self.layout_lock.locked():
                    self.accept()  # an interrupt may have prevented it
                    if layout is not self.layout:
                        raise LayoutChanged
                    new = self.states.count_missing(*span)
                    if new == span[1] - span[0]:
                        self.states.begin_write(*span)
                    self.in_flight.append(span)
                    return new
            with self.layout_lock:
                pass

    def commit(self, span: Span, new: int) -> None:
        """All bytes of `span` are written; `new` of its frames were new. After a rewrite the states are WRITTEN already."""
        with self.lock:
            if new == span[1] - span[0]:
                self.states.end_write(*span)
            self._commit(span, new)

    def _commit(self, span: Span, new: int) -> None:
        self.frames_written += new
        self.dirty = join(self.dirty, span)
        self.dirty_bytes += (span[1] - span[0]) * self.frame_bytes
        self.end_flight(span)

    def settle(self) -> None:
        """End the flights of failed and interrupted writes, which are in `aborted`.

        Called after each append to it, and by waiting threads: a second interrupt may have prevented the first call.
        """
        with self.lock:
            self._settle()

    def _settle(self) -> None:
        while self.aborted:
            span = self.aborted[0]
            if any(
                flight is span for flight in self.in_flight
            ):  # it was begun, and is not another thread's flight of the same frames
                self.dirty = join(self.dirty, span)
                self.recount()
                self.end_flight(span)
            self.aborted.pop(0)

    def end_rewrite(self, span: Span) -> None:
        """A rewrite has written all bytes of `span` to the scan file."""
        with self.lock:
            self.states.end_rewrite(*span)
            self.dirty = join(self.dirty, span)

    def recount(self) -> None:
        self.frames_written = self.states.count_written()

    # -- waiting (holding the lock) -------------------------------------------------------------------------------

    def wait_for(self, condition: Callable[[], bool]) -> None:
        self._settle()
        while not condition():
            self.waiting += 1
            try:
                self.changed.wait(_LOOK_AGAIN_S)
            finally:
                self.waiting -= 1
            self._settle()

    def wait_for_flights(self, span: Span) -> None:
        """Wait until no frame of `span` is being written."""
        self.wait_for(lambda: not self.is_in_flight(*span))

    def is_in_flight(self, first: int, stop: int) -> bool:
        return any(a < stop and first < b for a, b in self.in_flight)

    def end_flight(self, span: Span) -> None:
        """The frames of `span` are no longer being written."""
        self.in_flight.remove(span)  # equal ones are never in flight together
        if self.waiting:
            self.changed.notify_all()

    # -- accepting frames -----------------------------------------------------------------------------------------

    def stop_accepting(self, why: str) -> None:
        """Refuse new frames, with `why` as the reason, and wait for those in flight."""
        self.raise_if_forked()
        with self.lock:
            self.closed_reason, self.accepting_layout = why, None
            self.wait_for(lambda: not self.in_flight)

    def raise_if_between_layouts(self) -> None:
        if self.successor is not None:
            raise ScanClosedError(f"scan {self.path}: {BETWEEN_LAYOUTS}")

    def raise_if_closed(self) -> None:
        self.raise_if_between_layouts()
        if self.closed_reason is not None:
            raise ScanClosedError(f"scan {self.path}: {self.closed_reason}")

    def quiesce(self) -> None:
        """Holding `layout_lock`: wait until no frame is in flight. New ones wait until that lock is free."""
        self.raise_if_forked()
        self.raise_if_between_layouts()
        with self.lock:
            self.accepting_layout = None
            self.wait_for(lambda: not self.in_flight)
