"""The events that a follower has seen: one for each frame that arrived or was rewritten. Pure arithmetic.

Adjacent frames that arrive one after the other are one run: a scan of ten million frames in order takes some bytes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np

from ..errors import FrameIndexError
from ..format import Grid

MOST_RUNS = 1 << 18
"""Runs that are kept. The older half is forgotten when there are more."""
_SHOWN = 6
Index = tuple[int, ...]
Numbers = np.ndarray[Any, np.dtype[np.intp]]


class Indices(Sequence[Index]):
    """Grid indices of frames, in the order of their events: a sequence of tuples, which are made when they are used.

    It equals a list or tuple of the same indices. It does not change.
    """

    def __init__(self, runs: Sequence[tuple[Grid, int, int]] = ()) -> None:
        self._runs = runs  # grid, first and stop of the frame numbers
        self._ends: list[int] = []
        total = 0
        for _, first, stop in runs:
            total += stop - first
            self._ends.append(total)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, at: int) -> Index: ...
    @overload
    def __getitem__(self, at: slice) -> list[Index]: ...
    def __getitem__(self, at: int | slice) -> Index | list[Index]:
        if isinstance(at, slice):
            return [self[k] for k in range(*at.indices(len(self)))]
        k = at + len(self) if at < 0 else at
        if not 0 <= k < len(self):
            raise IndexError(f"index {at} of {len(self)} frames")
        run = bisect_right(self._ends, k)
        grid, _, stop = self._runs[run]
        return grid.index_of(stop - (self._ends[run] - k))

    def __iter__(self) -> Iterator[Index]:
        for grid, first, stop in self._runs:
            for number in range(first, stop):
                yield grid.index_of(number)

    def last_run(self) -> list[tuple[Grid, int, int]]:
        """The last of these frames; nothing if there is none."""
        return [(grid, stop - 1, stop) for grid, _, stop in self._runs[-1:]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, list | tuple | Indices):
            return NotImplemented
        return len(self) == len(other) and all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        more = f", and {len(self) - _SHOWN:,} more" if len(self) > _SHOWN else ""
        return f"<Indices: {', '.join(map(repr, self[:_SHOWN]))}{more}>"


class EventLog:
    """Runs of events. `count`: how many events there were; the first one has the number 0. Not safe for several threads."""

    def __init__(self) -> None:
        self.count = 0
        self.newest: Index | None = None
        self._forgotten = 0
        self._first: array[int] = array("q")
        self._end: array[int] = array("q")  # the number of events up to the end of each run
        self._grid: array[int] = array("i")
        self._grids: list[Grid] = []

    def add(self, grid: Grid, first: int, stop: int) -> None:
        """An event for each of the frames `first` to `stop`."""
        if not self._grids or self._grids[-1] != grid:
            self._grids.append(grid)
        which = len(self._grids) - 1
        if self._first and self._grid[-1] == which and self._stop(len(self._first) - 1) == first:
            self._end[-1] += stop - first
        else:
            self._first.append(first)
            self._end.append(self.count + stop - first)
            self._grid.append(which)
            if len(self._first) > MOST_RUNS:
                self._forget(MOST_RUNS // 2)
        self.count += stop - first
        self.newest = grid.index_of(stop - 1)

    def add_numbers(self, grid: Grid, numbers: Numbers) -> None:
        """An event for each of these frames (ascending)."""
        if numbers.size:
            edges = np.flatnonzero(np.diff(numbers) != 1) + 1
            firsts = numbers[np.concatenate([[0], edges])].tolist()
            lasts = numbers[np.concatenate([edges - 1, [-1]])].tolist()
            for first, last in zip(firsts, lasts, strict=True):
                self.add(grid, first, last + 1)

    def after(self, n: int) -> Indices:
        """The events from number `n`. Raises FrameIndexError if some of them are forgotten."""
        if n >= self.count:
            return Indices()
        if n < self._forgotten:
            raise FrameIndexError(
                f"event {n:,} is forgotten: the last {self.count - self._forgotten:,} of {self.count:,} events are known, "
                "and `written` has all frames"
            )
        run = bisect_right(self._end, n)
        runs = [
            (self._grids[self._grid[k]], max(self._first[k], self._stop(k) - (self._end[k] - n)), self._stop(k))
            for k in range(run, len(self._first))
        ]
        return Indices(runs)

    def _stop(self, k: int) -> int:
        before = self._end[k - 1] if k else self._forgotten
        return self._first[k] + self._end[k] - before

    def _forget(self, runs: int) -> None:
        self._forgotten = self._end[runs - 1]
        for table in (self._first, self._end, self._grid):
            del table[:runs]
