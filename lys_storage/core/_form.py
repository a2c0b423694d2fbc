"""How the frames of a scan lie in its file: what has to be read together, and changes together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import os_error
from . import _fs
from ._description import Description
from ._index import Grid, select


@dataclass(frozen=True, eq=False)
class Form:
    """How the frames lie: what has to be read together, and changes together, when a scan is laid out anew.

    `buffer_dtype`: the dtype again, where a frame of it can be written as it is, without a view as bytes. `number` is the
    grid's. `takes_floats`: a frame is one float64, which a Python float is as well.
    """

    grid: Grid
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    buffer_dtype: np.dtype[Any] | None
    number: Callable[[Any], int | None]
    takes_floats: bool

    @classmethod
    def of(cls, description: Description) -> Form:
        dtype = description.dtype
        plain = dtype.kind in "biuf" and dtype.isnative and dtype.char != "g"
        grid = Grid(description.shape, description.grid_ndim)
        takes_floats = not grid.frame_shape and dtype is np.dtype(np.float64)
        return cls(grid, grid.frame_shape, dtype, dtype if plain else None, grid.numbering(), takes_floats)


class LaidOutAnew(Exception):  # noqa: N818  a turn in the conversation between scan and part, no error
    """The frames were made for a form that is no longer the scan's: make them again."""


def read_selection(
    file: _fs.File, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], index: Any
) -> np.ndarray[Any, Any]:
    """What `index` names in an array stored in C order at `offset` of `file`, by reads that raise."""
    selection = select(index, shape)
    result = np.empty(selection.shape, dtype)
    grid = Grid(shape, selection.depth)
    size = grid.frame_elements * dtype.itemsize
    flat = result.reshape(-1).view(np.uint8)
    at = 0
    for _, first, count in selection.blocks(grid):
        view = flat.data[at : at + count * size]
        at += count * size
        if file.read_into(view, offset + first * size) != len(view):
            raise os_error("read", file.path, OSError(5, "the file ends before its array does"))
    return result
