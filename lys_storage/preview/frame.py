"""Reads the picture of one frame: its last two dimensions, in at most 512 cells along each.

Memory use does not depend on the size of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .source import PreviewError, Source
from .values import Array, Flags, Numbers, Reals, Sums, as_reals, field_of

MOST_PIXELS = (4096, 512)
"""Cells along each dimension, at most: of a frame of one dimension, of two."""
_WHOLE_BYTES = 1 << 28
"""Of larger pictures one row of each cell is read."""
_READ_BYTES = 1 << 21
_APART_BYTES = 1 << 16
_ATTEMPTS = 3


@dataclass(frozen=True)
class FramePicture:
    """`values`: one or two dimensions, NaN where no element is finite. `steps`: elements of a cell along each of them.

    `where`: the index in the dimensions of the frame before these. `is_sampled`: not all elements of a cell were read.
    """

    values: Reals
    steps: tuple[int, ...]
    where: tuple[int, ...]
    is_sampled: bool

    def words(self) -> list[str]:
        """What a cell is, for the title; nothing if it is one element."""
        if all(step == 1 for step in self.steps):
            return []
        cell = " × ".join(map(str, self.steps))
        return [f"sampled: one cell for {cell} pixels" if self.is_sampled else f"mean of {cell} pixels"]


class FrameCollector:
    """The cells of the picture of frame `number`, to which elements are added in any order."""

    def __init__(self, source: Source, number: int) -> None:
        self._grid, self._number, self._field = source.grid, number, field_of(source.dtype) or ()
        shape = source.grid.frame_shape
        self._ndim = min(2, len(shape))
        plane = shape[len(shape) - self._ndim :] or (1,)
        self.rows, self.columns = (1, *plane)[-2:]
        self.where = tuple(n // 2 for n in shape[:-2])
        most = MOST_PIXELS[max(0, self._ndim - 1)]
        self.row_step, self.column_step = -(-self.rows // most), -(-self.columns // most)
        counts = -(-self.rows // self.row_step), -(-self.columns // self.column_step)
        self._totals, self._counts = np.zeros(counts), np.zeros(counts)
        first = 0
        for i, n in zip(self.where, shape, strict=False):
            first = first * n + i
        self.first = number * source.grid.frame_elements + first * self.rows * self.columns
        self.is_sampled = False
        self.left_out = False

    def take(self, at: int, piece: Array) -> None:
        """Add what belongs to the picture of a piece of the array, in C order, whose first element has the number `at`."""
        begin, end = max(self.first, at), min(self.first + self.rows * self.columns, at + len(piece))
        if begin < end:
            places = np.arange(begin - self.first, end - self.first)
            self._add(places // self.columns, places % self.columns, piece[begin - at : end - at])

    def take_fortran(self, at: int, piece: Array) -> None:
        """As take, of an array in Fortran order."""
        grid = self._grid
        place = int(np.ravel_multi_index(grid.index_of(self._number), grid.grid_shape, order="F")) if grid.ndim else 0
        begin = (place - at) % grid.frames
        values = piece[begin :: grid.frames]
        if not len(values):
            return
        elements = (at + begin) // grid.frames + np.arange(len(values))
        index = np.unravel_index(elements, grid.frame_shape or (1,), order="F")
        inside = np.ones(len(values), bool)
        for along, i in zip(index, self.where, strict=False):
            inside &= along == i
        rows = index[-2] if self._ndim == 2 else np.zeros_like(elements)
        self._add(rows[inside], index[-1][inside], values[inside])

    def _add(self, rows: Numbers, columns: Numbers, values: Array) -> None:
        if not len(values):
            return
        reals = as_reals(values, self._field).astype(np.float64)
        finite: Flags = np.isfinite(reals)
        self.left_out |= not finite.all()
        low, high = int(rows.min()) // self.row_step, int(rows.max()) // self.row_step + 1
        width = self._totals.shape[1]
        cells = (rows // self.row_step - low) * width + columns // self.column_step
        size = (high - low) * width
        totals = np.bincount(cells, np.where(finite, reals, 0.0), size)
        self._totals[low:high] += totals.reshape(-1, width)
        self._counts[low:high] += np.bincount(cells, finite, size).reshape(-1, width)

    @property
    def picture(self) -> FramePicture:
        values = Sums(self._totals, self._counts.astype(np.int64)).means()
        steps = (self.row_step, self.column_step)[-max(1, self._ndim) :]
        return FramePicture(values if self._ndim == 2 else values[0], steps, self.where, self.is_sampled)


def read_frame(source: Source, number: int) -> FrameCollector:
    """Read the picture of frame `number` of a source that is not streamed. Raises PreviewError if it is being rewritten."""
    for _ in range(_ATTEMPTS):
        collector = FrameCollector(source, number)
        _read(source, collector)
        if source.readable(np.array([number]))[0]:
            return collector
    raise PreviewError(f"{source.path}: the frame is being rewritten: try again, or name another one")


def _read(source: Source, collector: FrameCollector) -> None:
    itemsize, rows, columns = source.dtype.itemsize, collector.rows, collector.columns
    length = max(1, _READ_BYTES // itemsize)
    if rows * columns * itemsize <= _WHOLE_BYTES:
        _read_range(source, collector, 0, rows * columns, length)
        return
    collector.is_sampled = True
    for row in range(0, rows, collector.row_step):
        begin, end = row * columns, (row + 1) * columns
        if collector.column_step * itemsize <= _APART_BYTES:
            _read_range(source, collector, begin, end, length)
            continue
        for at in range(begin, end, collector.column_step):
            stop = min(at + max(1, _APART_BYTES // 4 // itemsize), at + collector.column_step, end)
            _read_range(source, collector, at, stop, length)


def _read_range(source: Source, collector: FrameCollector, begin: int, end: int, length: int) -> None:
    for at in range(begin, end, length):
        first = collector.first + at
        collector.take(first, source.read(first, min(length, end - at)))
