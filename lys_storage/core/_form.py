"""How the frames of a scan lie in its file: what has to be read together, and changes together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _fs
from ._checksum import crc32
from ._errors import os_error
from ._index import Grid, select
from ._journal import CHECKED, COMING, Description, Journal

_READ_SIZE = 1 << 20


@dataclass(frozen=True, eq=False)
class Form:
    """How the frames lie: what has to be read together, and changes together, when a scan is laid out anew.

    `buffer_dtype`: the dtype again, where a frame of it can be written as it is, without a view as bytes.
    """

    grid: Grid
    frame_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    buffer_dtype: np.dtype[Any] | None
    number: Callable[[Any], int | None]

    @classmethod
    def of(cls, description: Description) -> Form:
        dtype = description.dtype
        plain = dtype.kind in "biuf" and dtype.isnative and dtype.char != "g"
        grid = Grid(description.shape, description.grid_ndim)
        return cls(grid, grid.frame_shape, dtype, dtype if plain else None, grid.number)


class LaidOutAnew(Exception):  # noqa: N818  a turn in the conversation between scan and part, no error
    """The frames were made for a form that is no longer the scan's: make them again."""


def refine_marks(old: Journal, new: Journal, file: _fs.File) -> None:
    """Carry marks over to a finer grid: every new frame has the mark of the old one that it is a part of.

    Checksums are taken anew, from the file: what was promised by the old ones is by these before they take their place.
    """
    new.epoch = old.epoch
    times, size = new.description.frames // old.description.frames, new.description.frame_bytes
    source = old.mark_array
    buffer = memoryview(bytearray(min(_READ_SIZE, size)))
    for frame in np.flatnonzero(source).tolist():
        begin = frame * times
        if source[frame] <= COMING:
            new.set_marks(begin, begin + times, int(source[frame]))
            continue
        sums = np.empty(times, np.uint32)
        for k in range(begin, begin + times):
            crc, at = 0, new.description.array_offset + k * size
            for done in range(0, size, _READ_SIZE):
                view = buffer[: min(_READ_SIZE, size - done)]
                if file.read_into(view, at + done) != len(view):
                    raise os_error("read", file.path, OSError(5, "the scan file ends before its array does"))
                crc = crc32(view, crc)
            sums[k - begin] = crc
        new.put_checksums(begin, sums)
        new.set_marks(begin, begin + times, CHECKED)


def read_selection(
    file: _fs.File, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], index: Any
) -> np.ndarray[Any, Any]:
    """What `index` names in an array stored in C order at `offset` of `file`, by reads that raise."""
    selection = select(index, shape)
    result = np.empty(selection.shape, dtype)
    grid = Grid(shape, selection.depth)
    size = grid.frame_elements * dtype.itemsize
    flat = result.reshape(-1).view(np.uint8)
    for k, (_, first, _count) in enumerate(selection.blocks(grid)):
        view = flat.data[k * size : (k + 1) * size]
        if file.read_into(view, offset + first * size) != size:
            raise os_error("read", file.path, OSError(5, "the file ends before its array does"))
    return result
