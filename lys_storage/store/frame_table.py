"""What is known of the frames of a scan in progress: their marks, who is writing which, and what came last.

It decides nothing about bytes; those who put frames, take checksums and sync share it, and its lock.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ..disk import File
from ..errors import ScanClosedError, StorageOSError
from ..format import Description, FrameLayout, Grid
from ..journal import WRITTEN, Journal
from .hotpath import Span, TableState

TABLE_STEP = 1 << 16
"""Marks that are looked at together; a multiple of every block."""
FORKED = "it is written by the process that this one was forked from"


class FrameTable(TableState):
    """The scan file, its journal, and the state that several threads share."""

    def __init__(self, file: File, journal: Journal) -> None:
        self.file = file
        self._lock = threading.Lock()
        self.changed = threading.Condition(
            self._lock
        )  # guards marks, in_flight, open_form, held, refusal, form, frames_written, fresh
        self.in_flight = []
        self.held = False
        self.refusal: str | None = None
        self.adopt(journal)

    def adopt(self, journal: Journal) -> None:
        self.journal = journal
        journal.guard = self._lock
        self.description: Description = journal.description
        self.frame_bytes = self.description.frame_bytes
        self.frames = self.description.frames
        self.form = FrameLayout.of(self.description)
        self.open_form = self.form if not self.held and self.refusal is None else None  # that new frames may come in
        self.array_offset = self.description.array_offset
        self.marks = journal.marks
        self.recount()
        self.fresh = (0, self.frames) if self.frames_written else (0, 0)
        self.fresh_bytes = 0
        self.older: list[Span] = []  # that were fresh before, and wait for their checksums

    def recount(self) -> None:
        self.frames_written = self.frames - self.count_missing(0, self.frames)

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def grid(self) -> Grid:
        return self.form.grid

    @property
    def complete(self) -> bool:
        return self.frames_written == self.frames

    # -- forks ----------------------------------------------------------------------------------------------------

    @property
    def forked(self) -> bool:
        return self.refusal is FORKED

    def begin_forked(self) -> None:
        """In a forked child: the lock may be held by a thread that it does not have, and the marks are its parent's."""
        self._lock = threading.Lock()
        self.changed = threading.Condition(self._lock)
        self.in_flight, self.held, self.refusal, self.open_form = [], False, FORKED, None

    def refuse_if_forked(self) -> None:
        if self.forked:
            raise ScanClosedError(f"scan {self.path}: {FORKED}")

    # -- who is writing which -------------------------------------------------------------------------------------

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Holding `changed`: wait until `condition`."""
        if not condition():
            self._waiting += 1
            try:
                self.changed.wait_for(condition)
            finally:
                self._waiting -= 1

    def is_in_flight(self, first: int, stop: int) -> bool:
        return any(a < stop and first < b for a, b in self.in_flight)

    def end_flight(self, span: Span) -> None:
        """Holding `changed`: the frames of `span` are no longer being written."""
        self.in_flight.remove(span)  # equal ones are never in flight together
        if self._waiting:
            self.changed.notify_all()

    def refuse(self, why: str) -> None:
        """Refuse new frames, with `why` as the reason, and wait for those in flight."""
        self.refuse_if_forked()
        with self._lock:
            self.refusal, self.open_form = why, None
            self.wait_for(lambda: not self.in_flight)

    @contextlib.contextmanager
    def held_still(self) -> Iterator[None]:
        """New frames wait, and those in flight have been written, until the end of the block."""
        self.refuse_if_forked()
        try:
            with self._lock:
                self.held, self.open_form = True, None
                self.wait_for(lambda: not self.in_flight)
            yield
        finally:
            with self._lock:
                self.held = False
                self.open_form = self.form if self.refusal is None else None
                self.changed.notify_all()

    # -- which have come ------------------------------------------------------------------------------------------

    def count_missing(self, first: int, stop: int) -> int:
        marks, steps = self.journal.mark_array, range(first, stop, TABLE_STEP)
        return sum(int(np.count_nonzero(marks[at : min(at + TABLE_STEP, stop)] < WRITTEN)) for at in steps)

    def mark_is_data(self, frame: int) -> bool:
        return bool(self.marks[frame] >= WRITTEN)

    def last_frame(self) -> int | None:
        """The number of the last frame that has arrived, None where none has."""
        for at in reversed(range(0, self.frames, TABLE_STEP)):
            arrived = np.flatnonzero(self.journal.mark_array[at : at + TABLE_STEP] >= WRITTEN)
            if arrived.size:
                return at + int(arrived[-1])
        return None

    def missing(self, of: int | None = None) -> Iterator[Span]:
        """Runs of frames that have not arrived, in order; of the first `of` frames, or of all."""
        begin: int | None = None
        frames = self.frames if of is None else of
        for at in range(0, frames, TABLE_STEP):
            absent = self.journal.mark_array[at : min(at + TABLE_STEP, frames)] < WRITTEN
            edges = np.flatnonzero(np.diff(absent)) + 1
            for k in [0, *edges.tolist()]:
                if absent[k] and begin is None:
                    begin = at + k
                elif not absent[k] and begin is not None:
                    yield begin, at + k
                    begin = None
        if begin is not None:
            yield begin, frames

    def missing_bits(self, of: int) -> bytes:
        """A bit a frame, as numpy.packbits packs them, of the first `of` frames: 1 has not arrived."""
        steps = range(0, of, TABLE_STEP)  # a multiple of 8
        marks = self.journal.mark_array
        return b"".join(np.packbits(marks[at : min(at + TABLE_STEP, of)] < WRITTEN).tobytes() for at in steps)

    # -- bytes ----------------------------------------------------------------------------------------------------

    def read_whole(self, view: memoryview, offset: int) -> None:
        if self.file.read_into(view, offset) != len(view):
            raise StorageOSError(
                5, f"the scan file ends before {offset + len(view)} bytes: it has been cut", str(self.path)
            )


def join(a: Span, b: Span) -> Span:
    """The range that covers both; one that is empty covers nothing."""
    if a[0] >= a[1]:
        return b
    return (min(a[0], b[0]), max(a[1], b[1])) if b[0] < b[1] else a
