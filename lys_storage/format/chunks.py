"""How a lazy array is cut into chunks. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

CHUNK_BYTES = 64 << 20
"""Frames are merged into chunks of at most this size: dask needs about half a millisecond for a chunk, whatever its size is."""


def grid_ndim_of(info: dict[str, Any], shape: tuple[int, ...]) -> int:
    """How many first dimensions of `shape` are the grid: as `info` says, else all but the last two, which are a frame."""
    grid = info.get("grid_shape")
    if isinstance(grid, list) and tuple(grid) == shape[: len(grid)]:
        return len(grid)
    return max(0, len(shape) - 2)


def frame_chunks(shape: Sequence[int], itemsize: int, grid_ndim: int, is_fortran: bool = False) -> tuple[int, ...]:
    """The shape of a chunk: one frame, or adjacent ones merged up to CHUNK_BYTES. A chunk is contiguous in the file.

    In Fortran order the last dimension is the slowest one: there a chunk is one or more indices of it.
    """
    if is_fortran:
        return frame_chunks(shape[::-1], itemsize, 1)[::-1]
    chunks = list(shape)
    room = max(1, CHUNK_BYTES // max(1, prod(shape[grid_ndim:]) * itemsize))
    for k in reversed(range(grid_ndim)):
        chunks[k] = min(max(1, shape[k]), room)
        room = max(1, room // chunks[k]) if chunks[k] >= shape[k] else 1
    return tuple(chunks)
