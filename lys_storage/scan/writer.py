"""Writes frames into a scan: finds the frames that an index names, checks the given frame, and chooses one of two paths.

The fast path: an array in its stored form (dtype, shape, C order) at an index of the grid is written without a copy, and
adjacent ones of an update are written together. The general path selects, casts and cuts into slabs all others.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FrameIndexError, LysStorageError, ScanClosedError, ScanShapeError
from ..format import MAX_FRAMES, FrameLayout, Grid, LayoutChanged, check_dtype, layout_of, select
from ..store import NOT_STORED, STORED_WAKE, ScanStore
from .array_map import ArrayMap
from .background import BackgroundWorkers
from .frame_input import NUMBERS, as_array, as_frame, check_frame_shape, chunks, with_same_values
from .lifecycle import Lifecycle
from .relayout import change_dtype, refine
from .space import ScanSpace

log = logging.getLogger("lys_storage")

_array = np.ndarray
_NUMPY_READS = 10_000
"""Bytes: the default of `max_header_size` in numpy.load."""
_TOGETHER = 32 << 20
"""The most bytes of a slice that are written, or rewritten, together."""


class FrameWriter:
    """Writes frames into a store, in any thread, and changes its layout if the first frames need it."""

    def __init__(
        self,
        store: ScanStore,
        lifecycle: Lifecycle,
        workers: BackgroundWorkers,
        space: ScanSpace,
        array_map: ArrayMap,
        *,
        grid_is_known: bool,
        flush_each_write: bool,
        checks_values: bool,
    ) -> None:
        self._store, self._lifecycle, self._workers, self._space = store, lifecycle, workers, space
        self._array_map = array_map
        self._table = store.table
        self._flush_each_write = flush_each_write
        self._grid_is_known, self._checks_values = grid_is_known, checks_values
        self._infers_dtype, self._inferred_fill, self._only_complex = False, None, False
        self._write_fast: Callable[[Any, Any], int] | None = None
        self.write_item_fast: Callable[[Mapping[Any, Any]], int] | None = None
        """A fast path for {index: frame}: see store/hotpath.py. What it does not store goes to store()."""
        self._update_fast_path()

    def write(self, index: Any, frame: Any, fills: bool = False) -> None:
        """As Scan.write. `fills`: a number fills all frames that the index names; else it is a frame of the wrong shape."""
        table, write_fast = self._table, self._write_fast
        if write_fast is not None and (stored := write_fast(index, frame)):
            if stored == STORED_WAKE:
                self._notify_written()
            return
        layout = table.layout
        if type(frame) is _array and frame.dtype is layout.buffer_dtype and frame.shape == layout.frame_shape:
            number = layout.number(index) if self._layout_is_fixed and frame.flags.c_contiguous else None
        else:
            if type(frame) is float and layout.takes_floats:
                frame = np.float64(frame)
            number = self._fast_path_index(layout, index, frame)
        if number is None:
            self._write_general(index, frame, fills)
        elif not table.write_one(layout, number, frame):
            self._rewrite_one(layout, number, index, frame)
        if table.dirty_bytes >= table.wake_at_bytes:
            self._notify_written()

    def _rewrite_one(self, layout: FrameLayout, number: int, index: Any, frame: Any) -> None:
        """Write a frame in its stored form that write_one() cannot write."""
        try:
            self._store.write(layout, number, 1, ((0, frame.data),))
        except LayoutChanged:
            self._write_general(index, frame)
        else:
            self._take_checksums()

    def update(self, data: Mapping[Any, Any]) -> None:
        """Store every frame of `{index: frame}`. The error of a bad one is raised after all others are stored."""
        faults = self.store(data, fills=True)
        if faults:
            if len(faults) > 1:
                faults[0].add_note(f"{len(faults) - 1} more frames of this update could not be stored")
            raise faults[0]

    def store(self, data: Mapping[Any, Any], stored: int = NOT_STORED, *, fills: bool = False) -> list[LysStorageError]:
        """Store every frame of `{index: frame}`. Returns the error of each that could not be stored.

        `stored`: what write_item_fast returned for them. `fills`: as in write.
        """
        faults: list[LysStorageError] = []
        if stored != NOT_STORED:
            if stored == STORED_WAKE:
                self._notify_written_into(faults)
            return faults
        if len(data) == 1 or type(data) is not dict:  # another mapping may give the same buffer for each frame
            for index, frame in data.items():
                try:
                    self.write(index, frame, fills)
                except LysStorageError as error:
                    faults.append(error)
            return faults
        adjacent = _AdjacentFrames()
        for index, frame in data.items():
            layout = self._table.layout
            if type(frame) is float and layout.takes_floats:
                frame = np.float64(frame)
            number = self._fast_path_index(layout, index, frame)
            if number is not None and adjacent.take(layout, number, frame):
                continue
            self._write_adjacent(adjacent, faults)
            if number is not None:
                adjacent.begin(layout, number, frame)
                continue
            try:
                self._write_general(index, frame, fills)
            except LysStorageError as error:
                faults.append(error)
        self._write_adjacent(adjacent, faults)
        self._notify_written_into(faults)
        return faults

    def _fast_path_index(self, layout: FrameLayout, index: Any, frame: Any) -> int | None:
        """The number of the frame that `index` names, if `frame` is an array in its stored form, else None."""
        if type(frame) is not _array and (layout.frame_shape or not isinstance(frame, np.generic)):
            return None
        if frame.dtype is not layout.buffer_dtype or frame.shape != layout.frame_shape:
            return None
        if not self._layout_is_fixed or not frame.flags.c_contiguous:
            return None
        return layout.number(index)

    def _write_adjacent(self, adjacent: _AdjacentFrames, faults: list[LysStorageError]) -> None:
        """Write the gathered frames together, or one by one if that is not possible."""
        layout, first, frames = adjacent.layout, adjacent.first, adjacent.frames
        adjacent.frames = []
        if not frames or layout is None:
            return
        try:
            together = len(frames) > 1 and not self._table.checksums_at_once
            if together and self._table.write_adjacent(layout, first, frames):
                return
        except LysStorageError as error:
            log.info("%s: %s; its frames are written one by one", self._store.path, error)
        for number, frame in enumerate(frames, first):
            try:
                if not self._table.write_one(layout, number, frame):
                    self._rewrite_one(layout, number, layout.grid.index_of(number), frame)
            except LysStorageError as error:
                faults.append(error)

    def _write_general(self, index: Any, frame: Any, fills: bool = False) -> None:
        store = self._store
        while True:
            selection = select(index, store.description.shape)
            if self._infers_dtype:
                self._infer_dtype(frame, index, selection.shape)
            layout = store.layout
            array = as_frame(frame, layout.dtype, index)
            if fills and isinstance(frame, NUMBERS):
                array = np.broadcast_to(self._kept(array, layout.dtype, index), selection.shape)
            check_frame_shape(array, index, selection.shape)
            if self._grid_is_known and selection.depth > layout.grid.ndim:
                raise _too_long(index, layout.grid)
            if not array.size:
                return  # an empty slice names no frame, and does not set the grid
            array = self._kept(array, layout.dtype, index)
            if not self._grid_is_known:
                self._set_grid(selection.depth)
                continue
            most = max(1, _TOGETHER // store.description.frame_bytes)
            try:
                for place, first, count in selection.blocks(layout.grid, most):
                    store.write(layout, first, count, chunks(array[place] if place else array, layout.dtype))
                self._take_checksums()
                return
            except LayoutChanged:
                continue

    def _kept(self, array: np.ndarray[Any, Any], dtype: np.dtype[Any], index: Any) -> np.ndarray[Any, Any]:
        if self._checks_values and array.dtype is not dtype:
            return with_same_values(array, dtype, index)
        return array

    # -- what the first frames can still change ---------------------------------------------------------------------

    def _set_grid(self, depth: int) -> None:
        """Make `depth` dimensions the grid: the first index sets their number, if create did not."""
        store = self._store
        with self._lifecycle.lock:
            self._lifecycle.raise_unless_open(store.final_path)
            if self._grid_is_known:
                return
            grid = Grid(store.description.shape, depth)
            if grid.frames > MAX_FRAMES:
                raise ScanShapeError(
                    f"an index of {depth} dimensions makes {grid.frames:,} frames, at most {MAX_FRAMES:,} are possible: "
                    "write larger frames"
                )
            if depth != store.grid.ndim:
                refine(store, depth)
            self._grid_is_known = True
            self._update_fast_path()

    def change_dtype(self, dtype: Any, fill_value: Any = None) -> None:
        """Change the layout to that of `dtype`. ScanShapeError if a frame was written."""
        with self._lifecycle.lock:
            self._lifecycle.raise_unless_open(self._store.final_path)
            self._space.stop()
            self._array_map.drop()
            try:
                change_dtype(self._store, check_dtype(dtype), fill_value)
            finally:
                self._array_map.drop()  # it may map the new file with the old layout
            warn_of_header(self._store.final_path, layout_of(self._store.description).npy_header)
            self._infers_dtype = False
            self._update_fast_path()
            self._space.preallocate()

    def infer_dtype_from_first_frame(self, fill_value: Any = None, *, only_complex: bool = False) -> None:
        """Let the first frame set the dtype of the scan; with `only_complex` to complex128, and only if that frame is complex.

        `fill_value`: as in create.
        """
        self._infers_dtype, self._inferred_fill, self._only_complex = True, fill_value, only_complex
        self._update_fast_path()

    def _infer_dtype(self, frame: Any, index: Any, expected: tuple[int, ...]) -> None:
        array = as_array(frame)
        check_frame_shape(array, index, expected)
        with self._lifecycle.lock:
            dtype = self._store.layout.dtype
            if self._infers_dtype:
                if not self._only_complex and array.dtype != dtype:
                    self.change_dtype(array.dtype, self._inferred_fill)
                elif self._only_complex and array.dtype.kind == "c" and dtype.kind != "c":
                    path = self._store.path
                    log.warning("%s: its first frame is complex: stored as complex128, not %s", path, dtype)
                    self.change_dtype(np.complex128, self._inferred_fill)
                self._infers_dtype = False
                self._update_fast_path()

    def _update_fast_path(self) -> None:
        """Enable the fast paths if no frame can change the layout any more."""
        table = self._table
        self._layout_is_fixed = fixed = self._grid_is_known and not self._infers_dtype
        fixed = fixed and not table.checksums_at_once
        self._write_fast, self.write_item_fast = (table.write_fast, table.write_item_fast) if fixed else (None, None)

    # -- what follows a write ---------------------------------------------------------------------------------------

    def _take_checksums(self) -> None:
        if self._table.checksums_at_once:
            with contextlib.suppress(ScanClosedError):  # the end of the scan takes them
                self._store.checksum_all()

    def _notify_written(self) -> None:
        self._workers.notify_written()
        if self._flush_each_write:
            try:
                self._store.flush()
            except ScanClosedError:
                path = self._store.path
                log.debug("%s was closed, and thereby synced, while its last frame was written", path)

    def _notify_written_into(self, faults: list[LysStorageError]) -> None:
        try:
            self._notify_written()
        except LysStorageError as error:
            faults.append(error)


def warn_of_header(path: Path, npy_header: bytes) -> None:
    """Log a warning if the header is longer than numpy.load reads by default."""
    if len(npy_header) > _NUMPY_READS:
        log.warning(
            "%s: the .npy header of its dtype is %d bytes long: open_wave and lys read it, numpy.load only with "
            "max_header_size=%d; use fewer or shorter names of fields",
            *(path, len(npy_header), len(npy_header)),
        )


def _too_long(index: Any, grid: Grid) -> FrameIndexError:
    return FrameIndexError(
        f"index {index!r} names a part of a frame: the grid is {grid.grid_shape}, and each frame of it has shape "
        f"{grid.frame_shape}. Write whole frames; for a finer grid pass grid_ndim to create"
    )


class _AdjacentFrames:
    """Frames of one update with consecutive numbers."""

    def __init__(self) -> None:
        self.layout: FrameLayout | None = None
        self.first = 0
        self.frames: list[Any] = []

    def begin(self, layout: FrameLayout, number: int, frame: Any) -> None:
        self.layout, self.first, self.frames = layout, number, [frame]

    def take(self, layout: FrameLayout, number: int, frame: Any) -> bool:
        if self.frames and number == self.first + len(self.frames) and layout is self.layout:
            self.frames.append(frame)
            return True
        return False
