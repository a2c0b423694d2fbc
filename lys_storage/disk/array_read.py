"""Reads a selection of an array in a file. A failed read raises an exception; there is no memory map."""

from __future__ import annotations

import errno
from typing import Any

import numpy as np

from ..errors import os_error
from ..format import Grid, Selection
from .file import File


def read_selection(
    file: File, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], selection: Selection
) -> np.ndarray[Any, Any]:
    """Read `selection` of an array of `shape` that is stored in C order at `offset` of `file`. Raises StorageOSError."""
    result = np.empty(selection.shape, dtype)
    grid = Grid(shape, selection.depth)
    size = grid.frame_elements * dtype.itemsize
    flat = result.reshape(-1).view(np.uint8)
    at = 0
    for _, first, count in selection.blocks(grid):
        view = flat.data[at : at + count * size]
        at += count * size
        _read_whole(file, view, offset + first * size)
    return result


def read_block(file: File, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Read an array of `shape` that is stored in C order at `offset` of `file`. Raises StorageOSError."""
    result = np.empty(shape, dtype)
    _read_whole(file, result.reshape(-1).view(np.uint8).data, offset)
    return result


def read_fortran_selection(
    file: File, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any], selection: Selection
) -> np.ndarray[Any, Any]:
    """read_selection() for an array in Fortran order. Reads one index of the last dimension at a time."""
    *inner, last = selection.entries + tuple(range(n) for n in shape[selection.depth :])
    result = np.empty(selection.shape, dtype)
    slab = np.empty(shape[:-1], dtype, order="F")
    view = slab.reshape(-1, order="F").view(np.uint8).data
    picked = tuple(e if isinstance(e, int) else _slice(e) for e in inner)
    for k, place in enumerate([last] if isinstance(last, int) else last if result.size else ()):
        _read_whole(file, view, offset + place * slab.nbytes)
        result[... if isinstance(last, int) else (..., k)] = slab[picked]
    return result


def read_elements(
    file: File, offset: int, dtype: np.dtype[Any], first: int, count: int
) -> np.ndarray[Any, np.dtype[Any]]:
    """`count` elements from number `first`, in the order of the file, of an array at `offset`. Raises StorageOSError."""
    result = np.empty(count, dtype)
    _read_whole(file, result.view(np.uint8).data, offset + first * dtype.itemsize)
    return result


def _slice(of: range) -> slice:
    if not of:  # range(-1, -1, -1), which [-9::-1] gives, would be slice(-1, None, -1): everything
        return slice(0, 0)
    return slice(of.start, of.stop if of.stop >= 0 else None, of.step)


def _read_whole(file: File, view: memoryview, offset: int) -> None:
    if file.read_into(view, offset) != len(view):
        raise os_error("read", file.path, OSError(errno.EIO, "the file ends before the end of its array"))
