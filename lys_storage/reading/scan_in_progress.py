"""A scan in progress, opened for reading: its scan file, its journal and its redo log, which a process may be writing.

Never changes a file, maps none, and takes no lock. A frame is read as one version of it, never as a mixture of two.

    first write   the state is ABSENT or WRITING until all bytes are in the file
    rewrite       record in the redo log -> REWRITING -> bytes -> WRITTEN

The state is read before and after the bytes. That alone does not show a rewrite that began after the first state was read and
ended before the second one. Its record is in the redo log, however: either it is the newest one before the bytes are read, or
it appears in the log before they have been read.
"""

from __future__ import annotations

import errno
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..disk import File
from ..errors import BadFileError, MissingFrameError, UnsafeFileError, os_error
from ..format import (
    Axes,
    Grid,
    Labels,
    crc32,
    decode_axes,
    decode_labels,
    decode_note_with_texts,
    journal_path,
    layout_of,
    redo_path,
)
from ..journal import (
    BLOCK_CHECKSUMMED,
    CHECKSUMMED,
    REWRITING,
    TABLE_STEP,
    WRITTEN,
    JournalReader,
    RedoMark,
    RedoReader,
    RedoRecord,
    States,
    is_readable,
)

_ATTEMPTS = 3
_PATIENT_ATTEMPTS, _MOST_ATTEMPTS, _PAUSE_S = 8, 2000, 0.001
Array = np.ndarray[Any, Any]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Numbers = np.ndarray[Any, np.dtype[np.intp]]
_Mark = tuple[RedoMark, int]


