"""The way of frames into a scan: what an index names, whether the frame fits, and which of two ways it goes.

Nearly every frame is an array as it is to be, at an index of the grid: it is written as it lies, and those of one update
that are neighbours together. Everything else is selected, cast and cut into slabs first.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..errors import LysStorageError, ScanClosedError
from ..format import FrameLayout, LayoutChanged, select
from ..store import NOT_STORED, STORED_WAKE, ScanStore
from .checksum_thread import BackgroundWorkers
from .frame_input import as_array, as_frame, check_frame_shape, chunks

log = logging.getLogger("lys_storage")
_array = np.ndarray
_TOGETHER = 32 << 20
"""Bytes of a slice that are written, or rewritten, together at most."""


class FrameWriter:
    """Writes frames into a part, in any thread, and has them followed by checksums and flushes."""

    def __init__(
        self,
        part: ScanStore,
        flush_interval_s: float | None,
        failed: Callable[[LysStorageError], None],
        *,
        grid_is_known: bool,
    ) -> None:
        self._part = part
        self._flush_interval_s, self._failed = flush_interval_s, failed
        self._flushes_each = flush_interval_s == 0
        self._changing = threading.RLock()  # guards the layout, the metadata, the claim, the follower and the end
        self._follower: BackgroundWorkers | None = None
        self._state = "open"
        self._grid_is_known = grid_is_known
        self._dtype_is_free, self._free_fill, self._only_complex = False, None, False
        self._put_one: Callable[[Any, Any], int] | None = None
        self.put_only: Callable[[Mapping[Any, Any]], int] | None = None
        """A short way for {index: frame}: see _state. What it does not store goes to store()."""
        self._settle_form()

    def write(self, index: Any, frame: Any) -> None:
        """Store `frame` at `index`; when this returns it survives the death of the process, and may be reused.

        `index`: ints, slices, Ellipsis, as for numpy, without masks and lists. The frame's shape is exactly what the
        index leaves over (FrameShapeError), its dtype casts by same_kind (FrameTypeError), the index is in range
        (FrameIndexError); otherwise nothing of it is stored, and the scan goes on. DiskFullError, StorageOSError: the
        system refused; the frame is missing. ScanClosedError: it came too late.
        """
        part, put_one = self._part, self._put_one
        if put_one is not None and (stored := put_one(index, frame)):
            if stored == STORED_WAKE:
                self._frames_came(part)
            return
        form = part.form
        if type(frame) is _array and frame.dtype is form.buffer_dtype and frame.shape == form.frame_shape:
            number = form.number(index) if self._form_is_settled and frame.flags.c_contiguous else None
        else:
            if type(frame) is float and form.takes_floats:
                frame = np.float64(frame)
            number = self._plain_number(form, index, frame)
        if number is None:
            self._write_any(part, index, frame)
        else:
            try:
                part.put_frame(form, number, frame)
            except LayoutChanged:
                self._write_any(part, index, frame)
        if part.fresh_bytes >= part.tell_at:
            self._frames_came(part)

    def update(self, data: Mapping[Any, Any]) -> None:
        """Store every frame of `{index: frame}`. A bad one does not keep the others out: it is raised afterwards."""
        faults = self.store(data)
        if faults:
            if len(faults) > 1:
                faults[0].add_note(f"{len(faults) - 1} more frames of this update could not be stored")
            raise faults[0]

    def store(self, data: Mapping[Any, Any], stored: int = NOT_STORED) -> list[LysStorageError]:
        """Store every frame of `{index: frame}`; what could not be stored, and why. `stored`: what put_only said of them."""
        faults: list[LysStorageError] = []
        if stored != NOT_STORED:
            if stored == STORED_WAKE:
                self._tell(faults)
            return faults
        if len(data) == 1 or type(data) is not dict:  # another mapping may hand out one buffer again and again
            for index, frame in data.items():
                try:
                    self.write(index, frame)
                except LysStorageError as error:
                    faults.append(error)
            return faults
        part, neighbours = self._part, _AdjacentFrames()
        for index, frame in data.items():
            form = part.form
            if type(frame) is float and form.takes_floats:
                frame = np.float64(frame)
            number = self._plain_number(form, index, frame)
            if number is not None and neighbours.take(form, number, frame):
                continue
            self._put_neighbours(part, neighbours, faults)
            if number is not None:
                neighbours.begin(form, number, frame)
                continue
            try:
                self._write_any(part, index, frame)
            except LysStorageError as error:
                faults.append(error)
        self._put_neighbours(part, neighbours, faults)
        self._tell(faults)
        return faults

    def _tell(self, faults: list[LysStorageError]) -> None:
        try:
            self._frames_came(self._part)
        except LysStorageError as error:
            faults.append(error)

    def _plain_number(self, form: FrameLayout, index: Any, frame: Any) -> int | None:
        """The number of the frame that `index` names, where `frame` is an array as it is to be, else None."""
        if type(frame) is not _array and (form.frame_shape or not isinstance(frame, np.generic)):
            return None
        if frame.dtype is not form.buffer_dtype or frame.shape != form.frame_shape:
            return None
        if not self._form_is_settled or not frame.flags.c_contiguous:
            return None
        return form.number(index)

    def _put_neighbours(self, part: ScanStore, neighbours: _AdjacentFrames, faults: list[LysStorageError]) -> None:
        """Write what has been gathered, together; one by one where that does not go."""
        form, first, frames = neighbours.form, neighbours.first, neighbours.frames
        neighbours.frames = []
        if not frames or form is None:
            return
        try:
            if len(frames) > 1 and part.put_frames(form, first, frames):
                return
        except LysStorageError as error:
            log.info("%s: %s; one by one", part.path, error)
        for number, frame in enumerate(frames, first):
            try:
                try:
                    part.put_frame(form, number, frame)
                except LayoutChanged:
                    self._write_any(part, form.grid.index_of(number), frame)
            except LysStorageError as error:
                faults.append(error)

    def _write_any(self, part: ScanStore, index: Any, frame: Any) -> None:
        while True:
            selection = select(index, part.description.shape)
            if self._dtype_is_free:
                self._take_dtype(frame, index, selection.shape)
            form = part.form
            array = as_frame(frame, form.dtype)
            check_frame_shape(array, index, selection.shape)
            if not self._grid_is_known or selection.depth > form.grid.ndim:
                self._refine(selection.depth)
                continue
            try:
                for place, first, count in selection.blocks(form.grid, max(1, _TOGETHER // part.frame_bytes)):
                    part.put(form, first, count, chunks(array[place] if place else array, form.dtype))
                return
            except LayoutChanged:
                continue

    # -- what the first frames may still settle ---------------------------------------------------------------------

    def _refine(self, depth: int) -> None:
        """Make `depth` dimensions the grid."""
        raise NotImplementedError

    def change_dtype(self, dtype: Any, fill: Any = None) -> None:
        raise NotImplementedError

    def let_first_frame_choose(self, fill: Any = None, *, only_complex: bool = False) -> None:
        """The scan takes its first frame's dtype instead of its own; or complex128, only where that frame is complex.

        `fill` as in create.
        """
        self._dtype_is_free, self._free_fill, self._only_complex = True, fill, only_complex
        self._settle_form()

    def _take_dtype(self, frame: Any, index: Any, expected: tuple[int, ...]) -> None:
        array = as_array(frame)
        check_frame_shape(array, index, expected)
        with self._changing:
            dtype = self._part.form.dtype
            if self._dtype_is_free:
                if not self._only_complex and array.dtype != dtype:
                    self.change_dtype(array.dtype, self._free_fill)
                elif self._only_complex and array.dtype.kind == "c" and dtype.kind != "c":
                    log.warning("%s: its first frame is complex: stored as complex128, not %s", self._part.path, dtype)
                    self.change_dtype(np.complex128, self._free_fill)
                self._dtype_is_free = False
                self._settle_form()

    def _settle_form(self) -> None:
        """Whether the first frames can still change the layout; where they cannot, the short ways are open."""
        self._form_is_settled = settled = self._grid_is_known and not self._dtype_is_free
        self._put_one, self.put_only = (self._part.put_one, self._part.put_only) if settled else (None, None)

    # -- what follows -------------------------------------------------------------------------------------------------

    def _frames_came(self, part: ScanStore) -> None:
        follower = self._follower or self._follow()
        if follower is not None:
            follower.frames_came()
        if self._flushes_each:
            try:
                part.flush()
            except ScanClosedError:
                log.debug("%s was closed, and synced by that, while its last frame was written", part.path)

    def _follow(self) -> BackgroundWorkers | None:
        with self._changing:
            if self._follower is None and self._state == "open":
                self._follower = BackgroundWorkers(self._part, self._flush_interval_s, self._failed)
            return self._follower


class _AdjacentFrames:
    """Frames of one update whose numbers follow each other."""

    def __init__(self) -> None:
        self.form: FrameLayout | None = None
        self.first = 0
        self.frames: list[Any] = []

    def begin(self, form: FrameLayout, number: int, frame: Any) -> None:
        self.form, self.first, self.frames = form, number, [frame]

    def take(self, form: FrameLayout, number: int, frame: Any) -> bool:
        if self.frames and number == self.first + len(self.frames) and form is self.form:
            self.frames.append(frame)
            return True
        return False
