"""The frames that an index selects, and the shape of the result. Pure arithmetic: never reads a frame.

An index shorter than the grid selects many frames. A longer one selects parts of frames.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from textwrap import shorten
from typing import Any

import numpy as np

from ..errors import FrameIndexError
from .geometry import Grid

Entry = int | slice
_ADVICE = "write frames with ints, slices and '...'"
_MOST_CHARACTERS = 100


@dataclass(frozen=True)
class Selection:
    """What an index selects. `depth`: dimensions that it selects in; all others are whole. `shape`: of the result."""

    entries: tuple[int | range, ...]
    depth: int
    shape: tuple[int, ...]

    def blocks(self, grid: Grid, most: int = 1 << 62) -> Iterator[tuple[tuple[int | slice, ...], int, int]]:
        """(index into the result, first frame, number of frames) of each contiguous block, in C order.

        For an index that is longer than the grid: of the frames of which it selects a part. A slice in the last dimension is
        split into blocks of at most about `most` frames.
        """
        count = prod(grid.shape[self.depth : grid.ndim])
        outer: tuple[int | range, ...] = self.entries[: grid.ndim]
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


def select(index: Any, shape: tuple[int, ...], advice: str = _ADVICE) -> Selection:
    """What `index`, an int, a slice, an Ellipsis or a tuple of them, selects in an array of `shape`.

    Raises FrameIndexError if it is out of range or of another type. For another type the message ends with `advice`.
    """
    given = index if isinstance(index, tuple) else (index,)
    dots = [k for k, e in enumerate(given) if e is Ellipsis]
    if len(dots) > 1 or len(given) - len(dots) > len(shape):
        raise FrameIndexError(
            f"index {shown_index(index)} has more entries than the {len(shape)} dimensions of shape {shape}, or two '...'"
        )
    for k in dots:
        given = given[:k] + (slice(None),) * (len(shape) - len(given) + 1) + given[k + 1 :]
    entries = [_entry(e, n, index, shape, advice) for e, n in zip(given, shape, strict=False)]
    while entries and isinstance(entries[-1], range) and entries[-1] == range(shape[len(entries) - 1]):
        entries.pop()  # a last dimension that is selected as a whole is part of the blocks
    depth = len(entries)
    left_over = tuple(len(e) for e in entries if not isinstance(e, int)) + shape[depth:]
    return Selection(tuple(entries), depth, left_over)


def shown_index(index: Any) -> str:
    """`index` for a message, in one line of at most about 100 characters: a mask can be long."""
    return shorten(repr(index), _MOST_CHARACTERS, placeholder=" ...")


def _entry(entry: Any, n: int, index: Any, shape: tuple[int, ...], advice: str) -> int | range:
    if isinstance(entry, bool | np.bool_):
        raise _refused(entry, index, advice)
    try:
        if isinstance(entry, slice):
            return range(*entry.indices(n))
        i = operator.index(entry)
    except (TypeError, ValueError) as error:
        if isinstance(entry, slice):
            raise FrameIndexError(f"index {shown_index(index)}: {error}") from None
        raise _refused(entry, index, advice) from None
    if not -n <= i < n:
        raise FrameIndexError(f"index {shown_index(index)} is out of range for shape {shape}")
    return i + n if i < 0 else i


def _refused(entry: Any, index: Any, advice: str) -> FrameIndexError:
    is_mask = isinstance(entry, bool) or getattr(entry, "dtype", None) == np.bool_
    what = "is or contains a mask" if is_mask else f"has {shown_index(entry)}, which is not an int, slice or '...'"
    return FrameIndexError(f"index {shown_index(index)} {what}; {advice}")
