"""A summary of a wave: one frame, a map over the grid, a mean, from a bounded number of reads.

Reads frames through the given memory map. Memory use does not depend on the size of the wave.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_SIDES = (12, 24, 48, 96, 192)
"""Points of a map along each grid dimension: coarse first, finer while time is left."""
_PIXELS = 1024
"""Pixels of a picture along each dimension, at most."""
_MEAN_FRAMES = 64
_MEAN_BYTES = 64 << 20


class Glance(NamedTuple):
    """The summary. `frame` and `mean` have at most two dimensions: the last two, in the middle of the others."""

    frame: npt.NDArray[Any]
    frame_index: tuple[int, ...]
    mean: npt.NDArray[np.float64]
    mean_count: int
    frame_steps: tuple[int, ...]
    """The step between the pixels of `frame`, along each dimension."""
    map: npt.NDArray[np.float64]
    """The sum over the virtual detector, for points of the last two grid dimensions; NaN for missing frames."""
    map_steps: tuple[int, ...]
    """The step between the points of `map`, along each dimension."""
    map_index: tuple[int, ...]
    """The index of the map in the outer grid dimensions."""


def expect_scattered_reads(data: npt.NDArray[Any]) -> None:
    """Tell the kernel, if possible, that reads are random, so that it does not read ahead."""
    underlying = getattr(data, "_mmap", None)
    if underlying is not None and hasattr(mmap, "MADV_RANDOM"):
        with contextlib.suppress(OSError):
            underlying.madvise(mmap.MADV_RANDOM)


class Frames:
    """The frames of a wave: `data`, whose first `grid_ndim` dimensions are the grid.

    `missing`: ranges (first, stop) of missing frames, counted in C order.
    """

    def __init__(self, data: npt.NDArray[Any], grid_ndim: int, missing: Sequence[Sequence[int]] = ()) -> None:
        self.data = np.asarray(data)
        self.grid = self.data.shape[:grid_ndim]
        self.shape = self.data.shape[grid_ndim:]
        self._firsts = [first for first, _ in missing]
        self._stops = [stop for _, stop in missing]

    def came(self, index: Sequence[int]) -> bool:
        """Whether this frame was written."""
        flat = 0
        for i, n in zip(index, self.grid, strict=True):
            flat = flat * n + i
        before = bisect_right(self._firsts, flat) - 1
        return before < 0 or flat >= self._stops[before]

    def whole(self, index: tuple[int, ...]) -> npt.NDArray[Any]:
        """One frame as it is stored."""
        where: tuple[Any, ...] = (*index, ...)
        return np.asarray(self.data[where])

    def part(self, index: tuple[int, ...], where: tuple[Any, ...]) -> npt.NDArray[Any]:
        """A part of one frame as real numbers (complex ones: their magnitudes)."""
        part = self.data[(*index, *where)]
        return np.abs(part) if part.dtype.kind == "c" else np.asarray(part)


def glance(frames: Frames, region: Sequence[slice] = (), seconds: float = 1.0) -> Glance:
    """Summarize the frames. The map sums `region` of each, or all of it if the region has other dimensions.

    The map takes about `seconds`: from a slow disk it is coarser.
    """
    region = tuple(region) if len(region) == len(frames.shape) else ()
    outer = tuple(n // 3 for n in frames.grid[:-2])
    values, steps = _map(frames, outer, region, seconds)
    # Show a frame with signal in the virtual detector.
    brightest = np.unravel_index(int(np.argmax(np.nan_to_num(values, nan=-np.inf))), values.shape)
    index = outer + tuple(int(i) * s for i, s in zip(brightest, steps, strict=True))
    frame_steps = tuple(math.ceil(n / _PIXELS) for n in frames.shape[-2:])
    picture = (*(n // 2 for n in frames.shape[:-2]), *(slice(None, None, s) for s in frame_steps))
    frame = np.array(frames.part(index, picture))
    mean, count = _mean(frames, picture, frame)
    return Glance(frame, index, mean, count, frame_steps, values, steps, outer)


def _map(
    frames: Frames, outer: tuple[int, ...], region: tuple[slice, ...], seconds: float
) -> tuple[npt.NDArray[np.float64], tuple[int, ...]]:
    grid = frames.grid[-2:]
    begin = time.monotonic()
    best: tuple[npt.NDArray[np.float64], tuple[int, ...]] | None = None
    for side in _SIDES:
        steps = tuple(math.ceil(n / (side if len(grid) > 1 else 4 * side)) for n in grid)
        if best is not None and steps == best[1]:
            continue
        values = np.full([len(range(0, n, s)) for n, s in zip(grid, steps, strict=True)], np.nan)
        for at in np.ndindex(values.shape):
            if best is not None and time.monotonic() - begin > seconds:
                return best
            index = outer + tuple(i * s for i, s in zip(at, steps, strict=True))
            if frames.came(index):
                values[at] = frames.part(index, region).sum(dtype=np.float64)
        best = values, steps
    assert best is not None
    return best


def _mean(frames: Frames, picture: tuple[Any, ...], shown: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float64], int]:
    """The mean of some frames, evenly spread over the grid, and their number; `shown` if all are missing."""
    size = math.prod(frames.shape) * frames.data.itemsize
    total = np.zeros(shown.shape)
    count = 0
    for index in _spread(frames.grid, max(1, min(_MEAN_FRAMES, _MEAN_BYTES // size))):
        if frames.came(index):
            total += frames.part(index, picture)
            count += 1
    return (total / count, count) if count else (shown.astype(np.float64), 0)


def _spread(grid: Sequence[int], count: int) -> Iterator[tuple[int, ...]]:
    """At most `count` indices, evenly spread and not in step with the rows of the grid."""
    points = math.prod(grid)
    count = min(count, points)
    for k in range(count):
        flat = (k * points + (k * 7 % 16) * points // 16) // count
        yield tuple(int(i) for i in np.unravel_index(flat, grid)) if grid else ()
