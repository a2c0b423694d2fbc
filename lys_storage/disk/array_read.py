"""Reading a selection of an array that lies in C order in a file, by reads that raise."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import os_error
from ..format import Grid, select
from .file import File


def read_selection(
    file: File, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], index: Any
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
