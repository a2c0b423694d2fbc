"""From an index to frames: which of them it names, and what shape it leaves over. Pure arithmetic.

A frame is what one index of the grid's full length names. It is the unit of bookkeeping: each has one mark and one
CRC-32 in the journal. A shorter index names many frames; a longer one needs a finer grid.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod
from typing import Any

import numpy as np

from ..errors import FrameIndexError

Entry = int | slice


@dataclass(frozen=True)
class Grid:
    """The first `ndim` dimensions of `shape`, whose every point is a frame."""

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
        """The number of the frame that `index` names, where it is an int or a tuple of ints, in range and not negative."""
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
        """number() in as few steps as a grid of one or two dimensions needs; that is nearly every one."""
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


@dataclass(frozen=True)
class Selection:
    """What an index names. `depth` dimensions are needed to name it by whole blocks; `shape` is what it leaves over."""

    entries: tuple[int | range, ...]
    depth: int
    shape: tuple[int, ...]

    def blocks(self, grid: Grid, most: int = 1 << 62) -> Iterator[tuple[tuple[int | slice, ...], int, int]]:
        """(index into the value, first frame, number of frames) of each contiguous block, in C order.

        Needs depth <= grid.ndim. A slice at the end goes in blocks of about `most` frames at most.
        """
        count = prod(grid.shape[self.depth : grid.ndim])
        outer: tuple[int | range, ...] = self.entries
        last = outer[-1] if outer else None
        if isinstance(last, range) and last.step == 1:
            outer = outer[:-1]
        else:
            last = None
        ranges = [(e,) if isinstance(e, int) else e for e in outer]
        kept = [k for k, e in enumerate(outer) if not isinstance(e, int)]
        step = max(1, most // max(1, count))
        for places in product(*(range(len(r)) for r in ranges)):
            block = 0
            for n, r, k in zip(grid.shape, ranges, places, strict=False):
                block = block * n + r[k]
            place: tuple[int | slice, ...] = tuple(places[k] for k in kept)
            if last is None:
                yield place, block * count, count
                continue
            block = block * grid.shape[len(outer)] + last.start
            for at in range(0, len(last), step):
                n = min(step, len(last) - at)
                inner = () if n == len(last) else (slice(at, at + n),)
                yield place + inner, (block + at) * count, n * count


def select(index: Any, shape: tuple[int, ...]) -> Selection:
    """What `index` (an int, a slice, an Ellipsis, or a tuple of them) names in an array of `shape`.

    Raises FrameIndexError for what is out of range or no such index.
    """
    given = index if isinstance(index, tuple) else (index,)
    dots = [k for k, e in enumerate(given) if e is Ellipsis]
    if len(dots) > 1 or len(given) - len(dots) > len(shape):
        raise FrameIndexError(f"index {index!r} has more entries than the {len(shape)} dimensions of shape {shape}")
    for k in dots:
        given = given[:k] + (slice(None),) * (len(shape) - len(given) + 1) + given[k + 1 :]
    entries = [_entry(e, n, index, shape) for e, n in zip(given, shape, strict=False)]
    while entries and isinstance(entries[-1], range) and entries[-1] == range(shape[len(entries) - 1]):
        entries.pop()  # a whole dimension at the end is not a part of anything
    depth = len(entries)
    left_over = tuple(len(e) for e in entries if not isinstance(e, int)) + shape[depth:]
    return Selection(tuple(entries), depth, left_over)


def _entry(entry: Any, n: int, index: Any, shape: tuple[int, ...]) -> int | range:
    if isinstance(entry, slice):
        return range(*entry.indices(n))
    if isinstance(entry, bool | np.bool_):
        raise FrameIndexError(f"index {index!r}: a mask cannot name frames; use ints or slices")
    try:
        i = operator.index(entry)
    except TypeError:
        raise FrameIndexError(f"index {index!r}: {entry!r} is no int, slice or Ellipsis") from None
    if not -n <= i < n:
        raise FrameIndexError(f"index {index!r} is out of range for shape {shape}")
    return i + n if i < 0 else i
