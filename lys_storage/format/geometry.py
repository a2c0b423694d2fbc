"""The grid of a scan, and the layout of its frames. Pure arithmetic: never reads or writes a frame.

A frame is the part of the array at one point of the grid. Each frame has one state and one CRC-32 in the journal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from .description import Description


@dataclass(frozen=True)
class Grid:
    """The first `ndim` dimensions of `shape`. Each point has one frame."""

    shape: tuple[int, ...]
    ndim: int

    @cached_property
    def grid_shape(self) -> tuple[int, ...]:
        return self.shape[: self.ndim]

    @cached_property
    def frame_shape(self) -> tuple[int, ...]:
        return self.shape[self.ndim :]

    @property
    def frames(self) -> int:
        return prod(self.grid_shape)

    @property
    def frame_elements(self) -> int:
        return prod(self.frame_shape)

    def number(self, index: Any) -> int | None:
        """The number of the frame at `index`; None if that is not an int or a tuple of ints, or is negative or too large."""
        if type(index) is not tuple:
            index = (index,)
        if len(index) != self.ndim:
            return None
        frame, lengths = 0, self.shape
        for k, i in enumerate(index):
            if type(i) is not int:
                if not isinstance(i, np.integer):
                    return None
                i = int(i)
            if not 0 <= i < lengths[k]:
                return None
            frame = frame * lengths[k] + i
        return frame

    def numbering(self) -> Callable[[Any], int | None]:
        """number(), faster for grids of one or two dimensions."""
        if self.ndim == 1:
            return _numbering_of_one(self, self.shape[0])
        return _numbering_of_two(self, *self.shape[:2]) if self.ndim == 2 else self.number

    def index_of(self, frame: int) -> tuple[int, ...]:
        """The grid index of frame number `frame` (C order)."""
        index = []
        for n in reversed(self.grid_shape):
            frame, i = divmod(frame, n)
            index.append(i)
        return tuple(reversed(index))


def _numbering_of_one(grid: Grid, length: int) -> Callable[[Any], int | None]:
    def number(index: Any) -> int | None:
        i = index[0] if type(index) is tuple and len(index) == 1 else index
        if type(i) is int and 0 <= i < length:
            return i
        return grid.number(index)

    return number


def _numbering_of_two(grid: Grid, rows: int, columns: int) -> Callable[[Any], int | None]:
    def number(index: Any) -> int | None:
        if type(index) is tuple and len(index) == 2:
            i, j = index
            if type(i) is int and type(j) is int and 0 <= i < rows and 0 <= j < columns:
                return i * columns + j
        return grid.number(index)

    return number


@dataclass(frozen=True, eq=False)
class FrameLayout:
    """How frames are stored in the file. Immutable: a scan whose grid or dtype changes gets a new one.

    `buffer_dtype`: the dtype if the buffer protocol supports it, which saves a view as bytes for each write; else None.
    `number`: from an index to a frame number. `takes_floats`: a frame is one float64, and can be a Python float.
    """

    grid: Grid
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    buffer_dtype: np.dtype[Any] | None
    number: Callable[[Any], int | None]
    takes_floats: bool

    @classmethod
    def of(cls, description: Description) -> FrameLayout:
        dtype = description.dtype
        plain = dtype.kind in "biuf" and dtype.isnative and dtype.char != "g"
        grid = Grid(description.shape, description.grid_ndim)
        takes_floats = not grid.frame_shape and dtype is np.dtype(np.float64)
        return cls(grid, grid.frame_shape, dtype, dtype if plain else None, grid.numbering(), takes_floats)


class LayoutChanged(Exception):  # noqa: N818  not an error: the writer starts again
    """The frames were converted for a layout that the scan no longer has: convert them again."""