class ScanInProgress:
    """The scan file `path` and its journal. The calls of several threads do not disturb each other.

    `is_trusted()`: whether the states tell which frames are there; if False, only frames that match their checksum are: those
    of a copy, of a scan that a process on another machine writes, or after a failed sync.
    """

    def __init__(self, path: Path) -> None:
        """Raises as File.open and JournalReader, and BadFileError if the journal does not fit itself."""
        self.path = path
        self.file, self.journal = _open_pair(path)
        self.description = d = self.journal.description
        if layout_of(d).array_offset != d.array_offset:
            self.close()
            raise BadFileError(f"journal {self.journal.file.path} is damaged: its array does not fit its shape")
        self.grid, self.dtype = Grid(d.shape, d.grid_ndim), d.dtype
        self.redo = RedoReader(redo_path(path), self.journal.key)
        self._mark = RedoMark()
        self._vouches = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.grid.shape

    @property
    def names_and_units(self) -> tuple[Labels, Labels]:
        d = self.description
        names, units = (decode_labels(labels or None, len(d.shape)) for labels in (d.axis_names, d.units))
        return names, units

    def read_metadata(self, allow_pickle: bool = False) -> tuple[Axes, dict[Any, Any], UnsafeFileError | None]:
        """The present axes, the present note, and the error for the first object in the note that is not plain data.

        A text replaces each such object, unless `allow_pickle`. Axes with such objects, which no version writes, are left out.
        """
        axes_npy, note_npy = self.journal.read_metadata()
        axes: Axes = []
        with suppress(UnsafeFileError):
            axes = decode_axes(axes_npy, allow_pickle)
        return axes, *decode_note_with_texts(note_npy, allow_pickle)

    def is_current(self) -> bool:
        """Whether the paths still refer to both files. If not, the scan has a new layout, or is over."""
        return self.file.owns_path() and self.journal.file.owns_path()

    def follow_folder(self) -> bool:
        """Whether the scan file is at its path. If not, the paths follow a folder that was renamed.

        The folder must be held: `file.hold_folder()`.
        """
        if not self.file.follow_folder():
            return False
        self.path = self.file.path
        self.journal.file.path, self.redo.path = journal_path(self.path), redo_path(self.path)
        return True

    def is_trusted(self) -> bool:
        self._vouches = self._vouches or self.journal.vouches_for(self.file)
        return self._vouches and not self.journal.marks()[1]

    def held_frames(self) -> int:
        """How many frames the scan file can hold: it may have been truncated."""
        return max(0, self.file.size - self.description.array_offset) // self.description.frame_bytes

    def flags(self, frames: Numbers) -> Flags:
        """Of each of `frames` (numbers, ascending): whether its state says that it can be read at present."""
        result = np.zeros(len(frames), bool)
        for at, states in self.journal.states(*(frames[[0, -1]] + (0, 1)).tolist() if len(frames) else (0, 0)):
            begin, end = np.searchsorted(frames, (at, at + len(states)))
            result[begin:end] = is_readable(states[frames[begin:end] - at])
        result &= frames < self.held_frames()
        return result

    def count_readable(self) -> int:
        """How many frames can be read at present, as their states say."""
        frames = self.grid.frames
        steps = (np.arange(at, min(at + TABLE_STEP, frames)) for at in range(0, frames, TABLE_STEP))
        return sum(int(np.count_nonzero(self.flags(step))) for step in steps)

    def written(self) -> Flags:
        """Of each frame, in C order: whether it is written, as its state says at present. If that is not trusted: whether it has
        a checksum.
        """
        result, is_trusted = np.zeros(self.grid.frames, bool), self.is_trusted()
        for at, states in self.journal.states(0, self.grid.frames):
            there = states >= WRITTEN if is_trusted else (states == CHECKSUMMED) | (states == BLOCK_CHECKSUMMED)
            result[at : at + len(states)] = there
        result[self.held_frames() :] = False
        return result

    def read_frames(self, first: int, stop: int) -> tuple[Array, Flags]:
        """(array, flags) of the frames `first` to `stop`, which are few: the frames, and whether each of them is there.

        The array has the shape (stop - first, elements of a frame): numpy may not have one more dimension than a frame has.
        Frames that are not there are undefined in it. Raises StorageOSError, and MissingFrameError if a frame is rewritten so
        often that no version of it could be read.
        """
        count = stop - first
        frames = np.empty((count, self.grid.frame_elements), self.dtype)
        rows = frames.view(np.uint8)
        mark, states = self._begin(), self._states(first, stop)
        held = min(count, max(0, self.held_frames() - first))
        self._read(rows[:held], first)
        after = self._states(first, stop)
        present = is_readable(states) & is_readable(after) & (np.arange(count) < held)
        rewritten = (states == REWRITING) | (after == REWRITING)
        if rewritten.any() or self._touches(mark[0].last, first, stop) or self._changed(mark, first, stop):
            for k in range(held):
                present[k] = self._read_one(rows[k : k + 1], first + k)
        if not self.is_trusted():
            for k in np.flatnonzero(present).tolist():
                present[k] = self._matches(rows[k], first + k)
        return frames, present

    # -- one frame that may be rewritten ---------------------------------------------------------------------------

    def _read_one(self, row: Array, frame: int) -> bool:
        """Read one version of a frame. False if it is not there."""
        pause = threading.Event()
        for attempt in range(_MOST_ATTEMPTS):
            mark = self._begin()
            record = mark[0].last if self._touches(mark[0].last, frame, frame + 1) else None
            state = self._states(frame, frame + 1)[0]
            if state < WRITTEN:
                return False
            from_record = state == REWRITING or (record is not None and attempt > _PATIENT_ATTEMPTS)
            if from_record:
                is_read = record is not None and self._read_record(row, record, frame)
            else:
                is_read = self._read_between_states(row, record, frame)
            if is_read and not self._changed(mark, frame, frame + 1, only_epoch=from_record):
                return True
            if attempt > _PATIENT_ATTEMPTS:
                pause.wait(_PAUSE_S)
        raise MissingFrameError(
            f"frame {self.grid.index_of(frame)} of {self.path} is being rewritten, and no version of it could be read: read it "
            "again; if its process has died, resume or recover completes the frame"
        )

    def _read_between_states(self, row: Array, record: RedoRecord | None, frame: int) -> bool:
        """Read a frame whose state said that it can be read. False if it may be a mixture.

        `record`: the newest record of the log, if it holds this frame. Its write may begin and end at any time. The bytes are
        a whole version if they are those of the record. Otherwise they are read again: if they are not those of the record
        even now, and the state in between was not REWRITING, the write had not begun, and the first bytes are a whole version.
        """
        self._read(row, frame)
        if not is_readable(self._states(frame, frame + 1))[0]:
            return False
        if record is None:
            return True
        new, again = np.empty_like(row), np.empty_like(row)
        if not self._read_record(new, record, frame):
            return False
        if np.array_equal(row, new):
            return True
        self._read(again, frame)
        if not is_readable(self._states(frame, frame + 1))[0]:
            return False
        if np.array_equal(again, new):
            row[...] = new
        return True

    def _read_record(self, row: Array, record: RedoRecord, frame: int) -> bool:
        d = self.description
        offset = d.array_offset + frame * d.frame_bytes
        return self.redo.read_into(row.reshape(-1).data, record, offset)

    def _matches(self, row: Array, frame: int) -> bool:
        """Whether the bytes that were read are those of the checksum in the journal."""
        state = self._states(frame, frame + 1)[0]
        if state == CHECKSUMMED:
            return crc32(row.data) == self.journal.own_checksum(frame)
        if state != BLOCK_CHECKSUMMED or not self.journal.matches(self.file, np.array([frame]))[0]:
            return False
        again = np.empty_like(row)
        self._read(again.reshape(1, -1), frame)
        return np.array_equal(row, again)

    # -- reading, and what changes meanwhile -----------------------------------------------------------------------

    def _read(self, rows: Array, first: int) -> None:
        d = self.description
        view = rows.reshape(-1).data
        if self.file.read_into(view, d.array_offset + first * d.frame_bytes) != len(view):
            reason = OSError(errno.EIO, "the file ends before the end of its array")
            raise os_error("read", self.path, reason)

    def _states(self, first: int, stop: int) -> States:
        states = np.empty(stop - first, np.uint8)
        self.journal.read_states_into(states, first)
        return states

    def _begin(self) -> _Mark:
        """How far the redo log goes. Call it before the first state is read."""
        epoch = self.journal.marks()[0]
        self._mark = mark = self.redo.advance(self._mark, epoch, _ignore)
        return mark, epoch

    def _changed(self, before: _Mark, first: int, stop: int, *, only_epoch: bool = False) -> bool:
        """Whether frames from `first` to `stop` may have been rewritten since `before`. Call it after the last state was read."""
        mark, epoch = before
        touched: list[RedoRecord] = []
        later = self.redo.advance(mark, epoch, touched.append)
        if self.journal.marks()[0] != epoch or (later.file != mark.file and mark.end > 0):
            return True  # last: the log is emptied only after the epoch has changed
        return not only_epoch and any(self._touches(record, first, stop) for record in touched)

    def _touches(self, record: RedoRecord | None, first: int, stop: int) -> bool:
        if record is None:
            return False
        begin, end = self.frames_of(record)
        return begin < stop and first < end

    def frames_of(self, record: RedoRecord) -> tuple[int, int]:
        """(first, stop) of the frames that a record of the redo log holds."""
        d = self.description
        first = (record.offset - d.array_offset) // d.frame_bytes
        return first, first + record.size // d.frame_bytes

    def close(self) -> None:
        self.file.close()
        self.journal.close()


def _ignore(record: RedoRecord) -> None:
    """For a reader that needs only how far the log goes, and its newest record."""


def _open_pair(path: Path) -> tuple[File, JournalReader]:
    """The scan file and its journal. They are opened again if the writer replaced one meanwhile: a new dtype or grid."""
    attempts = 0
    while True:
        attempts += 1
        file = File.open_for_reading(path)
        try:
            journal = JournalReader(journal_path(path))
        except BaseException:
            file.close()
            raise
        if (file.owns_path() and journal.file.owns_path()) or attempts == _ATTEMPTS:
            return file, journal
        file.close()
        journal.close()
