"""One acquisition in progress, as scripts see it: frames by index, axes and note, and the export at the end."""

from __future__ import annotations

import logging
import os
import threading
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import numpy as np

from . import _fs
from ._errors import LysStorageError, ScanClosedError, ScanShapeError
from ._finalize import FinalizeReport, Progress, finalize, layout_of
from ._follower import Follower
from ._form import LaidOutAnew, read_selection, refine_marks
from ._frame import as_array, as_frame, check_fill, check_frame_shape, chunks
from ._index import Grid, select
from ._journal import ABSENT, COMING, MAX_FRAMES, WRITTEN, Description
from ._layout import check_dtype, plan_data_member
from ._metadata import Axes, check_axes, decode_axes, decode_note, encode_axes, encode_note, with_coordinates
from ._numbering import give_back
from ._part import Part
from ._space import SpaceClaim, log_only

log = logging.getLogger("lys_storage")

TAIL_ROOM = 1 << 16
"""Bytes claimed behind the array for what is appended at the end."""


_FORKED = "open in another process, from which this one was forked"
_GONE = ("saved", "suspended", "discarded", _FORKED)


class Scan:
    """A scan that is being written. Made by `create` or `resume`; frames may be written from several threads.

    `path` is the final name; until it is published the scan is at `part_path`. A frame whose write has returned survives
    the death of the process; one older than `flush_interval_s` survives a power cut.
    """

    _live: ClassVar[weakref.WeakSet[Scan]] = weakref.WeakSet()

    def __init__(
        self,
        part: Part,
        *,
        flush_interval_s: float | None = 1.0,
        failed: Callable[[LysStorageError], None] | None = None,
        claim: SpaceClaim | None = None,
    ) -> None:
        self._part = part
        self._flush_interval_s = flush_interval_s
        self._failed = failed or log_only
        self._changing = threading.RLock()  # guards the layout, the metadata, the claim, the follower and the end
        self._follower: Follower | None = None
        self._state = "open"
        self._axes: Axes | None = None
        self._note: dict[Any, Any] | None = None
        self._map: np.memmap[Any, Any] | None = None
        self._claim = claim
        self.made_here = False  # whether its axes and note are this process's own; of a file, nothing is run
        self.trim = False  # whether close() cuts it to the part of the grid that has frames
        self.report: FinalizeReport | None = None
        self._grid_is_known = True
        self._dtype_is_free, self._free_fill, self._only_complex = False, None, False
        Scan._live.add(self)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._part.description.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self._part.form.dtype

    # -- what it is -----------------------------------------------------------------------------------------------

    @property
    def path(self) -> Path:
        """The final name; after close() where the export really is."""
        if self.report is not None:
            return self.report.path
        return self.part_path.with_name(self._part.description.final)

    @property
    def part_path(self) -> Path:
        return self._part.path

    @property
    def number(self) -> int | None:
        return self._part.description.number

    @property
    def fill(self) -> Any:
        """The value of frames that never came, as a numpy scalar."""
        return np.frombuffer(self._part.description.fill, self.dtype)[0]

    @property
    def grid_shape(self) -> tuple[int, ...]:
        return self._part.grid.grid_shape

    @property
    def frame_shape(self) -> tuple[int, ...]:
        return self._part.grid.frame_shape

    @property
    def frames_expected(self) -> int:
        return self._part.frames

    @property
    def frames_written(self) -> int:
        return self._part.frames_written

    @property
    def complete(self) -> bool:
        """Whether every frame has been written."""
        return self._part.complete

    @property
    def closed(self) -> bool:
        return self._state != "open"

    @property
    def written(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which frames have arrived: bool of shape `grid_shape`, as of now."""
        self._refuse_if_gone()
        return (self._part.journal.mark_array >= WRITTEN).reshape(self.grid_shape)

    def missing(self) -> Iterator[tuple[int, ...]]:
        """The grid indices of the frames that have not arrived, in C order."""
        self._refuse_if_gone()
        for first, stop in self._part.missing():
            for frame in range(first, stop):
                yield self._part.grid.index_of(frame)

    @property
    def array(self) -> np.memmap[Any, Any]:
        """The scan as a read-only map of `shape` and `dtype`; zeros where nothing has come yet, `written` tells."""
        with self._changing:
            if self._map is None:
                self._refuse_if_gone()
                d = self._part.description
                self._map = np.memmap(self.part_path, self.dtype, "r", d.array_offset, self.shape)
            return self._map

    def read(self, *index: Any) -> np.ndarray[Any, Any]:
        """What `index` names, read from the file: trouble of the disk is an exception here, and a signal in a map."""
        self._refuse_if_gone()
        d = self._part.description
        return read_selection(self._part.file, d.array_offset, d.shape, d.dtype, index)

    def __repr__(self) -> str:
        return (
            f"<Scan {self.path} {self.shape} {self.dtype}: {self.frames_written} of {self.frames_expected} frames, "
            f"{self._state}>"
        )

    # -- axes and note --------------------------------------------------------------------------------------------

    @property
    def axes(self) -> list[np.ndarray[Any, Any]]:
        """One coordinate array for each dimension. Set it as a whole; None entries become index coordinates."""
        with self._changing:
            if self._axes is None:
                self._refuse_if_gone()
                self._axes = decode_axes(self._part.journal.read_metadata()[0], trust=self.made_here)
            return with_coordinates(self._axes, self.shape)

    @axes.setter
    def axes(self, axes: Iterable[Any] | None) -> None:
        checked = check_axes(axes, self.shape)
        with self._changing:
            self._refuse_if_gone()
            self._part.journal.write_metadata(encode_axes(checked, self.shape), self._part.journal.read_metadata()[1])
            self._axes = checked

    @property
    def note(self) -> dict[Any, Any]:
        """The note of the wave. Set it as a whole, or change it in place: what is in it at close() counts."""
        with self._changing:
            if self._note is None:
                self._refuse_if_gone()
                self._note = decode_note(self._part.journal.read_metadata()[1], trust=self.made_here)
            return self._note

    @note.setter
    def note(self, note: Mapping[Any, Any]) -> None:
        with self._changing:
            self._refuse_if_gone()
            self._note = note if isinstance(note, dict) else dict(note)
            self._store_note()

    def _store_note(self) -> None:
        axes, stored = self._part.journal.read_metadata()
        note = encode_note(self._note or {})
        if note != stored:
            self._part.journal.write_metadata(axes, note)

    # -- frames ---------------------------------------------------------------------------------------------------

    def __setitem__(self, index: Any, frame: Any) -> None:
        self.write(index, frame)

    def write(self, index: Any, frame: Any) -> None:
        """Store `frame` at `index`; when this returns it survives the death of the process, and may be reused.

        `index`: ints, slices, Ellipsis, as for numpy, without masks and lists. The frame's shape is exactly what the
        index leaves over (FrameShapeError), its dtype casts by same_kind (FrameTypeError), the index is in range
        (FrameIndexError); otherwise nothing of it is stored, and the scan goes on. DiskFullError, StorageOSError: the
        system refused; the frame is missing. ScanClosedError: it came too late.
        """
        part = self._part
        while not self._write_one_frame(part, index, frame) and not self._write_any(part, index, frame):
            continue  # it was laid out anew meanwhile
        follower = self._follower or self._follow()
        if follower is not None:
            follower.frames_came(part.fresh_bytes)
        if self._flush_interval_s == 0:
            try:
                part.flush()
            except ScanClosedError:
                log.debug("%s was closed, and synced by that, while its last frame was written", self.path)

    def _write_one_frame(self, part: Part, index: Any, frame: Any) -> bool:
        """The way of nearly every frame: an array as it is to be, at an index of the grid. False where it is not that."""
        form = part.form
        number = form.grid.number(index)
        if number is None or type(frame) is not np.ndarray or self._dtype_is_free or not self._grid_is_known:
            return False
        if frame.dtype is not form.buffer_dtype or frame.shape != form.grid.frame_shape or not frame.flags.c_contiguous:
            return False
        try:
            part.put_frame(form, number, frame.data)
        except LaidOutAnew:
            return False
        return True

    def _write_any(self, part: Part, index: Any, frame: Any) -> bool:
        selection = select(index, self.shape)
        if self._dtype_is_free:
            self._take_dtype(frame, index, selection.shape)
        form = part.form
        array = as_frame(frame, form.dtype)
        check_frame_shape(array, index, selection.shape)
        if not self._grid_is_known or selection.depth > form.grid.ndim:
            self._refine(selection.depth)
            return False
        try:
            for place, first, count in selection.blocks(form.grid):
                part.put(form, first, count, chunks(array[place] if place else array, form.dtype))
        except LaidOutAnew:
            return False
        return True

    def update(self, data: Mapping[Any, Any]) -> None:
        """Store every frame of `{index: frame}`. A bad one does not keep the others out: it is raised afterwards."""
        faults: list[LysStorageError] = []
        for index, frame in data.items():
            try:
                self.write(index, frame)
            except LysStorageError as error:
                faults.append(error)
        if faults:
            if len(faults) > 1:
                faults[0].add_note(f"{len(faults) - 1} more frames of this update could not be stored")
            raise faults[0]

    def _follow(self) -> Follower | None:
        with self._changing:
            if self._follower is None and self._state == "open":
                self._follower = Follower(self._part, self._flush_interval_s, self._failed)
            return self._follower

    def flush(self) -> None:
        """Make every frame written so far survive a power cut."""
        self._refuse_if_gone()
        self._part.flush()

    # -- laid out anew --------------------------------------------------------------------------------------------

    def _refine(self, depth: int) -> None:
        """Make `depth` dimensions the grid: the first index says how many, a longer one later needs a finer grid."""
        with self._changing:
            self._refuse_unless_open()
            if self._grid_is_known and depth <= self._part.grid.ndim:
                return
            grid = Grid(self.shape, depth)
            if grid.frames > MAX_FRAMES:
                raise ScanShapeError(f"an index of {depth} dimensions makes {grid.frames:,} frames: write larger ones")
            if depth != self._part.grid.ndim:
                part = self._part
                with part.held_still():
                    part.flush()  # the redo file has its records by the old layout's epoch
                    old = self._part.journal
                    new = old.successor(
                        replace(self._part.description, grid_ndim=depth), lambda j: refine_marks(old, j, part.file)
                    )
                    new.take_place(old)
                    part.go_on_with(new)  # first: a sync that fails must not leave us with a journal that has no name
                    _fs.sync_folder(self.part_path.parent)  # the first flush has done it already, for the old one
            self._grid_is_known = True

    def change_dtype(self, dtype: Any, fill: Any = None) -> None:
        """Lay the scan out anew for `dtype`. Only while nothing has been written: ScanShapeError otherwise.

        1. a new scan file and a new journal are written beside the old ones; its marks say that what is in the file is no
        data; 2. the journal takes its place; 3. the scan file takes its place: maps of the old one stay what they were;
        4. marks ABSENT.
        """
        with self._changing:
            self._refuse_unless_open()
            self._end_claim()
            with self._part.held_still():
                if self.frames_written:
                    raise ScanShapeError("the dtype of a scan can change only before its first frame")
                self._go_on_as(self._part.description, check_dtype(dtype), fill)
            self._dtype_is_free, self._map = False, None
            self.claim_space()

    def _go_on_as(self, old: Description, dtype: np.dtype[Any], fill: Any) -> None:
        layout = plan_data_member(self.shape, dtype, datetime.fromisoformat(old.started).timestamp())
        new = replace(old, dtype=dtype, fill=check_fill(fill, dtype), array_offset=layout.array_offset)
        _fs.look_for_space(self.part_path.parent, layout.array_size - layout_of(old).array_size, self.part_path)
        beside = self.part_path.with_name(self.part_path.name + ".new")
        _fs.remove(beside)  # left by a crash in the middle of this; it never counted
        file = _fs.File.create(beside)
        try:
            file.try_lock()
            file.write_at(layout.head, 0)
            file.set_size(layout.array_end + TAIL_ROOM)
            file.sync()  # under the scan's name, an empty file would be taken for one that was only just begun
            journal = self._part.journal.successor(new, lambda j: j.set_marks(0, j.description.frames, COMING))
            journal.take_place(self._part.journal)
            _fs.replace(beside, self.part_path)
            file.path = self.part_path
            journal.set_marks(0, journal.description.frames, ABSENT)
        except BaseException:
            file.close()
            _fs.remove(beside)
            raise
        self._part.go_on_with(journal, file)
        _fs.sync_folder(self.part_path.parent)  # a flush may have done it already, for the old ones

    def let_first_frame_choose(self, fill: Any = None, *, only_complex: bool = False) -> None:
        """The scan takes its first frame's dtype instead of its own; or complex128, only where that frame is complex.

        `fill` as in create.
        """
        self._dtype_is_free, self._free_fill, self._only_complex = True, fill, only_complex

    def _take_dtype(self, frame: Any, index: Any, expected: tuple[int, ...]) -> None:
        array = as_array(frame)
        check_frame_shape(array, index, expected)
        with self._changing:
            if self._dtype_is_free:
                if not self._only_complex and array.dtype != self.dtype:
                    self.change_dtype(array.dtype, self._free_fill)
                elif self._only_complex and array.dtype.kind == "c" and self.dtype.kind != "c":
                    log.warning("%s: its first frame is complex: stored as complex128, not %s", self.path, self.dtype)
                    self.change_dtype(np.complex128, self._free_fill)
                self._dtype_is_free = False

    # -- space ----------------------------------------------------------------------------------------------------

    def claim_space(self) -> None:
        """Have the filesystem set the scan's space aside: at once as far as some 40 ms go, the rest behind the writer."""
        self._claim = SpaceClaim(self._part.file, layout_of(self._part.description).array_end + TAIL_ROOM, self._failed)

    def _end_claim(self) -> None:
        if self._claim is not None:
            self._claim.stop()

    # -- the end --------------------------------------------------------------------------------------------------

    def _refuse_unless_open(self) -> None:
        if self._state != "open":
            raise ScanClosedError(f"scan {self.path} is {self._state}")

    def _refuse_if_gone(self) -> None:
        if self._state in _GONE:
            raise ScanClosedError(f"scan {self.path} is {self._state}; open_wave or resume reads it")

    def _is_forked(self) -> None:
        """In a forked child, which neither writes nor finalizes. A thread that it does not have may hold the lock."""
        self._changing = threading.RLock()
        if self._state not in _GONE:
            self._state = _FORKED

    def seal(self) -> None:
        """Refuse further frames and wait for those in flight. What is left to do is close()."""
        self._refuse_if_gone()
        self._part.refuse("it is being saved")
        with self._changing:
            if self._state == "open":
                self._state = "sealed"

    def _end_threads(self) -> None:
        if self._follower is not None:
            self._follower.stop()
        self._end_claim()

    def close(self, progress: Progress | None = None, *, trim: bool = False, recovering: bool = False) -> Path:
        """Export the scan, with the fill value where frames never came, and return where it is. Twice is harmless.

        `trim` cuts it to the part of its grid that has frames; `recovering` replaces nothing. Where this fails the scan
        stays in progress on disk, and close() can be called again.
        """
        if self.report is not None:
            return self.report.path
        self.seal()
        self._end_threads()
        with self._changing:
            if self.report is None:
                self._refuse_if_gone()
                if self._note is not None and self._part.published is None:
                    self._store_note()
                self.report = finalize(self._part, progress, trim=trim or self.trim, recovering=recovering)
                self._state = "saved"
                self._let_go()
        return self.report.path

    def suspend(self) -> None:
        """Stop writing, and keep the scan in progress on disk, for `resume` or `recover`. Twice is harmless."""
        if self._state in _GONE and self._state != _FORKED:
            return
        self.seal()
        self._end_threads()
        with self._changing:
            if self._state in _GONE:
                return
            try:
                if self._part.published is None:
                    if self._note is not None:
                        self._store_note()
                    self._part.flush()
            finally:
                self._state = "suspended"
                self._let_go()

    def discard(self) -> None:
        """Give up a scan of which nothing has arrived: its files go, and its name is free again.

        Raises ScanClosedError where it has frames.
        """
        self.seal()
        self._end_threads()
        with self._changing:
            if self.frames_written or self._state != "sealed":
                raise ScanClosedError(f"scan {self.part_path} has {self.frames_written} frames, and is not discarded")
            self._state = "discarded"
            _fs.remove(self.part_path)
            self._part.remove_companions()
            if self.number is not None:
                give_back(self.part_path.parent, self._part.description.stem, self.number)
            self._let_go()

    def _let_go(self) -> None:
        self._map = None
        self._part.close()

    def __del__(self) -> None:
        if getattr(self, "_state", "saved") in _GONE:
            return
        if self._follower is not None:
            self._follower.stop(wait=False)
        warnings.warn(
            f"{self!r} was dropped: it is kept in progress at {self.part_path}", ResourceWarning, stacklevel=2
        )

    def __enter__(self) -> Scan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._state == "suspended":
            return
        if error is None:
            self.close()
            return
        try:
            self.suspend()
        except LysStorageError as second:
            error.add_note(f"And the last flush failed: {second}")
        if self.report is None:
            error.add_note(
                f"The scan is kept in progress: {self.part_path} ({self.frames_written} of {self.frames_expected} frames). "
                f"lys_storage.resume({os.fspath(self.path)!r}) goes on with it; "
                f'"lys-storage recover {self.part_path.parent}" exports it.'
            )


def _after_fork_in_child() -> None:
    for scan in list(Scan._live):
        scan._is_forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
