"""Reads parts of a compressed array in one forward pass, in the memory of the result.

A compressed member can only be read from its beginning: a part costs the time of all that is before it. The CRC-32 of the
member is compared only when its end is read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from ..errors import BadFileError
from ..format import Grid, select

_STEP = 1 << 20


class ForwardReader:
    """The elements of an array in `stream`, a compressed member whose .npy header has `header_size` bytes."""

    def __init__(self, stream: IO[bytes], header_size: int) -> None:
        self._stream, self._at = stream, -header_size

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill `view` with the bytes of the array from `offset`, which is not before what has been read."""
        while self._at < offset:
            self._next(min(_STEP, offset - self._at))
        done = 0
        while done < len(view):
            piece = self._next(min(_STEP, len(view) - done))
            view[done : done + len(piece)] = piece
            done += len(piece)

    def finish(self) -> None:
        """Read to the end of the member, where zipfile compares the CRC-32."""
        while self._stream.read(_STEP):
            pass

    def _next(self, size: int) -> bytes:
        piece = self._stream.read(size)
        if not piece:
            raise BadFileError(f"the compressed array is truncated: it ends at byte {self._at}")
        self._at += len(piece)
        return piece


def read_forward(
    reader: ForwardReader, shape: tuple[int, ...], dtype: np.dtype[Any], order: str, index: Any
) -> np.ndarray[Any, Any]:
    """A copy of the part that `index` selects of an array of `shape`, stored in `order` "C" or "F"."""
    selection = select(index, shape)
    if order == "F":
        entries = selection.entries + tuple(range(n) for n in shape[selection.depth :])
        mirrored = tuple(e if isinstance(e, int) else as_slice(e) for e in reversed(entries))
        return read_forward(reader, shape[::-1], dtype, "C", mirrored).T
    result = np.empty(selection.shape, dtype)
    grid = Grid(shape, selection.depth)
    size = grid.frame_elements * dtype.itemsize
    flat = result.reshape(-1).view(np.uint8).data
    for offset, at, length in _in_order_of_the_file(selection, grid, size):
        reader.read_into(flat[at : at + length], offset)
    return result


def _in_order_of_the_file(selection: Any, grid: Grid, size: int) -> Iterator[tuple[int, int, int]]:
    """(offset in the array, offset in the result, length) of each contiguous block."""

    def blocks() -> Iterator[tuple[int, int, int]]:
        at = 0
        for _, first, count in selection.blocks(grid):
            yield first * size, at, count * size
            at += count * size

    ascends = all(isinstance(entry, int) or entry.step > 0 for entry in selection.entries)
    return blocks() if ascends else iter(sorted(blocks()))


def as_slice(of: range) -> slice:
    """The slice that selects the positions `of`."""
    if not of:  # range(-1, -1, -1), which [-9::-1] gives, would be slice(-1, None, -1): everything
        return slice(0, 0)
    return slice(of.start, of.stop if of.stop >= 0 else None, of.step)
